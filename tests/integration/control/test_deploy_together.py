"""Many deploys of one app at once: one after another, each whole."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import psycopg
import pytest

from picloud.access import InstanceRole, Principal
from picloud.control.deploy import DeployPlan, Terms, deploy, roll_back
from picloud.errors import ConflictError
from picloud.settings import Settings
from tests.seeding import Seeds

pytestmark = pytest.mark.integration

_SETTINGS = Settings()
_NO_TERMS = Terms()


async def _deploy(
    database_url: str,
    admin_id: int,
    files: Mapping[str, str],
    terms: Terms = Terms(),  # noqa: B008 - it is frozen
) -> DeployPlan:
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
            terms=terms,
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


def _outcomes(
    database_url: str, seeds: Seeds, several: Sequence[tuple[Mapping[str, str], Terms]]
) -> list[DeployPlan | BaseException]:
    async def all_at_once() -> list[DeployPlan | BaseException]:
        deploys = (_deploy(database_url, seeds.admin_id, files, terms) for files, terms in several)
        return list(await asyncio.gather(*deploys, return_exceptions=True))

    return asyncio.run(all_at_once())


def test_of_deploys_of_one_label_at_once_one_content_gets_it(database_url: str, seeds: Seeds) -> None:
    terms = Terms(label="abc")
    contents = [{"scripts/a.rhai": str(n % 2)} for n in range(6)]
    outcomes = _outcomes(database_url, seeds, [(files, terms) for files in contents])
    made = [outcome for outcome in outcomes if isinstance(outcome, DeployPlan)]
    refused = [outcome for outcome in outcomes if isinstance(outcome, ConflictError)]
    assert (len(made), {error.code for error in refused}, len(refused)) == (3, {"release_differs"}, 3)
    assert sorted(plan.unchanged for plan in made) == [False, True, True]
    assert {plan.release for plan in made} == {1}
    assert (seeds.count("releases"), seeds.count("script_versions")) == (1, 1)


def test_of_deploys_that_expect_one_revision_one_is_made(database_url: str, seeds: Seeds) -> None:
    asyncio.run(_deploy(database_url, seeds.admin_id, {"scripts/a.rhai": "0"}))
    terms = Terms(revision=1)
    outcomes = _outcomes(database_url, seeds, [({"scripts/a.rhai": str(n)}, terms) for n in range(1, 6)])
    codes = [outcome.code for outcome in outcomes if isinstance(outcome, ConflictError)]
    assert codes == ["precondition_failed"] * 4
    assert [outcome.release for outcome in outcomes if isinstance(outcome, DeployPlan)] == [2]


def test_a_deploy_and_a_rollback_at_once_leave_one_of_them_whole(database_url: str, seeds: Seeds) -> None:
    for files in ({"scripts/a.rhai": "1"}, {"scripts/b.rhai": "2"}):
        asyncio.run(_deploy(database_url, seeds.admin_id, files))

    async def back() -> DeployPlan:
        async with (
            await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection,
            connection.transaction(),
        ):
            principal = Principal(seeds.admin_id, "user", "admin", InstanceRole.OWNER)
            return await roll_back(connection, _SETTINGS, principal, "shop", number=1)

    async def both() -> list[DeployPlan]:
        return list(await asyncio.gather(back(), _deploy(database_url, seeds.admin_id, {"scripts/c.rhai": "3"})))

    assert {plan.release for plan in asyncio.run(both())} == {3, 4}
    living = seeds.connection.execute("select name from scripts where deleted_at is null").fetchall()
    routed = seeds.connection.execute("select s.name from routes r join scripts s on s.id = r.script_id").fetchall()
    assert living == routed
    assert living in ([("a",)], [("c",)])
    assert (
        seeds.connection.execute(
            "select s.name from release_scripts r join scripts s on s.id = r.script_id"
            " where release_id = (select max(id) from releases)"
        ).fetchall()
        == living
    )


def test_a_deploy_that_fails_in_the_middle_leaves_nothing(
    database_url: str, seeds: Seeds, monkeypatch: pytest.MonkeyPatch
) -> None:
    from picloud.control import deploy as module

    async def fail(*_: object, **__: object) -> None:
        raise RuntimeError("power cut")

    monkeypatch.setattr(module, "insert_release", fail)
    with pytest.raises(RuntimeError):
        asyncio.run(_deploy(database_url, seeds.admin_id, {"scripts/a.rhai": "1"}))
    assert (seeds.count("apps"), seeds.count("scripts"), seeds.count("script_versions")) == (0, 0, 0)
