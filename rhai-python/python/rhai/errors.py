"""Everything that can go wrong, as one tree.

RhaiError
├── RhaiInputError (ValueError)        a value given from Python cannot enter
├── RhaiSyntaxError                    the script does not compile
│   └── RhaiSourceLimitError           … because the source passes a limit (also a RhaiLimitError)
├── RhaiRuntimeError                   the script failed
│   ├── RhaiThrow                      … with its own `throw`
│   ├── RhaiNameError                  … a variable, function, module or property is missing
│   ├── RhaiTypeError                  … a value has the wrong type, or is constant
│   ├── RhaiIndexError                 … an index is out of bounds
│   ├── RhaiArithmeticError            … overflow, division by zero
│   └── RhaiDataRaceError              … a captured variable is already in use
├── RhaiHostError                      a host function raised; `__cause__` is what it raised
├── RhaiLimitError                     a budget ran out; never catchable by the script
│   ├── RhaiTimeoutError (TimeoutError)
│   ├── RhaiMemoryError (MemoryError)
│   └── RhaiOutputLimitError
├── RhaiCancelled                      someone called `CancelToken.cancel()`
└── RhaiInternalError                  a bug in the engine or the binding
"""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from rhai._rhai import Stats


class Frame(NamedTuple):
    """One level of the call stack of a script, innermost first.

    Attributes:
        function: name of the function, None at the top level of a script, "closure" for a closure.
        source: name of the script it is in.
        line: 1-based, None when the engine does not know.
        column: 1-based, counted in characters.
    """

    function: str | None
    source: str | None
    line: int | None
    column: int | None


class RhaiError(Exception):
    """Base of every error of a script.

    Attributes:
        message: what went wrong, without position.
        kind: the engine's own name of the error, for instance ``ErrorArithmetic`` or ``UnexpectedEOF``.
        line: 1-based, None when the engine does not know.
        column: 1-based, counted in characters.
        source: name of the script.
        function: name of the script function, None at the top level.
        frames: the call stack, innermost first; empty for syntax errors. A limit has no more than one frame.
        stats: what the run had spent, None when nothing ran.
    """

    #: Names of the attributes beside ``message``; pickling carries them over.
    _fields: tuple[str, ...] = ("kind", "line", "column", "source", "function", "frames", "stats")

    def __init__(
        self,
        message: str,
        kind: str = "",
        line: int | None = None,
        column: int | None = None,
        source: str | None = None,
        function: str | None = None,
        frames: tuple[Frame, ...] = (),
        stats: Stats | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.kind = kind
        self.line = line
        self.column = column
        self.source = source
        self.function = function
        self.frames = frames
        self.stats = stats

    def __str__(self) -> str:
        place = self.source or ""
        if self.line is not None:
            place += f":{self.line}:{self.column}"
        return f"{self.message} ({place})" if place else self.message

    def __reduce__(self) -> tuple[Any, ...]:
        state = {name: _portable(getattr(self, name), repr) for name in self._fields}
        cause = _portable(self.__cause__, lambda cause: RuntimeError(f"{type(cause).__name__}: {cause}"))
        return (_restore, (type(self), self.message, state, cause))


def _portable(value: Any, replace: Callable[[Any], Any]) -> Any:
    """Gives a value back, or what stands for it where pickle refuses: an error must reach the other process."""
    try:
        pickle.dumps(value)
    except Exception:  # noqa: BLE001 - objects refuse with whatever they like
        return replace(value)
    return value


def _restore(cls: type[RhaiError], message: str, state: dict[str, Any], cause: BaseException | None) -> RhaiError:
    error = cls.__new__(cls, message)
    RhaiError.__init__(error, message)
    for name, value in state.items():
        setattr(error, name, value)
    error.__cause__ = cause
    return error


class RhaiInputError(RhaiError, ValueError):
    """Raised when a value given from Python cannot enter a script: bad JSON, an integer beyond 64 bits, too deep."""


class RhaiSyntaxError(RhaiError):
    """Raised when a script does not compile."""


class RhaiLimitError(RhaiError):
    """Raised when a budget ran out.

    Attributes:
        limit: which one: operations, memory, time, call_depth, string_bytes, array_length, map_length,
            output, variables, modules, functions, source_bytes, expr_depth, arguments, compile_time,
            value_depth, value_nodes or stack.
    """

    _fields = (*RhaiError._fields, "limit")
    limit: str = ""


class RhaiSourceLimitError(RhaiSyntaxError, RhaiLimitError):
    """Raised when a source text passes a limit: length, depth, functions, literals, arguments, time to parse."""


class RhaiTimeoutError(RhaiLimitError, TimeoutError):
    """Raised when a run passed its deadline."""


class RhaiMemoryError(RhaiLimitError, MemoryError):
    """Raised when a run held more memory than its budget."""


class RhaiOutputLimitError(RhaiLimitError):
    """Raised when a run printed more than its budget."""


class RhaiRuntimeError(RhaiError):
    """Raised when a script failed while it ran."""


class RhaiThrow(RhaiRuntimeError):
    """Raised when a script threw a value and nothing caught it.

    Attributes:
        value: what was thrown.
    """

    _fields = (*RhaiError._fields, "value")
    value: Any = None


class RhaiNameError(RhaiRuntimeError):
    """Raised when a variable, function, module or property does not exist."""


class RhaiTypeError(RhaiRuntimeError):
    """Raised when a value has the wrong type, or a constant would change."""


class RhaiIndexError(RhaiRuntimeError):
    """Raised when an index is out of bounds."""


class RhaiArithmeticError(RhaiRuntimeError):
    """Raised on overflow and division by zero."""


class RhaiDataRaceError(RhaiRuntimeError):
    """Raised when a captured variable is used while it is being changed."""


class RhaiHostError(RhaiError):
    """Raised when a host function raised and the script did not catch it; ``__cause__`` is the original."""


class RhaiCancelled(RhaiError):
    """Raised when a run was cancelled."""


class RhaiInternalError(RhaiError):
    """Raised on a bug in the engine or in this binding."""


def _build(  # pyright: ignore[reportUnusedFunction] - called from the native part
    class_name: str,
    message: str,
    fields: tuple[Any, ...],
    extra: tuple[str, Any] | None,
    cause: BaseException | None,
) -> RhaiError:
    """Make the exception the native part describes; called by nothing else."""
    cls: type[RhaiError] = globals()[class_name]
    kind, line, column, source, function, frames, stats = fields
    error = cls(message, kind, line, column, source, function, tuple(Frame(*frame) for frame in frames), stats)
    if extra is not None:
        setattr(error, *extra)
    if cause is not None:
        error.__cause__ = cause
    return error
