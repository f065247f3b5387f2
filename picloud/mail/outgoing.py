"""A mail of a script: checked when it is made, stored as JSON, composed when it is sent.

``email::send(#{to, subject, text, html})`` fails in the script that wrote it, not
hours later in an actor: everything that can be known without asking a mail server
is checked here.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from dataclasses import dataclass
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from typing import Any, cast

import msgspec

from picloud.mail.addresses import Mailbox, is_one_line, parse_mailbox
from picloud.mail.errors import InvalidMailError

MAX_RECIPIENTS = 50
MAX_SUBJECT_CHARACTERS = 500
#: Text and HTML together, in UTF-8.
MAX_BODY_BYTES = 1024 * 1024

_FIELDS = ("to", "subject", "text", "html")

#: What a message may not hold as it is; encoded it may.
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")

#: Printable ASCII without a space: nothing else may come into a header that is written as it is.
_WORD = re.compile(r"[!-~]{1,900}")


@dataclass(frozen=True, slots=True)
class OutgoingMail:
    """A mail that may be sent; making one checks it.

    Attributes:
        to: ``ada@example.com`` or ``Ada <ada@example.com>``, each address once.
        text: None: there is only HTML.
        html: None: there is only text.

    Raises:
        InvalidMailError: names the field, and what was expected.
    """

    to: tuple[str, ...]
    subject: str
    text: str | None = None
    html: str | None = None

    def __post_init__(self) -> None:
        _check_recipients(self.to)
        if len(self.subject) > MAX_SUBJECT_CHARACTERS:
            raise _wrong("subject", f"at most {MAX_SUBJECT_CHARACTERS} characters")
        if not is_one_line(self.subject):
            raise _wrong("subject", "one line of text")
        if self.text is None and self.html is None:
            raise InvalidMailError("email: text or html is needed")
        size = _size_of("text", self.text) + _size_of("html", self.html)
        if size > MAX_BODY_BYTES:
            raise _wrong("text and html", f"at most {MAX_BODY_BYTES} bytes together, not {size}")

    @classmethod
    def from_script(cls, value: object) -> OutgoingMail:
        """The mail a script described: ``#{to, subject, text, html}``, ``to`` a string or an array.

        Raises:
            InvalidMailError: names the field, and what was expected.
        """
        if not isinstance(value, Mapping):
            raise InvalidMailError('email: expected a map, as in #{to: "ada@example.com", subject: "…", text: "…"}')
        fields = cast("Mapping[str, Any]", value)
        unknown = [str(name) for name in fields if name not in _FIELDS]
        if unknown:
            raise InvalidMailError(f"email: no such field: {unknown[0]!r}; there are {', '.join(_FIELDS)}")
        return cls(
            _recipients_of(fields.get("to")),
            _text_of(fields, "subject", "") or "",
            _text_of(fields, "text", None),
            _text_of(fields, "html", None),
        )

    def to_json(self) -> bytes:
        """As an outbox row carries it."""
        return msgspec.json.encode({"to": self.to, "subject": self.subject, "text": self.text, "html": self.html})

    @classmethod
    def from_json(cls, payload: bytes) -> OutgoingMail:
        """What ``to_json`` made.

        Raises:
            InvalidMailError: it was edited since, and is no mail any more.
        """
        try:
            return cls.from_script(msgspec.json.decode(payload))
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise InvalidMailError("email: not JSON") from None

    @property
    def mailboxes(self) -> tuple[Mailbox, ...]:
        return tuple(map(parse_mailbox, self.to))


def compose(
    mail: OutgoingMail, *, sender: Mailbox, message_id: str, hops_header: str | None, sent_at: dt.datetime
) -> bytes:
    """The mail as it goes over the wire, in ASCII but for addresses beyond it.

    Args:
        message_id: of the execution that wrote the mail: the same at each attempt, so that a mail that was
            sent twice is shown once by whoever knows how.
        hops_header: root and depth, signed; one word.
        sent_at: an aware time.
    """
    mailboxes = mail.mailboxes
    is_international = any(not each.local.isascii() for each in (*mailboxes, sender))
    policy = SMTP.clone(cte_type="7bit", utf8=is_international)
    message = EmailMessage(policy=policy)
    message["From"] = sender.as_header()
    message["To"] = [each.as_header() for each in mailboxes]
    message["Subject"] = mail.subject
    message["Date"] = format_datetime(sent_at)
    _set_bodies(message, mail)
    # The stdlib would fold these, and encode what is too long to be folded; they must arrive as they are.
    own = {
        "Message-ID": f"<{_word(message_id)}@{sender.domain}>",
        # Nothing shall answer a machine (RFC 3834); PiCloud's own listener does not either.
        "Auto-Submitted": "auto-generated",
    }
    if hops_header is not None:
        own["X-PiCloud-Hops"] = _word(hops_header)
    return "".join(f"{name}: {value}\r\n" for name, value in own.items()).encode("ascii") + message.as_bytes()


def _set_bodies(message: EmailMessage, mail: OutgoingMail) -> None:
    if mail.text is not None:
        message.set_content(mail.text, charset="utf-8", cte=_encoding_for(mail.text))
        if mail.html is not None:
            message.add_alternative(mail.html, subtype="html", charset="utf-8", cte=_encoding_for(mail.html))
    elif mail.html is not None:
        message.set_content(mail.html, subtype="html", charset="utf-8", cte=_encoding_for(mail.html))


def _encoding_for(body: str) -> str | None:
    """The transfer encoding that brings ``body`` over whole; None: the stdlib finds the shortest."""
    return "base64" if _CONTROL.search(body) else None


def _word(text: str) -> str:
    if not _WORD.fullmatch(text):
        raise ValueError("a header of ours is one word of ASCII")
    return text


def _check_recipients(to: tuple[str, ...]) -> None:
    if not 1 <= len(to) <= MAX_RECIPIENTS:
        raise _wrong("to", f"one to {MAX_RECIPIENTS} addresses, not {len(to)}")
    seen: set[str] = set()
    for text in to:
        try:
            address = parse_mailbox(text).address
        except ValueError as error:
            raise _wrong("to", f"{error}, not {_shortened(text)}") from None
        if address in seen:
            raise _wrong("to", f"each address once, and {_shortened(text)} is there twice")
        seen.add(address)


def _recipients_of(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,)
    if isinstance(value, list | tuple):
        items = cast("list[Any]", value)
        if all(isinstance(each, str) for each in items):
            return tuple(items)
    raise _wrong("to", "an address or an array of addresses")


def _text_of(fields: Mapping[str, Any], name: str, default: str | None) -> str | None:
    value = fields.get(name)
    if value is None:
        return default
    if not isinstance(value, str):
        raise _wrong(name, "a string")
    return value


def _size_of(name: str, body: str | None) -> int:
    try:
        return len(body.encode()) if body is not None else 0
    except UnicodeEncodeError:
        raise _wrong(name, "Unicode text") from None


def _shortened(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:60] + "…")


def _wrong(field: str, expected: str) -> InvalidMailError:
    return InvalidMailError(f"email: {field}: expected {expected}")
