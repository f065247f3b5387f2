"""Secrets of an app: set and listed, never read back."""

from typing import Annotated

import msgspec

from picloud.access import Capability
from picloud.control import secrets
from picloud.control.apps import find_app, lock_app
from picloud.control.pages import Page
from picloud.control.records import Connection
from picloud.control.secrets import RotatedDataKey, Secret
from picloud.errors import NotFoundError
from picloud.settings import KIB
from picloud_web.api.conditions import IfMatch
from picloud_web.api.endpoints import Call, Endpoints
from picloud_web.api.inputs import Input, Paging

api = Endpoints("secrets")

#: 64 KiB of a value, were each of its bytes an escape of six characters in JSON.
_MAX_BODY_BYTES = 400 * KIB

Value = Annotated[
    str,
    msgspec.Meta(
        min_length=1,
        max_length=64 * KIB,
        description="1 to 65536 bytes of text.",
        extra_json_schema={"format": "password", "writeOnly": True},
    ),
]


class NewValue(Input, frozen=True):
    """What a secret shall be."""

    value: Value

    def __repr__(self) -> str:
        return "NewValue(…)"


@api.get("/apps/{app}/secrets", needs=Capability.APP_READ_SECRETS)
async def list_secrets(call: Call, query: Paging) -> Page[Secret]:
    """The secrets of an app, by name, without their values."""
    async with call.reading() as connection:
        return await secrets.list_secrets(connection, call.app, limit=query.limit, after=query.after)


@api.get("/apps/{app}/secrets/{name}", needs=Capability.APP_READ_SECRETS)
async def show_secret(call: Call) -> Secret:
    """One secret, without its value: no call answers with that."""
    async with call.transaction() as connection:  # a look at a secret is in the audit log
        return await secrets.read_secret(connection, await find_app(connection, call.app), call.path["name"])


@api.put(
    "/apps/{app}/secrets/{name}",
    needs=Capability.APP_MANAGE_SECRETS,
    statuses=(200, 201),
    max_body_bytes=_MAX_BODY_BYTES,
)
async def set_secret(call: Call, headers: IfMatch, body: NewValue) -> Secret:
    """Set a secret. Runs that read it from now on read this value."""
    name = call.path["name"]
    async with call.transaction() as connection:
        await _require_unchanged(call, connection, headers)
        made = await secrets.set_secret(
            connection, call.services.vault, call.app, call.principal, name=name, value=body.value
        )
        call.entry.after = {"version": made.version}
    call.status = 201 if made.version == 1 else 200
    return made


@api.delete("/apps/{app}/secrets/{name}", needs=Capability.APP_MANAGE_SECRETS)
async def remove_secret(call: Call, headers: IfMatch) -> None:
    """Remove a secret. Scripts that read it fail from now on."""
    async with call.transaction() as connection:
        await _require_unchanged(call, connection, headers)
        await secrets.remove_secret(connection, call.app, call.path["name"])


async def _require_unchanged(call: Call, connection: Connection, condition: IfMatch) -> None:
    """Raises: ConflictError: the secret is no longer what the caller has seen."""
    if not condition.is_given:
        return
    app = await lock_app(connection, call.app)
    try:
        condition.require(await secrets.read_secret(connection, app, call.path["name"]))
    except NotFoundError:
        condition.require(None)


@api.post("/apps/{app}/rotate-data-key", needs=Capability.APP_MANAGE_SECRETS)
async def rotate_data_key(call: Call) -> RotatedDataKey:
    """Seal every secret of the app anew, under a data key that was never used. No value and no version changes."""
    async with call.transaction() as connection:
        done = await secrets.rotate_data_key(connection, call.services.vault, call.app)
        call.entry.after = {"secrets": done.secrets}
    return done


ENDPOINTS = api.collected()
