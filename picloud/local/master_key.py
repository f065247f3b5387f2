"""The master key: 32 random bytes that every secret of an installation is sealed with.

It is no password and never leaves the machines that need it. A fleet copies the file to
each of them; losing it loses the secrets, and only those.

While one key takes the place of another (see ``master_key_rotation``) the file holds both,
one after the other: the first one signs, either opens and verifies.
"""

from __future__ import annotations

import logging
import os
import secrets
import stat
import threading
from collections.abc import Mapping
from pathlib import Path

from picloud.errors import ConfigurationError
from picloud.failpoints import failpoint
from picloud.local.data_folder import locate, write_private
from picloud.settings import Settings

_LOG = logging.getLogger("picloud.master_key")

KEY_BYTES = 32
MOST_KEYS = 2


def master_key_path(settings: Settings, environ: Mapping[str, str] | None = None) -> Path:
    """Where the key is: the setting, else systemd's credential, else ``master.key`` in the data folder."""
    environ = os.environ if environ is None else environ
    if settings.master_key_file:
        return Path(settings.master_key_file).expanduser()
    credentials = environ.get("CREDENTIALS_DIRECTORY")
    if credentials and (credential := Path(credentials) / "master.key").exists():
        return credential
    return locate(settings, environ) / "master.key"


def load_master_keys(path: Path) -> tuple[bytes, ...]:
    """Read the keys: one, or two while one takes the place of the other.

    Raises:
        ConfigurationError: there is none, it cannot be read, or it is no file of keys.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigurationError(
            f"master key {path}: {error.strerror}",
            hint="copy it from the machine that made it, and name it with PICLOUD_MASTER_KEY_FILE",
        ) from error
    keys = tuple(content[start : start + KEY_BYTES] for start in range(0, len(content), KEY_BYTES))
    if len(content) not in (KEY_BYTES, MOST_KEYS * KEY_BYTES):
        raise ConfigurationError(
            f"master key {path}: expected {KEY_BYTES} bytes, or {MOST_KEYS * KEY_BYTES} of two keys,"
            f" found {len(content)}",
            hint="copy it anew, as bytes: it is no text and has no line end",
        )
    if len(set(keys)) < len(keys):
        raise ConfigurationError(
            f"master key {path}: holds the same key twice", hint=f"its first {KEY_BYTES} bytes alone are the key"
        )
    return keys


class MasterKeyFile:
    """The keys for a process whose errors strangers see: callers of an API, authors of scripts. Thread-safe.

    Nothing is read before the first call. Every call looks whether the file was replaced (one
    ``stat``), so a process goes on with new keys without being started anew; a credential of
    systemd is a copy that stays what it was at the start of the service.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._seen: _Seen | None = None
        self._keys: tuple[bytes, ...] = ()

    def __call__(self) -> tuple[bytes, ...]:
        """The keys; the first one signs.

        Raises:
            ConfigurationError: there is none that can be read; which file that is about, only the log says.
        """
        with self._lock:
            path = master_key_path(self._settings)
            seen = _look_at(path)
            if seen != self._seen:
                self._seen = seen
                self._read(path)
            if not self._keys:
                raise ConfigurationError(
                    "this process cannot read it", hint="its log names the file; `picloud doctor` checks it"
                )
            return self._keys

    def _read(self, path: Path) -> None:
        try:
            self._keys = load_master_keys(path)
        except ConfigurationError as error:
            kept = "; this process goes on with what it has read before" if self._keys else ""
            _LOG.error("%s (%s)%s", error.message, error.hint, kept)


#: What tells one version of a file from another; only the path when it cannot be looked at.
_Seen = tuple[Path, int, int, int]


def _look_at(path: Path) -> _Seen:
    try:
        found = path.stat()
    except OSError:
        return path, 0, 0, 0
    return path, found.st_ino, found.st_mtime_ns, found.st_size


def master_key_source(settings: Settings) -> str | None:
    """Names the file so that two processes can tell whether they look at the same one; None: it is a mere copy.

    By the folder's identity in the running kernel: cloned machines share host names,
    containers share paths, and the file itself is another one after each replacement.
    """
    path = master_key_path(settings).resolve()
    credentials = os.environ.get("CREDENTIALS_DIRECTORY")
    if credentials and path.is_relative_to(Path(credentials).resolve()):
        return None
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
        folder = path.parent.stat()
    except OSError:
        return None
    return f"{boot}/{folder.st_dev}:{folder.st_ino}/{path.name}"


def ensure_master_key(path: Path) -> bytes:
    """Read the key that signs, or make one where there is none.

    Raises:
        ConfigurationError: it can neither be read nor made.
    """
    if not path.exists():
        write_private(path, secrets.token_bytes(KEY_BYTES))
        _sync_folder(path.parent)  # what is sealed with it may be on disk in a moment
    return load_master_keys(path)[0]


def replace_master_keys(path: Path, keys: tuple[bytes, ...]) -> None:
    """Put other keys into the file: all of them or, after a crash, what was there before.

    Durable when it returns, the entry of the folder too. The file keeps its owner: who
    changes it (root) need not be who reads it.

    Raises:
        ConfigurationError: the disk is full or the folder cannot be written.
    """
    path = path.resolve()
    unfinished = path.with_name(f"{path.name}.unfinished")
    try:
        before = path.stat()
        unfinished.unlink(missing_ok=True)
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            if (before.st_uid, before.st_gid) != (os.geteuid(), os.getegid()):
                os.fchown(file.fileno(), before.st_uid, before.st_gid)
            os.fchmod(file.fileno(), stat.S_IMODE(before.st_mode))
            file.write(b"".join(keys))
            file.flush()
            os.fsync(file.fileno())
        failpoint("master_key.written")
        unfinished.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        raise ConfigurationError(
            f"master key {path}: {error.strerror}",
            hint="run it as the owner of the file, or as root",
        ) from error


def _sync_folder(folder: Path) -> None:
    """Make a renamed file durable: a lost entry would bring the old one back (fsync(2))."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def readable_by_others(path: Path) -> bool:
    """Whether anybody but the owner may read the key."""
    return bool(path.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH))
