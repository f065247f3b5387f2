from __future__ import annotations

import asyncio

import pytest
import uvloop

from picloud.mail.bind import Bind
from tests.integration.mail.listening import MAIL, Listening, listening, play, until, wire_to


def test_a_mail_being_sent_is_taken_before_the_listener_stops() -> None:
    async def story(stage: Listening) -> None:
        async with wire_to(stage.bind) as sending, wire_to(stage.bind) as idle:
            assert (await idle.reply()).startswith("220")
            await sending.begin()
            assert (await sending.say("DATA")).startswith("354")
            sending.put(MAIL)
            await until(lambda: stage.listener._held_bytes > 0)
            stopping = asyncio.create_task(stage.listener.stop(drain_seconds=20))
            assert await idle.reply() == "421 4.3.2 stopping"
            assert await idle.hangs_up() == ""
            assert not stopping.done()
            with pytest.raises(ConnectionError):
                await asyncio.open_connection("127.0.0.1", stage.port)
            assert (await sending.say(".")) == "250 2.0.0 accepted"
            assert await sending.hangs_up() == "421 4.3.2 stopping\r\n"
            await stopping
        assert len(stage.office.accepted) == 1

    play(story)


def test_a_mail_being_stored_is_stored_before_the_listener_stops() -> None:
    async def story(stage: Listening) -> None:
        stage.office.is_open.clear()
        async with wire_to(stage.bind) as wire:
            await wire.begin()
            await wire.say("DATA")
            # What was sent along is not begun: its answer would come too late.
            wire.put(MAIL, ".", "MAIL FROM:<ada@example.com>", "RCPT TO:<orders@shop.example>", "DATA", MAIL, ".")
            await stage.office.is_asked.wait()
            stopping = asyncio.create_task(stage.listener.stop(drain_seconds=20))
            await asyncio.sleep(0)
            stage.office.is_open.set()
            assert await wire.hangs_up() == "250 2.0.0 accepted\r\n421 4.3.2 stopping\r\n"
            await stopping
        assert stage.office.asked == 1

    play(story)


def test_who_does_not_finish_is_cut_and_nothing_was_taken(caplog: pytest.LogCaptureFixture) -> None:
    async def story(stage: Listening) -> None:
        async with wire_to(stage.bind) as wire:
            await wire.begin()
            await wire.say("DATA")
            wire.put(MAIL)
            await until(lambda: stage.listener._held_bytes > 0)
            async with asyncio.timeout(5):
                await stage.listener.stop(drain_seconds=0.1)
            assert "250" not in await wire.hangs_up()
        assert stage.office.asked == 0
        assert (stage.listener._held_bytes, stage.listener._connections) == (0, set())

    play(story)
    assert "1 mail connections were cut while they sent" in caplog.text


def test_a_database_that_hangs_does_not_hold_up_the_stop() -> None:
    async def story(stage: Listening) -> None:
        stage.office.is_open.clear()
        async with wire_to(stage.bind) as wire:
            await wire.begin()
            await wire.say("DATA")
            wire.put(MAIL, ".")
            await stage.office.is_asked.wait()
            async with asyncio.timeout(5):
                await stage.listener.stop(drain_seconds=0.1)
            assert await wire.hangs_up() == ""
        assert not stage.office.accepted

    play(story)


def test_stop_and_start_may_come_in_any_order_and_again() -> None:
    async def story(stage: Listening) -> None:
        await stage.listener.stop()
        await stage.listener.stop()
        taken = await stage.listener.start(Bind())
        other = await stage.listener.start(Bind("lmtp"))
        for bind in (taken, other):
            async with wire_to(bind) as wire:
                assert (await wire.reply()).startswith("220")

    play(story)


def test_many_senders_at_once_are_all_answered_and_none_of_their_mails_is_lost() -> None:
    async def one(stage: Listening, number: int) -> int:
        async with wire_to(stage.bind) as wire:
            await wire.begin()
            await wire.say("DATA")
            said = await wire.say(f"Subject: {number}", "", "x" * 20_000, ".")
            return number if said.startswith("250") else -1

    async def story(stage: Listening) -> None:
        answered = await asyncio.gather(*(one(stage, number) for number in range(20)))
        assert sorted(event["subject"] for event in stage.office.events) == sorted(map(str, answered))

    play(story)


def test_it_runs_on_uvloop_as_well() -> None:
    async def story() -> None:
        async with listening() as stage, wire_to(stage.bind) as wire:
            await wire.begin()
            await wire.say("DATA")
            wire.put(MAIL)
            await until(lambda: stage.listener._held_bytes > 0)
            stopping = asyncio.create_task(stage.listener.stop())
            assert (await wire.say(".")) == "250 2.0.0 accepted"
            assert await wire.hangs_up() == "421 4.3.2 stopping\r\n"
            await stopping
            assert len(stage.office.accepted) == 1

    uvloop.run(story())
