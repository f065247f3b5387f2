"""Runs a few lines of Rhai the way a worker would."""

from __future__ import annotations

import json
import uuid
from typing import Any

from picloud.engine import Run, RunFailure, RunResult, ScriptLimits, ScriptRunner
from picloud.settings import SandboxCeilings

EXECUTION = uuid.UUID("01a1fbd8-4d29-7476-8577-3a44002f20e9")
KEY = (1, 1)

RUNNER = ScriptRunner(SandboxCeilings(max_timeout_seconds=5.0))


def run(source: str, **limits: int) -> RunResult:
    RUNNER.prepare(KEY, "main", source)
    described = Run(EXECUTION, EXECUTION, "shop", "main", 1, "invoke", None, "ada", 0, 1, True, b'{"args":null}')
    return RUNNER.run(KEY, described, ScriptLimits(**limits))


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
    result = run(source, **limits)
    assert result.failure is not None, f"{source}: {result.data!r}"
    return result.failure
