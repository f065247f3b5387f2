"""Reads ``auth`` of a ``[[route]]``: a word, or a table that says how requests are signed."""

from __future__ import annotations

import re

from picloud.access.route_auth import ALGORITHMS, AUTH_KINDS, ENCODINGS, OPEN, Algorithm, AuthKind, Encoding, RouteAuth
from picloud.manifest.names import wrong_secret_name
from picloud.manifest.tables import Table

_WORDS: tuple[AuthKind, ...] = ("none", "api_key")
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")


def read_auth(route: Table) -> RouteAuth | None:
    """What a route asks of its callers; None: a problem was reported."""
    if not route.has("auth"):
        return OPEN
    if route.is_text("auth"):
        word = route.choice("auth", AUTH_KINDS)
        if word is not None and word not in _WORDS:
            route.problem("auth", f'{word} needs a secret: auth = {{ kind = "{word}", secret = "NAME" }}')
            return None
        return None if word is None else RouteAuth(kind=word)
    table = route.table("auth")
    return None if table is None else _read_table(table)


def _read_table(table: Table) -> RouteAuth | None:
    kind = table.choice("kind", AUTH_KINDS)
    if kind is None or kind in _WORDS:
        table.refuse_the_rest()
        return None if kind is None else RouteAuth(kind=kind)
    secret = table.checked_text("secret", wrong_secret_name)
    auth = _read_generic(table) if kind == "hmac" else RouteAuth()
    table.refuse_the_rest()
    if secret is None or auth is None:
        return None
    return RouteAuth(
        kind=kind,
        secret=secret,
        header=auth.header,
        algorithm=auth.algorithm,
        encoding=auth.encoding,
        prefix=auth.prefix,
    )


def _read_generic(table: Table) -> RouteAuth | None:
    header = table.text("header", default=OPEN.header)
    if header is not None and not _HEADER.fullmatch(header):
        table.problem("header", f"{header!r} is not the name of a header")
        header = None
    algorithm: Algorithm | None = table.choice("algorithm", ALGORITHMS, default=OPEN.algorithm)
    encoding: Encoding | None = table.choice("encoding", ENCODINGS, default=OPEN.encoding)
    prefix = table.text("prefix", default=OPEN.prefix)
    if header is None or algorithm is None or encoding is None or prefix is None:
        return None
    return RouteAuth(header=header, algorithm=algorithm, encoding=encoding, prefix=prefix)
