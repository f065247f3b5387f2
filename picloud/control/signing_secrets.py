"""The secrets that sign requests to routes, opened in the web process for that and nothing else."""

from __future__ import annotations

from picloud.control.records import Connection, fetch_row
from picloud.queries import Queries
from picloud.services.vault import DataKey, SecretPlace, Vault

_SQL = Queries("secrets")


async def read_signing_secret(connection: Connection, vault: Vault, app_id: int, name: str) -> str | None:
    """The value of a secret as it is set now; None: the app has none of this name.

    Raises:
        MasterKeyError: there is no master key here, or the wrong one.
        BrokenSealError: what is stored is not what was set.
    """
    row = await fetch_row(connection, _SQL.secret_of_run, {"app_id": app_id, "name": name})
    if row is None or row.sealed is None:
        return None
    data_key = DataKey(row.data_key_id, bytes(row.wrapped), bytes(row.master_key_id))
    return vault.open(data_key, SecretPlace(app_id, name, row.version), bytes(row.sealed))
