"""``picloud up``: the whole platform under one parent, in one terminal.

Data folder and lock, master key, PostgreSQL and Redis (our own unless URLs are
configured), schema, a key for the command line, then relay, worker, web and, with
``PICLOUD_SMTP_BIND``, mail. Everything ends with this process, however it ends: what a
SIGKILL leaves is ended by the next start before it begins. Stdout carries one line,
``ready http://…``; everything else is stderr. While nobody can sign in, the link that makes
the first admin is printed, where stderr is a terminal.
"""

from __future__ import annotations

import http.client
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol, TypeAlias

import psycopg

from picloud.database import connect
from picloud.errors import ConfigurationError, PiCloudError
from picloud.identity.keys import ensure_operator_key
from picloud.identity.setup import make_setup_link, needs_admin
from picloud.local.children import Child
from picloud.local.data_folder import DataFolder, RunningChild, Runtime, locate, open_data_folder
from picloud.local.leftovers import boot_id, end_leftovers, read_process
from picloud.local.master_key import ensure_master_key, master_key_path
from picloud.local.postgres import PostgresServer
from picloud.local.processes import Process, ProcessService, load_processes, wanted_names
from picloud.local.redis import RedisServer, require_redis
from picloud.local.signals import Signals
from picloud.local.supervisor import Service, Supervisor
from picloud.mail.bind import parse_bind
from picloud.migrations import migrate
from picloud.profiles import Profile, load_profiles, save_profile
from picloud.settings import Settings

#: Finds processes by their names.
Load: TypeAlias = Callable[[Sequence[str]], Mapping[str, Process]]

_PROFILE = "local"
_ANSWER_SECONDS = 1.0


class Echo(Protocol):
    """How lines reach the terminal; ``click.echo`` fits."""

    def __call__(self, message: str, /, *, err: bool = False) -> object: ...


def run_up(settings: Settings, *, echo: Echo, is_terminal: bool = False, load: Load = load_processes) -> int:
    """Run the platform until a signal stops it.

    Args:
        settings: what was configured; URLs left empty mean servers of our own.
        echo: prints a line, to stderr with ``err=True``.
        is_terminal: stderr is read by a person, and kept by nobody: the link of the first admin may be printed there.
        load: finds processes by their names.

    Returns:
        The exit code: 0 after a stop that was asked for, 130 when a second signal cut it short.

    Raises:
        PiCloudError: the platform could not start; its message is one clear line.
    """
    folder = open_data_folder(locate(settings))
    with folder.locked() as lock, Signals() as signals:
        return _Platform(folder, settings, echo, signals, lock, is_terminal=is_terminal).run(load)


class _Platform:
    """One run of ``up``, so that its steps need not hand each other everything."""

    def __init__(
        self, folder: DataFolder, settings: Settings, echo: Echo, signals: Signals, lock: int, *, is_terminal: bool
    ) -> None:
        self._folder = folder
        self._settings = replace(settings, data_dir=folder.path)
        self._echo = echo
        self._signals = signals
        self._lock = lock
        self._is_terminal = is_terminal
        self._supervisor = Supervisor(signals, self._say, self._write_runtime)
        self._servers: list[PostgresServer | RedisServer] = []

    def run(self, load: Load) -> int:
        """See ``run_up``."""
        killed = False
        try:
            self._start(load)
            self._signals.interrupting = False
            self._supervisor.run(self._is_ready, self._tell_ready)
        except KeyboardInterrupt:
            self._signals.wait(0)  # forget the signal that brought us here: it is not a second one
        finally:
            self._signals.interrupting = False
            killed = self._supervisor.stop()
            for server in self._servers:
                server.clean_up()
            self._folder.remove_runtime()
        return 130 if killed else 0

    def _start(self, load: Load) -> None:
        if left := self._folder.read_runtime():
            end_leftovers(left, self._say)
        self._require_free_addresses()
        processes = load(wanted_names(self._settings))
        self._provide_master_key()
        self._provide_servers()
        for applied in migrate(self._settings.database_url):
            self._say(f"schema: applied {applied}")
        self._provide_profile()
        for name, process in processes.items():
            self._say(f"starting {name}")
            close = (self._lock, *self._signals.descriptors)
            self._launch(ProcessService(name, process, self._settings, close))

    def _require_free_addresses(self) -> None:
        require_free_address(
            self._settings.bind_host, self._settings.bind_port, hint="choose another one with --bind or PICLOUD_BIND"
        )
        if self._settings.smtp_bind:
            mail = parse_bind(self._settings.smtp_bind)
            if mail.path is None:
                require_free_address(mail.host, mail.port, hint="choose another one with PICLOUD_SMTP_BIND")

    def _provide_master_key(self) -> None:
        path = master_key_path(self._settings).absolute()
        ensure_master_key(path)
        self._settings = replace(self._settings, master_key_file=str(path))

    def _provide_servers(self) -> None:
        if self._settings.database_url:
            self._say("using the configured PostgreSQL")
        else:
            postgres = PostgresServer(self._folder, self._say)
            self._start_server(postgres)
            self._settings = replace(self._settings, database_url=postgres.url)
        if self._settings.redis_url:
            self._say("using the configured Redis")
            require_redis(self._settings.redis_url)
        else:
            redis = RedisServer(self._folder, self._say)
            self._start_server(redis)
            self._settings = replace(self._settings, redis_url=redis.url)

    def _start_server(self, server: PostgresServer | RedisServer) -> None:
        self._servers.append(server)
        server.prepare()
        self._say(f"starting {server.name}")
        server.start(lambda: self._launch(server))

    def _launch(self, service: Service) -> Child:
        with self._signals.held():
            return self._supervisor.launch(service)

    def _provide_profile(self) -> None:
        """Give the command line a key, the one it has when that still works."""
        url = local_url(self._settings)
        try:
            profiles = load_profiles(os.environ)
            before = profiles.by_name.get(_PROFILE)
            with connect(self._settings.database_url, name="up") as connection:
                now = Profile(url, ensure_operator_key(connection, before.token if before else None))
            if now != before:
                # Whoever works with another server at the moment goes on doing so.
                save_profile(_PROFILE, now, make_current=False)
        except ConfigurationError as error:
            self._say(f"the command line has no key for this platform: {error.message}")
            return
        if profiles.current not in ("", _PROFILE):
            self._say(f"the command line talks to {profiles.current!r}; `picloud context use {_PROFILE}` changes that")

    def _is_ready(self) -> bool:
        return answers(self._settings)

    def _tell_ready(self) -> None:
        url = self._settings.public_url.rstrip("/") or local_url(self._settings)
        self._echo(f"ready {url}")
        try:
            self._tell_of_first_admin(url)
        except psycopg.Error as error:  # what runs goes on
            self._say(f"nobody was asked whether there is an admin: {error}")

    def _tell_of_first_admin(self, url: str) -> None:
        """How somebody becomes the first admin; the link itself only where no log keeps it."""
        with connect(self._settings.database_url, name="up") as connection:
            if not needs_admin(connection):
                return
            if self._is_terminal:
                link = make_setup_link(connection, url)
                self._say(f"nobody can sign in yet; this link makes the owner, once, within 15 minutes:\n  {link}")
            else:
                self._say("nobody can sign in yet; `picloud users setup-link` prints a link that makes the owner")

    def _say(self, line: str) -> None:
        self._echo(f"picloud: {line}", err=True)

    def _write_runtime(self, children: Mapping[str, Child]) -> None:
        ourselves = read_process(os.getpid())
        runtime = Runtime(
            pid=os.getpid(),
            boot_id=boot_id(),
            command=ourselves.command if ourselves else "",
            url=local_url(self._settings),
            database_url=self._settings.database_url,
            redis_url=self._settings.redis_url,
            children=tuple(
                RunningChild(name, child.pid, facts.started)
                for name, child in children.items()
                if (facts := read_process(child.pid))
            ),
        )
        try:
            self._folder.write_runtime(runtime)
        except PiCloudError as error:  # a full disk is no reason to end what runs
            self._say(error.message)


def local_url(settings: Settings) -> str:
    """PiCloud's own host as this machine reaches it."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.bind_host, settings.bind_host)  # noqa: S104
    return f"http://[{host}]:{settings.bind_port}" if ":" in host else f"http://{host}:{settings.bind_port}"


def answers(settings: Settings) -> bool:
    """Whether ``/healthz`` answers 200 at this moment."""
    connection = http.client.HTTPConnection(local_url(settings).removeprefix("http://"), timeout=_ANSWER_SECONDS)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def require_free_address(host: str, port: int, *, hint: str) -> None:
    """Raise ConfigurationError, with ``hint``, unless a process of ours will be able to listen there."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            # As the servers will ask: connections that linger from a server stopped just now are no obstacle.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen(1)
    except OSError as error:
        raise ConfigurationError(f"cannot listen on {host}:{port}: {error.strerror}", hint=hint) from error
