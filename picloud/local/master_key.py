"""The master key: 32 random bytes that every secret of an installation is sealed with.

It is no password and never leaves the machines that need it. A fleet copies the file to
each of them; losing it loses the secrets, and only those.
"""

from __future__ import annotations

import logging
import os
import secrets
import stat
from collections.abc import Mapping
from pathlib import Path

from picloud.errors import ConfigurationError
from picloud.local.data_folder import locate, write_private
from picloud.settings import Settings

_LOG = logging.getLogger("picloud.master_key")

_KEY_BYTES = 32


def master_key_path(settings: Settings, environ: Mapping[str, str] | None = None) -> Path:
    """Where the key is: the setting, else systemd's credential, else ``master.key`` in the data folder."""
    environ = os.environ if environ is None else environ
    if settings.master_key_file:
        return Path(settings.master_key_file).expanduser()
    credentials = environ.get("CREDENTIALS_DIRECTORY")
    if credentials and (credential := Path(credentials) / "master.key").exists():
        return credential
    return locate(settings, environ) / "master.key"


def load_master_key(path: Path) -> bytes:
    """Read the key.

    Raises:
        ConfigurationError: there is none, it cannot be read, or it is not 32 bytes.
    """
    try:
        key = path.read_bytes()
    except OSError as error:
        raise ConfigurationError(
            f"master key {path}: {error.strerror}",
            hint="copy it from the machine that made it, and name it with PICLOUD_MASTER_KEY_FILE",
        ) from error
    if len(key) != _KEY_BYTES:
        raise ConfigurationError(f"master key {path}: expected {_KEY_BYTES} bytes, found {len(key)}")
    return key


def read_master_key(settings: Settings) -> bytes:
    """Read the key for a process whose errors strangers see: callers of an API, authors of scripts.

    Raises:
        ConfigurationError: there is none that can be read; which file that is about, only the log says.
    """
    try:
        return load_master_key(master_key_path(settings))
    except ConfigurationError as error:
        _LOG.error("%s (%s)", error.message, error.hint)
        raise ConfigurationError(
            "this process cannot read it", hint="its log names the file; `picloud doctor` checks it"
        ) from error


def ensure_master_key(path: Path) -> bytes:
    """Read the key, or make one where there is none.

    Raises:
        ConfigurationError: it can neither be read nor made.
    """
    if not path.exists():
        write_private(path, secrets.token_bytes(_KEY_BYTES))
    return load_master_key(path)


def readable_by_others(path: Path) -> bool:
    """Whether anybody but the owner may read the key."""
    return bool(path.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH))
