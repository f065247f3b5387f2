"""A small web server for a machine of its own: it remembers what it was asked, redirects, and passes calls on.

``/redirect?to=URL`` redirects; ``/forward?to=URL`` posts to that URL in the same chain and answers the JSON it is
answered; ``/seen`` lists every request before it, with its headers in lower case; everything else answers ``ok``.
"""

from __future__ import annotations

import json
import sys
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

SEEN: list[dict[str, Any]] = []


class Handler(BaseHTTPRequestHandler):
    """Answers every method alike."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        if url.path == "/seen":
            return self._answer(200, json.dumps(SEEN).encode())
        headers = {name.lower(): value for name, value in self.headers.items()}
        SEEN.append({"method": self.command, "path": url.path, "headers": headers, "body": body.decode()})
        to = parse_qs(url.query).get("to", [""])[0]
        if url.path == "/redirect":
            return self._answer(302, b"", location=to)
        if url.path == "/forward":
            status, body = self._pass_on(to)
            return self._answer(status, body, content_type="application/json")
        return self._answer(200, b"ok")

    def do_POST(self) -> None:
        self.do_GET()

    def _pass_on(self, url: str) -> tuple[int, bytes]:
        headers = {"content-type": "application/json", "x-picloud-hops": self.headers["x-picloud-hops"]}
        try:
            request = urllib.request.Request(url, b"{}", headers)
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()

    def _answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002 - its name there
        pass


if __name__ == "__main__":
    server = ThreadingHTTPServer(("0.0.0.0", int(sys.argv[1])), Handler)
    print("ready", flush=True)
    server.serve_forever()
