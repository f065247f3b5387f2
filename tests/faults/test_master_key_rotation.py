"""Whoever kills a rotation of the master key, wherever: the file as it is opens everything, and the command goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from picloud.local.master_key import ensure_master_key, load_master_keys
from picloud.local.master_key_rotation import prove
from tests.sealed_secrets import put_secret
from tests.seeding import Seeds

pytestmark = pytest.mark.faults


def _master_key(url: str, path: Path, *words: str, failpoint: str = "") -> int:
    environment = {
        **os.environ,
        "PICLOUD_DATABASE_URL": url,
        "PICLOUD_MASTER_KEY_FILE": str(path),
        "PICLOUD_FAILPOINT": failpoint,
    }
    done = subprocess.run(
        [sys.executable, "-m", "picloud.cli.main", "master-key", *words], env=environment, check=False, timeout=60
    )
    return done.returncode


@pytest.mark.parametrize(
    ("step", "failpoint"),
    [
        ("rotate", "master_key.written:kill:1"),
        ("rotate", "master_key.prepared"),
        ("rotate", "master_key.wrapped"),
        ("rotate", "master_key.committed"),
        ("rotate", "master_key.written:kill:2"),
        ("rotate", "master_key.rotated"),
        ("retire", "master_key.retiring"),
        ("retire", "master_key.written"),
    ],
)
def test_everything_is_readable_after_a_kill_and_the_command_goes_on(
    database_url: str, tmp_path: Path, step: str, failpoint: str
) -> None:
    path = tmp_path / "master.key"
    first = ensure_master_key(path)
    with psycopg.connect(database_url, autocommit=True) as connection:
        seeds = Seeds(connection)
        for app in ("shop", "other"):
            seeds.app(app)
            put_secret(database_url, seeds, app, "KEY", f"of {app}", path)
        if step == "retire":
            assert _master_key(database_url, path, "rotate") == 0
        assert _master_key(database_url, path, step, failpoint=failpoint) == -signal.SIGKILL
        found = prove(connection, path)
        assert (found.secrets, found.broken) == (2, ())
        put_secret(database_url, seeds, "shop", "LATER", "set in between", path)
        if step == "rotate" and failpoint != "master_key.rotated":
            assert _master_key(database_url, path, "rotate") == 0
        assert _master_key(database_url, path, "retire") == 0
        (last,) = load_master_keys(path)
        assert last != first
        found = prove(connection, path)
        assert (found.secrets, found.broken) == (3, ())
        assert [each.name for each in tmp_path.iterdir() if each.name != "master.key"] == []
