from __future__ import annotations

import pytest

from picloud.mail.peers import PeerConnections, PeerRates, peer_key


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("peername", "key"),
    [
        (("192.0.2.1", 1234), "192.0.2.1"),
        (("::ffff:192.0.2.1", 1234, 0, 0), "192.0.2.1"),
        (("2001:db8:1:2:3:4:5:6", 1234, 0, 0), "2001:db8:1:2::/64"),
        (("fe80::1%eth0", 1234, 0, 2), "fe80::/64"),
        ("", None),
        (b"", None),
        (None, None),
        ((), None),
        (("nonsense", 1), None),
    ],
    ids=repr,
)
def test_a_peer_is_its_address_or_its_network(peername: object, key: str | None) -> None:
    assert peer_key(peername) == key


def test_a_full_bucket_is_spent_and_fills_up_again() -> None:
    clock = Clock()
    rates = PeerRates(per_second=2, burst=3, clock=clock)
    assert [rates.take("a") for _ in range(4)] == [True, True, True, False]
    clock.now += 0.4
    assert not rates.take("a")
    clock.now += 0.1
    assert rates.take("a")
    clock.now += 3600
    assert [rates.take("a") for _ in range(4)] == [True, True, True, False]


def test_peers_do_not_spend_each_others_tokens() -> None:
    rates = PeerRates(per_second=0.1, burst=1, clock=Clock())
    assert rates.take("a")
    assert not rates.take("a")
    assert rates.take("b")


def test_a_peer_without_an_address_has_no_limit() -> None:
    rates = PeerRates(per_second=0.1, burst=1, clock=Clock())
    assert all(rates.take(None) for _ in range(100))


def test_strangers_cannot_fill_the_memory() -> None:
    rates = PeerRates(per_second=0.1, burst=1, clock=Clock())
    for number in range(20_000):
        rates.take(str(number))
    assert len(rates._buckets) == 10_000


def test_connections_are_counted_in_all_and_of_each_peer() -> None:
    connections = PeerConnections(most=3, most_of_one=2)
    assert connections.enter("a") is None
    assert connections.enter("a") is None
    assert connections.enter("a") == "too many connections from your address"
    assert connections.enter(None) is None
    assert connections.enter("b") == "too many connections"
    connections.leave("a")
    assert connections.enter("b") is None
    connections.leave("a")
    connections.leave("b")
    connections.leave(None)
    assert not connections._of_one
