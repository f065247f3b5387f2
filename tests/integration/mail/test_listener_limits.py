from __future__ import annotations

import asyncio
import smtplib

import pytest

from picloud.mail.listener import MailLimits
from tests.integration.mail.listening import MAIL, Listening, play, refusal, until, wire_to


def test_a_mail_that_is_too_large_is_refused_before_or_after_it_was_sent() -> None:
    async def story(stage: Listening) -> None:
        content = MAIL + b"x" * 998 + b"\r\n" + (b"y" * 70 + b"\r\n") * 60
        with pytest.raises(smtplib.SMTPSenderRefused) as announced:
            await stage.send(content)
        assert announced.value.smtp_code == 552

        def unannounced(client: smtplib.SMTP) -> tuple[int, bytes]:
            assert client.esmtp_features["size"] == "4096"
            client.mail("ada@example.com")
            client.rcpt("orders@shop.example")
            return client.data(content)

        assert await stage.talk(unannounced) == (552, b"5.3.4 the mail is larger than 4096 bytes")
        await stage.send()
        assert len(stage.office.accepted) == 1

    play(story, MailLimits(max_message_bytes=4096))


def test_a_flood_is_not_read_to_its_end_and_not_kept() -> None:
    async def story(stage: Listening) -> None:
        for piece in (b"x" * 1000, b"x" * 998 + b"\r\n"):  # one line without an end, and many
            async with wire_to(stage.bind) as wire:
                await wire.begin()
                assert (await wire.say("DATA")).startswith("354")
                reply = asyncio.create_task(wire.hangs_up())
                try:
                    while not reply.done():
                        wire.writer.write(piece * 50)
                        await wire.writer.drain()
                        await asyncio.sleep(0)
                except ConnectionError:
                    pass  # what was said may be lost with it
                try:
                    assert "421 4.3.4" in await reply
                except ConnectionError:
                    pass
            await until(lambda: stage.listener._held_bytes == 0)
        await stage.send()

    play(story, MailLimits(max_message_bytes=200_000))


def test_what_is_refused_is_forgotten_before_it_has_all_come() -> None:
    async def story(stage: Listening) -> None:
        async with wire_to(stage.bind) as wire:
            await wire.begin()
            await wire.say("DATA")
            wire.put(b"x" * 3_000)
            await until(lambda: stage.listener._held_bytes > 0)
            wire.put(b"x" * 3_000)
            await until(lambda: stage.listener._held_bytes == 0)
            assert (await wire.say(".")).startswith("552")

    play(story, MailLimits(max_message_bytes=4_000))


def test_a_mail_for_many_may_be_smaller_than_one_for_a_few() -> None:
    async def story(stage: Listening) -> None:
        content = MAIL + b"x" * 2_000
        everybody = [f"a{number}@shop.example" for number in range(5)]
        with pytest.raises(smtplib.SMTPDataError) as refused:
            await stage.send(content, to=everybody)
        assert refused.value.smtp_code == 552
        await stage.send(content, to=everybody[:2])

    play(story, MailLimits(max_held_bytes=5_000))


def test_storing_may_take_longer_than_sending() -> None:
    async def story(stage: Listening) -> None:
        stage.office.is_open.clear()
        async with wire_to(stage.bind) as wire:
            await wire.begin()
            await wire.say("DATA")
            wire.put(MAIL, ".")
            await stage.office.is_asked.wait()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.6):
                    await wire.reader.read(1)
            stage.office.is_open.set()
            assert (await wire.reply()).startswith("250")

    play(story, MailLimits(data_seconds=0.5, command_seconds=0.5))


def test_all_connections_together_hold_so_much_and_no_more() -> None:
    async def story(stage: Listening) -> None:
        async with wire_to(stage.bind) as first:
            await first.begin()
            await first.say("DATA")
            first.put(b"x" * 3000)
            await until(lambda: stage.listener._held_bytes >= 3000)
            code, text = await refusal(stage, MAIL + b"x" * 900 + b"\r\n" + b"x" * 900)
            assert (code, text[:5]) == (452, "4.3.1")
            assert (await first.say(".")).startswith("250")
        await until(lambda: stage.listener._held_bytes == 0)
        await stage.send()

    play(story, MailLimits(max_message_bytes=4000, max_held_bytes=4000))


def test_too_many_recipients_are_sent_to_again() -> None:
    async def story(stage: Listening) -> None:
        refused = await stage.send(to=[f"a{number}@shop.example" for number in range(5)])
        assert {code for code, _ in refused.values()} == {452}
        assert stage.office.targets == [["trigger of a0", "trigger of a1", "trigger of a2"]]

    play(story, MailLimits(max_recipients=3))


def test_a_peer_that_sends_too_much_has_to_wait() -> None:
    async def story(stage: Listening) -> None:
        for _ in range(3):
            await stage.send()
        with pytest.raises(smtplib.SMTPSenderRefused) as refused:
            await stage.send()
        assert refused.value.smtp_code == 450

    play(story, MailLimits(mails_per_second=0.001, mails_burst=3))


def test_who_guesses_addresses_is_hung_up_on() -> None:
    async def story(stage: Listening) -> None:
        async with wire_to(stage.bind) as wire:
            await wire.begin()
            for number in range(2):
                assert (await wire.say(f"RCPT TO:<{number}@elsewhere.example>")).startswith("550")
            assert (await wire.say("RCPT TO:<c@elsewhere.example>")).startswith("421")
            assert await wire.hangs_up() == ""

    play(story, MailLimits(max_unknown_recipients=2))


def test_guessing_spends_what_mails_would() -> None:
    async def story(stage: Listening) -> None:
        async with wire_to(stage.bind) as wire:
            await wire.begin()
            assert (await wire.say("RCPT TO:<a@elsewhere.example>")).startswith("550")
            assert (await wire.say("RCPT TO:<b@elsewhere.example>")).startswith("421")

    play(story, MailLimits(mails_per_second=0.001, mails_burst=2))


def test_connections_are_counted_and_one_too_many_is_told() -> None:
    async def story(stage: Listening) -> None:
        async with wire_to(stage.bind) as first, wire_to(stage.bind) as second:
            assert (await first.reply()).startswith("220")
            assert (await second.reply()).startswith("220")
            async with wire_to(stage.bind) as third:
                assert await third.reply() == "421 4.3.2 too many connections from your address, try again later"
                assert await third.hangs_up() == ""
        await until(lambda: not stage.listener._connections)
        await stage.send()

    play(story, MailLimits(max_connections_per_peer=2))


def test_who_says_nothing_is_hung_up_on() -> None:
    async def story(stage: Listening) -> None:
        async with wire_to(stage.bind) as wire:
            assert (await wire.reply()).startswith("220")
            assert (await wire.hangs_up()).startswith("421 4.4.2")

    play(story, MailLimits(command_seconds=0.1))


def test_who_sends_a_mail_too_slowly_is_hung_up_on() -> None:
    async def story(stage: Listening) -> None:
        async with wire_to(stage.bind) as wire:
            await wire.begin()
            await wire.say("DATA")
            wire.put(b"half a mail")
            assert (await wire.hangs_up()).startswith("421 4.4.2")
        assert stage.office.asked == 0

    play(story, MailLimits(data_seconds=0.1))
