"""Dry runs of dead letters: the event runs as a replay would run it, and nothing is committed.

A dry run is a sync row whose source is ``dry_run``: its payload holds the letter's event
and says how it was fired. The worker runs it with ``DryRunServices``, which note what the
script does as those of any run do, and hand nothing over: their ``effects`` are empty
whatever was noted. What was noted becomes the report, the result of the row.

Calls to the outside are made at once, so they cannot be taken back: those that only read
(GET, HEAD) are made, others only if whoever asked said so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import msgspec

from picloud.errors import PiCloudError
from picloud.services.desk import Desk, RunOf, RunServices
from picloud.services.effects import NO_EFFECTS, Effects, KeyId, KvWrite, Sent
from picloud.services.kv import Stored

if TYPE_CHECKING:
    from picloud.services.outbound import OutboundRequest, OutboundResponse

#: The source of the rows.
DRY_RUN = "dry_run"

#: Methods that change nothing on the other side (RFC 9110, 9.2.1).
_READING = frozenset({"GET", "HEAD"})


class DryRunEvent(msgspec.Struct, frozen=True):
    """The payload of a dry run; an HTTP body lies beside it, as it does for the original.

    Attributes:
        source: of the letter.
        trigger: what had fired it, as people name it.
        event: of the letter, byte for byte.
        with_calls: make HTTP calls that change something too.
    """

    source: str
    trigger: str | None
    event: msgspec.Raw
    with_calls: bool


class KvChange(msgspec.Struct, frozen=True):
    """A key that would be written; ``before`` and ``after`` are null where it is absent."""

    collection: str
    key: str
    op: Literal["insert", "update", "delete"]
    before: Any
    after: Any
    ttl_seconds: float | None


class QueuedMessage(msgspec.Struct, frozen=True):
    """A message that would be sent to a queue."""

    queue: str
    message: Any
    delay_seconds: float
    key: str | None


class PublishedMessage(msgspec.Struct, frozen=True):
    """A message that would be published."""

    topic: str
    message: Any


class InvokedScript(msgspec.Struct, frozen=True):
    """A script that would be invoked."""

    script: str
    args: Any


class FiredTrigger(msgspec.Struct, frozen=True):
    """A trigger that would fire; ``on`` is the key, topic or queue that makes it."""

    trigger: str
    kind: str
    script: str
    on: str


class MadeCall(msgspec.Struct, frozen=True):
    """An HTTP call the script wanted.

    Attributes:
        is_made: False: it was refused here, because it might change something.
        status: of the answer; null: there was none, and ``error`` says why.
    """

    method: str
    url: str
    is_made: bool
    status: int | None
    error: str | None


class DryRunReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a replay would do. Of a run that fails nothing is committed: then the lists are empty, ``calls`` excepted.

    Attributes:
        version: of the script that ran; null: none did.
        result: as in an execution.
        run_ms: milliseconds the script ran.
    """

    status: Literal["completed", "failed"]
    script: str | None = None
    version: int | None = None
    result_kind: str | None = None
    result: Any = None
    error: Any = None
    logs: list[Any] = []
    run_ms: float | None = None
    operations: int | None = None
    kv: list[KvChange] = []
    messages: list[QueuedMessage] = []
    published: list[PublishedMessage] = []
    mails: list[Any] = []
    invocations: list[InvokedScript] = []
    triggers: list[FiredTrigger] = []
    calls: list[MadeCall] = []


class CallNotMadeError(PiCloudError):
    """Raised when a script of a dry run makes a call that might change something."""

    code = "call_not_made"


class DryRunServices(RunServices):
    """The services of a run that commits nothing. Belongs to the thread that runs it."""

    __slots__ = ("_with_calls", "calls")

    def __init__(self, desk: Desk, run: RunOf, *, with_calls: bool) -> None:
        super().__init__(desk, run, None)
        self._with_calls = with_calls
        self.calls: list[MadeCall] = []

    def effects(self, *, completed: bool) -> Effects:  # noqa: ARG002 - of no run there are any
        """None, whatever the run did: this is what makes it a dry run."""
        return NO_EFFECTS

    def call(self, request: OutboundRequest) -> OutboundResponse:
        """See ``RunServices.call``.

        Raises:
            CallNotMadeError: the call might change something, and nobody said it may.
        """
        method = request.method.upper()
        if method not in _READING and not self._with_calls:
            error = CallNotMadeError(
                f"a dry run makes no {method} calls: {request.url}", hint="with_calls (--with-calls) makes them"
            )
            self.calls.append(MadeCall(method, request.url, False, None, error.message))
            raise error
        try:
            response = super().call(request)
        except PiCloudError as error:
            self.calls.append(MadeCall(method, request.url, True, None, error.message))
            raise
        self.calls.append(MadeCall(method, request.url, True, response.status, None))
        return response

    def noted_writes(self) -> list[tuple[KeyId, Stored, KvWrite]]:
        """Each key that was written, with what is there now."""
        if self._kv is None:
            return []
        return [(key, self._desk.store.read(key), write) for key, write in self._kv.writes.items()]

    def noted_sends(self) -> list[Sent]:
        """Everything that was sent, in order."""
        return list(self._sent or ())

    def name_of_script(self, script_id: int | None) -> str:
        """What a script of the app is called."""
        return next((name for name, (found, _) in self.catalog.scripts.items() if found == script_id), str(script_id))


def encode_event(source: str, trigger: str | None, event: bytes, *, with_calls: bool) -> bytes:
    """The payload of a dry run."""
    return msgspec.json.encode(DryRunEvent(source, trigger, msgspec.Raw(event), with_calls))


def decode_event(payload: bytes) -> DryRunEvent:
    """The payload a worker was given. Raises: msgspec.DecodeError."""
    return msgspec.json.decode(payload, type=DryRunEvent)


def report_of(data: bytes) -> DryRunReport:
    """The result of a dry run as the control API shows it."""
    return msgspec.json.decode(data, type=DryRunReport)


def failed_report(error: Any) -> DryRunReport:
    """Of a dry run whose script did not even end: its worker died, or nobody may run it."""
    return DryRunReport(status="failed", error=error)
