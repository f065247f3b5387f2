from __future__ import annotations

import pytest

from picloud.errors import ConfigurationError
from picloud.mail.transport import MailTransport, SmtpServer, parse_smtp_url


@pytest.mark.parametrize(
    ("url", "server"),
    [
        ("smtp://localhost", SmtpServer("localhost", 25, "opportunistic")),
        ("smtp://localhost/", SmtpServer("localhost", 25, "opportunistic")),
        ("smtp://relay.lan:2525", SmtpServer("relay.lan", 2525, "opportunistic")),
        ("smtp://u:p@mail.example", SmtpServer("mail.example", 587, "opportunistic", "u", "p")),
        ("smtp+starttls://u:p@mail.example", SmtpServer("mail.example", 587, "starttls", "u", "p")),
        ("smtps://u:p@mail.example", SmtpServer("mail.example", 465, "tls", "u", "p")),
        ("SMTPS://mail.example:1465", SmtpServer("mail.example", 1465, "tls")),
        ("smtps://u%40example.com:p%3A%2F%40%25@[::1]:1", SmtpServer("::1", 1, "tls", "u@example.com", "p:/@%")),
    ],
)
def test_a_url_says_where_and_how(url: str, server: SmtpServer) -> None:
    assert parse_smtp_url(url) == server


@pytest.mark.parametrize(
    "url",
    [
        "",
        "mail.example:25",
        "http://u:geheim@mail.example",
        "smtp://",
        "smtp://u:geheim@",
        "smtp://u:geheim@mail.example:x",
        "smtp://u:geheim@mail.example:0",
        "smtp://u:geheim@mail.example:65536",
        "smtp://u:ge/heim@mail.example",
        "smtp://u:geheim#@mail.example",
        "smtp://u:geheim@mail.example/path",
        "smtp://u:geheim@mail.example?tls=no",
        "smtp://u@mail.example",
        "smtp://:geheim@mail.example",
        "smtp://u:geheim%0d%0a@mail.example",
        "smtp://u:geheim%C3%BC@mail.example",
        "smtp://u:geheim@mail example",
        "smtp://u:geheim@[::1",
        "smtp://u:geheim@mäil.example",
    ],
)
def test_a_bad_url_has_a_clear_error_without_the_password(url: str) -> None:
    with pytest.raises(ValueError, match="smtp://HOST") as refused:
        parse_smtp_url(url)
    told = str(refused.value)
    assert "geheim" not in told
    assert "heim" not in told
    assert refused.value.__cause__ is None


def test_a_password_is_not_shown() -> None:
    transport = MailTransport("smtps://user:geheim@mail.example", "PiCloud <picloud@example.org>")
    assert repr(transport) == "MailTransport(mail.example:465, from picloud@example.org)"
    assert "geheim" not in repr(parse_smtp_url("smtps://user:geheim@mail.example"))


def test_a_bad_url_makes_no_transport() -> None:
    with pytest.raises(ConfigurationError, match="PICLOUD_SMTP_URL: expected smtp://HOST") as refused:
        MailTransport("smtp://u:ge/heim@mail.example", "picloud@example.org")
    assert "heim" not in str(refused.value)


@pytest.mark.parametrize("mail_from", ["", "picloud", "a@b\r\nBcc: c@d", "a@b, c@d"])
def test_a_bad_sender_is_refused(mail_from: str) -> None:
    with pytest.raises(ConfigurationError, match=r"PICLOUD_MAIL_FROM=.*: expected an address"):
        MailTransport("smtp://localhost", mail_from)
