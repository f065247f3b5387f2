"""Bytes as text that survives anywhere (RFC 4648)."""

from __future__ import annotations

import base64
import binascii
import re

from picloud.engine.sdk.description import SdkModule
from picloud.engine.sdk.errors import ArgumentError

BASE64 = SdkModule("base64", __doc__)

_TO_STANDARD = str.maketrans("-_", "+/", " \t\r\n")
_NOT_BASE64 = re.compile(r"[^A-Za-z0-9+/_= \t\r\n-]")


@BASE64.function
def encode(data: str | bytes) -> str:
    """A blob, or the UTF-8 bytes of a string, in the letters `A-Z a-z 0-9 + /`, padded with `=`.

    Example:
        base64::encode("Hello?>")  // "SGVsbG8/Pg=="
    """
    return base64.b64encode(_bytes_of(data)).decode()


@BASE64.function
def encode_url(data: str | bytes) -> str:
    """Like `encode`, for URLs and file names: `-` and `_` for `+` and `/`, no padding.

    Example:
        base64::encode_url("Hello?>")  // "SGVsbG8_Pg"
    """
    return base64.urlsafe_b64encode(_bytes_of(data)).rstrip(b"=").decode()


@BASE64.function
def decode(text: str) -> bytes:
    """The bytes, from either alphabet, with or without padding; spaces and line ends are skipped.

    Throws:
        invalid_input: it is not Base64.

    Example:
        base64::decode("SGk").len  // 2
    """
    if (wrong := _NOT_BASE64.search(text)) is not None:
        raise ArgumentError(f"not Base64: {wrong[0]!r} at position {wrong.start()}")
    digits = text.translate(_TO_STANDARD).rstrip("=")
    try:
        return base64.b64decode(digits + "=" * (-len(digits) % 4), validate=True)
    except binascii.Error:
        raise ArgumentError("not Base64: it is cut off, or has `=` in its middle") from None


@BASE64.function
def decode_text(text: str) -> str:
    """Like `decode`, as a string.

    Throws:
        invalid_input: it is not Base64, or its bytes are not UTF-8.

    Example:
        base64::decode_text("SGVsbG8_Pg")  // "Hello?>"
    """
    try:
        return decode(text).decode()
    except UnicodeDecodeError as error:
        raise ArgumentError(f"the bytes are not text in UTF-8: see byte {error.start}") from None


def _bytes_of(data: str | bytes) -> bytes:
    return data.encode() if isinstance(data, str) else data
