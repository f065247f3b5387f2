"""What the constant ``ctx`` holds, for ``definitions`` and ``reference``; ``picloud.engine.runner`` makes it.

Written as data: one member of a mail is called ``from``, which no class of Python can have.
"""

from __future__ import annotations

from picloud.engine.sdk.shapes import Member, Shape

_REQUEST_MEMBERS = (
    Member("method", "String", '`"GET"`, …'),
    Member("path", "String", '`"/hello/Ada"`'),
    Member("params", "Map", "the named parts of the path: `ctx.request.params.name`"),
    Member("query", "Map", '`?a=1&a=2` is `#{ a: ["1", "2"] }`, `?a=1` is `#{ a: "1" }`'),
    Member("headers", "Map", "by name in lower case"),
    Member("body", "?", "parsed JSON or form, else text, or a blob when it is not UTF-8; `()` when empty"),
    Member("raw_body", "String | Blob", "the same as it came, not parsed"),
)

REQUEST = Shape("Request", "The HTTP request, in a route.", _REQUEST_MEMBERS)


def _event(name: str, source: str, doc: str, *members: Member) -> Shape:
    return Shape(name, doc, (Member("source", "String", f'`"{source}"`'), *members))


#: What ``ctx.event`` is, by its ``source``.
EVENTS: dict[str, Shape] = {
    "http": _event("HttpEvent", "http", "An async route was called.", *_REQUEST_MEMBERS),
    "kv": _event(
        "KvEvent",
        "kv",
        "A key was changed.",
        Member("op", "String", '`"insert"`, `"update"` or `"delete"`'),
        Member("collection", "String", "where it is"),
        Member("key", "String", "which"),
        Member("value", "?", "what it holds now; `()` when it was deleted"),
        Member("old_value", "?", "what it held before; `()` when it is new"),
        Member("version", "int", "of this change; later changes have a higher one"),
    ),
    "cron": _event(
        "CronEvent",
        "cron",
        "A clock ticked.",
        Member("schedule", "String", "the five or six fields"),
        Member("timezone", "String", "the zone they are meant in"),
        Member("scheduled_at", "String", "when it was due, RFC 3339"),
        Member("fired_at", "String", "when it was fired, RFC 3339"),
    ),
    "pubsub": _event(
        "PubsubEvent",
        "pubsub",
        "A message was published.",
        Member("topic", "String", "where"),
        Member("message", "?", "what was sent"),
        Member("published_at", "String", "when, RFC 3339"),
    ),
    "queue": _event(
        "QueueEvent",
        "queue",
        "A message was queued.",
        Member("queue", "String", "where"),
        Member("message", "?", "what was sent"),
        Member("message_id", "String", "the same in every attempt"),
        Member("enqueued_at", "String", "when, RFC 3339"),
    ),
    "email": _event(
        "EmailEvent",
        "email",
        "A mail came in.",
        Member("from", "String", "who the sender claims to be: nobody has verified it"),
        Member("to", "Array<String>", "the addresses it was sent to"),
        Member("subject", "String", "the subject, decoded"),
        Member("text", "String", "the plain text"),
        Member("html", "String", "the HTML"),
        Member("headers", "Map", "by name in lower case"),
        Member("attachments", "Array", "each with its name, its media type and its bytes"),
    ),
    "invoke": _event(
        "InvokeEvent",
        "invoke",
        "`functions::invoke`, `picloud invoke` or the API ran it.",
        Member("args", "?", "what it was given"),
    ),
    "dead_letter": _event(
        "DeadLetterEvent",
        "dead_letter",
        "Another event has died: its attempts are used up.",
        Member("dead_letter_id", "String", "for `picloud dead-letters show`"),
        Member("original", "Map", "the whole failed event, as `ctx.event` was then"),
        Member("attempts", "int", "how often it was run"),
        Member("last_error", "?", "what went wrong in the last attempt"),
        Member("trigger_id", "String | ()", "the trigger that had fired it"),
        Member("script_id", "String", "the script that failed"),
        Member("first_attempt_at", "String", "when it was first run, RFC 3339"),
        Member("last_attempt_at", "String", "when it was last run, RFC 3339"),
    ),
}

CTX = Shape(
    "Context",
    "What runs, for whom and why: a constant, visible everywhere in a script, inside functions too.",
    (
        Member("app", "String", "the app"),
        Member("script", "String", "the script"),
        Member("version", "int", "the version of it that runs"),
        Member("execution_id", "String", "of this execution, the same in every attempt"),
        Member("root_execution_id", "String", "of the execution all this began with"),
        Member("trigger_depth", "int", "how many hops from there"),
        Member("attempt", "int", "1 in the first run, 2 in the first retry, …"),
        Member(
            "principal",
            "String | ()",
            "in a route: who calls, if a valid API key was presented; else as whom it runs: who registered the trigger,"
            " or the app (`app:NAME`)",
        ),
        Member("trigger", "String | ()", "what fired it, where that has a name"),
        Member(
            "traceparent",
            "String",
            "where it is in its trace (W3C Trace Context); calls of `http` carry it by themselves",
        ),
        Member("request", "Request", "in a route: the HTTP request"),
        Member("event", " | ".join(shape.name for shape in EVENTS.values()), "everywhere but in a sync route"),
    ),
)
