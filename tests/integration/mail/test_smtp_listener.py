from __future__ import annotations

import asyncio
import smtplib
import socket
from email.message import EmailMessage

import pytest

from picloud.errors import CapacityError, InvalidInputError, UnavailableError
from picloud.mail.bind import Bind
from picloud.mail.listener import MailLimits
from tests.integration.mail.listening import MAIL, ROOT, Listening, play, refusal, until, wire_to


def test_a_mail_sent_by_a_program_becomes_an_event() -> None:
    async def story(stage: Listening) -> None:
        message = EmailMessage()
        message["From"] = "Ada <ada@example.com>"
        message["To"] = "orders@shop.example"
        message["Subject"] = "Grüße"
        message.set_content("Hällo\n.\n..dots\n")
        message.add_attachment(b"\x00\xff", maintype="image", subtype="png", filename="a.png")
        await stage.talk(lambda client: client.send_message(message))
        [event] = stage.office.events
        assert (event["from"], event["to"]) == ("ada@example.com", "orders@shop.example")
        assert (event["subject"], event["text"]) == ("Grüße", "Hällo\n.\n..dots\n")
        assert event["attachments"][0]["content_base64"] == "AP8="

    play(story)


def test_250_is_said_after_the_rows_are_written_and_not_before() -> None:
    async def story(stage: Listening) -> None:
        stage.office.is_open.clear()
        async with wire_to(stage.bind) as wire:
            await wire.begin()
            assert (await wire.say("DATA")).startswith("354")
            wire.put(MAIL, ".")
            await stage.office.is_asked.wait()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await wire.reader.read(1)
            assert not stage.office.accepted
            stage.office.is_open.set()
            assert await wire.reply() == "250 2.0.0 accepted"
            assert len(stage.office.accepted) == 1

    play(story)


def test_an_unknown_address_is_refused_and_nothing_is_relayed() -> None:
    async def story(stage: Listening) -> None:
        for address in ("nobody@shop.example", "ada@elsewhere.example", "orders%elsewhere.example@other.example"):
            with pytest.raises(smtplib.SMTPRecipientsRefused) as refused:
                await stage.send(to=address)
            assert refused.value.recipients[address] == (550, b"5.1.1 no such address here")
        assert stage.office.asked == 0

    play(story)


def test_all_recipients_of_a_mail_are_accepted_together() -> None:
    async def story(stage: Listening) -> None:
        refused = await stage.send(to=["a@shop.example", "nobody@shop.example", "b@shop.example"])
        assert list(refused) == ["nobody@shop.example"]
        assert stage.office.targets == [["trigger of a", "trigger of b"]]
        assert [event["to"] for event in stage.office.events] == ["a@shop.example", "b@shop.example"]

    play(story)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UnavailableError("PostgreSQL does not answer"), 451),
        (CapacityError("too much waits"), 451),
        (RuntimeError("a bug"), 451),
        (TimeoutError(), 451),
        (InvalidInputError("PostgreSQL cannot store\r\n250 this"), 554),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_storing_came_to_is_what_the_sender_hears(
    error: Exception, code: int, caplog: pytest.LogCaptureFixture
) -> None:
    async def story(stage: Listening) -> None:
        stage.office.fails.append(error)
        said = await refusal(stage, MAIL)
        assert said[0] == code
        assert said[1].startswith("5.6.0" if code == 554 else "4.3.0")
        await stage.send()  # the next one is fine
        assert len(stage.office.accepted) == 1

    play(story)


def test_a_sender_hears_soon_when_storing_takes_too_long() -> None:
    async def story(stage: Listening) -> None:
        stage.office.is_open.clear()
        assert (await refusal(stage, MAIL))[0] == 451

    play(story, MailLimits(accept_seconds=0.1))


def test_an_address_that_cannot_be_looked_up_now_is_asked_for_later() -> None:
    async def story(stage: Listening) -> None:
        stage.office.resolve_fails.append(UnavailableError("PostgreSQL does not answer"))
        with pytest.raises(smtplib.SMTPRecipientsRefused) as refused:
            await stage.send()
        assert refused.value.recipients["orders@shop.example"][0] == 451

    play(story)


@pytest.mark.parametrize("kind", ["auto-replied", "auto-generated (PiCloud)", "vacation"])
def test_automatic_mail_is_refused_and_told_why(kind: str) -> None:
    async def story(stage: Listening) -> None:
        code, text = await refusal(stage, f"Auto-Submitted: {kind}\r\n".encode() + MAIL)
        assert code == 550
        word = kind.partition(" ")[0]
        assert text == f"5.7.1 automatic mail ({word}) is not taken: answers to answers would never end"
        await stage.send(b"Auto-Submitted: no\r\n" + MAIL)

    play(story)


def test_a_bounce_is_refused_and_a_mail_without_a_sender_is_not() -> None:
    async def story(stage: Listening) -> None:
        report = b'Content-Type: multipart/report; boundary="x"\r\n'
        assert (await refusal(stage, report + MAIL, sender=""))[0] == 550
        await stage.send(b"Subject: x\r\n\r\n", sender="")
        assert stage.office.events[0]["from"] == ""

    play(story)


def test_a_mail_that_goes_round_in_a_circle_is_refused() -> None:
    async def story(stage: Listening) -> None:
        assert (await refusal(stage, b"Received: x\r\n" * 51 + MAIL))[0] == 554
        await stage.send(b"Received: x\r\n" * 50 + MAIL)

    play(story)


def test_a_mail_nobody_can_read_is_refused() -> None:
    async def story(stage: Listening) -> None:
        code, text = await refusal(stage, b"a: b\r\n" * 2_000 + MAIL)
        assert (code, text) == (554, "5.6.0 the mail has more than 1000 headers")

    play(story)


@pytest.mark.parametrize(
    ("headers", "hops"),
    [
        (b"", None),
        (b"X-PiCloud-Hops: forged.9\r\n", None),
        (b"X-PiCloud-Hops: signed.3\r\n", (ROOT, 3)),
        (b"X-PiCloud-Hops: signed\r\n .3\r\n", (ROOT, 3)),
        (b"X-PiCloud-Hops: signed.1\r\nx-picloud-hops: forged.9\r\nX-PICLOUD-HOPS: signed.4\r\n", (ROOT, 4)),
    ],
    ids=["none", "forged", "ours", "folded", "several"],
)
def test_root_and_depth_are_handed_on(headers: bytes, hops: object) -> None:
    async def story(stage: Listening) -> None:
        await stage.send(headers + MAIL, to=["a@shop.example", "b@shop.example"])
        assert [delivery.hops for delivery in stage.office.accepted[0]] == [hops, hops]

    play(story)


def test_nobody_can_log_in() -> None:
    async def story(stage: Listening) -> None:
        def conversation(client: smtplib.SMTP) -> tuple[bool, int, int]:
            return client.has_extn("auth"), client.docmd("AUTH PLAIN AGEAYg==")[0], client.docmd("STARTTLS")[0]

        assert await stage.talk(conversation) == (False, 502, 454)

    play(story)


def test_addresses_in_utf_8_are_taken() -> None:
    async def story(stage: Listening) -> None:
        async with wire_to(stage.bind) as wire:
            await wire.begin("grüße@shop.example")
            await wire.say("DATA")
            assert (await wire.say("Subject: Grüße", "", "x", ".")).startswith("250")
        [event] = stage.office.events
        assert (event["to"], event["subject"]) == ("grüße@shop.example", "Grüße")

    play(story)


@pytest.mark.parametrize(
    "path",
    [
        b"",
        b"ada",
        b"<ada>",
        b"<ada@shop.example",
        b"<@>",
        b"<a b@shop.example>",
        b"<" + b"(" * 400 + b"@shop.example>",
        b"<" + b"a" * 400 + b"@shop.example>",
        b"<a\xff@shop.example>",
        b"<a\x00@shop.example>",
        b"<a\x1b[31m@shop.example>",
        b"<>",
        b'<"@shop.example>',
    ],
)
def test_what_is_no_address_is_refused(path: bytes, caplog: pytest.LogCaptureFixture) -> None:
    async def story(stage: Listening) -> None:
        async with wire_to(stage.bind) as wire:
            await wire.begin()
            assert (await wire.say(b"RCPT TO:" + path))[:1] == "5"
            assert (await wire.say("RCPT TO:<orders@shop.example>")).startswith("250")

    play(story)
    assert not caplog.records


@pytest.mark.parametrize(
    "path",
    ["<orders@shop.example>", "orders@shop.example", " <orders@shop.example>", "<@relay.example:orders@shop.example>"],
)
def test_addresses_are_read_in_the_spellings_in_use(path: str) -> None:
    async def story(stage: Listening) -> None:
        async with wire_to(stage.bind) as wire:
            await wire.begin()
            assert (await wire.say(f"RCPT TO:{path}")).startswith("250")

    play(story)


def test_a_mail_ends_with_a_dot_between_two_crlf_and_nowhere_else() -> None:
    async def story(stage: Listening) -> None:
        async with wire_to(stage.bind) as wire:
            await wire.begin()
            await wire.say("DATA")
            smuggled = b"MAIL FROM:<eve@example.com>\nRCPT TO:<orders@shop.example>\nDATA\n"
            body = b"Subject: x\r\n\r\none\n.\ntwo\r.\rthree\n.\r\n" + smuggled + b"four"
            assert (await wire.say(body, b".")).startswith("250")
            assert (await wire.say("NOOP")).startswith("250")
        [event] = stage.office.events
        assert "one\n.\ntwo" in event["text"]
        assert event["text"].endswith("four\n")

    play(story)


def test_commands_may_be_sent_without_waiting() -> None:
    async def story(stage: Listening) -> None:
        mail = ["MAIL FROM:<ada@example.com>", "RCPT TO:<orders@shop.example>", "DATA"]
        async with wire_to(stage.bind) as wire:
            assert (await wire.reply()).startswith("220")
            assert "250-PIPELINING" in await wire.say("EHLO me")
            wire.put(*mail, "", "x", ".", *mail, "", "y", ".", "QUIT")
            codes = [(await wire.reply())[:3] for _ in range(9)]
            assert codes == ["250", "250", "354", "250", "250", "250", "354", "250", "221"]
        assert len(stage.office.accepted) == 2

    play(story)


@pytest.mark.parametrize("command", ["DATA", "RCPT TO:<orders@shop.example>", "MAIL", "RCPT", "BDAT 1", "EXPN x", "x"])
def test_commands_out_of_place_are_refused(command: str) -> None:
    async def story(stage: Listening) -> None:
        async with wire_to(stage.bind) as wire:
            assert (await wire.reply()).startswith("220")
            await wire.say("EHLO me")
            assert (await wire.say(command))[:1] == "5"

    play(story)


def test_a_refused_recipient_leaves_nobody_to_send_to() -> None:
    async def story(stage: Listening) -> None:
        async with wire_to(stage.bind) as wire:
            assert (await wire.reply()).startswith("220")
            await wire.say("EHLO me")
            await wire.say("MAIL FROM:<ada@example.com>")
            assert (await wire.say("RCPT TO:<nobody@shop.example>")).startswith("550")
            assert (await wire.say("DATA")).startswith("503")
            assert (await wire.say("VRFY orders@shop.example")).startswith("252")
            assert (await wire.say("VRFY nobody@shop.example")).startswith("252")  # says as little

    play(story)


def test_a_sender_that_leaves_while_its_mail_is_stored_does_not_cut_that_in_two() -> None:
    async def story(stage: Listening) -> None:
        stage.office.is_open.clear()
        async with wire_to(stage.bind) as wire:
            await wire.begin()
            await wire.say("DATA")
            wire.put(MAIL, ".")
            await stage.office.is_asked.wait()
        await until(lambda: not stage.listener._connections)
        stage.office.is_open.set()
        await until(lambda: len(stage.office.accepted) == 1)

    play(story)


def test_a_sender_that_leaves_in_the_middle_of_a_mail_has_sent_nothing() -> None:
    async def story(stage: Listening) -> None:
        async with wire_to(stage.bind) as wire:
            await wire.begin()
            await wire.say("DATA")
            wire.put(MAIL)
        await until(lambda: not stage.listener._connections)
        assert (stage.office.asked, stage.listener._held_bytes) == (0, 0)

    play(story)


def test_long_lines_of_careless_programs_are_taken() -> None:
    async def story(stage: Listening) -> None:
        async with wire_to(stage.bind) as wire:
            await wire.begin()
            await wire.say("DATA")
            line = b"." + b"x" * 200_000
            assert (await wire.say(b"Subject: x\r\n\r\n." + line, b".")).startswith("250")
        assert stage.office.events[0]["text"] == line.decode() + "\n"

    play(story)


def test_a_dot_in_a_long_line_is_not_the_end_wherever_the_line_is_cut() -> None:
    async def story(stage: Listening) -> None:
        async with wire_to(stage.bind) as wire:
            await wire.begin()
            await wire.say("DATA")
            wire.writer.write(b"Subject: x\r\n\r\n.." + b"." * 100_000)
            await until(lambda: stage.listener._held_bytes >= 100_000)  # all but the last dot were taken
            assert (await wire.say(b"", b"end", b".")).startswith("250")
        assert stage.office.events[0]["text"] == "." * 100_001 + "\nend\n"

    play(story)


def test_a_line_may_be_cut_anywhere_on_the_way() -> None:
    async def story(stage: Listening) -> None:
        body = b"Subject: x\r\n\r\n..dot\r\n" + b"y" * 65_535 + b"\r\n" + b"z" * 65_536 + b"\r\n..\r\nend\r\n.\r\n"
        async with wire_to(stage.bind) as wire:
            await wire.begin()
            await wire.say("DATA")
            for start in range(0, len(body), 4_093):
                wire.writer.write(body[start : start + 4_093])
                await wire.writer.drain()
                await asyncio.sleep(0)
            assert (await wire.reply()).startswith("250")
        assert stage.office.events[0]["text"] == ".dot\n" + "y" * 65_535 + "\n" + "z" * 65_536 + "\n.\nend\n"

    play(story)


def test_it_listens_on_ipv6_too() -> None:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            pass
    except OSError:
        pytest.skip("no IPv6 on this machine")

    async def story(stage: Listening) -> None:
        async with wire_to(stage.bind) as wire:
            assert (await wire.reply()) == "220 mail.shop.example PiCloud"

    play(story, bind=Bind(host="::1"))
