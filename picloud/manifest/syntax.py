"""What is wrong with a text that is no TOML: what tomllib says, at the place and in the words a person looks for."""

from __future__ import annotations

import re

from picloud.manifest.tables import Problem

_PLACE = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")
_WORD = re.compile(r"[^\s,\]}#]*")
_TWICE = re.compile(r"Cannot declare \((.*?),?\) twice")


def syntax_problem(file: str, message: str, text: str) -> Problem:
    """The one problem tomllib found; it stops at the first.

    Args:
        message: of its TOMLDecodeError.
    """
    place = _PLACE.search(message)
    what = message[: place.start()] if place else message
    lines = text.replace("\r\n", "\n").split("\n")
    if place is None or place[1] is None:
        line = max((number for number, each in enumerate(lines, 1) if each.strip()), default=1)
        column = len(lines[line - 1].rstrip()) + 1
    else:
        line, column = int(place[1]), int(place[2])
    written = lines[line - 1] if line <= len(lines) else ""
    if what == "Cannot overwrite a value" or _TWICE.match(what):
        # tomllib has read on to the end of the statement by then.
        column = len(written) - len(written.lstrip(" \t[")) + 1
    word = _WORD.match(written, column - 1)
    end = column + len(word[0]) if word else column
    return Problem(file, line, column, _reworded(what, word[0] if word else ""), max(end, column + 1))


def _reworded(what: str, word: str) -> str:
    """The messages that only who knows the parser understands, in other words."""
    if twice := _TWICE.match(what):
        keys = ".".join(part.strip(" '\"") for part in twice[1].split(","))
        return f"[{keys}] is there already"
    match what:
        case "Cannot overwrite a value":
            return f"{word} has a value already"
        case "Illegal character '\\n'":
            return "this string has no closing quote"
        case "Invalid value" if not word:
            return "a value is missing"
        case "Invalid value" if word.lower() in {"true", "false"}:
            return f"{word} is not a value: write {word.lower()}"
        case "Invalid value" if word[0].isalpha():
            return f"{word} is not a value: a string needs quotes"
        case "Invalid value":
            return f"{word} is not a value"
        case _:
            return what[:1].lower() + what[1:]
