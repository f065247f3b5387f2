"""One test's world: what is stored, what waits, what has happened; and what follows from what.

Effects of a run are applied when it has succeeded, all or none, and cause rows by the rules
of PostgreSQL's functions: keys first, then what was sent, triggers in the manifest's order.
Nothing runs by itself: a test says when, and the clock stands still meanwhile.
"""

from __future__ import annotations

import random
from typing import Any
from uuid import UUID

import msgspec

from picloud.apptests.app import APP_ID, AppUnderTest
from picloud.apptests.clock import FakeClock
from picloud.apptests.errors import EndlessWorkError
from picloud.apptests.mocks import MockedWeb
from picloud.apptests.rows import Ended, Failure, Line, Reason, Row, Status
from picloud.apptests.runs import Ran, place_of, run_row
from picloud.apptests.store import Change, MemoryStore
from picloud.engine import RunResult
from picloud.errors import NotFoundError
from picloud.ids import id_of
from picloud.services.catalog import Catalog
from picloud.services.desk import Desk
from picloud.services.effects import Effects, Sent
from picloud.services.kv import KvLimits
from picloud.triggers import DeadLetterTrigger, KvTrigger, PubsubTrigger, QueueTrigger, Trigger, matches

#: Rows one drain runs at most: what goes on after that would go on for ever.
MOST_RUNS = 10_000


class World:
    """Belongs to one test.

    Attributes:
        journal: what scripts and the test logged, and notes about runs that failed.
        published: topic and message of all that was published.
        mails: what was sent by mail.
        failures: runs that failed for good.
    """

    app_id = APP_ID

    def __init__(self, app: AppUnderTest) -> None:
        self.app = app
        self.clock = FakeClock()
        self.chance = random.Random(0)
        #: Its own, so that ids do not move what scripts draw.
        self._ids = random.Random(0)
        self.store = MemoryStore(now=lambda: self.clock.now)
        self.secrets: dict[str, str] = {}
        self.web = MockedWeb()
        self.waiting: list[Row] = []
        self.published: list[dict[str, Any]] = []
        self.mails: list[dict[str, Any]] = []
        self.failures: list[Failure] = []
        self.journal: list[Line] = []
        self._seq = 0
        self.retry = app.settings.retry.policy()
        self.desk = self._desk()

    def _desk(self) -> Desk:
        settings = self.app.settings
        return Desk(
            store=self.store,
            kv_limits=KvLimits(settings.kv_max_keys, settings.kv_max_bytes, settings.kv_max_value_bytes),
            catalogs=self,
            retry=self.retry,
            most_message_bytes=settings.max_body_bytes,
            source=self.app.source,
            call=self.web.call,
            secret=self._secret,
            sends_mail=True,
        )

    def get(self, app_id: int, revision: int) -> Catalog:  # noqa: ARG002 - there is one app, and it does not change
        """See ``CatalogSource``."""
        return self.app.catalog

    def new_id(self) -> UUID:
        """An id of an execution, the same whenever the test is run."""
        return id_of(self.clock.now_ns // 1_000_000, self._ids.getrandbits(80))

    def _secret(self, app_id: int, name: str) -> str:  # noqa: ARG002 - there is one app
        if name not in self.secrets:
            raise NotFoundError(f'the app has no secret {name!r}: the test sets it with test::secret("{name}", …)')
        return self.secrets[name]

    # What is caused.

    def new_row(self, source: str, script: str | None, event: bytes, **rest: Any) -> Row:
        """A row that is due now, at the beginning of a chain of its own unless told otherwise."""
        self._seq += 1
        identifier: UUID = rest.get("id") or self.new_id()
        values: dict[str, Any] = {"root_id": identifier, "trigger": None, "retry": self.retry}
        values |= {"available_at": self.clock.now} | rest | {"id": identifier, "seq": self._seq}
        return Row(source=source, script=script, event=event, **values)

    def row_of_trigger(self, trigger: Trigger, event: bytes, **rest: Any) -> Row:
        """A row that a trigger writes."""
        policy = trigger.retry_policy(self.retry)
        return self.new_row(trigger.kind, trigger.script, event, trigger=trigger.name, retry=policy, **rest)

    def consumer_of(self, queue: str) -> Trigger | None:
        """Who gets the messages of a queue."""
        details = ((each, each.detail) for each in self.app.triggers)
        return next((each for each, d in details if isinstance(d, QueueTrigger) and d.queue == queue), None)

    def apply(self, effects: Effects, cause: Row | None) -> None:
        """Let effects happen, and let wait what they cause.

        Args:
            cause: the run they are of; None: the test itself.
        """
        for change in self.store.apply(effects.writes):
            self.waiting += self._heard(change, cause)
        for sent in effects.sent:
            self._deliver(sent, cause)

    def _heard(self, change: Change, cause: Row | None) -> list[Row]:
        event = msgspec.json.encode(
            {
                "op": change.op,
                "collection": change.key.collection,
                "key": change.key.key,
                "version": change.version,
                "value": msgspec.Raw(change.value or b"null"),
                "old_value": msgspec.Raw(change.old_value or b"null"),
            }
        )
        return [
            self.row_of_trigger(trigger, event, **_chain(cause))
            for trigger in self.listeners("kv", change.key.collection, change.op)
        ]

    def listeners(self, kind: str, name: str, op: str | None = None) -> list[Trigger]:
        """The triggers that a change in a collection, or a message to a topic, fires."""
        found: list[Trigger] = []
        for trigger in self.app.triggers:
            match trigger.detail:
                case KvTrigger(collection=glob, ops=ops) if kind == "kv" and op in ops and matches(glob, name):
                    found.append(trigger)
                case PubsubTrigger(topic=glob) if kind == "pubsub" and matches(glob, name):
                    found.append(trigger)
                case _:
                    pass
        return found

    def _deliver(self, sent: Sent, cause: Row | None) -> None:
        chain = _chain(cause)
        match sent.kind:
            case "send_email":
                self.mails.append(msgspec.json.decode(sent.message))
            case "publish":
                self.published.append({"topic": sent.name, "message": msgspec.json.decode(sent.message)})
                event = self.event_of_topic(sent.name, sent.message)
                self.waiting += [self.row_of_trigger(t, event, **chain) for t in self.listeners("pubsub", sent.name)]
            case "invoke":
                row = self.new_row("invoke", sent.name, sent.message, id=sent.id, retry=sent.retry, **chain)
                self.waiting.append(row)
            case "queue":
                self.waiting.append(self.message_row(sent, chain))

    def event_of_topic(self, topic: str, message: bytes) -> bytes:
        """What subscribers of a topic see."""
        return msgspec.json.encode({"topic": topic, "published_at": self.clock.text(), "message": msgspec.Raw(message)})

    def message_row(self, sent: Sent, chain: dict[str, Any]) -> Row:
        """A message in a queue."""
        consumer = self.consumer_of(sent.name)
        event = msgspec.json.encode(
            {
                "queue": sent.name,
                "message_id": str(sent.id),
                "enqueued_at": self.clock.text(),
                "message": msgspec.Raw(sent.message),
            }
        )
        return self.new_row(
            "queue",
            consumer.script if consumer else None,
            event,
            id=sent.id,
            trigger=consumer.name if consumer else None,
            retry=consumer.retry_policy(self.retry) if consumer else sent.retry,
            queue=sent.name,
            order_key=sent.order_key,
            available_at=self.clock.after(sent.delay_ms),
            **chain,
        )

    # What runs.

    def run_now(self, row: Row) -> tuple[Ended, list[Line]]:
        """Run a row, whenever it is due, and let happen what follows."""
        if row.depth > self.app.settings.max_trigger_depth:
            return self._too_deep(row), []
        row.first_attempt_at = row.first_attempt_at or self.clock.text()
        attempt = row.attempt
        ran = run_row(self, row)
        self.journal += ran.lines
        if ran.error is None:
            self.apply(ran.effects, row)
            if row.letter is not None:
                row.letter.is_handled = True
            return Ended(row, attempt, "completed", ran.result, None), ran.lines
        status = self._fail(row, ran, ran.error)
        return Ended(row, attempt, status, ran.result, ran.error), ran.lines

    def _fail(self, row: Row, ran: Ran, error: dict[str, Any]) -> Status:
        failure = ran.result.failure
        assert failure is not None
        self.note(row, f"attempt {row.attempt} failed: {place_of(self, error)}")
        if row.is_sync:
            return "failed"
        if row.letter is not None:
            self.failures.append(Failure(row, "handler_failed", row.attempt, error))
            return "failed"
        if failure.retryable and row.attempt < row.retry.max_attempts:
            delay_ms = failure.retry_after_ms
            row.available_at = self.clock.after(
                row.retry.delay_ms(row.attempt, self._ids) if delay_ms is None else delay_ms
            )
            row.attempt += 1
            self.waiting.append(row)
            return "retrying"
        self._die(row, "retries_exhausted" if failure.retryable else "not_retryable", error)
        return "dead"

    def _too_deep(self, row: Row) -> Ended:
        most = self.app.settings.max_trigger_depth
        message = f"more than {most} hops from cause to effect"
        error = {"code": "depth_exceeded", "message": message, "script": row.script}
        self.note(row, f"was not run: {message}")
        self.failures.append(Failure(row, "depth_exceeded", 0, error))
        return Ended(row, row.attempt, "depth_exceeded", RunResult(), error)

    def _die(self, row: Row, reason: Reason, error: dict[str, Any]) -> None:
        """Make a dead letter of a row, and let wait the scripts that handle it."""
        letter = Failure(row, reason, row.attempt, error)
        self.failures.append(letter)
        event = self._event_of_letter(letter)
        self.waiting += [
            self.row_of_trigger(trigger, event, letter=letter, body=row.body, **_chain(row))
            for trigger in self.app.triggers
            if isinstance(trigger.detail, DeadLetterTrigger) and _passes(trigger.detail, row)
        ]

    def _event_of_letter(self, letter: Failure) -> bytes:
        row = letter.row
        original = {"source": row.source} | msgspec.json.decode(row.event, type=dict[str, msgspec.Raw])
        return msgspec.json.encode(
            {
                "dead_letter_id": str(row.id),
                "reason": letter.reason,
                "attempts": letter.attempts,
                "trigger_id": row.trigger,
                "trigger": row.trigger,
                "script_id": row.script,
                "script": row.script,
                "first_attempt_at": row.first_attempt_at,
                "last_attempt_at": self.clock.text(),
                "last_error": letter.error,
                "original": original,
            }
        )

    def drain(self, *, only_due: bool) -> int:
        """Run what waits, and what that causes, until nothing does; how many runs that were.

        Args:
            only_due: leave what is due later; else the clock goes on to it.

        Raises:
            EndlessWorkError: it does not end.
        """
        runs = 0
        while (row := self._next(only_due=only_due)) is not None:
            if runs == MOST_RUNS:
                raise EndlessWorkError(f"{MOST_RUNS} runs and no end: {row.script} is caused again and again")
            self.clock.move_to(row.available_at)
            self.waiting.remove(row)
            self.run_now(row)
            runs += 1
        return runs

    def _next(self, *, only_due: bool) -> Row | None:
        """The first of what may run; of an order key only the earliest message may."""
        taken: set[tuple[str | None, str]] = set()
        may_run: list[Row] = []
        for row in sorted(self.waiting, key=lambda each: each.seq):
            if row.order_key is not None and (row.queue, row.order_key) in taken:
                continue
            if row.order_key is not None:
                taken.add((row.queue, row.order_key))
            if row.script is not None and not (only_due and row.available_at > self.clock.now):
                may_run.append(row)
        return min(may_run, key=lambda each: (each.available_at, each.seq), default=None)

    def note(self, row: Row, message: str) -> None:
        """Say something about a run in the log of the test."""
        self.journal.append(Line(row.script or "", "error", message))


def _chain(cause: Row | None) -> dict[str, Any]:
    """What a row has of the run that caused it."""
    return {} if cause is None else {"root_id": cause.root_id, "depth": cause.depth + 1}


def _passes(handles: DeadLetterTrigger, row: Row) -> bool:
    filters = ((handles.source, row.source), (handles.trigger, row.trigger), (handles.failed_script, row.script))
    return all(wanted in (None, found) for wanted, found in filters)
