"""Values as people read them: text that cannot take over a terminal, ages, sizes of time, JSON in a cell."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any, TypeGuard

_KEPT = "\n\t"


def printable(text: str) -> str:
    """``text`` without control characters that a terminal would obey.

    Logs, results and errors come from scripts, and those from anybody's requests: an escape
    sequence in them could rename the window or rewrite what was printed before.
    """
    return "".join(
        char if char in _KEPT or (char.isprintable() or char == " ") else char.encode("unicode_escape").decode()
        for char in text
    )


def one_line(text: str, width: int = 80) -> str:
    """``text`` as it fits a table: its first ``width`` characters, line ends shown as spaces."""
    flat = " ".join(printable(text).split())
    return flat if len(flat) <= width else flat[: width - 1] + "…"


def compact_json(value: Any) -> str:
    """``value`` as JSON in as few characters as it takes."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def error_text(error: Any, script: str | None = None) -> str:
    """An error object of the API, ``{"code", "message", …}``, in one phrase with its place; without its hint.

    Args:
        error: as the API gives it; None: no error.
        script: what ran: the place is in it, as in ``hello:2:24: …``, or in the imported script that the error names.
    """
    if not _is_object(error):
        return "" if error is None else str(error)
    message = str(error.get("message") or error.get("code") or compact_json(error))
    line, column = error.get("line"), error.get("column")
    within = error.get("script") or script
    place = ":".join(str(part) for part in (within, line, column) if part) if line else ""
    return f"{place}: {message}" if place else message


def error_hint(error: Any) -> str | None:
    """What an error object of the API says to do."""
    return str(error["hint"]) if _is_object(error) and error.get("hint") else None


def error_code(error: Any) -> str | None:
    """The code of an error object of the API."""
    return str(error["code"]) if _is_object(error) and error.get("code") else None


def _is_object(value: object) -> TypeGuard[dict[str, Any]]:
    return isinstance(value, dict)


def duration(seconds: float | None) -> str:
    """``0.4 s``, ``12 s``, ``3 min``, ``5 h``, ``2 d``; nothing for None."""
    if seconds is None:
        return ""
    if seconds < 10:
        return f"{max(0.0, seconds):.1f} s"
    for limit, unit, size in ((120, "s", 1), (7_200, "min", 60), (172_800, "h", 3_600)):
        if seconds < limit:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds / 86_400:.0f} d"


def parse_time(text: str) -> datetime:
    """An instant of the API."""
    return datetime.fromisoformat(text)


def age(text: str | None, now: datetime | None = None) -> str:
    """How long ago the RFC 3339 instant in ``text`` was."""
    if not text:
        return ""
    return duration(((now or datetime.now(UTC)) - parse_time(text)).total_seconds())


def until(text: str, now: datetime | None = None) -> str:
    """How far away the RFC 3339 instant in ``text`` is."""
    return duration((parse_time(text) - (now or datetime.now(UTC))).total_seconds())


def local_clock(text: str | None) -> str:
    """The RFC 3339 instant in ``text`` as this machine's clock shows it, to the millisecond."""
    if not text:
        return ""
    return parse_time(text).astimezone().strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
