"""Where a request comes from: the address behind the proxies that are believed, TLS or not, the session it brings.

The session's cookie is called ``__Host-picloud_session`` where PiCloud is reached by https: browsers take such a cookie
only over TLS, from the host itself and for all of it, so that no app on a name beside PiCloud's can set one. Where it
is reached by http that name does not exist, and a cookie under the plain one counts.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import urlsplit

import falcon.asgi

from picloud.settings import Settings
from picloud_web.events import SESSION_COOKIE
from picloud_web.hosts import peer_address, trust

_SECURE_COOKIE = f"__Host-{SESSION_COOKIE}"


@dataclass(frozen=True, slots=True)
class Sender:
    """Who sent a request, as far as the connection tells.

    Attributes:
        address: of the client; empty: it came through a socket file and no proxy said from where.
        is_secure: by https, here or at the proxy.
        session: the token in the session's cookie, true or not.
    """

    address: str = ""
    is_secure: bool = False
    user_agent: str = ""
    session: str | None = field(default=None, repr=False)


class Senders:
    """Reads them off requests, by PICLOUD_TRUSTED_PROXIES and PICLOUD_PUBLIC_URL."""

    def __init__(self, settings: Settings) -> None:
        self._is_trusted = trust(settings.trusted_proxies)
        public = urlsplit(settings.public_url)
        self._secure_host = (public.hostname or "") if public.scheme == "https" else ""

    def of(self, request: falcon.asgi.Request) -> Sender:
        """The sender of ``request``."""
        peer = peer_address(request)
        is_proxy = peer == "" or self._is_trusted(peer)
        is_secure = self._is_secure(request, is_proxy=is_proxy)
        return Sender(
            address=self._client(request, peer) if is_proxy else peer,
            is_secure=is_secure,
            user_agent=request.get_header("user-agent", default=""),
            session=_session(request, is_secure=is_secure),
        )

    def _client(self, request: falcon.asgi.Request, peer: str) -> str:
        """The last address in ``X-Forwarded-For`` that is no proxy of ours; what stands before it anybody can write."""
        named = [each.strip() for each in request.get_header("x-forwarded-for", default="").split(",") if each.strip()]
        return next((each for each in reversed(named) if not self._is_trusted(each)), named[0] if named else peer)

    def _is_secure(self, request: falcon.asgi.Request, *, is_proxy: bool) -> bool:
        scheme = str(request.scope.get("scheme", "http"))
        if is_proxy:
            scheme = (request.get_header("x-forwarded-proto") or scheme).partition(",")[0].strip()
        # A proxy that nobody declared ends TLS too: the public URL says so.
        return scheme.lower() == "https" or (self._secure_host != "" and request.host.lower() == self._secure_host)


def session_cookie(token: str, seconds: int, *, is_secure: bool) -> str:
    """``Set-Cookie`` of a session; an empty token ends it. Scripts never see it, other sites never send it."""
    name, secure = (_SECURE_COOKIE, "; Secure") if is_secure else (SESSION_COOKIE, "")
    return f"{name}={token}; Max-Age={seconds}; Path=/; HttpOnly; SameSite=Strict{secure}"


def _session(request: falcon.asgi.Request, *, is_secure: bool) -> str | None:
    tokens = request.get_cookie_values(_SECURE_COOKIE if is_secure else SESSION_COOKIE)
    return tokens[0] if tokens else None
