"""Users and services."""

from picloud.access import Capability, InstanceRole
from picloud.control.pages import Page
from picloud.errors import InvalidInputError
from picloud.identity import passwords, users
from picloud.identity.users import Kind, NewUser, User, UserChange
from picloud.settings import KIB
from picloud_web.api.auth import Password
from picloud_web.api.endpoints import Call, Endpoints
from picloud_web.api.inputs import Input, Paging, Text

api = Endpoints("users")

_MAX_BODY_BYTES = 12 * KIB


class WantedUser(Input, frozen=True, kw_only=True):
    """Somebody to be made. A user without a password cannot sign in yet; a service never can."""

    name: Text
    kind: Kind = "user"
    role: InstanceRole = InstanceRole.MEMBER
    password: Password | None = None

    def __repr__(self) -> str:
        return "WantedUser(…)"


class ChangedUser(Input, frozen=True, kw_only=True):
    """What shall be different; what is left out stays as it is."""

    role: InstanceRole | None = None
    disabled: bool | None = None


class NewPassword(Input, frozen=True, kw_only=True):
    """A password."""

    password: Password

    def __repr__(self) -> str:
        return "NewPassword(…)"


@api.get("/users", needs=Capability.INSTANCE_MANAGE_USERS)
async def list_users(call: Call, query: Paging) -> Page[User]:
    """Users and services, by name; those who are disabled are among them."""
    async with call.reading() as connection:
        return await users.list_users(connection, limit=query.limit, after=query.after)


@api.post(
    "/users",
    needs=Capability.INSTANCE_MANAGE_USERS,
    statuses=(201,),
    max_body_bytes=_MAX_BODY_BYTES,
    errors=("no_capacity",),
)
async def create_user(call: Call, body: WantedUser) -> User:
    """Make a user or a service. Only an owner makes admins and owners."""
    users.check_name(body.name)
    hashed = None
    if body.password is not None:
        passwords.check_password(body.password, body.name)
        hashed = await call.services.hashing.hash(body.password)
    async with call.transaction() as connection:
        wanted = NewUser(body.name, body.kind, body.role, hashed)
        made = await users.create_user(connection, call.caller, wanted)
        call.entry.object, call.entry.after = made.name, made
    return made


@api.get("/users/{name}", needs=Capability.INSTANCE_MANAGE_USERS)
async def show_user(call: Call) -> User:
    """One user or service, with its apps and roles."""
    async with call.reading() as connection:
        return await users.read_user(connection, call.path["name"])


@api.patch("/users/{name}", needs=Capability.INSTANCE_MANAGE_USERS)
async def change_user(call: Call, body: ChangedUser) -> User:
    """Change a role, disable or enable somebody.

    Only an owner changes admins and owners; nobody disables themselves; an owner who can sign in always remains. Who is
    disabled is signed out, their keys are refused, and what waits to run as them becomes dead letters.
    """
    if body.role is None and body.disabled is None:
        raise InvalidInputError("the body: says nothing that shall be different", hint="role, disabled")
    async with call.transaction() as connection:
        change = UserChange(body.role, body.disabled)
        before, after = await users.change_user(connection, call.caller, call.path["name"], change)
        call.entry.before, call.entry.after = before, after
        call.entry.is_void = before == after
    return after


@api.delete("/users/{name}", needs=Capability.INSTANCE_MANAGE_USERS)
async def remove_user(call: Call) -> None:
    """Remove somebody who is disabled and of whom no app, script, route, trigger or secret tells."""
    async with call.transaction() as connection:
        call.entry.before = await users.remove_user(connection, call.caller, call.path["name"])


@api.put(
    "/users/{name}/password",
    needs=Capability.INSTANCE_MANAGE_USERS,
    statuses=(204,),
    max_body_bytes=_MAX_BODY_BYTES,
    errors=("no_capacity",),
)
async def reset_password(call: Call, body: NewPassword) -> None:
    """Give another user a password, and end their sessions."""
    name = call.path["name"]
    passwords.check_password(body.password, name)
    hashed = await call.services.hashing.hash(body.password)
    async with call.transaction() as connection:
        await users.reset_password(connection, call.caller, name, hashed)


ENDPOINTS = api.collected()
