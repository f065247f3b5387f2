"""Signatures with a shared secret (RFC 2104), in lower-case hex: what webhooks carry."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac

from picloud.engine.sdk.description import SdkModule
from picloud.engine.sdk.modules.hash import known_algorithm

HMAC = SdkModule("hmac", __doc__)


@HMAC.function
def sha1(key: str | bytes, data: str | bytes) -> str:
    """HMAC-SHA-1, 40 digits.

    Example:
        hmac::sha1("key", "data")  // "104152c5bfdca07bc633eebd46199f0255c9f49d"
    """
    return digest("sha1", key, data).hex()


@HMAC.function
def sha256(key: str | bytes, data: str | bytes) -> str:
    """HMAC-SHA-256, 64 digits.

    Example:
        hmac::sha256("key", "data")  // "5031fe3d989c6d1537a013fa6e739da23463fdaec3b70137d828e36ace221bd0"
    """
    return digest("sha256", key, data).hex()


@HMAC.function
def sha512(key: str | bytes, data: str | bytes) -> str:
    """HMAC-SHA-512, 128 digits.

    Example:
        hmac::sha512("key", "data").len  // 128
    """
    return digest("sha512", key, data).hex()


@HMAC.function
def digest(algorithm: str, key: str | bytes, data: str | bytes) -> bytes:
    """The raw bytes, for where hex is not wanted; algorithms are those of `hash`.

    Throws:
        invalid_input: there is no such algorithm.

    Example:
        base64::encode(hmac::digest("sha1", "key", "data"))  // "EEFSxb/coHvGM+69RhmfAlXJ9J0="
    """
    return hmac.digest(_bytes_of(key), _bytes_of(data), known_algorithm(algorithm))


@HMAC.function
def verify(key: str | bytes, data: str | bytes, signature: str | bytes, algorithm: str = "sha256") -> bool:
    """Is this the signature of `data`? Compared in constant time; what cannot be a signature is not one.

    Sign what came, not what was made of it: `ctx.request.raw_body`.

    Args:
        signature: hex, hex behind the algorithm's name (`sha256=…`), Base64, or a blob.

    Throws:
        invalid_input: there is no such algorithm.

    Example:
        let signature = hmac::sha256("secret", "body");
        hmac::verify("secret", "body", signature);  // true
        hmac::verify("secret", "body", "sha256=" + signature);  // true
        hmac::verify("secret", "changed", signature)  // false
    """
    expected = digest(algorithm, key, data)
    given = signature if isinstance(signature, bytes) else _signature(signature, algorithm)
    return hmac.compare_digest(expected, given)


def _signature(text: str, algorithm: str) -> bytes:
    """The bytes of a written signature; empty, which none is, when they cannot be read."""
    text = text.strip().removeprefix(f"{algorithm}=")
    is_hex = len(text) == 2 * hashlib.new(algorithm, usedforsecurity=False).digest_size
    try:
        return bytes.fromhex(text) if is_hex else base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""


def _bytes_of(data: str | bytes) -> bytes:
    return data.encode() if isinstance(data, str) else data
