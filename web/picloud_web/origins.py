"""The first thing that sees a request: is it for PiCloud itself, or for an app?

Requests of apps are answered here and never reach the framework's router, so
that on an app's host nothing of PiCloud can answer: no control API, no other
app.
"""

from __future__ import annotations

import falcon.asgi

from picloud.errors import NotFoundError
from picloud.settings import Settings
from picloud_web.dataplane import AppPath, DataPlane
from picloud_web.directory import Directory
from picloud_web.hosts import Hosts, peer_address, trust

#: Some clients encode the at sign.
_APP_PREFIXES = (b"/@", b"/%40")


class UnknownHostError(NotFoundError):
    """Raised when a Host belongs neither to PiCloud nor to an app."""

    code = "misdirected_request"


class OriginMiddleware:
    """Answers the requests of apps; lets those of PiCloud's own host through."""

    def __init__(self, settings: Settings, directory: Directory, data_plane: DataPlane) -> None:
        self._hosts = Hosts(settings)
        self._is_trusted = trust(settings.trusted_proxies)
        self._directory = directory
        self._data_plane = data_plane

    async def process_request(self, request: falcon.asgi.Request, response: falcon.asgi.Response) -> None:
        """Called by Falcon before routing; ``response.complete`` ends the request here."""
        is_proxy_trusted = self._comes_from_proxy(request)
        where = await self._app_path(request, is_proxy_trusted)
        if where is not None:
            await self._data_plane.handle(request, response, where, is_proxy_trusted=is_proxy_trusted)
            response.complete = True

    def _comes_from_proxy(self, request: falcon.asgi.Request) -> bool:
        peer = peer_address(request)
        # Over a unix socket there is no address: whoever may open the socket is the proxy.
        return not peer or self._is_trusted(peer)

    async def _app_path(self, request: falcon.asgi.Request, is_proxy_trusted: bool) -> AppPath | None:
        """Which app, on which path; None: PiCloud itself.

        Raises:
            UnknownHostError: nothing is served under this host.
        """
        host = request.get_header("host", default="")
        if is_proxy_trusted:
            host = request.get_header("x-forwarded-host", default=host)
        origin = self._hosts.origin(host)
        raw_path: bytes = request.scope.get("raw_path") or request.scope["path"].encode()
        if origin.is_own:
            return _own_app_path(raw_path)
        app_name = origin.app
        if origin.domain is not None:
            app_name = await self._directory.app_of_domain(origin.domain)
        if app_name is None:
            raise UnknownHostError("nothing is served under this host", hint="is PICLOUD_PUBLIC_URL set to it?")
        return AppPath.from_raw(app_name, raw_path, is_own_host=False)


def _own_app_path(raw_path: bytes) -> AppPath | None:
    """``/@shop/orders`` is app ``shop``, path ``/orders``."""
    for prefix in _APP_PREFIXES:
        if raw_path.startswith(prefix):
            break
    else:
        return None
    name, _, rest = raw_path.removeprefix(prefix).partition(b"/")
    return AppPath.from_raw(name.decode("latin-1"), b"/" + rest, is_own_host=True)
