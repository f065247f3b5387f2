"""Redirects: how many, how the method changes, and what may go along."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest

from picloud.services.outbound import OutboundRequest
from picloud.services.outbound.deadline import Deadline
from picloud.services.outbound.errors import BadRedirectError, TooManyRedirectsError
from picloud.services.outbound.exchange import exchange
from picloud.services.outbound.messages import Call, OutboundLimits, first_call
from picloud.services.outbound.redirects import next_call
from picloud.services.outbound.streams import DeadlineStream
from tests.unit.services.outbound.internet import OK, OTHER_PUBLIC, Internet, redirect

SECRETS = ("authorization", "cookie", "x-api-key", "private-token", "idempotency-key")
HEADERS = (*((name, "secret") for name in SECRETS), ("accept", "text/csv"), ("content-type", "text/plain"))


def follow(internet: Internet, url: str, status: int, location: str, method: str = "POST") -> Call | None:
    """What a response makes of a call, without making the next one."""
    limits = OutboundLimits()
    call = first_call(OutboundRequest(method, url, HEADERS, b"body", hops="v1.x"), limits)
    deadline = Deadline(9, what="a test")
    internet.serve("1.1.1.1", redirect(location, status))
    connection = internet.connect(IPv4Address("1.1.1.1"), call.target.port, 9)
    with exchange(call, DeadlineStream(connection, call.target, deadline), limits=limits, deadline=deadline) as answer:
        return next_call(call, answer)


@pytest.mark.parametrize(
    ("status", "method", "expected"),
    [
        (301, "POST", "GET"),
        (302, "POST", "GET"),
        (303, "POST", "GET"),
        (303, "PUT", "GET"),
        (303, "HEAD", "HEAD"),
        (301, "PUT", "PUT"),
        (302, "DELETE", "DELETE"),
        (307, "POST", "POST"),
        (308, "POST", "POST"),
    ],
)
def test_the_method_changes_as_in_a_browser(internet: Internet, status: int, method: str, expected: str) -> None:
    call = follow(internet, "http://a.example/", status, "/next", method)
    assert call is not None
    assert call.method == expected
    is_same = expected == method
    assert call.body == (b"body" if is_same else None)
    assert (("content-type", "text/plain") in call.headers) is is_same


@pytest.mark.parametrize(
    ("url", "location", "keeps_secrets"),
    [
        ("http://a.example/", "/next", True),
        ("http://a.example/", "http://A.example:80/next", True),
        ("http://a.example/", "https://a.example/next", True),
        ("https://a.example:8443/", "https://a.example:8443/next", True),
        ("http://a.example/", "http://b.example/", False),
        ("http://a.example/", "http://sub.a.example/", False),
        ("http://a.example/", "http://a.example:8080/", False),
        ("http://a.example:8080/", "https://a.example/", False),
        ("http://a.example/", "https://a.example:8443/", False),
    ],
)
def test_what_may_be_secret_stays_with_its_origin(
    internet: Internet, url: str, location: str, keeps_secrets: bool
) -> None:
    call = follow(internet, url, 307, location)
    assert call is not None
    names = {name for name, _ in call.headers}
    assert (names >= set(SECRETS)) is keeps_secrets
    assert names.isdisjoint(SECRETS) is not keeps_secrets
    assert names >= {"accept", "content-type", "user-agent", "accept-encoding", "x-picloud-hops"}


def test_what_was_left_behind_does_not_return(internet: Internet) -> None:
    internet.site("a.example", redirect("http://b.example/"), OK)
    internet.site("b.example", redirect("http://a.example/"), address=OTHER_PUBLIC)
    assert internet.get("http://a.example/", headers=HEADERS).status == 200
    assert "authorization: secret" in internet.received(0)
    assert "secret" not in internet.received(1) + internet.received(2)


def test_encryption_is_not_given_up_on_the_way(internet: Internet) -> None:
    with pytest.raises(BadRedirectError) as caught:
        follow(internet, "https://a.example/", 302, "http://a.example/")
    assert caught.value.code == "bad_redirect"


@pytest.mark.parametrize(("status", "location"), [(200, "/x"), (201, "/x"), (300, "/x"), (304, "/x"), (399, "/x")])
def test_other_responses_lead_nowhere(internet: Internet, status: int, location: str) -> None:
    assert follow(internet, "http://a.example/", status, location) is None


def test_redirects_are_followed_up_to_the_limit(internet: Internet) -> None:
    internet.site("a.example", *(redirect(f"/{hop}") for hop in range(1, 6)), OK)
    assert internet.get("http://a.example/0").url == "http://a.example/5"


def test_a_circle_ends(internet: Internet) -> None:
    internet.site("a.example", redirect("http://b.example/"))
    internet.site("b.example", redirect("http://a.example/"), address=OTHER_PUBLIC)
    with pytest.raises(TooManyRedirectsError) as caught:
        internet.get("http://a.example/")
    assert caught.value.code == "too_many_redirects"
    assert len(internet.dialled) == 6


def test_a_caller_may_want_the_redirect_itself(internet: Internet) -> None:
    internet.site("a.example", redirect("http://127.0.0.1/"))
    response = internet.get("http://a.example/", follow_redirects=False)
    assert response.status == 302
    assert ("location", "http://127.0.0.1/") in response.headers


def test_a_location_in_utf_8_is_read_as_such(internet: Internet) -> None:
    internet.site("a.example", redirect("/ü"), OK)
    assert internet.get("http://a.example/").url == "http://a.example/%C3%BC"
