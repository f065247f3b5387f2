"""A PostgreSQL of our own: made, started, handed to the supervisor.

It listens on a unix socket in the data folder and nowhere else, so it collides with no
other server and nobody on the network sees it. Every client needs a password, this
machine's users included. PiCloud's processes connect as the owner of one database, not
as superuser. Durability is PostgreSQL's own (fsync stays on); the other options make it
small and quiet: no WAL and no wake-ups while nothing happens.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import psycopg
from psycopg import sql

from picloud.errors import ConfigurationError
from picloud.local.children import Child, run_program, start_program, wait_for_exit
from picloud.local.data_folder import DataFolder, disk_full, read_private_json, write_private
from picloud.local.postgres_binaries import EMBEDDED_PARTS, PostgresBinaries, Source, find_postgres
from picloud.local.server_user import closed_folder, make_private_folder, within_reach
from picloud.settings import MIB

SUPERUSER = "postgres"
OWNER = "picloud"
DATABASE = "picloud"
PORT = 5432

#: Linux: 108 bytes with the final zero for the path of a socket, "/.s.PGSQL.5432.lock" of them PostgreSQL's.
_LONGEST_SOCKET_FOLDER = 107 - len(f"/.s.PGSQL.{PORT}.lock")
#: A new database is 60 MiB with its WAL; a started one must be able to finish its recovery.
_ROOM_TO_CREATE = 192 * MIB
_ROOM_TO_START = 32 * MIB
_LOOK_AGAIN_SECONDS = 0.02
#: Recovery after a power cut reads up to max_wal_size from an SD card.
_RECOVERY_SECONDS = 600.0
_MEMORY_SECONDS = 10.0

_OPTIONS: Mapping[str, str] = {
    "listen_addresses": "",
    "port": str(PORT),
    "timezone": "UTC",
    "log_timezone": "UTC",
    # Small: the whole of PiCloud is to fit beside it on a machine of 1 GiB.
    "shared_buffers": "48MB",
    "max_connections": "60",
    "work_mem": "4MB",
    "maintenance_work_mem": "32MB",
    "max_worker_processes": "2",
    "max_parallel_workers_per_gather": "0",
    "max_parallel_maintenance_workers": "0",
    "max_logical_replication_workers": "0",
    "autovacuum_max_workers": "2",
    "jit": "off",
    # Kind to flash: few checkpoints, so few full-page images, and those compressed. No standby reads this WAL.
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "wal_compression": "on",
    "checkpoint_timeout": "30min",
    "max_wal_size": "512MB",
    "random_page_cost": "1.1",
    # The log is for what went wrong.
    "log_checkpoints": "off",
    "log_min_messages": "warning",
    "log_autovacuum_min_duration": "-1",
}
#: Three processes that wait for reads we hardly make.
_OPTIONS_FROM_18: Mapping[str, str] = {"io_method": "sync"}


@dataclass
class PostgresServer:
    """One cluster in ``folder.postgres`` and the process that serves it."""

    folder: DataFolder
    say: Callable[[str], None]
    #: Added to the command line; tests switch fsync off here.
    options: Mapping[str, str] = field(default_factory=dict[str, str])
    #: Take the binaries from one place only; for tests.
    only: Source | None = None

    name = "postgres"
    #: "Fast" shutdown: ends sessions, then writes a checkpoint.
    stop_signal = signal.SIGINT
    #: "Immediate": ends its own children too, which SIGKILL would leave behind; recovery mends the rest.
    kill_signal = signal.SIGQUIT
    grace_seconds = 60.0

    _passwords: Mapping[str, str] = field(init=False, default_factory=dict[str, str])
    _binaries: PostgresBinaries | None = field(init=False, default=None)
    _sockets: Path | None = field(init=False, default=None)

    @property
    def data(self) -> Path:
        return self.folder.postgres / "data"

    @property
    def log_file(self) -> Path:
        return self.folder.postgres / "postgres.log"

    @property
    def url(self) -> str:
        """For PiCloud's processes: the owner of the database."""
        return self._url(OWNER, DATABASE)

    @property
    def superuser_url(self) -> str:
        return self._url(SUPERUSER, "postgres")

    def prepare(self) -> None:
        """Everything before the start: binaries, a new cluster if there is none, no stale server.

        Raises:
            ServerNotFoundError: no binaries, or none that can read the data.
            ConfigurationError: the disk is full, or the cluster cannot be made.
        """
        make_private_folder(self.folder.postgres, self.folder.server_user)
        self._binaries = find_postgres(major=self._major_of_data(), only=self.only)
        if self.data.exists():
            self.folder.require_room(_ROOM_TO_START, "PostgreSQL")
            self._end_stale_server()
            self._passwords = self._load_passwords()
        else:
            self.folder.require_room(_ROOM_TO_CREATE, "a new PostgreSQL database")
            self._create_cluster()
        self._sockets = self._make_socket_folder()

    def spawn(self) -> Child:
        """Start the server; it may still be recovering when this returns."""
        assert self._binaries is not None
        options = {**_OPTIONS, **(_OPTIONS_FROM_18 if self._binaries.major >= 18 else {}), **self.options}
        options["unix_socket_directories"] = str(self._sockets)
        flags = [flag for name, value in options.items() for flag in ("-c", f"{name}={value}")]
        with self.log_file.open("ab") as log:
            if log.tell() > 4 * MIB:
                log.truncate(0)
            return start_program(
                [self._program("postgres"), "-D", self.data, *flags],
                user=self.folder.server_user,
                death_signal=self.stop_signal,
                output=log,
            )

    def start(self, launch: Callable[[], Child]) -> Child:
        """Start by ``launch`` (``spawn``, or what calls it) and wait until it answers; roles and database exist then.

        Raises:
            ConfigurationError: it ended instead.
        """
        give_up_at = time.monotonic() + _MEMORY_SECONDS
        while True:
            beginning = self._log_size()
            child = launch()
            if self._wait_until_ready(child):
                self._ensure_database()
                return child
            failure = self._last_failure(beginning)
            # A killed server's backends still hold its memory until they notice: they do within moments.
            if "pre-existing shared memory block" not in failure or time.monotonic() > give_up_at:
                raise self._failed("PostgreSQL did not start", failure)
            time.sleep(_LOOK_AGAIN_SECONDS)

    def clean_up(self) -> None:
        """Remove what lies outside the data folder; call when the server has ended."""
        if self._sockets and self._sockets.parent != self.folder.postgres:
            shutil.rmtree(self._sockets, ignore_errors=True)

    def _url(self, role: str, database: str) -> str:
        sockets = quote(str(self._sockets), safe="")
        return f"postgresql://{role}:{self._passwords[role]}@/{database}?host={sockets}&port={PORT}"

    def _major_of_data(self) -> int | None:
        try:
            return int((self.data / "PG_VERSION").read_text())
        except FileNotFoundError:
            return None

    def _program(self, name: str) -> Path:
        assert self._binaries is not None
        folder = self._binaries.folder
        if self._binaries.source == "embedded":
            site = folder.parents[2]
            reachable = within_reach(site, EMBEDDED_PARTS, self.folder.binaries, self.folder.server_user)
            return reachable / folder.relative_to(site) / name
        if (user := self.folder.server_user) and (closed := closed_folder(folder, user)):
            raise ConfigurationError(f"{folder}: PostgreSQL runs as {user.name} and may not pass through {closed}")
        return folder / name

    def _create_cluster(self) -> None:
        assert self._binaries is not None
        self.say(f"creating a database (PostgreSQL {self._binaries.major}) in {self.data}")
        self._passwords = {SUPERUSER: secrets.token_urlsafe(24), OWNER: secrets.token_urlsafe(24)}
        write_private(self.folder.passwords_file, json.dumps(self._passwords).encode())
        # Under another name until it is whole: a start that is cut short leaves nothing that looks like data.
        unfinished = self.data.with_name("data.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        password_file = self.folder.postgres / "initdb.password"
        write_private(password_file, self._passwords[SUPERUSER].encode())
        try:
            self._run_initdb(unfinished, password_file)
        finally:
            password_file.unlink()
        unfinished.rename(self.data)

    def _run_initdb(self, into: Path, password_file: Path) -> None:
        assert self._binaries is not None
        if user := self.folder.server_user:
            os.chown(password_file, user.uid, user.gid)
        # The order of C.UTF-8 never changes with the C library, so text indexes survive an upgrade of the system.
        provider = ["--locale-provider=builtin"] if self._binaries.major >= 17 else []
        where = ["-D", str(into), "-U", SUPERUSER, f"--pwfile={password_file}", "--auth=scram-sha-256"]
        command: list[str | Path] = [
            self._program("initdb"),
            *where,
            "--encoding=UTF8",
            "--locale=C.UTF-8",
            *provider,
            "--no-instructions",
        ]
        beginning = self._log_size()
        with self.log_file.open("ab") as log:
            if run_program(command, user=self.folder.server_user, output=log) == 0:
                return
        shutil.rmtree(into, ignore_errors=True)
        raise self._failed("the database could not be created", self._last_failure(beginning))

    def _load_passwords(self) -> Mapping[str, str]:
        passwords = read_private_json(self.folder.passwords_file)
        if passwords is None:
            raise ConfigurationError(
                f"{self.folder.passwords_file} is missing: the database in {self.data} cannot be opened without it",
                hint="restore that file, or move the folder away to start with an empty database",
            )
        return passwords

    def _make_socket_folder(self) -> Path:
        folder = self.folder.postgres / "run"
        if len(os.fsencode(folder)) <= _LONGEST_SOCKET_FOLDER:
            return make_private_folder(folder, self.folder.server_user)
        return make_private_folder(Path(tempfile.mkdtemp(prefix="picloud-")), self.folder.server_user)

    def _wait_until_ready(self, child: Child) -> bool:
        """False when the process ended first. The server's own status line is read, as pg_ctl does."""
        started = time.monotonic()
        told = False
        while child.poll() is None:
            lines = self._pid_file_lines()
            if len(lines) >= 8 and lines[0] == str(child.pid) and lines[7].strip() == "ready":
                return True
            waited = time.monotonic() - started
            if waited > _RECOVERY_SECONDS:
                raise ConfigurationError("PostgreSQL was not ready after ten minutes", hint=f"see {self.log_file}")
            if waited > 3 and not told:
                told = True
                self.say("PostgreSQL is recovering from a sudden stop; this can take a while")
            time.sleep(_LOOK_AGAIN_SECONDS)
        return False

    def _pid_file_lines(self) -> list[str]:
        try:
            return (self.data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return []

    def _end_stale_server(self) -> None:
        """Stop a server whose ``up`` was killed; forget one whose pid is somebody else's by now.

        Our lock is held, so no living ``up`` owns it.
        """
        lines = self._pid_file_lines()
        if not lines or not lines[0].isdigit():
            return
        pid = int(lines[0])
        try:
            is_ours = Path(f"/proc/{pid}/cwd").readlink() == self.data.resolve()
        except OSError:
            is_ours = False
        if not is_ours:
            (self.data / "postmaster.pid").unlink()
            return
        self.say(f"stopping the PostgreSQL an earlier start left behind (process {pid})")
        for number in (self.stop_signal, self.kill_signal):
            os.kill(pid, number)
            if wait_for_exit(pid, self.grace_seconds):
                return
        raise ConfigurationError(f"PostgreSQL (process {pid}) of an earlier start does not stop")

    def _failed(self, what: str, failure: str) -> ConfigurationError:
        if "No space left on device" in failure:
            return disk_full(self.data, failure)
        return ConfigurationError(f"{what}: {failure}", hint=f"see {self.log_file}")

    def _log_size(self) -> int:
        return self.log_file.stat().st_size if self.log_file.exists() else 0

    def _last_failure(self, beginning: int) -> str:
        """The most telling line that was logged since ``beginning``."""
        with self.log_file.open("rb") as log:
            log.seek(beginning)
            lines = [line for line in log.read().decode(errors="replace").splitlines() if line.strip()]
        for mark in ("PANIC:", "FATAL:", "ERROR:", "error:"):
            if told := [line.partition(mark)[2].strip() for line in lines if mark in line]:
                return told[0]
        return lines[-1].strip() if lines else "it said nothing"

    def _ensure_database(self) -> None:
        owner, database = sql.Identifier(OWNER), sql.Identifier(DATABASE)
        with psycopg.connect(self.superuser_url, autocommit=True) as connection:
            if not connection.execute("select 1 from pg_roles where rolname = %s", [OWNER]).fetchone():
                password = sql.Literal(self._passwords[OWNER])
                connection.execute(sql.SQL("create role {} login password {}").format(owner, password))
            if not connection.execute("select 1 from pg_database where datname = %s", [DATABASE]).fetchone():
                connection.execute(sql.SQL("create database {} owner {}").format(database, owner))
