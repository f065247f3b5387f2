"""Finds the route of a request, over the tree of ``picloud.manifest.route_table``."""

from __future__ import annotations

from typing import TypeAlias

from picloud.control.routing import RouteRow
from picloud.manifest import route_table

Match: TypeAlias = route_table.Match[RouteRow]
RouteTable: TypeAlias = route_table.RouteTable[RouteRow]
