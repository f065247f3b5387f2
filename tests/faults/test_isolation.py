"""Two apps beside each other: whatever a script of one passes as a name, nothing of the other is read or changed.

Everything the other app keeps holds one word. Where the word turns up among what the attacking
app has, something was read; where the other app's rows are not what they were, something was changed.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psycopg
import pytest

from picloud.access import InstanceRole, Principal
from picloud.control.secrets import set_secret
from picloud.local.master_key import ensure_master_key
from picloud.retries import RetryPolicy
from picloud.services.vault import Vault
from tests.belongings import belongings
from tests.faults.cluster import Cluster
from tests.seeds import SeededApp, create_app, create_script

WORD = "canary-7f3a"

ONCE = RetryPolicy(max_attempts=1, backoff="constant", base_ms=0, max_ms=0, jitter_pct=0)

#: What each kind of attack does with a name; what it returns is what it could read.
ATTACKS = {
    "collection": """
        let things = kv::collection(ctx.event.args.name);
        let seen = [things.get("k"), things.has("k"), things.keys(""), things.list(#{ limit: 100 })];
        things.set("k", "taken");
        things.set("planted", 1);
        things.increment("n", 1000);
        things.delete("k");
        seen
    """,
    "key": """
        let things = kv::collection("vault");
        let seen = [things.get(ctx.event.args.name), things.keys(ctx.event.args.name)];
        things.set(ctx.event.args.name, "taken");
        things.delete(ctx.event.args.name);
        seen
    """,
    "queue": 'queue::send(ctx.event.args.name, "planted")',
    "topic": 'pubsub::publish(ctx.event.args.name, "planted")',
    "script": "functions::invoke(ctx.event.args.name, #{ planted: true })",
    "library": "import ctx.event.args.name as other; other::value()",
    "secret": "secrets::get(ctx.event.args.name)",
}

#: What of the other app each attack is after.
TARGETS = {
    "collection": "vault",
    "key": "k",
    "queue": "jobs",
    "topic": "news",
    "script": "library",
    "library": "library",
    "secret": "TOKEN",
}

OWNER = f"""
    let vault = kv::collection("vault");
    vault.set("k", "{WORD}");
    vault.set("n", 1);
    queue::send("jobs", "{WORD}");
    log::info("{WORD}");
    "{WORD}"
"""


def spellings(name: str, app: SeededApp) -> list[str]:
    """Names that something careless could take for ``name`` of ``app``."""
    prefixes = [app.name, f"@{app.name}", str(app.id), f"app:{app.id}", "..", "*"]
    separators = ["/", ":", ".", "\\", "\0", "\n", "::", "|", " ", "%2F", "\u2215", "\uff0f"]
    return [
        name,
        *(prefix + separator + name for prefix in prefixes for separator in separators),
        f"../{app.name}/{name}",
        f"../../apps/{app.name}/{name}",
        f"/@{app.name}/{name}",
        f"{name}\0",
        f"\0{name}",
        f"{name}' or app_id = {app.id} --",
        f'{name}" or 1=1 --',
        f"{name}'; delete from kv_entries; --",
        f"{name}*",
        "*",
        "%",
        "_" * len(name),
        f"{name[0]}%",
        name.upper(),
        name.title(),
        f" {name} ",
        f"{name}\u200b",
        f"\ufeff{name}",
        f"\u202e{name[::-1]}",
        "".join(chr(ord(character) + 0xFEE0) for character in name),
        f"${{{name}}}",
        "",
        name * 20_000,
        "é" * 600,
    ]


class Apps:
    """The cluster's own app, which attacks, and another one."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.mine = cluster.app
        with psycopg.connect(cluster.database_url, autocommit=True) as connection:
            self.theirs = create_app(connection, "theirs")
            self.library = create_script(connection, self.theirs, "library", f'fn value() {{ "{WORD}" }}')
            self.owner = create_script(connection, self.theirs, "owner", OWNER)
            self.fired = create_script(connection, self.theirs, "fired", 'kv::collection("fired").increment("n")')

    def run(self, app: SeededApp, runs: Sequence[tuple[int, object]]) -> list[Any]:
        """What runs of scripts with arguments returned; None: it failed."""
        revision = self.cluster.value("select revision from apps where id = %s", app.id)
        arrivals = [
            self.cluster.arrival(
                script_id,
                app_id=app.id,
                app_revision=revision,
                principal_id=app.principal_id,
                event=json.dumps({"args": args}).encode(),
                retry=ONCE,
            )
            for script_id, args in runs
        ]
        self.cluster.accept_arrivals(arrivals)
        self.cluster.wake()
        ids = [arrival.id for arrival in arrivals]
        self.cluster.wait_until(lambda: self.cluster.have_ended(ids), 60, f"{len(ids)} attacks end")
        ended = self.cluster.rows("select id, result, status from executions where id = any(%s)", ids)
        results = {row[0]: row[1] if row[2] == "completed" else None for row in ended}
        assert results.keys() == set(ids)
        return [results[each] for each in ids]

    def set_secret(self, master_key: bytes) -> None:
        async def seal() -> None:
            async with await psycopg.AsyncConnection.connect(self.cluster.database_url) as connection:
                admin = Principal(self.theirs.principal_id, "user", "admin", InstanceRole.OWNER)
                await set_secret(connection, Vault(lambda: (master_key,)), "theirs", admin, name="TOKEN", value=WORD)

        asyncio.run(seal())

    def listen_to_everything(self) -> None:
        """Triggers of the other app that everything would fire which reached it."""
        for kind, table in (("kv", "kv_triggers"), ("pubsub", "pubsub_triggers")):
            trigger_id = self.cluster.value(
                "insert into triggers (app_id, name, kind, script_id, registered_by_principal, max_attempts, backoff,"
                " backoff_base_ms, backoff_max_ms, backoff_jitter_pct) values (%s, %s, %s, %s, %s, 1, 'constant',"
                " 0, 0, 0) returning id",
                self.theirs.id, kind, kind, self.fired, self.theirs.principal_id,
            )  # fmt: skip
            if table == "kv_triggers":
                self.cluster.execute(
                    "insert into kv_triggers (trigger_id, app_id, is_prefix, collection, ops)"
                    " values (%s, %s, true, '', '{insert,update,delete}')",
                    trigger_id,
                    self.theirs.id,
                )
            else:
                self.cluster.execute(
                    "insert into pubsub_triggers (trigger_id, app_id, is_prefix, topic) values (%s, %s, true, '')",
                    trigger_id,
                    self.theirs.id,
                )

    def everything_of(self, app: SeededApp) -> dict[str, list[str]]:
        with self.cluster.connection() as connection:
            return belongings(connection, app.id)


@pytest.fixture
def apps(cluster: Cluster, tmp_path: Path) -> Apps:
    """Both of them, and what the other one keeps."""
    made = Apps(cluster)
    master_key = tmp_path / "master.key"
    made.set_secret(ensure_master_key(master_key))
    cluster.execute("insert into queues (app_id, name) values (%s, 'jobs')", made.theirs.id)
    cluster.relay()
    cluster.worker(threads=4, PICLOUD_MASTER_KEY_FILE=str(master_key))
    cluster.ready(4)
    assert made.run(made.theirs, [(made.owner, None)]) == [WORD.encode()]
    return made


def attackers(apps: Apps, app: SeededApp) -> dict[str, int]:
    with psycopg.connect(apps.cluster.database_url, autocommit=True) as connection:
        made = {kind: create_script(connection, app, f"attack-{kind}", source) for kind, source in ATTACKS.items()}
    apps.cluster.execute("update apps set revision = revision + 1 where id = %s", app.id)
    return made


def test_no_name_leads_into_another_app(apps: Apps) -> None:
    apps.listen_to_everything()
    before = apps.everything_of(apps.theirs)
    held = {table for table, rows in before.items() if WORD in "".join(rows)}
    assert {"kv_entries", "payloads", "executions", "execution_logs"} <= held
    scripts = attackers(apps, apps.mine)
    runs = [
        (scripts[kind], {"name": name})
        for kind, target in TARGETS.items()
        for name in [*spellings(target, apps.theirs), str(apps.library), f"{apps.theirs.id}"]
    ]
    results = apps.run(apps.mine, runs)
    assert any(result is not None for result in results), "no attack went further than its name"
    # Nothing that was there is read
    mine = apps.everything_of(apps.mine)
    assert [table for table, rows in mine.items() if WORD in "".join(rows)] == []
    # And nothing is changed, nor anything fired
    assert apps.everything_of(apps.theirs) == before
    # What could be written was written at home, under the name as it was given
    planted = apps.cluster.rows("select app_id, collection from kv_entries where key = 'planted'")
    assert {row[0] for row in planted} == {apps.mine.id}
    assert {"vault", "../vault", "theirs:vault", f"{apps.theirs.id}/vault"} <= {row[1] for row in planted}
    apps.cluster.assert_books_balance()


def test_the_same_attacks_read_at_home_what_they_are_after(apps: Apps) -> None:
    # Without this the test above could not fail
    scripts = attackers(apps, apps.theirs)
    results: dict[str, bytes | None] = {}
    for kind, name in TARGETS.items():
        (results[kind],) = apps.run(apps.theirs, [(scripts[kind], {"name": name})])
        apps.run(apps.theirs, [(apps.owner, None)])  # what was deleted is there again
    assert None not in results.values()
    reading = {kind for kind, result in results.items() if WORD.encode() in (result or b"")}
    assert reading == {"collection", "key", "library", "secret"}


DISGUISES = {
    "a constant that is set": 'ctx.app = "theirs"; kv::collection("vault").get("k")',
    "a copy that is changed": 'let ctx = #{ app: "theirs" }; kv::collection("vault").get("k")',
    "another argument": 'kv::collection("vault", "theirs").get("k")',
    "a map in place of a name": 'kv::collection(#{ app: "theirs", name: "vault" }).get("k")',
    "a handle that is changed": 'let c = kv::collection("vault"); c.app = "theirs"; c.app_id = 2; c.get("k")',
    "a file": 'import "/etc/passwd" as file; file::x',
    "code": 'eval("import \\"library\\" as l; l::value()")',
}


def test_a_script_cannot_pass_for_one_of_another_app(apps: Apps) -> None:
    before = apps.everything_of(apps.theirs)
    with psycopg.connect(apps.cluster.database_url, autocommit=True) as connection:
        scripts = [
            create_script(connection, apps.mine, f"disguise-{number}", source)
            for number, source in enumerate(DISGUISES.values())
        ]
    results = dict(zip(DISGUISES, apps.run(apps.mine, [(script, None) for script in scripts]), strict=True))
    assert WORD not in repr(results)
    # Only a variable of the script's own name is its to change, and what it says changes nothing
    assert {name for name, result in results.items() if result is not None} == {"a copy that is changed"}
    assert apps.everything_of(apps.theirs) == before


def test_an_order_key_holds_up_nobody_elses_messages(apps: Apps) -> None:
    cluster = apps.cluster
    with psycopg.connect(cluster.database_url, autocommit=True) as connection:
        fails = create_script(connection, apps.theirs, "fails", 'throw #{ message: "later", retry_after_seconds: 600 }')
        quick = create_script(connection, apps.mine, "quick", "1")
    patient = RetryPolicy(max_attempts=3, backoff="constant", base_ms=600_000, max_ms=600_000, jitter_pct=0)
    theirs = cluster.arrival(
        fails, app_id=apps.theirs.id, principal_id=apps.theirs.principal_id, order_key="customer", retry=patient,
        app_revision=cluster.value("select revision from apps where id = %s", apps.theirs.id),
    )  # fmt: skip
    cluster.accept_arrivals([theirs])
    cluster.wake()
    attempts = "select coalesce(max(attempt), 0) from outbox where id = %s and state = 0"
    cluster.wait_until(lambda: cluster.value(attempts, theirs.id) == 1, 20, "the first attempt failed")
    mine = cluster.accept(5, quick, order_key="customer")
    cluster.settle(mine, 20, as_status="completed")
