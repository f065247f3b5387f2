"""Calls of scripts under what their app may reach, against an internet that fits in a test."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from uuid import UUID

import pytest

from picloud.services.catalog import Catalog
from picloud.services.desk import RunOf
from picloud.services.hops import Hops, read_hops
from picloud.services.outbound import OutboundRequest, OwnPlaces
from picloud.services.outbound.errors import AddressNotAllowedError, BadHeaderError
from picloud.settings import Settings
from picloud_actors.services import Caller, own_places
from tests.unit.services.outbound.internet import OK, Internet, redirect

KEY = b"k" * 32
RUN = RunOf(
    execution_id=UUID("0198f000-0000-7000-8000-000000000002"),
    root_execution_id=UUID("0198f000-0000-7000-8000-000000000001"),
    trigger_depth=3,
    app_id=1,
    app_revision=1,
    script_id=1,
    principal_id=1,
)
NAS = "192.168.1.50"


class Lists:
    """The allow-list of each app, by revision."""

    def __init__(self) -> None:
        self.of: dict[tuple[int, int], tuple[str, ...]] = {}

    def get(self, app_id: int, revision: int) -> Catalog:
        return Catalog({}, frozenset(), self.of.get((app_id, revision), ()))


@pytest.fixture
def internet() -> Iterator[Internet]:
    internet = Internet()
    internet.machine_addresses = {"192.168.1.2", "fd00::2"}
    internet.site("api.example", OK)
    internet.site("nas.lan", OK, address=NAS)
    internet.site("self.lan", OK, address="192.168.1.2")
    internet.site("db.lan", OK, address="192.168.1.60")
    internet.site("cloud.lan", OK, address="192.168.1.70")
    yield internet
    internet.close()


@pytest.fixture
def lists() -> Lists:
    return Lists()


@pytest.fixture
def caller(internet: Internet, lists: Lists) -> Caller:
    settings = Settings(
        database_url="postgresql://picloud@db.lan/picloud",
        redis_url="redis://192.168.1.61:6379/0",
        public_url="https://cloud.lan",
    )
    return Caller(settings, lists, lambda: (KEY,), internet.client)


def get(caller: Caller, url: str, *, run: RunOf = RUN, ordinal: int = 1) -> int:
    return caller.call(run, ordinal, OutboundRequest("GET", url)).status


def sent_headers(internet: Internet, index: int = -1) -> dict[str, str]:
    lines = internet.received(index).partition("\r\n\r\n")[0].split("\r\n")[1:]
    return dict(line.split(": ", 1) for line in lines)


def test_a_public_address_needs_no_leave(caller: Caller) -> None:
    assert get(caller, "http://api.example/") == 200


@pytest.mark.parametrize("entry", [NAS, "192.168.1.0/24", "0.0.0.0/0", "nas.lan", "*.lan"])
def test_a_private_address_is_called_by_the_app_that_is_allowed_to(caller: Caller, lists: Lists, entry: str) -> None:
    lists.of[1, 1] = (entry,)
    assert get(caller, "http://nas.lan/") == 200
    with pytest.raises(AddressNotAllowedError):
        get(caller, "http://nas.lan/", run=RUN._replace(app_id=2))


def test_a_change_of_the_list_holds_for_runs_that_began_after_it(caller: Caller, lists: Lists) -> None:
    lists.of[1, 2] = (NAS,)
    with pytest.raises(AddressNotAllowedError):
        get(caller, f"http://{NAS}/")
    assert get(caller, f"http://{NAS}/", run=RUN._replace(app_revision=2)) == 200
    with pytest.raises(AddressNotAllowedError):
        get(caller, f"http://{NAS}/", run=RUN._replace(app_revision=3))


@pytest.mark.parametrize(
    "url",
    [
        "http://self.lan/", "http://192.168.1.2:8080/", "http://[::ffff:192.168.1.2]/", "http://[fd00::2]/",
        "http://db.lan/", "http://DB.lan.:8080/", "http://192.168.1.60/", "http://192.168.1.61/", "https://cloud.lan/",
        "https://192.168.1.70/", "http://127.0.0.1:8000/", "http://169.254.169.254/", "http://[fd00:ec2::254]/",
    ],
)  # fmt: skip
def test_what_is_picloud_s_own_is_refused_whatever_the_list_says(
    caller: Caller, internet: Internet, lists: Lists, url: str
) -> None:
    lists.of[1, 1] = ("0.0.0.0/0", "::/0", "*.lan", "db.lan", "cloud.lan")
    with pytest.raises(AddressNotAllowedError):
        get(caller, url)
    assert internet.dialled == []


def test_another_port_of_the_machine_at_the_front_may_be_allowed(caller: Caller, lists: Lists) -> None:
    lists.of[1, 1] = ("cloud.lan",)
    assert get(caller, "http://cloud.lan:3000/") == 200


@pytest.mark.parametrize("to", ["http://db.lan/", "http://192.168.1.51/", "http://self.lan/", "http://127.0.0.1/"])
def test_a_redirect_is_judged_like_a_call(caller: Caller, internet: Internet, lists: Lists, to: str) -> None:
    lists.of[1, 1] = (NAS,)
    internet.serve(NAS, redirect(to))
    with pytest.raises(AddressNotAllowedError):
        get(caller, f"http://{NAS}/")
    assert internet.dialled == [(NAS, 80)]


def test_each_call_of_a_run_has_a_key_that_a_retry_has_too(caller: Caller, internet: Internet) -> None:
    for ordinal in (1, 2, 1):
        get(caller, "http://api.example/", ordinal=ordinal)
    keys = [sent_headers(internet, index)["idempotency-key"] for index in range(3)]
    assert keys == [f"{RUN.execution_id}:1", f"{RUN.execution_id}:2", f"{RUN.execution_id}:1"]


def test_a_key_of_the_scripts_own_is_left_as_it_is(caller: Caller, internet: Internet) -> None:
    request = OutboundRequest("GET", "http://api.example/", headers=(("IDEMPOTENCY-key", "mine"),))
    caller.call(RUN, 1, request)
    assert sent_headers(internet)["idempotency-key"] == "mine"


def test_each_call_says_where_in_its_chain_the_run_is_and_no_script_says_otherwise(
    caller: Caller, internet: Internet
) -> None:
    get(caller, "http://api.example/")
    assert read_hops(KEY, sent_headers(internet)["x-picloud-hops"]) == Hops(RUN.root_execution_id, 3)
    forged = OutboundRequest("GET", "http://api.example/", headers=(("X-PiCloud-Hops", "v1"),))
    with pytest.raises(BadHeaderError):
        caller.call(RUN, 2, forged)
    # Nor by the field that is PiCloud's to fill
    caller.call(RUN, 3, replace(forged, headers=(), hops="v1"))
    assert read_hops(KEY, sent_headers(internet)["x-picloud-hops"]) == Hops(RUN.root_execution_id, 3)


@pytest.mark.parametrize(
    ("settings", "hosts", "endpoints"),
    [
        (Settings(), (), {("127.0.0.1", 8000)}),
        (Settings(database_url="postgresql:///picloud?host=/run/postgresql"), (), {("127.0.0.1", 8000)}),
        (
            Settings(database_url="postgresql://u:p@a.lan,b.lan/x?hostaddr=10.0.0.1,10.0.0.2"),
            ("a.lan", "b.lan", "10.0.0.1", "10.0.0.2"), None,
        ),
        (Settings(database_url="host=db.lan dbname=x"), ("db.lan",), None),
        (Settings(redis_url="unix:///run/redis.sock"), (), None),
        (Settings(redis_url="rediss://:p@[fd00::9]:6380/0"), ("fd00::9",), None),
        (Settings(smtp_url="smtps://u:p@mail.lan"), ("mail.lan",), None),
        (Settings(bind="10.0.0.5:80", public_url="https://a.example"), (), {("10.0.0.5", 80), ("a.example", 443)}),
        (Settings(public_url="http://cloud.example:8080/x"), (), {("127.0.0.1", 8000), ("cloud.example", 8080)}),
        (Settings(smtp_bind="10.0.0.5:25"), (), {("127.0.0.1", 8000), ("10.0.0.5", 25)}),
    ],
)  # fmt: skip
def test_picloud_s_own_places_are_read_from_its_settings(
    settings: Settings, hosts: tuple[str, ...], endpoints: set[tuple[str, int]] | None
) -> None:
    own = own_places(settings)
    assert isinstance(own, OwnPlaces)
    assert own.hosts == hosts
    if endpoints is not None:
        assert set(own.endpoints) == endpoints
