"""Finds the route of a request: routes as they are answered by, over the tree of ``picloud.manifest.route_table``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from picloud.access.route_auth import RouteAuth
from picloud.manifest import route_table


@dataclass(frozen=True, slots=True)
class Route:
    """One route of an app, as it stands in the database.

    Attributes:
        auth: what it asks of its callers.
        timeout_ms: of the route's script: how long a sync caller may wait.
        principal_id: whom the script runs as.
    """

    id: int
    method: str
    path: str
    script_id: int
    is_sync: bool
    auth: RouteAuth
    principal_id: int
    timeout_ms: int


Match: TypeAlias = route_table.Match[Route]
RouteTable: TypeAlias = route_table.RouteTable[Route]
