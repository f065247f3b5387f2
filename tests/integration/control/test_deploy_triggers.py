"""Triggers and queues as a deploy leaves them: whole, once, with what waits in the right place."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
import time
from collections.abc import Mapping
from typing import Any

import psycopg
import pytest

from picloud.access import InstanceRole, Principal
from picloud.control.apps import remove_app
from picloud.control.deploy import DeployPlan, deploy
from picloud.control.trigger_rows import lock_app_and_rows
from picloud.control.triggers import put_trigger
from picloud.errors import ConflictError
from picloud.ids import new_id
from picloud.settings import RetryDefaults, Settings
from picloud.triggers import EmailTrigger, Trigger
from tests.seeding import Seeds

pytestmark = pytest.mark.integration

_WORK = {"kind": "queue", "name": "work", "queue": "jobs", "script": "scripts/a.rhai"}


async def _deploy(
    database_url: str, admin_id: int, manifest: Mapping[str, Any], *, settings: Settings | None = None, **more: Any
) -> DeployPlan:
    async with (
        await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection,
        connection.transaction(),
    ):
        return await deploy(
            connection,
            settings or Settings(),
            Principal(admin_id, "user", "admin", InstanceRole.OWNER),
            more.pop("app", "shop"),
            manifest={"app": {"name": "shop"}, **manifest},
            files={"scripts/a.rhai": "1", "scripts/b.rhai": "2"},
            dry_run=more.pop("dry_run", False),
            **more,
        )


class Shop:
    """An app that is deployed again and again."""

    def __init__(self, database_url: str, seeds: Seeds) -> None:
        self.database_url, self.seeds = database_url, seeds

    def deploy(self, *triggers: dict[str, Any], queues: tuple[str, ...] = (), **more: Any) -> DeployPlan:
        manifest = {"trigger": list(triggers), "queue": [{"name": name} for name in queues]}
        return asyncio.run(_deploy(self.database_url, self.seeds.admin_id, manifest, **more))

    def send(self, queue: str = "jobs", connection: psycopg.Connection[Any] | None = None) -> None:
        (connection or self.seeds.connection).execute(
            "select send_rows(array[row(null, %s, (select id from apps where name = 'shop'), 'queue', %s, null, %s,"
            " 1, 2, 0, null, 3, 'linear', 5, 6, 7)::sent], '{}'::bytea)",
            (new_id(), queue, self.seeds.admin_id),
        )

    def states(self) -> list[int]:
        return [row[0] for row in self.seeds.connection.execute("select state from outbox order by seq").fetchall()]

    def rows(self, table: str) -> list[tuple[Any, ...]]:
        """Every row with the transaction that wrote it."""
        return self.seeds.connection.execute(f"select xmin::text, x.* from {table} x order by 2".encode()).fetchall()


@pytest.fixture
def shop(database_url: str, seeds: Seeds) -> Shop:
    return Shop(database_url, seeds)


def _told(plan: DeployPlan) -> list[tuple[str, str, str, str | None]]:
    """The lines about queues and triggers."""
    changes = [(each.action, each.kind, each.name, each.note) for each in plan.changes]
    return [change for change in changes if change[1] in ("queue", "trigger")]


def test_a_plan_has_a_line_for_each_queue_and_trigger_and_a_second_deploy_writes_nothing(shop: Shop) -> None:
    cron = {"kind": "cron", "name": "tick", "schedule": "* * * * *", "script": "scripts/b.rhai", "enabled": False}
    expected = [
        ("create", "queue", "jobs", None),
        ("create", "queue", "spare", None),
        ("create", "trigger", "tick", "cron, runs b, off"),
        ("create", "trigger", "work", "queue, runs a"),
    ]
    assert _told(shop.deploy(_WORK, cron, queues=("spare",), dry_run=True)) == expected
    assert _told(shop.deploy(_WORK, cron, queues=("spare",))) == expected
    tables = ("apps", "triggers", "queues", "cron_triggers", "queue_triggers")
    before = {table: shop.rows(table) for table in tables}
    plan = shop.deploy(cron, _WORK, queues=("jobs", "spare"))
    assert (plan.unchanged, plan.changes, plan.revision) == (True, [], 1)
    assert {table: shop.rows(table) for table in tables} == before


def test_a_changed_trigger_tells_what_and_keeps_its_id(shop: Shop) -> None:
    shop.deploy(_WORK)
    (before,) = shop.rows("triggers")
    plan = shop.deploy(
        _WORK | {"script": "scripts/b.rhai", "concurrency": 3, "retry": {"max_attempts": 9}, "enabled": False}
    )
    note = "script a → b, enabled true → false, retry.max_attempts 3 → 9, concurrency none → 3"
    assert _told(plan) == [("update", "trigger", "work", note)]
    (after,) = shop.rows("triggers")
    assert before[1] == after[1]
    assert plan.revision == 2


def test_other_defaults_of_the_platform_are_applied_by_the_next_deploy(shop: Shop) -> None:
    shop.deploy(_WORK)
    settings = dataclasses.replace(Settings(), retry=RetryDefaults(max_attempts=7))
    plan = shop.deploy(_WORK, settings=settings)
    assert _told(plan) == [("update", "trigger", "work", "retry.max_attempts 3 → 7")]
    assert shop.seeds.count("triggers", "max_attempts = 7 and retry = '{}'") == 1
    assert shop.deploy(_WORK, settings=settings).unchanged


def test_two_triggers_swap_what_only_one_may_have(shop: Shop) -> None:
    def mail(name: str, address: str) -> dict[str, Any]:
        return {"kind": "email", "name": name, "address": address, "script": "scripts/a.rhai"}

    def work(name: str, queue: str) -> dict[str, Any]:
        return {"kind": "queue", "name": name, "queue": queue, "script": "scripts/a.rhai"}

    shop.deploy(mail("a", "x"), mail("b", "y"), work("c", "one"), work("d", "two"))
    plan = shop.deploy(mail("a", "y"), mail("b", "x"), work("c", "two"), work("d", "one"))
    assert [(change.name, change.note) for change in plan.changes] == [
        ("a", "address x → y"), ("b", "address y → x"), ("c", "queue one → two"), ("d", "queue two → one"),
    ]  # fmt: skip
    assert (shop.seeds.count("email_triggers"), shop.seeds.count("queue_triggers")) == (2, 2)


def test_an_address_of_another_app_refuses_the_whole_deploy(shop: Shop) -> None:
    mail = {"kind": "email", "name": "mail", "address": "orders", "script": "scripts/a.rhai"}
    shop.deploy(mail)
    with pytest.raises(ConflictError, match="'orders' belongs to a trigger of another app"):
        asyncio.run(
            _deploy(
                shop.database_url,
                shop.seeds.admin_id,
                {"app": {"name": "blog"}, "trigger": [mail | {"address": "Orders"}]},
                app="blog",
            )
        )
    assert shop.seeds.count("apps") == 1


def test_of_two_apps_that_take_an_address_at_once_one_gets_it(shop: Shop) -> None:
    seeds = shop.seeds
    for name in ("one", "two"):
        seeds.script(seeds.app(name))

    async def take(app: str) -> None:
        async with (
            await psycopg.AsyncConnection.connect(shop.database_url, autocommit=True) as connection,
            connection.transaction(),
        ):
            principal = Principal(seeds.admin_id, "user", "admin", InstanceRole.OWNER)
            wanted = Trigger("mail", "orders", EmailTrigger("orders"))
            await put_trigger(connection, app, principal, wanted, RetryDefaults())

    async def both() -> list[BaseException | None]:
        return list(await asyncio.gather(take("one"), take("two"), return_exceptions=True))

    assert [type(each) for each in asyncio.run(both()) if each is not None] == [ConflictError]
    assert seeds.count("triggers") == seeds.count("email_triggers") == 1


def test_two_apps_that_swap_their_addresses_at_once_are_refused_and_not_caught_in_a_deadlock(shop: Shop) -> None:
    def deploying(app: str, address: str) -> threading.Thread:
        trigger = {"kind": "email", "name": "mail", "address": address, "script": "scripts/a.rhai"}
        manifest = {"app": {"name": app}, "trigger": [trigger]}

        def run() -> None:
            try:
                asyncio.run(_deploy(shop.database_url, shop.seeds.admin_id, manifest, app=app))
            except (ConflictError, psycopg.Error) as error:
                ended.append(type(error))
            else:
                ended.append(None)

        thread = threading.Thread(target=run)
        thread.start()
        return thread

    def waiting() -> int:
        return shop.seeds.count("pg_stat_activity", "datname = current_database() and wait_event_type = 'Lock'")

    # Given two apps with an address each
    ended: list[type[BaseException] | None] = []
    for app, address in (("one", "x"), ("two", "y")):
        deploying(app, address).join()
    assert ended == [None, None]
    ended.clear()
    # When both want the other's, and none can go on before both have let go of what they may
    with psycopg.connect(shop.database_url) as gate:
        gate.execute("lock table triggers in share mode")
        threads = [deploying("one", "y"), deploying("two", "x")]
        deadline = time.monotonic() + 20
        while waiting() < 2:
            assert time.monotonic() < deadline, "the deploys do not meet"
        gate.commit()
    for thread in threads:
        thread.join()
    # Then each is told that the address is still another app's
    assert ended == [ConflictError, ConflictError]
    rows = shop.seeds.connection.execute(
        "select a.name, e.address from email_triggers e join triggers t on t.id = e.trigger_id"
        " join apps a on a.id = t.app_id order by 1"
    )
    assert rows.fetchall() == [("one", "x"), ("two", "y")]


def test_a_queue_with_messages_stays_when_it_is_no_longer_named_and_every_plan_says_so(shop: Shop) -> None:
    shop.deploy(_WORK, queues=("empty",))
    shop.send()
    plan = shop.deploy()
    assert _told(plan) == [
        ("delete", "queue", "empty", None),
        ("delete", "trigger", "work", "1 message will wait in jobs for another consumer"),
    ]
    note = "1 message in it; `picloud queues rm --cancel-waiting` removes both"
    assert [(kept.name, kept.note) for kept in plan.kept] == [("jobs", note)]
    assert shop.states() == [3]
    again = shop.deploy()
    assert (again.unchanged, [kept.name for kept in again.kept]) == (True, ["jobs"])
    shop.deploy(_WORK)
    assert shop.states() == [0]


def test_what_waits_is_cancelled_with_what_goes_when_asked_for(shop: Shop) -> None:
    seeds = shop.seeds
    kv = {"kind": "kv", "name": "kv", "collection": "x", "script": "scripts/a.rhai"}
    shop.deploy(_WORK, kv)
    shop.send()
    app_id, script_id, trigger_id = seeds.connection.execute(
        "select app_id, script_id, id from triggers where name = 'kv'"
    ).fetchone() or (0, 0, 0)
    seeds.waiting(app_id, script_id, source="kv")
    seeds.connection.execute("update outbox set trigger_id = %s where source = 'kv'", (trigger_id,))
    assert _told(shop.deploy(dry_run=True)) == [
        ("delete", "trigger", "kv", "1 accepted execution of it will still run"),
        ("delete", "trigger", "work", "1 message will wait in jobs for another consumer"),
    ]
    expected = [
        ("delete", "queue", "jobs", "1 message in it will be cancelled, those that run excepted"),
        ("delete", "trigger", "kv", "1 accepted execution of it will be cancelled, those that run excepted"),
        ("delete", "trigger", "work", None),
    ]
    assert _told(shop.deploy(dry_run=True, cancels_waiting=True)) == expected
    assert _told(shop.deploy(cancels_waiting=True)) == expected
    assert (shop.states(), seeds.count("executions", "status = 'cancelled'")) == ([], 2)


def test_many_deploys_at_once_leave_one_of_them_whole(shop: Shop) -> None:
    several = [
        [_WORK | {"name": f"t{n % 4}", "queue": f"q{n % 3}"}, {**_WORK, "name": f"u{n % 2}", "queue": f"r{n % 2}"}]
        for n in range(10)
    ]

    async def all_at_once() -> list[DeployPlan]:
        deploys = (_deploy(shop.database_url, shop.seeds.admin_id, {"trigger": each}) for each in several)
        return await asyncio.gather(*deploys)

    plans = asyncio.run(all_at_once())
    left = shop.seeds.connection.execute(
        "select t.name, q.name from triggers t join queue_triggers u on u.trigger_id = t.id"
        " join queues q on q.id = u.queue_id order by 1"
    ).fetchall()
    assert left in [[(each["name"], each["queue"]) for each in triggers] for triggers in several]
    assert shop.seeds.count("queues") == 2
    changed = [plan for plan in plans if not plan.unchanged]
    assert len({plan.revision for plan in changed}) == len(changed)


@pytest.mark.parametrize("consumer", ["comes", "goes"])
def test_a_message_that_is_sent_while_its_consumer_comes_or_goes_is_seen_by_one_of_them(
    shop: Shop, consumer: str
) -> None:
    before, after = ((), (_WORK,)) if consumer == "comes" else ((_WORK,), ())
    shop.deploy(*before, queues=("jobs",))
    with psycopg.connect(shop.database_url) as sending:
        shop.send(connection=sending)
        deploying = threading.Thread(target=shop.deploy, args=after, kwargs={"queues": ("jobs",)})
        deploying.start()
        while not shop.seeds.count("pg_locks", "not granted"):
            time.sleep(0.005)
    deploying.join()
    assert shop.states() == [0 if consumer == "comes" else 3]


def test_a_message_that_is_sent_during_a_deploy_meets_the_new_consumer(shop: Shop) -> None:
    shop.deploy(queues=("jobs",))

    async def race() -> None:
        async with (
            await psycopg.AsyncConnection.connect(shop.database_url, autocommit=True) as connection,
            connection.transaction(),
        ):
            await deploy(
                connection,
                Settings(),
                Principal(shop.seeds.admin_id, "user", "admin", InstanceRole.OWNER),
                "shop",
                manifest={"app": {"name": "shop"}, "trigger": [_WORK]},
                files={"scripts/a.rhai": "1", "scripts/b.rhai": "2"},
                dry_run=False,
            )
            sending = asyncio.create_task(asyncio.to_thread(_send))
            while not shop.seeds.count("pg_locks", "not granted"):
                await asyncio.sleep(0.005)
        await sending

    def _send() -> None:
        with psycopg.connect(shop.database_url) as connection:
            shop.send(connection=connection)

    asyncio.run(race())
    assert shop.states() == [0]


def test_who_removes_an_app_waits_for_who_changes_what_waits_of_it(shop: Shop) -> None:
    shop.deploy(_WORK)
    shop.send()

    async def remove() -> int:
        async with (
            await psycopg.AsyncConnection.connect(shop.database_url, autocommit=True) as connection,
            connection.transaction(),
        ):
            return (await remove_app(connection, "shop")).cancelled

    async def race() -> int:
        async with (
            await psycopg.AsyncConnection.connect(shop.database_url, autocommit=True) as connection,
            connection.transaction(),
        ):
            await lock_app_and_rows(connection, "shop")
            removing = asyncio.create_task(remove())
            while not shop.seeds.count("pg_locks", "not granted"):
                await asyncio.sleep(0.005)
            await connection.execute("update outbox set state = 3")
        return await removing

    assert asyncio.run(race()) == 1
    assert (shop.seeds.count("outbox"), shop.seeds.count("triggers"), shop.seeds.count("queues")) == (0, 0, 0)
