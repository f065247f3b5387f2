"""The real PostgreSQL and Redis of a test run, in a folder of their own.

They are started by the same code as ``picloud up``'s. ``PICLOUD_TEST_POSTGRES=embedded``
takes the wheel's PostgreSQL instead of the machine's. Durability is off, and data is kept in
memory where there is room: a test run that loses power is run again.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg import sql

from picloud.local.children import stop_child
from picloud.local.data_folder import open_data_folder
from picloud.local.postgres import OWNER, PostgresServer
from picloud.local.postgres_binaries import Source
from picloud.local.redis import RedisServer

_FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "max_connections": "200"}

#: A database of a test's own is a copy of some 600 small files: on a disk six times the work that it is in memory.
_MEMORY = Path("/dev/shm")
#: The servers of four processes take less than a quarter of this.
_ENOUGH_BYTES = 2 << 30


def postgres_source() -> Source | None:
    """Where this run's PostgreSQL comes from; None: the machine's if it has one."""
    return "embedded" if os.environ.get("PICLOUD_TEST_POSTGRES") == "embedded" else None


def _has_room_in_memory() -> bool:
    """Whether servers can live there; their programs too, which are put beside their data where they must be."""
    try:
        memory = os.statvfs(_MEMORY)
    except FileNotFoundError:
        return False
    can_run_programs = not memory.f_flag & os.ST_NOEXEC
    return can_run_programs and os.access(_MEMORY, os.W_OK) and memory.f_bavail * memory.f_frsize >= _ENOUGH_BYTES


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder that servers can reach when root runs the tests: pytest's own are closed to them."""
    path = Path(tempfile.mkdtemp(prefix="picloud-tests-", dir=_MEMORY if _has_room_in_memory() else None))
    try:
        path.chmod(0o711)
        yield path
    finally:
        shutil.rmtree(path)


@contextmanager
def running(server: PostgresServer | RedisServer) -> Iterator[None]:
    server.prepare()
    child = server.start(server.spawn)
    try:
        yield
    finally:
        stop_child(child, server.stop_signal, server.kill_signal, server.grace_seconds)
        server.clean_up()


@contextmanager
def run_postgres() -> Iterator[PostgresServer]:
    with temporary_folder() as path:
        server = PostgresServer(open_data_folder(path / "data"), print, options=_FAST, only=postgres_source())
        with running(server):
            yield server


@contextmanager
def run_redis() -> Iterator[str]:
    """Its URL, of database 0."""
    with temporary_folder() as path:
        server = RedisServer(open_data_folder(path / "data"), print)
        with running(server):
            yield server.url


@contextmanager
def new_database(server: PostgresServer, name: str = "", *, template: str = "template1") -> Iterator[str]:
    """A database owned as in production; its URL. Dropped at the end, whoever is still connected."""
    name = name or f"test_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(server.superuser_url, autocommit=True) as admin:
        admin.execute(
            sql.SQL("create database {} template {} owner {} strategy file_copy").format(
                sql.Identifier(name), sql.Identifier(template), sql.Identifier(OWNER)
            )
        )
    try:
        yield server.url.replace("@/picloud?", f"@/{name}?")
    finally:
        with psycopg.connect(server.superuser_url, autocommit=True) as admin:
            admin.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))
