"""What a script sends and gets back, what limits both, and which headers are its to set."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field

from picloud import __version__
from picloud.services.hops import HOPS_HEADER
from picloud.services.outbound.errors import BadCallError, BadHeaderError, RequestTooLargeError
from picloud.services.outbound.urls import Target, parse_url

Headers = tuple[tuple[str, str], ...]

_MIB = 1024 * 1024

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, section 5.6.2
_VALUE = re.compile(r"[\t\x20-\x7e]*")

#: Methods that mean something to proxies and servers themselves, not to what they serve.
_REFUSED_METHODS = frozenset({"CONNECT", "TRACE"})
_METHODS_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})

#: They frame the message or belong to the connection: a second opinion on where a request
#: ends is how one request is smuggled inside another. The hops header is PiCloud's own: a
#: script that could set it would start the count of a loop anew.
_REFUSED_HEADERS = frozenset(
    {
        "connection",
        "content-length",
        "expect",
        "host",
        "http2-settings",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        HOPS_HEADER.lower(),
    }
)


@dataclass(frozen=True, slots=True)
class OutboundLimits:
    """What one call may take, redirects included."""

    #: Seconds; a request that wants more gets this.
    max_seconds: float = 60.0
    #: Seconds one look-up of a name may take.
    max_lookup_seconds: float = 5.0
    max_redirects: int = 5
    max_request_body_bytes: int = 5 * _MIB
    #: Bytes of a response body as it arrives, and again unpacked.
    max_response_body_bytes: int = 5 * _MIB
    #: Headers of a request or a response, and their bytes in all.
    max_headers: int = 100
    max_header_bytes: int = 32 * 1024


@dataclass(frozen=True, slots=True)
class OutboundRequest:
    """One call as a script asks for it.

    Attributes:
        headers: name and value pairs; what PiCloud sets itself (``Host``, ``Content-Length``, …) is refused.
        body: None sends none.
        timeout_seconds: for everything, from the look-up of the name to the last byte.
        follow_redirects: False hands the first response over whatever it is.
        hops: a value of ``sign_hops``; it goes along to wherever the call is redirected.
    """

    method: str
    url: str
    headers: Headers = field(default=(), repr=False)
    body: bytes | None = field(default=None, repr=False)
    timeout_seconds: float = 30.0
    follow_redirects: bool = True
    hops: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class OutboundResponse:
    """What came back.

    Attributes:
        headers: names in lower case, in the order they came, repeated ones too. Without
            ``content-encoding`` and ``content-length`` when the body was unpacked here.
        url: where it came from, after redirects.
    """

    status: int
    headers: Headers
    body: bytes
    url: str


@dataclass(frozen=True, slots=True)
class Call:
    """One hop: a request that has been checked and knows where it goes.

    Attributes:
        headers: all that are sent, save those of framing; names in lower case.
        unpacks: whether a packed body is unpacked here; a caller who names encodings unpacks it too.
    """

    method: str
    target: Target
    headers: Headers = field(repr=False)
    body: bytes | None = field(repr=False)
    unpacks: bool

    def framed_headers(self) -> list[tuple[bytes, bytes]]:
        """The headers as they are sent, with those that only this client may set."""
        headers = [("host", self.target.authority), *self.headers, ("connection", "close")]
        if self.body is not None or self.method in _METHODS_WITH_BODY:
            headers.append(("content-length", str(len(self.body or b""))))
        return [(name.encode("ascii"), value.encode("ascii")) for name, value in headers]


def first_call(request: OutboundRequest, limits: OutboundLimits) -> Call:
    """Check a request.

    Raises:
        BadCallError: it cannot be sent, and why.
    """
    seconds = request.timeout_seconds
    if not (seconds > 0 and math.isfinite(seconds)):
        raise BadCallError(f"timeout_seconds is {seconds}; it has to be a number above 0")
    if request.body is not None and len(request.body) > limits.max_request_body_bytes:
        raise RequestTooLargeError(
            f"the request body has {len(request.body)} bytes; {limits.max_request_body_bytes} are allowed",
            hint="send it in parts",
        )
    return Call(
        _method(request.method),
        parse_url(request.url),
        _headers(request, limits),
        request.body,
        unpacks=all(name.lower() != "accept-encoding" for name, _ in request.headers),
    )


def _method(text: str) -> str:
    if _TOKEN.fullmatch(text) is None:
        raise BadCallError(f"{text!r} is not an HTTP method")
    method = text.upper()
    if method in _REFUSED_METHODS:
        raise BadCallError(f"the method {method} cannot be used")
    return method


def _headers(request: OutboundRequest, limits: OutboundLimits) -> Headers:
    given = [(_name(name), _value(name, value)) for name, value in request.headers]
    if len(given) > limits.max_headers or header_bytes(given) > limits.max_header_bytes:
        raise BadHeaderError(
            f"the request has {len(given)} headers of {header_bytes(given)} bytes;"
            f" {limits.max_headers} of {limits.max_header_bytes} bytes are allowed"
        )
    if request.hops is not None:
        given.append((HOPS_HEADER.lower(), _value(HOPS_HEADER, request.hops)))
    names = {name for name, _ in given}
    ours = (("accept", "*/*"), ("user-agent", f"PiCloud/{__version__}"), ("accept-encoding", "gzip"))
    return (*given, *(each for each in ours if each[0] not in names))


def header_bytes(headers: list[tuple[str, str]]) -> int:
    """The size of headers as they are sent: ``name: value`` and the end of the line."""
    return sum(len(name) + len(value) + 4 for name, value in headers)


def _name(text: str) -> str:
    if _TOKEN.fullmatch(text) is None:
        raise BadHeaderError(f"{text!r} is not the name of a header", hint="letters, digits and hyphens make a name")
    name = text.lower()
    if name in _REFUSED_HEADERS:
        raise BadHeaderError(f"the header {text} is set by PiCloud", hint="leave it out")
    return name


def _value(name: str, text: str) -> str:
    value = text.strip(" \t")
    if _VALUE.fullmatch(value) is None:
        # The value itself may be a secret.
        raise BadHeaderError(
            f"the value of the header {name} has a line break, a control or a non-ASCII character",
            hint="values are printable ASCII: encode the rest, as base64 or with percent signs",
        )
    return value
