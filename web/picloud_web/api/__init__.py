"""The control API under ``/api/v1``: PiCloud as other programs see it.

* ``endpoints``: what an endpoint is; ``inputs``: what requests are made of
* ``serving``: the one way through which every call goes: who is calling, may they, what do they
  want, the answer
* ``answers``, ``conditions``, ``streaming``: what they answer: JSON with its ETag, a page, or events as they come
* ``openapi``, ``described_answers``, ``described_values``: the same endpoints as an OpenAPI document
* ``auth``, ``users``, ``keys``, ``apps``, ``members``, ``scripts``, ``routes``, ``triggers``, ``queues``, ``secrets``,
  ``deploy``, ``releases``, ``kv``, ``emit``, ``executions``, ``logs``, ``streams``, ``outbox``, ``dead_letters``,
  ``audit``, ``system``: the endpoints; thin, because ``picloud.control`` does the work

There are no CORS headers: nobody else's page may call it.
"""

from __future__ import annotations

from typing import Any

from picloud_web.api.endpoints import Endpoint
from picloud_web.api.serving import Application, mount
from picloud_web.request_ids import RequestIds
from picloud_web.services import Services

PREFIX = "/api/v1"


def add_routes(app: Application, services: Services) -> None:
    """Serve the control API from ``app``, whose error handlers are ``picloud_web.problems``."""
    names: Any = RequestIds()  # Falcon's protocol wants its own names of parameters
    app.add_middleware(names)
    mount(app, services, PREFIX, all_endpoints())


def all_endpoints() -> tuple[Endpoint, ...]:
    """Every endpoint there is, in the order of the documentation."""
    from picloud_web.api import (
        apps,
        audit,
        auth,
        dead_letters,
        deploy,
        docs_page,
        dry_runs,
        emit,
        executions,
        keys,
        kv,
        logs,
        members,
        openapi,
        outbox,
        queues,
        releases,
        routes,
        scripts,
        secrets,
        streams,
        system,
        triggers,
        users,
    )

    modules = (
        openapi,
        docs_page,
        auth,
        users,
        keys,
        apps,
        members,
        deploy,
        releases,
        scripts,
        routes,
        triggers,
        queues,
        secrets,
        kv,
        emit,
        executions,
        logs,
        streams,
        outbox,
        dead_letters,
        dry_runs,
        audit,
        system,
    )
    return tuple(endpoint for module in modules for endpoint in module.ENDPOINTS)
