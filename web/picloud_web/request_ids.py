"""The id of a request to PiCloud itself, the caller's (``X-Request-Id``) or a new one: in answers, problems, the log.

Requests to apps have none: theirs is the id of the execution.
"""

from __future__ import annotations

from uuid import uuid4

import falcon.asgi

from picloud.logs import about

_MOST_CHARACTERS = 100


class RequestIds:
    """Names every request that gets as far as PiCloud's own resources."""

    async def process_request(self, request: falcon.asgi.Request, response: falcon.asgi.Response) -> None:
        """Called by Falcon; what is logged from now on, while this request is answered, carries its id."""
        response.context.request_id = request.context.request_id = named = request_id(request)
        response.set_header("X-Request-Id", named)
        request.context.logged_about = about(request_id=named)
        request.context.logged_about.__enter__()

    async def process_response(
        self, request: falcon.asgi.Request, _response: falcon.asgi.Response, _resource: object, _succeeded: bool
    ) -> None:
        """Called by Falcon, also after an error. A connection's next request is answered in the same context."""
        entered = request.context.get("logged_about")
        if entered is not None:
            entered.__exit__(None, None, None)


def request_id(request: falcon.asgi.Request) -> str:
    """What the caller calls this request, as far as it can be stored and shown; else a new id."""
    given = request.get_header("x-request-id", default="")
    if 0 < len(given) <= _MOST_CHARACTERS and given.isascii() and given.isprintable():
        return given
    return str(uuid4())
