"""The services of one process, and of each run: everything a script does to the world passes here.

All of it is bound to the run's app: no name a script passes reaches another one's
keys, queues, scripts or secrets. What is sent or written is only noted; it commits
with the end of the run (``effects``), or never happens. Calls to the outside are
made at once, so they are made again when the run is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol
from uuid import UUID

from picloud.errors import InvalidInputError, LimitExceededError, NotFoundError, PiCloudError
from picloud.ids import new_id
from picloud.observability.traceparent import TraceContext
from picloud.retries import RetryPolicy
from picloud.services.catalog import Catalog
from picloud.services.effects import MOST_BYTES, MOST_SENT, NO_EFFECTS, Effects, Sent, SentKind
from picloud.services.kv import KvBuffer, KvLimits, KvStore, Overlay
from picloud.triggers.globs import wrong_name

if TYPE_CHECKING:
    from picloud.services.outbound import OutboundRequest, OutboundResponse

MAX_ORDER_KEY_BYTES = 512
#: A message may be put off by this much at most.
MAX_DELAY_SECONDS = 366 * 86_400


class CatalogSource(Protocol):
    """Where catalogs come from."""

    def get(self, app_id: int, revision: int) -> Catalog:
        """What an app consists of at a revision."""
        ...


class RunOf(NamedTuple):
    """Whose run it is: everything services have to know of it."""

    execution_id: UUID
    root_execution_id: UUID
    trigger_depth: int
    app_id: int
    app_revision: int
    script_id: int
    principal_id: int
    trace: Callable[[], TraceContext] | None = None  # worked out when a call is made


@dataclass(frozen=True, slots=True)
class Desk:
    """What the services of all runs share. Thread-safe.

    Attributes:
        retry: for invocations and messages that no trigger gives a policy of its own.
        most_message_bytes: of one message, as of one request body.
        source: of a script, by id and version.
        call: sends an HTTP request for a run; the ordinal counts the calls of the run.
        secret: the value of an app's secret by its name.
        sends_mail: whether this installation can send mail at all.
    """

    store: KvStore
    kv_limits: KvLimits
    catalogs: CatalogSource
    retry: RetryPolicy
    most_message_bytes: int
    source: Callable[[tuple[int, int]], str]
    call: Callable[[RunOf, int, OutboundRequest], OutboundResponse]
    secret: Callable[[int, str], str]
    sends_mail: bool

    def for_run(self, run: RunOf, overlay: Overlay | None = None) -> RunServices:
        """The services of one run.

        Args:
            overlay: what runs before it in a chain have written.
        """
        return RunServices(self, run, overlay)


class RunServices:
    """One run's. Belongs to the thread that runs it."""

    __slots__ = ("_calls", "_desk", "_kv", "_overlay", "_run", "_sent", "_sent_bytes", "secrets")

    def __init__(self, desk: Desk, run: RunOf, overlay: Overlay | None) -> None:
        self._desk = desk
        self._run = run
        self._overlay = overlay
        self._kv: KvBuffer | None = None
        self._sent: list[Sent] | None = None
        self._sent_bytes = 0
        self._calls = 0
        #: Names and values of the secrets that were read: they must not show in what is kept of the run.
        self.secrets: list[tuple[str, str]] = []

    @property
    def kv(self) -> KvBuffer:
        """The app's keys, as this run sees them."""
        if self._kv is None:
            self._kv = KvBuffer(self._run.app_id, self._desk.store, self._desk.kv_limits, self._overlay)
        return self._kv

    @property
    def catalog(self) -> Catalog:
        """The app's scripts and queues."""
        return self._desk.catalogs.get(self._run.app_id, self._run.app_revision)

    def send(self, queue: str, message: bytes, *, delay_ms: int = 0, order_key: str | None = None) -> UUID:
        """Put a message (JSON) into a queue of the app.

        Args:
            delay_ms: before it may run.
            order_key: messages of one key run one after another.

        Returns:
            The id of its execution, which is that of the message.

        Raises:
            NotFoundError: the app has no such queue.
            InvalidInputError: delay or key cannot be used.
        """
        if queue not in self.catalog.queues:
            raise NotFoundError(
                f"the app has no queue {queue!r}",
                hint="picloud.toml declares it: by a trigger of kind queue, or as a [[queue]] nobody consumes yet",
                code="queue_not_found",
            )
        if not 0 <= delay_ms <= MAX_DELAY_SECONDS * 1_000:
            raise InvalidInputError(f"delay_seconds is 0 to {MAX_DELAY_SECONDS}, not {delay_ms / 1000:g}")
        if order_key is not None and not (0 < len(order_key.encode()) <= MAX_ORDER_KEY_BYTES and "\0" not in order_key):
            raise InvalidInputError(f"the key of a message has 1 to {MAX_ORDER_KEY_BYTES} bytes and no U+0000")
        return self._note("queue", queue, message, delay_ms=delay_ms, order_key=order_key)

    def publish(self, topic: str, message: bytes) -> None:
        """Publish a message (JSON) to a topic: each subscription there is at the commit gets it.

        Raises:
            InvalidInputError: this cannot be a topic.
        """
        if wrong := wrong_name("topic", topic):
            raise InvalidInputError(wrong)
        self._note("publish", topic, message)

    def invoke(self, script: str, event: bytes) -> UUID:
        """Run another script of the app, asynchronously.

        Args:
            event: JSON, as the script will see it: ``{"args": …}``.

        Returns:
            The id of its execution.

        Raises:
            NotFoundError: the app has no such script.
        """
        return self._note("invoke", script, event, script_id=self.script(script)[0])

    def send_email(self, mail: bytes) -> UUID:
        """Send a mail (as ``OutgoingMail`` stores it).

        Raises:
            PiCloudError: this installation sends none.
        """
        if not self._desk.sends_mail:
            raise PiCloudError(
                "this installation sends no mail",
                hint="whoever runs it sets PICLOUD_SMTP_URL and PICLOUD_MAIL_FROM",
                code="mail_not_configured",
            )
        return self._note("send_email", "", mail, script_id=self._run.script_id)

    def script(self, name: str) -> tuple[int, int]:
        """Id and deployed version of a script of the app.

        Raises:
            NotFoundError: there is none of this name.
        """
        found = self.catalog.scripts.get(name)
        if found is None:
            raise NotFoundError(f"the app has no script {name!r}", code="script_not_found")
        return found

    def source(self, version: tuple[int, int]) -> str:
        """The source of a script, by id and version, that ``catalog`` names."""
        return self._desk.source(version)

    def secret(self, name: str) -> str:
        """The value of one of the app's secrets.

        Raises:
            NotFoundError: there is none of this name.
        """
        value = self._desk.secret(self._run.app_id, name)
        self.secrets.append((name, value))
        return value

    def call(self, request: OutboundRequest) -> OutboundResponse:
        """Make an HTTP call, now.

        Raises:
            OutboundError: see ``picloud.services.outbound``.
        """
        self._calls += 1
        return self._desk.call(self._run, self._calls, request)

    def effects(self, *, completed: bool) -> Effects:
        """What has to commit with the end of the run.

        Args:
            completed: False: the run failed. Nothing of it happens, but what it read must still hold, or it may
                have failed for what is no longer so.
        """
        if self._kv is None and self._sent is None:
            return NO_EFFECTS
        reads = self._kv.reads if self._kv else {}
        if not completed:
            return Effects(reads, {}, ()) if reads else NO_EFFECTS
        writes = self._kv.writes if self._kv else {}
        if not writes and not self._sent and len(reads) <= 1:
            return NO_EFFECTS  # one key, read once, was as it was read: at that moment
        return Effects(reads, writes, tuple(self._sent or ()))

    def _note(
        self,
        kind: SentKind,
        name: str,
        message: bytes,
        *,
        script_id: int | None = None,
        delay_ms: int = 0,
        order_key: str | None = None,
    ) -> UUID:
        if len(message) > self._desk.most_message_bytes:
            raise LimitExceededError(
                f"a message has {len(message)} bytes, more than PICLOUD_MAX_BODY_BYTES"
                f" ({self._desk.most_message_bytes}) allows",
                code="message_too_large",
            )
        self._sent_bytes += len(message)
        sent = self._sent = self._sent or []
        if len(sent) >= MOST_SENT or self._sent_bytes > MOST_BYTES:
            raise LimitExceededError(
                f"one run may send {MOST_SENT} messages and {MOST_BYTES} bytes", code="too_many_effects"
            )
        identifier = new_id()
        run = self._run
        sent.append(
            Sent(
                id=identifier,
                app_id=run.app_id,
                kind=kind,
                name=name,
                message=message,
                principal_id=run.principal_id,
                retry=self._desk.retry,
                script_id=script_id,
                delay_ms=delay_ms,
                order_key=order_key,
            )
        )
        return identifier
