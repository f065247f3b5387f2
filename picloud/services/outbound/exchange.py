"""One request and its response, over a connection that nothing else uses.

The body is read in pieces and counted twice, as it arrives and as it is unpacked: a few
kilobytes of gzip can unpack to gigabytes.
"""

from __future__ import annotations

import zlib
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager

import httpcore2

from picloud.services.outbound.deadline import Deadline
from picloud.services.outbound.errors import (
    BadHeaderError,
    BadResponseError,
    ConnectionFailedError,
    ResponseTooLargeError,
)
from picloud.services.outbound.messages import Call, Headers, OutboundLimits, header_bytes
from picloud.services.outbound.streams import DeadlineStream

#: Bytes unpacked at a time, and so the most that is unpacked past the limit.
_PIECE_BYTES = 64 * 1024
#: zlib: the largest window, and the gzip format only.
_GZIP = 16 + zlib.MAX_WBITS

#: Their Content-Length is that of a body they do not send.
_BODYLESS = frozenset({204, 304})

_GZIP_NAMES = frozenset({"gzip", "x-gzip"})


class Answer:
    """A response whose headers have arrived; the body is read on demand, once."""

    def __init__(
        self,
        call: Call,
        stream: DeadlineStream,
        response: httpcore2.Response,
        *,
        limits: OutboundLimits,
        deadline: Deadline,
    ) -> None:
        self.status = response.status
        self.headers = _headers(call, response, limits)
        self._call = call
        self._stream = stream
        self._response = response
        self._limits = limits
        self._deadline = deadline

    def header(self, name: str) -> str | None:
        """The first header of this name."""
        return next((value for each, value in self.headers if each == name), None)

    def read(self) -> tuple[Headers, bytes]:
        """Headers and body as the caller gets them.

        Raises:
            ResponseTooLargeError: the body passes the limit.
            OutboundError: it does not arrive, or not whole.
        """
        length = self.header("content-length")
        has_body = self._call.method != "HEAD" and self.status not in _BODYLESS
        if has_body and length is not None and int(length) > self._limits.max_response_body_bytes:
            raise self._too_large()
        encoding = self.header("content-encoding")
        arrived = self._counted(self._arrived())
        if not self._call.unpacks or encoding is None or encoding.lower() not in _GZIP_NAMES:
            return self.headers, b"".join(arrived)
        body = b"".join(self._counted(self._unpacked(arrived)))
        changed = {"content-encoding", "content-length"}
        return tuple(each for each in self.headers if each[0] not in changed), body

    def _arrived(self) -> Iterator[bytes]:
        with _protocol_errors(self._call, self._stream):
            yield from self._response.iter_stream()

    def _counted(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        count = 0
        for piece in pieces:
            # Pieces can be so small that reading them takes longer than waiting for them.
            self._deadline.remaining_seconds()
            count += len(piece)
            if count > self._limits.max_response_body_bytes:
                raise self._too_large()
            yield piece

    def _unpacked(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        unpacker = None
        try:
            for piece in pieces:
                packed = piece
                while packed:
                    # A gzip body may be several, one after the other (RFC 1952, section 2.2).
                    unpacker = unpacker or zlib.decompressobj(_GZIP)
                    yield unpacker.decompress(packed, _PIECE_BYTES)
                    packed = unpacker.unused_data or unpacker.unconsumed_tail
                    if unpacker.eof:
                        unpacker = None
        except zlib.error as error:
            raise BadResponseError(f"{self._call.target.origin} sent a body that is not gzip: {error}") from None
        if unpacker is not None:
            raise BadResponseError(f"{self._call.target.origin} sent a gzip body without its end")

    def _too_large(self) -> ResponseTooLargeError:
        return ResponseTooLargeError(
            f"the response of {self._call.target.origin} is larger than {self._limits.max_response_body_bytes} bytes",
            hint="ask for less at a time: a page, a range, fewer fields",
        )


@contextmanager
def exchange(call: Call, stream: DeadlineStream, *, limits: OutboundLimits, deadline: Deadline) -> Generator[Answer]:
    """Send ``call``; the connection is closed when the block is left, read to its end or not.

    Raises:
        OutboundError: no response came, or not one of HTTP.
    """
    target = call.target
    url = httpcore2.URL(
        scheme=target.scheme.encode("ascii"),
        host=target.host.encode("ascii"),
        port=target.port,
        target=target.path.encode("ascii"),
    )
    request = httpcore2.Request(
        call.method.encode("ascii"), url, headers=call.framed_headers(), content=call.body or b""
    )
    try:
        with _protocol_errors(call, stream):
            response = httpcore2.HTTP11Connection(url.origin, stream).handle_request(request)
        yield Answer(call, stream, response, limits=limits, deadline=deadline)
    finally:
        stream.close()


def _headers(call: Call, response: httpcore2.Response, limits: OutboundLimits) -> Headers:
    headers = [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in response.headers]
    if len(headers) > limits.max_headers or header_bytes(headers) > limits.max_header_bytes:
        raise ResponseTooLargeError(
            f"the response of {call.target.origin} has {len(headers)} headers of {header_bytes(headers)} bytes;"
            f" {limits.max_headers} of {limits.max_header_bytes} bytes are read"
        )
    return tuple(headers)


@contextmanager
def _protocol_errors(call: Call, stream: DeadlineStream) -> Generator[None]:
    try:
        yield
    except httpcore2.RemoteProtocolError as error:
        if stream.has_ended:
            raise ConnectionFailedError(
                f"{call.target.origin} closed the connection before its response was whole"
            ) from None
        raise BadResponseError(f"{call.target.origin} did not answer as HTTP/1.1 does: {error}") from None
    except httpcore2.LocalProtocolError as error:
        raise BadHeaderError(f"the request cannot be sent: {error}") from None
