"""The configuration of a process: one frozen ``Settings``, read in one place.

Values come from ``PICLOUD_*`` environment variables (systemd reads the same
names from ``picloud.env``). Every problem is found before any is reported, so
that one start shows them all. An unknown ``PICLOUD_*`` name is refused: a
misspelt setting that is silently ignored is worse than a process that stops.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from picloud.errors import SettingsError
from picloud.logs import FORMATS
from picloud.retries import Backoff, RetryPolicy

_PREFIX = "PICLOUD_"

KIB = 1024
MIB = 1024 * KIB


@dataclass(frozen=True, slots=True)
class SandboxCeilings:
    """The most a script may ask for; a script's own limits are cut to these."""

    #: Operations of the Rhai engine one run may spend.
    max_operations: int = 100_000_000
    #: Bytes one run may hold at once.
    max_memory_bytes: int = 64 * MIB
    #: Nested calls of script functions.
    max_call_depth: int = 64
    #: Bytes of one string.
    max_string_bytes: int = 1 * MIB
    #: Items of one array, nested ones included.
    max_array_length: int = 10_000
    #: Entries of one map, nested ones included.
    max_map_length: int = 10_000
    #: Wall time one run may take, in seconds.
    max_timeout_seconds: float = 60.0


@dataclass(frozen=True, slots=True)
class RetryDefaults:
    """How a failed asynchronous run is tried again when nothing else is said."""

    #: Runs in all, the first one included.
    max_attempts: int = 3
    #: How the delay grows: exponential, linear or constant.
    backoff: Backoff = "exponential"
    #: The first delay, in milliseconds.
    base_ms: int = 1_000
    #: The longest delay, in milliseconds.
    max_ms: int = 3_600_000
    #: How far a delay is moved at random, in percent of itself, both ways.
    jitter_pct: int = 20

    def policy(self) -> RetryPolicy:
        """The policy of a row that nothing gives one of its own."""
        return RetryPolicy(self.max_attempts, self.backoff, self.base_ms, self.max_ms, self.jitter_pct)


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything a process may be told from outside. Field by field in docs/configuration.md."""

    #: PostgreSQL, as a libpq URL; empty: ``picloud up`` runs its own.
    database_url: str = ""
    #: Redis or Valkey; empty: ``picloud up`` runs its own.
    redis_url: str = ""
    #: Where the web processes listen, ``HOST:PORT``.
    bind: str = "127.0.0.1:8000"
    #: The URL people reach PiCloud under; empty: derived from ``bind``.
    public_url: str = ""
    #: Where ``picloud up`` keeps its databases, key and profile.
    data_dir: Path = field(default_factory=lambda: default_data_dir(os.environ))
    #: The file that holds the master key; empty: ``master.key`` in the data folder.
    master_key_file: str = ""
    #: Worker processes of one ``picloud worker``; 0: one for every core.
    worker_processes: int = 1
    #: Threads that run scripts, in each worker process.
    worker_threads: int = 4
    #: Sync requests that may be waiting for an answer at once, in each web process.
    max_sync_in_flight: int = 256
    #: Rows a relay claims in one statement at most.
    relay_batch_size: int = 512
    #: Hops from cause to effect before a run is refused as ``depth_exceeded``.
    max_trigger_depth: int = 8
    retry: RetryDefaults = RetryDefaults()
    sandbox: SandboxCeilings = SandboxCeilings()
    #: Days a dead letter is kept after it was resolved or died.
    dead_letter_retention_days: int = 30
    audit_retention_days: int = 365
    #: Days the record of an abandoned sync run is kept.
    abandoned_executions_retention_days: int = 7
    #: Days executions, their logs and payloads are kept.
    execution_retention_days: int = 7
    #: Bytes of history (payloads, executions, logs) kept at most; the oldest days go first.
    history_max_bytes: int = 10 * 1024 * MIB
    #: Bytes of a request body accepted at most.
    max_body_bytes: int = 1 * MIB
    #: Bytes of keys and values one app may keep.
    kv_max_bytes: int = 1024 * MIB
    #: Keys one app may keep.
    kv_max_keys: int = 1_000_000
    #: Bytes of one value.
    kv_max_value_bytes: int = 256 * KIB
    #: Where mail comes in: ``HOST:PORT``, ``lmtp:HOST:PORT`` or ``unix:/PATH``; empty: ``picloud up`` takes none.
    smtp_bind: str = ""
    #: The server that outgoing mail is handed to; empty: this installation sends none.
    smtp_url: str = ""
    #: The sender of outgoing mail; needed with ``smtp_url``.
    mail_from: str = ""
    #: How processes log: ``text``, ``json`` or ``journald``; empty: by where stderr goes.
    log_format: str = ""
    #: Addresses or networks of proxies whose ``X-Forwarded-*`` headers are believed.
    trusted_proxies: tuple[str, ...] = ()

    @property
    def bind_host(self) -> str:
        return self.bind.rpartition(":")[0].strip("[]")

    @property
    def bind_port(self) -> int:
        return int(self.bind.rpartition(":")[2])

    @property
    def base_url(self) -> str:
        """The URL of PiCloud's own host, without a slash at its end."""
        return (self.public_url or f"http://{self.bind}").rstrip("/")


def default_data_dir(environ: Mapping[str, str]) -> Path:
    """``$XDG_DATA_HOME/picloud``, by the XDG base directory specification."""
    base = environ.get("XDG_DATA_HOME")
    return (Path(base) if base else Path(environ.get("HOME", "/var/lib"), ".local", "share")) / "picloud"


def load_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """Read the settings from ``environ`` (the process' own by default).

    Raises:
        SettingsError: names every variable that is wrong or unknown, its value
            and what was expected.
    """
    environ = os.environ if environ is None else environ
    given = {name: value for name, value in environ.items() if name.startswith(_PREFIX)}
    problems: list[str] = []
    values: dict[str, Any] = {}
    for name, value in sorted(given.items()):
        variable = _VARIABLES.get(name)
        if variable is None:
            if name not in _FOR_OTHERS:
                problems.append(f"{name}: no such setting{_suggestion(name)}")
            continue
        try:
            values[variable.path] = variable.parse(value)
        except ValueError as error:
            problems.append(f"{name}={_shown(name, value)}: expected {error}")
    if given.get("PICLOUD_SMTP_URL") and not given.get("PICLOUD_MAIL_FROM"):
        problems.append("PICLOUD_MAIL_FROM is not set, but PICLOUD_SMTP_URL is: expected the sender of outgoing mail")
    if problems:
        raise SettingsError(
            "wrong settings:\n  " + "\n  ".join(problems), hint="see docs/configuration.md for every name and value"
        )
    values.setdefault("data_dir", default_data_dir(environ))
    return _assemble(values)


def _assemble(values: Mapping[str, Any]) -> Settings:
    nested: dict[str, dict[str, Any]] = {"retry": {}, "sandbox": {}}
    flat: dict[str, Any] = {}
    for path, value in values.items():
        group, _, name = path.rpartition(".")
        (nested[group] if group else flat)[name] = value
    return Settings(retry=RetryDefaults(**nested["retry"]), sandbox=SandboxCeilings(**nested["sandbox"]), **flat)


@dataclass(frozen=True, slots=True)
class _Variable:
    path: str
    parse: Callable[[str], Any]


def _whole(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = low - 1
        if not low <= number <= high:
            raise ValueError(f"a whole number from {low} to {high}")
        return number

    return parse


def _seconds(low: float, high: float) -> Callable[[str], float]:
    def parse(text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            number = low - 1
        if not low <= number <= high:
            raise ValueError(f"seconds from {low:g} to {high:g}")
        return number

    return parse


def _url(*schemes: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if urlsplit(text).scheme not in schemes:
            raise ValueError(f"a URL that starts with {' or '.join(scheme + '://' for scheme in schemes)}")
        return text

    return parse


def _host_and_port(text: str) -> str:
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65_536:
        raise ValueError("HOST:PORT, as in 127.0.0.1:8000")
    return text


def _mail_bind(text: str) -> str:
    from picloud.mail.bind import parse_bind

    if text:
        parse_bind(text)
    return text


def _smtp_url(text: str) -> str:
    from picloud.mail.transport import parse_smtp_url

    if text:
        parse_smtp_url(text)
    return text


def _mailbox(text: str) -> str:
    from picloud.mail.addresses import parse_mailbox

    if text:
        parse_mailbox(text)
    return text


def _networks(text: str) -> tuple[str, ...]:
    networks = tuple(part.strip() for part in text.split(",") if part.strip())
    for network in networks:
        try:
            ipaddress.ip_network(network, strict=False)
        except ValueError:
            raise ValueError("addresses or networks with commas between, as in 10.0.0.1,192.168.1.0/24") from None
    return networks


def _backoff(text: str) -> Backoff:
    match text:
        case "exponential" | "linear" | "constant":
            return text
        case _:
            raise ValueError("exponential, linear or constant")


def _log_format(text: str) -> str:
    if text and text not in FORMATS:
        raise ValueError("text, json or journald")
    return text


def _path(text: str) -> Path:
    if not text:
        raise ValueError("a path")
    return Path(text).expanduser()


_GIB = 1024 * MIB

_VARIABLES: dict[str, _Variable] = {
    "PICLOUD_DATABASE_URL": _Variable("database_url", _url("postgresql", "postgres")),
    "PICLOUD_REDIS_URL": _Variable("redis_url", _url("redis", "rediss", "unix")),
    "PICLOUD_BIND": _Variable("bind", _host_and_port),
    "PICLOUD_PUBLIC_URL": _Variable("public_url", _url("http", "https")),
    "PICLOUD_DATA_DIR": _Variable("data_dir", _path),
    "PICLOUD_MASTER_KEY_FILE": _Variable("master_key_file", str),
    "PICLOUD_WORKER_PROCESSES": _Variable("worker_processes", _whole(0, 256)),
    "PICLOUD_WORKER_THREADS": _Variable("worker_threads", _whole(1, 256)),
    "PICLOUD_MAX_SYNC_IN_FLIGHT": _Variable("max_sync_in_flight", _whole(1, 100_000)),
    "PICLOUD_RELAY_BATCH_SIZE": _Variable("relay_batch_size", _whole(1, 1_024)),
    "PICLOUD_MAX_TRIGGER_DEPTH": _Variable("max_trigger_depth", _whole(0, 1_000)),
    "PICLOUD_TRIGGER_RETRY_MAX_ATTEMPTS": _Variable("retry.max_attempts", _whole(1, 1_000)),
    "PICLOUD_TRIGGER_RETRY_BACKOFF": _Variable("retry.backoff", _backoff),
    "PICLOUD_TRIGGER_RETRY_BASE_MS": _Variable("retry.base_ms", _whole(0, 86_400_000)),
    # Kept in 32 bits, which hold not quite 25 days.
    "PICLOUD_TRIGGER_RETRY_MAX_MS": _Variable("retry.max_ms", _whole(0, 24 * 86_400_000)),
    "PICLOUD_TRIGGER_RETRY_JITTER_PCT": _Variable("retry.jitter_pct", _whole(0, 100)),
    "PICLOUD_DEAD_LETTER_RETENTION_DAYS": _Variable("dead_letter_retention_days", _whole(1, 36_500)),
    "PICLOUD_AUDIT_RETENTION_DAYS": _Variable("audit_retention_days", _whole(1, 36_500)),
    "PICLOUD_ABANDONED_EXECUTIONS_RETENTION_DAYS": _Variable("abandoned_executions_retention_days", _whole(1, 36_500)),
    "PICLOUD_EXECUTION_RETENTION_DAYS": _Variable("execution_retention_days", _whole(1, 36_500)),
    "PICLOUD_HISTORY_MAX_BYTES": _Variable("history_max_bytes", _whole(16 * MIB, 1024 * _GIB)),
    "PICLOUD_SANDBOX_MAX_OPERATIONS": _Variable("sandbox.max_operations", _whole(1_000, 10**12)),
    "PICLOUD_SANDBOX_MAX_MEMORY_BYTES": _Variable("sandbox.max_memory_bytes", _whole(1 * MIB, _GIB)),
    "PICLOUD_SANDBOX_MAX_CALL_DEPTH": _Variable("sandbox.max_call_depth", _whole(1, 1_000)),
    "PICLOUD_SANDBOX_MAX_STRING_BYTES": _Variable("sandbox.max_string_bytes", _whole(1 * KIB, 256 * MIB)),
    "PICLOUD_SANDBOX_MAX_ARRAY_LENGTH": _Variable("sandbox.max_array_length", _whole(16, 10_000_000)),
    "PICLOUD_SANDBOX_MAX_MAP_LENGTH": _Variable("sandbox.max_map_length", _whole(16, 10_000_000)),
    "PICLOUD_SANDBOX_MAX_TIMEOUT_SECONDS": _Variable("sandbox.max_timeout_seconds", _seconds(0.1, 3_600)),
    "PICLOUD_MAX_BODY_BYTES": _Variable("max_body_bytes", _whole(1 * KIB, 256 * MIB)),
    "PICLOUD_KV_MAX_BYTES": _Variable("kv_max_bytes", _whole(1 * KIB, 1024 * _GIB)),
    "PICLOUD_KV_MAX_KEYS": _Variable("kv_max_keys", _whole(1, 10**9)),
    "PICLOUD_KV_MAX_VALUE_BYTES": _Variable("kv_max_value_bytes", _whole(1, 8 * MIB)),
    "PICLOUD_SMTP_BIND": _Variable("smtp_bind", _mail_bind),
    "PICLOUD_SMTP_URL": _Variable("smtp_url", _smtp_url),
    "PICLOUD_MAIL_FROM": _Variable("mail_from", _mailbox),
    "PICLOUD_TRUSTED_PROXIES": _Variable("trusted_proxies", _networks),
    "PICLOUD_LOG_FORMAT": _Variable("log_format", _log_format),
}

#: Read by the CLI's client or by the tests, not by the platform.
_FOR_OTHERS = frozenset({"PICLOUD_URL", "PICLOUD_TOKEN", "PICLOUD_CONFIG", "PICLOUD_FAILPOINT"})


def setting_names() -> tuple[str, ...]:
    """Every variable the platform reads, sorted: the docs and the environment file are checked against it."""
    return tuple(sorted(_VARIABLES))


def _suggestion(name: str) -> str:
    import difflib

    close = difflib.get_close_matches(name, _VARIABLES, n=1, cutoff=0.8)
    return f" (did you mean {close[0]}?)" if close else ""


def _shown(name: str, value: str) -> str:
    """The value as it may be printed: a URL can carry a password."""
    if name == "PICLOUD_SMTP_URL":
        # In one that cannot be read the password may be anywhere: `smtp://user:secret`, `smtp://user:se@cret`.
        scheme = re.match(r"[A-Za-z+]{1,20}://", value)
        return repr((scheme[0] if scheme else "") + "…")
    if name.endswith("_URL") and "@" in value:
        return "…@" + value.rpartition("@")[2]
    return repr(value)


def describe(settings: Settings) -> dict[str, object]:
    """The settings as ``doctor`` prints them, passwords left out."""
    shown: dict[str, object] = {}
    for each in fields(settings):
        value = getattr(settings, each.name)
        if isinstance(value, str) and "@" in value and each.name.endswith("_url"):
            value = "…@" + value.rpartition("@")[2]
        shown[each.name] = value
    return shown
