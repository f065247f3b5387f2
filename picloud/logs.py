"""The log of a process: to stderr, as text, for systemd's journal, or as JSON.

Whatever is logged while a run is handled says which: ``about`` puts its ids into the context, and every
format writes them, whoever logs. A thread or a task has its own context, so that runs do not mix.

``text`` stamps each line; ``journald`` begins each with its priority (``<4>``, sd-daemon(3)) and leaves the
time to the journal; ``json`` writes one object a line. Without a choice it is ``journald`` where stderr is
the journal, else ``text``.
"""

from __future__ import annotations

import contextvars
import datetime as dt
import json
import logging
import os
import sys
from collections.abc import Callable, Mapping
from typing import Literal

Format = Literal["text", "json", "journald"]
FORMATS: tuple[Format, ...] = ("text", "json", "journald")

#: What the line is about: ``execution_id``, ``root_execution_id``, ``app``, … Empty outside of a run.
_CONTEXT: contextvars.ContextVar[About] = contextvars.ContextVar("picloud_log_context")
_NOTHING: Mapping[str, object] = {}
#: What every line of this process carries, whatever it is about.
_PROCESS: dict[str, object] = {}

#: Syslog's priorities, of RFC 5424.
_PRIORITIES = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))
_DEBUG_PRIORITY = 7


class About:
    """A block whose lines carry ids, beside those of the block around it; made by ``about``.

    PERF: every run enters one and hardly any logs a line, so the ids are worked out when one does: half the time.
    """

    __slots__ = ("_around", "_ids", "_token")

    def __init__(self, ids: Callable[[], Mapping[str, object]]) -> None:
        self._ids = ids
        self._around = _CONTEXT.get(None)
        self._token: contextvars.Token[About] | None = None

    def __enter__(self) -> None:
        self._token = _CONTEXT.set(self)

    def __exit__(self, *_: object) -> None:
        if self._token is not None:
            _CONTEXT.reset(self._token)

    def ids(self) -> Mapping[str, object]:
        """What the lines carry."""
        return self._ids() if self._around is None else {**self._around.ids(), **self._ids()}


def about(**ids: object) -> About:
    """For ``with``: inside, every line of this thread or task carries these ids."""
    return About(lambda: ids)


def about_lazily(ids: Callable[[], Mapping[str, object]]) -> About:
    """The same with ids that are asked for when a line is logged."""
    return About(ids)


def identify(**ids: object) -> None:
    """From now on every line of this process carries ``ids``: which worker it is."""
    _PROCESS.update(ids)


def _add_context(record: logging.LogRecord) -> bool:
    """A filter that lets everything pass; asked by the thread that logs, whose context it is."""
    around = _CONTEXT.get(None)
    record.about = around.ids() if around is not None else _NOTHING
    return True


class _TextFormatter(logging.Formatter):
    """``WARNING picloud.worker: message [app=shop execution_id=…]``."""

    def __init__(self, *, stamped: bool) -> None:
        super().__init__(("%(asctime)s " if stamped else "") + "%(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # logging's own name
        text = super().formatMessage(record)
        ids = _about(record)
        if not ids:
            return text
        shown = {name: value for name, value in {**ids, **_PROCESS}.items() if name != "process"}
        return f"{text} [{' '.join(f'{name}={value}' for name, value in shown.items())}]"


class _JournalFormatter(_TextFormatter):
    """The same without the time; every line of it, of a traceback too, begins with the priority."""

    def __init__(self) -> None:
        super().__init__(stamped=False)

    def format(self, record: logging.LogRecord) -> str:
        priority = next((number for level, number in _PRIORITIES if record.levelno >= level), _DEBUG_PRIORITY)
        return "\n".join(f"<{priority}>{line}" for line in super().format(record).splitlines())


class _JsonFormatter(logging.Formatter):
    """One object a line."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "at": dt.datetime.fromtimestamp(record.created, dt.UTC).isoformat(timespec="microseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            "pid": record.process,
            **_PROCESS,
            **_about(record),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, ensure_ascii=False)


def _about(record: logging.LogRecord) -> Mapping[str, object]:
    found: Mapping[str, object] = getattr(record, "about", _NOTHING)
    return found


def configure_logging(wanted: str = "", process: str = "") -> None:
    """Set up the process' log unless somebody has; called by each entry point.

    Args:
        wanted: a format; empty: the one that fits where stderr goes.
        process: web, relay, worker or mail: part of every JSON line.
    """
    if process:
        identify(process=process)
    root = logging.getLogger()
    if not root.handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(formatter(wanted or default_format()))
        handler.addFilter(_add_context)
        root.addHandler(handler)
        root.setLevel(logging.INFO)
    # Dramatiq tells of its threads' every start and stop; nobody needs that but its authors.
    logging.getLogger("dramatiq").setLevel(logging.WARNING)


def formatter(name: str) -> logging.Formatter:
    """The formatter of a format."""
    match name:
        case "json":
            return _JsonFormatter()
        case "journald":
            return _JournalFormatter()
        case _:
            return _TextFormatter(stamped=True)


def default_format(environ: Mapping[str, str] = os.environ) -> Format:
    """The journal's where stderr is the journal: systemd says which file that is, and ``2>file`` makes it another."""
    try:
        status = os.fstat(2)
    except OSError:
        return "text"
    return "journald" if environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}" else "text"
