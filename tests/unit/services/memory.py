"""A key-value store in memory, with versions as the real one has them, and the commit of a run against it."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

from picloud.apptests import store
from picloud.errors import NotFoundError
from picloud.retries import RetryPolicy
from picloud.services.catalog import Catalog
from picloud.services.desk import Desk, RunOf
from picloud.services.effects import Effects, KeyId
from picloud.services.kv import ABSENT, KvLimits, Stored
from picloud.services.outbound import OutboundRequest, OutboundResponse

APP = 1
LIMITS = KvLimits(max_keys=100, max_bytes=10_000, max_value_bytes=1_000)


@dataclass
class MemoryStore(store.MemoryStore):
    """That of tests of apps, which counts what it is asked."""

    questions: int = 0

    def read(self, key: KeyId) -> Stored:
        self.questions += 1
        return super().read(key)

    def page(
        self, app_id: int, collection: str, prefix: str, after: str | None, limit: int
    ) -> list[tuple[str, Stored]]:
        self.questions += 1
        return super().page(app_id, collection, prefix, after, limit)

    def commit(self, effects: Effects) -> bool:
        """Check what was read, apply what was written; False: something read has changed."""
        if any(self.rows.get(key, ABSENT).version != version for key, version in effects.reads.items()):
            return False
        self.apply(effects.writes)
        return True


@dataclass(slots=True)
class MemoryWorld:
    """Everything a script can reach, in memory: one app with scripts, queues and secrets, and a web that answers."""

    store: MemoryStore = field(default_factory=MemoryStore)
    scripts: dict[str, str] = field(default_factory=dict[str, str])
    queues: frozenset[str] = frozenset()
    secrets: dict[str, str] = field(default_factory=dict[str, str])
    answer: OutboundResponse = field(default_factory=lambda: OutboundResponse(204, (), b"", "https://example.com/"))
    #: No two worlds have a script of one id: compiled scripts are kept by id.
    serial: int = field(default_factory=itertools.count(1_000).__next__)
    limits: KvLimits = LIMITS
    #: What calls fail with; None: they are answered.
    breaks_with: Exception | None = None
    calls: list[tuple[int, OutboundRequest]] = field(default_factory=list[tuple[int, OutboundRequest]])

    def desk(self, *, sends_mail: bool = True) -> Desk:
        return Desk(
            store=self.store,
            kv_limits=self.limits,
            catalogs=self,
            retry=RetryPolicy(3, "constant", 0, 0, 0),
            most_message_bytes=1_000,
            source=lambda version: self.scripts[
                next(n for n, each in self.get(0, 0).scripts.items() if each == version)
            ],
            call=self._call,
            secret=self._secret,
            sends_mail=sends_mail,
        )

    def get(self, app_id: int, revision: int) -> Catalog:
        return Catalog({name: (self.serial, number) for number, name in enumerate(self.scripts)}, self.queues, ())

    def _call(self, _run: RunOf, ordinal: int, request: OutboundRequest) -> OutboundResponse:
        self.calls.append((ordinal, request))
        if self.breaks_with is not None:
            raise self.breaks_with
        return self.answer

    def _secret(self, app_id: int, name: str) -> str:
        if app_id != APP or name not in self.secrets:
            raise NotFoundError(f"the app has no secret {name!r}", code="secret_not_found")
        return self.secrets[name]
