"""Strikes the secrets a run has read out of what people will see of it: its log and its error.

A net for accidents, such as a request that is logged whole; a script that wants to tell a
secret can. A value is found as it is, as JSON writes it (once and twice, for JSON in JSON),
as URLs, forms and HTML do, in hex digits, and in Base64, also in the middle of it, where
``Basic`` of HTTP has it. Of a value of several lines each long line is found by itself.
Not found: what was encoded otherwise (compressed, hashed, twice), cut or computed, and
numbers. Values of fewer than four characters are left alone: they are in every second
word, and every marker would tell where.

Documents are read and written anew instead of being searched as bytes: a secret ``1234``
is also in a time stamp, and ``message`` is a key of every line.
"""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, cast
from urllib.parse import quote, quote_plus

import msgspec

LEAST_CHARACTERS = 4
#: Of a secret that a cut line ends in: less of it is not taken for one.
_LEAST_HEAD = 8
#: Of a line of a value, and of what Base64 makes of one: shorter ones are in too many texts that hold no secret.
_LEAST_LINE = 16
_LEAST_BASE64 = 6

_ESCAPE = re.compile("%[0-9A-F]{2}")


class Scrubber:
    """Strikes out the values of some secrets; costs nothing when there are none. Thread-safe."""

    __slots__ = ("_forms",)

    def __init__(self, read: Iterable[tuple[str, str]]) -> None:
        """Takes what a run has read.

        Args:
            read: names and values; a name may come twice, with two values.
        """
        #: What is looked for, and whose it is.
        self._forms: dict[str, str] = {}
        for name, value in read:
            for form in _forms(value):
                self._forms.setdefault(form, name)

    def text(self, text: str) -> str:
        """The text with ``[secret NAME]`` in place of every value; it may become longer."""
        return self._struck(text, self._found(text)) if self._forms else text

    def value(self, value: Any) -> Any:
        """The same of every text in a value: of blobs, arrays and maps, and in the keys of maps."""
        if not self._forms:
            return value
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, bytes):
            return self._in_bytes(value)
        if isinstance(value, list | tuple):
            return [self.value(each) for each in cast("list[Any]", value)]
        if isinstance(value, dict):
            pairs = cast("dict[object, Any]", value).items()
            return {self.value(key): self.value(each) for key, each in pairs}
        return value

    def log(self, lines: bytes | None) -> bytes | None:
        """A log as the run wrote it: a JSON array of lines with ``message`` and perhaps ``fields``."""
        if not self._forms or lines is None:
            return lines
        return self._rewritten(lines, self._line_of_log, msgspec.json.decode, msgspec.json.encode)

    def error(self, document: bytes) -> bytes:
        """An error as it is stored: a JSON object with ``message`` and perhaps ``value``."""
        if not self._forms:
            return document
        # The standard library's: it reads back the NaN that it writes.
        return self._rewritten(document, self._part_of_error, json.loads, lambda value: json.dumps(value).encode())

    def _rewritten(
        self,
        data: bytes,
        change: Callable[[Any], Any],
        decode: Callable[[bytes], Any],
        encode: Callable[[Any], bytes],
    ) -> bytes:
        try:
            return encode(change(decode(data)))
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
            # None of our writers' documents. Struck out as text: it may be broken, but it must not tell.
            return self.text(data.decode("utf-8", "replace")).encode()

    def _line_of_log(self, lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
        for line in lines:
            message = line["message"]
            line["message"] = self._struck(message, [*self._found(message), *self._cut(message)])
            if "fields" in line:
                line["fields"] = self.value(line["fields"])
        return lines

    def _part_of_error(self, error: dict[str, Any]) -> dict[str, Any]:
        return {name: self.value(part) if name in {"message", "value"} else part for name, part in error.items()}

    def _in_bytes(self, content: bytes) -> bytes:
        # Latin-1 takes any byte and gives it back; what is looked for is spelt the same way.
        spelt = {form.encode().decode("latin-1"): name for form, name in self._forms.items()}
        text = content.decode("latin-1")
        return self._struck(text, _places(text, spelt)).encode("latin-1")

    def _found(self, text: str) -> Iterator[tuple[int, int, str]]:
        return _places(text, self._forms)

    def _cut(self, text: str) -> Iterator[tuple[int, int, str]]:
        """Where a value begins that the end of the text has cut off."""
        for form, name in self._forms.items():
            start = text.find(form[:_LEAST_HEAD], max(0, len(text) - len(form) + 1))
            while start >= 0 and len(text) - start >= _LEAST_HEAD:
                if form.startswith(text[start:]):
                    yield start, len(text), name
                    break
                start = text.find(form[:_LEAST_HEAD], start + 1)

    @staticmethod
    def _struck(text: str, places: Iterable[tuple[int, int, str]]) -> str:
        """The text with a marker for every place; places that overlap share one."""
        parts: list[str] = []
        done = 0
        for start, end, name in sorted(places, key=lambda place: (place[0], -place[1])):
            if start >= done:
                parts += (text[done:start], f"[secret {name}]")
            done = max(done, end)
        return "".join((*parts, text[done:])) if parts else text


def _places(text: str, forms: dict[str, str]) -> Iterator[tuple[int, int, str]]:
    for form, name in forms.items():
        start = text.find(form)
        while start >= 0:
            end = start + len(form)
            yield start, end, name
            start = text.find(form, end)


def _forms(value: str) -> set[str]:
    """How a value may look where it turns up; none for one that is too short to tell."""
    if len(value) < LEAST_CHARACTERS:
        return set()
    forms = {form for text in {value, value.strip()} for form in _spelt(text)}
    forms.update(form for line in _long_lines(value) for form in (line, *_in_json(line)))
    return {form for form in forms if len(form) >= LEAST_CHARACTERS}


def _long_lines(value: str) -> Iterator[str]:
    """The lines of a value of several, such as a key in PEM; not the frame of it, which is no secret."""
    lines = value.split("\n")
    if len(lines) > 1:
        stripped = (line.strip() for line in lines)
        yield from (line for line in stripped if len(line) >= _LEAST_LINE and not line.startswith("-----"))


def _spelt(text: str) -> Iterator[str]:
    yield text
    for once in _in_json(text):
        yield once
        yield from _in_json(once)
    for escaped in (quote(text, safe=""), quote(text), quote(text, safe="!~*'()"), quote_plus(text)):
        yield escaped
        yield _ESCAPE.sub(lambda found: found[0].lower(), escaped)
    for quotes in (html.escape(text), html.escape(text, quote=False)):
        yield quotes
        yield quotes.replace("&quot;", "&#34;").replace("&#x27;", "&#39;")
        yield quotes.replace("&#x27;", "&#39;")
    content = text.encode()
    yield content.hex()
    yield content.hex().upper()
    yield from _in_base64(content)


def _in_base64(content: bytes) -> Iterator[str]:
    """By itself and behind one or two other bytes: what of the digits does not depend on its neighbours."""
    for before in range(3):
        digits = base64.b64encode(bytes(before) + content).decode()
        own = digits[-(-before * 8 // 6) : (before + len(content)) * 8 // 6]
        for form in (own, digits if before == 0 else own):
            if len(form) >= _LEAST_BASE64:
                yield form
                yield form.replace("+", "-").replace("/", "_")


def _in_json(text: str) -> tuple[str, str]:
    """Inside the quotes of a JSON string, with and without escapes of what is not ASCII."""
    return json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1]
