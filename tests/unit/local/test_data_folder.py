"""The data folder: who may look inside, who holds it, where it is."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from picloud.errors import ConfigurationError
from picloud.local import data_folder
from picloud.local.data_folder import (
    DataFolder,
    RunningChild,
    Runtime,
    locate,
    open_data_folder,
    with_running_servers,
    write_private,
)
from picloud.local.server_user import ServerUser
from picloud.settings import MIB, Settings

_RUNTIME = Runtime(1, "boot", "command", "http://x", "postgresql://own", "unix://own", (RunningChild("web", 2, 3),))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DataFolder:
    _be_nobody_special(monkeypatch)
    return open_data_folder(tmp_path / "data")


def _be_nobody_special(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_folder, "choose_server_user", lambda **_: None)


def test_only_its_owner_may_look_inside(folder: DataFolder) -> None:
    assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700


def test_a_folder_that_was_open_is_closed(folder: DataFolder) -> None:
    folder.path.chmod(0o755)
    open_data_folder(folder.path)
    assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700


def test_a_file_in_the_way_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _be_nobody_special(monkeypatch)
    (tmp_path / "data").write_text("")
    with pytest.raises(ConfigurationError, match=r"data: File exists"):
        open_data_folder(tmp_path / "data")


def test_a_second_holder_is_refused_and_told_who_the_first_is(folder: DataFolder) -> None:
    with (
        folder.locked(),
        pytest.raises(ConfigurationError, match=rf"already running on .* \(process {os.getpid()}\)"),
        folder.locked(),
    ):
        pass


def test_a_lock_ends_with_its_holder(folder: DataFolder) -> None:
    with folder.locked():
        assert folder.is_in_use()
    assert not folder.is_in_use()
    with folder.locked():
        pass


def test_a_lock_file_that_a_killed_process_left_is_no_lock(folder: DataFolder) -> None:
    holder = (
        "import os, signal, sys; from pathlib import Path; from picloud.local.data_folder import DataFolder\n"
        "with DataFolder(Path(sys.argv[1]), None).locked(): os.kill(os.getpid(), signal.SIGKILL)"
    )
    killed = subprocess.run([sys.executable, "-c", holder, folder.path], check=False, cwd=Path(__file__).parents[3])
    assert killed.returncode == -9
    assert folder.lock_file.read_text().strip().isdigit()
    with folder.locked():
        assert folder.lock_file.read_text() == f"{os.getpid()}\n"


def test_what_runs_can_be_read_again_by_the_owner_only(folder: DataFolder) -> None:
    assert folder.read_runtime() is None
    folder.write_runtime(_RUNTIME)
    assert folder.read_runtime() == _RUNTIME
    assert stat.S_IMODE(folder.runtime_file.stat().st_mode) == 0o600


def test_half_a_runtime_file_is_none(folder: DataFolder) -> None:
    folder.runtime_file.write_text('{"pid": 1')
    assert folder.read_runtime() is None


def test_commands_beside_a_running_up_use_its_servers(folder: DataFolder) -> None:
    folder.write_runtime(_RUNTIME)
    settings = Settings(data_dir=folder.path, redis_url="redis://configured")
    assert with_running_servers(settings) == settings, "nobody holds the folder: what is written there is past"
    with folder.locked():
        completed = with_running_servers(settings)
    assert completed.database_url == "postgresql://own"
    assert completed.redis_url == "redis://configured"


def test_a_private_file_replaces_one_that_others_could_read(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("old")
    path.chmod(0o644)
    write_private(path, b"new")
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["secret"]


def test_too_little_room_is_a_full_disk(folder: DataFolder) -> None:
    folder.require_room(1 * MIB, "this test")
    with pytest.raises(ConfigurationError, match=r"is full: this test needs \d+ MiB"):
        folder.require_room(10**9 * MIB, "this test")


def test_roots_default_is_where_the_servers_can_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    environ = {"HOME": str(home)}
    default = Settings(data_dir=home / ".local" / "share" / "picloud")
    somebody = ServerUser("somebody", 12345, 12345)
    monkeypatch.setattr(data_folder, "choose_server_user", lambda **_: somebody)
    assert locate(default, environ) == Path("/var/lib/picloud")
    assert locate(Settings(data_dir=tmp_path / "mine"), environ) == tmp_path / "mine"
    _be_nobody_special(monkeypatch)
    assert locate(default, environ) == default.data_dir
