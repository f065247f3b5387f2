"""What an API key is limited to. There are seven scopes, and no more; finer is the table of capabilities."""

from __future__ import annotations

from enum import StrEnum


class Scope(StrEnum):
    """One of the seven; ``instance:admin`` includes all, ``app:admin`` all that are about apps."""

    INSTANCE_ADMIN = "instance:admin"
    APP_ADMIN = "app:admin"
    SCRIPT_WRITE = "script:write"
    SCRIPT_READ = "script:read"
    SCRIPT_INVOKE = "script:invoke"
    DATA_WRITE = "data:write"
    LOG_READ = "log:read"


ALL_SCOPES = frozenset(Scope)

#: What a scope includes besides itself.
_INCLUDED: dict[Scope, frozenset[Scope]] = {
    Scope.INSTANCE_ADMIN: ALL_SCOPES,
    Scope.APP_ADMIN: ALL_SCOPES - {Scope.INSTANCE_ADMIN},
    Scope.SCRIPT_WRITE: frozenset({Scope.SCRIPT_READ}),
}


def with_included(scopes: frozenset[Scope]) -> frozenset[Scope]:
    """``scopes`` and all that they include."""
    return scopes.union(*(_INCLUDED.get(scope, frozenset()) for scope in scopes))
