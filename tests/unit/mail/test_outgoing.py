from __future__ import annotations

import datetime as dt
import email
import email.policy
import json
from email.message import EmailMessage
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from picloud.mail.addresses import is_one_line, parse_mailbox
from picloud.mail.errors import InvalidMailError
from picloud.mail.inbound_message import read_message
from picloud.mail.outgoing import MAX_BODY_BYTES, MAX_RECIPIENTS, MAX_SUBJECT_CHARACTERS, OutgoingMail, compose

SENDER = parse_mailbox("PiCloud <picloud@example.org>")
NOON = dt.datetime(2026, 1, 2, 12, 0, tzinfo=dt.UTC)
EXECUTION = "0197f0f0-aaaa-7bbb-8ccc-1234567890ab"
HOPS = "v1." + "0" * 32 + ".3." + "A" * 43

GOOD: dict[str, Any] = {"to": "ada@example.com", "subject": "Hello", "text": "Hi"}


def composed(mail: OutgoingMail, hops_header: str | None = HOPS) -> bytes:
    return compose(mail, sender=SENDER, message_id=EXECUTION, hops_header=hops_header, sent_at=NOON)


def read_back(content: bytes) -> EmailMessage:
    return email.message_from_bytes(content, policy=email.policy.default)


def test_a_mail_of_a_script_is_read() -> None:
    mail = OutgoingMail.from_script({"to": ["ada@example.com", "Bob <bob@example.com>"], "subject": "S", "html": "<p>"})
    assert mail == OutgoingMail(("ada@example.com", "Bob <bob@example.com>"), "S", None, "<p>")
    assert OutgoingMail.from_script({"to": "ada@example.com", "text": ""}) == OutgoingMail(("ada@example.com",), "", "")
    assert OutgoingMail.from_script(GOOD | {"html": None}) == OutgoingMail(("ada@example.com",), "Hello", "Hi")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("text", "email: expected a map, as in"),
        (None, "email: expected a map, as in"),
        ({}, "email: to: expected an address or an array of addresses"),
        (GOOD | {"to": None}, "email: to: expected an address or an array of addresses"),
        (GOOD | {"to": [1]}, "email: to: expected an address or an array of addresses"),
        (GOOD | {"to": []}, "email: to: expected one to 50 addresses, not 0"),
        (GOOD | {"to": [f"a{n}@example.com" for n in range(51)]}, "email: to: expected one to 50 addresses, not 51"),
        (GOOD | {"to": "ada"}, "email: to: expected an address, as in .*, not 'ada'"),
        (GOOD | {"to": "a@b, c@d"}, "email: to: expected an address"),
        (GOOD | {"to": "a@b\r\nBcc: c@d"}, "email: to: expected an address"),
        (GOOD | {"to": "x" * 1000}, "…'$"),
        (GOOD | {"to": ["a@b", "A <a@B>"]}, "email: to: expected each address once, and 'A <a@B>' is there twice"),
        (GOOD | {"cc": "a@b"}, "email: no such field: 'cc'; there are to, subject, text, html"),
        (GOOD | {"subject": 7}, "email: subject: expected a string"),
        (GOOD | {"text": 7}, "email: text: expected a string"),
        (GOOD | {"html": []}, "email: html: expected a string"),
        (GOOD | {"subject": "x" * (MAX_SUBJECT_CHARACTERS + 1)}, "email: subject: expected at most 500 characters"),
        ({"to": "ada@example.com", "subject": "S"}, "email: text or html is needed"),
        (GOOD | {"text": "x" * (MAX_BODY_BYTES // 2), "html": "ü" * (MAX_BODY_BYTES // 2)}, "at most 1048576 bytes"),
        (GOOD | {"text": "\ud800"}, "email: text: expected Unicode text"),
        (GOOD | {"html": "\udcff"}, "email: html: expected Unicode text"),
    ],
    ids=range(21),
)
def test_what_is_no_mail_is_refused_by_name(value: object, message: str) -> None:
    with pytest.raises(InvalidMailError, match=message) as refused:
        OutgoingMail.from_script(value)
    assert len(refused.value.message) < 250


@pytest.mark.parametrize("sign", ["\r", "\n", "\r\n", "\0", "\t", "\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\ud800"])
def test_a_subject_is_one_line(sign: str) -> None:
    with pytest.raises(InvalidMailError, match="email: subject: expected one line of text"):
        OutgoingMail.from_script(GOOD | {"subject": f"Hello{sign}Bcc: bob@example.com"})


def test_a_mail_is_checked_however_it_is_made() -> None:
    with pytest.raises(InvalidMailError):
        OutgoingMail(("ada@example.com\nBcc: x@y",), "S", "T")
    with pytest.raises(InvalidMailError):
        OutgoingMail(("ada@example.com",), "S\nBcc: x@y", "T")


def test_as_many_recipients_as_allowed_are_allowed() -> None:
    assert len(OutgoingMail.from_script(GOOD | {"to": [f"a{n}@b" for n in range(MAX_RECIPIENTS)]}).mailboxes) == 50


def test_a_stored_mail_comes_back_as_it_was() -> None:
    mail = OutgoingMail(("Ada 👩‍🔬 <ada@example.com>",), "Grüße", "a\x00b", "<p>")
    assert OutgoingMail.from_json(mail.to_json()) == mail
    assert set(json.loads(mail.to_json())) == {"to", "subject", "text", "html"}


@pytest.mark.parametrize("payload", [b"", b"{", b"\xff", b"[]", b'"\\ud800"', b'{"to": "x"}'])
def test_a_payload_that_is_no_mail_is_refused(payload: bytes) -> None:
    with pytest.raises(InvalidMailError):
        OutgoingMail.from_json(payload)


def test_a_composed_mail_says_who_when_and_why() -> None:
    content = composed(OutgoingMail(("Ada <ada@example.com>", "bob@example.com"), "Grüße", "Hällo\n"))
    assert content.isascii()
    assert content.endswith(b"\r\n")
    assert b"\n" not in content.replace(b"\r\n", b"")
    message = read_back(content)
    assert message["From"] == "PiCloud <picloud@example.org>"
    assert message["To"] == "Ada <ada@example.com>, bob@example.com"
    assert message["Subject"] == "Grüße"
    assert message["Date"] == "Fri, 02 Jan 2026 12:00:00 +0000"
    assert message["Message-ID"] == f"<{EXECUTION}@example.org>"
    assert message["Auto-Submitted"] == "auto-generated"
    assert f"X-PiCloud-Hops: {HOPS}\r\n".encode() in content  # on one line, as it was signed
    assert message.get_content().strip() == "Hällo"


def test_text_and_html_are_alternatives_and_the_text_comes_first() -> None:
    message = read_back(composed(OutgoingMail(("ada@example.com",), "S", "plain", "<p>rich</p>")))
    assert message.get_content_type() == "multipart/alternative"
    kinds = [(part.get_content_type(), part.get_payload(decode=True)) for part in message.walk()][1:]
    assert kinds == [("text/plain", b"plain\r\n"), ("text/html", b"<p>rich</p>\r\n")]


def test_html_alone_is_html() -> None:
    message = read_back(composed(OutgoingMail(("ada@example.com",), "S", None, "<p>")))
    assert message.get_content_type() == "text/html"


def test_without_hops_there_is_no_header() -> None:
    assert b"X-PiCloud-Hops" not in composed(OutgoingMail.from_script(GOOD), None)


@pytest.mark.parametrize("word", ["", "a b", "a\r\nBcc: x@y", "ü", "a" * 1_000])
def test_a_header_of_ours_is_one_word(word: str) -> None:
    with pytest.raises(ValueError, match="one word"):
        composed(OutgoingMail.from_script(GOOD), word)


def test_letters_beyond_ascii_before_the_at_sign_are_sent_as_they_are() -> None:
    content = composed(OutgoingMail(("grüße@bücher.example",), "S", "T"))
    assert "To: grüße@xn--bcher-kva.example\r\n".encode() in content


one_line = st.text(max_size=200).filter(is_one_line)
texts = st.text(max_size=600)


@settings(max_examples=300, deadline=None)
@given(one_line, one_line, texts, st.none() | texts)
def test_what_a_script_writes_is_what_arrives(name: str, subject: str, text: str, html: str | None) -> None:
    name = name.replace("<", "").replace(">", "")
    mail = OutgoingMail.from_script({"to": f"{name} <ada@example.com>", "subject": subject, "text": text, "html": html})
    content = composed(mail)
    assert all(len(line) <= 998 for line in content.split(b"\r\n"))
    message = read_message(content)
    event = json.loads(message.event("", ""))
    assert "".join(event["subject"].split()) == "".join(subject.split())
    assert lines_of(event["text"]) == lines_of(text)
    assert html is None or lines_of(event["html"]) == lines_of(html)
    assert message.automatic_kind("") == "auto-generated"
    assert message.raw_values("x-picloud-hops") == [HOPS]
    assert set(event["headers"]) <= {
        *("message-id", "auto-submitted", "x-picloud-hops", "from", "to", "subject", "date"),
        *("content-type", "content-transfer-encoding", "mime-version"),
    }
    assert event["attachments"] == []


def lines_of(body: str) -> list[bytes]:
    """What a mail keeps: its line ends are CRLF, and its last line has one."""
    return body.encode().splitlines() or [b""]
