"""Puts another master key in the place of the one there is, while everything goes on.

::

    file      database      step
    A         A             at first
    A B       A             prepare: the file is copied to every machine now; A signs, either verifies
    A B       B             rotate, committed: every data key is wrapped by B
    B A       B             rotate, ended: B signs
    B         B             retire, once every machine has B in front

The database says which key wraps, a file says which keys there are. The file gets B before
the database does, and loses A after it: whoever is killed anywhere leaves files that open
all there is, and the same command again goes on where that one ended. Values of secrets
are not touched, nor are they opened.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

from psycopg import Connection
from psycopg.rows import class_row

from picloud.errors import ConflictError
from picloud.failpoints import failpoint
from picloud.local.master_key import KEY_BYTES, load_master_keys, replace_master_keys
from picloud.local.master_key_holders import Holder
from picloud.queries import Queries
from picloud.services.vault import (
    BrokenSealError,
    DataKey,
    MasterKeyError,
    SecretPlace,
    Vault,
    WrongMasterKeyError,
    master_key_id,
)

_SQL = Queries("master_key")

_COPY = "copy the file there and restart its workers; --force goes on, and they read no secrets until then"


class UnsafeRotationError(ConflictError):
    """Raised when the next step of a rotation would take secrets away from somebody."""

    code = "unsafe_rotation"


class Installed(NamedTuple):
    """What the database says.

    Attributes:
        id: of the master key that wraps data keys; None: nothing was ever sealed.
        former: ids of those it replaced.
    """

    id: bytes | None
    former: tuple[bytes, ...]


class KeyRing(NamedTuple):
    """The keys of the file in its order, and their ids."""

    keys: tuple[bytes, ...]

    @property
    def ids(self) -> tuple[bytes, ...]:
        return tuple(master_key_id(key) for key in self.keys)

    def key(self, identifier: bytes) -> bytes:
        return self.keys[self.ids.index(identifier)]


@dataclass(frozen=True, slots=True)
class Rotated:
    """What ``rotate`` did.

    Attributes:
        data_keys: how many were wrapped anew; 0 when only the file was left to change.
    """

    old: bytes
    new: bytes
    data_keys: int


@dataclass(frozen=True, slots=True)
class Proof:
    """What ``prove`` found: how much opens, and what does not and why."""

    data_keys: int
    secrets: int
    broken: tuple[str, ...]


def read_installed(connection: Connection[Any]) -> Installed:
    """Which master key the database is wrapped with."""
    return _installed(connection.execute(_SQL.master_key).fetchone())


def prepare(connection: Connection[Any], path: Path) -> bytes:
    """Add a new key behind the one that is in use; nothing uses it yet.

    Returns:
        Its id; that of the key which is prepared already, if one is.

    Raises:
        WrongMasterKeyError: the file does not hold the key that is in use.
        UnsafeRotationError: the file still holds a former key.
    """
    with _alone(path):
        return _prepare(path, read_installed(connection))


def rotate(connection: Connection[Any], path: Path, source: str | None, holders: Sequence[Holder]) -> Rotated:
    """Wrap every data key by the key that was prepared, in one transaction; then let that key sign.

    Prepares one itself, when no worker has anything but this very file.

    Args:
        connection: in autocommit mode.
        path: the file.
        source: its ``master_key_source``.
        holders: the workers that must not be locked out.

    Raises:
        WrongMasterKeyError: the file does not hold the key that is in use.
        UnsafeRotationError: the rotation before was not ended, or a worker has not got the new key.
        BrokenSealError: a data key does not open. Nothing was changed.
    """
    with _alone(path):
        installed = read_installed(connection)
        ring = KeyRing(load_master_keys(path))
        if installed.id is not None and ring.ids[1:] == (installed.id,) and ring.ids[0] in installed.former:
            # Killed between the commit and the file, or the file was copied from before the commit.
            replace_master_keys(path, (ring.keys[1], ring.keys[0]))
            return Rotated(ring.ids[0], installed.id, 0)
        if len(ring.keys) == 1:
            _refuse_others(holders, source)
        new = _prepare(path, installed)
        failpoint("master_key.prepared")
        _refuse_without(holders, source, new)
        return _rotate_to(connection, path, new)


def retire(connection: Connection[Any], path: Path, source: str | None, holders: Sequence[Holder]) -> bytes | None:
    """Take the former key out of the file.

    Returns:
        Its id; None: the file holds none.

    Raises:
        WrongMasterKeyError: the file does not hold the key that is in use.
        UnsafeRotationError: the key behind it was not rotated to yet, or a worker still signs with the former one.
    """
    with _alone(path):
        installed = read_installed(connection)
        ring = _ring_of(path, installed)
        if len(ring.keys) == 1:
            return None
        current = installed.id or ring.ids[0]
        (other,) = (each for each in ring.ids if each != current)
        if other not in installed.former:
            raise UnsafeRotationError(
                f"master key {other.hex()} of {path} is the next one, not a former one",
                hint="`picloud master-key rotate` puts it into use",
            )
        _refuse_wrapped_by_others(connection, current)
        late = [each for each in _elsewhere(holders, source) if each.keys[0] != current]
        if late:
            raise UnsafeRotationError(f"still signs with a former master key: {_listed(late)}", hint=_COPY)
        failpoint("master_key.retiring")
        replace_master_keys(path, (ring.key(current),))
        return other


def prove(connection: Connection[Any], path: Path) -> Proof:
    """Open every data key and every secret with the keys of the file; no value is kept or shown."""
    vault = Vault(lambda: load_master_keys(path))
    broken: list[str] = []
    opened = 0
    wrapped = _data_keys(connection)
    with connection.cursor(row_factory=class_row(_SealedRow)) as cursor:
        for row in cursor.stream(_SQL.sealed):
            data_key = DataKey(row.data_key_id, row.wrapped, row.master_key_id)
            try:
                vault.open(data_key, SecretPlace(row.app_id, row.name, row.version), row.sealed)
                opened += 1
            except (BrokenSealError, MasterKeyError) as error:
                broken.append(f"{row.app}/{row.name}: {error.message}")
    for each in wrapped:
        try:
            vault.rewrap(each, each.master_key_id)
        except (BrokenSealError, MasterKeyError) as error:
            broken.append(f"data key {each.id}: {error.message}")
    return Proof(len(wrapped), opened, tuple(broken))


def _prepare(path: Path, installed: Installed) -> bytes:
    ring = _ring_of(path, installed)
    current = installed.id or ring.ids[0]
    others = [each for each in ring.ids if each != current]
    if not others:
        new = secrets.token_bytes(KEY_BYTES)
        replace_master_keys(path, (ring.key(current), new))
        return master_key_id(new)
    if others[0] in installed.former:
        raise UnsafeRotationError(
            f"{path} still holds master key {others[0].hex()}, which the last rotation replaced",
            hint="`picloud master-key retire` takes it out, once every machine has the new file",
        )
    return others[0]


def _rotate_to(connection: Connection[Any], path: Path, new: bytes) -> Rotated:
    with connection.transaction():
        connection.execute(_SQL.begin_with, {"id": master_key_id(load_master_keys(path)[0])})
        locked = _installed(connection.execute(_SQL.lock_master_key).fetchone())
        assert locked.id is not None, "the row was written above"
        # Another machine may have rotated since we looked: its file is not the one that is locked here.
        ring = _ring_of(path, locked)
        vault = Vault(lambda: ring.keys)
        if new == locked.id or new in locked.former:
            raise UnsafeRotationError("another rotation has just ended", hint="`picloud master-key show` says how")
        wrapped = _data_keys(connection)
        for each in wrapped:
            made = vault.rewrap(each, new)
            connection.execute(
                _SQL.rewrap, {"id": made.id, "wrapped": made.wrapped, "master_key_id": made.master_key_id}
            )
        connection.execute(_SQL.replace_master_key, {"id": new})
        failpoint("master_key.wrapped")
    failpoint("master_key.committed")
    replace_master_keys(path, (ring.key(new), ring.key(locked.id)))
    failpoint("master_key.rotated")
    return Rotated(locked.id, new, len(wrapped))


def _ring_of(path: Path, installed: Installed) -> KeyRing:
    ring = KeyRing(load_master_keys(path))
    if installed.id is not None and installed.id not in ring.ids:
        raise WrongMasterKeyError(
            f"secrets are sealed with master key {installed.id.hex()}, and {path} holds"
            f" {' and '.join(each.hex() for each in ring.ids)}",
            hint="copy the file from a machine that has the right one; PICLOUD_MASTER_KEY_FILE names another file",
        )
    return ring


def _elsewhere(holders: Sequence[Holder], source: str | None) -> list[Holder]:
    """Who has keys, and from another file: who looks at this one sees a change by itself."""
    return [each for each in holders if each.keys and (source is None or each.source != source)]


def _refuse_others(holders: Sequence[Holder], source: str | None) -> None:
    if others := _elsewhere(holders, source):
        raise UnsafeRotationError(
            f"these have their own copy of the master key: {_listed(others)}",
            hint="`picloud master-key prepare`, copy the file to every machine, restart its services, then rotate",
        )


def _refuse_without(holders: Sequence[Holder], source: str | None, new: bytes) -> None:
    if without := [each for each in _elsewhere(holders, source) if new not in each.keys]:
        raise UnsafeRotationError(f"these have not got the new master key {new.hex()}: {_listed(without)}", hint=_COPY)


def _refuse_wrapped_by_others(connection: Connection[Any], current: bytes) -> None:
    for identifier, count in connection.execute(_SQL.data_keys_by_master_key).fetchall():
        if bytes(identifier) != current:
            raise UnsafeRotationError(
                f"{count} data key(s) are wrapped by master key {bytes(identifier).hex()}, not by {current.hex()}",
                hint="were rows restored from an older backup? Keep that key, and set these secrets anew",
            )


def _listed(holders: Sequence[Holder]) -> str:
    return ", ".join(str(each) for each in holders)


def _installed(row: tuple[Any, ...] | None) -> Installed:
    return Installed(bytes(row[0]), tuple(bytes(each) for each in row[1])) if row else Installed(None, ())


class _SealedRow(NamedTuple):
    app: str
    app_id: int
    name: str
    version: int
    sealed: bytes
    data_key_id: UUID
    wrapped: bytes
    master_key_id: bytes


def _data_keys(connection: Connection[Any]) -> list[DataKey]:
    with connection.cursor(row_factory=class_row(DataKey)) as cursor:
        return cursor.execute(_SQL.data_keys).fetchall()


@contextmanager
def _alone(path: Path) -> Generator[None]:
    """Let no other command change the file meanwhile; the kernel ends the lock with whoever holds it."""
    descriptor = os.open(path.resolve().parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConflictError(f"another `picloud master-key` is changing {path}", hint="wait for its end") from None
        yield
    finally:
        os.close(descriptor)
