"""What a script sees of an error that it catches, and its author of one that it does not."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from picloud.errors import PiCloudError
from picloud.services.desk import RunServices
from picloud.services.kv import KvLimits
from picloud.services.outbound.errors import OutboundTimeoutError
from tests.unit.engine.sdk.scripts import IDENTITY, run
from tests.unit.engine.sdk.test_library import described
from tests.unit.services.memory import MemoryWorld

MAIL = 'email::send(#{ to: "ada@example.com", subject: "Hi", text: "x" })'

#: A call, the code of what it throws, and a word of the hint.
REFUSED = [
    ('secrets::get("NONE")', "secret_not_found", None),
    ('queue::send("nowhere", 1)', "queue_not_found", "picloud.toml"),
    ('queue::send("mails", 1, #{ delay_seconds: -1.0 })', "invalid_input", None),
    ('functions::invoke("nobody", 1)', "script_not_found", None),
    ('email::send(#{ to: "nobody", subject: "x", text: "y" })', "invalid_mail", None),
    (MAIL, "mail_not_configured", "PICLOUD_SMTP_URL"),
    ('kv::collection("c").set("k", "more than ten bytes")', "value_too_large", None),
    ('kv::collection("c").set("a", 1); kv::collection("c").set("b", 1)', "quota_exceeded", None),
    ('let c = kv::collection("c"); c.set("k", "x"); c.increment("k")', "invalid_input", None),
    ('kv::collection("a*").get("b")', "invalid_input", None),
    ('pubsub::publish("", 1)', "invalid_input", None),
    ('http::post("https://e.example/", #{ f: |x| x })', "invalid_input", None),
    ('json::parse("{")', "json_error", None),
    ("random::int(2, 1)", "invalid_input", None),
]


def services(breaks_with: Exception | None = None) -> RunServices:
    """Those of an app that may keep one key of ten bytes, on an installation that sends no mail."""
    limits = KvLimits(max_keys=1, max_bytes=1_000, max_value_bytes=10)
    world = MemoryWorld(queues=frozenset({"mails"}), limits=limits, breaks_with=breaks_with)
    return world.desk(sends_mail=False).for_run(IDENTITY)


def caught(call: str, given: RunServices | None = None) -> dict[str, Any]:
    """The members of the error as the script sees them."""
    result = run(
        f"try {{ {call}; }} catch (e) {{"
        " return #{ code: e.code, message: e.message, hint: e.hint, retryable: e.retryable, kind: e.kind }; }",
        given or services(),
    )
    assert result.failure is None, result.failure
    found: dict[str, Any] = json.loads(result.data or b"null")
    return found


@pytest.mark.parametrize(("call", "code", "hint"), REFUSED)
def test_a_script_that_catches_an_error_sees_its_code_and_its_hint(call: str, code: str, hint: str | None) -> None:
    found = caught(call)
    assert (found["code"], found["retryable"]) == (code, False)
    assert found["message"]
    assert (hint or "") in (found["hint"] or "")
    assert (found["hint"] is None) == (hint is None)


@pytest.mark.parametrize(("call", "code", "hint"), REFUSED)
def test_an_error_nobody_catches_says_the_same_to_the_author(call: str, code: str, hint: str | None) -> None:
    failure = run(call, services()).failure
    assert failure is not None
    document = json.loads(failure.to_json())
    if code != "json_error":  # the engine's own, which comes from no service
        assert document["reason"] == code
    assert (hint or "") in document.get("hint", "")
    assert ("hint" in document) == (hint is not None)


def test_a_script_can_tell_what_may_succeed_later() -> None:
    late = OutboundTimeoutError("no answer within 3 s", hint="raise timeout_seconds")
    assert caught('http::get("https://e.example/")', services(late)) == {
        "code": "timeout",
        "message": "no answer within 3 s",
        "hint": "raise timeout_seconds",
        "retryable": True,
        "kind": None,
    }


def test_what_breaks_in_a_function_is_told_to_our_log_only(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR, "picloud.engine"):
        found = caught('http::get("https://e.example/")', services(ZeroDivisionError("the inside")))
    assert (found["code"], found["retryable"]) == ("internal_error", False)
    assert "inside" not in found["message"]
    assert "the inside" in caplog.text


def test_every_code_that_is_described_is_one_that_exists() -> None:
    known = {"json_error"} | {code for _, code, _ in REFUSED} | _codes(PiCloudError)
    thrown = {code for _, function, _ in described() for code in function.doc.throws}
    # Needs as many keys as one page has; tests of the buffer raise it.
    assert thrown - known == {"too_many_keys"}


def _codes(error: type[PiCloudError]) -> set[str]:
    return {error.code}.union(*(_codes(each) for each in error.__subclasses__()))
