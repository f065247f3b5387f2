"""The relay's side of Redis: publish, the epoch, the wake token, what scripts cost.

Redis may lose its memory at any moment. The epoch is a random value kept in
Redis; the publish script compares it, so nothing is ever pushed into a Redis
that has forgotten what was pushed before.
"""

from __future__ import annotations

import contextlib
import time
from typing import Any, cast

from redis.exceptions import RedisError

from picloud import broker
from picloud.relay.grouping import Messages

#: How long measured run times are believed before they are read again.
_RUN_TIMES_AGE_SECONDS = 1.0

#: A relay that waits for room says so again after at most this long.
_AWAIT_ROOM_SECONDS = 5


class EpochLostError(Exception):
    """Raised when Redis is not the one that was published into: everything published has to go back."""


class Publisher:
    """One connection to Redis. Every method raises one of ``broker.OUTAGES`` when Redis does not answer."""

    def __init__(self, url: str) -> None:
        self._client = broker.connect(url, name="relay")
        self._wake = WakeSignal(url)
        self._publish = self._client.register_script(broker.script("publish"))
        self._await_room = self._client.register_script(broker.script("await_room"))
        self._epoch: str | None = None
        self._run_times: dict[int, float] = {}
        self._run_times_read_at = -_RUN_TIMES_AGE_SECONDS

    def check_epoch(self) -> None:
        """Make sure that Redis is still the one we know.

        Raises:
            EpochLostError: it is another one, or an empty one; a new epoch has begun.
        """
        current = broker.ensure_epoch(self._client)
        if current != self._epoch:
            self._epoch = current
            raise EpochLostError

    def publish(self, messages: Messages) -> None:
        """Push messages, all or none.

        Raises:
            EpochLostError: nothing was pushed.
        """
        arguments = [self._epoch or "", len(messages.sync), *messages.sync, *messages.asynchronous]
        keys = [broker.EPOCH_KEY, broker.SYNC_LIST, broker.ASYNC_LIST]
        answer = cast("list[int]", self._publish(keys=keys, args=cast(Any, arguments)))
        if answer[0] == -1:
            raise EpochLostError

    def rows_waiting(self) -> set[Any]:
        """The ids of all rows named in the lists: what a lapsed publish lease is checked against."""
        waiting: list[bytes] = []
        for name in (broker.SYNC_LIST, broker.ASYNC_LIST):
            waiting += cast("list[bytes]", self._client.lrange(name, 0, -1))
        return broker.rows_in(waiting)

    def ask_for_room(self) -> bool:
        """Ask to be woken when the lists have run half empty; False: they are empty now."""
        keys = [broker.SYNC_LIST, broker.ASYNC_LIST, broker.AWAIT_ROOM_KEY]
        return bool(self._await_room(keys=keys, args=[_AWAIT_ROOM_SECONDS]))

    def wait(self, seconds: float) -> bool:
        """Block until somebody wakes the relays or ``seconds`` have passed; True: woken."""
        return self._wake.wait(seconds)

    def run_times(self) -> dict[int, float]:
        """Measured milliseconds of a run by script id, as the workers report them."""
        now = time.monotonic()
        if now - self._run_times_read_at >= _RUN_TIMES_AGE_SECONDS:
            stored = cast("dict[bytes, bytes]", self._client.hgetall(broker.RUN_TIMES_KEY))
            self._run_times = {int(script): float(value) for script, value in stored.items()}
            self._run_times_read_at = now
        return self._run_times

    def reply_inbox_push(self, inbox: str, replies: list[bytes]) -> None:
        """Tell a waiting web process what a sweep decided; nobody listening is fine, the record says it too."""
        script = self._client.register_script(broker.script("reply"))
        keys = [broker.inbox_key(inbox), broker.inbox_alive_key(inbox)]
        script(keys=keys, args=cast(Any, [2 * broker.INBOX_ALIVE_SECONDS, *replies]))

    def close(self) -> None:
        self._wake.close()
        with contextlib.suppress(RedisError):
            self._client.close()


class WakeSignal:
    """Waits for the wake token with a blocking pop that stays pending from one wait to the next.

    Redis looks at the timeouts of blocked clients only when its own clock ticks: once a second
    with ``hz 1``, which an idle machine wants. So the time is kept here: the pop is sent once,
    and each wait watches its socket for as long as it likes.
    """

    #: Redis gives an unanswered pop up after this long; then it is sent again.
    _POP_SECONDS = 60

    def __init__(self, url: str) -> None:
        self._client = broker.connect(url, name="relay-wake", socket_timeout_seconds=self._POP_SECONDS + 10.0)
        self._connection: Any = None
        self._is_pending = False

    def wait(self, seconds: float) -> bool:
        """True when a token came within ``seconds``."""
        try:
            if self._connection is None:
                self._connection = self._client.connection_pool.get_connection()
            if not self._is_pending:
                self._connection.send_command("BLPOP", broker.WAKE_LIST, self._POP_SECONDS)
                self._is_pending = True
            if not self._connection.can_read(timeout=seconds):
                return False
            self._is_pending = False
            return self._connection.read_response() is not None
        except RedisError:
            self.close()
            raise

    def close(self) -> None:
        """Drop the connection; the next wait opens another one."""
        if self._connection is not None:
            self._connection.disconnect()
            self._client.connection_pool.release(self._connection)
        self._connection = None
        self._is_pending = False
