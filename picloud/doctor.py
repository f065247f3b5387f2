"""What may be wrong with this machine and what it can reach, as data.

Each check is independent: one that cannot be made says so and the next ones go on. It
looks, and changes nothing. Whether accepted work was lost is another question, answered
by the books (``picloud doctor --prove``).
"""

from __future__ import annotations

import os
import resource
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import psycopg
import redis

from picloud import migrations
from picloud.database import connect
from picloud.errors import PiCloudError
from picloud.local.data_folder import locate, with_running_servers
from picloud.local.master_key import load_master_keys, master_key_path, readable_by_others
from picloud.local.master_key_rotation import read_installed
from picloud.local.postgres_binaries import OLDEST_MAJOR, find_postgres
from picloud.local.redis import OLDEST_VERSION as OLDEST_REDIS
from picloud.local.redis import find_redis
from picloud.queries import Queries
from picloud.services.vault import master_key_id
from picloud.settings import MIB, Settings, setting_names

_SQL = Queries("doctor")

_OLDEST_PYTHON = (3, 11)
#: Beside the workers: two of a relay, a web process' pool, the command line's.
_OTHER_CONNECTIONS = 14
_CLOCK_WARN_SECONDS = 2.0
_DISK_WARN_BYTES = 1024 * MIB
_DISK_FAIL_BYTES = 128 * MIB
_DESCRIPTORS = 1024
_CGROUP_CONTROLLERS = Path("/sys/fs/cgroup/cgroup.controllers")

Status: TypeAlias = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Check:
    """The answer to one question."""

    name: str
    status: Status
    detail: str
    #: What to do about it; None when there is nothing to do.
    hint: str | None = None


def run_checks(settings: Settings) -> list[Check]:
    """Ask everything; the order is fit for reading."""
    settings = with_running_servers(settings)
    checks: list[Check] = []
    for name, ask in _LOCAL_CHECKS.items():
        checks.append(_asked(name, ask, settings))
    checks += _check_postgres(settings)
    checks.append(_asked("redis", _check_redis, settings))
    return checks


def _asked(name: str, ask: Callable[[Settings], Check], settings: Settings) -> Check:
    try:
        return ask(settings)
    except PiCloudError as error:
        return Check(name, "fail", error.message, error.hint)
    except OSError as error:
        return Check(name, "fail", str(error))


# This machine


def _check_settings(_settings: Settings) -> Check:
    # Wrong values stop every command before it begins, so whoever gets here has usable ones.
    given = sorted(name for name in setting_names() if name in os.environ)
    return Check("settings", "ok", f"from the environment: {', '.join(given)}" if given else "defaults everywhere")


def _check_python(_settings: Settings) -> Check:
    version = ".".join(str(part) for part in sys.version_info[:3])
    if sys.version_info < _OLDEST_PYTHON:
        return Check("python", "fail", version, "PiCloud needs Python 3.11 or newer")
    return Check("python", "ok", version)


def _check_disk(settings: Settings) -> Check:
    path = locate(settings)
    existing = next(folder for folder in (path, *path.parents) if folder.exists())
    usage = shutil.disk_usage(existing)
    detail = f"{path}: {usage.free // MIB:,} MiB free of {usage.total // MIB:,}"
    if usage.free < _DISK_FAIL_BYTES:
        return Check("disk", "fail", detail, "free some space: PostgreSQL stops when it cannot write")
    if usage.free < _DISK_WARN_BYTES:
        return Check("disk", "warn", detail, "free some space, or lower PICLOUD_HISTORY_MAX_BYTES")
    if settings.history_max_bytes > usage.free + _folder_bytes(path):
        return Check("disk", "warn", detail, "PICLOUD_HISTORY_MAX_BYTES is more than this disk can hold: lower it")
    return Check("disk", "ok", detail)


def _folder_bytes(path: Path) -> int:
    """What the folder holds already; what may not be looked into counts nothing."""
    total = 0
    for folder, _, names in os.walk(path):
        for name in names:
            try:
                total += (Path(folder) / name).lstat().st_size
            except OSError:  # a running PostgreSQL removes files while we look
                continue
    return total


def _check_master_key(settings: Settings) -> Check:
    path = master_key_path(settings)
    if not path.exists() and not settings.master_key_file:
        return Check("master_key", "warn", f"{path} does not exist yet", "`picloud up` makes it")
    load_master_keys(path)
    if readable_by_others(path):
        return Check("master_key", "warn", f"{path} can be read by other users", f"chmod 600 {path}")
    return Check("master_key", "ok", str(path))


def _check_page_size(_settings: Settings) -> Check:
    size = os.sysconf("SC_PAGE_SIZE")
    if size > 4096:
        return Check("page_size", "ok", f"{size} bytes: third-party Redis builds may not start here, Debian's does")
    return Check("page_size", "ok", f"{size} bytes")


def _check_memory_cgroup(_settings: Settings) -> Check:
    try:
        controllers = _CGROUP_CONTROLLERS.read_text().split()
    except OSError:
        return Check("memory_cgroup", "warn", "no cgroup v2 here: systemd's MemoryMax has no effect")
    if "memory" not in controllers:
        return Check(
            "memory_cgroup",
            "warn",
            "the memory controller is off, as on stock Raspberry Pi OS: systemd's MemoryMax has no effect",
            "add cgroup_enable=memory to /boot/firmware/cmdline.txt and restart the machine",
        )
    return Check("memory_cgroup", "ok", "the memory controller is on")


def _check_descriptors(_settings: Settings) -> Check:
    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < _DESCRIPTORS:
        return Check("open_files", "warn", f"at most {soft} open files", f"raise it to {_DESCRIPTORS} (ulimit -n)")
    return Check("open_files", "ok", "no limit" if soft == resource.RLIM_INFINITY else f"at most {soft}")


_LOCAL_CHECKS: dict[str, Callable[[Settings], Check]] = {
    "settings": _check_settings,
    "python": _check_python,
    "disk": _check_disk,
    "master_key": _check_master_key,
    "page_size": _check_page_size,
    "memory_cgroup": _check_memory_cgroup,
    "open_files": _check_descriptors,
}


# PostgreSQL


def _check_postgres(settings: Settings) -> Iterator[Check]:
    if not settings.database_url:
        yield _asked("postgres", _check_own_postgres, settings)
        return
    try:
        with connect(settings.database_url, name="doctor") as connection:
            asked_at = time.time()
            row = connection.execute(_SQL.server).fetchone()
            assert row is not None
            number, version, clock, connections = row
            yield _check_version(number, version)
            yield _check_clock(clock.timestamp() - (asked_at + time.time()) / 2)
            yield _check_schema(connection)
            yield _check_connections(connection, connections)
            yield _asked("sealing_key", lambda settings: _check_sealing_key(connection, settings), settings)
    except psycopg.Error as error:
        told = str(error).strip().partition("\n")[0]
        yield Check("postgres", "fail", f"does not answer: {told}", "is it running, and is PICLOUD_DATABASE_URL right?")


def _check_own_postgres(_settings: Settings) -> Check:
    found = find_postgres()
    return Check("postgres", "ok", f"not running; `picloud up` would start PostgreSQL {found.major} of {found.folder}")


def _check_version(number: int, version: str) -> Check:
    if number // 10_000 < OLDEST_MAJOR:
        return Check("postgres", "fail", version, f"PiCloud needs PostgreSQL {OLDEST_MAJOR} or newer")
    return Check("postgres", "ok", version)


def _check_clock(difference: float) -> Check:
    """Only PostgreSQL's clock decides anything; a machine that is off misleads whoever reads its logs."""
    detail = f"{abs(difference):.1f} s {'behind' if difference > 0 else 'ahead of'} PostgreSQL's"
    if abs(difference) > _CLOCK_WARN_SECONDS:
        return Check("clock", "warn", detail, "switch on time synchronisation (timedatectl set-ntp true)")
    return Check("clock", "ok", detail)


def _check_schema(connection: psycopg.Connection[Any]) -> Check:
    try:
        migrations.check_schema(connection)
    except PiCloudError as error:
        return Check("schema", "fail", error.message, error.hint)
    return Check("schema", "ok", "fits this release")


def _check_connections(connection: psycopg.Connection[Any], available: int) -> Check:
    try:
        row = connection.execute(_SQL.fleet).fetchone()
    except psycopg.errors.UndefinedTable:
        return Check("connections", "ok", f"{available} available, no workers yet")
    assert row is not None
    workers, theirs = row
    needed = theirs + _OTHER_CONNECTIONS
    detail = f"{workers} worker process(es) and the rest may need {needed} of {available}"
    if needed > available:
        return Check(
            "connections", "warn", detail, "raise max_connections, or put PgBouncer in front (transaction mode)"
        )
    return Check("connections", "ok", detail)


def _check_sealing_key(connection: psycopg.Connection[Any], settings: Settings) -> Check:
    """Whether the file here opens what the database holds, and whether a rotation was left half way."""
    try:
        installed = read_installed(connection)
    except psycopg.errors.UndefinedTable:
        return Check("sealing_key", "ok", "no secrets yet")
    if installed.id is None:
        return Check("sealing_key", "ok", "nothing is sealed yet")
    path = master_key_path(settings)
    ids = [master_key_id(key) for key in load_master_keys(path)]
    seals = installed.id.hex()
    if installed.id not in ids:
        return Check(
            "sealing_key",
            "fail",
            f"secrets are sealed with master key {seals}; {path} holds {' and '.join(each.hex() for each in ids)}",
            "copy the file from a machine that has the right one; `picloud master-key show` there names it",
        )
    if ids[0] != installed.id:
        return Check(
            "sealing_key",
            "warn",
            f"master key {seals} seals, and {path} still has {ids[0].hex()} in front",
            "`picloud master-key rotate` here, or copy the file from where it was rotated",
        )
    if any(each in installed.former for each in ids):
        return Check(
            "sealing_key", "warn", f"{seals}; {path} still holds a former key", "`picloud master-key retire` ends it"
        )
    return Check("sealing_key", "ok", f"master key {seals}")


# Redis


def _check_redis(settings: Settings) -> Check:
    if not settings.redis_url:
        return Check("redis", "ok", f"not running; `picloud up` would start {find_redis()}")
    try:
        with redis.Redis.from_url(settings.redis_url, socket_timeout=5) as client:  # pyright: ignore[reportUnknownMemberType]
            facts: dict[str, Any] = client.info()  # pyright: ignore[reportUnknownMemberType, reportAssignmentType]
    except redis.RedisError as error:
        return Check("redis", "fail", f"does not answer: {error}", "is it running, and is PICLOUD_REDIS_URL right?")
    version = str(facts["redis_version"])
    if tuple(int(part) for part in version.split(".")[:2]) < OLDEST_REDIS:
        return Check("redis", "fail", version, "PiCloud needs Redis 6.2 or newer, or Valkey")
    if facts.get("maxmemory_policy") != "noeviction":
        return Check(
            "redis", "warn", f"{version}, evicts keys when memory is short", "set maxmemory-policy to noeviction"
        )
    return Check("redis", "ok", version)
