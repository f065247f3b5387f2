"""A received mail as the JSON of ``ctx.event``, within bounds, whatever was sent.

::

    {"from": "ada@example.com",        what the mail says; nobody has verified it
     "to": "orders@shop.example",      the recipient this row is for
     "subject": "…", "text": "…" or null, "html": "…" or null,
     "headers": {"subject": "…", "received": ["…", "…"]},
     "attachments": [{"filename", "content_type", "content_id", "size_bytes", "content_text", "content_base64"}]}

Nothing is dropped: each leaf of the MIME tree is the text, the HTML, or an
attachment. An attachment is ``content_text`` when it calls itself text, JSON or
XML and is, else ``content_base64``; the other one is null. A forwarded mail
(message/rfc822) is one attachment, not opened.

The stdlib parses the structure under a policy that counts headers and parts while
they are read, so that a bomb is refused before it is built. The policy leaves
headers as they came: the structured ones of ``email.policy.default`` take
quadratic time and recurse without end on input made for it.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import EmailPolicy
from email.utils import parseaddr
from typing import Any, cast

import msgspec

from picloud.mail.decoding import clean, decode_header, decode_strictly, decode_text
from picloud.mail.errors import UnusableMailError

_encode = msgspec.json.Encoder().encode
_KIB = 1024
_MIB = 1024 * _KIB

#: Relays write a ``Received`` each; a mail with more of them goes round in a circle (RFC 5321, section 6.3).
_MOST_RELAYS = 50

_CONTENT_TYPE = re.compile(r"[a-z0-9!#$&^_.+-]{1,127}/[a-z0-9!#$&^_.+-]{1,127}")
_TEXT_TYPES = re.compile(r"text/.*|application/(?:json|xml|.*\+(?:json|xml))")
_COMMENT = re.compile(r"\([^()]*\)")
_KEYWORD = re.compile(r"[a-z0-9-]{1,40}")


@dataclass(frozen=True, slots=True)
class MailBounds:
    """How much one mail may be made of. Real mail stays far below; what does not is refused whole.

    Attributes:
        max_parts: MIME parts, at all depths.
        max_depth: of parts in parts.
        max_lines: every line is compared with the boundary of each level: 1 MiB of empty lines took 4 s.
        max_headers: header fields, those of parts included.
        max_header_bytes: of one header field.
        max_part_header_bytes: of one Content-* field, which is taken apart.
        max_headers_bytes: of all header fields together.
        max_string_bytes: of one string of the event, the engine's own limit: a longer one could not be read.
        max_event_bytes: of the JSON; control characters take six bytes each there.
    """

    max_parts: int = 100
    max_depth: int = 10
    max_lines: int = 200_000
    max_headers: int = 1_000
    max_header_bytes: int = 64 * _KIB
    max_part_header_bytes: int = 8 * _KIB
    max_headers_bytes: int = 256 * _KIB
    max_attachments: int = 50
    max_string_bytes: int = 1 * _MIB
    max_event_bytes: int = 4 * _MIB


class _Tally:
    """What was read of a mail so far."""

    def __init__(self, bounds: MailBounds) -> None:
        self.bounds = bounds
        self._parts = 0
        self._headers = 0
        self._headers_bytes = 0

    def count_part(self) -> None:
        self._parts += 1
        if self._parts > self.bounds.max_parts:
            raise UnusableMailError(f"the mail has more than {self.bounds.max_parts} parts")

    def check_depth(self, depth: int) -> None:
        if depth > self.bounds.max_depth:
            raise UnusableMailError(f"the mail's parts are nested more than {self.bounds.max_depth} deep")

    def count_header(self, name: str, size: int) -> None:
        self._headers += 1
        self._headers_bytes += size
        bounds = self.bounds
        if self._headers > bounds.max_headers:
            raise UnusableMailError(f"the mail has more than {bounds.max_headers} headers")
        is_of_part = name.lower().startswith("content-")
        if size > (bounds.max_part_header_bytes if is_of_part else bounds.max_header_bytes):
            raise UnusableMailError("a header of the mail is too long")
        if self._headers_bytes > bounds.max_headers_bytes:
            raise UnusableMailError(f"the mail's headers are longer than {bounds.max_headers_bytes} bytes together")


class _Policy(EmailPolicy):
    """Counts what it is given, and leaves it as it came."""

    tally: _Tally | None = None

    def header_source_parse(self, sourcelines: list[str]) -> tuple[str, str]:
        name, value = super().header_source_parse(sourcelines)
        assert self.tally is not None
        self.tally.count_header(name, sum(map(len, sourcelines)))
        return name, value

    def header_fetch_parse(self, name: str, value: str) -> str:  # noqa: ARG002  # the signature is the stdlib's
        return value


class _Part(EmailMessage):
    """A part that knows how deep it is. Its text is decoded by ``decoding``, never by the stdlib."""

    depth = 0

    def __init__(self, policy: Any = None) -> None:
        super().__init__(policy)
        self.tally: _Tally = policy.tally
        self.tally.count_part()

    def attach(self, payload: Any) -> None:
        payload.depth = self.depth + 1
        self.tally.check_depth(payload.depth)
        super().attach(payload)

    def get_boundary(self, failobj: Any = None) -> Any:
        # The stdlib would decode an RFC 2231 value in whatever codec the mail names.
        boundary = self.get_param("boundary")
        if isinstance(boundary, tuple):
            boundary = boundary[2]
        return boundary.rstrip() if boundary else failobj

    def get_content_charset(self, failobj: Any = None) -> Any:  # noqa: ARG002  # the signature is the stdlib's
        return "ascii"  # asked by the stdlib, which would look up whatever the mail names


@dataclass(frozen=True, slots=True)
class InboundMessage:
    """A mail that was read, before it is anybody's event.

    Attributes:
        headers: name in lower case and value as it came, in order.
        author: the address of ``From``, empty when there is none that can be used.
        contents: JSON, the event without its addresses.
    """

    headers: tuple[tuple[str, str], ...]
    author: str
    contents: bytes

    def values(self, name: str) -> list[str]:
        """Every value of a header, unfolded, without spaces at its ends."""
        return [decode_header(value) for each, value in self.headers if each == name]

    def raw_values(self, name: str) -> list[str]:
        """Every value of a header of ours, folded or not: it is made of one word, so white space is the relays'."""
        return ["".join(value.split()) for each, value in self.headers if each == name]

    def event(self, sender: str, recipient: str) -> bytes:
        """The event for one recipient, as it is stored.

        Args:
            sender: of the envelope; stands in where the mail has no usable ``From``. Empty for a bounce.
        """
        head = _encode({"from": self.author or clean(sender), "to": clean(recipient)})
        return head[:-1] + b"," + self.contents[1:]

    def is_circling(self) -> bool:
        """Has this mail been through more relays than there are between any two people?"""
        return sum(name == "received" for name, _ in self.headers) > _MOST_RELAYS

    def automatic_kind(self, sender: str) -> str | None:
        """What kind of machine wrote this mail in answer to what; None: a person did, or it does not say.

        Answering such a mail can go on for ever (RFC 3834). Besides ``Auto-Submitted`` a bounce
        (RFC 3464) is known by its shape, for old mail servers do not mark theirs.
        """
        for value in self.values("auto-submitted"):
            keyword = _KEYWORD.match(_COMMENT.sub("", value).strip().lower())
            if keyword is None or keyword[0] != "no":
                return keyword[0] if keyword else "unknown"
        is_report = any(value.lower().startswith("multipart/report") for value in self.values("content-type"))
        return "bounce" if is_report and not sender else None


def read_message(content: bytes, bounds: MailBounds = MailBounds()) -> InboundMessage:
    """Read a mail as it came over the wire.

    Raises:
        UnusableMailError: beyond the bounds, or the stdlib's parser cannot read it. Nothing else is ever raised.
    """
    try:
        return _read(content, bounds)
    except UnusableMailError:
        raise
    except Exception as error:  # of whatever kind: the stdlib's parser has many ways to fail
        raise UnusableMailError(f"the mail cannot be read ({type(error).__name__})") from error


def _read(content: bytes, bounds: MailBounds) -> InboundMessage:
    if content.count(b"\n") + content.count(b"\r") - content.count(b"\r\n") > bounds.max_lines:
        raise UnusableMailError(f"the mail has more than {bounds.max_lines} lines")
    # A policy takes every attribute of its class; the type stubs know the stdlib's only.
    policy = cast(Any, _Policy)(tally=_Tally(bounds), message_factory=_Part)
    root: EmailMessage = BytesParser(policy=policy).parsebytes(content)
    headers = tuple((name.lower(), value) for name, value in root.raw_items())
    text, html, attachments = _contents(root, bounds)
    event = {
        "subject": decode_header(str(root.get("subject", ""))),
        "text": text,
        "html": html,
        "headers": _shown_headers(headers),
        "attachments": attachments,
    }
    contents = _encode(event)
    if len(contents) > bounds.max_event_bytes:
        raise UnusableMailError(f"the mail is more than {bounds.max_event_bytes} bytes as an event")
    return InboundMessage(headers, _address_of(str(root.get("from", ""))), contents)


def _shown_headers(headers: Sequence[tuple[str, str]]) -> dict[str, str | list[str]]:
    """Headers by name in lower case; a repeated one becomes a list, in order."""
    found: dict[str, list[str]] = {}
    for name, value in headers:
        found.setdefault(clean(name), []).append(decode_header(value))
    return {name: values[0] if len(values) == 1 else values for name, values in found.items()}


def _address_of(header: str) -> str:
    """The bare address of a ``From`` header, before its encoded words are decoded: they may hold anything."""
    try:
        _, address = parseaddr(clean(header))
    except RecursionError:  # comments in comments
        return ""
    return address if "@" in address and address.isprintable() and " " not in address else ""


def _contents(root: EmailMessage, bounds: MailBounds) -> tuple[str | None, str | None, list[dict[str, Any]]]:
    bodies: dict[str, str] = {}
    attachments: list[dict[str, Any]] = []
    for part in _leaves(root):
        content_type = _content_type(part)
        if content_type in {"text/plain", "text/html"} and content_type not in bodies and _is_body(part):
            # The line ends are the wire's, not the author's.
            text = decode_text(_bytes_of(part), _charset(part)).replace("\r\n", "\n")
            bodies[content_type] = _bounded(text, bounds)
            continue
        if len(attachments) == bounds.max_attachments:
            raise UnusableMailError(f"the mail has more than {bounds.max_attachments} attachments")
        attachments.append(_attachment(part, content_type, bounds))
    return bodies.get("text/plain"), bodies.get("text/html"), attachments


def _leaves(part: EmailMessage) -> Iterator[EmailMessage]:
    """What has content, in the order of the mail; ``max_depth`` bounds the recursion."""
    if part.get_content_maintype() == "multipart" and part.is_multipart():
        for child in part.iter_parts():
            yield from _leaves(child)  # type: ignore[arg-type]  # all of them are made by the policy's factory
    else:
        yield part


def _content_type(part: EmailMessage) -> str:
    content_type = part.get_content_type()
    if content_type.startswith("multipart/"):
        return "text/plain"  # it says so, and is not: what is there is shown as it is
    return content_type if _CONTENT_TYPE.fullmatch(content_type) else "application/octet-stream"


def _is_body(part: EmailMessage) -> bool:
    disposition = str(part.get("content-disposition", "")).partition(";")[0].strip().lower()
    return disposition != "attachment" and _filename(part) is None


def _attachment(part: EmailMessage, content_type: str, bounds: MailBounds) -> dict[str, Any]:
    content = _bytes_of(part)
    text = decode_strictly(content, _charset(part)) if _TEXT_TYPES.fullmatch(content_type) else None
    content_id = decode_header(str(part.get("content-id", ""))).strip("<>")
    return {
        "filename": _filename(part),
        "content_type": content_type,
        "content_id": content_id or None,
        "size_bytes": len(content),
        "content_text": None if text is None else _bounded(text, bounds),
        "content_base64": _bounded(base64.b64encode(content).decode("ascii"), bounds) if text is None else None,
    }


def _bytes_of(part: EmailMessage) -> bytes:
    """The content, its transfer encoding undone; what is broken is left as it came."""
    if part.is_multipart():  # message/*: as it was sent, but for the line ends of broken ones
        children: Any = part.get_payload()
        return b"\r\n".join(child.as_bytes(policy=_AS_IT_CAME) for child in children)
    content = part.get_payload(decode=True)
    return content if isinstance(content, bytes) else b""


_AS_IT_CAME = EmailPolicy(refold_source="none", linesep="\r\n", utf8=True)


def _bounded(text: str, bounds: MailBounds) -> str:
    if len(text) > bounds.max_string_bytes or len(text.encode()) > bounds.max_string_bytes:
        raise UnusableMailError(f"a part of the mail is longer than a string may be ({bounds.max_string_bytes} bytes)")
    return text


def _charset(part: EmailMessage) -> str | None:
    return _parameter(part, "charset", "content-type")


def _filename(part: EmailMessage) -> str | None:
    name = _parameter(part, "filename", "content-disposition") or _parameter(part, "name", "content-type")
    return name.strip() or None if name else None


def _parameter(part: EmailMessage, name: str, header: str) -> str | None:
    """A parameter, plain, as an encoded word (not allowed, and common) or as RFC 2231 has it."""
    value = part.get_param(name, header=header)
    if value is None:
        return None
    if isinstance(value, tuple):
        charset, _, encoded = value
        return decode_text(encoded.encode("latin-1", "replace"), charset)
    return decode_header(value)
