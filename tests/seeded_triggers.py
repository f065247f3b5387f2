"""Triggers for tests, written by SQL directly: what is under test is never what sets the stage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tests.seeding import Seeds


def create_trigger(
    seeds: Seeds, app_id: int, script_id: int, kind: str, name: str | None = None, *, is_enabled: bool = True
) -> int:
    """The parent row of a trigger that nothing fires yet."""
    serial = seeds.count("triggers") + 1
    return _number(
        seeds,
        "insert into triggers (app_id, name, kind, script_id, registered_by_principal, is_enabled, max_attempts,"
        " backoff, backoff_base_ms, backoff_max_ms, backoff_jitter_pct)"
        " values (%s, %s, %s, %s, %s, %s, 4, 'linear', 500, 9000, 10) returning id",
        app_id,
        name or f"{kind}-{serial}",
        kind,
        script_id,
        seeds.admin_id,
        is_enabled,
    )


def create_kv_trigger(
    seeds: Seeds,
    app_id: int,
    script_id: int,
    collection: str = "*",
    ops: Sequence[str] = ("insert", "update", "delete"),
    *,
    name: str | None = None,
    is_enabled: bool = True,
) -> int:
    """A trigger of changed keys."""
    trigger_id = create_trigger(seeds, app_id, script_id, "kv", name, is_enabled=is_enabled)
    seeds.connection.execute(
        "insert into kv_triggers (trigger_id, app_id, is_prefix, collection, ops) values (%s, %s, %s, %s, %s)",
        (trigger_id, app_id, collection.endswith("*"), collection.removesuffix("*"), list(ops)),
    )
    return trigger_id


def _number(seeds: Seeds, statement: Any, *parameters: object) -> int:
    row = seeds.connection.execute(statement, parameters).fetchone()
    assert row is not None
    return int(row[0])
