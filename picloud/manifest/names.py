"""What the names of apps and scripts, the files of scripts and the paths of routes may look like.

A script's **name** is its path without a leading ``scripts/`` and without
``.rhai``: ``scripts/lib/util.rhai`` is ``lib/util``. The control API applies the
same rules to what comes without a manifest. Each ``wrong_…`` answers None or what
to tell the person who wrote it.
"""

from __future__ import annotations

import re

SCRIPT_SUFFIX = ".rhai"
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")

#: One DNS label, as it becomes {app}.localhost; the schema checks the same.
MAX_SECRET_NAME_CHARACTERS = 100

_APP_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_SECRET_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,99}")
_SCRIPT_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*")
_MAX_NAME_LENGTH = 200
_MAX_PATH_LENGTH = 1_000
_PARAMETER = re.compile(r"[:*][A-Za-z_][A-Za-z0-9_]*")
_LITERAL = re.compile(r"[^\s:*?#%\\\x00-\x1f\x7f][^\s?#%\\\x00-\x1f\x7f]*")


def script_name(file: str) -> str:
    """The name of the script in ``file``: ``scripts/lib/util.rhai`` is ``lib/util``."""
    return file.removeprefix("scripts/").removesuffix(SCRIPT_SUFFIX)


def path_shape(path: str) -> str:
    """``path`` without the names of its parameters: two routes of one shape answer the same requests."""
    return "/".join(segment[0] if segment[:1] in (":", "*") else segment for segment in path.split("/"))


def wrong_app_name(name: str) -> str | None:
    """Why ``name`` cannot be an app's, or None."""
    if _APP_NAME.fullmatch(name):
        return None
    return f"{name!r} cannot be a host name: 1 to 63 of a-z, 0-9 and -, with no - first or last"


def wrong_script_name(name: str) -> str | None:
    """Why ``name`` cannot be a script's, or None."""
    if len(name) > _MAX_NAME_LENGTH:
        return f"a script's name has at most {_MAX_NAME_LENGTH} characters"
    if not _SCRIPT_NAME.fullmatch(name):
        return f"{name!r} cannot be a script's name: letters, digits, _, - and ., with / between parts"
    return None


def wrong_file(file: str) -> str | None:
    """Why ``file`` cannot be the file of a script, or None."""
    if not file.endswith(SCRIPT_SUFFIX) or script_name(file).endswith("/") or not script_name(file):
        return f"{file!r} is not a script's file: expected a path that ends in .rhai, as in scripts/hello.rhai"
    if file.startswith("/") or "\\" in file or any(part in ("", ".", "..") for part in file.split("/")):
        return f"{file!r} must be a path inside the app's folder, with / between parts"
    return wrong_script_name(script_name(file))


def wrong_secret_name(name: str) -> str | None:
    """Why ``name`` cannot be a secret's, or None."""
    if _SECRET_NAME.fullmatch(name):
        return None
    return (
        f"a secret's name has 1 to {MAX_SECRET_NAME_CHARACTERS} letters, digits, _ . or -, with a letter or _ first,"
        " as in STRIPE_KEY"
    )


def wrong_path(path: str) -> str | None:
    """Why ``path`` cannot be a route's, or None: ``/``, ``/users/:id``, ``/files/*rest``.

    A ``/`` at the end is kept: ``/a`` and ``/a/`` are different paths.
    """
    if not path.startswith("/"):
        return f"{path!r} must start with /"
    if len(path) > _MAX_PATH_LENGTH:
        return f"a path has at most {_MAX_PATH_LENGTH} characters"
    segments = path.removesuffix("/").split("/")[1:]
    for index, segment in enumerate(segments):
        is_last = index == len(segments) - 1 and not path.endswith("/")
        if (wrong := _wrong_segment(segment, is_last=is_last)) is not None:
            return f"{path!r}: {wrong}"
    parameters = [segment[1:] for segment in segments if segment[0] in ":*"]
    twice = next((name for index, name in enumerate(parameters) if name in parameters[:index]), None)
    return None if twice is None else f"{path!r}: two parameters are called {twice!r}"


def _wrong_segment(segment: str, *, is_last: bool) -> str | None:
    if not segment:
        return "there is nothing between two /"
    if segment[0] in ":*":
        if not _PARAMETER.fullmatch(segment):
            return f"{segment!r} is not a parameter: expected {segment[0]}name, with letters, digits and _"
        return None if segment[0] == ":" or is_last else f"{segment!r} takes the rest of the path, so it must be last"
    if segment in (".", "..") or not _LITERAL.fullmatch(segment):
        return f"{segment!r} cannot be part of a path: write it decoded, without spaces, %, ? and #"
    return None
