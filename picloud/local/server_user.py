"""Whom PostgreSQL and Redis run as when PiCloud was started by root.

PostgreSQL refuses to run as root, and rightly: it executes what its clients say. As an
ordinary user nothing changes hands and everything here answers None.
"""

from __future__ import annotations

import os
import pwd
import shutil
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from picloud.errors import ConfigurationError

#: The first of these that exists; ``nobody`` exists everywhere.
_CANDIDATES = ("picloud", "postgres", "nobody")


@dataclass(frozen=True, slots=True)
class ServerUser:
    """An unprivileged account."""

    name: str
    uid: int
    gid: int


def choose_server_user(made_before: Path | None = None) -> ServerUser | None:
    """The account for the servers; None when we are not root and run them ourselves.

    Args:
        made_before: a folder the servers own since an earlier start. Its owner wins, so that
            an account created since then does not lock PostgreSQL out of its own data.
    """
    if os.geteuid() != 0:
        return None
    if made_before is not None and made_before.exists() and made_before.stat().st_uid != 0:
        return _by_uid(made_before.stat().st_uid)
    for name in _CANDIDATES:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return ServerUser(entry.pw_name, entry.pw_uid, entry.pw_gid)
    raise ConfigurationError(
        "PostgreSQL does not run as root, and this machine has no account to run it as",
        hint="start PiCloud as an ordinary user, or `useradd --system picloud`",
    )


def _by_uid(uid: int) -> ServerUser:
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        return ServerUser(str(uid), uid, uid)
    return ServerUser(entry.pw_name, entry.pw_uid, entry.pw_gid)


def closed_folder(path: Path, user: ServerUser) -> Path | None:
    """The first folder on the way to ``path``, itself included, that ``user`` may not enter.

    Folders that do not exist yet are no obstacle: they will be made fitting.
    """
    path = Path(os.path.realpath(path))
    for folder in [*reversed(path.parents), path]:
        if folder.is_dir() and not _may_enter(folder.stat(), user):
            return folder
    return None


def _may_enter(status: os.stat_result, user: ServerUser) -> bool:
    if status.st_uid == user.uid:
        return bool(status.st_mode & stat.S_IXUSR)
    if status.st_gid == user.gid:
        return bool(status.st_mode & stat.S_IXGRP)
    return bool(status.st_mode & stat.S_IXOTH)


def make_private_folder(path: Path, user: ServerUser | None) -> Path:
    """Make a folder that only ``user`` (we ourselves when None) may look into."""
    path.mkdir(mode=0o700, exist_ok=True)
    path.chmod(0o700)
    if user is not None:
        os.chown(path, user.uid, user.gid)
    return path


def within_reach(root: Path, parts: Sequence[str], copies: Path, user: ServerUser | None) -> Path:
    """``root``, or a folder below ``copies`` with copies of its ``parts`` when ``user`` cannot get at them.

    The way to a virtual environment below ``/root`` is closed to everyone else. Opening those
    folders is not ours to do; a copy of a few files is. Parts keep their places relative to each
    other, since programs find their libraries that way.
    """
    present = [part for part in parts if (root / part).exists()]
    if user is None or not any(closed_folder(root / part, user) for part in present):
        return root
    copy = copies / f"{Path(parts[0]).name}-{_fingerprint([root / part for part in present])}"
    if not copy.is_dir():
        _make_open_folder(copies)
        # Under another name until it is whole: a copy that is cut short is not mistaken for one.
        unfinished = copies / f"{copy.name}.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        _make_open_folder(unfinished)
        for part in present:
            _copy(root / part, unfinished / part, below=unfinished)
        unfinished.rename(copy)
    return copy


def _make_open_folder(path: Path) -> None:
    path.mkdir(exist_ok=True)
    path.chmod(0o755)  # whatever the umask says


def _copy(source: Path, target: Path, *, below: Path) -> None:
    for folder in reversed(target.parents):
        if folder.is_relative_to(below):
            _make_open_folder(folder)
    if source.is_dir():
        shutil.copytree(source, target, symlinks=True)
    else:
        shutil.copy2(source, target)


def _fingerprint(paths: Iterable[Path]) -> str:
    """Changes when one of the trees is replaced by another release of it."""
    files = (file for path in paths for file in (path, *path.rglob("*")) if file.is_file())
    return f"{max((file.stat().st_mtime_ns for file in files), default=0):x}"
