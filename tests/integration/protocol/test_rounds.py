"""One round of a relay against a real PostgreSQL and Redis: what it claims, and how long it would wait."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from picloud.database import Reconnecting
from picloud.outbox.run_rows import register
from picloud.relay.loop import Relay, _Discovery
from picloud.relay.publisher import Publisher
from picloud.settings import Settings
from tests.integration.protocol.stage import Stage

pytestmark = pytest.mark.integration


@pytest.fixture
def relay(stage: Stage, database_url: str, redis_url: str) -> Iterator[Relay]:
    """A relay with a worker to relay to, which has gone round until nothing was left to do."""
    register(stage.db, stage.worker)
    database, publisher = Reconnecting(database_url, name="relay"), Publisher(redis_url)
    relay = Relay(database, publisher, Settings())
    while relay.round() == 0.0:
        continue
    yield relay
    publisher.close()
    database.close()


def test_a_wake_that_comes_right_after_a_slow_discovery_is_remembered(stage: Stage, relay: Relay) -> None:
    # Given a relay that has just spent so long on a discovery that it may not make another one for half a second
    relay._discovery = _Discovery(time.monotonic(), 0.025)
    # When a writer wakes it
    stage.accepted()
    relay._has_news = True
    # Then it comes back as soon as it may, and not after its longest silence
    seconds = relay.round()
    assert 0 < seconds <= 0.5
    # And finds the row
    relay._discovery = _Discovery()
    assert relay.round() == 0.0
    assert stage.rows("select state from outbox") == [(1,)]


def test_after_an_outage_a_relay_relies_on_nothing_it_knew(stage: Stage, relay: Relay) -> None:
    # Given a relay whose Redis was wiped while it could not be reached, and a row whose wake was lost with it
    (identifier,) = stage.accepted()
    relay._publisher._client.flushdb()
    # When it is reached again
    relay.after_outage()
    # Then the first round publishes the row under a new epoch
    assert relay.round() == 0.0
    assert stage.rows("select id, state from outbox") == [(identifier, 1)]


def test_without_a_worker_nothing_is_published_and_nothing_spins(stage: Stage, relay: Relay) -> None:
    stage.db.execute("delete from workers")
    stage.accepted()
    relay._discovery = _Discovery()
    assert relay.round() >= 0.05
    assert stage.rows("select state from outbox") == [(0,)]


def test_rows_that_wait_for_an_earlier_one_of_their_key_make_nothing_spin(stage: Stage, relay: Relay) -> None:
    # Given a message in flight, and one behind it that is due
    stage.accepted(order_key="a")
    stage.accepted(order_key="a")
    relay._discovery = _Discovery()
    while (seconds := relay.round()) == 0.0:
        continue
    # Then the relay waits a moment, never 0: for Redis that is for ever
    assert 0.05 <= seconds <= 1.0
    assert sorted(row[0] for row in stage.rows("select state from outbox")) == [0, 1]
