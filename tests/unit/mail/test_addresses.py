from __future__ import annotations

import pytest

from picloud.mail.addresses import Mailbox, parse_mailbox


@pytest.mark.parametrize(
    ("text", "mailbox"),
    [
        ("ada@example.com", Mailbox("", "ada", "example.com")),
        (" ada@example.com ", Mailbox("", "ada", "example.com")),
        ("Ada.Lovelace+mail@EXAMPLE.com", Mailbox("", "Ada.Lovelace+mail", "example.com")),
        ("root@localhost", Mailbox("", "root", "localhost")),
        ("Ada Lovelace <ada@example.com>", Mailbox("Ada Lovelace", "ada", "example.com")),
        ('"Lovelace, \\"Ada\\"" <ada@example.com>', Mailbox('Lovelace, "Ada"', "ada", "example.com")),
        ("<ada@example.com>", Mailbox("", "ada", "example.com")),
        ("Ada 👩‍🔬 <ada@example.com>", Mailbox("Ada 👩‍🔬", "ada", "example.com")),
        ("ada@bücher.example", Mailbox("", "ada", "xn--bcher-kva.example")),
        ("grüße@example.com", Mailbox("", "grüße", "example.com")),
    ],
)
def test_an_address_people_write_is_read(text: str, mailbox: Mailbox) -> None:
    assert parse_mailbox(text) == mailbox


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ada",
        "@example.com",
        "ada@",
        "ada@@example.com",
        "ada@example..com",
        "ada@-example.com",
        ".ada@example.com",
        "ada.@example.com",
        "a da@example.com",
        "ada@exa mple.com",
        '"ada"@example.com',
        "ada@[127.0.0.1]",
        "ada@example.com, bob@example.com",
        "ada@example.com,bob@example.com",
        "Ada <ada@example.com> <bob@example.com>",
        "Ada <ada@example.com",
        "Ada <ada@example.com>, Bob <bob@example.com>",
        "ada@example.com (comment)",
        "ada@example.com\r\nBcc: bob@example.com",
        "Ada\r\nBcc: bob@example.com <ada@example.com>",
        "Ada\u2028 <ada@example.com>",
        "Ada\x00 <ada@example.com>",
        "\ud800@example.com",
        "a" * 65 + "@example.com",
        "ada@" + "a" * 64 + ".example",
        "ada@" + "a." * 200 + "example",
        "ada@" + "ü" * 300,
        "x" * 201 + " <ada@example.com>",
    ],
)
def test_everything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"an address|a name"):
        parse_mailbox(text)
