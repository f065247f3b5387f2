"""What the data plane knows of apps: their routes, their hosts. A cache over PostgreSQL.

Nothing tells the cache about a deploy. It need not be told: whoever accepts a
row names the app's revision, the accept statement refuses a stale one, and then
the app is read again (``refresh``). Only answers that accept nothing (no such
app, no such route, paused) could be stale unnoticed; before one of those is
given, PostgreSQL is asked, at most once a second for each app and once a second
for all unknown names together, however many requests come.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from picloud.control.routing import AppRow, HostRows
from picloud_web.routing import RouteTable

#: A miss asks PostgreSQL again after this long: a fresh deploy is seen within it.
MISS_SECONDS = 1.0
#: Apps whose routes are kept in memory.
_MOST_APPS = 1_000


@dataclass(frozen=True, slots=True)
class App:
    """An app as this process knows it; ``revision`` is what the accept statement checks."""

    id: int
    name: str
    revision: int
    is_paused: bool
    routes: RouteTable


class Source(Protocol):
    """Where apps are read from."""

    async def app(self, name: str) -> AppRow | None: ...

    async def hosts(self) -> HostRows: ...


Loaded = TypeVar("Loaded")


class _Fresh(Generic[Loaded]):
    """A value that is read at most once at a time and, when asked to be fresh, at most once a second."""

    def __init__(self, read: Callable[[], Awaitable[Loaded]], clock: Callable[[], float]) -> None:
        self._read = read
        self._clock = clock
        self._lock = asyncio.Lock()
        self._read_at: float | None = None
        self.value: Loaded | None = None

    @property
    def is_known(self) -> bool:
        return self._read_at is not None

    async def no_older_than(self, seconds: float) -> Loaded | None:
        """The value as it stood at most so long ago; 0: a read that begins after this call."""
        asked_at = self._clock()
        if self._is_recent(asked_at, seconds):
            return self.value
        async with self._lock:
            # Whoever held the lock may have read it for us.
            if not self._is_recent(asked_at, seconds):
                begun_at = self._clock()
                self.value = await self._read()
                self._read_at = begun_at
        return self.value

    def _is_recent(self, asked_at: float, seconds: float) -> bool:
        return self._read_at is not None and self._read_at >= asked_at - seconds


class Directory:
    """Apps by name and by domain."""

    def __init__(self, source: Source, clock: Callable[[], float] = time.monotonic) -> None:
        self._source = source
        self._clock = clock
        self._hosts: _Fresh[HostRows] = _Fresh(source.hosts, clock)
        self._apps: OrderedDict[str, _Fresh[App | None]] = OrderedDict()

    async def app(self, name: str) -> App | None:
        """The app of this name, as known; None when it does not exist now (give or take a second)."""
        entry = self._apps.get(name)
        if entry is not None and entry.value is not None:
            return entry.value
        # The list of all names stands between us and PostgreSQL: a flood of invented names costs one query a second.
        if not await self._exists(name):
            return None
        return await self._entry(name).no_older_than(MISS_SECONDS)

    async def recheck(self, name: str) -> App | None:
        """The app as it stood at most a second ago: before saying "no such route" or "paused"."""
        return self._keep(name, await self._entry(name).no_older_than(MISS_SECONDS))

    async def refresh(self, name: str) -> App | None:
        """The app as it stands now: its revision was refused."""
        return self._keep(name, await self._entry(name).no_older_than(0))

    async def app_of_domain(self, domain: str) -> str | None:
        """The name of the app this domain is mapped to."""
        known = self._hosts.value
        if known is None or domain not in known.app_by_domain:
            known = await self._hosts.no_older_than(MISS_SECONDS)
        return known.app_by_domain.get(domain) if known is not None else None

    async def _exists(self, name: str) -> bool:
        known = self._hosts.value
        if known is None or name not in known.app_names:
            known = await self._hosts.no_older_than(MISS_SECONDS)
        return known is not None and name in known.app_names

    def _entry(self, name: str) -> _Fresh[App | None]:
        entry = self._apps.get(name)
        if entry is None:
            entry = self._apps[name] = _Fresh(lambda: self._read(name), self._clock)
            while len(self._apps) > _MOST_APPS:
                self._apps.popitem(last=False)
        return entry

    def _keep(self, name: str, app: App | None) -> App | None:
        if app is None:
            self._apps.pop(name, None)
        return app

    async def _read(self, name: str) -> App | None:
        row = await self._source.app(name)
        return None if row is None else _compiled(name, row)


def _compiled(name: str, row: AppRow) -> App:
    return App(row.id, name, row.revision, row.is_paused, RouteTable(row.routes))
