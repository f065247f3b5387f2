"""Dry runs of dead letters: a row of that kind unwrapped, and the report of what its script did.

See ``picloud.services.dry_run``. Nothing here reaches a settlement but the report itself.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from typing import Any, Literal, cast

import msgspec

from picloud.engine import RunResult
from picloud.outbox.run_rows import BegunRow
from picloud.services.desk import Desk, RunOf
from picloud.services.dry_run import (
    DryRunReport,
    DryRunServices,
    FiredTrigger,
    InvokedScript,
    KvChange,
    PublishedMessage,
    QueuedMessage,
    decode_event,
)
from picloud.services.effects import KeyId, KvWrite
from picloud.services.kv import Stored
from picloud.services.listeners import Listener
from picloud.services.scrub import Scrubber

#: A value larger than this is shown by its beginning, and so is each once a report has this much in all.
_MOST_VALUE_BYTES = 64 * 1024
_MOST_REPORT_BYTES = 4 * 1024 * 1024
_SHOWN_OF_LARGE = 1_000
#: What is always shown as it is.
_SMALL_BYTES = 1_000


class DryRun:
    """One letter's event. Belongs to the thread that runs it.

    Attributes:
        row: what a replay would begin; it is run, and never settled.
        services: what its script may do to the world: nothing that lasts.
        trigger: what had fired it.
    """

    def __init__(self, row: BegunRow, event: bytes, body: bytes | None, desk: Desk, run: RunOf) -> None:
        wrapped = decode_event(event)
        self.trigger = wrapped.trigger
        self.services = DryRunServices(desk, run, with_calls=wrapped.with_calls)
        self.row = msgspec.structs.replace(
            row, source=wrapped.source, event=bytes(wrapped.event), body=body, is_sync=False, reply_to=None
        )

    @property
    def is_mail(self) -> bool:
        """The letter is a mail that could not be sent: no script runs, and it is not sent either."""
        return self.row.source == "send_email"

    def report(self, result: RunResult, listeners: Callable[[int], Sequence[Listener]]) -> RunResult:
        """The run of the dry run itself: it succeeded, whatever became of the script.

        Args:
            result: of the script.
            listeners: the triggers of an app that effects can fire, by its id.
        """
        report = _Report(self, result)
        document = report.of_failure() if result.failure else report.of_success(listeners(self.row.app_id))
        data = msgspec.json.encode(document)
        return RunResult(kind="json", data=data, run_us=result.run_us, operations=result.operations)


class _Report:
    """Puts a report together; what the run has read of secrets is struck out of all of it."""

    def __init__(self, dry_run: DryRun, result: RunResult) -> None:
        self._dry_run = dry_run
        self._result = result
        self._services = dry_run.services
        self._scrubber = Scrubber(dry_run.services.secrets)
        self._bytes_left = _MOST_REPORT_BYTES

    def of_failure(self) -> DryRunReport:
        assert self._result.failure is not None, "only asked of runs that failed"
        error = _parsed(self._scrubber.error(self._result.failure.to_json()))
        return self._report("failed", error=error)

    def of_success(self, listeners: Sequence[Listener]) -> DryRunReport:
        sent = self._services.noted_sends()
        queued = [each for each in sent if each.kind == "queue"]
        published = [each for each in sent if each.kind == "publish"]
        changes = [self._change(*each) for each in self._services.noted_writes()]
        mails = [self._value(each.message) for each in sent if each.kind == "send_email"]
        if self._dry_run.is_mail:
            mails.append(self._value(self._dry_run.row.event or b""))
        heard = [
            *(("kv", each.collection, each.op, f"{each.collection}/{each.key}") for each in changes),
            *(("queue", each.name, None, each.name) for each in queued),
            *(("pubsub", each.name, None, each.name) for each in published),
        ]
        return self._report(
            "completed",
            result_kind=self._result.kind,
            result=self._shown_result(),
            kv=changes,
            messages=[
                QueuedMessage(each.name, self._value(each.message), each.delay_ms / 1_000, self._text(each.order_key))
                for each in queued
            ],
            published=[PublishedMessage(each.name, self._value(each.message)) for each in published],
            mails=mails,
            invocations=[
                InvokedScript(self._services.name_of_script(each.script_id), self._args(each.message))
                for each in sent
                if each.kind == "invoke"
            ],
            triggers=[
                FiredTrigger(listener.name, listener.kind, listener.script, on)
                for kind, name, op, on in heard
                for listener in listeners
                if listener.hears(kind, name, op)
            ],
        )

    def _report(self, status: Literal["completed", "failed"], **found: Any) -> DryRunReport:
        logs = self._scrubber.log(self._result.logs)
        return DryRunReport(
            status=status,
            script=None if self._dry_run.is_mail else self._dry_run.row.script_name,
            version=None if self._dry_run.is_mail else self._dry_run.row.version,
            logs=[] if logs is None else _parsed(logs),
            run_ms=self._result.run_us / 1_000,
            operations=self._result.operations,
            calls=[
                msgspec.structs.replace(call, url=self._scrubber.text(call.url), error=self._text(call.error))
                for call in self._services.calls
            ],
            **found,
        )

    def _change(self, key: KeyId, before: Stored, write: KvWrite) -> KvChange:
        op: Literal["insert", "update", "delete"] = "update"
        if write.value is None:
            op = "delete"
        elif before.value is None:
            op = "insert"
        return KvChange(
            key.collection,
            self._scrubber.text(key.key),
            op,
            None if before.value is None else self._value(before.value),
            None if write.value is None else self._value(write.value),
            None if write.ttl_ms is None else write.ttl_ms / 1_000,
        )

    def _args(self, event: bytes) -> Any:
        shown = self._value(event)
        return cast("dict[str, Any]", shown).get("args") if isinstance(shown, dict) else shown

    def _text(self, text: str | None) -> str | None:
        return None if text is None else self._scrubber.text(text)

    def _value(self, data: bytes) -> Any:
        """A JSON document as a value; the beginning of one that is too large."""
        if len(data) > _MOST_VALUE_BYTES or (len(data) > self._bytes_left and len(data) > _SMALL_BYTES):
            text = self._scrubber.text(data.decode("utf-8", "replace"))
            return {"bytes": len(data), "begins": text[:_SHOWN_OF_LARGE]}
        self._bytes_left -= len(data)
        return self._scrubber.value(_parsed(data))

    def _shown_result(self) -> Any:
        result = self._result
        data = result.data or b""
        match result.kind:
            case None | "unit":
                return None
            case "json":
                return self._value(data)
            case "text":
                return self._scrubber.text(data.decode("utf-8", "replace"))
            case "response":
                headers = self._scrubber.value([list(each) for each in result.headers])
                return {"status": result.http_status, "headers": headers, "body": self._text_or_blob(data)}
            case _:
                return _blob(data)

    def _text_or_blob(self, data: bytes) -> Any:
        try:
            return self._scrubber.text(data.decode("utf-8"))
        except UnicodeDecodeError:
            return _blob(data)


def _parsed(data: bytes) -> Any:
    """What is not JSON after all is shown as text: a report must not fail for what a script wrote."""
    try:
        return msgspec.json.decode(data)
    except msgspec.DecodeError:
        return data.decode("utf-8", "replace")


def _blob(data: bytes) -> dict[str, str]:
    return {"base64": base64.b64encode(data).decode("ascii")}
