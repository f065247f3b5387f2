"""Where a URL leads, read once: what is judged, dialled, sent as ``Host`` and named to TLS is the same text.

Stricter than a browser on purpose. Everything that another reader of the same URL might
read otherwise is refused: user names, backslashes, escapes in the host, IPv4 addresses in
the short, octal, hexadecimal and one-number forms that ``inet_aton`` accepts.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from picloud.services.outbound.addresses import IPAddress, plain_address
from picloud.services.outbound.errors import BadUrlError

if TYPE_CHECKING:
    import httpx2

Scheme = Literal["http", "https"]

MAX_URL_CHARACTERS = 8_192

_DEFAULT_PORTS: dict[Scheme, int] = {"http": 80, "https": 443}
_AUTHORITY = re.compile(r"(?i:https?)://([^/?#]*)")
_PORT = re.compile(r"[^:\[\]]*(?::([0-9]{1,5}))?|\[[^\]]*\](?::([0-9]{1,5}))?")
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
#: What the URL standard of browsers takes for an IPv4 address: the last label is a number.
_NUMERIC = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)")


@dataclass(frozen=True, slots=True)
class Target:
    """Where a request goes.

    Attributes:
        host: a name in lower-case ASCII without a dot at its end, or an address without brackets.
        path: path and query, percent-encoded.
        address: the host's own, when it is one and no name.
    """

    scheme: Scheme
    host: str
    port: int
    path: str
    address: IPAddress | None = None

    @property
    def authority(self) -> str:
        """The ``Host`` header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def origin(self) -> str:
        """Scheme, host and port: all of a URL that an error may show."""
        return f"{self.scheme}://{self.authority}"

    def __str__(self) -> str:
        return self.origin + self.path


def parse_url(text: str) -> Target:
    """Read an absolute URL; a fragment is dropped.

    Raises:
        BadUrlError: it is not a plain http or https URL.
    """
    if len(text) > MAX_URL_CHARACTERS:
        raise BadUrlError(f"the URL has {len(text)} characters; {MAX_URL_CHARACTERS} are allowed")
    authority = _AUTHORITY.match(text)
    if authority is None:
        raise BadUrlError("the URL does not start with http:// or https://", hint="give the whole URL, with its host")
    if "@" in authority[1]:
        raise BadUrlError(
            "the URL has a user name or an @ before its host", hint="send credentials in an Authorization header"
        )
    if _PORT.fullmatch(authority[1]) is None:
        raise BadUrlError("the URL's host and port cannot be told apart, or its port is no number")
    import httpx2  # here and below: web processes know this module, and few of them ever read a URL

    try:
        url = httpx2.URL(text)
    except (httpx2.InvalidURL, ValueError) as error:
        raise BadUrlError(f"the URL cannot be read: {_without_url(error)}") from None
    return _target(url)


def join_url(base: Target, location: str) -> Target:
    """Where ``location``, relative or absolute, leads from ``base``.

    Raises:
        BadUrlError: not to a plain http or https URL.
    """
    import httpx2

    try:
        joined = str(httpx2.URL(str(base)).join(location))
    except (httpx2.InvalidURL, ValueError) as error:
        raise BadUrlError(f"the URL cannot be read: {_without_url(error)}") from None
    return parse_url(joined)


def parse_host(text: str) -> str:
    """A name as it is compared: lower-case ASCII, without a dot at its end.

    Raises:
        BadUrlError: it is no name.
    """
    import httpx2

    try:
        return _name(httpx2.URL(scheme="http", host=text).raw_host.decode("ascii"))
    except (httpx2.InvalidURL, ValueError):
        raise BadUrlError("the host is not a name") from None


def _target(url: httpx2.URL) -> Target:
    scheme: Scheme = "https" if url.scheme == "https" else "http"
    port = _DEFAULT_PORTS[scheme] if url.port is None else url.port
    if not 0 < port < 65_536:
        raise BadUrlError(f"the URL has port {port}; ports are from 1 to 65535")
    host = url.raw_host.decode("ascii")
    path = url.raw_path.decode("ascii")
    address = plain_address(host)
    if address is None:
        return Target(scheme, _name(host), port, path)
    # An IPv4-mapped address has become the IPv4 address it stands for: Host and TLS say what is dialled.
    return Target(scheme, str(address), port, path, address)


def _name(host: str) -> str:
    name = host.removesuffix(".")
    if len(name) > 253 or _NAME.fullmatch(name) is None:
        raise BadUrlError("the URL's host is not a name", hint="letters, digits, hyphens and dots make a host")
    if _NUMERIC.fullmatch(name) is not None:
        raise BadUrlError(
            "the URL's host is a number but not an IPv4 address",
            hint="write an address as four decimal numbers without leading zeros, such as 192.0.2.1",
        )
    return name


def _without_url(error: Exception) -> str:
    """The reason without the text after its colon: parsers quote the URL there."""
    return str(error).partition(":")[0]
