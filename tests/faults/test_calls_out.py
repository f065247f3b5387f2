"""HTTP calls of scripts on a real worker: what they reach, what they never do, and how a chain of them ends."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit
from uuid import UUID

import psycopg.conninfo
import pytest

from picloud.local.master_key import ensure_master_key
from picloud.retries import RetryPolicy
from picloud.services.hops import HOPS_HEADER, sign_hops
from tests.faults.clients import post
from tests.faults.cluster import Cluster
from tests.faults.other_machine import PORT, OtherMachine, other_machine

CALL = "http::get(ctx.event.args, #{ timeout_seconds: 5 }).body"

ONCE = RetryPolicy(max_attempts=1, backoff="constant", base_ms=0, max_ms=0, jitter_pct=0)

#: As much as an allow-list can say. What is refused under it is refused always.
EVERYTHING = ["0.0.0.0/0", "::/0", "localhost", "*.localhost"]


@pytest.fixture
def other() -> Iterator[OtherMachine]:
    with other_machine() as machine:
        yield machine


@pytest.fixture
def master_key(tmp_path: Path) -> Path:
    ensure_master_key(tmp_path / "master.key")
    return tmp_path / "master.key"


def allow(cluster: Cluster, *entries: str) -> None:
    """What ``picloud apps network APP --allow`` does."""
    cluster.execute(
        "update apps set http_allowed = %s, revision = revision + 1 where id = %s", list(entries), cluster.app.id
    )


def call(cluster: Cluster, *urls: str) -> dict[str, str]:
    """What a run that calls each of them ended with: a body, or the reason of its failure."""
    script = cluster.script(CALL, timeout_ms=10_000)
    arrivals = [cluster.arrival(script, event=json.dumps({"args": url}).encode(), retry=ONCE) for url in urls]
    cluster.accept_arrivals(arrivals)
    cluster.wake()
    ids = {arrival.id: url for arrival, url in zip(arrivals, urls, strict=True)}
    cluster.settle(list(ids), 40)
    ended = cluster.rows("select id, result, error from executions where id = any(%s)", list(ids))
    return {ids[row[0]]: row[1].decode() if row[2] is None else json.loads(row[2])["reason"] for row in ended}


def ports_of_servers(cluster: Cluster) -> list[int]:
    """Where PostgreSQL and Redis listen, or would."""
    database = psycopg.conninfo.conninfo_to_dict(cluster.database_url)
    return [int(database.get("port") or 5432), urlsplit(cluster.redis_url).port or 6379]


def test_nothing_of_this_machine_is_called_however_it_is_written(cluster: Cluster, master_key: Path) -> None:
    _, web = cluster.web()
    port = urlsplit(web).port
    path, _ = cluster.route("sync", "1")
    cluster.relay()
    cluster.worker(PICLOUD_MASTER_KEY_FILE=str(master_key))
    cluster.ready(4)
    assert post(f"{web}{path}").status == 200  # it is there to be called
    hosts = [
        "127.0.0.1", "localhost", "LOCALHOST.", "127.9.9.9", "[::1]", "[0:0:0:0:0:0:0:1]", "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]", "[64:ff9b::127.0.0.1]", "[2002:7f00:1::]", "0.0.0.0", "[::]", socket.gethostname(),
    ]  # fmt: skip
    spelt = ["2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "127.1", "0"]
    servers = [f"http://{host}:{each}/" for host in ("127.0.0.1", "localhost") for each in ports_of_servers(cluster)]
    metadata = [
        "http://169.254.169.254/latest/meta-data/", "http://[fd00:ec2::254]/", "http://168.63.129.16/",
        "http://100.100.100.200/", "http://[::ffff:169.254.169.254]/", "http://169.254.0.1/", "http://[fe80::1]/",
    ]  # fmt: skip
    refused = [f"http://{host}:{port}{path}" for host in hosts] + servers + metadata
    unreadable = [f"http://{host}:{port}{path}" for host in spelt]
    unreadable += [
        f"http://example.com@127.0.0.1:{port}{path}",
        f"http://127.0.0.1:{port}\\@example.com/",
        "file:///etc/passwd",
    ]
    for entries in ([], EVERYTHING):
        allow(cluster, *entries)
        said = call(cluster, *refused, *unreadable)
        assert {url: said[url] for url in refused} == dict.fromkeys(refused, "address_not_allowed")
        assert {url: said[url] for url in unreadable} == dict.fromkeys(unreadable, "bad_url")
    assert cluster.value("select count(*) from executions where source = 'http'") == 1


def test_a_private_address_is_called_while_an_admin_allows_it(
    cluster: Cluster, master_key: Path, other: OtherMachine
) -> None:
    cluster.relay()
    cluster.worker(PICLOUD_MASTER_KEY_FILE=str(master_key))
    cluster.ready(4)
    url, mapped = other.url(), f"http://[::ffff:{other.address}]:{PORT}/echo"
    assert call(cluster, url, mapped) == dict.fromkeys([url, mapped], "address_not_allowed")
    allow(cluster, "10.0.0.0/8", "nas.lan")
    assert call(cluster, url) == {url: "address_not_allowed"}
    assert other.seen() == []
    allow(cluster, other.address)
    assert call(cluster, url, mapped) == dict.fromkeys([url, mapped], "ok")
    allow(cluster)
    assert call(cluster, url) == {url: "address_not_allowed"}
    assert len(other.seen()) == 2


def test_this_machines_address_in_an_allowed_network_is_not_called(
    cluster: Cluster, master_key: Path, other: OtherMachine
) -> None:
    bind = f"{other.our_address}:{free_port(other.our_address)}"
    _, web = cluster.web(PICLOUD_BIND=bind)
    path, _ = cluster.route("sync", "1")
    cluster.relay()
    cluster.worker(PICLOUD_MASTER_KEY_FILE=str(master_key))
    cluster.ready(4)
    assert post(f"http://{bind}{path}").status == 200
    allow(cluster, *EVERYTHING)
    url = f"http://{bind}{path}"
    assert call(cluster, url, other.url()) == {url: "address_not_allowed", other.url(): "ok"}
    assert web == f"http://{bind}"


@pytest.mark.parametrize("theirs", ["public_url", "smtp_url", ""])
def test_what_belongs_to_picloud_on_another_machine_is_not_called(
    cluster: Cluster, master_key: Path, other: OtherMachine, theirs: str
) -> None:
    cluster.relay()
    cluster.worker(
        PICLOUD_MASTER_KEY_FILE=str(master_key),
        PICLOUD_PUBLIC_URL=other.url("/") if theirs == "public_url" else "http://127.0.0.1",
        PICLOUD_SMTP_URL=f"smtp://{other.address if theirs == 'smtp_url' else '127.0.0.1'}",
        PICLOUD_MAIL_FROM="shop@example.com",
    )
    cluster.ready(4)
    allow(cluster, *EVERYTHING)
    assert call(cluster, other.url()) == {other.url(): "address_not_allowed" if theirs else "ok"}


def test_a_redirect_leads_nowhere_that_could_not_be_called(
    cluster: Cluster, master_key: Path, other: OtherMachine
) -> None:
    _, web = cluster.web()
    path, _ = cluster.route("sync", "1")
    cluster.relay()
    cluster.worker(PICLOUD_MASTER_KEY_FILE=str(master_key))
    cluster.ready(4)
    allow(cluster, other.address)
    targets = [
        f"{web}{path}",
        f"http://localhost:{urlsplit(web).port}{path}",
        f"http://{other.our_address}:{PORT}/",
        "http://169.254.169.254/latest/",
        "http://10.11.12.13/",
        "http://[::ffff:127.0.0.1]/",
        *(f"http://127.0.0.1:{port}/" for port in ports_of_servers(cluster)),
    ]
    redirects = [other.url("/redirect", to=target) for target in targets]
    assert call(cluster, *redirects) == dict.fromkeys(redirects, "address_not_allowed")
    elsewhere = [other.url("/redirect", to=target) for target in ("file:///etc/passwd", "http://2130706433/")]
    assert call(cluster, *elsewhere) == dict.fromkeys(elsewhere, "bad_redirect")
    twice = other.url("/redirect", to=other.url("/redirect", to=f"{web}{path}"))
    back = other.url("/redirect", to=other.url())
    assert call(cluster, twice, back) == {twice: "address_not_allowed", back: "ok"}
    assert cluster.value("select count(*) from executions where source = 'http'") == 0


def test_calls_of_a_retried_run_carry_the_keys_they_had(
    cluster: Cluster, master_key: Path, other: OtherMachine
) -> None:
    cluster.relay()
    cluster.worker(PICLOUD_MASTER_KEY_FILE=str(master_key))
    cluster.ready(4)
    allow(cluster, other.address)
    source = f"""
        http::get("{other.url("/first")}");
        http::post("{other.url("/redirect", to=other.url("/second"))}", 1);
        http::get("{other.url("/own")}", #{{ headers: #{{ "Idempotency-Key": "mine" }} }});
        http::get("{other.url("/fourth")}");
        if ctx.attempt < 3 {{ throw "again" }}
    """
    retry = RetryPolicy(max_attempts=3, backoff="constant", base_ms=0, max_ms=0, jitter_pct=0)
    one, another = (cluster.accept(1, cluster.script(source), retry=retry)[0] for _ in range(2))
    cluster.settle([one, another], 30, as_status="completed")
    seen = other.seen()
    keys = {
        (each["path"], each["headers"]["idempotency-key"])
        for each in seen
        if each["path"] not in ("/redirect", "/second")
    }
    assert keys == {
        *((path, f"{run}:{number}") for run in (one, another) for path, number in (("/first", 1), ("/fourth", 4))),
        ("/own", "mine"),
    }
    assert len([each for each in seen if each["path"] == "/first"]) == 6
    redirected = {each["headers"]["idempotency-key"] for each in seen if each["path"] == "/redirect"}
    assert redirected == {f"{one}:2", f"{another}:2"}


def test_a_loop_through_another_machine_ends_at_the_depth_limit(
    cluster: Cluster, master_key: Path, other: OtherMachine
) -> None:
    bind = f"{other.our_address}:{free_port(other.our_address)}"
    web = start_chain(cluster, master_key, bind)
    path = f"/@{cluster.app.name}/loop"
    forward = other.url("/forward", to=f"{web}{path}")
    source = f"""
        let answer = http::post("{forward}", 1);
        if answer.status == 200 {{ return [ctx.trigger_depth] + answer.body; }}
        [ctx.trigger_depth, answer.status, answer.body.code]
    """
    _, route = cluster.route("sync", source, timeout_ms=20_000)
    cluster.execute("update routes set path = '/loop' where id = %s", route.id)
    allow(cluster, other.address)
    answer = post(f"{web}{path}")
    assert (answer.status, answer.json()) == (200, [0, 1, 2, 3, 508, "depth_exceeded"])
    rows = cluster.rows("select trigger_depth, status, root_execution_id from executions order by trigger_depth")
    assert [row[:2] for row in rows] == [*((depth, "completed") for depth in range(4)), (4, "depth_exceeded")]
    assert {str(row[2]) for row in rows} == {answer.headers["x-execution-id"]}
    cluster.assert_books_balance()


def start_chain(cluster: Cluster, master_key: Path, bind: str = "") -> str:
    """Processes that know the master key and let a chain have three hops; the URL of their web process."""
    key_file = str(master_key)
    _, web = cluster.web(
        PICLOUD_BIND=bind or f"127.0.0.1:{free_port('127.0.0.1')}",
        PICLOUD_MASTER_KEY_FILE=key_file,
        PICLOUD_MAX_TRIGGER_DEPTH="3",
    )
    cluster.relay(PICLOUD_MAX_TRIGGER_DEPTH="3")
    cluster.worker(threads=8, PICLOUD_MASTER_KEY_FILE=key_file, PICLOUD_MAX_TRIGGER_DEPTH="3")
    cluster.ready(8)
    return web


ROOT = UUID("0198f000-0000-7000-8000-000000000001")


def test_a_signed_request_starts_one_deeper_under_its_root(cluster: Cluster, master_key: Path) -> None:
    web, key = start_chain(cluster, master_key), ensure_master_key(master_key)
    path, _ = cluster.route("sync", "[ctx.trigger_depth, ctx.root_execution_id]")
    answer = post(f"{web}{path}", headers={HOPS_HEADER: sign_hops(key, ROOT, 2)})
    assert (answer.status, answer.json()) == (200, [3, str(ROOT)])
    for forged in (sign_hops(b"another key", ROOT, 2), f"v1.{ROOT.hex}.2.{'A' * 43}", "v1", "", "x" * 5_000):
        answer = post(f"{web}{path}", headers={HOPS_HEADER: forged})
        assert (answer.status, answer.json()) == (200, [0, answer.headers["x-execution-id"]])


def test_a_request_one_hop_too_deep_is_answered_508_and_kept(cluster: Cluster, master_key: Path) -> None:
    web, key = start_chain(cluster, master_key), ensure_master_key(master_key)
    path, _ = cluster.route("sync", 'kv::collection("a").set("k", 1)')
    later, _ = cluster.route("async", 'kv::collection("a").set("k", 1)')
    for depth in (3, 4, 9_999):
        answer = post(f"{web}{path}", headers={HOPS_HEADER: sign_hops(key, ROOT, depth)})
        assert (answer.status, answer.json()["code"]) == (508, "depth_exceeded")
        assert answer.headers["content-type"] == "application/problem+json"
        identifier = UUID(answer.json()["execution_id"])
        assert cluster.status(identifier) == "depth_exceeded"
    answer = post(f"{web}{later}", headers={HOPS_HEADER: sign_hops(key, ROOT, 3)})
    assert answer.status == 202
    identifier = UUID(answer.json()["execution_id"])
    cluster.wait_until(lambda: cluster.status(identifier), 20, "the row ends")
    assert cluster.status(identifier) == "depth_exceeded"
    assert cluster.rows("select key from kv_entries") == []
    assert cluster.rows("select id from dead_letters") == []
    cluster.assert_books_balance()


def free_port(address: str) -> int:
    with socket.create_server((address, 0)) as server:
        port: int = server.getsockname()[1]
        return port


def test_the_author_of_a_run_that_was_refused_something_is_told_what_to_do(cluster: Cluster, master_key: Path) -> None:
    cluster.relay()
    cluster.worker(PICLOUD_MASTER_KEY_FILE=str(master_key))
    cluster.ready(4)
    arrival = cluster.arrival(cluster.script('secrets::get("NONE")'), retry=ONCE)
    cluster.accept_arrivals([arrival])
    cluster.wake()
    cluster.settle([arrival.id], 20)
    error = json.loads(cluster.value("select error from executions where id = %s", arrival.id))
    assert (error["code"], error["reason"]) == ("script_failed", "secret_not_found")
    assert error["hint"].startswith("`picloud secrets set ")
