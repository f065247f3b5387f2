"""The apps in examples/, deployed and called as their README says."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.acceptance.running import Platform, running_platform

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
APPS = sorted(folder.name for folder in EXAMPLES.iterdir() if folder.is_dir())

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def platform() -> Iterator[Platform]:
    with running_platform(PICLOUD_TRIGGER_RETRY_BASE_MS="50") as started:
        for app in APPS:
            started.picloud("deploy", str(EXAMPLES / app))
        yield started


@pytest.fixture(scope="module")
def client(platform: Platform) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=platform.url, timeout=20) as opened:
        yield opened


def read(platform: Platform, *arguments: str) -> Any:
    return json.loads(platform.picloud(*arguments, "--json"))


@pytest.mark.parametrize("app", APPS)
def test_an_example_passes_its_own_check(platform: Platform, app: str) -> None:
    platform.picloud("check", str(EXAMPLES / app))


def test_every_example_is_listed_in_the_readme() -> None:
    page = (EXAMPLES / "README.md").read_text()
    assert [app for app in APPS if f"]({app})" not in page] == []


def test_hello_greets_by_path_and_query(client: httpx2.Client) -> None:
    assert client.get("/@hello/greet/Ada").json()["message"] == "Hello, Ada!"
    answer = client.get("/@hello/greet/Ada", params={"language": "de"})
    assert answer.json() == {"message": "Hallo, Ada!", "execution": answer.headers["x-execution-id"]}


def test_hello_answers_text_json_and_nothing(client: httpx2.Client) -> None:
    text = client.get("/@hello/")
    assert (text.status_code, text.headers["content-type"].partition(";")[0]) == (200, "text/plain")
    assert client.post("/@hello/sum", json={"numbers": [1, 2, 39]}).json() == {"total": 42, "count": 3}
    nothing = client.delete("/@hello/greet/Ada")
    assert (nothing.status_code, nothing.content) == (204, b"")


def test_an_order_is_packed_at_the_second_try(platform: Platform, client: httpx2.Client) -> None:
    accepted = client.post("/@orders/orders/7", json={"item": "tea"})
    assert accepted.status_code == 202
    done = finished(platform, accepted.json()["execution_id"])
    assert (done["status"], done["attempts"]) == ("completed", 2)
    assert done["result"] == {"order": "7", "packed": "tea", "attempts": 2}


def test_an_order_without_an_item_is_a_dead_letter_at_once(platform: Platform, client: httpx2.Client) -> None:
    accepted = client.post("/@orders/orders/8", json={"colour": "red"})
    execution_id = accepted.json()["execution_id"]
    assert finished(platform, execution_id)["attempts"] == 1
    letter = read(platform, "dead-letters", "show", execution_id)
    assert "an order needs an item" in json.dumps(letter["last_error"])


def test_an_order_that_never_succeeds_is_tried_three_times(platform: Platform, client: httpx2.Client) -> None:
    accepted = client.post("/@orders/orders/9", json={"item": "unicorn"})
    done = finished(platform, accepted.json()["execution_id"])
    assert (done["status"], done["attempts"]) == ("dead", 3)


def test_the_webhook_takes_what_is_signed_and_answers_what_it_means_to(
    platform: Platform, client: httpx2.Client
) -> None:
    def send(event: str | None, content: Any, secret: str = "it's a secret") -> httpx2.Response:
        body = json.dumps(content).encode()
        signature = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
        headers = {"content-type": "application/json", "x-hub-signature-256": f"sha256={signature}"}
        return client.post(
            "/@webhook/push", content=body, headers=headers | ({"x-github-event": event} if event else {})
        )

    assert send("ping", {}).json()["code"] == "secret_missing"
    platform.picloud("secrets", "set", "webhook", "GITHUB_SECRET", given="it's a secret")
    pong = send("ping", {})
    assert (pong.status_code, pong.text) == (200, "pong")
    push = send("push", {"ref": "main", "commits": [{}, {}]})
    assert (push.status_code, push.json()) == (201, {"accepted": 2})
    assert push.headers["x-delivery"] == push.headers["x-execution-id"]
    assert send(None, {}).status_code == 422
    assert send("push", {}, secret="another").json()["code"] == "invalid_signature"
    assert client.get("/@webhook/docs", follow_redirects=False).headers["location"] == "https://example.org/webhooks"


def finished(platform: Platform, execution_id: str) -> dict[str, Any]:
    """The execution once it has ended; the test's own timeout is the limit."""
    while True:
        shown: dict[str, Any] = read(platform, "executions", "show", execution_id)
        if shown["status"] not in {"pending", "running"}:
            return shown


def shop_order(client: httpx2.Client, number: int, state: str) -> dict[str, Any]:
    """The order once it is in this state."""
    give_up_at = time.monotonic() + 20
    while (order := client.get(f"/@shop/orders/{number}").json()).get("state") != state:
        assert time.monotonic() < give_up_at, order
        time.sleep(0.1)
    return dict(order)


def test_shop_packs_what_is_there_and_cancels_what_is_not(platform: Platform, client: httpx2.Client) -> None:
    order = json.loads((EXAMPLES / "shop" / "events" / "order.json").read_text())
    assert client.post("/@shop/orders", json=order).json() == {"order": 1}
    assert client.post("/@shop/orders", json=order | {"count": 99}).json() == {"order": 2}
    assert shop_order(client, 1, "packed")["item"] == "tea"
    assert shop_order(client, 2, "cancelled")["reason"] == "not enough tea"
    assert read(platform, "kv", "ls", "shop", "stock")[0]["key"] == "tea"
    assert platform.picloud("kv", "get", "shop", "stock", "tea").strip() == "8"
    assert client.post("/@shop/orders", json={"item": "coffee"}).status_code == 422
    platform.picloud("emit", "cron", "shop", '{"trigger": "restock"}')
    give_up_at = time.monotonic() + 20
    while platform.picloud("kv", "get", "shop", "stock", "tea").strip() != "10":
        assert time.monotonic() < give_up_at
        time.sleep(0.1)
