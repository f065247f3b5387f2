"""The six kinds of triggers as data: what each listens to, and ``Trigger`` around it.

Each kind is a frozen class with the fields of its manifest entry. ``problems_of`` says
what is wrong with one, field by field, for whoever read it; ``tidied`` brings it into
the one form it is kept in. The JSON form is flat, as in the manifest: the fields of
the kind beside ``kind``, ``name``, ``script``, ``enabled`` and ``retry``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, ClassVar, Literal, TypeAlias, assert_never

from picloud.errors import InvalidInputError
from picloud.retries import RetryPolicy
from picloud.triggers.addresses import wrong_address
from picloud.triggers.cron import Missed, parse_schedule, wrong_schedule, wrong_timezone
from picloud.triggers.globs import wrong_glob, wrong_name
from picloud.triggers.names import default_name, schedule_word, wrong_trigger_name
from picloud.triggers.retry import NO_OVERRIDES, RetryOverrides, RetryValues

Kind = Literal["kv", "cron", "pubsub", "queue", "email", "dead_letter"]
KINDS: tuple[Kind, ...] = ("kv", "cron", "pubsub", "queue", "email", "dead_letter")

KvOp = Literal["insert", "update", "delete"]
KV_OPS: tuple[KvOp, ...] = ("insert", "update", "delete")

#: Sources whose rows can die. Handlers of dead letters cannot: that is what ends the recursion.
Source = Literal["http", "kv", "cron", "pubsub", "queue", "email", "invoke"]
SOURCES: tuple[Source, ...] = ("http", "kv", "cron", "pubsub", "queue", "email", "invoke")

MAX_CONCURRENCY = 1_000


@dataclass(frozen=True, slots=True)
class KvTrigger:
    """Fires when a key of a matching collection is changed."""

    kind: ClassVar[Literal["kv"]] = "kv"

    #: A glob.
    collection: str
    #: At least one, in the order of ``KV_OPS``.
    ops: tuple[KvOp, ...] = KV_OPS


@dataclass(frozen=True, slots=True)
class CronTrigger:
    """Fires at the instants of a schedule."""

    kind: ClassVar[Literal["cron"]] = "cron"

    #: Five fields, or six with seconds first, with one space between.
    schedule: str
    #: An IANA name.
    timezone: str = "UTC"
    missed: Missed = "once"


@dataclass(frozen=True, slots=True)
class PubsubTrigger:
    """Fires when a message is published to a matching topic."""

    kind: ClassVar[Literal["pubsub"]] = "pubsub"

    #: A glob.
    topic: str


@dataclass(frozen=True, slots=True)
class QueueTrigger:
    """Consumes a queue; a queue has one consumer at most."""

    kind: ClassVar[Literal["queue"]] = "queue"

    #: A name, not a glob.
    queue: str
    #: Messages that run at once, at most; None: as many as the workers can.
    concurrency: int | None = None


@dataclass(frozen=True, slots=True)
class EmailTrigger:
    """Fires when mail for an address comes in; an address has one trigger at most."""

    kind: ClassVar[Literal["email"]] = "email"

    #: In small letters; without a domain it holds for every domain the listener serves.
    address: str


@dataclass(frozen=True, slots=True)
class DeadLetterTrigger:
    """Fires when a run of the app becomes a dead letter that passes every filter given."""

    kind: ClassVar[Literal["dead_letter"]] = "dead_letter"

    #: What fired the run that died.
    source: Source | None = None
    #: The name of the trigger that fired it.
    trigger: str | None = None
    #: The name of the script that failed. (``script`` is the handler, in the manifest and in JSON.)
    failed_script: str | None = None


Detail: TypeAlias = KvTrigger | CronTrigger | PubsubTrigger | QueueTrigger | EmailTrigger | DeadLetterTrigger

DETAIL_TYPES: Mapping[Kind, type[Detail]] = {
    each.kind: each for each in (KvTrigger, CronTrigger, PubsubTrigger, QueueTrigger, EmailTrigger, DeadLetterTrigger)
}


@dataclass(frozen=True, slots=True)
class Trigger:
    """One trigger of an app: what it listens to, and the script it runs.

    Attributes:
        name: unique in the app.
        script: the script's name.
        detail: what the kind says; it decides ``kind``.
    """

    name: str
    script: str
    detail: Detail
    enabled: bool = True
    retry: RetryOverrides = NO_OVERRIDES

    @property
    def kind(self) -> Kind:
        return self.detail.kind

    def retry_policy(self, defaults: RetryValues) -> RetryPolicy:
        """How a row this trigger writes is tried again; the handler of a dead letter never is."""
        policy = self.retry.over(defaults)
        return replace(policy, max_attempts=1) if isinstance(self.detail, DeadLetterTrigger) else policy

    def to_data(self) -> dict[str, Any]:
        """The trigger as JSON values, what is None left out; ``trigger_from_data`` makes the same of them."""
        data: dict[str, Any] = {"kind": self.kind, "name": self.name, "script": self.script, "enabled": self.enabled}
        data |= {name: value for name, value in asdict(self.detail).items() if value is not None}
        if isinstance(self.detail, KvTrigger):
            data["ops"] = list(self.detail.ops)
        if retry := self.retry.to_data():
            data["retry"] = retry
        return data


def tidied(detail: Detail) -> Detail:
    """The same, in the one form it is kept in: two that mean the same are equal."""
    match detail:
        case KvTrigger():
            return replace(detail, ops=tuple(op for op in KV_OPS if op in detail.ops))
        case CronTrigger():
            return replace(detail, schedule=" ".join(detail.schedule.split()))
        case EmailTrigger():
            return replace(detail, address=detail.address.lower())
        case _:
            return detail


def problems_of(detail: Detail) -> list[tuple[str, str]]:
    """What is wrong with the values of ``detail``, each as field and message; their types are right."""
    match detail:
        case KvTrigger():
            no_ops = None if detail.ops else f"expected at least one of {', '.join(KV_OPS)}"
            found = [("collection", wrong_glob("collection", detail.collection)), ("ops", no_ops)]
        case CronTrigger():
            found = [*_problems_of_times(detail)]
        case PubsubTrigger():
            found = [("topic", wrong_glob("topic", detail.topic))]
        case QueueTrigger():
            found = [
                ("queue", wrong_name("queue", detail.queue)),
                ("concurrency", _wrong_concurrency(detail.concurrency)),
            ]
        case EmailTrigger():
            found = [("address", wrong_address(detail.address))]
        case DeadLetterTrigger():
            found = [("trigger", None if detail.trigger is None else wrong_trigger_name(detail.trigger))]
        case _:
            assert_never(detail)
    return [(name, message) for name, message in found if message is not None]


def _problems_of_times(detail: CronTrigger) -> list[tuple[str, str | None]]:
    found = [("schedule", wrong_schedule(detail.schedule)), ("timezone", wrong_timezone(detail.timezone))]
    if any(message for _, message in found):
        return found
    try:
        parse_schedule(detail.schedule, detail.timezone)
    except InvalidInputError as error:  # fine by itself, and yet it never fires in this zone
        return [("schedule", error.message)]
    return []


def _wrong_concurrency(concurrency: int | None) -> str | None:
    if concurrency is None or 1 <= concurrency <= MAX_CONCURRENCY:
        return None
    return f"expected a whole number from 1 to {MAX_CONCURRENCY}, not {concurrency}"


def derived_name(detail: Detail, script: str) -> str:
    """What a trigger is called that was given no name."""
    match detail:
        case KvTrigger():
            listens_to = detail.collection
        case CronTrigger():
            listens_to = schedule_word(detail.schedule)
        case PubsubTrigger():
            listens_to = detail.topic
        case QueueTrigger():
            listens_to = detail.queue
        case EmailTrigger():
            listens_to = detail.address
        case DeadLetterTrigger():
            filters = (detail.source, detail.trigger, detail.failed_script)
            listens_to = ":".join(each.replace("/", ".") for each in filters if each is not None) or "*"
        case _:
            assert_never(detail)
    return default_name(detail.kind, listens_to, script)


def trigger_from_data(data: Mapping[str, Any]) -> Trigger:
    """Check the JSON form of a trigger and make it one.

    Args:
        data: as ``Trigger.to_data`` returns it; only ``kind``, ``script`` and what the kind needs must be there.
            ``script`` and ``failed_script`` are names, taken as they are: whoever has the scripts knows them.

    Raises:
        InvalidInputError: names every value that is wrong; of values of a wrong type the first.
    """
    import msgspec

    kind = data.get("kind")
    if kind not in KINDS:
        raise InvalidInputError(f"kind: {kind!r} is not one of {', '.join(KINDS)}")
    detail_type = DETAIL_TYPES[kind]
    own = {each.name for each in fields(detail_type)}
    try:
        detail = tidied(msgspec.convert({key: data[key] for key in own & data.keys()}, detail_type))
        common = msgspec.convert({key: data[key] for key in _COMMON & data.keys()}, _Common)
    except msgspec.ValidationError as error:
        raise InvalidInputError(str(error)) from None
    name = derived_name(detail, common.script) if common.name is None else common.name
    problems = [(str(key), "no such key") for key in data.keys() - own - _COMMON - {"kind"}]
    problems += [(f"retry.{key}", "no such key") for key in data.get("retry", {}).keys() - _RETRY]
    problems += [("name", message)] if (message := wrong_trigger_name(name)) is not None else []
    problems += problems_of(detail)
    problems += [(f"retry.{field}", message) for field, message in common.retry.problems()]
    if problems:
        raise InvalidInputError("; ".join(f"{field}: {message}" for field, message in sorted(problems)))
    return Trigger(name, common.script, detail, common.enabled, common.retry)


@dataclass(frozen=True, slots=True)
class _Common:
    """What a trigger of any kind says beside what its kind does."""

    script: str
    name: str | None = None
    enabled: bool = True
    retry: RetryOverrides = NO_OVERRIDES


_COMMON = frozenset(each.name for each in fields(_Common))
_RETRY = frozenset(each.name for each in fields(RetryOverrides))
