"""The mail process: listen, take mail until SIGTERM, finish what is being received."""

from __future__ import annotations

import asyncio
import logging
import os
import signal

from picloud import broker, systemd
from picloud.errors import ConfigurationError
from picloud.failpoints import arm_from_environment
from picloud.local.master_key import MasterKeyFile
from picloud.logs import configure_logging
from picloud.mail.bind import Bind, parse_bind
from picloud.mail.inbound_message import MailBounds
from picloud.mail.listener import MailLimits, MailListener
from picloud.mailroom.line import Line
from picloud.mailroom.reception import Reception, Target
from picloud.mailroom.waker import Waker
from picloud.observability.reporting import Reporter
from picloud.services.provenance import Provenance
from picloud.settings import Settings

_LOG = logging.getLogger("picloud.mail")

#: What a stop waits for mails that are being received, and then for rows that are being written.
DRAIN_SECONDS = 10.0
_REDIS_TIMEOUT_SECONDS = 2.0

#: Base64 makes four bytes of three, and JSON writes control characters as six: more than that is no ordinary mail.
_MOST_GROWTH = 4


def run(settings: Settings) -> int:
    """Run until SIGTERM; the exit code of the process.

    Raises:
        ConfigurationError: it is not said where to listen, or nobody may listen there.
    """
    if not settings.smtp_bind:
        raise ConfigurationError(
            "PICLOUD_SMTP_BIND is not set: it says where mail comes in, as in PICLOUD_SMTP_BIND=127.0.0.1:2525"
        )
    if not settings.database_url:
        raise ConfigurationError("PICLOUD_DATABASE_URL is not set: it says where mail is kept")
    configure_logging(settings.log_format, "mail")
    arm_from_environment()
    asyncio.run(_take_mail(settings, parse_bind(settings.smtp_bind)))
    return 0


def limits_of(settings: Settings) -> MailLimits:
    """A mail may be as large as a request, and what is let in can be read by a script."""
    most = settings.max_body_bytes
    usual = MailLimits()
    return MailLimits(
        max_message_bytes=most,
        max_held_bytes=max(usual.max_held_bytes, _MOST_GROWTH * most),
        bounds=MailBounds(
            max_string_bytes=settings.sandbox.max_string_bytes,
            max_event_bytes=max(usual.bounds.max_event_bytes, _MOST_GROWTH * most),
        ),
    )


async def _take_mail(settings: Settings, bind: Bind) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    lookups = Line(settings.database_url, name="mail-lookups")
    rows = Line(settings.database_url, name="mail")
    client = broker.connect_async(settings.redis_url, name="mail", socket_timeout_seconds=_REDIS_TIMEOUT_SECONDS)
    waker = Waker(client)
    reporter = Reporter(settings.redis_url)
    reporter.start()
    reception = Reception(lookups, rows, waker.wake)
    provenance = Provenance(MasterKeyFile(settings), "mail")
    listener = MailListener(reception.resolve, reception.accept, provenance.of, limits=limits_of(settings))
    try:
        taken = await _listen(listener, bind)
        _LOG.info("taking mail on %s", taken)
        systemd.notify("READY=1", f"STATUS=taking mail on {taken}")
        await _until(stop)
    finally:
        systemd.notify("STOPPING=1")
        await listener.stop(DRAIN_SECONDS)
        await waker.close()
        await lookups.close()
        await rows.close()
        await asyncio.to_thread(reporter.stop)


async def _listen(listener: MailListener[Target], bind: Bind) -> Bind:
    try:
        return await listener.start(bind)
    except OSError as error:
        hint = "docs/mail.md says how a port below 1024 is taken" if isinstance(error, PermissionError) else None
        # asyncio's own text repeats the address; a name that cannot be resolved has a number below zero.
        reason = os.strerror(error.errno) if error.errno is not None and error.errno > 0 else error.strerror
        raise ConfigurationError(f"cannot take mail on {bind}: {reason}", hint=hint) from error


async def _until(stop: asyncio.Event) -> None:
    """Wait, and pet the watchdog meanwhile when there is one."""
    while not stop.is_set():
        try:
            async with asyncio.timeout(systemd.watchdog_interval_seconds()):
                await stop.wait()
        except TimeoutError:
            systemd.notify("WATCHDOG=1")
