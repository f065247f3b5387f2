"""Secrets of apps: set, listed by name, removed. Nothing here reads a value back: ``SecretReader`` does, for runs."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

import msgspec

from picloud.access import Principal
from picloud.control.apps import AppRow, find_app, lock_app
from picloud.control.pages import Page, page_of
from picloud.control.records import Connection, fetch_all, fetch_one, fetch_row, fetch_rows
from picloud.errors import InvalidInputError, NotFoundError
from picloud.manifest.names import wrong_secret_name
from picloud.queries import Queries
from picloud.services.vault import DataKey, SecretPlace, Vault, checked_value

_SQL = Queries("secrets")


class Secret(msgspec.Struct, frozen=True):
    """A secret as it may be shown: never its value. `created_at` and `created_by` are of this version."""

    app: str
    name: str
    version: int
    created_by: str
    created_at: dt.datetime


class RotatedDataKey(msgspec.Struct, frozen=True):
    """What a rotation did: how many secrets of the app were sealed anew."""

    app: str
    secrets: int


async def list_secrets(connection: Connection, app_name: str, *, limit: int, after: str | None) -> Page[Secret]:
    """By name. Raises: NotFoundError."""
    app = await find_app(connection, app_name)
    rows = await _read(connection, app, after=after, limit=limit + 1)
    return page_of(rows, limit, lambda secret: secret.name)


async def read_secret(connection: Connection, app: AppRow, name: str) -> Secret:
    """What may be shown of one. Raises: NotFoundError."""
    rows = await _read(connection, app, name=name, limit=1)
    if not rows:
        raise _no_secret(app.name, name)
    return rows[0]


async def missing_secrets(connection: Connection, app: AppRow | None, names: Sequence[str]) -> list[str]:
    """Those of ``names`` that the app has no secret of; all of them while there is no app."""
    if app is None or not names:
        return list(names)
    rows = await fetch_rows(connection, _SQL.missing_secrets, {"app_id": app.id, "names": list(names)})
    return [row.name for row in rows]


async def set_secret(
    connection: Connection, vault: Vault, app_name: str, principal: Principal, *, name: str, value: str
) -> Secret:
    """Set a secret; its version says how often that was done. Runs that read it after the commit read this value.

    Raises:
        NotFoundError: there is no such app.
        InvalidInputError: name or value cannot be a secret's.
        MasterKeyError: this process has no master key, or the wrong one.
    """
    if wrong := wrong_secret_name(name):
        raise InvalidInputError(f"name: {wrong}")
    checked_value(value)
    app = await lock_app(connection, app_name)
    data_key = await _sealing_key(connection, vault, app)
    set_before = await fetch_row(connection, _SQL.version_of_secret, {"app_id": app.id, "name": name})
    place = SecretPlace(app.id, name, set_before.version + 1 if set_before else 1)
    await connection.execute(
        _SQL.put_secret,
        {
            **place._asdict(),
            "sealed": vault.seal(data_key, place, value),
            "data_key_id": data_key.id,
            "principal_id": principal.id,
        },
    )
    return await read_secret(connection, app, name)


async def remove_secret(connection: Connection, app_name: str, name: str) -> None:
    """Raises: NotFoundError."""
    app = await lock_app(connection, app_name)
    if await fetch_row(connection, _SQL.delete_secret, {"app_id": app.id, "name": name}) is None:
        raise _no_secret(app.name, name)


async def rotate_data_key(connection: Connection, vault: Vault, app_name: str) -> RotatedDataKey:
    """Seal every secret of an app anew, under a data key that was never used; no value and no version changes.

    All or nothing, with the transaction. The old data key is gone with the commit: runs read a
    secret and its data key in one statement, so none of them needs it again.

    Raises:
        NotFoundError: there is no such app.
        MasterKeyError: this process has no master key, or the wrong one.
        BrokenSealError: a secret does not open; which one, the message says.
    """
    app = await lock_app(connection, app_name)
    old = await fetch_one(connection, _SQL.sealing_key, {"app_id": app.id}, DataKey)
    if old is None:
        return RotatedDataKey(app.name, 0)
    new = await _new_data_key(connection, vault, app)
    rows = await fetch_rows(connection, _SQL.sealed_secrets, {"app_id": app.id})
    for row in rows:
        place = SecretPlace(app.id, row.name, row.version)
        sealed = vault.seal(new, place, vault.open(old, place, row.sealed))
        await connection.execute(
            _SQL.reseal_secret, {"app_id": app.id, "name": row.name, "sealed": sealed, "data_key_id": new.id}
        )
    await connection.execute(_SQL.delete_data_key, {"app_id": app.id, "id": old.id})
    return RotatedDataKey(app.name, len(rows))


async def _sealing_key(connection: Connection, vault: Vault, app: AppRow) -> DataKey:
    """The data key that seals; made when there is none yet. The app is locked: nobody else makes one."""
    found = await fetch_one(connection, _SQL.sealing_key, {"app_id": app.id}, DataKey)
    return found or await _new_data_key(connection, vault, app)


async def _new_data_key(connection: Connection, vault: Vault, app: AppRow) -> DataKey:
    await connection.execute(_SQL.first_master_key, {"id": vault.first_master_key_id()})
    held = await fetch_row(connection, _SQL.hold_master_key, {})
    assert held is not None, "one is there, whoever wrote it"
    made = vault.new_data_key(held.id)
    await connection.execute(
        _SQL.insert_data_key,
        {"id": made.id, "app_id": app.id, "wrapped": made.wrapped, "master_key_id": made.master_key_id},
    )
    return made


async def _read(
    connection: Connection, app: AppRow, *, limit: int, name: str | None = None, after: str | None = None
) -> list[Secret]:
    parameters = {"app": app.name, "app_id": app.id, "name": name, "after": after, "limit": limit}
    return await fetch_all(connection, _SQL.secrets, parameters, Secret)


def _no_secret(app: str, name: str) -> NotFoundError:
    return NotFoundError(f"{app} has no secret {name!r}", hint=f"`picloud secrets ls {app}` lists them")
