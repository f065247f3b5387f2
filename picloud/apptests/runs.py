"""One run of a script: from its row to what it came to and what it would leave behind."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from picloud.apptests.app import APP_ID
from picloud.apptests.rows import Ended, Line, Row
from picloud.apptests.services import WorldServices
from picloud.engine import Run, RunResult
from picloud.services.desk import RunOf
from picloud.services.effects import Effects
from picloud.services.scrub import Scrubber

if TYPE_CHECKING:
    from picloud.apptests.world import World


class Ran(NamedTuple):
    """What a run came to; ``error`` and ``lines`` tell no secret it has read."""

    result: RunResult
    effects: Effects
    error: dict[str, Any] | None
    lines: list[Line]


def run_row(world: World, row: Row) -> Ran:
    """Run the script of a row as a worker would; nothing of it has happened yet."""
    script = row.script
    assert script is not None
    app = world.app
    version = app.version(script)
    if not app.runner.knows(version):
        app.runner.prepare(version, script, app.source(version))
    services = WorldServices(world, identity(row, version[0]))
    result = app.runner.run(version, _described(world, row, script), app.limits(script), None, services)
    scrubber = Scrubber(services.secrets)
    lines = read_lines(script, scrubber.log(result.logs))
    error = None
    if result.failure is not None:
        error = {"script": script} | json.loads(scrubber.error(result.failure.to_json()))
    return Ran(result, services.effects(completed=error is None), error, lines)


def identity(row: Row, script_id: int) -> RunOf:
    """What services know of a run."""
    return RunOf(
        execution_id=row.id,
        root_execution_id=row.root_id,
        trigger_depth=row.depth,
        app_id=APP_ID,
        app_revision=1,
        script_id=script_id,
        principal_id=1,
    )


def _described(world: World, row: Row, script: str) -> Run:
    return Run(
        execution_id=row.id,
        root_execution_id=row.root_id,
        app=world.app.manifest.app,
        script=script,
        version=world.app.version(script)[1],
        source=row.source,
        trigger=row.trigger,
        principal=row.principal,
        trigger_depth=row.depth,
        attempt=row.attempt,
        is_sync=row.is_sync,
        event=row.event,
        body=row.body,
    )


def read_lines(script: str, logs: bytes | None) -> list[Line]:
    """The lines of a run's log."""
    lines: list[dict[str, Any]] = msgspec.json.decode(logs) if logs else []
    return [Line(script, each["level"], each["message"], each.get("fields"), is_of_app=True) for each in lines]


def place_of(world: World, error: dict[str, Any]) -> str:
    """``scripts/pack.rhai:5:1: not enough tea``."""
    file = world.app.file_of(error["script"])
    place = ":".join(str(each) for each in (file, error.get("line"), error.get("column")) if each)
    return f"{place}: {error.get('message') or error['code']}"


def result_value(result: RunResult) -> Any:
    """The result of a script as a test reads it; that of a response is its body."""
    data = result.data or b""
    match result.kind:
        case "json":
            return msgspec.json.decode(data)
        case "text":
            return data.decode()
        case "response":
            return body_value(data, dict(result.headers).get("content-type", ""))
        case "blob":
            return data
        case _:
            return None


def body_value(data: bytes, content_type: str) -> Any:
    """The body of an answer: parsed where it says it is JSON, else text, else the bytes."""
    media_type = content_type.partition(";")[0].strip().lower()
    if not data:
        return None
    if media_type == "application/json" or media_type.endswith("+json"):
        return msgspec.json.decode(data)
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data


def shown(ended: Ended, lines: list[Line]) -> dict[str, Any]:
    """A run as a test reads it."""
    return {
        "script": ended.row.script,
        "trigger": ended.row.trigger,
        "status": ended.status,
        "attempt": ended.attempt,
        "result": None if ended.error else result_value(ended.result),
        "error": ended.error,
        "logs": [shown_line(each) for each in lines],
        "execution_id": str(ended.row.id),
    }


def shown_line(line: Line) -> dict[str, Any]:
    """A line of a log as a test reads it."""
    return {"script": line.script, "level": line.level, "message": line.message, "fields": line.fields}
