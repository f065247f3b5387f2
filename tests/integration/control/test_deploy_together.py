"""Many deploys of one app at once: one after another, each whole."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import psycopg
import pytest

from picloud.access import InstanceRole, Principal
from picloud.control.deploy import DeployPlan, deploy
from picloud.settings import Settings
from tests.seeding import Seeds

pytestmark = pytest.mark.integration

_SETTINGS = Settings()


async def _deploy(database_url: str, admin_id: int, files: Mapping[str, str]) -> DeployPlan:
    names = sorted(files)
    manifest = {
        "app": {"name": "shop"},
        "route": [{"method": "GET", "path": f"/{n}", "script": name} for n, name in enumerate(names)],
    }
    async with (
        await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection,
        connection.transaction(),
    ):
        return await deploy(
            connection,
            _SETTINGS,
            Principal(admin_id, "user", "admin", InstanceRole.OWNER),
            "shop",
            manifest=manifest,
            files=files,
            dry_run=False,
        )


def _together(database_url: str, seeds: Seeds, several: Sequence[Mapping[str, str]]) -> list[DeployPlan]:
    async def all_at_once() -> list[DeployPlan]:
        return await asyncio.gather(*(_deploy(database_url, seeds.admin_id, files) for files in several))

    return asyncio.run(all_at_once())


def test_of_many_equal_first_deploys_one_makes_the_app_and_the_others_find_it(database_url: str, seeds: Seeds) -> None:
    plans = _together(database_url, seeds, [{"scripts/a.rhai": "1"}] * 8)
    assert sorted(len(plan.changes) for plan in plans) == [0] * 7 + [3]
    assert {plan.revision for plan in plans} == {1}
    assert (seeds.count("apps"), seeds.count("script_versions"), seeds.count("routes")) == (1, 1, 1)


def test_different_deploys_at_once_leave_one_of_them_whole(database_url: str, seeds: Seeds) -> None:
    several = [{f"scripts/s{n % 4}.rhai": str(n), f"scripts/t{n % 3}.rhai": str(n)} for n in range(10)]
    plans = _together(database_url, seeds, several)
    left = {
        f"scripts/{name}.rhai": source
        for name, source in seeds.connection.execute(
            "select s.name, v.source from scripts s join script_versions v on v.script_id = s.id"
            " and v.version = s.current_version where deleted_at is null"
        ).fetchall()
    }
    assert left in several
    used = seeds.connection.execute(
        "select count(*) from routes r join scripts s on s.id = r.script_id where s.deleted_at is null"
    ).fetchone()
    assert used == (2,)
    assert seeds.count("routes") == 2
    last = max(plan.revision for plan in plans)
    assert seeds.connection.execute("select revision from apps").fetchone() == (last,)
    assert len({plan.revision for plan in plans}) == len(plans)


def test_a_deploy_that_fails_in_the_middle_leaves_nothing(
    database_url: str, seeds: Seeds, monkeypatch: pytest.MonkeyPatch
) -> None:
    from picloud.control import deploy as module

    async def fail(*_: object, **__: object) -> None:
        raise RuntimeError("power cut")

    monkeypatch.setattr(module, "insert_route", fail)
    with pytest.raises(RuntimeError):
        asyncio.run(_deploy(database_url, seeds.admin_id, {"scripts/a.rhai": "1"}))
    assert (seeds.count("apps"), seeds.count("scripts"), seeds.count("script_versions")) == (0, 0, 0)
