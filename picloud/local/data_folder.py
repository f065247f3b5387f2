"""The folder ``picloud up`` lives in, and the proof that only one of it lives there.

::

    lock              held (flock) while an ``up`` runs; its pid inside is for messages only
    runtime.json      what is running: pids, URLs; 0600, removed by a clean stop
    master.key        see ``master_key``
    passwords.json    of our own PostgreSQL; 0600
    postgres/ redis/  the servers' own folders, owned by whom they run as

The lock is the kernel's: it is gone with the process that held it, however it ended, so
a lock can never be stale. The folder is 0700; when root starts servers as somebody else
it is 0710 with that account's group, who may pass through and not look around.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from picloud.errors import ConfigurationError
from picloud.local.server_user import ServerUser, choose_server_user, closed_folder
from picloud.settings import MIB, Settings, default_data_dir

#: Where root keeps the data when the way to root's home is closed to the servers' account.
_ROOTS_DATA = Path("/var/lib/picloud")


class RunningChild(msgspec.Struct, frozen=True):
    """A child of an ``up``; it leads a session whose id is its pid."""

    name: str
    pid: int
    #: Ticks since the machine started; see ``leftovers``.
    started: int


class Runtime(msgspec.Struct, frozen=True):
    """What an ``up`` has running: the content of ``runtime.json``."""

    pid: int
    boot_id: str
    #: The command line of the ``up``, as /proc shows it.
    command: str
    url: str
    database_url: str
    redis_url: str
    children: tuple[RunningChild, ...] = ()


@dataclass(frozen=True, slots=True)
class DataFolder:
    """The paths inside, and what is done with them."""

    path: Path
    #: Whom servers run as; None: as we do.
    server_user: ServerUser | None

    @property
    def lock_file(self) -> Path:
        return self.path / "lock"

    @property
    def runtime_file(self) -> Path:
        return self.path / "runtime.json"

    @property
    def passwords_file(self) -> Path:
        return self.path / "passwords.json"

    @property
    def postgres(self) -> Path:
        return self.path / "postgres"

    @property
    def redis(self) -> Path:
        return self.path / "redis"

    @property
    def binaries(self) -> Path:
        """Copies of server binaries, see ``server_user.within_reach``."""
        return self.path / "binaries"

    @contextmanager
    def locked(self) -> Generator[int]:
        """Be the only ``up`` on this folder for the length of the block.

        Yields:
            The descriptor that holds the lock. A fork must close its copy, or the lock outlives us.

        Raises:
            ConfigurationError: another ``up`` is running here.
        """
        descriptor = os.open(self.lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                pid = os.read(descriptor, 32).decode().strip() or "unknown"
                raise ConfigurationError(
                    f"PiCloud is already running on {self.path} (process {pid})",
                    hint="stop that one first, or give this one its own folder with --data",
                ) from None
            os.truncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
            yield descriptor
        finally:
            os.close(descriptor)

    def write_runtime(self, runtime: Runtime) -> None:
        write_private(self.runtime_file, msgspec.json.encode(runtime))

    def read_runtime(self) -> Runtime | None:
        """What the last ``up`` wrote; it may have been killed since. None: nothing, or nothing readable."""
        try:
            return msgspec.json.decode(self.runtime_file.read_bytes(), type=Runtime)
        except (OSError, msgspec.DecodeError):
            return None

    def remove_runtime(self) -> None:
        self.runtime_file.unlink(missing_ok=True)

    def is_in_use(self) -> bool:
        """Whether an ``up`` runs here now."""
        try:
            with self.lock_file.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    def require_room(self, needed_bytes: int, purpose: str) -> None:
        """Raise ConfigurationError unless the disk has ``needed_bytes`` left for ``purpose``."""
        free = shutil.disk_usage(self.path).free
        if free < needed_bytes:
            raise disk_full(self.path, f"{purpose} needs {needed_bytes // MIB} MiB and {free // MIB} MiB are free")


def locate(settings: Settings, environ: Mapping[str, str] | None = None) -> Path:
    """The path of the data folder, whether it exists or not.

    Root's default would be below ``/root``, where servers that run as somebody else cannot
    go: then it is ``/var/lib/picloud``.
    """
    user = choose_server_user()
    is_default = settings.data_dir == default_data_dir(os.environ if environ is None else environ)
    if user and is_default and closed_folder(settings.data_dir.parent, user):
        return _ROOTS_DATA
    return settings.data_dir.absolute()


def open_data_folder(path: Path) -> DataFolder:
    """Make the folder if need be and set its permissions right.

    Raises:
        ConfigurationError: it cannot be made, written, or reached by the servers' account.
    """
    user = choose_server_user(made_before=path / "postgres")
    if user and (closed := closed_folder(path.parent, user)):
        raise ConfigurationError(
            f"{path}: PostgreSQL runs as {user.name} and may not pass through {closed}",
            hint=f"use a folder such as {_ROOTS_DATA}, or start PiCloud as an ordinary user",
        )
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if user:
            os.chown(path, 0, user.gid)
        path.chmod(0o710 if user else 0o700)
    except OSError as error:
        raise _unusable(path, error) from error
    return DataFolder(path, user)


def with_running_servers(settings: Settings) -> Settings:
    """The settings completed with the servers a running ``up`` started on the same data folder.

    For commands beside it (``doctor``, ``migrate``). URLs that were configured stay.
    """
    folder = DataFolder(locate(settings), None)
    runtime = folder.read_runtime()
    if runtime is None or not folder.is_in_use():
        return settings
    return replace(
        settings,
        database_url=settings.database_url or runtime.database_url,
        redis_url=settings.redis_url or runtime.redis_url,
    )


def running_url(settings: Settings) -> str:
    """PiCloud's own host as a running ``up`` on the same data folder serves it; empty: none runs."""
    folder = DataFolder(locate(settings), None)
    runtime = folder.read_runtime()
    return runtime.url if runtime is not None and folder.is_in_use() else ""


def write_private(path: Path, content: bytes) -> None:
    """Replace a file as a whole, readable by its owner only and never seen half written.

    Raises:
        ConfigurationError: the disk is full or the folder cannot be written.
    """
    unfinished = path.with_name(f"{path.name}.unfinished")
    try:
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    except OSError as error:
        raise _unusable(path, error) from error


def read_private_json(path: Path) -> dict[str, Any] | None:
    """What ``write_private`` wrote as JSON; None when there is no such file."""
    try:
        return dict(json.loads(path.read_bytes()))
    except FileNotFoundError:
        return None


def disk_full(path: Path, detail: str) -> ConfigurationError:
    """The one way a full disk is reported."""
    return ConfigurationError(
        f"the disk that holds {path} is full: {detail}", hint="free some space, or choose another disk with --data"
    )


def _unusable(path: Path, error: OSError) -> ConfigurationError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return disk_full(path.parent, error.strerror or "no space left")
    return ConfigurationError(
        f"{path}: {error.strerror}", hint="choose a folder you may write to with --data or PICLOUD_DATA_DIR"
    )
