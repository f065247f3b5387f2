"""Completion of names a server knows: apps, their scripts, triggers, queues, collections, keys and secrets; contexts.

A shell waits while this runs, after every press of Tab: one request, over the standard library's client (importing
the command line's own takes longer than the request), with a short timeout, and silence when there is no answer.

Parameters are recognised by their names, so that a command gets completion by calling its argument ``app``.
"""

from __future__ import annotations

import functools
import json
import re
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast
from urllib.parse import quote, urlencode, urlsplit

import click
from click.shell_completion import CompletionItem

from picloud.cli.options import Surroundings, chosen_context
from picloud.errors import PiCloudError
from picloud.profiles import Profile, load_profile, load_profiles

TIMEOUT_SECONDS = 0.7
_MOST = 100
#: Words that every shell takes as they are; a key of an app may hold anything.
_PLAIN_WORD = re.compile(r"[\w.@/*+-][\w.@/*+:=,-]*")

#: By the name of a parameter: the list below an app that holds what it may be, and which member that is.
_BELOW_APP: Mapping[str, tuple[str, str]] = {
    "script": ("scripts", "name"),
    "failed_script": ("scripts", "name"),
    "trigger": ("triggers", "name"),
    "queue": ("queues", "name"),
    "collection": ("kv", "name"),
    "domain": ("domains", "domain"),
}
#: Parameters that mean something in one group of commands only.
_IN_GROUP: Mapping[tuple[str, str], tuple[str, str]] = {
    ("secrets", "name"): ("secrets", "name"),
    ("members", "name"): ("members", "name"),
    ("kv", "key"): ("kv/{collection}", "key"),
    ("kv", "keys"): ("kv/{collection}", "key"),
}

Complete = Callable[[click.Context, str], "list[CompletionItem]"]


def complete_names(command: click.Command, group: str) -> None:
    """Give the parameters of a command, and of those below it, what completes them.

    Args:
        group: the first word after ``picloud``.
    """
    for parameter in command.params:
        complete = _completion_of(group, command, parameter)
        if complete is not None:
            # The method of one parameter: click asks it, whatever type the parameter has.
            setattr(parameter, "shell_complete", complete)  # noqa: B010 - a method is assigned
    if isinstance(command, click.Group):
        for child in command.commands.values():
            complete_names(child, group)


def _completion_of(group: str, command: click.Command, parameter: click.Parameter) -> Complete | None:
    name = parameter.name or ""
    if name == "context" or (group, command.name, name) == ("context", "use", "name"):
        return _contexts
    if name in {"app", "app_option"}:
        return functools.partial(_listed, "/apps", "name")
    if (group, name) in {("users", "name"), ("members", "user")}:
        return functools.partial(_listed, "/users", "name")
    below = _IN_GROUP.get((group, name)) or _BELOW_APP.get(name)
    return functools.partial(_of_app, *below) if below is not None else None


def _contexts(context: click.Context, incomplete: str) -> list[CompletionItem]:
    try:
        return _items(load_profiles(_around(context).environ).by_name, incomplete)
    except PiCloudError:
        return []


def _of_app(path: str, member: str, context: click.Context, incomplete: str) -> list[CompletionItem]:
    """What one app holds; nothing while it is not known which app is meant."""
    given = context.params
    app = given.get("app") or given.get("app_option") or context.meta.get("picloud.app")
    if not isinstance(app, str):
        return []
    filled = path.format(collection=quote(str(given.get("collection")), safe=""))
    is_of_keys = member == "key"
    return _listed(f"/apps/{quote(app, safe='')}/{filled}", member, context, incomplete, with_prefix=is_of_keys)


def _listed(
    path: str, member: str, context: click.Context, incomplete: str, *, with_prefix: bool = False
) -> list[CompletionItem]:
    query = {"limit": str(_MOST), **({"prefix": incomplete} if with_prefix else {})}
    try:
        with context.scope(cleanup=False):
            profile = load_profile(_around(context).environ, chosen_context())
        return _items((str(each[member]) for each in fetch(profile, f"{path}?{urlencode(query)}")), incomplete)
    except (PiCloudError, OSError, ValueError, KeyError, TypeError):
        return []


def _items(names: Iterable[str], incomplete: str) -> list[CompletionItem]:
    return [CompletionItem(name) for name in names if name.startswith(incomplete) and _PLAIN_WORD.fullmatch(name)]


def fetch(profile: Profile, path: str) -> list[dict[str, Any]]:
    """The items of a list of the control API.

    Raises:
        OSError: there is no answer, or not in time.
        ValueError: it is no list.
    """
    from http.client import HTTPConnection, HTTPException, HTTPSConnection

    url = urlsplit(profile.url)
    host, port = url.hostname or "", url.port
    connection: HTTPConnection
    if url.scheme == "https":
        connection = HTTPSConnection(host, port, timeout=TIMEOUT_SECONDS)  # certificates are checked by default
    else:
        connection = HTTPConnection(host, port, timeout=TIMEOUT_SECONDS)
    deadline = time.monotonic() + TIMEOUT_SECONDS
    try:
        connection.connect()
        connection.sock.settimeout(max(deadline - time.monotonic(), 0.05))  # connecting is part of the time
        connection.request(
            "GET",
            f"{url.path}/api/v1{path}",
            headers={"Authorization": f"Bearer {profile.token}", "Connection": "close"},
        )
        answer = connection.getresponse()
        if answer.status != 200:
            raise ValueError(f"answered {answer.status}")
        return cast("list[dict[str, Any]]", json.loads(answer.read())["items"])
    except HTTPException as error:
        raise OSError(str(error)) from None
    finally:
        connection.close()


def _around(context: click.Context) -> Surroundings:
    return context.find_object(Surroundings) or Surroundings()
