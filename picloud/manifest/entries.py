"""The manifest as data: an app, its scripts, routes, triggers and queues."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from picloud.access.route_auth import OPEN, RouteAuth
from picloud.errors import ManifestError
from picloud.manifest.names import SCRIPT_SUFFIX, script_name, wrong_file
from picloud.triggers import QueueTrigger, Trigger

if TYPE_CHECKING:
    from collections.abc import Iterable

DispatchMode = Literal["sync", "async"]
DISPATCH_MODES: tuple[DispatchMode, ...] = ("sync", "async")

WHOLE_LIMITS = (
    "max_operations",
    "max_memory_bytes",
    "max_call_depth",
    "max_string_bytes",
    "max_array_length",
    "max_map_length",
)


@dataclass(frozen=True, slots=True)
class ScriptEntry:
    """One script of the app; a limit that is None is the platform's own."""

    name: str
    file: str
    timeout_seconds: float | None = None
    max_operations: int | None = None
    max_memory_bytes: int | None = None
    max_call_depth: int | None = None
    max_string_bytes: int | None = None
    max_array_length: int | None = None
    max_map_length: int | None = None

    def limits(self) -> dict[str, float | int]:
        """Only what the manifest asks for, by the field's name."""
        values = {key: getattr(self, key) for key in ("timeout_seconds", *WHOLE_LIMITS)}
        return {key: value for key, value in values.items() if value is not None}


@dataclass(frozen=True, slots=True)
class RouteEntry:
    """One endpoint. ``file`` is what the manifest names, ``script`` the name of the script in it."""

    method: str
    path: str
    script: str
    dispatch_mode: DispatchMode
    file: str
    auth: RouteAuth = OPEN

    def to_data(self) -> dict[str, Any]:
        """The entry as JSON values, the script by its file."""
        auth = {} if self.auth == OPEN else {"auth": self.auth.to_data()}
        return {
            "method": self.method,
            "path": self.path,
            "script": self.file,
            "dispatch_mode": self.dispatch_mode,
            **auth,
        }


@dataclass(frozen=True, slots=True)
class TriggerEntry:
    """One trigger, its name given or derived. The files are what the manifest names for the trigger's scripts.

    Attributes:
        file: of ``trigger.script``.
        failed_file: of the ``failed_script`` a dead-letter trigger may filter by.
    """

    trigger: Trigger
    file: str
    failed_file: str | None = None

    def to_data(self) -> dict[str, Any]:
        """The entry as JSON values, scripts by file."""
        failed = {} if self.failed_file is None else {"failed_script": self.failed_file}
        return self.trigger.to_data() | {"script": self.file} | failed


@dataclass(frozen=True, slots=True)
class QueueEntry:
    """One ``[[queue]]``: a queue that is there whether or not a trigger consumes it."""

    name: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """An app as its manifest tells it."""

    app: str
    #: Those with an entry of their own, then those that only a route or a trigger names.
    scripts: tuple[ScriptEntry, ...] = ()
    routes: tuple[RouteEntry, ...] = ()
    triggers: tuple[TriggerEntry, ...] = ()
    #: Those with an entry of their own; ``queue_names`` has those of triggers too.
    queues: tuple[QueueEntry, ...] = ()
    #: Names of secrets without which the app does not work.
    secrets: tuple[str, ...] = ()

    @property
    def queue_names(self) -> tuple[str, ...]:
        """Every queue of the app once, in the order of names: those declared, and those a trigger consumes."""
        details = [each.trigger.detail for each in self.triggers]
        consumed = [detail.queue for detail in details if isinstance(detail, QueueTrigger)]
        return tuple(sorted({*(queue.name for queue in self.queues), *consumed}))

    def to_data(self) -> dict[str, Any]:
        """The manifest as JSON values; ``parse_manifest`` makes the same manifest of them."""
        secrets = {"secrets": {"required": list(self.secrets)}} if self.secrets else {}
        return {
            "app": {"name": self.app},
            "script": [{"name": each.name, "file": each.file, **each.limits()} for each in self.scripts],
            "route": [each.to_data() for each in self.routes],
            "trigger": [each.to_data() for each in self.triggers],
            "queue": [{"name": each.name} for each in self.queues],
            **secrets,
        }

    def scripts_of(self, files: Iterable[str], file: str = "picloud.toml") -> tuple[ScriptEntry, ...]:
        """One entry for each script among ``files``, libraries that only others import included.

        Args:
            files: paths inside the app's folder; what does not end in ``.rhai`` is passed over.
            file: how messages name the manifest.

        Raises:
            ManifestError: a file the manifest names is not there, or two files give one name.
        """
        paths = _script_paths(files)
        if wrong := self.wrong_files(paths):
            raise ManifestError("\n".join(f"{file}: {message}" for _, message in wrong))
        return tuple(self._entry_of(path) for path in paths)

    def wrong_files(self, files: Iterable[str]) -> list[tuple[str, str]]:
        """What keeps ``files`` from being the scripts of this app: the file, and what to tell about it."""
        paths = _script_paths(files)
        missing = sorted({entry.file for entry in self.scripts} - set(paths))
        found = [(path, f"{path} does not exist") for path in missing]
        by_name: dict[str, ScriptEntry] = {}
        for path in paths:
            entry = self._entry_of(path)
            first = by_name.setdefault(entry.name, entry)
            if (wrong := wrong_file(path)) is not None:
                found.append((path, wrong))
            elif first is not entry:
                found.append((path, f"{first.file} and {path} would both be called {entry.name!r}"))
        return found

    def _entry_of(self, path: str) -> ScriptEntry:
        named = next((entry for entry in self.scripts if entry.file == path), None)
        return named or ScriptEntry(script_name(path), path)


def _script_paths(files: Iterable[str]) -> list[str]:
    return sorted(path for path in files if path.endswith(SCRIPT_SUFFIX))
