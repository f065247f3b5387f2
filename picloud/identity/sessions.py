"""Sessions of signed-in people.

A session is a random token in a cookie; only its SHA-256 is stored. It is over thirty days after its beginning, seven
days after its last use (``caller_of_session`` in ``identity.sql`` asks for both), and at once when its owner signs out,
is disabled, or sets another password elsewhere.
"""

from __future__ import annotations

import datetime as dt
import secrets
from dataclasses import dataclass

import msgspec

from picloud.control.pages import Page, int_cursor, page_of
from picloud.control.records import Connection, fetch_all, fetch_row
from picloud.errors import NotFoundError
from picloud.identity.keys import hash_of
from picloud.queries import Queries

_SQL = Queries("sessions")

LIFETIME = dt.timedelta(days=30)
_TOKEN_BYTES = 32
_MOST_AGENT_CHARACTERS = 200


class Session(msgspec.Struct, frozen=True):
    """A session as its owner sees it.

    Attributes:
        user_agent: what the browser or program called itself when it signed in.
        last_used_at: to the minute.
        is_current: it is the one that asks.
    """

    id: int
    user_agent: str
    created_at: dt.datetime
    last_used_at: dt.datetime
    expires_at: dt.datetime
    is_current: bool


@dataclass(frozen=True, slots=True)
class NewSession:
    """A session that began just now, with the only copy of its token."""

    id: int
    token: str
    expires_at: dt.datetime

    def __repr__(self) -> str:
        return f"NewSession(id={self.id}, token=…)"


async def begin_session(
    connection: Connection, principal_id: int, user_agent: str, *, instead_of: str | None = None
) -> NewSession:
    """Begin a session, always under a token that was never used: one that somebody brings along is never taken over.

    Args:
        instead_of: token of the session that the same browser had; it ends.
    """
    if instead_of is not None and instead_of.isascii():
        await connection.execute(_SQL.end_session_of_token, {"hash": hash_of(instead_of)})
    token = secrets.token_urlsafe(_TOKEN_BYTES)
    shown = "".join(each if each.isprintable() else " " for each in user_agent[:_MOST_AGENT_CHARACTERS])
    values = {"principal_id": principal_id, "hash": hash_of(token), "user_agent": shown, "lifetime": LIFETIME}
    row = await fetch_row(connection, _SQL.insert_session, values)
    assert row is not None
    return NewSession(row.id, token, row.expires_at)


async def list_sessions(
    connection: Connection, principal_id: int, current: int | None, *, limit: int, after: str | None
) -> Page[Session]:
    """Newest first, without those that are over."""
    wanted = {
        "principal_id": principal_id,
        "current": current or 0,
        "after": int_cursor(after),
        "limit": limit + 1,
    }
    return page_of(await fetch_all(connection, _SQL.sessions, wanted, Session), limit, lambda each: each.id)


async def end_session(connection: Connection, principal_id: int, session_id: int) -> None:
    """Raises: NotFoundError: the principal has no such session."""
    if await fetch_row(connection, _SQL.end_session, {"id": session_id, "principal_id": principal_id}) is None:
        raise NotFoundError(f"there is no session {session_id}")


async def end_sessions(connection: Connection, principal_id: int, *, but: int | None = None) -> None:
    """End all sessions of a principal, ``but`` one."""
    await connection.execute(_SQL.end_sessions, {"principal_id": principal_id, "but": but})
