"""Who calls a route: the callers behind API keys, remembered, and the signatures of webhooks.

A key is looked up once, then remembered together with the *access revision*: a number that changes whenever anybody may
do less than before. Whoever is let in by what is remembered hands that number to the accept statement, which writes
nothing when it is no longer the number: then the key is looked up anew. So a revocation holds from its commit on, in
every process, and a remembered key costs no query. (Routes are remembered alike: ``picloud_web.directory``.)
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from picloud.access import Caller, Capability
from picloud.access.route_auth import RouteAuth
from picloud.access.signatures import verify
from picloud.errors import AuthenticationError, PermissionDeniedError, UnavailableError
from picloud.identity.keys import hash_of, is_well_formed

#: A key that is used all the time is looked up once a minute: that is when its last use is written.
_KEPT_SECONDS = 60.0
_MOST_KEPT = 1_024


class Sources(Protocol):
    """Where callers and secrets are read."""

    async def caller_of_key(self, key: str) -> Caller:
        """Raises: AuthenticationError."""
        ...

    async def secret(self, app_id: int, name: str) -> str | None:
        """The value of an app's secret now; None: there is none."""
        ...


@dataclass(frozen=True, slots=True)
class Admitted:
    """Who was let in.

    Attributes:
        name: of the caller's principal; None: nobody who is known.
        revision: what the accept statement compares; None: no key was presented.
    """

    name: str | None = None
    revision: int | None = None


NOBODY = Admitted()


class Callers:
    """Decides who may call a route."""

    def __init__(
        self, sources: Sources, clock: Callable[[], float] = time.monotonic, now: Callable[[], float] = time.time
    ) -> None:
        self._sources = sources
        self._clock = clock
        self._now = now
        self._kept: OrderedDict[bytes, tuple[Caller, float]] = OrderedDict()

    async def admit(self, auth: RouteAuth, app: str, headers: Mapping[str, str], *, is_again: bool = False) -> Admitted:
        """Who calls; refused before the body is read.

        Args:
            headers: by their lowercase names.
            is_again: what was remembered was refused: look the key up anew.

        Raises:
            AuthenticationError: the route asks for a key, and there is none, or none that is valid.
            PermissionDeniedError: the key may not run scripts of this app.
        """
        key = _presented(headers)
        if auth.kind == "api_key":
            if key is None:
                raise AuthenticationError("this needs an API key, sent as `Authorization: Bearer pic_…`")
            caller = await self._caller(key, is_again=is_again)
            if not caller.may(Capability.APP_INVOKE, app):
                raise PermissionDeniedError("this key may not run scripts of this app", hint="it needs script:invoke")
            return Admitted(caller.principal.name, caller.revision)
        if key is None or not is_well_formed(key):
            return NOBODY
        try:
            caller = await self._caller(key, is_again=is_again)
        except AuthenticationError:
            return NOBODY  # the route asks for nothing: who presents something that is not valid is nobody
        if caller.app not in (None, app):
            return NOBODY
        return Admitted(caller.principal.name, caller.revision)

    async def check_signature(
        self, auth: RouteAuth, app_id: int, headers: Mapping[str, str], body: bytes | None
    ) -> None:
        """Refuse a request that is not signed as its route asks for.

        Raises:
            SignatureError: it is not.
            UnavailableError: the app has no such secret (yet), or it cannot be opened.
        """
        if not auth.is_signature:
            return
        assert auth.secret is not None, "a route that asks for a signature names a secret"
        secret = await self._sources.secret(app_id, auth.secret)
        if secret is None:
            raise UnavailableError(
                "the route's signing secret is not set", hint="`picloud secrets set APP NAME`", code="secret_missing"
            )
        verify(auth, headers, body or b"", secret, self._now())

    async def _caller(self, key: str, *, is_again: bool) -> Caller:
        if not is_well_formed(key):
            raise AuthenticationError("the API key is not valid", code="invalid_key")
        hashed = hash_of(key)
        kept = self._kept.get(hashed)
        if kept is not None and not is_again and self._clock() < kept[1]:
            self._kept.move_to_end(hashed)
            return kept[0]
        self._kept.pop(hashed, None)
        caller = await self._sources.caller_of_key(key)
        expires_in = caller.expires_in_seconds
        kept_seconds = _KEPT_SECONDS if expires_in is None else min(_KEPT_SECONDS, expires_in)
        self._kept[hashed] = (caller, self._clock() + kept_seconds)
        if len(self._kept) > _MOST_KEPT:
            self._kept.popitem(last=False)
        return caller


def _presented(headers: Mapping[str, str]) -> str | None:
    """The API key in ``Authorization``, if that is what is there: an app may have credentials of its own."""
    scheme, _, key = headers.get("authorization", "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" and key.lstrip().startswith("pic_") else None
