"""Releases: what an app was after each deploy and each rollback."""

from typing import Annotated

import msgspec

from picloud.access import Capability
from picloud.control import releases
from picloud.control.pages import Page
from picloud.control.releases import Release, ReleaseDetail
from picloud_web.api.endpoints import Call, Endpoints
from picloud_web.api.inputs import Input, Paging

api = Endpoints("releases")


class Shown(Input, frozen=True):
    """How much is shown of a release."""

    diff: Annotated[bool, msgspec.Meta(description="With the difference of each changed source.")] = False


@api.get("/apps/{app}/releases", needs=Capability.APP_READ_SCRIPTS)
async def list_releases(call: Call, query: Paging) -> Page[Release]:
    """The releases of an app, newest first: that one runs."""
    async with call.reading() as connection:
        return await releases.list_releases(
            connection, call.services.settings, call.app, limit=query.limit, after=query.after
        )


@api.get("/apps/{app}/releases/{id:int}", needs=Capability.APP_READ_SCRIPTS)
async def show_release(call: Call, query: Shown) -> ReleaseDetail:
    """One release: its manifest, its scripts' versions, what it changed, and what was changed since."""
    async with call.reading() as connection:
        return await releases.show_release(
            connection, call.services.settings, call.app, call.path["id"], with_diff=query.diff
        )


ENDPOINTS = api.collected()
