"""/metrics over real servers: what several processes counted, what PostgreSQL knows, and what is said in an outage."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from picloud import broker
from picloud.access import AppRole, InstanceRole
from picloud.observability.metrics import HTTP_REQUESTS, RUNS
from picloud.observability.reporting import Reporter
from picloud.observability.tally import TALLY, Tally
from tests.integration.web.conftest import Stage, Web
from tests.integration.web.emulated_worker import EmulatedWorker
from tests.seeding import Seeds
from tests.seeds import create_route

pytestmark = pytest.mark.integration

Samples = dict[tuple[str, ...], float]


@pytest.fixture(autouse=True)
def nothing_counted_yet() -> None:
    """Tests before this one counted in the same process."""
    TALLY.take()


async def scrape(web: Web) -> Samples:
    """By name and the labels' values, in the order of the labels' names."""
    answer = await web.call("GET", "/metrics", remote_addr="127.0.0.1")
    assert answer.status_code == 200
    families = text_string_to_metric_families(answer.text)
    return {
        (s.name, *(s.labels[name] for name in sorted(s.labels))): s.value for family in families for s in family.samples
    }


def test_a_scrape_shows_requests_rows_and_what_other_processes_counted(stage: Stage) -> None:
    create_route(stage.db, stage.app, "POST", "/later", "async")
    create_route(stage.db, stage.app, "GET", "/now")
    elsewhere = Tally()
    elsewhere.add(RUNS, "shop", "queue", "completed", amount=3)
    other_process = Reporter(stage.settings.redis_url, elsewhere)

    async def story(web: Web, worker: EmulatedWorker) -> None:
        assert await asyncio.to_thread(other_process.report)
        assert (await web.call("POST", "/@shop/later")).status_code == 202
        asked = asyncio.create_task(web.call("GET", "/@shop/now"))
        await worker.serve()
        assert (await asked).status_code == 200
        assert (await web.call("GET", "/@shop/nowhere")).status_code == 404
        found = await scrape(web)
        assert found["picloud_http_requests_total", "async", "2xx"] == 1
        assert found["picloud_http_requests_total", "sync", "2xx"] == 1
        assert found["picloud_http_requests_total", "app", "4xx"] == 1
        assert found["picloud_http_request_seconds_count", "sync"] == 1
        assert found["picloud_runs_total", "shop", "completed", "queue"] == 3
        assert found["picloud_rows", "shop", "http", "pending"] == 1
        assert found["picloud_accepted_total",] == 2
        assert found["picloud_redis_up",] == found["picloud_database_up",] == 1

    stage.play(story)
    other_process.stop()


def test_many_who_scrape_at_once_cost_one_look_at_the_database(stage: Stage) -> None:
    async def story(web: Web, _worker: EmulatedWorker) -> None:
        first = await scrape(web)
        create_route(stage.db, stage.app)
        stage.db.execute("insert into apps (name, created_by) select 'another', id from principals limit 1")
        rest = await asyncio.gather(*(scrape(web) for _ in range(20)))
        assert {each["picloud_apps",] for each in rest} == {first["picloud_apps",]}

    stage.play(story)


def test_counts_that_redis_did_not_take_are_there_when_it_is_back(stage: Stage) -> None:
    tally = Tally()
    tally.add(HTTP_REQUESTS, "sync", "5xx")
    away = Reporter("redis://127.0.0.1:1/0", tally)
    assert not away.report()
    back = Reporter(stage.settings.redis_url, tally)
    assert back.report()
    client: Any = broker.connect(stage.settings.redis_url, name="test")
    assert client.hgetall(broker.METRICS_KEY) == {b'["picloud_http_requests_total","","sync","5xx"]': b"1"}
    client.close()
    back.stop()
    away.stop()


def test_a_process_reports_by_itself_and_rests_when_there_is_nothing_new(stage: Stage) -> None:
    tally = Tally()
    reporter = Reporter(stage.settings.redis_url, tally)
    reporter.start()
    client: Any = broker.connect(stage.settings.redis_url, name="test")

    async def until_counted(number: bytes) -> None:
        async with asyncio.timeout(10):
            while client.hgetall(broker.METRICS_KEY) != {b'["picloud_http_requests_total","","own","2xx"]': number}:
                await asyncio.sleep(0.02)

    tally.add(HTTP_REQUESTS, "own", "2xx")
    asyncio.run(until_counted(b"1"))
    tally.add(HTTP_REQUESTS, "own", "2xx", amount=2)
    asyncio.run(until_counted(b"3"))
    reporter.stop()
    client.close()


def test_a_process_is_not_ready_for_a_schema_that_lacks_a_migration(stage: Stage) -> None:
    async def story(web: Web, _worker: EmulatedWorker) -> None:
        ready = await web.call("GET", "/readyz")
        assert ready.json == {"status": "ok", "checks": {"database": True, "schema": True, "redis": True}}
        stage.db.execute("insert into schema_migrations (version, name, sha256) values (9999, 'later', '')")
        assert (await web.call("GET", "/readyz")).status_code == 200  # a later release expands first
        stage.db.execute("delete from schema_migrations where version = 1")
        unfit = await web.call("GET", "/readyz")
        assert unfit.status_code == 503
        assert unfit.json["checks"] == {"database": True, "schema": False, "redis": True}
        stage.db.execute("drop table schema_migrations")
        assert (await web.call("GET", "/readyz")).json["checks"]["schema"] is False

    stage.play(story)


def test_figures_are_for_this_machine_and_for_who_may_see_the_installation(stage: Stage) -> None:
    seeds = Seeds(stage.db)
    owner = {"Authorization": f"Bearer {seeds.member('owner', role=InstanceRole.OWNER)}"}
    member = {"Authorization": f"Bearer {seeds.member('anna', {stage.app.id: AppRole.ADMIN})}"}
    proxied = {"X-Forwarded-For": "192.0.2.7"}

    async def story(web: Web, worker: EmulatedWorker) -> None:
        assert (await web.call("GET", "/metrics", remote_addr="127.0.0.1")).status_code == 200
        for address, through in (("192.0.2.7", {}), ("127.0.0.1", proxied)):
            for headers, status in (({}, 401), (member, 403), (owner, 200)):
                answer = await web.call("GET", "/metrics", remote_addr=address, headers=through | headers)
                assert answer.status_code == status, (address, headers)
                assert (b"picloud_" in answer.content) == (status == 200)

    stage.play(story)
