"""What the scripts of this process may do to the world: ``picloud.services`` put together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

from psycopg import Connection
from psycopg.conninfo import conninfo_to_dict
from psycopg_pool import ConnectionPool

from picloud.mail.bind import parse_bind
from picloud.outbox.run_rows import read_sources
from picloud.services.catalog import Catalogs
from picloud.services.desk import CatalogSource, Desk, RunOf
from picloud.services.hops import sign_hops
from picloud.services.kv import KvLimits
from picloud.services.outbound import (
    AddressPolicy,
    OutboundRequest,
    OutboundResponse,
    OwnPlaces,
    parse_allowed,
)
from picloud.services.outbound.client import OutboundClient
from picloud.services.store import PostgresKvStore
from picloud.services.vault import MasterKeys, SecretReader
from picloud.settings import Settings

Pool = ConnectionPool[Connection[Any]]


def make_desk(settings: Settings, pool: Pool, master_keys: MasterKeys) -> Desk:
    """The services of all runs of this process."""
    limits = KvLimits(settings.kv_max_keys, settings.kv_max_bytes, settings.kv_max_value_bytes)
    catalogs = Catalogs(pool)
    return Desk(
        store=PostgresKvStore(pool, limits),
        kv_limits=limits,
        catalogs=catalogs,
        retry=settings.retry.policy(),
        most_message_bytes=settings.max_body_bytes,
        source=lambda version: _source(pool, version),
        call=Caller(settings, catalogs, master_keys).call,
        secret=SecretReader(pool, master_keys).get,
        sends_mail=bool(settings.smtp_url),
    )


def _source(pool: Pool, version: tuple[int, int]) -> str:
    with pool.connection() as connection:
        return read_sources(connection, [version])[version][0]


class Caller:
    """Makes the HTTP calls of scripts, under what the app may reach."""

    def __init__(
        self,
        settings: Settings,
        catalogs: CatalogSource,
        master_keys: MasterKeys,
        make_client: Callable[[], OutboundClient] = OutboundClient,
    ) -> None:
        self._own = own_places(settings)
        self._catalogs = catalogs
        self._master_keys = master_keys
        self._make_client = make_client

    @cached_property
    def _client(self) -> OutboundClient:
        return self._make_client()  # when the first script calls: it loads certificates

    def call(self, run: RunOf, ordinal: int, request: OutboundRequest) -> OutboundResponse:
        """See ``Desk.call``."""
        allowed = self._catalogs.get(run.app_id, run.app_revision).allowed_private
        hops = sign_hops(self._master_keys()[0], run.root_execution_id, run.trigger_depth)
        headers = request.headers
        if not any(name.lower() == "idempotency-key" for name, _ in headers):
            # Stable across retries, so that the other side can tell a repeated call from a new one.
            headers = (*headers, ("Idempotency-Key", f"{run.execution_id}:{ordinal}"))
        policy = AddressPolicy(parse_allowed(allowed), self._own)
        return self._client.send(replace(request, headers=headers, hops=hops), policy)


def own_places(settings: Settings) -> OwnPlaces:
    """What belongs to this installation and no script may reach."""
    database = conninfo_to_dict(settings.database_url)
    hosts = [*str(database.get("host") or "").split(","), *str(database.get("hostaddr") or "").split(",")]
    redis = urlsplit(settings.redis_url)
    if redis.scheme in ("redis", "rediss"):
        hosts.append(redis.hostname or "")
    if settings.smtp_url:
        hosts.append(urlsplit(settings.smtp_url).hostname or "")
    endpoints = [(settings.bind_host, settings.bind_port)]
    public = urlsplit(settings.base_url)
    endpoints.append((public.hostname or "", public.port or (443 if public.scheme == "https" else 80)))
    if settings.smtp_bind and (mail := parse_bind(settings.smtp_bind)).path is None:
        endpoints.append((mail.host, mail.port))
    return OwnPlaces(tuple(host for host in hosts if host and not host.startswith("/")), tuple(endpoints))
