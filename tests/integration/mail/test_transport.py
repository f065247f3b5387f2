from __future__ import annotations

import asyncio
import datetime as dt
import email
import email.policy
import smtplib
import socket
import ssl
import threading
import time
from email.message import EmailMessage
from urllib.parse import quote

import pytest

import picloud.mail.transport
from picloud.mail.errors import MailRefusedError, MailUnavailableError
from picloud.mail.outgoing import OutgoingMail
from picloud.mail.transport import MailTransport
from tests.integration.mail.listening import Listening, play
from tests.integration.mail.mail_server import (
    PASSWORD,
    USER,
    Certificate,
    Script,
    mail_server,
    make_certificate,
    talker,
)

EXECUTION = "0197f0f0-aaaa-7bbb-8ccc-1234567890ab"
FROM = "PiCloud <picloud@example.org>"
MAIL = OutgoingMail(("Ada <ada@example.com>", "bob@example.com"), "Grüße", "Hällo", "<p>Hällo</p>")
LOGIN = f"{USER}:{quote(PASSWORD, safe='')}@"
NOON = dt.datetime(2026, 1, 2, 12, 0, tzinfo=dt.UTC)


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture
def everywhere_is_far(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loopback counts as the internet."""

    def stays_near(_connection: smtplib.SMTP) -> bool:
        return False

    monkeypatch.setattr(picloud.mail.transport, "_stays_near", stays_near)


def transport(port: int, scheme: str = "smtp", login: str = "", trusted: ssl.SSLContext | None = None) -> MailTransport:
    return MailTransport(f"{scheme}://{login}127.0.0.1:{port}", FROM, 5, trusted=trusted, now=lambda: NOON)


def taken(script: Script) -> EmailMessage:
    [envelope] = script.mails
    assert isinstance(envelope.content, bytes)
    return email.message_from_bytes(envelope.content, policy=email.policy.default)


def test_a_mail_arrives_with_everything_that_belongs_to_it() -> None:
    script = Script()
    with mail_server(script) as port:
        transport(port).send(MAIL, EXECUTION, "v1.signed")
    [envelope] = script.mails
    assert (envelope.mail_from, envelope.rcpt_tos) == ("picloud@example.org", ["ada@example.com", "bob@example.com"])
    message = taken(script)
    assert message["From"] == FROM
    assert message["To"] == "Ada <ada@example.com>, bob@example.com"
    assert message["Subject"] == "Grüße"
    assert message["Message-ID"] == f"<{EXECUTION}@example.org>"
    assert message["Date"] == "Fri, 02 Jan 2026 12:00:00 +0000"
    assert message["Auto-Submitted"] == "auto-generated"
    assert message["X-PiCloud-Hops"] == "v1.signed"
    assert [part.get_content().strip() for part in message.iter_parts() if isinstance(part, EmailMessage)] == [
        "Hällo",
        "<p>Hällo</p>",
    ]


def test_a_mail_sent_again_has_the_same_message_id() -> None:
    script = Script()
    with mail_server(script) as port:
        for _ in range(2):
            transport(port).send(MAIL, EXECUTION)
    ids = {email.message_from_bytes(bytes(each.original_content or b""))["Message-ID"] for each in script.mails}
    assert len(script.mails) == 2
    assert len(ids) == 1


def test_dots_and_long_lines_arrive_as_they_were() -> None:
    script = Script()
    text = ".\n..\n.x\n" + "long " * 500 + "\nlast"
    with mail_server(script) as port:
        transport(port).send(OutgoingMail(("ada@example.com",), "S", text), EXECUTION)
    assert taken(script).get_content().replace("\r\n", "\n") == text + "\n"


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        ("550 5.7.1 spam", MailRefusedError),
        ("552 5.3.4 too large", MailRefusedError),
        ("554 5.6.0 no", MailRefusedError),
        ("450 4.7.1 greylisted", MailUnavailableError),
        ("451 4.3.0 later", MailUnavailableError),
        ("421 4.3.2 stopping", MailUnavailableError),
        ("530 5.7.0 log in first", MailUnavailableError),
    ],
)
@pytest.mark.parametrize("step", ["mail", "data", "rcpt"])
def test_what_the_server_says_decides_whether_it_is_asked_again(
    step: str, reply: str, error: type[MailRefusedError | MailUnavailableError]
) -> None:
    script = Script(rcpt={"bob@example.com": reply}) if step == "rcpt" else Script(**{step: reply})  # type: ignore[arg-type]  # mypy knows no names of fields
    with mail_server(script) as port, pytest.raises(error) as failed:
        transport(port).send(MAIL, EXECUTION)
    assert reply in failed.value.message
    assert failed.value.retryable is (error is MailUnavailableError)
    assert script.mails == []


def test_when_one_recipient_is_refused_nobody_is_sent_the_mail() -> None:
    script = Script(rcpt={"bob@example.com": "550 5.1.1 no such user"})
    with mail_server(script) as port, pytest.raises(MailRefusedError) as refused:
        transport(port).send(MAIL, EXECUTION)
    assert refused.value.recipients == {"bob@example.com": "550 5.1.1 no such user"}
    assert "nobody was sent the mail: bob@example.com: 550 5.1.1 no such user" in refused.value.message
    assert script.was_sent == 0


def test_a_recipient_refused_for_good_outweighs_one_refused_for_now() -> None:
    script = Script(rcpt={"ada@example.com": "450 4.2.0 later", "bob@example.com": "550 5.1.1 never"})
    with mail_server(script) as port, pytest.raises(MailRefusedError) as refused:
        transport(port).send(MAIL, EXECUTION)
    assert list(refused.value.recipients) == ["bob@example.com"]


def test_what_the_server_says_is_shown_short_and_on_one_line() -> None:
    script = Script(data="550-first\r\n550 " + "\x1b[31m" + "x" * 400)
    with mail_server(script) as port, pytest.raises(MailRefusedError) as refused:
        transport(port).send(MAIL, EXECUTION)
    assert refused.value.message.isprintable()
    assert "550 first [31mxxx" in refused.value.message
    assert len(refused.value.message) < 250


def test_nobody_there_is_a_reason_to_try_again() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken_by_nobody:
        port = taken_by_nobody.getsockname()[1]
    with pytest.raises(MailUnavailableError, match=f"127.0.0.1:{port}: .*refused"):
        transport(port).send(MAIL, EXECUTION)


def test_a_name_that_leads_nowhere_is_a_reason_to_try_again() -> None:
    with pytest.raises(MailUnavailableError):
        MailTransport("smtp://mail.invalid", FROM, 5).send(MAIL, EXECUTION)


@pytest.mark.parametrize(
    "lines",
    [
        (),
        (b"220 hello\r\n",),
        (b"220 hello\r\n", b"250 x\r\n"),
        (b"220 hello\r\n", b"250 x\r\n", b"250 x\r\n"),
        (b"220 hello\r\n", b"250 x\r\n", b"250 x\r\n", b"250 x\r\n", b"250 x\r\n"),
        (b"220 hello\r\n", b"250 x\r\n", b"250 x\r\n", b"250 x\r\n", b"250 x\r\n", b"354 go\r\n"),
    ],
    ids=["connect", "ehlo", "mail", "rcpt", "data", "end"],
)
@pytest.mark.parametrize("closes", [False, True], ids=["hangs", "closes"])
def test_a_server_that_stops_answering_is_a_reason_to_try_again(lines: tuple[bytes, ...], closes: bool) -> None:
    with talker(*lines, closes=closes) as port:
        sending = MailTransport(f"smtp://127.0.0.1:{port}", FROM, 0.3)
        with pytest.raises(MailUnavailableError):
            sending.send(MAIL, EXECUTION)


def test_a_server_that_hangs_at_the_end_is_given_up() -> None:
    script = Script(hangs=True)
    with mail_server(script) as port, pytest.raises(MailUnavailableError):
        MailTransport(f"smtp://127.0.0.1:{port}", FROM, 0.3).send(MAIL, EXECUTION)
    assert script.was_sent == 1


def test_a_connection_lost_at_the_end_is_a_reason_to_try_again() -> None:
    with mail_server(Script(data="drop")) as port, pytest.raises(MailUnavailableError):
        transport(port).send(MAIL, EXECUTION)


@pytest.mark.parametrize(
    "line", [b"554 no mail here\r\n", b"421 busy\r\n", b"nonsense\r\n", b"\xff\r\n", b"220\r\n\r\n"]
)
def test_what_is_said_before_mail_is_never_the_mails_fault(line: bytes) -> None:
    with talker(line, b"554 go away\r\n", b"554 go away\r\n") as port, pytest.raises(MailUnavailableError):
        transport(port).send(MAIL, EXECUTION)


@pytest.mark.parametrize(
    ("reply", "error"), [(b"554 nobody to send to\r\n", MailRefusedError), (b"451 later\r\n", MailUnavailableError)]
)
def test_data_itself_may_be_refused(reply: bytes, error: type[Exception]) -> None:
    with talker(b"220 hello\r\n", *[b"250 x\r\n"] * 4, reply) as port, pytest.raises(error):
        transport(port).send(MAIL, EXECUTION)


def test_a_server_that_says_no_goodbye_has_the_mail_nevertheless() -> None:
    lines = [b"220 hello\r\n", *[b"250 x\r\n"] * 4, b"354 go\r\n", b"250 taken\r\n"]
    began = time.monotonic()
    with talker(*lines) as port:
        MailTransport(f"smtp://127.0.0.1:{port}", FROM, 30).send(MAIL, EXECUTION)
    assert time.monotonic() - began < 10


def test_a_mail_that_was_taken_was_taken_whatever_comes_after() -> None:
    lines = [b"220 hello\r\n", *[b"250 x\r\n"] * 4, b"354 go\r\n", b"250 taken\r\n"]
    with talker(*lines, closes=True) as port:
        transport(port).send(MAIL, EXECUTION)


# -- encryption and login ---------------------------------------------------------


def test_smtp_is_encrypted_where_the_server_offers_it(certificate: Certificate) -> None:
    script = Script()
    with mail_server(script, tls_context=certificate.server) as port:
        transport(port).send(MAIL, EXECUTION)
    assert script.was_encrypted == [True]


def test_smtps_is_encrypted_from_the_first_byte(certificate: Certificate) -> None:
    script = Script()
    with mail_server(script, ssl=certificate.server) as port:
        transport(port, "smtps", trusted=certificate.trusting).send(MAIL, EXECUTION)
    assert len(script.mails) == 1


def test_starttls_is_asked_for_and_insisted_on(certificate: Certificate) -> None:
    script = Script()
    with mail_server(script, tls_context=certificate.server) as port:
        transport(port, "smtp+starttls", trusted=certificate.trusting).send(MAIL, EXECUTION)
    assert script.was_encrypted == [True]
    with mail_server(script) as port, pytest.raises(MailUnavailableError, match="STARTTLS"):
        transport(port, "smtp+starttls").send(MAIL, EXECUTION)


@pytest.mark.parametrize("scheme", ["smtps", "smtp+starttls"])
def test_a_certificate_nobody_knows_is_not_believed(
    scheme: str, certificate: Certificate, caplog: pytest.LogCaptureFixture
) -> None:
    options = {"ssl" if scheme == "smtps" else "tls_context": certificate.server}
    with mail_server(Script(), **options) as port, pytest.raises(MailUnavailableError, match=r"(?i)certificate"):
        transport(port, scheme).send(MAIL, EXECUTION)


def test_a_server_that_speaks_no_tls_is_a_reason_to_try_again() -> None:
    with mail_server(Script()) as port, pytest.raises(MailUnavailableError):
        transport(port, "smtps").send(MAIL, EXECUTION)


def test_a_login_is_sent_over_tls(certificate: Certificate) -> None:
    script = Script()
    options = {"authenticator": script.authenticate, "tls_context": certificate.server, "auth_required": True}
    with mail_server(script, **options) as port:
        transport(port, "smtp+starttls", LOGIN, certificate.trusting).send(MAIL, EXECUTION)
    assert (script.logins, len(script.mails)) == ([USER], 1)


def test_a_login_to_a_neighbour_needs_no_tls() -> None:
    script = Script()
    with mail_server(script, authenticator=script.authenticate, auth_require_tls=False) as port:
        transport(port, "smtp", LOGIN).send(MAIL, EXECUTION)
    assert script.logins == [USER]


def test_a_password_is_never_sent_far_in_the_clear(everywhere_is_far: None) -> None:
    script = Script()
    with mail_server(script, authenticator=script.authenticate, auth_require_tls=False) as port:
        with pytest.raises(MailUnavailableError, match="not sent unencrypted"):
            transport(port, "smtp", LOGIN).send(MAIL, EXECUTION)
        transport(port, "smtp").send(MAIL, EXECUTION)
    assert script.logins == []


def test_a_password_is_never_sent_far_to_somebody_unknown(everywhere_is_far: None, certificate: Certificate) -> None:
    script = Script()
    options = {"authenticator": script.authenticate, "tls_context": certificate.server}
    with mail_server(script, **options) as port:
        with pytest.raises(MailUnavailableError, match=r"(?i)certificate"):
            transport(port, "smtp", LOGIN).send(MAIL, EXECUTION)
        transport(port, "smtp", LOGIN, certificate.trusting).send(MAIL, EXECUTION)
    assert script.logins == [USER]


def test_a_wrong_password_waits_for_a_person_and_is_not_told() -> None:
    script = Script()
    options = {"authenticator": script.authenticate, "auth_require_tls": False}
    with (
        mail_server(script, **options) as port,
        pytest.raises(MailUnavailableError, match="the login is refused: 535") as refused,
    ):
        transport(port, "smtp", "picloud:geheim@").send(MAIL, EXECUTION)
    assert "geheim" not in f"{refused.value!r} {refused.value.__cause__!r}"


def test_a_server_that_repeats_the_password_is_not_quoted() -> None:
    lines = [b"220 x\r\n", b"250-x\r\n250 AUTH PLAIN\r\n", b"535 geheim is not your password\r\n"]
    with talker(*lines) as port, pytest.raises(MailUnavailableError) as refused:
        transport(port, "smtp", "picloud:geheim@").send(MAIL, EXECUTION)
    assert "535 … is not your password" in refused.value.message
    assert "geheim" not in refused.value.message


def test_a_server_without_a_login_is_not_given_one() -> None:
    with mail_server(Script()) as port, pytest.raises(MailUnavailableError, match="AUTH"):
        transport(port, "smtp", LOGIN).send(MAIL, EXECUTION)


# -- addresses beyond ASCII ---------------------------------------------------------


def test_an_address_beyond_ascii_needs_a_server_that_knows_such() -> None:
    mail = OutgoingMail(("grüße@bücher.example",), "Grüße", "x")
    script = Script()
    with mail_server(script, enable_SMTPUTF8=True) as port:
        transport(port).send(mail, EXECUTION)
    assert script.mails[0].rcpt_tos == ["grüße@xn--bcher-kva.example"]
    with mail_server(script) as port, pytest.raises(MailRefusedError, match="beyond ASCII"):
        transport(port).send(mail, EXECUTION)


# -- both ends ------------------------------------------------------------------------


def test_picloud_does_not_take_what_it_has_sent() -> None:
    async def story(stage: Listening) -> None:
        sending = MailTransport(f"smtp://127.0.0.1:{stage.port}", FROM, 5)
        mail = OutgoingMail(("orders@shop.example",), "S", "T")
        with pytest.raises(MailRefusedError, match=r"550 5\.7\.1 automatic mail"):
            await asyncio.to_thread(sending.send, mail, EXECUTION, "signed.3")

    play(story)


def test_many_threads_may_send_at_once() -> None:
    script = Script()
    with mail_server(script) as port:
        shared = transport(port)
        threads = [threading.Thread(target=shared.send, args=(MAIL, EXECUTION)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(script.mails) == 8
