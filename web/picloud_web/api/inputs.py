"""What requests are made of: texts that can be stored, and the filters that lists share.

Unknown members and parameters are refused: what is accepted and ignored would be believed
to work.
"""

import datetime as dt
from collections.abc import Mapping
from typing import Annotated, Any

import msgspec

from picloud.control.apps import find_app
from picloud.control.executions import Filters
from picloud.control.pages import DEFAULT_LIMIT, MAX_LIMIT
from picloud.control.records import Connection
from picloud.errors import InvalidInputError
from picloud_web.api.endpoints import Call
from picloud_web.bodies import check_body

#: Text for a column: PostgreSQL's text refuses U+0000.
Text = Annotated[str, msgspec.Meta(pattern=r"^[^\u0000]*$", max_length=4_000)]
#: A name somebody gives to something.
Name = Annotated[str, msgspec.Meta(pattern=r"^[^\u0000]*$", min_length=1, max_length=200)]
Limit = Annotated[int, msgspec.Meta(ge=1, le=MAX_LIMIT, description="Items on a page.")]
After = Annotated[Text, msgspec.Meta(description="The `next` of an earlier page.")]
Instant = Annotated[dt.datetime, msgspec.Meta(tz=True, description="RFC 3339, with its time zone.")]
Seconds = Annotated[float, msgspec.Meta(ge=0, le=60, description="Wait at most this long for the end.")]


#: Nearer to the ends of what a datetime can be, converting between time zones overflows.
_YEARS = range(2, 9_999)


class Input(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of everything a caller sends."""

    def __post_init__(self) -> None:
        """Called by msgspec for every value it makes; a ValueError becomes its ValidationError."""
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if isinstance(value, dt.datetime) and value.year not in _YEARS:
                raise ValueError(f"{name}: the year {value.year} is too far away")


class Paging(Input, frozen=True, kw_only=True):
    """A page of a list."""

    limit: Limit = DEFAULT_LIMIT
    after: After | None = None


class Removal(Input, frozen=True, kw_only=True):
    """What becomes of rows that wait for what is removed."""

    cancel_waiting: Annotated[bool, msgspec.Meta(description="End them as `cancelled`.")] = False


class Filtered(Paging, frozen=True, kw_only=True):
    """A page of a list about executions."""

    app: Text | None = None
    script: Text | None = None
    source: Text | None = None
    trigger: Text | None = None
    since: Instant | None = None


async def filters(call: Call, connection: Connection, query: Filtered, status: str | None = None) -> Filters:
    """The filters of a list. Raises: NotFoundError: there is no such app."""
    return Filters(
        app_ids=await wanted_app_ids(call, connection, query.app),
        script=query.script,
        source=query.source,
        trigger=query.trigger,
        status=status,
        since=query.since,
    )


async def wanted_app_ids(call: Call, connection: Connection, named: str | None) -> list[int] | None:
    """The ids of the apps that the path or ``named`` means; None: all apps.

    Raises:
        NotFoundError: there is no such app, or not for this caller.
        InvalidInputError: the two mean different apps.
    """
    if named is None:
        return await call.app_ids(connection)
    if call.path.get("app", named) != named:
        raise InvalidInputError(f"app: {named!r} is not the app in the path")
    if call.endpoint.needs is not None:
        call.caller.require(call.endpoint.needs, named)
    return [(await find_app(connection, named)).id]


# Reading them


def read_query(parameters: Mapping[str, str | list[str]], into: Any) -> Any:
    """Query parameters as ``into``. Raises: InvalidInputError, naming the parameter."""
    try:
        found = msgspec.convert(parameters, into, strict=False)
    except msgspec.ValidationError as error:
        raise InvalidInputError(_where_and_what(error, "the query")) from None
    for field in msgspec.structs.fields(into):
        # Read from text, "null" is None to msgspec; left out is what we call None.
        if field.encode_name in parameters and getattr(found, field.name) is None:
            raise InvalidInputError(f"{field.encode_name}: expected a value, got null; leave it out")
    return found


def read_headers(headers: Mapping[str, str], into: Any) -> Any:
    """Those of the headers that ``into`` knows; their names are in lower case.

    Raises:
        InvalidInputError: names the header.
    """
    names = (field.encode_name for field in msgspec.structs.fields(into))
    return read_query({name: headers[name.lower()] for name in names if name.lower() in headers}, into)


def decode_body(data: bytes | None, into: Any) -> Any:
    """A JSON body as ``into``. Raises: InvalidInputError, naming the place."""
    if into is msgspec.Raw:
        return _value_of(data)
    try:
        # An endpoint whose values are all optional can be called without a body.
        return msgspec.json.decode(data or b"{}", type=into)
    except msgspec.ValidationError as error:
        raise InvalidInputError(_where_and_what(error, "the body")) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInputError(f"the body is not JSON: {error}") from None


def _value_of(data: bytes | None) -> msgspec.Raw:
    """Any JSON value a script can be given, in the one form it is stored in."""
    if not data:
        raise InvalidInputError("the body must be a JSON value")
    check_body(data, "application/json")
    return msgspec.Raw(msgspec.json.encode(msgspec.json.decode(data)))


def _where_and_what(error: msgspec.ValidationError, whole: str) -> str:
    """``Expected `int`, got `str` - at `$.limit``` as ``limit: expected `int`, got `str```."""
    what, _, place = str(error).partition(" - at `")
    place = place.rstrip("`").removeprefix("$").removeprefix(".")
    return f"{place or whole}: {what[:1].lower()}{what[1:]}"
