"""The bytes and headers of a mail into text that is always valid Unicode.

A mail says itself how its text is encoded, and may lie. Only charsets on a list
are looked up: Python knows codecs that are no charsets (``unicode_escape``,
``idna`` in quadratic time), and it remembers every unknown name it was asked for
until the process ends, which is a leak strangers could fill.

Nothing here raises, and everything takes time in proportion to its input.
"""

from __future__ import annotations

import binascii
import re

#: What mail is written in: WHATWG's encodings, and what old programs call them. UTF-7 is left out on purpose.
_CHARSETS = re.compile(
    r"""(?: utf-?8 | utf-?16(?:-?[lb]e)? | (?:us-)?ascii | ansi_x3\.4-1968
      | iso[-_]?8859[-_](?:[1-9]|1[013456])(?:-[ei])? | latin-?[1-9]
      | (?:windows|cp)-?125[0-8] | cp(?:437|850|852|855|858|866|932|936|949|950) | windows-(?:874|31j)
      | koi8-[rtu] | mac(?:intosh|-roman|-cyrillic) | tis-620
      | gb2312 | gbk | gb18030 | hz(?:-gb-2312)? | big5(?:-?hkscs)?
      | shift[-_]jis | sjis | euc-(?:jp|kr) | iso-2022-(?:jp(?:-[123]|-2004|-ext)?|kr) | ks_c_5601-1987 )""",
    re.VERBOSE | re.IGNORECASE,
)
#: Senders name a charset and write its larger sibling (WHATWG Encoding, section 4.2).
_WRITTEN_AS = {
    "ascii": "utf-8",
    "us-ascii": "utf-8",
    "ansi_x3.4-1968": "utf-8",
    "iso-8859-1": "windows-1252",
    "iso8859-1": "windows-1252",
    "latin1": "windows-1252",
    "latin-1": "windows-1252",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "ks_c_5601-1987": "cp949",
    "euc-kr": "cp949",
    "shift_jis": "cp932",
    "macintosh": "mac-roman",
    "hz-gb-2312": "hz",
    "iso-8859-8-e": "iso-8859-8",
    "iso-8859-8-i": "iso-8859-8",
    "iso-8859-6-e": "iso-8859-6",
    "iso-8859-6-i": "iso-8859-6",
    "windows-874": "cp874",
    "windows-31j": "cp932",
}

#: RFC 2047, but more patient: senders leave spaces in it and make it longer than 75 characters.
#: No piece can run past a question mark, so that the search is linear whatever it is given.
_ENCODED_WORD = re.compile(r"=\?([^?\s*]{1,40})(?:\*[^?\s]{0,40})?\?([bBqQ])\?([^?]*)\?=")
_FOLD = re.compile(r"\r\n|\r|\n")
_ESCAPED_BYTE = re.compile(rb"=([0-9A-Fa-f]{2})")
_NOT_BASE64 = re.compile(rb"[^A-Za-z0-9+/]")


def decode_text(content: bytes, charset: str | None) -> str:
    """Text in the declared charset; where that is unknown or untrue, what it most likely is."""
    strict = decode_strictly(content, charset)
    if strict is not None:
        return strict
    codec = _codec_of(charset)
    if codec is None or codec == "utf-8":
        # Not UTF-8 after all: the old charset of the West never fails but for five bytes.
        return content.decode("windows-1252", "replace")
    return content.decode(codec, "replace")


def decode_strictly(content: bytes, charset: str | None) -> str | None:
    """Text, when every byte of ``content`` is what it is declared to be; None: it is not."""
    try:
        text = content.decode(_codec_of(charset) or "utf-8")
    except (UnicodeError, LookupError):
        return None
    # UTF-16 and some multi-byte codecs have ways to a lone surrogate, which JSON in UTF-8 cannot carry.
    return text if text.isascii() or _is_unicode(text) else None


def decode_header(raw: str) -> str:
    """A header's value as people read it: unfolded, encoded words decoded.

    Args:
        raw: as the stdlib's parser keeps it: ASCII, other bytes as surrogate escapes.
    """
    text = _FOLD.sub("", raw).strip()
    if "=?" not in text:
        return clean(text)
    pieces: list[str] = []
    pending: tuple[str, bytearray] | None = None  # neighbours of one charset: a character may be cut in two
    end = 0
    for word in _ENCODED_WORD.finditer(text):
        between = text[end : word.start()]
        charset, content = word[1].lower(), _word_bytes(word[2], word[3])
        if pending is not None and not between.strip() and pending[0] == charset:
            pending[1].extend(content)
        else:
            _flush(pending, pieces)
            if pending is None or between.strip():  # white space between two encoded words is not shown
                pieces.append(clean(between))
            pending = (charset, bytearray(content))
        end = word.end()
    _flush(pending, pieces)
    pieces.append(clean(text[end:]))
    return "".join(pieces)


def _flush(pending: tuple[str, bytearray] | None, pieces: list[str]) -> None:
    if pending is not None:
        pieces.append(decode_text(bytes(pending[1]), pending[0]))


def clean(text: str) -> str:
    """``text`` without surrogates: escaped bytes become what they are in UTF-8, or the replacement character."""
    if text.isascii() or _is_unicode(text):
        return text
    return _bytes_behind(text).decode("utf-8", "replace")


def _bytes_behind(text: str) -> bytes:
    """The bytes the parser read as ``text``."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # a surrogate that stands for no byte
        return text.encode("utf-8", "replace")


def _is_unicode(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _codec_of(charset: str | None) -> str | None:
    if charset is None:
        return None
    name = charset.strip(" \"'").lower()
    if not name.isascii() or not _CHARSETS.fullmatch(name):
        return None
    return _WRITTEN_AS.get(name, name.replace("latin-", "latin"))


def _word_bytes(encoding: str, encoded: str) -> bytes:
    content = _bytes_behind(encoded)
    if encoding in "qQ":
        return _ESCAPED_BYTE.sub(lambda match: bytes.fromhex(match[1].decode()), content.replace(b"_", b" "))
    letters = _NOT_BASE64.sub(b"", content)
    if len(letters) % 4 == 1:  # no byte ends here
        letters = letters[:-1]
    return binascii.a2b_base64(letters + b"=" * (-len(letters) % 4))
