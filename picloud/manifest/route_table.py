"""Finds the route of a request: the routes of one app, compiled into a tree. No I/O.

A path is matched segment by segment; the most specific route wins: a literal
segment before ``:param`` before ``*rest``, decided at the first segment that
differs. The method is part of the match: ``POST /users/me`` is answered by
``POST /users/:id`` when ``/users/me`` itself only knows GET. ``:param`` stands
for one segment that is not empty, ``*rest`` for everything after its slash,
which may be empty. ``/a`` and ``/a/`` are different paths.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar


class Routed(Protocol):
    """What a table holds."""

    @property
    def method(self) -> str: ...
    @property
    def path(self) -> str: ...


R = TypeVar("R", bound=Routed)


@dataclass(frozen=True, slots=True)
class Match(Generic[R]):
    """A route and what its path's parameters stand for in this request."""

    route: R
    params: dict[str, str]


@dataclass(frozen=True, slots=True)
class _Entry(Generic[R]):
    """A route at the node where its path ends, with the names of its parameters in order."""

    route: R
    names: tuple[str, ...]


@dataclass(slots=True)
class _Node(Generic[R]):
    literals: dict[str, _Node[R]] = field(default_factory=dict[str, "_Node[R]"])
    parameter: _Node[R] | None = None
    by_method: dict[str, _Entry[R]] = field(default_factory=dict[str, "_Entry[R]"])
    #: Routes whose ``*rest`` begins here.
    rest_by_method: dict[str, _Entry[R]] = field(default_factory=dict[str, "_Entry[R]"])


class RouteTable(Generic[R]):
    """The routes of one app."""

    def __init__(self, routes: Iterable[R]) -> None:
        self._root: _Node[R] = _Node()
        #: PERF: most paths have no parameters; one lookup answers them (a walk costs five times as much).
        self._literal: dict[tuple[str, tuple[str, ...]], Match[R]] = {}
        for route in routes:
            self._add(route)

    def _add(self, route: R) -> None:
        node = self._root
        names: list[str] = []
        segments = tuple(route.path.split("/")[1:])
        for segment in segments:
            if segment.startswith("*"):
                node.rest_by_method[route.method] = _Entry(route, (*names, segment[1:]))
                return
            if segment.startswith(":"):
                names.append(segment[1:])
                node.parameter = node.parameter or _Node()
                node = node.parameter
            else:
                node = node.literals.setdefault(segment, _Node())
        node.by_method[route.method] = _Entry(route, tuple(names))
        if not names:
            # Nothing is more specific than a path without parameters.
            self._literal[route.method, segments] = Match(route, {})

    def find(self, method: str, segments: tuple[str, ...]) -> Match[R] | None:
        """The most specific route of this method; HEAD falls back to GET.

        Args:
            segments: of the path after its first slash, percent-decoded one by one.
        """
        for wanted in (method, "GET") if method == "HEAD" else (method,):
            literal = self._literal.get((wanted, segments))
            if literal is not None:
                return literal
            for entries, values in _walk(self._root, segments, 0, ()):
                entry = entries.get(wanted)
                if entry is not None:
                    return Match(entry.route, dict(zip(entry.names, values, strict=True)))
        return None

    def methods(self, segments: tuple[str, ...]) -> list[str]:
        """Every method some route answers at this path, sorted; empty: no such path."""
        found = {method for entries, _ in _walk(self._root, segments, 0, ()) for method in entries}
        if "GET" in found:
            found.add("HEAD")
        if found:
            found.add("OPTIONS")
        return sorted(found)


def _walk(
    node: _Node[R], segments: tuple[str, ...], position: int, values: tuple[str, ...]
) -> Iterator[tuple[dict[str, _Entry[R]], tuple[str, ...]]]:
    """Every node at which the path may end, the most specific first."""
    if position == len(segments):
        if node.by_method:
            yield node.by_method, values
        return
    segment = segments[position]
    literal = node.literals.get(segment)
    if literal is not None:
        yield from _walk(literal, segments, position + 1, values)
    if node.parameter is not None and segment:
        yield from _walk(node.parameter, segments, position + 1, (*values, segment))
    if node.rest_by_method:
        yield node.rest_by_method, (*values, "/".join(segments[position:]))
