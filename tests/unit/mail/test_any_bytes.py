"""Whatever is sent: one error, or valid JSON."""

from __future__ import annotations

import json
from email.message import EmailMessage
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from picloud.mail.errors import UnusableMailError
from picloud.mail.inbound_message import InboundMessage, read_message

FIELDS = {"from", "to", "subject", "text", "html", "headers", "attachments"}

#: Pieces of mail, some of them broken: strung together they reach further into the parser than plain noise.
PIECES = [
    b"\r\n",
    b"\n",
    b"\r",
    b" ",
    b"\t",
    b";",
    b"\x00",
    b"\xff",
    b"\xed\xa0\x80",
    b"--b",
    b"--b\r\n",
    b"--b--\r\n",
    b"From: ",
    b"From ",
    b"Subject: ",
    b"Content-Type: ",
    b"Content-Type: multipart/mixed; boundary=b\r\n",
    b"Content-Type: multipart/digest; boundary=b\r\n",
    b"Content-Type: message/rfc822\r\n",
    b"Content-Type: message/delivery-status\r\n",
    b"Content-Type: text/html; charset=",
    b"Content-Disposition: attachment; filename",
    b"Content-Transfer-Encoding: base64\r\n",
    b"Content-Transfer-Encoding: quoted-printable\r\n",
    b"Content-Transfer-Encoding: x-uuencode\r\n",
    b"begin 644 x\r\n",
    b"utf-16",
    b"utf-7",
    b"unicode_escape",
    b"idna",
    b"*=utf-8''%ff",
    b"*0*=",
    b"*1=",
    b'="',
    b'"',
    b"=?utf-8?q?=ff?=",
    b"=?utf-16?b?2AA=?=",
    b"=?x?q?",
    b"(",
    b"<a@b>",
    b"=\r\n",
    b"=ED=A0=80",
    b"//8=",
    b"text",
]

noise = st.binary(max_size=2_000)
collage = st.lists(st.sampled_from(PIECES) | st.binary(max_size=6), max_size=60).map(b"".join)
addresses = st.text(max_size=40)


def read(content: bytes) -> InboundMessage | None:
    try:
        return read_message(content)
    except UnusableMailError:
        return None


def strings_of(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [each for pair in value.items() for part in pair for each in strings_of(part)]
    if isinstance(value, list):
        return [each for item in value for each in strings_of(item)]
    return []


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(collage | noise, addresses, addresses)
def test_any_bytes_are_refused_or_become_an_event(content: bytes, sender: str, recipient: str) -> None:
    message = read(content)
    if message is None:
        return
    raw = message.event(sender, recipient)
    event = json.loads(raw.decode("utf-8", "strict"))
    assert set(event) == FIELDS
    assert b"\x00" not in raw
    for text in strings_of(event):
        text.encode("utf-8")  # no half of a surrogate pair, spelt as an escape
    assert message.automatic_kind(sender) is None or message.automatic_kind(sender)
    message.is_circling()
    message.raw_values("x-picloud-hops")


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=300), st.text(max_size=300))
def test_the_text_of_a_well_made_mail_arrives_as_it_was(text: str, html: str) -> None:
    message = EmailMessage()
    message.set_content(text, cte="base64")
    message.add_alternative(html, subtype="html", cte="base64")
    event = json.loads(read_message(message.as_bytes()).event("", ""))

    def as_sent(body: str) -> str:  # the stdlib ends every line in the same way, and the last one too
        lines = body.encode().splitlines() or [b""]
        return "".join(line.decode() + "\n" for line in lines)

    assert event["text"] == as_sent(text)
    assert event["html"] == as_sent(html)
