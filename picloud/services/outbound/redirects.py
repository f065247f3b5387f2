"""Where a response leads, and what may go along.

Methods change as browsers change them (the Fetch standard, "HTTP-redirect fetch"). Headers
are stricter: at another origin only those arrive that are known to say nothing secret.
Which ones carry keys cannot be known (``X-Api-Key``, ``Private-Token``, …).
"""

from __future__ import annotations

from picloud.services.hops import HOPS_HEADER
from picloud.services.outbound.errors import BadRedirectError, BadUrlError
from picloud.services.outbound.exchange import Answer
from picloud.services.outbound.messages import Call
from picloud.services.outbound.urls import Target, join_url

_REDIRECTS = frozenset({301, 302, 303, 307, 308})

_KEPT_ELSEWHERE = frozenset(
    {
        "accept",
        "accept-encoding",
        "accept-language",
        "cache-control",
        "content-encoding",
        "content-language",
        "content-type",
        "user-agent",
        HOPS_HEADER.lower(),
    }
)


def next_call(call: Call, answer: Answer) -> Call | None:
    """The call a response asks for, None when it is the end.

    Raises:
        BadRedirectError: it leads to where no call may go.
    """
    location = answer.header("location")
    if answer.status not in _REDIRECTS or location is None:
        return None
    target = _target(call.target, location)
    method, body, headers = call.method, call.body, call.headers
    if (answer.status == 303 and method != "HEAD") or (answer.status in {301, 302} and method == "POST"):
        method, body = "GET", None
        headers = tuple(each for each in headers if not each[0].startswith("content-"))
    if not _is_same_site(call.target, target):
        headers = tuple(each for each in headers if each[0] in _KEPT_ELSEWHERE)
    return Call(method, target, headers, body, call.unpacks)


def _target(base: Target, location: str) -> Target:
    try:
        # Servers send UTF-8 where the standard has only ASCII; headers are read as Latin-1.
        text = location.encode("latin-1").decode("utf-8")
    except UnicodeDecodeError:
        text = location
    try:
        target = join_url(base, text)
    except BadUrlError as error:
        raise BadRedirectError(f"{base.origin} redirects to where no call can follow: {error.message}") from None
    if base.scheme == "https" and target.scheme == "http":
        raise BadRedirectError(
            f"{base.origin} redirects to {target.origin}, which is not encrypted",
            hint="call that URL itself if that is meant, or set follow_redirects to false",
        )
    return target


def _is_same_site(before: Target, after: Target) -> bool:
    if before.host != after.host:
        return False
    # From http to https at the default ports is the same site, better protected.
    return (before.scheme, before.port) == (after.scheme, after.port) or (before.port, after.port) == (80, 443)
