"""The difference between the source a script has and the one it is to get, as a plan shows it.

Unified, as ``diff -u`` writes it. What a caller can make large is bounded: comparing takes time that
grows faster than a source does, and an answer with every line of an app is no summary.
"""

from __future__ import annotations

import asyncio
import difflib
from collections.abc import Mapping, Sequence

import msgspec

from picloud.control.plan import Change
from picloud.settings import KIB

#: Of one script, in lines: what is longer is not compared.
_MAX_SOURCE_LINES = 5_000
#: Of one script, in lines.
_MAX_DIFF_LINES = 400
#: Of one line; a source can be one line of two million characters.
_MAX_LINE_CHARACTERS = 400
#: Of one plan; scripts that come after it are not compared.
_MAX_PLAN_CHARACTERS = 256 * KIB


async def with_diffs(changes: Sequence[Change], before: Mapping[str, str], after: Mapping[str, str]) -> list[Change]:
    """The changes, those that change a script's source with the difference; sources are by the script's name."""
    return await asyncio.to_thread(_with_diffs, changes, before, after)


def _with_diffs(changes: Sequence[Change], before: Mapping[str, str], after: Mapping[str, str]) -> list[Change]:
    room = _MAX_PLAN_CHARACTERS
    found: list[Change] = []
    for change in changes:
        diff = None
        is_compared = change.kind == "script" and change.action == "update" and change.name in before
        if is_compared and before[change.name] != after[change.name]:
            too_much = "(not compared: too much changes)"
            diff = source_diff(before[change.name], after[change.name]) if room > 0 else too_much
            room -= len(diff)
        found.append(change if diff is None else msgspec.structs.replace(change, diff=diff))
    return found


def source_diff(before: str, after: str) -> str:
    """Lines that begin with ``@@``, a space, ``-`` or ``+``; lines in parentheses say what was left out."""
    old, new = before.splitlines(), after.splitlines()
    if max(len(old), len(new)) > _MAX_SOURCE_LINES:
        return f"(not compared: {len(old)} lines become {len(new)})"
    lines = list(difflib.unified_diff(old, new, lineterm=""))[2:]  # the names of the files, which there are none of
    if not lines:
        return "(only ends of lines change)"
    shown = [_cut(line) for line in lines[:_MAX_DIFF_LINES]]
    left = len(lines) - len(shown)
    return "\n".join([*shown, f"({left} more lines)"] if left else shown)


def _cut(line: str) -> str:
    return line if len(line) <= _MAX_LINE_CHARACTERS else f"{line[:_MAX_LINE_CHARACTERS]}…"
