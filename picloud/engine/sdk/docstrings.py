"""Reads the docstrings of what scripts may call: Google style, written for people who write scripts.

A summary, paragraphs, then any of ``Args:``, ``Attributes:``, ``Throws:`` and ``Example:``.
"""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass
from textwrap import dedent

_HEADING = re.compile(r"^(Args|Attributes|Throws|Example):$", re.MULTILINE)
_ENTRY = re.compile(r"^(\w+): (.+(?:\n +.+)*)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Docstring:
    """A docstring in its parts.

    Attributes:
        text: summary and paragraphs, Markdown.
        entries: of ``Args`` or ``Attributes``: what is said of each name.
        throws: what is said of each code of an error, as scripts that catch it see it.
        example: lines of a script; ``// value`` behind a line says what it gives.
    """

    text: str
    entries: dict[str, str]
    throws: dict[str, str]
    example: str

    @property
    def summary(self) -> str:
        return self.text.partition("\n\n")[0]


def parse_docstring(docstring: str | None, owner: str) -> Docstring:
    """Take a docstring apart.

    Raises:
        TypeError: there is none: what scripts may call is described.
    """
    if not docstring:
        raise TypeError(f"{owner} has no docstring")
    text, *rest = _HEADING.split(inspect.cleandoc(docstring))
    sections = {heading: dedent(body.strip("\n")) for heading, body in zip(rest[::2], rest[1::2], strict=True)}
    return Docstring(
        text=text.strip(),
        entries=_entries(sections.get("Args") or sections.get("Attributes") or ""),
        throws=_entries(sections.get("Throws", "")),
        example=sections.get("Example", "").rstrip(),
    )


def _entries(section: str) -> dict[str, str]:
    return {name: " ".join(said.split()) for name, said in _ENTRY.findall(section)}
