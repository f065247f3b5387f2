"""Whom servers run as, and whether they get where they must."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from picloud.local import server_user
from picloud.local.server_user import ServerUser, choose_server_user, closed_folder, within_reach

_STRANGER = ServerUser("stranger", 12345, 12345)


@pytest.fixture
def open_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder everybody may pass through, whatever pytest's own permissions are."""
    outside = set(tmp_path.parents)
    may_enter = server_user._may_enter
    opened = {(parent.stat().st_dev, parent.stat().st_ino) for parent in outside}
    monkeypatch.setattr(
        server_user,
        "_may_enter",
        lambda status, user: (status.st_dev, status.st_ino) in opened or may_enter(status, user),
    )
    tmp_path.chmod(0o755)
    return tmp_path


def test_an_ordinary_user_runs_servers_as_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert choose_server_user() is None


def test_root_runs_them_as_somebody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    user = choose_server_user()
    assert user is not None
    assert user.uid != 0


def test_the_first_closed_folder_on_the_way_is_named(open_path: Path) -> None:
    inner = open_path / "closed" / "open" / "not made yet"
    inner.parent.mkdir(parents=True)
    assert closed_folder(inner, _STRANGER) is None
    (open_path / "closed").chmod(0o700)
    assert closed_folder(inner, _STRANGER) == open_path / "closed"
    (open_path / "closed").chmod(0o710)
    ours = ServerUser("member", 12345, (open_path / "closed").stat().st_gid)
    assert closed_folder(inner, ours) is None


def test_binaries_behind_a_closed_folder_are_copied_once(open_path: Path) -> None:
    site = open_path / "closed"
    program = site / "package" / "bin" / "postgres"
    program.parent.mkdir(parents=True)
    program.write_text("release 1")
    (site / "package.libs").mkdir()
    (site / "package.libs" / "libpq").write_text("library")
    parts = ["package/bin", "package.libs", "not in this release"]
    copies = open_path / "copies"
    assert within_reach(site, parts, copies, None) == site
    assert within_reach(site, parts, copies, _STRANGER) == site

    site.chmod(0o700)
    copy = within_reach(site, parts, copies, _STRANGER)
    assert (copy / "package" / "bin" / "postgres").read_text() == "release 1"
    assert (copy / "package.libs" / "libpq").read_text() == "library"
    assert closed_folder(copy / "package" / "bin", _STRANGER) is None
    assert within_reach(site, parts, copies, _STRANGER) == copy

    program.write_text("release 2")
    os.utime(program, ns=(0, 9 * 10**18))
    replaced = within_reach(site, parts, copies, _STRANGER)
    assert (replaced / "package" / "bin" / "postgres").read_text() == "release 2"
