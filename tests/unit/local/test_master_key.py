"""The master key: made once, found in three places, never half read."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from picloud.errors import ConfigurationError
from picloud.local.master_key import (
    ensure_master_key,
    load_master_key,
    master_key_path,
    read_master_key,
    readable_by_others,
)
from picloud.settings import Settings


def test_it_is_32_bytes_for_its_owner_only_and_made_once(tmp_path: Path) -> None:
    path = tmp_path / "master.key"
    key = ensure_master_key(path)
    assert len(key) == 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert ensure_master_key(path) == load_master_key(path) == key


def test_two_installations_have_two_keys(tmp_path: Path) -> None:
    assert ensure_master_key(tmp_path / "one") != ensure_master_key(tmp_path / "other")


def test_a_file_of_another_length_is_no_key(tmp_path: Path) -> None:
    path = tmp_path / "master.key"
    path.write_bytes(b"x" * 31)
    with pytest.raises(ConfigurationError, match="expected 32 bytes, found 31"):
        ensure_master_key(path)


def test_a_missing_one_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"master\.key: No such file"):
        load_master_key(tmp_path / "master.key")


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
        read_master_key(settings)
    assert str(tmp_path) not in f"{caught.value.message}{caught.value.hint}"
    assert str(tmp_path / "master.key") in caplog.text
    assert ensure_master_key(tmp_path / "master.key") == read_master_key(settings)
