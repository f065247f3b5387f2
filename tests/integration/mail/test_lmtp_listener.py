from __future__ import annotations

import asyncio
import smtplib
import socket
import stat
from pathlib import Path

import pytest

from picloud.errors import InvalidInputError, UnavailableError
from picloud.mail.bind import Bind
from picloud.mail.listener import MailLimits
from tests.integration.mail.listening import MAIL, Listening, play, wire_to

LMTP = Bind("lmtp")
THREE = ("a@shop.example", "b@shop.example", "c@shop.example")


async def replies(stage: Listening, *recipients: str, content: bytes = MAIL) -> list[str]:
    """What is said to each recipient; nothing more may come after it."""
    async with wire_to(stage.bind) as wire:
        await wire.begin(*recipients, hello="LHLO me")
        assert (await wire.say("DATA")).startswith("354")
        wire.put(content, ".", "NOOP")
        said = [await wire.reply() for _ in recipients]
        assert await wire.reply() == "250 OK"
        return said


def test_each_recipient_hears_of_itself() -> None:
    async def story(stage: Listening) -> None:
        stage.office.fails += [UnavailableError("no"), InvalidInputError("never")]
        said = await replies(stage, *THREE)
        assert [reply[:9] for reply in said] == ["451 4.3.0", "554 5.6.0", "250 2.0.0"]
        assert stage.office.targets == [["trigger of c"]]

    play(story, bind=LMTP)


def test_an_error_nobody_expected_is_about_one_recipient() -> None:
    async def story(stage: Listening) -> None:
        stage.office.fails.append(RuntimeError("a bug"))
        assert [reply[:3] for reply in await replies(stage, *THREE)] == ["451", "250", "250"]

    play(story, bind=LMTP)


def test_a_database_that_hangs_is_waited_for_once_and_not_for_each_recipient() -> None:
    async def story(stage: Listening) -> None:
        stage.office.is_open.clear()
        assert [reply[:3] for reply in await replies(stage, *THREE)] == ["451"] * 3
        assert stage.office.asked == 1

    play(story, MailLimits(accept_seconds=0.2), bind=LMTP)


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"Auto-Submitted: auto-replied\r\n" + MAIL, "550"),
        (b"Received: x\r\n" * 51 + MAIL, "554"),
        (b"a: b\r\n" * 1_001 + MAIL, "554"),
        (MAIL + b"x" * 10_000, "552"),
    ],
    ids=["automatic", "circle", "bomb", "large"],
)
def test_a_mail_that_is_refused_is_refused_to_each_of_them(content: bytes, code: str) -> None:
    async def story(stage: Listening) -> None:
        assert [reply[:3] for reply in await replies(stage, *THREE, content=content)] == [code] * 3
        assert stage.office.asked == 0

    play(story, MailLimits(max_message_bytes=9_000), bind=LMTP)


def test_only_lhlo_begins_a_conversation() -> None:
    async def story(stage: Listening) -> None:
        async with wire_to(stage.bind) as wire:
            assert (await wire.reply()).startswith("220")
            assert (await wire.say("EHLO me")).startswith("500")
            assert (await wire.say("HELO me")).startswith("500")
            offered = await wire.say("LHLO me")
            assert {"250-PIPELINING", "250-ENHANCEDSTATUSCODES", "250-8BITMIME"} <= set(offered.split("\n"))

    play(story, bind=LMTP)


def test_a_conversation_that_broke_is_hung_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(stage: Listening) -> None:
        async def broken(_incoming: object) -> list[str]:
            raise RuntimeError("a bug")

        monkeypatch.setattr(stage.listener, "take", broken)
        async with wire_to(stage.bind) as wire:
            await wire.begin(*THREE, hello="LHLO me")
            await wire.say("DATA")
            wire.put(MAIL, ".", "NOOP")
            assert (await wire.hangs_up()).startswith("421 4.3.0 internal error")

    play(story, bind=LMTP)


def test_a_mail_server_next_door_hands_over_by_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "mail"

    async def story(stage: Listening) -> None:
        assert stat.S_IMODE(path.stat().st_mode) == 0o660

        def conversation() -> dict[str, tuple[int, bytes]]:
            with smtplib.LMTP(str(path)) as client:
                return client.sendmail("ada@example.com", ["a@shop.example"], MAIL)

        for _ in range(5):  # no rate for whom the folder lets in
            assert await asyncio.to_thread(conversation) == {}
        assert len(stage.office.accepted) == 5

    play(story, MailLimits(mails_per_second=0.001, mails_burst=1), bind=Bind("lmtp", path=path))
    assert not path.exists()


def test_a_socket_left_behind_by_a_crash_is_no_obstacle(tmp_path: Path) -> None:
    path = tmp_path / "mail"
    with socket.socket(socket.AF_UNIX) as crashed:
        crashed.bind(str(path))

    async def story(stage: Listening) -> None:
        assert [reply[:3] for reply in await replies(stage, "a@shop.example")] == ["250"]

    play(story, bind=Bind("lmtp", path=path))
