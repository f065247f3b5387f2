"""Calls single functions of a script, for tests of apps: each ``fn test_…()`` is run by its name.

The scripts here see modules that those of an app do not, and some of their functions
without the module's name. Such a global function is a line of Rhai behind the end of the
source, where it moves no line of its author's; places in it are left out of what is told.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import rhai

from picloud.engine.limits import ScriptLimits, engine_limits
from picloud.engine.runner import ScriptRunner
from picloud.engine.sdk.context import RunContext
from picloud.engine.sdk.description import SdkModule
from picloud.errors import PiCloudError, ScriptError
from picloud.services.desk import RunServices
from picloud.settings import SandboxCeilings

#: Makes what host functions know of a run.
NewContext = Callable[[RunServices | None], RunContext]

Function = rhai.Function
Json = rhai.Json


class Place(NamedTuple):
    """Where in which script; 1-based, in characters."""

    script: str
    line: int
    column: int


@dataclass(frozen=True, slots=True)
class CallFailure:
    """Why a function failed.

    Attributes:
        places: innermost first; the last is the function's own.
        code: of the error a host function raised; None: the script itself failed.
    """

    message: str
    places: tuple[Place, ...]
    code: str | None = None


@dataclass(frozen=True, slots=True)
class ScriptFunction:
    """A function a source defines.

    Attributes:
        line: where it is written.
    """

    name: str
    parameters: tuple[str, ...]
    line: int


class FunctionRunner(ScriptRunner):
    """Compiles sources and calls their functions. The modules in ``extra`` may have global functions."""

    def __init__(self, ceilings: SandboxCeilings, *, extra: Iterable[SdkModule], new_context: NewContext) -> None:
        modules = tuple(extra)
        super().__init__(ceilings, extra=modules, new_context=new_context)
        self._globals = {
            each.name: "\n".join(_forwarding(module.name, each.name, len(form)) for form in each.forms())
            for module in modules
            for each in module.functions
            if each.is_global
        }

    def with_globals(self, name: str, source: str) -> str:
        """The source with the global functions it does not define itself.

        Raises:
            ScriptError: it does not compile as it is.
        """
        defined = {each.name for each in self._defined(name, source)}
        # The semicolon ends what may be an expression without one.
        return "\n".join([source, ";", *(text for each, text in self._globals.items() if each not in defined)])

    def functions(self, name: str, source: str) -> list[ScriptFunction]:
        """What a source defines, in its order; private functions are its own business.

        Raises:
            ScriptError: it does not compile.
        """
        public = [each for each in self._defined(name, source) if not each.private and each.name.isidentifier()]
        known = [ScriptFunction(each.name, each.params, _line_of(each.name, source)) for each in public]
        return sorted(known, key=lambda each: (each.line, each.name))

    def _defined(self, name: str, source: str) -> tuple[rhai.FunctionInfo, ...]:
        try:
            return self._engine.compile(source, name=name).functions
        except rhai.RhaiError as error:
            raise ScriptError(error.message, name=name, line=error.line or 0, column=error.column or 0) from error

    def call(
        self, name: str, source: str, function: str, services: RunServices, limits: ScriptLimits
    ) -> CallFailure | None:
        """Run the statements of a source's top level, then a function of it without arguments.

        Args:
            source: as ``with_globals`` made it.

        Returns:
            Why it failed, None when it did not.
        """
        context = self._new_context(services)
        try:
            self._engine.compile(source, name=name).call(
                function,
                context=context,
                limits=engine_limits(limits, self._ceilings),
                on_print=lambda text: context.log.write("info", text),
                on_debug=lambda text, _source, line, column: context.log.write("debug", f"{line}:{column}: {text}"),
            )
        except rhai.RhaiError as error:
            return _failure_of(error, name)
        return None


class Thrown(NamedTuple):
    """What a function of a script threw; ``cause`` is what a host function raised."""

    message: str
    cause: BaseException | None


def thrown_by(function: Function) -> Thrown | None:
    """Call a function of a script; None: it threw nothing. That a budget ran out is nothing to be thrown.

    Raises:
        RhaiError: a budget ran out.
    """
    try:
        function()
    except (rhai.RhaiLimitError, rhai.RhaiCancelled, rhai.RhaiInternalError):
        raise
    except rhai.RhaiError as error:
        return Thrown(_message_of(error), error.__cause__)
    return None


def to_json(value: Any) -> bytes:
    """A value of a script as ``json::stringify`` writes it.

    Raises:
        RhaiError: it has no JSON form.
    """
    return rhai.stringify_json(value)


def _failure_of(error: rhai.RhaiError, name: str) -> CallFailure:
    places = [Place(each.source or name, each.line or 0, each.column or 0) for each in error.frames]
    if not places and error.line:
        places = [Place(error.source or name, error.line, error.column or 0)]
    cause = error.__cause__
    code = cause.code if isinstance(cause, PiCloudError) else None
    return CallFailure(_message_of(error), tuple(places), code)


def _message_of(error: rhai.RhaiError) -> str:
    if isinstance(error, rhai.RhaiThrow):
        value: Any = error.value
        if isinstance(value, dict) and "message" in value:
            return str(value["message"])  # pyright: ignore[reportUnknownArgumentType]
        return value if isinstance(value, str) else error.message
    return error.message


def _forwarding(module: str, function: str, count: int) -> str:
    arguments = ", ".join(f"a{number}" for number in range(count))
    return f"fn {function}({arguments}) {{ {module}::{function}({arguments}) }}"


def _line_of(name: str, source: str) -> int:
    found = re.search(rf"\bfn\s+{re.escape(name)}\s*\(", source)
    return source.count("\n", 0, found.start()) + 1 if found else 0
