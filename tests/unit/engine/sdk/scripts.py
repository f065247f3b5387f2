"""Runs a few lines of Rhai the way a worker would."""

from __future__ import annotations

import json
import uuid
from typing import Any

from picloud.engine import Run, RunFailure, RunResult, ScriptLimits, ScriptRunner
from picloud.services.desk import RunOf, RunServices
from picloud.settings import SandboxCeilings
from tests.unit.services.memory import MemoryWorld

EXECUTION = uuid.UUID("01a1fbd8-4d29-7476-8577-3a44002f20e9")
KEY = (99, 1)

RUNNER = ScriptRunner(SandboxCeilings(max_timeout_seconds=5.0))


#: What the examples speak of.
_WORLD = MemoryWorld(scripts={"send_invoice": "1"}, queues=frozenset({"mails"}), secrets={"STRIPE_KEY": "sk_1"})
IDENTITY = RunOf(EXECUTION, EXECUTION, 0, app_id=1, app_revision=1, script_id=1, principal_id=1)


def run(source: str, services: RunServices | None = None, **limits: int) -> RunResult:
    """Run a script; without services of its own it gets those of an empty app."""
    RUNNER.prepare(KEY, "main", source)
    described = Run(EXECUTION, EXECUTION, "shop", "main", 1, "invoke", None, "ada", 0, 1, True, b'{"args":null}')
    services = services or _WORLD.desk().for_run(IDENTITY)
    return RUNNER.run(KEY, described, ScriptLimits(**limits), services=services)


def value(source: str) -> Any:
    """What an expression gives: blobs as bytes inside of arrays too, because nothing else is asked to be JSON."""
    result = run(source)
    assert result.failure is None, f"{source}: {result.failure}"
    match result.kind:
        case "unit":
            return None
        case "text":
            return (result.data or b"").decode()
        case "json":
            return json.loads(result.data or b"null")
        case _:
            return result.data


def failure(source: str, **limits: int) -> RunFailure:
    result = run(source, None, **limits)
    assert result.failure is not None, f"{source}: {result.data!r}"
    return result.failure
