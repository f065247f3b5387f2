"""Names of collections, topics and queues, and the globs that match them.

A **name** has 1 to 200 characters, any but control characters and ``*``; what is
written is compared, character by character, without folding case or normalising.

A **glob** is a name (matches itself), ``prefix*`` (matches every name that starts
with the prefix, the prefix itself included) or ``*`` (matches every name). The colon
of ``orders:*`` has no meaning of its own: it is the last character of the prefix.
Tables keep it in the two parts ``glob_parts`` takes it into.
"""

from __future__ import annotations

import re

MAX_NAME_CHARACTERS = 200

#: Control characters end lines and confuse terminals; a lone surrogate cannot be stored as UTF-8.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def wrong_name(noun: str, name: str) -> str | None:
    """Why ``name`` cannot be that of a collection, topic or queue (``noun`` says which), or None."""
    if not 0 < len(name) <= MAX_NAME_CHARACTERS:
        return f"a {noun}'s name has 1 to {MAX_NAME_CHARACTERS} characters, not {len(name)}"
    if _UNPRINTABLE.search(name):
        return f"{name!r} cannot be a {noun}'s name: control characters are not allowed"
    if "*" in name:
        return f"{name!r} cannot be a {noun}'s name: * is what globs are made with"
    return None


def wrong_glob(noun: str, glob: str) -> str | None:
    """Why ``glob`` matches no names of collections or topics (``noun`` says which), or None."""
    literal = glob.removesuffix("*")
    if glob == "*":
        return None
    if "*" in literal and len(literal) <= MAX_NAME_CHARACTERS:
        return f"{glob!r} is not a glob: expected a {noun}'s name, the start of one with * behind it, or *"
    return wrong_name(noun, literal)


def matches(glob: str, name: str) -> bool:
    """Whether ``glob`` stands for ``name``; both are legal."""
    is_prefix, literal = glob_parts(glob)
    return name.startswith(literal) if is_prefix else name == literal


def glob_parts(glob: str) -> tuple[bool, str]:
    """Whether names only start with it, and with what: ``orders:*`` is (True, "orders:"), ``*`` is (True, "")."""
    return glob.endswith("*"), glob.removesuffix("*")


def glob_of(is_prefix: bool, literal: str) -> str:
    """The glob that ``glob_parts`` took apart."""
    return f"{literal}*" if is_prefix else literal
