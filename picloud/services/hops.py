"""How a chain of runs is known again when it left PiCloud and comes back by HTTP or mail.

Whatever a run sends out carries the root execution of its chain and how deep in the chain
it is, signed. A door of PiCloud that receives the header starts its run one deeper under
the same root, and a loop ends where every chain ends: at the depth limit. Without the
signature anybody could put a stranger's runs under a root of their choice.

The text is ``v1.<root, 32 hex digits>.<depth>.<HMAC-SHA256, base64url>``: one line of ASCII
that mail servers need not fold. Whoever received it may send it again, which says no more
than the truth; whoever removes it has to break the loop in another way.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

HOPS_HEADER = "X-PiCloud-Hops"

MAX_DEPTH = 9_999

_TEXT = re.compile(r"(v1\.([0-9a-f]{32})\.(0|[1-9][0-9]{0,3}))\.([A-Za-z0-9_-]{43})")

#: Keeps the signature from being one of the same key over the same text for another purpose.
_PURPOSE = b"picloud hops\0"


class Hops(NamedTuple):
    """Where in a chain the sender was.

    Attributes:
        root: the execution the chain began with.
        depth: the sender's own hops from the root, 0 for the root itself.
    """

    root: UUID
    depth: int


def sign_hops(key: bytes, root: UUID, depth: int) -> str:
    """The value of the header.

    Args:
        key: kept secret, and the same for all of an installation's processes.
        root: the execution the chain began with.
        depth: the sender's own, from 0 to ``MAX_DEPTH``.
    """
    if not key:
        raise ValueError("the key is empty")
    if not 0 <= depth <= MAX_DEPTH:
        raise ValueError(f"depth {depth} is not from 0 to {MAX_DEPTH}")
    signed = f"v1.{root.hex}.{depth}"
    return f"{signed}.{_signature(key, signed)}"


def read_hops(key: bytes, text: str | None) -> Hops | None:
    """What the header says, None for anything this key did not sign."""
    match = _TEXT.fullmatch(text.strip(" \t\r\n")) if key and text else None
    if match is None:
        return None
    signed, root, depth, signature = match.groups()
    if not hmac.compare_digest(signature, _signature(key, signed)):
        return None
    return Hops(UUID(hex=root), int(depth))


def read_hops_of_any(keys: Sequence[bytes], text: str | None) -> Hops | None:
    """What the header says if any of the keys signed it: while one takes another's place, both do."""
    return next((hops for key in keys if (hops := read_hops(key, text)) is not None), None)


def _signature(key: bytes, signed: str) -> str:
    digest = hmac.digest(key, _PURPOSE + signed.encode("ascii"), hashlib.sha256)
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode("ascii")
