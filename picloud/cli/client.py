"""A client of the control API: paths in, JSON values out, problem documents as PiCloud's own errors.

Nothing here knows a command. httpx2 is imported when the first client is made:
``picloud --help`` must not pay for it. Proxies and certificates of the environment
are not consulted: the key goes to the URL of the profile and nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, cast
from urllib.parse import quote

import picloud
from picloud.errors import (
    AuthenticationError,
    CapacityError,
    ConflictError,
    InvalidInputError,
    NotFoundError,
    PermissionDeniedError,
    PiCloudError,
    UnavailableError,
)

if TYPE_CHECKING:
    import httpx2

    from picloud.profiles import Profile

_CONNECT_SECONDS = 5.0
#: How long an ordinary call may take.
_ANSWER_SECONDS = 30.0
#: A page of a list; the server's own limit is not below this.
_PAGE = 100
_UNREADABLE: Any = object()


def api_path(*parts: object) -> str:
    """The path of a resource; a script's name may hold a ``/``, which is part of the name."""
    return "".join(f"/{quote(str(part), safe='')}" for part in parts)


class Client:
    """One server and one key; without a key, a session while it is open. Use as a context manager, or close it."""

    def __init__(self, profile: Profile, *, transport: httpx2.BaseTransport | None = None) -> None:
        """Raises: InvalidInputError: the profile's URL is none."""
        import httpx2

        self.url = profile.url.rstrip("/")
        #: Why what is done is done: the server writes it to the audit log.
        self.reason: str | None = None
        self._errors = httpx2
        if not self.url.startswith(("http://", "https://")):
            raise InvalidInputError(f"{self.url!r} is not a URL of a server", hint="as in https://picloud.example.org")
        try:
            self._http = httpx2.Client(
                base_url=f"{self.url}/api/v1",
                headers={
                    "Accept": "application/json",
                    "User-Agent": f"picloud-cli/{picloud.__version__}",
                    **({"Authorization": f"Bearer {profile.token}"} if profile.token else {}),
                },
                transport=transport,
                trust_env=False,
                timeout=httpx2.Timeout(_ANSWER_SECONDS, connect=_CONNECT_SECONDS),
            )
        except (httpx2.InvalidURL, UnicodeEncodeError):
            raise InvalidInputError(f"{self.url!r} with this key cannot be sent", hint="check both") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def get(self, path: str, **filters: object) -> Any:
        """What is at ``path``; filters that are None are left out."""
        return self._send("GET", path, params=_present(filters))

    def post(
        self,
        path: str,
        body: object = None,
        *,
        headers: Mapping[str, str] | None = None,
        answer_seconds: float | None = None,
    ) -> Any:
        return self._send("POST", path, body=body, headers=headers, answer_seconds=answer_seconds)

    def put(self, path: str, body: object, *, headers: Mapping[str, str] | None = None, **query: object) -> Any:
        return self._send("PUT", path, body=body, headers=headers, params=_present(query))

    def patch(self, path: str, body: object) -> Any:
        return self._send("PATCH", path, body=body)

    def delete(self, path: str, *, headers: Mapping[str, str] | None = None, **filters: object) -> Any:
        return self._send("DELETE", path, params=_present(filters), headers=headers)

    def items(self, path: str, *, limit: int | None = None, **filters: object) -> Iterator[dict[str, Any]]:
        """The items of a list, page by page, ``limit`` at most (None: all)."""
        after: object = None
        left = limit
        while left is None or left > 0:
            size = _PAGE if left is None else min(left, _PAGE)
            page = self.get(path, **filters, limit=size, after=after)
            found = cast("list[dict[str, Any]]", page["items"])
            yield from found if left is None else found[:left]
            after = page.get("next")
            if after is None:
                return
            left = None if left is None else left - len(found)

    def _send(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        body: object = None,
        headers: Mapping[str, str] | None = None,
        answer_seconds: float | None = None,
    ) -> Any:
        errors = self._errors
        timeout = errors.Timeout(answer_seconds or _ANSWER_SECONDS, connect=_CONNECT_SECONDS)
        # Of a PUT a null is a value like any other; the client would leave it out.
        content = b"null" if body is None and method == "PUT" else None
        sent = dict(headers or {}) | ({"Content-Type": "application/json"} if content else {})
        if self.reason:
            sent["X-Audit-Reason"] = quote(self.reason)
        try:
            response = self._http.request(
                method, path, params=params, json=body, content=content, headers=sent, timeout=timeout
            )
        except (errors.ConnectError, errors.ConnectTimeout) as error:
            raise UnavailableError(
                f"{self.url} does not answer: {_reason(error)}", hint="is `picloud up` running there?"
            ) from None
        except errors.TimeoutException:
            raise UnavailableError(f"{self.url} gave no answer in time", code="no_answer") from None
        except errors.TransportError as error:
            raise UnavailableError(f"{self.url}: the connection broke: {_reason(error)}") from None
        return self._read(response)

    def _read(self, response: httpx2.Response) -> Any:
        if response.is_success and not response.content:
            return None
        try:
            value = response.json()
        except ValueError:
            value = _UNREADABLE
        if response.is_success and value is not _UNREADABLE:
            return value
        if not isinstance(value, dict) or "code" not in value:
            raise UnavailableError(
                f"{self.url} answered {response.status_code}, but not as PiCloud does",
                hint="is this the address of a PiCloud server?",
            )
        raise _error_of(response.status_code, cast("dict[str, Any]", value))


_BY_STATUS: Mapping[int, type[PiCloudError]] = {
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: NotFoundError,
    409: ConflictError,
    412: ConflictError,
    503: CapacityError,
}
_HINTS = {401: "`picloud login URL` takes a new key", 403: "this needs a key that may do more"}


def _error_of(status: int, problem: Mapping[str, Any]) -> PiCloudError:
    """A problem document (RFC 9457) as the error it was on the server."""
    message = str(problem.get("detail") or problem.get("title") or f"the server answered {status}")
    code = str(problem["code"])
    if status == 503 and code == "storage_unavailable":
        return UnavailableError(message)
    if status in {429, 503}:
        return CapacityError(message, code=code)
    kind = _BY_STATUS.get(status, InvalidInputError if status < 500 else PiCloudError)
    # Somebody who is signing in needs no word on how to sign in.
    return kind(message, code=code, hint=None if code == "invalid_credentials" else _HINTS.get(status))


def _present(filters: Mapping[str, object]) -> dict[str, Any]:
    return {name: value for name, value in filters.items() if value is not None}


def _reason(error: Exception) -> str:
    """What the system said, without its number: ``[Errno 111] Connection refused``."""
    return str(error).partition("] ")[2] or str(error) or type(error).__name__
