"""Whoever kills a rotation of the master key, wherever: the file as it is opens everything, and the command goes on."""

from __future__ import annotations

import base64
import os
import signal
import subprocess
import sys
from pathlib import Path
from uuid import UUID

import psycopg
import pytest

from picloud.local.master_key import ensure_master_key, load_master_keys
from picloud.local.master_key_rotation import prove
from picloud.retries import RetryPolicy
from tests.belongings import belongings
from tests.faults.cluster import Cluster
from tests.sealed_secrets import put_secret
from tests.seeding import Seeds

pytestmark = pytest.mark.faults

ONCE = RetryPolicy(max_attempts=1, backoff="constant", base_ms=0, max_ms=0, jitter_pct=0)
VALUE = "sk_live_51Hxx-quite-secret"


def _master_key(url: str, path: Path, *words: str, failpoint: str = "", **more: str) -> int:
    environment = {
        **os.environ,
        "PICLOUD_DATABASE_URL": url,
        "PICLOUD_MASTER_KEY_FILE": str(path),
        "PICLOUD_FAILPOINT": failpoint,
        **more,
    }
    done = subprocess.run(
        [sys.executable, "-m", "picloud.cli.main", "master-key", *words], env=environment, check=False, timeout=60
    )
    return done.returncode


@pytest.mark.parametrize(
    ("step", "failpoint"),
    [
        ("rotate", "master_key.written:kill:1"),
        ("rotate", "master_key.prepared"),
        ("rotate", "master_key.wrapped"),
        ("rotate", "master_key.committed"),
        ("rotate", "master_key.written:kill:2"),
        ("rotate", "master_key.rotated"),
        ("retire", "master_key.retiring"),
        ("retire", "master_key.written"),
    ],
)
def test_everything_is_readable_after_a_kill_and_the_command_goes_on(
    database_url: str, tmp_path: Path, step: str, failpoint: str
) -> None:
    path = tmp_path / "master.key"
    first = ensure_master_key(path)
    with psycopg.connect(database_url, autocommit=True) as connection:
        seeds = Seeds(connection)
        for app in ("shop", "other"):
            seeds.app(app)
            put_secret(database_url, seeds, app, "KEY", f"of {app}", path)
        if step == "retire":
            assert _master_key(database_url, path, "rotate") == 0
        assert _master_key(database_url, path, step, failpoint=failpoint) == -signal.SIGKILL
        found = prove(connection, path)
        assert (found.secrets, found.broken) == (2, ())
        put_secret(database_url, seeds, "shop", "LATER", "set in between", path)
        if step == "rotate" and failpoint != "master_key.rotated":
            assert _master_key(database_url, path, "rotate") == 0
        assert _master_key(database_url, path, "retire") == 0
        (last,) = load_master_keys(path)
        assert last != first
        found = prove(connection, path)
        assert (found.secrets, found.broken) == (3, ())
        assert [each.name for each in tmp_path.iterdir() if each.name != "master.key"] == []


READS = """
let key = secrets::get("TOKEN");
log::info("key " + key, #{ basic: base64::encode("me:" + key), "with": [key] });
print(key);
throw "refused: " + key;
"""


def test_a_worker_reads_on_while_the_key_is_rotated_and_what_it_read_is_kept_nowhere(
    cluster: Cluster, tmp_path: Path
) -> None:
    path = tmp_path / "master.key"
    ensure_master_key(path)
    with psycopg.connect(cluster.database_url, autocommit=True) as connection:
        put_secret(cluster.database_url, Seeds(connection), cluster.app.name, "TOKEN", VALUE, path)
    cluster.relay()
    cluster.worker(PICLOUD_MASTER_KEY_FILE=str(path))
    cluster.ready()
    reads, tells = cluster.script('secrets::get("TOKEN").len'), cluster.script(READS)

    def end(script_id: int) -> UUID:
        (identifier,) = cluster.accept(1, script_id, retry=ONCE)
        cluster.wait_until(lambda: cluster.have_ended([identifier]), 30, "the run ends")
        return identifier

    def runs() -> bool:
        return cluster.status(end(reads)) == "completed"

    assert runs()
    environment = {"PICLOUD_REDIS_URL": cluster.redis_url}
    assert _master_key(cluster.database_url, path, "rotate", **environment) == 0
    assert runs()
    assert _master_key(cluster.database_url, path, "retire", **environment) == 0
    assert runs()
    dead = end(tells)
    assert cluster.status(dead) == "dead"
    with cluster.connection() as connection:
        kept = "".join("".join(rows) for rows in belongings(connection, cluster.app.id).values())
    assert "[secret TOKEN]" in kept
    for spelt in (VALUE, VALUE.encode().hex(), base64.b64encode(f"me:{VALUE}".encode()).decode()[8:-4]):
        assert spelt not in kept
    assert VALUE not in cluster.logs()
