"""What one run may spend: the script's own wishes, cut to the ceilings of the settings."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields

import rhai

from picloud.settings import SandboxCeilings

#: Time a script gets when it asks for nothing, in seconds.
_SHORTEST_TIMEOUT_SECONDS = 0.001
DEFAULT_TIMEOUT_SECONDS = 10.0

#: Where a script's own log and print output is cut, in bytes of one run.
MAX_LOG_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class ScriptLimits:
    """What a script asks for; None: nothing said, the ceiling holds."""

    timeout_seconds: float | None = None
    max_operations: int | None = None
    max_memory_bytes: int | None = None
    max_call_depth: int | None = None
    max_string_bytes: int | None = None
    max_array_length: int | None = None
    max_map_length: int | None = None

    def to_json(self) -> str:
        return json.dumps({name: value for name, value in asdict(self).items() if value is not None}, sort_keys=True)


LIMIT_NAMES = tuple(field.name for field in fields(ScriptLimits))


def parse_limits(text: str) -> ScriptLimits:
    """The limits of a stored version; unknown names (of a newer release) are left out."""
    return ScriptLimits(**{name: value for name, value in json.loads(text).items() if name in LIMIT_NAMES})


def timeout_seconds(limits: ScriptLimits, ceilings: SandboxCeilings) -> float:
    """The wall time one run of this script gets."""
    wanted = limits.timeout_seconds or DEFAULT_TIMEOUT_SECONDS
    # Stored in whole milliseconds, of which there must be one.
    return min(max(wanted, _SHORTEST_TIMEOUT_SECONDS), ceilings.max_timeout_seconds)


def engine_limits(limits: ScriptLimits, ceilings: SandboxCeilings) -> rhai.Limits:
    """The budgets the engine enforces: never more than a ceiling, less where the script asks for less."""

    def cut(wish: int | None, ceiling: int) -> int:
        return ceiling if wish is None else min(wish, ceiling)

    return rhai.Limits(
        timeout_seconds=timeout_seconds(limits, ceilings),
        max_operations=cut(limits.max_operations, ceilings.max_operations),
        max_memory_bytes=cut(limits.max_memory_bytes, ceilings.max_memory_bytes),
        max_call_depth=cut(limits.max_call_depth, ceilings.max_call_depth),
        max_string_bytes=cut(limits.max_string_bytes, ceilings.max_string_bytes),
        max_array_length=cut(limits.max_array_length, ceilings.max_array_length),
        max_map_length=cut(limits.max_map_length, ceilings.max_map_length),
        max_output_bytes=MAX_LOG_BYTES,
    )


def stack_bytes(ceilings: SandboxCeilings) -> int:
    """The stack a thread needs that runs scripts under these ceilings."""
    return rhai.recommended_stack_bytes(engine_limits(ScriptLimits(), ceilings))
