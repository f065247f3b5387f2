"""Who sends a request: by an API key in ``Authorization``, or by the session cookie of a signed-in person.

A browser sends its cookie with whatever any page makes it send. So a cookie counts only when the browser says that the
page is PiCloud's own (Fetch Metadata, W3C; ``Origin``, RFC 6454, from browsers that do not say it). A key is not sent
by itself, but a request that changes something and that a foreign page sent is refused whatever it carries.
"""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

import falcon.asgi

from picloud.access import Caller, InstanceRole, Principal
from picloud.errors import AuthenticationError, InvalidInputError, PermissionDeniedError
from picloud.identity.keys import authenticate_key, authenticate_session
from picloud_web.api.senders import Sender
from picloud_web.services import Services

#: The caller of an endpoint that asks nobody who they are; it has no scope and no app.
NOBODY = Caller(Principal(0, "service", "nobody", InstanceRole.MEMBER), scopes=frozenset(), credential="none")

#: Between two hosts of one site a browser sends the cookie with a GET, and by http under a name does not say for whom.
#: It must not make a script, a style or an image of the answer then (Fetch, "Cross-Origin-Resource-Policy header" and
#: "X-Content-Type-Options header").
NOT_FOR_OTHER_PAGES = {"Cross-Origin-Resource-Policy": "same-origin", "X-Content-Type-Options": "nosniff"}

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_MOST_REASON_CHARACTERS = 1_000


async def authenticate(services: Services, request: falcon.asgi.Request, sender: Sender) -> Caller:
    """Who is calling. A key wins over a cookie.

    Raises:
        AuthenticationError: nobody who is known.
        PermissionDeniedError: a page of another origin sent it with somebody's cookie.
    """
    scheme, _, key = (request.get_header("authorization") or "").partition(" ")
    if scheme.lower() == "bearer" and key.strip():
        async with services.database.connection() as connection:
            return await authenticate_key(connection, key.strip())
    if not sender.session:
        raise AuthenticationError(
            "this needs an API key, sent as `Authorization: Bearer pic_…`, or a session",
            hint="`picloud keys create` makes a key, `picloud login` signs in",
        )
    if is_foreign(request):
        raise _foreign_page()
    async with services.database.connection() as connection:
        return await authenticate_session(connection, sender.session)


def refuse_foreign_pages(request: falcon.asgi.Request) -> None:
    """A page of another origin must not act through the browser of whoever looks at it."""
    if request.method not in _SAFE_METHODS and is_foreign(request):
        raise _foreign_page()


def is_foreign(request: falcon.asgi.Request) -> bool:
    """Whether a browser sent this for a page that is not PiCloud's own. ``none`` is a person who typed the address."""
    site = request.get_header("sec-fetch-site")
    if site is not None:
        return site.lower() not in {"same-origin", "none"}
    origin = request.get_header("origin")
    return origin is not None and urlsplit(origin).netloc != request.netloc


def reason(request: falcon.asgi.Request) -> str | None:
    """Why the caller does what it does, for the audit log: ``X-Audit-Reason``, percent-encoded UTF-8.

    Raises:
        InvalidInputError: it is too long.
    """
    given = unquote(request.get_header("x-audit-reason", default="")).replace("\0", "").strip()
    if len(given) > _MOST_REASON_CHARACTERS:
        raise InvalidInputError(f"X-Audit-Reason: more than {_MOST_REASON_CHARACTERS} characters")
    return given or None


def _foreign_page() -> PermissionDeniedError:
    return PermissionDeniedError("another site's page may not do anything here", code="foreign_page")
