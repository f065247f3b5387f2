"""Loads the named SQL statements of ``picloud/sql/*.sql``.

SQL lives in its own files, so that it can be read, explained and run with psql.
A statement starts with ``-- name: NAME``, goes on with comments that say what it
is for, and ends where the next one starts. Statements are read once, at import
of the module that uses them.
"""

from __future__ import annotations

import re
from importlib import resources
from typing import LiteralString, cast

_NAME = re.compile(r"^-- name: (\w+)$", re.MULTILINE)


class Queries:
    """The statements of one file, as attributes: ``Queries("relay").claim``."""

    def __init__(self, file_name: str) -> None:
        text = resources.files("picloud").joinpath("sql", f"{file_name}.sql").read_text("utf-8")
        parts = _NAME.split(text)
        self._file_name = file_name
        self._statements = dict(zip(parts[1::2], (body.strip() for body in parts[2::2]), strict=True))

    def __getattr__(self, name: str) -> LiteralString:
        try:
            # The text comes from our own files, never from a caller: that is what LiteralString asks for.
            return cast(LiteralString, self._statements[name])
        except KeyError:
            raise AttributeError(f"no statement {name!r} in sql/{self._file_name}.sql") from None

    def names(self) -> tuple[str, ...]:
        return tuple(self._statements)
