"""Conditional requests (RFC 9110, section 13): ``ETag``, ``If-None-Match`` of reads, ``If-Match`` of changes.

Every JSON answer to a GET has a strong ETag. That of a resource which can be changed under a condition has two parts,
``"state.figures"``: the first changes with what somebody made of it, the second with what only counts or tells time
(how much waits for a trigger, when it fires next). Reads compare the whole tag. ``If-Match`` compares the first part: a
trigger that fires every second could not be edited otherwise.

The key-value store has ETags of its own, the versions.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Annotated, Any

import falcon.asgi
import msgspec

from picloud.control.apps import App
from picloud.control.dead_letters import DeadLetterDetail
from picloud.control.scripts import Script
from picloud.control.secrets import Secret
from picloud.control.triggers import StoredTrigger
from picloud.errors import ConflictError, InvalidInputError
from picloud_web.api.endpoints import Endpoint
from picloud_web.api.inputs import Input, Text

#: What can be changed under a condition, and which of its members nobody made.
FIGURES: Mapping[type, frozenset[str]] = {
    App: frozenset(),
    Script: frozenset({"waiting"}),
    StoredTrigger: frozenset({"waiting", "next_at", "fired_at"}),
    Secret: frozenset(),
    DeadLetterDetail: frozenset({"handlers", "replay_status"}),
}

_TAG = re.compile(r'(?:W/)?"[\x21\x23-\x7e]*"')
_TAGS = re.compile(rf"\s*{_TAG.pattern}\s*(?:,\s*{_TAG.pattern}\s*)*")
#: Conditions on a change that not every endpoint honours; one that were ignored would be believed to hold.
_CONDITIONS = ("If-Match", "If-None-Match", "If-Unmodified-Since")


class IfMatch(Input, frozen=True):
    """What must still be there for a change to be made."""

    if_match: (
        Annotated[Text, msgspec.Meta(description="The `ETag` of what is to be changed; another one is answered 412.")]
        | None
    ) = msgspec.field(default=None, name="If-Match")

    @property
    def is_given(self) -> bool:
        return self.if_match is not None

    def require(self, current: object | None) -> None:
        """Refuse unless ``current``, which nobody else can change before the transaction ends, is what was meant.

        Args:
            current: as a GET shows it; None: there is none.

        Raises:
            ConflictError: ``precondition_failed``.
            InvalidInputError: the header is no list of tags.
        """
        if self.if_match is None:
            return
        wanted = self.if_match.strip()
        if wanted == "*":
            is_met = current is not None
        else:
            if _TAGS.fullmatch(wanted) is None:
                raise InvalidInputError('If-Match: expected * or tags as ETag gives them, as in "a1b2"')
            state = None if current is None else _hash(_state(current))
            # A weak tag, which begins with W, matches nothing here (section 13.1.1).
            is_met = any(tag[1:-1].partition(".")[0] == state for tag in _TAG.findall(wanted))
        if not is_met:
            gone = "is not there" if current is None else "is no longer what If-Match says"
            raise ConflictError(f"it {gone}", hint="read it again, and decide anew", code="precondition_failed")


def etag_of(value: Any, encoded: bytes) -> str:
    """The strong tag of an answer.

    Args:
        encoded: ``value`` as it is sent.
    """
    kind: Any = value.__class__
    if not FIGURES.get(kind):
        return f'"{_hash(encoded)}"'
    return f'"{_hash(_state(value))}.{_hash(encoded)}"'


def is_held(request: falcon.asgi.Request, etag: str) -> bool:
    """Whether the caller says in ``If-None-Match`` that it has this answer."""
    given = request.get_header("if-none-match", default="").strip()
    return given == "*" or etag in {tag.removeprefix("W/") for tag in _TAG.findall(given)}


def refuse_conditions(endpoint: Endpoint, request: falcon.asgi.Request) -> None:
    """Refuse a condition that the endpoint would not look at.

    Raises:
        InvalidInputError: ``condition_not_supported``: names the header.
    """
    for name in _CONDITIONS:
        is_honoured = endpoint.honours(name) or (name == "If-None-Match" and endpoint.method == "GET")
        if not is_honoured and request.get_header(name) is not None:
            raise InvalidInputError(f"{name}: not honoured by this {endpoint.method}", code="condition_not_supported")


def _state(value: Any) -> bytes:
    figures = FIGURES[type(value)]
    made = {
        name: each
        for name, each in msgspec.structs.asdict(value).items()
        if name not in figures and each is not msgspec.UNSET
    }
    return msgspec.json.encode(made)


def _hash(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=12).hexdigest()
