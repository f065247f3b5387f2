"""What scripts, and the tests themselves, are given to call: the services of a worker over a world in memory."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

from picloud.apptests.rows import Line
from picloud.engine.sdk.context import RunContext, RunLog
from picloud.errors import PiCloudError
from picloud.services.catalog import Catalog
from picloud.services.desk import RunOf, RunServices
from picloud.services.effects import NO_EFFECTS, KeyId, KvWrite, SentKind
from picloud.services.kv import KvBuffer, Stored

if TYPE_CHECKING:
    from picloud.apptests.world import World


class WorldServices(RunServices):
    """Those of one run of a script."""

    __slots__ = ("world",)

    def __init__(self, world: World, run: RunOf) -> None:
        super().__init__(world.desk, run, None)
        self.world = world

    def _note(self, kind: SentKind, name: str, message: bytes, **rest: Any) -> UUID:
        super()._note(kind, name, message, **rest)
        assert self._sent
        self._sent[-1] = self._sent[-1]._replace(id=self.world.new_id())
        return self._sent[-1].id


class LiveServices(WorldServices):
    """Those of a test: it sees the world as it is now, and what it does has happened at once.

    What a test writes to kv fires nothing: it arranges, it does not act.
    """

    __slots__ = ("_live_kv",)

    def __init__(self, world: World, run: RunOf) -> None:
        super().__init__(world, run)
        self._live_kv = LiveKv(world)

    @property
    def kv(self) -> KvBuffer:
        return self._live_kv

    @property
    def catalog(self) -> Catalog:
        return self.world.app.catalog_of_tests

    def script(self, name: str) -> tuple[int, int]:
        return self.world.app.version(name)

    def _note(self, kind: SentKind, name: str, message: bytes, **rest: Any) -> UUID:
        identifier = super()._note(kind, name, message, **rest)
        sent = tuple(self._sent or ())
        self._sent, self._sent_bytes = None, 0
        self.world.apply(NO_EFFECTS._replace(sent=sent), cause=None)
        return identifier


class LiveKv(KvBuffer):
    """Reads what is there at that moment, and writes at once."""

    __slots__ = ("_world",)

    def __init__(self, world: World) -> None:
        super().__init__(world.app_id, world.store, world.desk.kv_limits)
        self._world = world

    def entries(
        self, collection: str, prefix: str = "", after: str | None = None, limit: int = 100
    ) -> list[tuple[str, bytes]]:
        self._forget()
        return super().entries(collection, prefix, after, limit)

    def keys(self, collection: str, prefix: str = "") -> list[str]:
        self._forget()
        return super().keys(collection, prefix)

    def _now(self, name: KeyId) -> Stored:
        self._forget()
        return super()._now(name)

    def _write(self, name: KeyId, write: KvWrite) -> None:
        self._forget()
        super()._write(name, write)
        self._world.store.apply(self.writes)
        self._forget()

    def _forget(self) -> None:
        self._values.clear()
        self._growth.clear()
        self.reads.clear()
        self.writes.clear()
        self._size = 0


class JournalLog(RunLog):
    """The log of a test file: each line joins those of the scripts when it is written."""

    __slots__ = ("_world",)

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world

    def write(self, level: str, message: str, fields: Any = None) -> None:
        self._world.journal.append(Line("test", level, message, fields))


@dataclass(frozen=True, slots=True)
class WorldContext(RunContext):
    """A run whose clock and chance are those of its world."""

    @property
    def now_ns(self) -> int:
        return world_of(self).clock.now_ns

    @property
    def chance(self) -> random.Random:
        return world_of(self).chance


def context_of_script(services: RunServices | None) -> RunContext:
    """What host functions know of a run of the app."""
    return WorldContext(services)


def context_of_test(services: RunServices | None) -> RunContext:
    """What host functions know of a test."""
    assert isinstance(services, WorldServices)
    return WorldContext(services, JournalLog(services.world))


def world_of(run: RunContext) -> World:
    """The world a run is in.

    Raises:
        PiCloudError: in none.
    """
    services = run.services
    if not isinstance(services, WorldServices):
        raise PiCloudError("this is no test", code="no_services")
    return services.world
