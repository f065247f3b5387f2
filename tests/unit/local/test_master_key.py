"""The master key: made once, found in three places, never half read."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from picloud.errors import ConfigurationError
from picloud.local.master_key import (
    MasterKeyFile,
    ensure_master_key,
    load_master_keys,
    master_key_path,
    master_key_source,
    readable_by_others,
    replace_master_keys,
)
from picloud.settings import Settings


def test_it_is_32_bytes_for_its_owner_only_and_made_once(tmp_path: Path) -> None:
    path = tmp_path / "master.key"
    key = ensure_master_key(path)
    assert len(key) == 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert (ensure_master_key(path),) == load_master_keys(path) == (key,)


def test_two_installations_have_two_keys(tmp_path: Path) -> None:
    assert ensure_master_key(tmp_path / "one") != ensure_master_key(tmp_path / "other")


def test_a_file_of_another_length_is_no_key(tmp_path: Path) -> None:
    path = tmp_path / "master.key"
    path.write_bytes(b"x" * 31)
    with pytest.raises(ConfigurationError, match="expected 32 bytes, or 64 of two keys, found 31"):
        ensure_master_key(path)


def test_a_missing_one_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"master\.key: No such file"):
        load_master_keys(tmp_path / "master.key")


def test_the_setting_wins_then_the_credential_then_the_data_folder(tmp_path: Path) -> None:
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    environ = {"CREDENTIALS_DIRECTORY": str(credentials)}
    settings = Settings(data_dir=tmp_path)
    assert master_key_path(settings, environ) == tmp_path / "master.key"
    (credentials / "master.key").write_bytes(b"k" * 32)
    assert master_key_path(settings, environ) == credentials / "master.key"
    named = Settings(data_dir=tmp_path, master_key_file="/etc/picloud/key")
    assert master_key_path(named, environ) == Path("/etc/picloud/key")


def test_a_key_that_others_may_read_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "master.key"
    ensure_master_key(path)
    assert not readable_by_others(path)
    path.chmod(0o640)
    assert readable_by_others(path)


def test_where_a_key_is_missing_is_for_the_log_and_not_for_strangers(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = Settings(master_key_file=str(tmp_path / "master.key"))
    with pytest.raises(ConfigurationError) as caught:
        MasterKeyFile(settings)()
    assert str(tmp_path) not in f"{caught.value.message}{caught.value.hint}"
    assert str(tmp_path / "master.key") in caplog.text
    assert (ensure_master_key(tmp_path / "master.key"),) == MasterKeyFile(settings)()


def test_a_process_goes_on_with_a_file_that_was_replaced(tmp_path: Path) -> None:
    path = tmp_path / "master.key"
    keys = MasterKeyFile(Settings(master_key_file=str(path)))
    old = ensure_master_key(path)
    assert keys() == (old,)
    replace_master_keys(path, (old, b"n" * 32))
    assert keys() == (old, b"n" * 32)


def test_what_was_read_is_kept_while_the_file_is_gone_or_broken(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "master.key"
    keys = MasterKeyFile(Settings(master_key_file=str(path)))
    old = ensure_master_key(path)
    assert keys() == (old,)
    path.write_bytes(b"half")
    assert [keys() for _ in range(3)] == [(old,)] * 3
    assert caplog.text.count("goes on with what it has read before") == 1
    path.unlink()
    assert keys() == (old,)


def test_a_missing_file_is_said_once_and_looked_for_each_time(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "master.key"
    keys = MasterKeyFile(Settings(master_key_file=str(path)))
    for _ in range(3):
        with pytest.raises(ConfigurationError):
            keys()
    assert len(caplog.records) == 1
    ensure_master_key(path)
    assert keys()


def test_a_replaced_file_keeps_who_may_read_it_and_leaves_nothing_beside(tmp_path: Path) -> None:
    path = tmp_path / "master.key"
    old = ensure_master_key(path)
    path.chmod(0o640)
    (tmp_path / "link").symlink_to(path)
    replace_master_keys(tmp_path / "link", (old, b"n" * 32))
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert load_master_keys(path) == (old, b"n" * 32)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["link", "master.key"]


def test_the_same_key_twice_is_no_file_of_two(tmp_path: Path) -> None:
    (tmp_path / "master.key").write_bytes(b"k" * 64)
    with pytest.raises(ConfigurationError, match="the same key twice"):
        load_master_keys(tmp_path / "master.key")


def test_a_file_is_told_from_one_of_the_same_name_elsewhere_and_from_a_credential(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "other").mkdir()
    here = Settings(master_key_file=str(tmp_path / "master.key"))
    there = Settings(master_key_file=str(tmp_path / "other" / "master.key"))
    ensure_master_key(Path(here.master_key_file))
    before = master_key_source(here)
    replace_master_keys(Path(here.master_key_file), (b"n" * 32,))
    assert before == master_key_source(here) != master_key_source(there)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert master_key_source(here) is None
