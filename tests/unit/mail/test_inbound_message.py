from __future__ import annotations

import base64
import json
from email.message import EmailMessage
from typing import Any

import pytest

from picloud.mail.errors import UnusableMailError
from picloud.mail.inbound_message import MailBounds, read_message

SENDER, RECIPIENT = "bounces@mailer.example", "orders@shop.example"
IMAGE = b"\x89PNG\r\n\x1a\n\x00\xff"


def event_of(content: bytes | EmailMessage, bounds: MailBounds | None = None) -> dict[str, Any]:
    raw = content.as_bytes() if isinstance(content, EmailMessage) else content
    event: dict[str, Any] = json.loads(read_message(raw, bounds or MailBounds()).event(SENDER, RECIPIENT))
    return event


def mail(*lines: str) -> bytes:
    return "\r\n".join(lines).encode() + b"\r\n"


def test_a_simple_mail_has_every_field_of_the_contract() -> None:
    content = mail("From: Ada <ada@example.com>", "To: x@y.example", "Subject: Order 7", "", "Two lines", "of text")
    assert event_of(content) == {
        "from": "ada@example.com",
        "to": RECIPIENT,
        "subject": "Order 7",
        "text": "Two lines\nof text\n",
        "html": None,
        "headers": {"from": "Ada <ada@example.com>", "to": "x@y.example", "subject": "Order 7"},
        "attachments": [],
    }


def test_everything_a_mail_program_puts_together_is_taken_apart() -> None:
    message = EmailMessage()
    message["From"] = "ada@example.com"
    message["Subject"] = "Grüße"
    message.set_content("Zeile ü\n")
    message.add_alternative("<p>Zeile ü</p>\n", subtype="html")
    message.add_attachment(IMAGE, maintype="image", subtype="png", filename="bild ü.png", cid="<logo@x>")
    message.add_attachment('{"a": 1}\n', subtype="json", filename="a.json")
    message.add_attachment("a;b\n", subtype="csv", filename="a.csv")
    event = event_of(message)
    assert (event["subject"], event["text"], event["html"]) == ("Grüße", "Zeile ü\n", "<p>Zeile ü</p>\n")
    picture, document, table = event["attachments"]
    assert picture == {
        "filename": "bild ü.png",
        "content_type": "image/png",
        "content_id": "logo@x",
        "size_bytes": len(IMAGE),
        "content_text": None,
        "content_base64": base64.b64encode(IMAGE).decode(),
    }
    assert (document["content_text"], document["content_base64"]) == ('{"a": 1}\n', None)
    assert (table["content_type"], table["content_text"], table["size_bytes"]) == ("text/csv", "a;b\n", 4)


def test_a_text_that_is_not_what_it_says_is_an_attachment_in_base64() -> None:
    head = ("Content-Type: text/csv; charset=utf-8", "Content-Transfer-Encoding: base64", "")
    [attachment] = event_of(mail(*head, base64.b64encode(b"\xff\xfe").decode()))["attachments"]
    assert (attachment["content_text"], attachment["content_base64"]) == (None, "//4=")


def test_text_after_the_text_is_not_lost() -> None:
    message = EmailMessage()
    message.set_content("first\n")
    message.make_mixed()
    for text in ("second\n", "third\n"):
        part = EmailMessage()
        part.set_content(text)
        message.attach(part)
    event = event_of(message)
    assert event["text"] == "first\n"
    assert [(each["filename"], each["content_text"]) for each in event["attachments"]] == [
        (None, "second\n"),
        (None, "third\n"),
    ]


def test_a_text_that_is_attached_is_not_the_text() -> None:
    event = event_of(mail("Content-Type: text/plain", "Content-Disposition: attachment; filename=a.txt", "", "abc"))
    assert event["text"] is None
    assert event["attachments"][0]["filename"] == "a.txt"


def test_a_forwarded_mail_is_one_attachment_and_stays_closed() -> None:
    inner = EmailMessage()
    inner["Subject"] = "inner"
    inner.set_content("inner text\n")
    outer = EmailMessage()
    outer.set_content("outer text\n")
    outer.add_attachment(inner)
    event = event_of(outer)
    assert event["text"] == "outer text\n"
    [attachment] = event["attachments"]
    assert attachment["content_type"] == "message/rfc822"
    again = event_of(base64.b64decode(attachment["content_base64"] or b"") or attachment["content_text"].encode())
    assert (again["subject"], again["text"].strip()) == ("inner", "inner text")


@pytest.mark.parametrize(
    ("parameter", "filename"),
    [
        ('filename="a b.txt"', "a b.txt"),
        ("filename*=utf-8''a%20%C3%BC.txt", "a ü.txt"),
        ("filename*0=one;filename*1=two", "onetwo"),
        ('filename="=?utf-8?q?=C3=BC.txt?="', "ü.txt"),
        ("filename*=idna''%FF", "ÿ"),
        ('filename=" "', None),
        ('filename="../../etc/passwd"', "../../etc/passwd"),  # what somebody calls it, not where it goes
    ],
)
def test_the_name_of_a_file_is_read_in_every_spelling(parameter: str, filename: str | None) -> None:
    [attachment] = event_of(mail("Content-Type: image/png", f"Content-Disposition: attachment; {parameter}", "", "x"))[
        "attachments"
    ]
    assert attachment["filename"] == filename


@pytest.mark.parametrize(
    ("header", "author"),
    [
        ("ada@example.com", "ada@example.com"),
        ('"Lovelace, Ada" <ada@example.com>', "ada@example.com"),
        ("=?utf-8?q?bob=40example=2Ecom?= <ada@example.com>", "ada@example.com"),
        ("grüße@example.com", "grüße@example.com"),
        ("nobody", SENDER),
        ("", SENDER),
        ("<>", SENDER),
        ("(" * 60_000, SENDER),
    ],
)
def test_from_is_what_the_mail_says_and_else_what_the_envelope_says(header: str, author: str) -> None:
    assert event_of(mail(f"From: {header}", "", "x"))["from"] == author


def test_a_repeated_header_is_a_list_in_order() -> None:
    headers = event_of(mail("Received: one", "X-Once: 1", "received: two", "", ""))["headers"]
    assert headers == {"received": ["one", "two"], "x-once": "1"}


@pytest.mark.parametrize("content", [b"", b"\r\n", b"no header at all", b"\x00\xff", b": x\r\n\r\n", b"From \r\n\r\n"])
def test_what_is_hardly_a_mail_is_read_as_far_as_it_goes(content: bytes) -> None:
    event = event_of(content)
    assert (event["from"], event["to"]) == (SENDER, RECIPIENT)


def test_nul_survives_as_an_escape() -> None:
    content = b"Subject: a\x00b\r\n\r\nc\x00d"
    assert b"\\u0000" in read_message(content).event(SENDER, RECIPIENT)
    assert b"\x00" not in read_message(content).event(SENDER, RECIPIENT)
    assert event_of(content)["text"] == "c\x00d"


@pytest.mark.parametrize(
    ("headers", "text"),
    [
        ("Content-Type: multipart/mixed", "--x\nbody"),
        ("Content-Type: multipart/mixed; boundary=x", "nothing of that kind"),
        ("Content-Type: multipart/mixed; boundary*=idna''x%FF", "--x\nbody"),
        ("Content-Type: text/plain; charset=nonsense", "body"),
        ("Content-Type: text/plain; charset*=idna''x", "body"),
        ("Content-Type: ;;;", "body"),
        ("Content-Type:", "body"),
        ("Content-Transfer-Encoding: nonsense", "body"),
    ],
)
def test_broken_mime_is_shown_as_it_came(headers: str, text: str) -> None:
    assert event_of(mail(headers, "", text))["text"].strip() == text


@pytest.mark.parametrize("encoding", ["base64", "quoted-printable", "x-uuencode"])
@pytest.mark.parametrize("body", [b"\xff\xfe", b"=", b"=ZZ", b"====", b"begin 644 x\r\n\xff\r\n", b"a"])
def test_a_broken_transfer_encoding_is_no_error(encoding: str, body: bytes) -> None:
    event_of(b"Content-Transfer-Encoding: " + encoding.encode() + b"\r\n\r\n" + body)


def nested(depth: int) -> bytes:
    opened = (
        b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (level, level) for level in range(depth)
    )
    return b"".join(opened) + b"\r\ninnermost"


BOMBS = {
    "parts": b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--b\r\n\r\n\r\n" * 5_000,
    "depth": nested(11),
    "far too deep": nested(5_000),
    "mails in mails": b"Content-Type: message/rfc822\r\n\r\n" * 5_000,
    "delivery status": b"Content-Type: message/delivery-status\r\n\r\n" + b"a: b\r\n\r\n" * 5_000,
    "attachments": b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--b\r\nContent-Type: a/b\r\n\r\n\r\n" * 60,
    "headers": b"a: b\r\n" * 1_001,
    "one long header": b"a: " + b"b" * 70_000,
    "a header folded over and over": b"a: b\r\n" + b" c\r\n" * 20_000,
    "long headers": (b"a: " + b"b" * 60_000 + b"\r\n") * 5,
    "a long content type": b"Content-Type: text/plain; a=" + b"b" * 9_000,
    "headers of parts": b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + (b"--b\r\n" + b"a: b\r\n" * 50) * 21,
    "lines": b"\r\n" + b"\n" * 200_001,
    "escapes": b"\r\n" + b"\x00" * 1_000_000,
    "a long text": b"\r\n" + b"a" * 1_048_577,
    "a text that grows": b"Content-Type: text/plain; charset=latin1\r\n\r\n" + b"\xe4" * 600_000,
    "a long attachment": b"Content-Type: a/b\r\n\r\n" + b"a" * 800_000,
    "a number": b"Content-Type: text/plain; a*" + b"9" * 5_000 + b"=x\r\n\r\n",
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused(name: str) -> None:
    with pytest.raises(UnusableMailError) as refused:
        read_message(BOMBS[name])
    assert len(refused.value.message) < 120
    assert refused.value.message.isascii()


def test_what_is_just_within_the_bounds_is_taken() -> None:
    assert event_of(nested(10))["text"] == "innermost"
    assert len(event_of(b"a: b\r\n" * 1_000 + b"\r\n")["headers"]["a"]) == 1_000
    assert len(event_of(b"\r\n" + b"a" * 1_048_576)["text"]) == 1_048_576


def test_a_bomb_is_refused_before_it_is_built() -> None:
    # Lines of nothing under ten boundaries, one line below the bound, take the longest of all.
    read_message(nested(10) + b"\n" * 199_900)


@pytest.mark.parametrize(
    ("header", "kind"),
    [
        ("X: y", None),
        ("Auto-Submitted: no", None),
        ("Auto-Submitted: NO (a person wrote this)", None),
        ("Auto-Submitted: (a person) no; x=y", None),
        ("Auto-Submitted: auto-generated", "auto-generated"),
        ("Auto-Submitted: auto-replied (vacation)", "auto-replied"),
        ("auto-submitted: auto-notified; owner-email=x", "auto-notified"),
        ("Auto-Submitted:", "unknown"),
        ("Auto-Submitted: ?", "unknown"),
        ("Auto-Submitted: not", "not"),
        ("Auto-Submitted: no\r\nAuto-Submitted: auto-replied", "auto-replied"),
        ("Auto-Submitted: =?utf-8?q?auto-replied?=", "auto-replied"),
        ("Auto-Submitted: " + "(" * 10_000, "unknown"),
        ("Content-Type: multipart/report; boundary=x", None),
    ],
)
def test_automatic_mail_is_known_by_its_header(header: str, kind: str | None) -> None:
    assert read_message(mail(header, "", "x")).automatic_kind(SENDER) == kind


def test_a_bounce_is_known_by_its_shape() -> None:
    report = read_message(mail("Content-Type: Multipart/Report; boundary=x", "", "x"))
    assert report.automatic_kind("") == "bounce"
    assert read_message(mail("Subject: x", "", "x")).automatic_kind("") is None


def test_a_mail_that_went_through_too_many_relays_goes_round_in_a_circle() -> None:
    assert not read_message(mail(*["Received: x"] * 50, "", "")).is_circling()
    assert read_message(mail(*["Received: x"] * 51, "", "")).is_circling()


def test_a_header_of_ours_is_read_through_every_folding() -> None:
    message = read_message(mail("X-PiCloud-Hops: v1.abc", " .def", "x-picloud-hops: other", "", ""))
    assert message.raw_values("x-picloud-hops") == ["v1.abc.def", "other"]
