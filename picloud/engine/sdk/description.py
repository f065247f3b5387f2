"""What scripts may call, described once, by the Python functions themselves.

Signature and docstring of a function are the whole description. Three readers
take it from here: ``registration`` gives it to the engine, ``definitions``
writes ``picloud.d.rhai``, ``reference`` writes ``docs/scripts.md``.

    KV = SdkModule("kv", "Keys and values of this app.")

    @KV.host_type
    class Collection:
        \"\"\"Keys and values under one name.\"\"\"

        @offered
        def get(self, key: str, otherwise: Any = None) -> Any:
            \"\"\"The value of `key`, `otherwise` when there is none.\"\"\"

    @KV.function
    def collection(run: RunContext, name: str) -> Collection:
        \"\"\"The collection `name`; it need not exist before.\"\"\"

A first parameter that is annotated ``RunContext`` is filled in with the run that
calls; scripts know nothing of it. Parameters with a default are optional.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from types import NoneType
from typing import Any, TypeVar, Union, get_args, get_type_hints, is_typeddict, overload

from picloud.engine.sdk.context import RunContext
from picloud.engine.sdk.docstrings import Docstring, parse_docstring
from picloud.engine.sdk.rhai_types import rhai_type
from picloud.engine.sdk.shapes import Shape, shape_of

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")

_OFFERED = "_is_offered_to_scripts"


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter as scripts see it.

    Attributes:
        type: as a definition file writes it; of an optional one, what it is when it is given.
        shape: what may be in it, when it is a map of options.
    """

    name: str
    type: str
    is_optional: bool
    doc: str = ""
    shape: Shape | None = None


class SdkFunction:
    """A function or method of scripts.

    Attributes:
        is_built_in: the engine brings it itself: the Python function only describes it.
        is_global: called without the name of a module.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        name: str | None = None,
        is_built_in: bool = False,
        is_global: bool = False,
        is_method: bool = False,
    ) -> None:
        self.callable = function
        self.name: str = name or function.__name__
        self.is_built_in = is_built_in
        self.is_global = is_global
        self._is_method = is_method

    # Read when they are asked for: a method may be annotated with its own class, which does not exist before.
    @cached_property
    def _hints(self) -> dict[str, Any]:
        return get_type_hints(self.callable)

    @cached_property
    def doc(self) -> Docstring:
        return parse_docstring(self.callable.__doc__, self.name)

    @property
    def takes_context(self) -> bool:
        """Is its first parameter the run that calls it?"""
        first = next(iter(inspect.signature(self.callable).parameters), None)
        return first is not None and self._hints.get(first) is RunContext

    @cached_property
    def parameters(self) -> tuple[Parameter, ...]:
        parameters = list(inspect.signature(self.callable).parameters.values())
        return tuple(self._parameter(each) for each in parameters[self._is_method or self.takes_context :])

    def _parameter(self, parameter: inspect.Parameter) -> Parameter:
        annotation = self._annotation(parameter.name)
        is_optional = parameter.default is not parameter.empty
        if is_optional and parameter.default is None:
            annotation = _without_none(annotation)
        return Parameter(
            name=parameter.name,
            type=rhai_type(annotation),
            is_optional=is_optional,
            doc=self.doc.entries.get(parameter.name, ""),
            shape=_shape(annotation),
        )

    @property
    def returns(self) -> str:
        return rhai_type(self._annotation("return"))

    @property
    def returned_shape(self) -> Shape | None:
        return _shape(self._annotation("return"))

    def _annotation(self, name: str) -> Any:
        if name not in self._hints:
            raise TypeError(f"{name} of {self.name} has no annotation")
        return self._hints[name]

    def forms(self) -> Iterator[tuple[Parameter, ...]]:
        """Its parameters, once for every number of arguments it can be called with: Rhai knows no optional ones."""
        fewest = sum(not parameter.is_optional for parameter in self.parameters)
        for count in range(fewest, len(self.parameters) + 1):
            yield self.parameters[:count]


class SdkType:
    """A class whose objects scripts may hold: they see its ``offered`` methods and properties and nothing else."""

    def __init__(self, cls: type[Any]) -> None:
        self.cls = cls
        self.name: str = cls.__name__
        self.methods: list[SdkFunction] = []
        self.getters: list[SdkFunction] = []
        for member in vars(cls).values():
            if isinstance(member, property) and _OFFERED in vars(member.fget):
                assert member.fget is not None
                self.getters.append(SdkFunction(member.fget, is_method=True))
            elif inspect.isfunction(member) and _OFFERED in vars(member):
                self.methods.append(SdkFunction(member, is_method=True))

    @cached_property
    def doc(self) -> Docstring:
        return parse_docstring(self.cls.__doc__, self.name)


class SdkModule:
    """A module of scripts: functions, and the types of what they return.

    Args:
        name: what scripts write before ``::``.
        doc: what it is for; the docstring of the Python module that makes it.
    """

    def __init__(self, name: str, doc: str | None) -> None:
        self.name = name
        self.doc = parse_docstring(doc, name)
        self.functions: list[SdkFunction] = []
        self.types: list[SdkType] = []

    @overload
    def function(self, function: F, /) -> F: ...
    @overload
    def function(
        self, function: None = None, /, *, name: str | None = None, is_built_in: bool = False, is_global: bool = False
    ) -> Callable[[F], F]: ...
    def function(
        self,
        function: F | None = None,
        /,
        *,
        name: str | None = None,
        is_built_in: bool = False,
        is_global: bool = False,
    ) -> F | Callable[[F], F]:
        """Offer a function of this module; see `SdkFunction` for the switches.

        Args:
            function: the function, when not used as a decorator with arguments.
            name: its name in scripts, by default its own.
            is_built_in: the engine brings it itself.
            is_global: scripts call it without this module's name; only what the engine brings can be.
        """

        def offer(described: F) -> F:
            self.functions.append(SdkFunction(described, name=name, is_built_in=is_built_in, is_global=is_global))
            return described

        return offer if function is None else offer(function)

    def host_type(self, cls: type[T]) -> type[T]:
        """Let scripts hold objects of a class."""
        self.types.append(SdkType(cls))
        return cls


def offered(function: F) -> F:
    """Mark a method, or the function of a property, as one scripts see."""
    function.__dict__[_OFFERED] = True
    return function


def _without_none(annotation: Any) -> Any:
    """``X | None`` as ``X``: a parameter left out is how scripts say None."""
    members = [member for member in get_args(annotation) if member is not NoneType]
    if len(members) == len(get_args(annotation)):
        return annotation
    return Union[tuple(members)]  # noqa: UP007 - built from a list


def _shape(annotation: Any) -> Shape | None:
    return shape_of(annotation) if is_typeddict(annotation) else None
