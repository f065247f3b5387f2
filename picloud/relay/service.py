"""The relay process: connect, go round, wait; survive every outage; stop when told."""

from __future__ import annotations

import contextlib
import logging
import signal
import time
from collections.abc import Generator
from types import FrameType

import psycopg

from picloud import broker, systemd
from picloud.database import Reconnecting, backoff_seconds, is_outage
from picloud.failpoints import arm_from_environment
from picloud.logs import configure_logging
from picloud.observability.reporting import Reporter
from picloud.relay.loop import Relay
from picloud.relay.publisher import EpochLostError, Publisher
from picloud.settings import Settings

_LOG = logging.getLogger("picloud.relay")


#: What a round may raise that says nothing about the rows: it is simply tried again.
_RECOVERABLE: tuple[type[Exception], ...] = (psycopg.Error, EpochLostError, *broker.OUTAGES)


class _StopRequested(BaseException):
    """Raised by the signal handler into a blocking wait, and nowhere else."""


class _StopSignal:
    """Turns SIGTERM and SIGINT into the end of the loop.

    A blocking pop is resumed after a signal handler returns (PEP 475), so the
    handler raises, but only while the relay does nothing but wait: a claim and its
    publish are never cut in two.
    """

    def __init__(self) -> None:
        self.is_set = False
        self.may_interrupt = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._handle)

    @contextlib.contextmanager
    def interruptible(self) -> Generator[None]:
        """Inside, the signal ends the wait at once."""
        self.may_interrupt = True
        try:
            yield
        finally:
            self.may_interrupt = False

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        self.is_set = True
        if self.may_interrupt:
            self.may_interrupt = False
            raise _StopRequested


def run(settings: Settings) -> int:
    """Run until SIGTERM; the exit code of the process."""
    configure_logging(settings.log_format, "relay")
    arm_from_environment()
    stop = _StopSignal()
    reporter = Reporter(settings.redis_url)
    reporter.start()
    database = Reconnecting(settings.database_url, name="relay")
    publisher = Publisher(settings.redis_url)
    relay = Relay(database, publisher, settings)
    systemd.notify("READY=1", "STATUS=relaying")
    try:
        _loop(relay, database, stop)
    except _StopRequested:
        pass
    finally:
        systemd.notify("STOPPING=1")
        publisher.close()
        database.close()
        reporter.stop()
    return 0


def _loop(relay: Relay, database: Reconnecting, stop: _StopSignal) -> None:
    waits = backoff_seconds()
    is_down = False
    while not stop.is_set:
        systemd.notify("WATCHDOG=1")
        try:
            seconds = relay.round()
            if is_down:
                _LOG.info("PostgreSQL and Redis answer again")
            is_down, waits = False, backoff_seconds()
            with stop.interruptible():
                if seconds > 0 and not stop.is_set:
                    relay.wait(seconds)
        except _RECOVERABLE as error:
            if isinstance(error, psycopg.Error):
                if not is_outage(error):
                    # A statement of ours is wrong; going on without a pause would fill the log.
                    _LOG.exception("a statement failed")
                database.close()
            if not is_down:
                _LOG.warning("waiting for PostgreSQL and Redis: %s", str(error).strip() or type(error).__name__)
            is_down = True
            relay.after_outage()
            with stop.interruptible():
                if not stop.is_set:
                    time.sleep(next(waits))
