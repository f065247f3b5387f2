"""Secrets through the control API: set, listed, replaced, removed, and never answered."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from picloud.local.master_key import MasterKeyFile
from picloud.services.vault import MAX_VALUE_BYTES, Vault
from picloud.settings import Settings
from tests.integration.api.conftest import Api
from tests.seeding import Seeds

pytestmark = pytest.mark.integration

VALUE = "sk_live_51Hxx-quite-secret"


def _put(api: Api, name: str, value: Any = VALUE, *, expect: int = 201) -> Any:
    return api.call("PUT", f"/apps/shop/secrets/{name}", {"value": value}, expect=expect)


def _use(api: Api, vault: Vault) -> None:
    """As if the process had been started anew; its parts are frozen for everybody else."""
    object.__setattr__(api.services, "vault", vault)


def test_a_secret_is_set_listed_set_again_and_removed(api: Api, seeds: Seeds) -> None:
    seeds.app()
    made = _put(api, "STRIPE_KEY")
    assert (made["app"], made["name"], made["version"], made["created_by"]) == ("shop", "STRIPE_KEY", 1, "local")
    assert made["created_at"].endswith("Z")
    again = _put(api, "STRIPE_KEY", "another", expect=200)
    assert again["version"] == 2
    _put(api, "MAIL.password")
    assert [each["name"] for each in api.get("/apps/shop/secrets")["items"]] == ["MAIL.password", "STRIPE_KEY"]
    assert api.get("/apps/shop/secrets/STRIPE_KEY") == again
    assert api.call("DELETE", "/apps/shop/secrets/STRIPE_KEY", expect=204) is None
    assert api.get("/apps/shop/secrets/STRIPE_KEY", expect=404)["code"] == "not_found"
    assert api.call("DELETE", "/apps/shop/secrets/STRIPE_KEY", expect=404)["code"] == "not_found"


def test_pages_go_by_name(api: Api, seeds: Seeds) -> None:
    seeds.app()
    for name in ("a", "b", "c"):
        _put(api, name)
    first = api.get("/apps/shop/secrets?limit=2")
    assert ([each["name"] for each in first["items"]], first["next"]) == (["a", "b"], "b")
    rest = api.get("/apps/shop/secrets?limit=2&after=b")
    assert ([each["name"] for each in rest["items"]], rest["next"]) == (["c"], None)


def test_no_answer_and_no_log_holds_the_value(api: Api, seeds: Seeds, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    seeds.app()
    answers = [
        api.request("PUT", "/apps/shop/secrets/KEY", {"value": VALUE}),
        api.request("PUT", "/apps/shop/secrets/KEY", {"value": VALUE}),
        api.request("GET", "/apps/shop/secrets"),
        api.request("GET", "/apps/shop/secrets/KEY"),
        api.request("PUT", "/apps/shop/secrets/9KEY", {"value": VALUE}),
        api.request("PUT", "/apps/shop/secrets/KEY", {"value": VALUE, "extra": VALUE}),
        api.request("PUT", "/apps/shop/secrets/KEY", {"value": [VALUE]}),
        api.request("PUT", "/apps/nothing/secrets/KEY", {"value": VALUE}),
        api.request("PUT", "/apps/shop/secrets/KEY", {"value": VALUE * 3_000}),
    ]
    assert [answer.status_code for answer in answers] == [201, 200, 200, 200, 400, 400, 400, 404, 400]
    assert all(VALUE not in answer.text for answer in answers)
    assert VALUE not in caplog.text


@pytest.mark.parametrize("name", ["9a", "a%20b", "%C3%A4", "x" * 101, "a%2Fb"])
def test_what_is_no_name_is_refused(api: Api, seeds: Seeds, name: str) -> None:
    seeds.app()
    refused = api.request("PUT", f"/apps/shop/secrets/{name}", {"value": VALUE})
    assert refused.status_code in {400, 404}
    assert seeds.count("secrets") == 0


@pytest.mark.parametrize("value", ["x", "\0", "\x01" * MAX_VALUE_BYTES, "ü" * (MAX_VALUE_BYTES // 2)])
def test_every_value_that_may_be_fits_into_a_request(api: Api, seeds: Seeds, value: str) -> None:
    seeds.app()
    assert _put(api, "KEY", value)["version"] == 1


@pytest.mark.parametrize("value", ["", "x" * (MAX_VALUE_BYTES + 1), "ü" * MAX_VALUE_BYTES, None, 7])
def test_what_is_no_value_is_refused(api: Api, seeds: Seeds, value: Any) -> None:
    seeds.app()
    assert _put(api, "KEY", value, expect=400)["detail"].startswith("value: ")


def test_the_description_says_that_a_value_is_only_written(api: Api) -> None:
    value = api.get("/openapi.json")["components"]["schemas"]["NewValue"]["properties"]["value"]
    assert (value["format"], value["writeOnly"]) == ("password", True)


def test_without_a_master_key_nothing_is_set_and_the_rest_works(
    api: Api, seeds: Seeds, caplog: pytest.LogCaptureFixture, tmp_path: Any
) -> None:
    seeds.app()
    _put(api, "KEY")
    settings = Settings(master_key_file=str(tmp_path / "master.key"))
    _use(api, Vault(MasterKeyFile(settings)))
    refused = api.request("PUT", "/apps/shop/secrets/KEY", {"value": "another"})
    assert (refused.status_code, refused.json["code"]) == (503, "master_key_missing")
    assert refused.json["detail"].startswith("secrets need the master key: this process cannot read it")
    assert str(tmp_path) not in refused.text
    assert str(tmp_path) in caplog.text
    assert api.get("/apps/shop/secrets/KEY")["version"] == 1
    (tmp_path / "master.key").write_bytes(b"k" * 32)
    assert _put(api, "KEY", "another", expect=200)["version"] == 2


def test_with_the_wrong_master_key_nothing_is_set(api: Api, seeds: Seeds) -> None:
    seeds.app()
    _put(api, "KEY")
    _use(api, Vault(lambda: (b"w" * 32,)))
    assert _put(api, "KEY", "another", expect=503)["code"] == "wrong_master_key"


def test_a_data_key_is_rotated_and_secrets_stay_what_they_are(api: Api, seeds: Seeds) -> None:
    seeds.app()
    made = _put(api, "rotate")  # a name like that of a call
    assert api.call("POST", "/apps/shop/rotate-data-key", expect=200) == {"app": "shop", "secrets": 1}
    assert api.get("/apps/shop/secrets/rotate") == made
    assert api.call("POST", "/apps/nothing/rotate-data-key", expect=404)["code"] == "not_found"
    seeds.connection.execute("update secrets set sealed = sealed || '\\x00'")
    broken = api.request("POST", "/apps/shop/rotate-data-key")
    assert (broken.status_code, broken.json["code"]) == (500, "broken_seal")
    assert VALUE not in broken.text
