"""Signing in and out, the first admin, one's own sessions and password."""

from typing import Annotated

import msgspec

from picloud.access import Caller, Capability, InstanceRole, Principal
from picloud.control.pages import Page
from picloud.control.records import Connection
from picloud.errors import AuthenticationError, CapacityError, InvalidInputError
from picloud.identity import attempts, passwords, sessions, setup, users
from picloud.identity.sessions import NewSession, Session
from picloud.identity.users import Login
from picloud.settings import KIB
from picloud_web.api.endpoints import Call, Endpoints
from picloud_web.api.inputs import Input, Instant, Paging, Text
from picloud_web.api.senders import session_cookie

api = Endpoints("sessions")

#: A password of 1 KiB, were each of its bytes an escape of six characters in JSON, and what stands beside it.
_MAX_BODY_BYTES = 12 * KIB

Password = Annotated[
    str,
    msgspec.Meta(
        max_length=passwords.MOST_BYTES,
        description="8 characters to 1024 bytes of text.",
        extra_json_schema={"format": "password", "writeOnly": True},
    ),
]


class Credentials(Input, frozen=True, kw_only=True):
    """Who wants to sign in."""

    name: Text
    password: Password

    def __repr__(self) -> str:
        return "Credentials(…)"


class Setup(Input, frozen=True, kw_only=True):
    """The first admin. `secret` is what stands behind the `#` of the link."""

    secret: Text
    name: Text
    password: Password

    def __repr__(self) -> str:
        return "Setup(…)"


class PasswordChange(Input, frozen=True, kw_only=True):
    """One's own password, the one that is and the one that shall be."""

    old: Password
    new: Password

    def __repr__(self) -> str:
        return "PasswordChange(…)"


class SignedIn(msgspec.Struct, frozen=True):
    """Who signed in; the session itself is in the cookie."""

    name: str
    role: InstanceRole
    expires_at: Instant


@api.post(
    "/auth/login",
    needs=None,
    max_body_bytes=_MAX_BODY_BYTES,
    errors=("invalid_credentials", "too_many_attempts", "no_capacity"),
)
async def sign_in(call: Call, body: Credentials) -> SignedIn:
    """Sign in with name and password; the answer sets the cookie of a new session.

    The same words answer a name that nobody has, a wrong password, and somebody who is disabled. Too many attempts are
    answered 429 with `Retry-After`.
    """
    name = body.name.strip().lower()
    login = await _login(call, name, body.password)
    if login is None:
        await _note_failure(call, name)
        raise _refused()
    async with call.transaction() as connection:
        if not await users.hold_login(connection, login):
            raise _refused()  # disabled, or the password was changed, while it was verified
        begun = await _begin(call, connection, login.principal, "password")
    return SignedIn(login.principal.name, login.principal.role, begun.expires_at)


@api.post(
    "/auth/setup",
    needs=None,
    max_body_bytes=_MAX_BODY_BYTES,
    errors=("invalid_setup_link", "conflict", "no_capacity"),
)
async def set_up(call: Call, body: Setup) -> SignedIn:
    """Make the first admin, who is owner, by the link of `picloud up` or `picloud users setup-link`, and sign in.

    The link works once, for 15 minutes, while there is no admin.
    """
    name = body.name.strip().lower()
    async with call.reading() as connection:
        await setup.check_setup(connection, body.secret, name)
    passwords.check_password(body.password, name)
    hashed = await call.services.hashing.hash(body.password)
    async with call.transaction() as connection:
        principal = await setup.redeem(connection, body.secret, name, hashed)
        call.entry.after = {"role": principal.role}
        begun = await _begin(call, connection, principal, "setup link")
    return SignedIn(principal.name, principal.role, begun.expires_at)


@api.post("/auth/logout", needs=Capability.SELF, statuses=(204,))
async def sign_out(call: Call) -> None:
    """End the session that asks."""
    session_id = call.caller.session_id
    if session_id is None:
        raise InvalidInputError("this is a key, no session", hint="DELETE /keys/{id} revokes a key")
    async with call.transaction() as connection:
        call.entry.object = str(session_id)
        await sessions.end_session(connection, call.principal.id, session_id)
    call.cookies.append(session_cookie("", 0, is_secure=call.sender.is_secure))


@api.get("/me/sessions", needs=Capability.SELF_MANAGE_SESSIONS)
async def list_sessions(call: Call, query: Paging) -> Page[Session]:
    """The caller's own sessions, newest first, without those that are over."""
    async with call.reading() as connection:
        return await sessions.list_sessions(
            connection, call.principal.id, call.caller.session_id, limit=query.limit, after=query.after
        )


@api.delete("/me/sessions/{id:int}", needs=Capability.SELF_MANAGE_SESSIONS)
async def end_session(call: Call) -> None:
    """End a session of the caller's own, at once."""
    async with call.transaction() as connection:
        await sessions.end_session(connection, call.principal.id, call.path["id"])


@api.post(
    "/me/password",
    needs=Capability.SELF_MANAGE_SESSIONS,
    statuses=(204,),
    max_body_bytes=_MAX_BODY_BYTES,
    errors=("invalid_credentials", "too_many_attempts", "no_capacity"),
)
async def change_password(call: Call, body: PasswordChange) -> None:
    """Change one's own password, with the old one. All other sessions of the caller end; keys stay."""
    name = call.principal.name
    passwords.check_password(body.new, name)
    if await _login(call, name, body.old) is None:
        await _note_failure(call, name)
        raise AuthenticationError("the old password is wrong", code="invalid_credentials")
    hashed = await call.services.hashing.hash(body.new)
    async with call.transaction() as connection:
        call.entry.object = name
        await users.set_password(connection, call.principal.id, hashed)
        await sessions.end_sessions(connection, call.principal.id, but=call.caller.session_id)


async def _login(call: Call, name: str, password: str) -> Login | None:
    """Whose name and password these are; None: nobody's. No connection is held while a password is verified.

    Raises:
        TooManyAttemptsError: not looked at.
        CapacityError: not looked at, and not counted.
    """
    if not users.is_name(name):
        name = ""  # nobody's: counted like others, but not as whatever was typed into the wrong field
    async with call.reading() as connection:
        attempt = await attempts.count_attempt(connection, name, call.sender.address)
        login = await users.find_login(connection, name)
    try:
        is_right = await call.services.hashing.verify(password, None if login is None else login.hash)
    except CapacityError:
        async with call.reading() as connection:
            await attempts.take_back(connection, attempt)
        raise
    if login is None or not is_right:
        return None
    async with call.reading() as connection:
        await attempts.forgive(connection, attempt)
    return await _with_todays_hash(call, login, password)


async def _with_todays_hash(call: Call, login: Login, password: str) -> Login:
    """The login, its password hashed anew when it was hashed with other parameters."""
    if not passwords.needs_rehash(login.hash):
        return login
    hashed = await call.services.hashing.hash(password)
    async with call.reading() as connection:
        await users.upgrade_password(connection, login, hashed)
    return Login(login.principal, hashed)


async def _begin(call: Call, connection: Connection, principal: Principal, credential: str) -> NewSession:
    """A new session for the caller, who is known from now on."""
    call.caller = Caller(principal, credential=credential)
    call.entry.object = principal.name
    begun = await sessions.begin_session(
        connection, principal.id, call.sender.user_agent, instead_of=call.sender.session
    )
    seconds = int(sessions.LIFETIME.total_seconds())
    call.cookies.append(session_cookie(begun.token, seconds, is_secure=call.sender.is_secure))
    return begun


def _refused() -> AuthenticationError:
    return AuthenticationError("name or password is wrong", code="invalid_credentials")


async def _note_failure(call: Call, name: str) -> None:
    """Write an attempt that failed to the audit log; one that had to wait is not: a flood would fill the log."""
    async with call.transaction():
        call.entry.action = f"{call.entry.action}_failed"
        call.entry.object = name if users.is_name(name) else ""


ENDPOINTS = api.collected()
