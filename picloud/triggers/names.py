"""What a trigger may be called, and what it is called when nobody says.

A trigger's name is what deploys recognise it by, and what ``--trigger`` and the API
take. One that is not given is derived from the kind, what the trigger listens to and
the script: ``kv-orders:*-on_order``, ``cron-*.5_*_*_*_*-tick``. The same trigger always
gets the same name, on every machine; a trigger whose schedule may change one day and
that should stay the same trigger is given a name.
"""

from __future__ import annotations

import hashlib
import re

MAX_NAME_CHARACTERS = 200

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:,*@+-]*")
_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9_.:,*@+-]")
_DIGEST_DIGITS = 8


def wrong_trigger_name(name: str) -> str | None:
    """Why ``name`` cannot be a trigger's, or None."""
    if len(name) > MAX_NAME_CHARACTERS:
        return f"a trigger's name has at most {MAX_NAME_CHARACTERS} characters"
    if not _NAME.fullmatch(name):
        return (
            f"{name!r} cannot be a trigger's name: letters, digits and _ . : , * @ + -,"
            " with a letter, a digit or _ first"
        )
    return None


def default_name(kind: str, listens_to: str, script: str) -> str:
    """A legal name for a trigger that was given none.

    Characters a name cannot have are replaced. Where that, or cutting, could make two
    triggers one name, a few digits of a digest keep them apart.

    Args:
        listens_to: the collection, topic, queue or address; of a cron trigger the
            ``schedule_word`` of its schedule; of a dead-letter trigger its filters.
        script: the script's name; its / becomes a dot.
    """
    plain = f"{kind}-{listens_to}-{script.replace('/', '.')}"
    name = _NOT_IN_A_NAME.sub("_", plain)
    if name == plain and len(name) <= MAX_NAME_CHARACTERS:
        return name
    # A lone surrogate (refused elsewhere, and reported there) must not stop the digest.
    digest = hashlib.sha256(plain.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGEST_DIGITS]
    return f"{name[: MAX_NAME_CHARACTERS - _DIGEST_DIGITS - 1]}-{digest}"


def schedule_word(expression: str) -> str:
    """A cron expression in the characters of a name; two expressions never share one."""
    return "_".join(expression.upper().split()).replace("/", ".").replace("#", "@")
