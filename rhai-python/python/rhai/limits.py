"""What one compilation and one run may spend.

Every limit is enforced natively while the script runs. None means no limit, and
is allowed only where the others still bound the damage.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

#: Nested values are walked by recursion; deeper than this the walk itself could overflow a stack.
_HIGHEST_VALUE_DEPTH = 512

#: The parser and the walker recurse with the depth of an expression.
_HIGHEST_EXPR_DEPTH = 256


@dataclass(frozen=True, slots=True)
class Limits:
    """Budgets of a script.

    Attributes:
        timeout_seconds: wall time of a run, host functions included; None: no deadline.
        max_operations: steps of the interpreter, callbacks included; None: not limited.
        max_memory_bytes: bytes a run may hold at one time, its inputs included; None: not limited.
            A single native operation can pass it by about a factor of two before the run stops.
        max_call_depth: nested calls of script functions.
        max_expr_depth: nesting of an expression at the top level.
        max_fn_expr_depth: nesting of an expression inside a function.
        max_string_bytes: length of one string, in bytes of UTF-8.
        max_array_length: items of an array or bytes of a blob, nested ones counted.
        max_map_length: entries of a map, nested ones counted.
        max_variables: variables that exist at one time.
        max_functions: functions and closures of one script.
        max_modules: modules one run may import.
        max_source_bytes: length of a source text. Parsing is quadratic in places; keep it small.
        max_output_bytes: text given to ``print`` and ``debug``, whether or not anyone listens.
        max_value_depth: nesting of a value that crosses between Python, JSON and the script.
        max_value_nodes: scalars and containers of a value that crosses.
    """

    timeout_seconds: float | None = 5.0
    max_operations: int | None = 10_000_000
    max_memory_bytes: int | None = 64 << 20
    max_call_depth: int = 64
    max_expr_depth: int = 64
    max_fn_expr_depth: int = 32
    max_string_bytes: int = 1 << 20
    max_array_length: int = 10_000
    max_map_length: int = 10_000
    max_variables: int = 1_000
    max_functions: int = 500
    max_modules: int = 16
    max_source_bytes: int = 64 << 10
    max_output_bytes: int = 64 << 10
    max_value_depth: int = 128
    max_value_nodes: int = 200_000

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value is None and field.name in ("timeout_seconds", "max_operations", "max_memory_bytes"):
                continue
            if field.name == "timeout_seconds":
                if not isinstance(value, (int, float)) or not 0 < value < 1e9:
                    raise ValueError(f"timeout_seconds must be a positive number of seconds, not {value!r}")
            elif not isinstance(value, int) or isinstance(value, bool) or not 1 <= value < 1 << 62:
                raise ValueError(f"{field.name} must be a positive integer, not {value!r}")
        if self.max_value_depth > _HIGHEST_VALUE_DEPTH:
            raise ValueError(f"max_value_depth can be {_HIGHEST_VALUE_DEPTH} at most")
        if max(self.max_expr_depth, self.max_fn_expr_depth) > _HIGHEST_EXPR_DEPTH:
            raise ValueError(f"an expression depth can be {_HIGHEST_EXPR_DEPTH} at most")
