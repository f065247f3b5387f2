"""``picloud up`` as a process: start, stop, accidents. Relay, worker and web are stand-ins."""

from __future__ import annotations

import os
import pwd
import re
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from picloud.local.children import wait_for_exit
from picloud.local.leftovers import read_process
from picloud.local.server_user import ServerUser, choose_server_user, closed_folder
from picloud.local.up import answers
from picloud.profiles import load_profile
from picloud.settings import Settings
from tests.integration.local.up_process import UpProcess, free_port, up
from tests.servers import temporary_folder

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("postgres_server", "redis_server_url")]

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may become somebody else, or mount")


@pytest.fixture
def data() -> Iterator[Path]:
    with temporary_folder() as path:
        yield path / "data"


def _token(data: Path) -> str:
    return load_profile({"PICLOUD_CONFIG": str(data.parent / "config" / "config.toml")}, "local").token


def _write_a_row(platform: UpProcess) -> None:
    with psycopg.connect(platform.runtime.database_url) as connection:
        connection.execute("insert into principals (kind, name) values ('user', 'remembered')")


def _the_row_is_there(platform: UpProcess) -> bool:
    with psycopg.connect(platform.runtime.database_url) as connection:
        found = connection.execute("select 1 from principals where name = 'remembered'").fetchone()
    return found is not None


# Start and stop


def test_it_says_ready_once_on_stdout_and_everything_else_on_stderr(data: Path) -> None:
    with up(data, port=(port := free_port())) as platform:
        assert platform.wait_until_ready() == f"ready http://127.0.0.1:{port}"
        assert platform.stop() == 0
        assert platform.process.stdout is not None
        assert platform.process.stdout.read() == ""
    assert any("picloud users setup-link" in line for line in platform.lines)
    assert not any("/setup#" in line for line in platform.lines), "what is no terminal may be a log"


def test_on_a_terminal_it_prints_the_link_of_the_first_admin_until_there_is_one(data: Path) -> None:
    on_a_terminal = {"ON_A_TERMINAL": "1"}
    with up(data, port=(port := free_port()), settings=on_a_terminal) as platform:
        link = platform.wait_for("/setup#").strip()
        assert re.fullmatch(rf"http://127\.0\.0\.1:{port}/setup#[\w-]{{43}}", link)
        with psycopg.connect(platform.runtime.database_url) as connection:
            stored = connection.execute("select setup_links::text from setup_links").fetchall()
            assert link.partition("#")[2] not in str(stored)
            connection.execute(
                "with made as (insert into principals (kind, name, role) values ('user', 'anna', 'owner') returning id)"
                " insert into passwords (principal_id, hash) select id, 'some hash' from made"
            )
        platform.stop()
    with up(data, settings=on_a_terminal) as platform:
        platform.wait_until_ready()
        platform.stop()
    assert not any("sign in" in line for line in platform.lines)


def test_it_stops_in_the_reverse_order_of_its_start(data: Path) -> None:
    with up(data) as platform:
        platform.wait_until_ready()
        assert platform.stop() == 0
    ends = [line for line in platform.lines if line.endswith(" ends") or "stopping" in line]
    assert ends == [
        "picloud: stopping web",
        "web ends",
        "picloud: stopping worker",
        "worker ends",
        "picloud: stopping relay",
        "relay ends",
        "picloud: stopping redis",
        "picloud: stopping postgres",
    ]
    assert not (data / "runtime.json").exists()


def test_mail_is_taken_too_when_it_is_said_where(data: Path) -> None:
    with up(data, settings={"PICLOUD_SMTP_BIND": "127.0.0.1:0"}) as platform:
        platform.wait_until_ready()
        assert platform.stop() == 0
    begun = [line for line in platform.lines if line.startswith("picloud: starting")]
    assert begun[-2:] == ["picloud: starting web", "picloud: starting mail"]
    ended = [line for line in platform.lines if line.startswith("picloud: stopping")]
    assert ended[:2] == ["picloud: stopping mail", "picloud: stopping web"]
    assert "mail ends" in platform.lines


def test_a_used_mail_port_is_named_before_anything_is_started(data: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with up(data, settings={"PICLOUD_SMTP_BIND": f"lmtp:127.0.0.1:{port}"}) as platform:
            assert platform.wait() == 1
            assert platform.lines == [f"picloud: cannot listen on 127.0.0.1:{port}: Address already in use"]
    assert not (data / "postgres").exists()


def test_sigterm_stops_it_as_ctrl_c_does(data: Path) -> None:
    with up(data) as platform:
        platform.wait_until_ready()
        platform.signal(signal.SIGTERM)
        assert platform.wait() == 0
        assert "relay ends" in platform.lines


def test_a_second_ctrl_c_kills_what_does_not_stop(data: Path) -> None:
    with up(data, settings={"STUBBORN": "1"}) as platform:
        platform.wait_until_ready()
        pids = [child.pid for child in platform.runtime.children]
        platform.signal(signal.SIGINT)
        platform.wait_for("worker is stubborn")
        platform.signal(signal.SIGINT)
        assert platform.wait() == 130
        assert [read_process(pid) for pid in pids] == [None] * 5


def test_ctrl_c_while_it_starts_leaves_nothing_running(data: Path) -> None:
    with up(data) as platform:
        platform.wait_for("starting postgres")
        assert platform.stop() == 0
        assert not (data / "postgres" / "data" / "postmaster.pid").exists()


def test_a_second_start_finds_the_data_and_keeps_the_key(data: Path) -> None:
    with up(data) as platform:
        platform.wait_until_ready()
        _write_a_row(platform)
        token = _token(data)
        platform.stop()
    with up(data) as platform:
        platform.wait_until_ready()
        assert _the_row_is_there(platform)
        assert _token(data) == token


def test_only_the_owner_can_read_what_is_secret(data: Path) -> None:
    with up(data) as platform:
        platform.wait_until_ready()
        for name in ("master.key", "passwords.json", "runtime.json"):
            assert stat.S_IMODE((data / name).stat().st_mode) == 0o600
        assert stat.S_IMODE(data.stat().st_mode) & 0o007 == 0
        platform.stop()


def test_no_secret_is_on_a_command_line(data: Path) -> None:
    with up(data) as platform:
        platform.wait_until_ready()
        secrets = [url.rpartition("@")[0].rpartition(":")[2] for url in _urls(platform)]
        commands = [read_process(child.pid) for child in platform.runtime.children]
        assert all(len(secret) > 20 for secret in secrets)
        assert not [secret for secret in secrets for facts in commands if facts and secret in facts.command]
        platform.stop()


def _urls(platform: UpProcess) -> tuple[str, str]:
    return platform.runtime.database_url, platform.runtime.redis_url


# Accidents


def test_a_second_start_on_the_same_data_is_refused_in_one_line(data: Path) -> None:
    with up(data) as first:
        first.wait_until_ready()
        with up(data) as second:
            assert second.wait() == 1
            assert second.lines == [f"picloud: PiCloud is already running on {data} (process {first.process.pid})"]
        assert first.stop() == 0


def test_a_used_port_is_named_before_anything_is_started(data: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with up(data, port=port) as platform:
            assert platform.wait() == 1
            assert platform.lines == [f"picloud: cannot listen on 127.0.0.1:{port}: Address already in use"]
    assert not (data / "postgres").exists()


@pytest.mark.faults
def test_it_starts_again_after_kill_9_with_everything_it_had(data: Path) -> None:
    with up(data, port=(port := free_port())) as platform:
        platform.wait_until_ready()
        _write_a_row(platform)
        platform.signal(signal.SIGKILL)
        platform.wait()
    with up(data, port=port) as platform:
        assert platform.wait_until_ready() == f"ready http://127.0.0.1:{port}"
        assert _the_row_is_there(platform)
        assert platform.stop() == 0


@pytest.mark.faults
def test_everything_dies_with_it(data: Path) -> None:
    with up(data) as platform:
        platform.wait_until_ready()
        pids = [child.pid for child in platform.runtime.children]
        platform.signal(signal.SIGKILL)
        assert all(wait_for_exit(pid, 20) for pid in pids)


@pytest.mark.faults
def test_what_does_not_die_with_it_is_ended_by_the_next_start(data: Path) -> None:
    with up(data, settings={"STUBBORN": "1"}) as platform:
        platform.wait_until_ready()
        stubborn = platform.pid_of("worker")
        platform.signal(signal.SIGKILL)
        platform.process.wait()
        assert read_process(stubborn) is not None
        with up(data) as second:
            second.wait_until_ready()
            facts = read_process(stubborn)
            assert facts is None or facts.state == "Z"
            second.stop()
        assert "picloud: ending 1 process(es) that an earlier start left behind" in second.lines


@pytest.mark.faults
def test_a_process_that_dies_is_started_again(data: Path) -> None:
    with up(data) as platform:
        platform.wait_until_ready()
        before = platform.pid_of("relay")
        platform.wait_for("relay begins")
        os.kill(before, signal.SIGKILL)
        assert "killed by SIGKILL" in platform.wait_for("relay ended")
        platform.wait_for("relay begins")
        assert platform.stop() == 0


@pytest.mark.faults
def test_servers_that_die_come_back_under_the_same_urls(data: Path) -> None:
    with up(data, port=(port := free_port())) as platform:
        platform.wait_until_ready()
        urls = _urls(platform)
        for name in ("postgres", "redis"):
            os.kill(platform.pid_of(name), signal.SIGKILL)
            platform.wait_for(f"{name} ended")
        _wait_until_healthy(port)
        assert _urls(platform) == urls
        assert platform.stop() == 0


def _wait_until_healthy(port: int) -> None:
    settings = Settings(bind=f"127.0.0.1:{port}")
    give_up_at = time.monotonic() + 30
    while not answers(settings):
        assert time.monotonic() < give_up_at, "it did not answer again"
        time.sleep(0.02)


def test_a_process_that_cannot_start_ends_the_start(data: Path) -> None:
    with up(data, settings={"FAILING": "1"}) as platform:
        assert platform.wait() == 1
    assert platform.lines.count("picloud: this process does not want to") == 3
    assert platform.lines[-1] == "picloud: worker ended 3 times before PiCloud was ready (exit code 1)"


@needs_root
def test_a_disk_without_room_is_named(data: Path) -> None:
    data.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "none", data], check=True)
    try:
        with up(data) as platform:
            assert platform.wait() == 1
        assert platform.lines[-1].startswith(f"picloud: the disk that holds {data} is full: a new PostgreSQL database")
    finally:
        subprocess.run(["umount", data], check=True)


# Whom it runs as


@needs_root
def test_started_by_root_the_servers_run_as_somebody_else(data: Path) -> None:
    user = choose_server_user()
    assert user is not None
    with up(data) as platform:
        platform.wait_until_ready()
        owners = [Path(f"/proc/{platform.pid_of(name)}").stat().st_uid for name in ("postgres", "redis")]
        assert owners == [user.uid, user.uid]
        platform.stop()


def _python_for_everybody() -> str:
    """One of this version that is not in somebody's home."""
    nobody = pwd.getpwnam("nobody")
    for candidate in (sys.executable, f"/usr/bin/python3.{sys.version_info.minor}"):
        real = Path(candidate).resolve()
        if real.exists() and not closed_folder(real.parent, ServerUser("nobody", nobody.pw_uid, nobody.pw_gid)):
            return candidate
    pytest.skip("no Python that an ordinary user may run")


@needs_root
def test_it_runs_for_an_ordinary_user(data: Path) -> None:
    nobody = pwd.getpwnam("nobody").pw_uid
    os.chown(data.parent, nobody, -1)
    # redis-py asks for this package before Python 3.11.3, and our environment may be of a later one.
    (data.parent / "async_timeout.py").write_text("from asyncio import timeout as timeout\n")
    with up(data, user="nobody", python=_python_for_everybody()) as platform:
        assert platform.wait_until_ready().startswith("ready http://"), platform.lines
        assert Path(f"/proc/{platform.pid_of('postgres')}").stat().st_uid == nobody
        assert stat.S_IMODE(data.stat().st_mode) == 0o700
        assert platform.stop() == 0


@needs_root
def test_a_folder_the_servers_cannot_reach_is_named(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    with up(closed / "data") as platform:
        assert platform.wait() == 1
    assert "may not pass through" in platform.lines[0]
