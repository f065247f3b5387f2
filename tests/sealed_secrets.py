"""Secrets as the control plane sets them, for tests of what wraps them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import psycopg

from picloud.access import InstanceRole, Principal
from picloud.control.secrets import set_secret
from picloud.local.master_key import load_master_keys
from picloud.services.vault import Vault
from tests.seeding import Seeds


def put_secret(url: str, seeds: Seeds, app: str, name: str, value: str, key_file: Path) -> None:
    """Set a secret with the keys of a file as it is now."""

    async def put() -> None:
        async with await psycopg.AsyncConnection.connect(url) as connection:
            admin = Principal(seeds.admin_id, "user", "admin", InstanceRole.OWNER)
            vault = Vault(lambda: load_master_keys(key_file))
            await set_secret(connection, vault, app, admin, name=name, value=value)

    asyncio.run(put())
