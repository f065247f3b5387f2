"""Checks that a request was signed by whoever knows the secret: HMAC (RFC 2104) over its very bytes.

Sources: "Validating webhook deliveries" (GitHub), "Verify webhook signatures manually" (Stripe), "Verifying requests
from Slack". Stripe and Slack sign a time along, so that a request that somebody recorded is not taken again later;
GitHub and the generic scheme do not: their receivers tell repeats by the delivery's id.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Iterable, Mapping

from picloud.access.route_auth import RouteAuth
from picloud.errors import AuthenticationError

#: How far a signed time may be from ours; both senders recommend five minutes.
TOLERANCE_SECONDS = 300


class SignatureError(AuthenticationError):
    """Raised when a request is not signed as its route asks for."""

    code = "invalid_signature"


def verify(auth: RouteAuth, headers: Mapping[str, str], body: bytes, secret: str, now: float) -> None:
    """Pass a request that is signed with ``secret``.

    Args:
        headers: by their lowercase names.
        body: byte for byte as it came.
        now: seconds since 1970, by this machine's clock.

    Raises:
        SignatureError: it is not signed, or not by who knows the secret, or at another time.
    """
    key = secret.encode()
    match auth.kind:
        case "github":
            signature = _header(headers, "x-hub-signature-256")
            _compare(f"sha256={_hex(key, body)}", [signature])
        case "stripe":
            fields = [field.partition("=") for field in _header(headers, "stripe-signature").split(",")]
            stamp = next((value for name, _, value in fields if name.strip() == "t"), "")
            _check_time(stamp, now)
            signatures = [value for name, _, value in fields if name.strip() == "v1"]
            _compare(_hex(key, stamp.encode() + b"." + body), signatures)
        case "slack":
            stamp = _header(headers, "x-slack-request-timestamp")
            _check_time(stamp, now)
            _compare(f"v0={_hex(key, b'v0:' + stamp.encode() + b':' + body)}", [_header(headers, "x-slack-signature")])
        case "hmac":
            _check_generic(auth, _header(headers, auth.header.lower()), body, key)
        case _:
            raise AssertionError(f"{auth.kind} is no signature")


def _check_generic(auth: RouteAuth, signature: str, body: bytes, key: bytes) -> None:
    if not signature.startswith(auth.prefix):
        raise SignatureError(f"{auth.header}: expected {auth.prefix!r} and the signature")
    given = signature.removeprefix(auth.prefix).strip()
    expected = hmac.digest(key, body, auth.algorithm)
    if auth.encoding == "hex":
        return _compare(expected.hex(), [given.lower()])
    try:
        digits = given.translate(_URL_SAFE)
        decoded = base64.b64decode(digits + "=" * (-len(digits) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise SignatureError(f"{auth.header}: is not base64") from None
    return _compare(expected.hex(), [decoded.hex()])


#: Base64 for URLs (RFC 4648, section 5) as ordinary base64; padding is added again.
_URL_SAFE = str.maketrans({"-": "+", "_": "/", "=": None})


def _hex(key: bytes, signed: bytes) -> str:
    return hmac.digest(key, signed, "sha256").hex()


def _header(headers: Mapping[str, str], name: str) -> str:
    value = headers.get(name)
    if not value:
        raise SignatureError(f"the request has no {name} header", hint="the sender has to sign with this app's secret")
    return value


def _check_time(stamp: str, now: float) -> None:
    if not (stamp.isascii() and stamp.isdigit() and len(stamp) <= 12):
        raise SignatureError("the signature names no time")
    if abs(now - int(stamp)) > TOLERANCE_SECONDS:
        raise SignatureError("the request was signed more than five minutes from now", hint="are both clocks right?")


def _compare(expected: str, given: Iterable[str]) -> None:
    """In time that does not tell how much of it was right."""
    wanted = expected.encode()
    if not any(hmac.compare_digest(wanted, each.encode("utf-8", "surrogateescape")) for each in given):
        raise SignatureError("the signature is not right", hint="is the secret the one the sender uses?")
