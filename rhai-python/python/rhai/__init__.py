"""Run Rhai scripts from Python.

    engine = rhai.Engine()
    script = engine.compile("fn greet(name) { `hello ${name}` }")
    script.call("greet", "world")

An `Engine` is configuration: modules, host types, limits. It compiles sources
into a `Script`, which is immutable and may run on any number of threads at once;
each run gets an engine of its own, with its own budgets, and runs with the GIL
released.
"""

from __future__ import annotations

from typing import TypeAlias, Union

from rhai._rhai import (
    CancelToken,
    Engine,
    Function,
    FunctionInfo,
    Json,
    Outcome,
    Range,
    Scope,
    Script,
    Stats,
    current_context,
    parse_json,
    recommended_stack_bytes,
    stringify_json,
)
from rhai.errors import (
    Frame,
    RhaiArithmeticError,
    RhaiCancelled,
    RhaiDataRaceError,
    RhaiError,
    RhaiHostError,
    RhaiIndexError,
    RhaiInputError,
    RhaiInternalError,
    RhaiLimitError,
    RhaiMemoryError,
    RhaiNameError,
    RhaiOutputLimitError,
    RhaiRuntimeError,
    RhaiSourceLimitError,
    RhaiSyntaxError,
    RhaiThrow,
    RhaiTimeoutError,
    RhaiTypeError,
)
from rhai.host import HostType, Module
from rhai.language import Language
from rhai.limits import Limits

#: What scripts and Python hand each other; `object` stands for those of a registered `HostType`.
Value: TypeAlias = Union[
    bool, int, float, str, bytes, list["Value"], dict[str, "Value"], Range, Function, object, None
]  # fmt: skip

__version__ = "0.1.0"

#: The version of the Rhai engine inside.
RHAI_VERSION = "1.27.0"

__all__ = [
    "RHAI_VERSION",
    "CancelToken",
    "Engine",
    "Frame",
    "Function",
    "FunctionInfo",
    "HostType",
    "Json",
    "Language",
    "Limits",
    "Module",
    "Outcome",
    "Range",
    "RhaiArithmeticError",
    "RhaiCancelled",
    "RhaiDataRaceError",
    "RhaiError",
    "RhaiHostError",
    "RhaiIndexError",
    "RhaiInputError",
    "RhaiInternalError",
    "RhaiLimitError",
    "RhaiMemoryError",
    "RhaiNameError",
    "RhaiOutputLimitError",
    "RhaiRuntimeError",
    "RhaiSourceLimitError",
    "RhaiSyntaxError",
    "RhaiThrow",
    "RhaiTimeoutError",
    "RhaiTypeError",
    "Scope",
    "Script",
    "Stats",
    "Value",
    "__version__",
    "current_context",
    "parse_json",
    "recommended_stack_bytes",
    "stringify_json",
]
