"""Where calls may lead, whatever names, redirects and allow-lists say."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from picloud.services.outbound import AddressPolicy, OutboundError, OutboundRequest, OwnPlaces, parse_allowed
from picloud.services.outbound.errors import (
    AddressNotAllowedError,
    BadRedirectError,
    HostNotFoundError,
    OutboundTimeoutError,
)
from tests.unit.services.outbound.internet import OK, OTHER_PUBLIC, PUBLIC, Internet, redirect

EVERYTHING = AddressPolicy(parse_allowed(["0.0.0.0/0", "::/0", "*.example", "localhost"]))
LAN = AddressPolicy(parse_allowed(["192.168.1.0/24"]))

NEVER_ALLOWED = [
    "127.0.0.1",
    "0.0.0.0",
    "169.254.169.254",
    "100.100.100.200",
    "168.63.129.16",
    "224.0.0.1",
    "240.0.0.1",
    "::1",
    "::",
    "fe80::1",
    "fd00:ec2::254",
    "ff02::1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "64:ff9b::7f00:1",
    "2002:7f00:1::",
    "::127.0.0.1",
]


def in_url(address: str) -> str:
    return f"http://[{address}]/" if ":" in address else f"http://{address}/"


def test_a_public_address_is_called(internet: Internet) -> None:
    internet.site("api.example", OK)
    response = internet.get("http://api.example:8080/x")
    assert (response.status, response.body, response.url) == (200, b"ok", "http://api.example:8080/x")
    assert internet.dialled == [(PUBLIC, 8080)]


@pytest.mark.parametrize("address", NEVER_ALLOWED)
def test_what_is_never_reached_is_refused_as_an_address_and_behind_a_name(internet: Internet, address: str) -> None:
    internet.names["sneaky.example"] = [address]
    for url in (in_url(address), "http://sneaky.example/"):
        with pytest.raises(AddressNotAllowedError):
            internet.get(url, EVERYTHING)
    assert internet.dialled == []


@pytest.mark.parametrize(
    "address", ["10.0.0.1", "172.16.0.1", "192.168.1.50", "100.64.0.1", "fd12::1", "64:ff9b::a00:1"]
)
def test_a_private_address_is_reached_by_the_allow_list_only(internet: Internet, address: str) -> None:
    internet.site("nas.example", OK, address=address)
    with pytest.raises(AddressNotAllowedError) as caught:
        internet.get("http://nas.example/")
    assert caught.value.hint is not None
    assert "instance admin can allow nas.example" in caught.value.hint
    assert internet.dialled == []
    assert internet.get("http://nas.example/", EVERYTHING).body == b"ok"


def test_a_wrapped_private_address_is_allowed_by_what_it_wraps(internet: Internet) -> None:
    internet.serve("64:ff9b::c0a8:132", OK)
    assert internet.get("http://[64:ff9b::192.168.1.50]/", LAN).body == b"ok"


@pytest.mark.parametrize("refused", ["127.0.0.1", "10.0.0.1", "::1", "fe80::1"])
def test_one_refused_address_refuses_the_host(internet: Internet, refused: str) -> None:
    internet.serve(PUBLIC, OK)
    for addresses in ([PUBLIC, refused], [refused, PUBLIC]):
        internet.names["mixed.example"] = addresses
        with pytest.raises(AddressNotAllowedError):
            internet.get("http://mixed.example/")
    assert internet.dialled == []


def test_a_name_is_resolved_once_and_exactly_that_address_is_dialled(internet: Internet) -> None:
    # given a name that is public when asked first and the loopback from then on
    internet.site("rebinding.example", OK)

    def rebind(_host: str) -> None:
        if len(internet.looked_up) > 1:
            internet.names["rebinding.example"] = ["127.0.0.1"]

    internet.on_look_up = rebind
    # then one call is one question
    assert internet.get("http://rebinding.example/").body == b"ok"
    assert internet.looked_up == ["rebinding.example"]
    # and the next call is judged by the next answer
    with pytest.raises(AddressNotAllowedError):
        internet.get("http://rebinding.example/")
    assert internet.dialled == [(PUBLIC, 80)]


def test_a_name_that_turns_private_between_two_hops_is_refused(internet: Internet) -> None:
    internet.site("rebinding.example", redirect("/again"))
    internet.on_look_up = lambda _host: (
        internet.names.update({"rebinding.example": ["10.0.0.1"]}) if len(internet.looked_up) > 1 else None
    )
    with pytest.raises(AddressNotAllowedError):
        internet.get("http://rebinding.example/")
    assert internet.dialled == [(PUBLIC, 80)]


@pytest.mark.parametrize(
    "location",
    [
        "http://127.0.0.1/",
        "http://10.0.0.1/",
        "http://169.254.169.254/latest/meta-data/",
        "//[::ffff:169.254.169.254]/",
        "http://inside.example/",
    ],
)
def test_a_redirect_to_what_is_not_allowed_is_refused(internet: Internet, location: str) -> None:
    internet.site("open.example", redirect(location))
    internet.names["inside.example"] = ["192.168.1.1"]
    with pytest.raises(AddressNotAllowedError):
        internet.get("http://open.example/")
    assert internet.dialled == [(PUBLIC, 80)]


@pytest.mark.parametrize(
    "location", ["http://2130706433/", "http://0x7f.1/", "file:///etc/passwd", "//user@open.example"]
)
def test_a_redirect_to_no_plain_url_is_refused(internet: Internet, location: str) -> None:
    internet.site("open.example", redirect(location))
    with pytest.raises(BadRedirectError):
        internet.get("http://open.example/")
    assert internet.dialled == [(PUBLIC, 80)]


def test_what_one_app_may_reach_another_may_not_even_when_it_has_just_been_called(internet: Internet) -> None:
    internet.site("nas.example", OK, address="192.168.1.50")
    client = internet.client()
    request = OutboundRequest("GET", "http://nas.example/")
    assert client.send(request, LAN).body == b"ok"
    with pytest.raises(AddressNotAllowedError):
        client.send(request, AddressPolicy())
    assert client.send(request, LAN).body == b"ok"
    # and no connection outlives its call
    assert internet.dialled == [("192.168.1.50", 80)] * 2
    assert "connection: close" in internet.received()


def test_every_address_of_this_machine_is_its_own(internet: Internet) -> None:
    internet.machine_addresses = {"192.168.1.10", PUBLIC}
    internet.site("me.example", OK)
    for url in ("http://192.168.1.10:8123/", "http://me.example/", "http://[64:ff9b::c0a8:10a]/"):
        with pytest.raises(AddressNotAllowedError):
            internet.get(url, EVERYTHING)
    assert internet.dialled == []


@pytest.mark.parametrize(
    "url",
    [
        "http://db.internal/",
        "http://DB.internal.:9999/",
        "http://192.168.1.20:80/",
        "http://alias.example/",
        "http://192.168.1.21/",
        "http://[64:ff9b::192.168.1.21]/",
        "http://198.18.0.9/",
        "http://[fd12::9]/",
    ],
)
def test_the_hosts_of_the_databases_are_refused_on_every_port(internet: Internet, url: str) -> None:
    internet.names |= {"db.internal": ["192.168.1.20"], "alias.example": ["192.168.1.20"]}
    own = OwnPlaces(hosts=("DB.internal", "192.168.1.21", "198.18.0.9", "[fd12::9]", "", "/run/postgresql"))
    with pytest.raises(AddressNotAllowedError) as caught:
        internet.get(url, AddressPolicy(EVERYTHING.allowed_private, own))
    assert "own hosts" in caught.value.message
    assert internet.dialled == []


def test_a_database_with_a_public_address_is_refused_too(internet: Internet) -> None:
    internet.names = {"db.cloud.example": [PUBLIC], "alias.example": [PUBLIC]}
    with pytest.raises(AddressNotAllowedError):
        internet.get("http://alias.example/", AddressPolicy(own=OwnPlaces(hosts=("db.cloud.example",))))


@pytest.mark.parametrize(
    ("url", "is_refused"),
    [
        ("https://pi.example/", True),
        ("http://pi.example:443/", True),
        ("http://pi.example/", False),
        ("http://shared-front.example:443/", False),
        ("http://web.lan:8000/", True),
        ("http://192.168.1.30:8000/", True),
        ("http://192.168.1.30:8001/", False),
        ("http://192.168.1.31:8000/", False),
    ],
)
def test_doors_of_picloud_are_refused_and_what_shares_a_public_front_with_them_is_not(
    internet: Internet, url: str, is_refused: bool
) -> None:
    internet.names = {"pi.example": [PUBLIC], "shared-front.example": [PUBLIC], "web.lan": ["192.168.1.30"]}
    for address in (PUBLIC, "192.168.1.30", "192.168.1.31"):
        internet.serve(address, OK)
    own = OwnPlaces(endpoints=(("pi.example", 443), ("web.lan", 8000)))
    policy = AddressPolicy(EVERYTHING.allowed_private, own)
    if is_refused:
        with pytest.raises(AddressNotAllowedError):
            internet.get(url, policy)
    else:
        assert internet.get(url, policy).status == 200


def test_while_an_own_host_cannot_be_found_private_addresses_wait(internet: Internet) -> None:
    internet.serve("192.168.1.50", OK)
    internet.serve(PUBLIC, OK)
    policy = AddressPolicy(LAN.allowed_private, OwnPlaces(hosts=("db.internal",)))
    with pytest.raises(AddressNotAllowedError):
        internet.get("http://192.168.1.50/", policy)
    assert internet.get(f"http://{PUBLIC}/", policy).status == 200
    internet.names["db.internal"] = ["192.168.1.20"]
    assert internet.get("http://192.168.1.50/", policy).status == 200


def test_an_own_host_that_was_found_once_stays_known_when_dns_fails(internet: Internet) -> None:
    now = 0.0
    internet.serve("192.168.1.50", OK)
    internet.names["db.internal"] = ["192.168.1.20"]
    policy = AddressPolicy(LAN.allowed_private, OwnPlaces(hosts=("db.internal",)))
    client = internet.client(clock=lambda: now)
    assert client.send(OutboundRequest("GET", "http://192.168.1.50/"), policy).status == 200
    del internet.names["db.internal"]
    now = 3_600.0
    with pytest.raises(AddressNotAllowedError):
        client.send(OutboundRequest("GET", "http://192.168.1.20/"), policy)
    assert client.send(OutboundRequest("GET", "http://192.168.1.50/"), policy).status == 200
    assert internet.looked_up == ["db.internal"] * 2


def test_a_call_too_short_to_find_an_own_host_does_not_make_it_unknown(internet: Internet) -> None:
    # given a database with a public address, and a name server that takes a second
    internet.names = {"db.cloud.example": [PUBLIC]}
    policy = AddressPolicy(own=OwnPlaces(hosts=("db.cloud.example",)))
    client = internet.client()

    def be_slow(_host: str) -> None:
        raise OutboundTimeoutError("db.cloud.example was not looked up")

    internet.on_look_up = be_slow
    with pytest.raises(OutboundTimeoutError):
        client.send(OutboundRequest("GET", f"http://{PUBLIC}/", timeout_seconds=0.5), policy)
    # then a call with more time finds it
    internet.on_look_up = lambda _host: None
    with pytest.raises(AddressNotAllowedError):
        client.send(OutboundRequest("GET", f"http://{PUBLIC}/"), policy)
    assert internet.dialled == []


def test_an_own_host_that_moves_is_found_again(internet: Internet) -> None:
    now = 0.0
    internet.serve("192.168.1.20", OK)
    internet.names["db.internal"] = ["192.168.1.20"]
    policy = AddressPolicy(LAN.allowed_private, OwnPlaces(hosts=("db.internal",)))
    client = internet.client(clock=lambda: now)
    with pytest.raises(AddressNotAllowedError):
        client.send(OutboundRequest("GET", "http://192.168.1.20/"), policy)
    internet.names["db.internal"] = ["192.168.1.21"]
    now = 31.0
    assert client.send(OutboundRequest("GET", "http://192.168.1.20/"), policy).status == 200
    with pytest.raises(AddressNotAllowedError):
        client.send(OutboundRequest("GET", "http://192.168.1.21/"), policy)


def test_the_next_address_is_tried_when_one_does_not_answer(internet: Internet) -> None:
    internet.names["two.example"] = ["2606:2800::1", PUBLIC]
    internet.serve(PUBLIC, OK)
    assert internet.get("http://two.example/").body == b"ok"
    assert internet.dialled == [("2606:2800::1", 80), (PUBLIC, 80)]


def test_a_host_without_an_answer_fails(internet: Internet) -> None:
    internet.names["dead.example"] = [PUBLIC, OTHER_PUBLIC]
    with pytest.raises(OutboundError) as caught:
        internet.get("http://dead.example/")
    assert (caught.value.code, caught.value.retryable) == ("connection_failed", True)
    with pytest.raises(HostNotFoundError):
        internet.get("http://nowhere.example/")


def test_no_variable_of_the_environment_is_a_proxy(internet: Internet, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://192.168.1.99:3128")
    internet.site("api.example", OK)
    internet.get("http://api.example/path")
    assert internet.dialled == [(PUBLIC, 80)]
    assert internet.received().startswith("GET /path HTTP/1.1\r\nhost: api.example\r\n")


_local = st.one_of(
    st.ip_addresses(network="127.0.0.0/8"),
    st.ip_addresses(network="169.254.0.0/16"),
    st.ip_addresses(network="fe80::/10"),
    st.just(IPv6Address("::1")),
)


def _wrapped(address: IPv4Address | IPv6Address) -> st.SearchStrategy[IPv4Address | IPv6Address]:
    number = int(address)
    if address.version == 6:
        return st.just(address)
    mapped = IPv6Address((0xFFFF << 32) | number)
    return st.sampled_from(
        [address, mapped, IPv6Address((0x0064_FF9B << 96) | number), IPv6Address((0x2002 << 112) | (number << 80))]
    )


@given(
    addresses=st.lists(st.one_of(_local.flatmap(_wrapped), st.ip_addresses()), min_size=1, max_size=4),
    is_literal=st.booleans(),
    policy=st.sampled_from([AddressPolicy(), LAN, EVERYTHING]),
    redirects=st.booleans(),
)
def test_no_local_address_is_ever_dialled(
    addresses: list[IPv4Address | IPv6Address], is_literal: bool, policy: AddressPolicy, redirects: bool
) -> None:
    internet = Internet()
    internet.names["any.example"] = list(map(str, addresses))
    url = in_url(str(addresses[0])) if is_literal else "http://any.example/"
    if redirects:
        internet.site("first.example", redirect(url), address=OTHER_PUBLIC)
        url = "http://first.example/"
    try:
        internet.get(url, policy)
    except OutboundError:
        pass
    finally:
        internet.close()
    for dialled, _port in internet.dialled:
        address = ip_address(dialled)
        inner = getattr(address, "ipv4_mapped", None) or getattr(address, "sixtofour", None) or address
        assert not address.is_loopback
        assert not address.is_link_local
        assert not inner.is_loopback
        assert not inner.is_link_local
