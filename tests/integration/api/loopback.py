"""The application of a test on a port of this machine, for programs that only speak HTTP."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.integration.api.conftest import Api

_HOP_BY_HOP = {"connection", "transfer-encoding", "content-length"}


@contextmanager
def served(api: Api) -> Iterator[str]:
    """The URL under which ``api`` answers; its event loop runs in a thread meanwhile."""
    started = threading.Event()
    loops: list[asyncio.AbstractEventLoop] = []
    end = asyncio.Event()

    async def until_end() -> None:
        loops.append(asyncio.get_running_loop())
        started.set()
        await end.wait()

    thread = threading.Thread(target=lambda: api.run(until_end()))
    thread.start()
    started.wait()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(api, loops[0]))
    server.daemon_threads = True
    serving = threading.Thread(target=server.serve_forever)
    serving.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        loops[0].call_soon_threadsafe(end.set)
        serving.join()
        thread.join()


def _handler(api: Api, loop: asyncio.AbstractEventLoop) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def parse_request(self) -> bool:
            if not super().parse_request():
                return False
            # Every method there is, and those there are not, are for the application to answer.
            setattr(self, f"do_{self.command}", self._answer)
            return True

        def _answer(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(length)
            path, _, query = self.path.partition("?")
            call = api.conductor.simulate_request(
                self.command, path, query_string=query, headers=list(self.headers.items()), body=body or None
            )
            result: Any = asyncio.run_coroutine_threadsafe(call, loop).result()
            self.send_response(result.status_code)
            for name, value in result.headers.items():
                if name.lower() not in _HOP_BY_HOP:
                    self.send_header(name, value)
            content = b"" if self.command == "HEAD" else result.content
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    return Handler
