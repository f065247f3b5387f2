"""Everything that is said to Redis: the keys, the messages and the scripts.

Redis is a shallow, disposable window on PostgreSQL. It carries

- two lists of messages for the workers, sync and async rows apart;
- one token that wakes a relay;
- an inbox for every web process, where answers of sync runs arrive;
- an epoch: a random value whose absence tells that Redis lost its memory.

A message is what Dramatiq's ``Message.encode`` writes, and carries only
``(execution id, token)`` pairs and the relay's estimate of their milliseconds
and bytes. A stale or doubled message matches no row at *begin* and is dropped.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any
from uuid import UUID

import redis
import redis.asyncio
import redis.exceptions
from redis.backoff import NoBackoff
from redis.retry import Retry

SYNC_LIST = "picloud:sync"
ASYNC_LIST = "picloud:async"
WAKE_LIST = "picloud:wake"
EPOCH_KEY = "picloud:epoch"
AWAIT_ROOM_KEY = "picloud:await_room"
#: Hash of script id to its measured run time in milliseconds; a hint, may be gone.
RUN_TIMES_KEY = "picloud:run_ms"
#: Hash of what all processes have counted together (``picloud.observability.reporting``).
METRICS_KEY = "picloud:metrics"

#: The Dramatiq queue and actor that both sides name.
QUEUE_NAME = "executions"
ACTOR_NAME = "execute"

#: How long a web process counts as alive after it last said so.
INBOX_ALIVE_SECONDS = 60
#: Answers up to this size travel through Redis; larger ones are read from PostgreSQL.
INLINE_REPLY_BYTES = 32 * 1024

#: What Redis raises when it cannot be used now. ``TimeoutError``, ``ReadOnlyError`` (a
#: failover) and ``OutOfMemoryError`` are no subclasses of ``ConnectionError`` in redis-py,
#: yet each means the same to us: nothing is known, try again later.
OUTAGES: tuple[type[Exception], ...] = (
    redis.exceptions.ConnectionError,
    redis.exceptions.TimeoutError,
    redis.exceptions.ReadOnlyError,
    redis.exceptions.OutOfMemoryError,
    redis.exceptions.BusyLoadingError,
)


def inbox_key(inbox: str) -> str:
    """The list on which answers for one web process arrive."""
    return f"picloud:inbox:{inbox}"


def inbox_alive_key(inbox: str) -> str:
    """Exists while that web process listens."""
    return f"picloud:inbox:{inbox}:alive"


def kick_key(worker_id: UUID) -> str:
    """A list on which a worker process wakes its own blocked fetch."""
    return f"picloud:kick:{worker_id.hex}"


def worker_alive_key(worker_id: UUID) -> str:
    """Exists while an idle worker process listens; a busy one beats in PostgreSQL."""
    return f"picloud:worker:{worker_id.hex}"


def _client_options(name: str, socket_timeout_seconds: float) -> dict[str, Any]:
    return {
        # redis-py repeats commands by default. A repeated pop or push whose first answer
        # was lost would drop or double messages behind our back: we decide what to repeat.
        "retry": Retry(NoBackoff(), 0),
        "socket_timeout": socket_timeout_seconds,
        "socket_connect_timeout": 2.0,
        "health_check_interval": 0,
        "client_name": f"picloud-{name}",
    }


def connect(url: str, *, name: str, socket_timeout_seconds: float = 5.0) -> redis.Redis:
    """A blocking client; ``socket_timeout_seconds`` must exceed any blocking pop made on it."""
    options: Any = _client_options(name, socket_timeout_seconds)
    return redis.Redis.from_url(url, **options)


def connect_async(url: str, *, name: str, socket_timeout_seconds: float = 5.0) -> redis.asyncio.Redis:
    """The same for an event loop."""
    from redis.asyncio.retry import Retry as AsyncRetry

    options: Any = _client_options(name, socket_timeout_seconds) | {"retry": AsyncRetry(NoBackoff(), 0)}
    return redis.asyncio.Redis.from_url(url, **options)


def script(name: str) -> str:
    """The text of ``picloud/lua/NAME.lua``, for ``register_script``."""
    return resources.files("picloud").joinpath("lua", f"{name}.lua").read_text("utf-8")


def new_epoch() -> str:
    """A random value for the epoch key."""
    return secrets.token_hex(8)


def ensure_epoch(client: redis.Redis) -> str:
    """The current epoch; begins one when there is none."""
    client.set(EPOCH_KEY, new_epoch(), nx=True)
    value = client.get(EPOCH_KEY)
    if value is None:  # flushed between the two commands
        raise redis.exceptions.ConnectionError("Redis lost the epoch while it was read")
    return bytes(value).decode()  # type: ignore[arg-type]  # a blocking client never returns an awaitable


Pair = tuple[UUID, int]


def encode_message(pairs: Sequence[Pair], *, estimated_ms: int, payload_bytes: int) -> bytes:
    """One Dramatiq message for these rows, as ``dramatiq.Message.encode`` would write it."""
    return json.dumps(
        {
            "queue_name": QUEUE_NAME,
            "actor_name": ACTOR_NAME,
            "args": [[[identifier.hex, token] for identifier, token in pairs]],
            "kwargs": {"ms": estimated_ms, "bytes": payload_bytes},
            "options": {},
            "message_id": f"{pairs[0][0].hex}:{pairs[0][1]}",
            "message_timestamp": time.time_ns() // 1_000_000,
        },
        separators=(",", ":"),
    ).encode()


@dataclass(frozen=True, slots=True)
class MessageContent:
    """What a message says, checked."""

    pairs: tuple[Pair, ...]
    estimated_ms: int
    payload_bytes: int


def decode_message(data: bytes) -> MessageContent:
    """Read a message back.

    Raises:
        ValueError: the bytes are no message of ours; the row behind it, if
            there is one, comes back when its publish lease ends.
    """
    try:
        content = json.loads(data)
        if content["actor_name"] != ACTOR_NAME:
            raise ValueError(f"unknown actor {content['actor_name']!r}")
        pairs = tuple((UUID(hex=identifier), _token(token)) for identifier, token in content["args"][0])
        if not pairs:
            raise ValueError("no rows in message")
        return MessageContent(pairs, int(content["kwargs"].get("ms", 0)), int(content["kwargs"].get("bytes", 0)))
    except (KeyError, IndexError, TypeError, AttributeError, UnicodeDecodeError) as error:
        raise ValueError(f"not a message: {error!r}") from error


def _token(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 63:
        raise ValueError("a token is a whole number below 2^63")
    return value


def rows_in(messages: Iterable[bytes]) -> set[UUID]:
    """The execution ids named by these messages; unreadable messages are skipped."""
    found: set[UUID] = set()
    for message in messages:
        try:
            found.update(identifier for identifier, _ in decode_message(message).pairs)
        except ValueError:
            continue
    return found


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer of a sync run, as it travels to the web process that waits.

    ``data`` is None when it was too large: the web process reads the execution record.
    ``error`` is the error document of a failed run (``code``, ``message``, …).
    """

    execution_id: UUID
    status: str
    result_kind: str | None = None
    http_status: int | None = None
    http_headers: tuple[tuple[str, str], ...] = ()
    data: bytes | None = None
    error: dict[str, Any] | None = None

    def encode(self) -> bytes:
        """A JSON line, then the data byte for byte."""
        too_large = self.data is not None and len(self.data) > INLINE_REPLY_BYTES
        head = {
            "id": self.execution_id.hex,
            "status": self.status,
            "kind": self.result_kind,
            "http_status": self.http_status,
            "headers": self.http_headers,
            "error": self.error,
            "inline": self.data is not None and not too_large,
        }
        line = json.dumps(head, separators=(",", ":")).encode()
        return line + b"\n" + (self.data if self.data is not None and not too_large else b"")

    @classmethod
    def decode(cls, message: bytes) -> Reply:
        line, _, data = message.partition(b"\n")
        head = json.loads(line)
        return cls(
            execution_id=UUID(hex=head["id"]),
            status=head["status"],
            result_kind=head["kind"],
            http_status=head["http_status"],
            http_headers=tuple((name, value) for name, value in head["headers"]),
            data=data if head["inline"] else None,
            error=head["error"],
        )
