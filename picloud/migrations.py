"""Brings a database to the schema of this release: numbered SQL files, forward only.

It is not a tool that writes migrations, and it never goes back: a release expands
the schema, a later one contracts it.

* Files are ``migrations/NNNN_name.sql``, numbered from 1 without a gap. What ran is
  in ``schema_migrations`` with its SHA-256; a file that changed afterwards is refused,
  and so is a database that is ahead of this release.
* Each file runs in one transaction together with its ledger row. A file that carries
  ``-- picloud:no-transaction`` (``CREATE INDEX CONCURRENTLY``) runs statement by
  statement: each ends with ``;`` at the end of a line, and each must bear being run again.
* Any number of processes may start at once. A guard connection holds a transaction-level
  advisory lock, so that it works through PgBouncer in transaction mode; the others ask
  for it again and again and then find nothing left to do.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any, LiteralString, TypeAlias

import psycopg
from psycopg.rows import class_row

from picloud.database import connect
from picloud.errors import SchemaError, UnavailableError
from picloud.queries import Queries

Connection: TypeAlias = psycopg.Connection[Any]

_SQL = Queries("migrations")
_FILE_NAME = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")
_NO_TRANSACTION = re.compile(r"^-- picloud:no-transaction\s*$", re.MULTILINE)
_END_OF_STATEMENT = re.compile(rb";[ \t]*(?:--[^\n]*)?(?:\n|\Z)")

#: Any constant: the name of the lock among all advisory locks of the database.
_LOCK_KEY = 0x7069_636C_6F75_64
#: How long a starter waits for another one that is migrating.
_WAIT_FOR_OTHERS_SECONDS = 600.0
_ASK_AGAIN_SECONDS = 0.1
_LOCK_TIMEOUT = "5s"
_STATEMENT_TIMEOUT = "30min"


@dataclass(frozen=True, slots=True)
class Migration:
    """One file of the migrations folder."""

    version: int
    name: str
    sql: bytes

    @property
    def title(self) -> str:
        return f"{self.version:04d}_{self.name}"

    @property
    def sha256(self) -> bytes:
        return hashlib.sha256(self.sql).digest()

    @property
    def runs_in_a_transaction(self) -> bool:
        return not _NO_TRANSACTION.search(self.sql.decode())


@dataclass(frozen=True, slots=True)
class AppliedMigration:
    """One row of the ledger."""

    version: int
    name: str
    sha256: bytes
    applied_at: datetime

    @property
    def title(self) -> str:
        return f"{self.version:04d}_{self.name}"


@dataclass(frozen=True, slots=True)
class MigrationStatus:
    """A database beside this release."""

    #: What ran, oldest first.
    applied: tuple[AppliedMigration, ...]
    #: Titles still to run.
    pending: tuple[str, ...]
    #: Titles that ran and whose file is different now.
    altered: tuple[str, ...]
    #: Titles the database has and this release does not know.
    unknown: tuple[str, ...]

    @property
    def is_current(self) -> bool:
        return not (self.pending or self.altered or self.unknown)


def migrations_folder() -> Path:
    """The SQL files: inside the package when installed from a wheel, beside it in the repository."""
    package = Path(__file__).resolve().parent
    packaged = package / "_migrations"
    return packaged if packaged.is_dir() else package.parent / "migrations"


def load_migrations(folder: Path | None = None) -> tuple[Migration, ...]:
    """The migrations of this release in order.

    Raises:
        SchemaError: a file has no number, a number is missing, or two files share one.
    """
    folder = folder or migrations_folder()
    found: list[Migration] = []
    for path in sorted(folder.glob("*.sql")):
        match = _FILE_NAME.fullmatch(path.name)
        if match is None:
            raise SchemaError(f"{path.name}: a migration is called NNNN_lower_case_name.sql")
        found.append(Migration(int(match[1]), match[2], path.read_bytes()))
    if not found or [each.version for each in found] != list(range(1, len(found) + 1)):
        raise SchemaError(f"the files in {folder} are not numbered 1, 2, 3, … without a gap")
    return tuple(found)


def migrate(database_url: str, *, folder: Path | None = None) -> list[str]:
    """Apply what is missing; safe to call from many processes at once.

    Returns:
        The titles applied by this call, in order; empty when there was nothing to do.

    Raises:
        SchemaError: the schema is newer than this release, was altered, or a file failed.
        UnavailableError: PostgreSQL does not answer, or somebody holds a lock too long.
    """
    release = load_migrations(folder)
    with _connect(database_url) as connection:
        if _refuse_unfit(_compare(connection, release)).is_current:
            return []
        with _hold_guard(database_url):
            connection.execute(_SQL.create_ledger)
            # Only now is it certain that nobody else is migrating: look again.
            pending = _refuse_unfit(_compare(connection, release)).pending
            for migration in release:
                if migration.title in pending:
                    _apply(connection, migration)
    return list(pending)


def status(database_url: str, *, folder: Path | None = None) -> MigrationStatus:
    """What ran, what is missing, what does not fit; changes nothing."""
    with _connect(database_url) as connection:
        return _compare(connection, load_migrations(folder))


def check_schema(connection: Connection, *, accept_newer: bool = False, folder: Path | None = None) -> None:
    """Make sure that this release can work on the database behind ``connection``.

    Args:
        connection: any connection; one read, nothing is changed.
        accept_newer: for processes that may lag one release behind (workers of a fleet
            that is being updated): migrations expand first, so an older reader still fits.
        folder: the migrations of this release, when not its own.

    Raises:
        SchemaError: the schema is older, altered, or newer and that was not accepted.
    """
    found = _refuse_unfit(_compare(connection, load_migrations(folder)), accept_newer=accept_newer)
    if found.pending:
        raise SchemaError(
            f"the database schema is older than this release: {', '.join(found.pending)} not applied",
            hint="run `picloud migrate`",
        )


async def schema_fits(connection: psycopg.AsyncConnection[Any]) -> bool:
    """Whether a process of this release can work on the database; one that is newer fits, for it was expanded first."""
    async with connection.cursor() as cursor:
        await cursor.execute(_SQL.has_ledger)
        if await cursor.fetchone() != (True,):
            return False
    async with connection.cursor(row_factory=class_row(AppliedMigration)) as cursor:
        await cursor.execute(_SQL.applied)
        ledger = {row.version: row for row in await cursor.fetchall()}
    found = _status_of(ledger, _own_release())
    return not (found.pending or found.altered)


@cache
def _own_release() -> tuple[Migration, ...]:
    return load_migrations()


def _compare(connection: Connection, release: Sequence[Migration]) -> MigrationStatus:
    ledger: dict[int, AppliedMigration] = {}
    if _value(connection, _SQL.has_ledger):
        with connection.cursor(row_factory=class_row(AppliedMigration)) as cursor:
            ledger = {row.version: row for row in cursor.execute(_SQL.applied)}
    return _status_of(ledger, release)


def _status_of(ledger: Mapping[int, AppliedMigration], release: Sequence[Migration]) -> MigrationStatus:
    known = {migration.version for migration in release}
    return MigrationStatus(
        applied=tuple(ledger.values()),
        pending=tuple(each.title for each in release if each.version not in ledger),
        altered=tuple(
            each.title for each in release if each.version in ledger and ledger[each.version].sha256 != each.sha256
        ),
        unknown=tuple(row.title for version, row in ledger.items() if version not in known),
    )


def _refuse_unfit(found: MigrationStatus, *, accept_newer: bool = False) -> MigrationStatus:
    if found.altered:
        raise SchemaError(
            f"{', '.join(found.altered)} changed after it was applied to this database",
            hint="an applied migration is never edited: restore the file and put the change into a new one",
        )
    if found.unknown and not accept_newer:
        raise SchemaError(
            f"the database schema is newer than this release: it has {', '.join(found.unknown)}",
            hint="update PiCloud on this machine; the schema never goes back",
        )
    return found


def _apply(connection: Connection, migration: Migration) -> None:
    ledger_row = {"version": migration.version, "name": migration.name, "sha256": migration.sha256}
    try:
        if migration.runs_in_a_transaction:
            with connection.transaction():
                connection.execute(
                    _SQL.limit_waiting, {"lock_timeout": _LOCK_TIMEOUT, "statement_timeout": _STATEMENT_TIMEOUT}
                )
                # The ledger row goes first: should the guard ever be lost, its primary key still lets only one pass.
                connection.execute(_SQL.record, ledger_row)
                connection.execute(migration.sql)
        else:
            for statement in _statements(migration.sql):
                connection.execute(statement)
            connection.execute(_SQL.record, ledger_row)
    except psycopg.errors.LockNotAvailable as error:
        raise UnavailableError(
            f"{migration.title}: another session holds a lock on the table; nothing of it was applied",
            hint="run `picloud migrate` again",
        ) from error
    except psycopg.OperationalError as error:
        raise UnavailableError(f"{migration.title}: PostgreSQL went away: {_first_line(error)}") from error
    except psycopg.Error as error:
        raise SchemaError(f"{migration.title} failed and was not applied: {_first_line(error)}") from error


def _statements(sql: bytes) -> list[bytes]:
    """Split where ``;`` ends a line; sent together they would be one implicit transaction."""
    parts = (part.strip() for part in _END_OF_STATEMENT.split(sql))
    return [part for part in parts if any(line and not line.startswith(b"--") for line in part.splitlines())]


@contextmanager
def _hold_guard(database_url: str) -> Generator[None]:
    """Keep every other starter out for the length of the block.

    The lock sits on a connection of its own, idle in its transaction: such a transaction holds no
    snapshot, so ``CREATE INDEX CONCURRENTLY`` on the other connection does not wait for it.
    """
    give_up_at = time.monotonic() + _WAIT_FOR_OTHERS_SECONDS
    with _connect(database_url) as guard:
        while True:
            with guard.transaction():
                if _value(guard, _SQL.try_lock, key=_LOCK_KEY):
                    guard.execute(_SQL.keep_guard_open)
                    yield
                    return
            if time.monotonic() > give_up_at:
                raise UnavailableError(f"another process has been migrating for {_WAIT_FOR_OTHERS_SECONDS:.0f} s")
            time.sleep(_ASK_AGAIN_SECONDS)


@contextmanager
def _connect(database_url: str) -> Generator[Connection]:
    try:
        connection = connect(database_url, name="migrate")
    except psycopg.OperationalError as error:
        raise UnavailableError(f"PostgreSQL does not answer: {_first_line(error)}") from error
    with connection:
        yield connection


def _value(connection: Connection, query: LiteralString, **parameters: object) -> object:
    row = connection.execute(query, parameters or None).fetchone()
    return row[0] if row else None


def _first_line(error: psycopg.Error) -> str:
    return str(error).strip().partition("\n")[0]
