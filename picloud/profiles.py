"""Which PiCloud server the command line talks to, and with which key.

``$PICLOUD_URL`` with ``$PICLOUD_TOKEN`` win, as CI needs it. Otherwise the current
profile of ``~/.config/picloud/config.toml`` (``$XDG_CONFIG_HOME``; ``$PICLOUD_CONFIG``
names another file). ``picloud up`` and ``picloud login`` write profiles there. The
file holds keys: it is readable by its owner only, and replaced as a whole, so that
a reader never sees half of it.
"""

from __future__ import annotations

import json
import os
import tempfile
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from picloud.errors import AuthenticationError, ConfigurationError, InvalidInputError, NotFoundError

_HOW_TO_GET_ONE = "start a platform here with `picloud up`, or name one with `picloud login URL`"


@dataclass(frozen=True, slots=True)
class Profile:
    """A server and the key to it."""

    url: str
    token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Profiles:
    """The whole file: profiles by name and the current one's name (empty: none)."""

    current: str = ""
    by_name: Mapping[str, Profile] = field(default_factory=dict[str, Profile])


def config_path(environ: Mapping[str, str]) -> Path:
    """The file of the profiles, by the XDG base directory specification."""
    if environ.get("PICLOUD_CONFIG"):
        return Path(environ["PICLOUD_CONFIG"]).expanduser()
    home = Path(environ["HOME"]) if environ.get("HOME") else Path.home()
    return Path(environ.get("XDG_CONFIG_HOME") or home / ".config") / "picloud" / "config.toml"


def load_profile(environ: Mapping[str, str], name: str | None = None) -> Profile:
    """The profile called ``name``, else the environment's, else the current one.

    Raises:
        AuthenticationError: there is none, or half of one in the environment.
        NotFoundError: ``name`` is not a profile.
        ConfigurationError: the file cannot be read.
    """
    if name is None and (environ.get("PICLOUD_URL") or environ.get("PICLOUD_TOKEN")):
        return _from_environment(environ)
    profiles = load_profiles(environ)
    wanted = name or profiles.current
    if wanted in profiles.by_name:
        return profiles.by_name[wanted]
    if name:
        known = ", ".join(sorted(profiles.by_name)) or "none"
        raise NotFoundError(f"no profile is called {name!r}", hint=f"known: {known}; `picloud login URL` adds one")
    raise AuthenticationError("no PiCloud server is known here", hint=_HOW_TO_GET_ONE)


def load_profiles(environ: Mapping[str, str]) -> Profiles:
    """Every profile of the file; none when there is no file.

    Raises:
        ConfigurationError: the file cannot be read or is not what ``save_profile`` writes.
    """
    path = config_path(environ)
    try:
        data = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return Profiles()
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}") from None
    except ValueError as error:  # tomllib's and UTF-8's errors are both ValueErrors
        raise ConfigurationError(f"{path}: {error}", hint="repair or delete the file, then log in again") from None
    try:
        tables = cast("dict[str, dict[str, Any]]", data.get("profiles", {}))
        by_name = {name: Profile(str(table["url"]), str(table["token"])) for name, table in tables.items()}
    except (AttributeError, KeyError, TypeError):
        raise ConfigurationError(f"{path}: a profile needs url and token", hint="repair or delete the file") from None
    return Profiles(str(data.get("current", "")), by_name)


def save_profile(
    name: str, profile: Profile, environ: Mapping[str, str] = os.environ, *, make_current: bool = True
) -> Path:
    """Add or replace one profile.

    Returns:
        The file it is in now.

    Raises:
        ConfigurationError: the file cannot be read or written.
        InvalidInputError: name, URL or key hold characters that cannot be printed.
    """
    if not (name and all(text.isprintable() for text in (name, profile.url, profile.token))):
        raise InvalidInputError("a profile's name, URL and key are printable text")
    profiles = load_profiles(environ)
    current = name if make_current or not profiles.current else profiles.current
    return _write(Profiles(current, {**profiles.by_name, name: profile}), environ)


def use_profile(name: str, environ: Mapping[str, str] = os.environ) -> Profile:
    """Make ``name`` the current profile.

    Raises:
        NotFoundError: there is no such profile.
        ConfigurationError: the file cannot be read or written.
    """
    profile = load_profile(environ, name)
    _write(Profiles(name, load_profiles(environ).by_name), environ)
    return profile


def forget_profile(name: str, environ: Mapping[str, str] = os.environ) -> None:
    """Remove one profile; when it was the current one, there is none.

    Raises:
        NotFoundError: there is no such profile.
        ConfigurationError: the file cannot be read or written.
    """
    load_profile(environ, name)
    profiles = load_profiles(environ)
    left = {each: profile for each, profile in profiles.by_name.items() if each != name}
    _write(Profiles("" if profiles.current == name else profiles.current, left), environ)


def _from_environment(environ: Mapping[str, str]) -> Profile:
    for name, other in (("PICLOUD_URL", "PICLOUD_TOKEN"), ("PICLOUD_TOKEN", "PICLOUD_URL")):
        if not environ.get(name):
            raise AuthenticationError(f"{other} is set but {name} is not", hint="set both, or neither")
    return Profile(environ["PICLOUD_URL"].rstrip("/"), environ["PICLOUD_TOKEN"])


def _write(profiles: Profiles, environ: Mapping[str, str]) -> Path:
    path = config_path(environ)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # mkstemp makes the file 0600, so the keys are never readable by others, not even for a moment.
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(_as_toml(profiles))
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be written: {error.strerror}") from None
    return path


def _as_toml(profiles: Profiles) -> str:
    lines = ["# Written by picloud. It holds keys: keep it to yourself.", f"current = {_quoted(profiles.current)}"]
    for name, profile in profiles.by_name.items():
        lines += ["", f"[profiles.{_quoted(name)}]"]
        lines += [f"url = {_quoted(profile.url)}", f"token = {_quoted(profile.token)}"]
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    """A TOML basic string; of printable text JSON escapes exactly what TOML wants escaped."""
    return json.dumps(text, ensure_ascii=False)
