"""Mail addresses of triggers: ``orders`` or ``orders@example.org``.

An address without a domain takes that local part at every domain the listener
serves; one with a domain only there. Case never matters (RFC 5321 lets a host decide
that for its local parts, and ours decides so); ``orders+eu`` is an address of its own.
Quoted local parts, address literals and anything but ASCII are refused: a domain with
other letters is written in its ``xn--`` form.
"""

from __future__ import annotations

import re

_LOCAL_PART = re.compile(r"[a-z0-9_+-]+(\.[a-z0-9_+-]+)*")
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
#: RFC 5321, 4.5.3.1: local part, domain, and what fits into a path with its < and >.
_MAX_LOCAL_PART, _MAX_DOMAIN, _MAX_ADDRESS = 64, 253, 254


def wrong_address(address: str) -> str | None:
    """Why ``address`` cannot be that of a trigger, or None."""
    if len(address) > _MAX_ADDRESS:
        return f"an address has at most {_MAX_ADDRESS} characters"
    local_part, at, domain = address.lower().partition("@")
    if not address.isascii() or not _LOCAL_PART.fullmatch(local_part) or len(local_part) > _MAX_LOCAL_PART:
        return (
            f"{address!r} is not an address: expected up to {_MAX_LOCAL_PART} letters, digits, _, +, - and single dots"
            " between, as in orders or orders@example.org"
        )
    if at and not _is_domain(domain):
        return f"{address!r} is not an address: {domain!r} is not a domain, as in orders@example.org"
    return None


def matches_address(address: str, recipient: str) -> bool:
    """Whether mail to ``recipient`` (with its domain) is for a trigger's ``address``."""
    address, recipient = address.lower(), recipient.lower()
    return recipient == address if "@" in address else recipient.rpartition("@")[0] == address


def _is_domain(text: str) -> bool:
    return len(text) <= _MAX_DOMAIN and all(_LABEL.fullmatch(label) for label in text.split("."))
