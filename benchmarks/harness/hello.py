"""The least an ASGI server can do with a POST."""

import falcon.asgi


class Hello:
    """Reads the body and says that it did."""

    async def on_post(self, request: falcon.asgi.Request, response: falcon.asgi.Response) -> None:
        await request.stream.read()
        response.content_type = "application/json"
        response.data = b'{"ok":true}'


app = falcon.asgi.App()
app.add_route("/", Hello())
