"""Signatures of webhooks, against examples that their senders publish, and against what an attacker would try."""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from picloud.access.route_auth import RouteAuth, stored_auth
from picloud.access.signatures import TOLERANCE_SECONDS, SignatureError, verify

_NOW = 1_700_000_000.0


def _hex(secret: str, signed: bytes, algorithm: str = "sha256") -> str:
    return hmac.new(secret.encode(), signed, getattr(hashlib, algorithm)).hexdigest()


def _auth(kind: Any, **more: Any) -> RouteAuth:
    return RouteAuth(kind=kind, secret="S", **more)


def test_the_example_of_github() -> None:
    # "Validating webhook deliveries", GitHub Docs: "Testing the webhook payload validation".
    signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    headers = {"x-hub-signature-256": signature}
    verify(_auth("github"), headers, b"Hello, World!", "It's a Secret to Everybody", _NOW)
    with pytest.raises(SignatureError, match="not right"):
        verify(_auth("github"), headers, b"Hello, World?", "It's a Secret to Everybody", _NOW)


def test_the_example_of_slack() -> None:
    # "Verifying requests from Slack", Slack API documentation.
    body = (
        b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V"
        b"&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text="
        b"&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN"
        b"&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c"
    )
    headers = {
        "x-slack-request-timestamp": "1531420618",
        "x-slack-signature": "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503",
    }
    secret = "8f742231b10e8888abcd99yyyzzz85a5"
    verify(_auth("slack"), headers, body, secret, 1531420618)
    with pytest.raises(SignatureError, match="five minutes"):
        verify(_auth("slack"), headers, body, secret, 1531420618 + TOLERANCE_SECONDS + 1)


def test_stripe_signs_the_time_and_may_send_several_signatures_while_a_secret_is_rolled() -> None:
    stamp = str(int(_NOW))
    good, old = _hex("new", f"{stamp}.{{}}".encode()), _hex("old", f"{stamp}.{{}}".encode())
    verify(_auth("stripe"), {"stripe-signature": f"t={stamp},v1={old},v1={good},v0=x"}, b"{}", "new", _NOW)
    for wrong in (f"t={stamp},v1={old}", f"t={stamp}", f"v1={good}", f"t={int(_NOW) + 1},v1={good}", "t=,v1=", ""):
        with pytest.raises(SignatureError):
            verify(_auth("stripe"), {"stripe-signature": wrong}, b"{}", "new", _NOW)


@pytest.mark.parametrize("late", [-TOLERANCE_SECONDS - 1, TOLERANCE_SECONDS + 1])
def test_what_somebody_recorded_is_not_taken_again_later(late: int) -> None:
    stamp = str(int(_NOW))
    header = {"stripe-signature": f"t={stamp},v1={_hex('k', f'{stamp}.{{}}'.encode())}"}
    verify(_auth("stripe"), header, b"{}", "k", _NOW)
    with pytest.raises(SignatureError, match="five minutes"):
        verify(_auth("stripe"), header, b"{}", "k", _NOW + late)


@pytest.mark.parametrize("algorithm", ["sha1", "sha256", "sha512"])
@pytest.mark.parametrize("encoding", ["hex", "base64"])
def test_the_generic_scheme_in_all_its_forms(algorithm: Any, encoding: Any) -> None:
    auth = _auth("hmac", header="X-Line-Signature", algorithm=algorithm, encoding=encoding, prefix="sig=")
    digest = hmac.new(b"k", b"body", getattr(hashlib, algorithm)).digest()
    told = digest.hex() if encoding == "hex" else base64.b64encode(digest).decode()
    verify(auth, {"x-line-signature": f"sig={told}"}, b"body", "k", _NOW)
    for wrong in (told, f"sig={told}x", "sig=", f"sig={told[:-4]}"):
        with pytest.raises(SignatureError):
            verify(auth, {"x-line-signature": wrong}, b"body", "k", _NOW)


def test_base64_for_urls_and_without_padding_is_understood() -> None:
    auth = _auth("hmac", encoding="base64")
    digest = hmac.digest(b"k", b"body 2", "sha256")
    assert set(base64.b64encode(digest).decode()) & {"+", "/"}, "else this tests nothing"
    verify(auth, {"x-signature": base64.urlsafe_b64encode(digest).decode().rstrip("=")}, b"body 2", "k", _NOW)


def test_a_request_without_the_header_is_told_which() -> None:
    with pytest.raises(SignatureError, match="no x-hub-signature-256 header"):
        verify(_auth("github"), {}, b"", "k", _NOW)


@given(
    st.sampled_from(["github", "stripe", "slack", "hmac"]),
    st.dictionaries(
        st.sampled_from(
            ["x-hub-signature-256", "stripe-signature", "x-slack-signature", "x-slack-request-timestamp", "x-signature"]
        ),
        st.text(max_size=80),
    ),
    st.binary(max_size=50),
)
def test_whatever_a_stranger_sends_is_refused_and_breaks_nothing(
    kind: Any, headers: dict[str, str], body: bytes
) -> None:
    with pytest.raises(SignatureError):
        verify(_auth(kind), headers, body, "a secret that is not known", _NOW)


@pytest.mark.parametrize(
    "auth", [RouteAuth(), RouteAuth(kind="api_key"), _auth("github"), _auth("hmac", header="X-A", encoding="base64")]
)
def test_what_is_stored_is_what_was_asked_for(auth: RouteAuth) -> None:
    assert stored_auth(auth.to_json()) == auth
