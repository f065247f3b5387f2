"""Rows as the platform would have left them, for tests of what reads and changes them."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Mapping
from typing import Any
from uuid import UUID

import psycopg

from picloud.access import ALL_SCOPES, AppRole, InstanceRole, Scope
from picloud.identity.keys import hash_of, new_key
from picloud.ids import day_of, new_id

#: A blocking autocommit connection: what a test seeds is there for everybody.
Connection = psycopg.Connection[Any]


class Seeds:
    """Writes an app, its scripts and what became of their runs."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.admin_id = self._number(
            "insert into principals (kind, name, role) values ('user', 'admin', 'owner')"
            " on conflict (name) do update set role = 'owner' returning id"
        )

    def app(self, name: str = "shop") -> int:
        return self._number("insert into apps (name, created_by) values (%s, %s) returning id", name, self.admin_id)

    def member(
        self,
        name: str,
        roles: Mapping[int, AppRole] | None = None,
        *,
        role: InstanceRole = InstanceRole.MEMBER,
        scopes: frozenset[Scope] = ALL_SCOPES,
        app_id: int | None = None,
    ) -> str:
        """A user who is this in these apps; returns a key of theirs."""
        principal_id = self._number(
            "insert into principals (kind, name, role) values ('user', %s, %s)"
            " on conflict (name) do update set role = excluded.role returning id",
            name,
            role,
        )
        for member_of, each in (roles or {}).items():
            self.connection.execute(
                "insert into app_members (app_id, principal_id, role) values (%s, %s, %s)",
                (member_of, principal_id, each),
            )
        key = new_key()
        self.connection.execute(
            "insert into api_keys (principal_id, name, key_hash, last_four, app_id, scopes)"
            " values (%s, %s, %s, %s, %s, %s)",
            (principal_id, name, hash_of(key), key[-4:], app_id, sorted(scopes)),
        )
        return key

    def script(self, app_id: int, name: str = "orders", source: str = "1") -> int:
        script_id = self._number(
            "insert into scripts (app_id, name, current_version, timeout_ms) values (%s, %s, 1, 10000) returning id",
            app_id,
            name,
        )
        self.connection.execute(
            "insert into script_versions (script_id, version, source, sha256, created_by) values (%s, 1, %s, %s, %s)",
            (script_id, source, hashlib.sha256(source.encode()).digest(), self.admin_id),
        )
        return script_id

    def route(self, app_id: int, script_id: int, path: str = "/orders", method: str = "POST") -> int:
        return self._number(
            "insert into routes (app_id, method, path, script_id, dispatch_mode, principal_id)"
            " values (%s, %s, %s, %s, 'async', %s) returning id",
            app_id,
            method,
            path,
            script_id,
            self.admin_id,
        )

    def payload(self, execution_id: UUID, app_id: int, event: bytes = b"{}", body: bytes | None = None) -> None:
        self.connection.execute(
            "insert into payloads (id, day, app_id, event, body) values (%s, %s, %s, %s, %s)",
            (execution_id, day_of(execution_id), app_id, event, body),
        )

    def waiting(
        self,
        app_id: int,
        script_id: int,
        *,
        state: str = "pending",
        source: str = "invoke",
        event: bytes = b'{"args":1}',
        body: bytes | None = None,
        attempt: int = 0,
        worker_id: UUID | None = None,
        due_in_seconds: float = 0,
        reply_to: str | None = None,
        root: UUID | None = None,
        parent: UUID | None = None,
        depth: int = 0,
    ) -> UUID:
        """A row of the outbox with its payload."""
        execution_id = new_id()
        self.payload(execution_id, app_id, event, body)
        number = {"pending": 0, "published": 1, "running": 2}[state]
        self.connection.execute(
            "insert into outbox (id, payload_day, state, app_id, script_id, source, principal_id, token, attempt,"
            " worker_id, lease_until, root_execution_id, parent_execution_id, trigger_depth, available_at,"
            " is_sync, reply_to, reply_deadline)"
            " values (%(id)s, %(day)s, %(state)s, %(app)s, %(script)s, %(source)s, %(principal)s, new_token(),"
            " %(attempt)s, %(worker)s, case when %(state)s > 0 then now() + interval '1 min' end,"
            " coalesce(%(root)s, %(id)s), %(parent)s, %(depth)s,"
            " now() + %(due)s * interval '1 s', %(reply_to)s::text is not null, %(reply_to)s,"
            " case when %(reply_to)s::text is not null then now() + interval '1 min' end)",
            {
                "id": execution_id,
                "day": day_of(execution_id),
                "state": number,
                "app": app_id,
                "script": script_id,
                "source": source,
                "principal": self.admin_id,
                "attempt": max(attempt, 1) if number == 2 else attempt,
                "worker": (worker_id or new_id()) if number == 2 else None,
                "due": due_in_seconds,
                "reply_to": reply_to,
                "root": root,
                "parent": parent,
                "depth": depth,
            },
        )
        return execution_id

    def ended(
        self,
        app_id: int,
        script_id: int,
        status: str = "completed",
        *,
        root: UUID | None = None,
        parent: UUID | None = None,
        depth: int = 0,
        result: tuple[str, bytes | None] = ("json", b"1"),
        http: tuple[int, bytes] | None = None,
        error: bytes | None = None,
        logs: bytes | None = None,
    ) -> UUID:
        """An execution that has ended, with the payload it was accepted with."""
        execution_id = new_id()
        self.payload(execution_id, app_id)
        kind, data = (None, None) if error is not None else result
        self.connection.execute(
            "insert into executions (id, app_id, script_id, script_version, source, principal_id, status, token,"
            " attempts, is_sync, root_execution_id, parent_execution_id, trigger_depth, accepted_at, started_at,"
            " run_us, operations, result_kind, result, http_status, http_headers, error)"
            " values (%s, %s, %s, 1, 'invoke', %s, %s, new_token(),"
            " 1, false, %s, %s, %s, now(), now(), 1500, 7, %s, %s, %s, %s, %s)",
            (
                execution_id, app_id, script_id, self.admin_id, status, root or execution_id, parent, depth,
                kind, data, http[0] if http else None, http[1] if http else None, error,
            ),
        )  # fmt: skip
        if logs is not None:
            self.connection.execute(
                "insert into execution_logs (execution_id, app_id, attempt, lines) values (%s, %s, 1, %s)",
                (execution_id, app_id, logs),
            )
        return execution_id

    def dead(
        self,
        app_id: int,
        script_id: int,
        *,
        source: str = "http",
        event: bytes = b'{"method":"POST","path":"/orders"}',
        body: bytes | None = b'{"id":7}',
        resolution: str = "unresolved",
    ) -> UUID:
        """A dead letter with its two attempts and its execution."""
        letter_id = self.ended(app_id, script_id, "dead", error=b'{"code":"script_failed","message":"no stock"}')
        self.connection.execute(
            "insert into dead_letters (id, app_id, script_id, script_version, source, principal_id, reason, event,"
            " body, last_error, attempts, root_execution_id, trigger_depth, order_key, max_attempts, backoff,"
            " backoff_base_ms, backoff_max_ms, backoff_jitter_pct, accepted_at, resolution, resolved_at)"
            " values (%(id)s, %(app)s, %(script)s, 1, %(source)s, %(principal)s, 'retries_exhausted', %(event)s,"
            " %(body)s, %(error)s, 2, %(id)s, 3, 'customer-1', 5, 'linear', 200, 9000, 10, now(), %(resolution)s,"
            " case when %(resolution)s <> 'unresolved' then now() end)",
            {
                "id": letter_id,
                "app": app_id,
                "script": script_id,
                "source": source,
                "principal": self.admin_id,
                "event": event,
                "body": body,
                "error": b'{"code":"script_failed","message":"no stock"}',
                "resolution": resolution,
            },
        )
        for attempt in (1, 2):
            self.connection.execute(
                "insert into dead_letter_attempts (dead_letter_id, attempt, started_at, finished_at, error, logs)"
                " values (%s, %s, now(), now(), %s, %s)",
                (
                    letter_id,
                    attempt,
                    b'{"code":"script_failed","message":"no stock"}',
                    b'[{"at_us":12,"level":"info","message":"looking"}]',
                ),
            )
        return letter_id

    def worker(self, *, beat_ago: dt.timedelta = dt.timedelta()) -> UUID:
        worker_id = new_id()
        self.connection.execute(
            "insert into workers (id, host, pid, threads, takes_sync, release, protocol, beat_at)"
            " values (%s, 'pi-1', 42, 4, true, '0.1.0', 1, now() - %s)",
            (worker_id, beat_ago),
        )
        return worker_id

    def count(self, table: str, where: str = "true") -> int:
        return self._number(f"select count(*) from {table} where {where}")

    def _number(self, statement: str, *parameters: object) -> int:
        row = self.connection.execute(statement.encode(), parameters or None).fetchone()
        assert row is not None
        return int(row[0])
