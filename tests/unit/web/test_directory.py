from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from picloud.access.route_auth import OPEN
from picloud.control.routing import AppRow, HostRows, RouteRow
from picloud_web.directory import MISS_SECONDS, Directory


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


class World:
    """What PostgreSQL would say, and how often it was asked."""

    def __init__(self) -> None:
        self.apps: dict[str, AppRow] = {}
        self.domains: dict[str, str] = {}
        self.asked: list[str] = []

    def add(self, name: str, *paths: str, revision: int = 1, is_paused: bool = False) -> None:
        routes = tuple(RouteRow(n, "GET", path, 1, True, OPEN, 1, 1_000) for n, path in enumerate(paths))
        self.apps[name] = AppRow(1, revision, is_paused, routes)

    async def app(self, name: str) -> AppRow | None:
        self.asked.append(name)
        await asyncio.sleep(0)
        return self.apps.get(name)

    async def hosts(self) -> HostRows:
        self.asked.append("*")
        await asyncio.sleep(0)
        return HostRows(frozenset(self.apps), dict(self.domains))


def told(story: Callable[[World, Directory, Clock], Coroutine[Any, Any, None]]) -> None:
    clock = Clock()
    world = World()
    asyncio.run(story(world, Directory(world, clock), clock))


def test_a_known_app_costs_no_query() -> None:
    async def story(world: World, directory: Directory, clock: Clock) -> None:
        world.add("shop", "/")
        assert await directory.app("shop") is not None
        world.asked.clear()
        clock.now += 3_600
        assert await directory.app("shop") is not None
        assert world.asked == []

    told(story)


def test_a_new_app_is_seen_within_a_second() -> None:
    async def story(world: World, directory: Directory, clock: Clock) -> None:
        assert await directory.app("shop") is None
        world.add("shop", "/")
        assert await directory.app("shop") is None
        clock.now += MISS_SECONDS + 0.01
        assert await directory.app("shop") is not None

    told(story)


def test_a_flood_of_invented_names_costs_one_query_a_second() -> None:
    async def story(world: World, directory: Directory, clock: Clock) -> None:
        await asyncio.gather(*(directory.app(f"invented{n}") for n in range(500)))
        await asyncio.gather(*(directory.app_of_domain(f"invented{n}.example") for n in range(500)))
        assert world.asked == ["*"]
        clock.now += MISS_SECONDS + 0.01
        await asyncio.gather(*(directory.app(f"other{n}") for n in range(500)))
        assert world.asked == ["*", "*"]

    told(story)


def test_many_who_recheck_one_app_share_one_query_a_second() -> None:
    async def story(world: World, directory: Directory, clock: Clock) -> None:
        world.add("shop", "/")
        await directory.app("shop")
        clock.now += 10
        world.asked.clear()
        await asyncio.gather(*(directory.recheck("shop") for _ in range(50)))
        assert world.asked == ["shop"]
        clock.now += MISS_SECONDS / 2
        await directory.recheck("shop")
        assert world.asked == ["shop"]

    told(story)


def test_a_refused_revision_is_read_again_at_once() -> None:
    async def story(world: World, directory: Directory, clock: Clock) -> None:
        world.add("shop", "/old")
        await directory.app("shop")
        world.add("shop", "/new", revision=2)
        clock.now += 0.001
        fresh = await directory.refresh("shop")
        assert fresh is not None
        assert fresh.revision == 2
        cached = await directory.app("shop")
        assert cached is not None
        assert cached.routes.find("GET", ("new",)) is not None

    told(story)


def test_a_deleted_app_is_forgotten() -> None:
    async def story(world: World, directory: Directory, clock: Clock) -> None:
        world.add("shop", "/")
        await directory.app("shop")
        world.apps.clear()
        clock.now += 2 * MISS_SECONDS
        assert await directory.refresh("shop") is None
        assert await directory.app("shop") is None

    told(story)


def test_a_mapped_domain_leads_to_its_app() -> None:
    async def story(world: World, directory: Directory, clock: Clock) -> None:
        world.add("shop", "/")
        world.domains["shop.example"] = "shop"
        assert await directory.app_of_domain("shop.example") == "shop"
        assert await directory.app_of_domain("evil.example") is None

    told(story)
