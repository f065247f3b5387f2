"""What a shell is offered for names: through click's completion, with a server that is only a function."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.shell_completion import ShellComplete

from picloud.cli import completing
from picloud.cli.main import cli
from picloud.cli.options import Surroundings
from picloud.profiles import Profile, save_profile

LISTS: dict[str, list[dict[str, Any]]] = {
    "/apps": [{"name": "shop"}, {"name": "shed"}, {"name": "blog"}],
    "/apps/shop/scripts": [{"name": "orders"}, {"name": "lib/prices"}],
    "/apps/shop/triggers": [{"name": "nightly"}],
    "/apps/shop/queues": [{"name": "jobs"}],
    "/apps/shop/kv": [{"name": "stock"}],
    "/apps/shop/kv/stock": [{"key": "apples"}, {"key": "two words"}, {"key": "$(reboot)"}],
    "/apps/shop/secrets": [{"name": "STRIPE_KEY"}],
    "/apps/shop/domains": [{"domain": "shop.example.org"}],
}

Offer = Callable[[str], list[str]]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """The URL and path of every request."""
    requests: list[tuple[str, str]] = []

    def fetch(profile: Profile, path: str) -> list[dict[str, Any]]:
        requests.append((profile.url, path))
        return LISTS[path.partition("?")[0]]

    monkeypatch.setattr(completing, "fetch", fetch)
    return requests


@pytest.fixture
def offered(tmp_path: Path) -> Offer:
    """What the last word of a line may become."""
    environ = {"PICLOUD_CONFIG": str(tmp_path / "config.toml")}
    save_profile("other", Profile("http://other.test", "pic_other"), environ)
    save_profile("local", Profile("http://local.test", "pic_local"), environ)

    def offer(line: str) -> list[str]:
        *words, incomplete = line.split(" ")[1:]
        complete = ShellComplete(cli, {"obj": Surroundings(environ)}, "picloud", "_PICLOUD_COMPLETE")
        return [item.value for item in complete.get_completions(words, incomplete)]

    return offer


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("picloud apps show sh", ["shop", "shed"]),
        ("picloud logs --follow b", ["blog"]),
        ("picloud executions ls --app bl", ["blog"]),
        ("picloud scripts show shop ", ["orders", "lib/prices"]),
        ("picloud executions ls --app shop --script or", ["orders"]),
        ("picloud invoke shop o", ["orders"]),
        ("picloud triggers disable shop ", ["nightly"]),
        ("picloud queues show shop ", ["jobs"]),
        ("picloud queues sho", ["show"]),
        ("picloud kv ls shop s", ["stock"]),
        ("picloud kv get shop stock ", ["apples"]),
        ("picloud kv rm shop stock apples a", ["apples"]),
        ("picloud secrets rm shop S", ["STRIPE_KEY"]),
        ("picloud domains rm shop shop", ["shop.example.org"]),
        ("picloud context use o", ["other"]),
        ("picloud apps ls --context ", ["local", "other"]),
    ],
)
def test_a_name_the_server_knows_is_offered(
    offered: Offer, asked: list[tuple[str, str]], line: str, words: list[str]
) -> None:
    assert sorted(offered(line)) == sorted(words)


def test_the_server_of_the_line_is_asked_once(offered: Offer, asked: list[tuple[str, str]]) -> None:
    offered("picloud kv get --context other shop stock ap")
    assert asked == [("http://other.test", "/apps/shop/kv/stock?limit=100&prefix=ap")]


def test_without_an_app_nothing_below_one_is_asked_for(offered: Offer, asked: list[tuple[str, str]]) -> None:
    assert offered("picloud executions ls --script ") == []
    assert asked == []


@pytest.mark.parametrize("failure", [TimeoutError(), ConnectionRefusedError(), ValueError("answered 401"), KeyError()])
def test_a_server_that_is_not_there_is_passed_over_in_silence(
    offered: Offer, monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    def fail(*_: object) -> list[dict[str, Any]]:
        raise failure

    monkeypatch.setattr(completing, "fetch", fail)
    assert offered("picloud apps show ") == []
    assert offered("picloud apps sh") == ["show"]


def test_without_a_profile_nothing_is_offered(tmp_path: Path) -> None:
    around = Surroundings({"PICLOUD_CONFIG": str(tmp_path / "none.toml")})
    complete = ShellComplete(cli, {"obj": around}, "picloud", "_PICLOUD_COMPLETE")
    assert complete.get_completions(["apps", "show"], "") == []
    assert complete.get_completions(["context", "use"], "") == []
