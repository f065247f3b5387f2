"""What scripts may call: functions of Python in modules, and methods of Python classes.

Both are descriptions only. An engine reads them once, when it is made, and from
then on they cannot change: every run shares the native form.
"""

from __future__ import annotations

import inspect
import re
import types
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar, Union, get_args, get_origin, is_typeddict, overload

from rhai._rhai import Function, Json

if TYPE_CHECKING:
    from rhai import Value

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")

#: Words Rhai reserves: a function of such a name could never be called, not even as ``module::name``.
_RESERVED = frozenset(
    [
        "Fn",
        "as",
        "async",
        "await",
        "break",
        "call",
        "case",
        "catch",
        "const",
        "continue",
        "curry",
        "debug",
        "default",
        "do",
        "else",
        "eval",
        "exit",
        "export",
        "false",
        "fn",
        "for",
        "global",
        "go",
        "goto",
        "if",
        "import",
        "in",
        "is",
        "is_def_fn",
        "is_def_var",
        "is_shared",
        "let",
        "loop",
        "match",
        "module",
        "new",
        "nil",
        "null",
        "package",
        "print",
        "private",
        "protected",
        "public",
        "return",
        "shared",
        "spawn",
        "static",
        "super",
        "switch",
        "sync",
        "this",
        "thread",
        "throw",
        "true",
        "try",
        "type_of",
        "until",
        "use",
        "var",
        "void",
        "while",
        "with",
        "yield",
    ]
)

#: A callable with ``*args`` is offered with up to this many of them.
_MOST_VARIADIC = 8

#: The parse guard of the engine refuses longer calls.
_MOST_PARAMETERS = 16

_IDENTIFIER = re.compile(r"_*[A-Za-z][A-Za-z0-9_]*\Z")

_KINDS: dict[Any, str] = {str: "str", int: "int", float: "float", bool: "bool", bytes: "bytes", list: "list",
                          dict: "dict", Json: "json", Function: "function", None: "none",
                          type(None): "none"}  # fmt: skip


class _HostFunction(NamedTuple):
    """A callable as the engine registers it: one entry per number of arguments from ``fewest`` to ``most``."""

    name: str
    callable: Callable[..., Any]
    fewest: int
    most: int
    kinds: tuple[str, ...]
    context: bool


class Module:
    """A namespace of host functions and constants: ``kv::get("a")`` for a module ``kv`` with a function ``get``.

    Args:
        name: what scripts write before ``::``.
        doc: for readers and generated documentation.
    """

    def __init__(self, name: str, *, doc: str = "") -> None:
        self.name = _checked_name(name)
        self.doc = doc
        self._functions: dict[str, _HostFunction] = {}
        self._constants: dict[str, Any] = {}
        self._submodules: dict[str, Module] = {}
        self._frozen = False

    def __repr__(self) -> str:
        return f"<rhai.Module {self.name!r}: {', '.join(self._functions) or 'empty'}>"

    @overload
    def fn(self, function: F, /, *, name: str | None = None, context: bool = False) -> F: ...
    @overload
    def fn(self, function: None = None, /, *, name: str | None = None, context: bool = False) -> Callable[[F], F]: ...
    def fn(
        self, function: F | None = None, /, *, name: str | None = None, context: bool = False
    ) -> F | Callable[[F], F]:
        """Offer a callable to scripts, with every number of arguments its signature allows.

        Parameters annotated ``str``, ``int``, ``float``, ``bool``, ``bytes``, ``list``, ``dict`` (or a ``TypedDict``),
        ``None``, ``Json`` or ``Function``, or a union of these, are checked before the call; ``Json`` hands the
        argument over as JSON bytes.

        Args:
            function: the callable, when not used as a decorator with arguments.
            name: its name in scripts, by default its own.
            context: pass the ``context`` of the run as the first parameter.
        """

        def register(callable_: F) -> F:
            self._ensure_open()
            described = _describe(callable_, name, context)
            if described.name in self._functions:
                raise ValueError(f"{self.name}::{described.name} is already there")
            self._functions[described.name] = described
            return callable_

        return register if function is None else register(function)

    def const(self, name: str, value: Value) -> None:
        """Offer a constant: ``kv::LIMIT``."""
        self._ensure_open()
        self._constants[_checked_name(name)] = value

    def submodule(self, name: str) -> Module:
        """Make a module inside this one: ``kv::admin::put(...)``."""
        self._ensure_open()
        return self._submodules.setdefault(_checked_name(name), Module(name))

    def _ensure_open(self) -> None:
        if self._frozen:
            raise RuntimeError(f"module {self.name!r} is in use by an engine and cannot change")

    def _freeze(self) -> tuple[str, list[_HostFunction], dict[str, Any], list[Any]]:
        """What the engine needs; closes the module."""
        self._frozen = True
        submodules = [module._freeze() for module in self._submodules.values()]
        return self.name, list(self._functions.values()), self._constants, submodules


class HostType(Generic[T]):
    """A Python class whose objects scripts may hold: they see what is registered here and nothing else.

    Args:
        cls: the class; objects of subclasses count too.
        name: what ``type_of`` says in scripts.
    """

    def __init__(self, cls: type[T], *, name: str) -> None:
        self.cls = cls
        self.name = _checked_name(name)
        self._methods: dict[str, _HostFunction] = {}
        self._getters: dict[str, Callable[[T], Any]] = {}
        self._setters: dict[str, Callable[[T, Any], Any]] = {}
        self._frozen = False

    @overload
    def method(self, function: F, /, *, name: str | None = None, context: bool = False) -> F: ...
    @overload
    def method(
        self, function: None = None, /, *, name: str | None = None, context: bool = False
    ) -> Callable[[F], F]: ...
    def method(
        self, function: F | None = None, /, *, name: str | None = None, context: bool = False
    ) -> F | Callable[[F], F]:
        """Offer ``object.name(...)``; the callable takes the object first (after the context, if asked for)."""

        def register(callable_: F) -> F:
            self._ensure_open()
            described = _describe(callable_, name, context)
            if described.most < 1:
                raise TypeError(f"{described.name} must take the object as its first parameter")
            self._methods[described.name] = described._replace(fewest=max(described.fewest, 1))
            return callable_

        return register if function is None else register(function)

    def getter(self, name: str) -> Callable[[F], F]:
        """Offer ``object.name``; the callable takes the object."""

        def register(callable_: F) -> F:
            self._ensure_open()
            self._getters[_checked_name(name, is_property=True)] = callable_
            return callable_

        return register

    def setter(self, name: str) -> Callable[[F], F]:
        """Offer ``object.name = value``; the callable takes the object and the value."""

        def register(callable_: F) -> F:
            self._ensure_open()
            self._setters[_checked_name(name, is_property=True)] = callable_
            return callable_

        return register

    def _ensure_open(self) -> None:
        if self._frozen:
            raise RuntimeError(f"type {self.name!r} is in use by an engine and cannot change")

    def _freeze(self) -> tuple[type[T], str, list[_HostFunction], dict[str, Any], dict[str, Any]]:
        """What the engine needs; closes the type."""
        self._frozen = True
        return self.cls, self.name, list(self._methods.values()), self._getters, self._setters


def _checked_name(name: str, *, is_property: bool = False) -> str:
    if not _IDENTIFIER.match(name):
        raise ValueError(f"{name!r} is not a Rhai identifier")
    if name in _RESERVED and not is_property:
        raise ValueError(f"{name!r} is a reserved word of Rhai: no script could use it")
    return name


def _describe(function: Callable[..., Any], name: str | None, context: bool) -> _HostFunction:
    """Read the signature: how few and how many arguments, and what each must be."""
    script_name = _checked_name(name if name is not None else getattr(function, "__name__", ""))
    kinds: list[str] = []
    fewest = 0
    parameters = list(inspect.signature(function).parameters.values())
    if context:
        if not parameters:
            raise TypeError(f"{script_name} must take the context as its first parameter")
        parameters = parameters[1:]
    for parameter in parameters:
        if parameter.kind is parameter.VAR_POSITIONAL:
            kinds += [_kind_of(function, parameter.annotation)] * _MOST_VARIADIC
        elif parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            kinds.append(_kind_of(function, parameter.annotation))
            fewest += parameter.default is parameter.empty
        elif parameter.kind is parameter.KEYWORD_ONLY and parameter.default is parameter.empty:
            raise TypeError(f"{script_name}: scripts cannot pass the keyword-only parameter {parameter.name!r}")
    if len(kinds) > _MOST_PARAMETERS:
        raise TypeError(f"{script_name}: a script can pass {_MOST_PARAMETERS} arguments at most")
    return _HostFunction(script_name, function, fewest, len(kinds), tuple(kinds), context)


def _kind_of(function: Callable[..., Any], annotation: Any) -> str:
    """The check an annotation asks for; "any" when it is not one of the few types scripts know."""
    if isinstance(annotation, str):
        # Evaluated one by one: a name that exists only for type checkers must not cost the others their check.
        try:
            annotation = eval(annotation, getattr(inspect.unwrap(function), "__globals__", {}))  # noqa: S307
        except Exception:  # noqa: BLE001 - whatever it is, it is not a type we check
            return "any"
    return _kind(annotation)


def _kind(annotation: Any) -> str:
    origin = get_origin(annotation)
    if origin in (Union, types.UnionType):
        kinds = [_kind(member) for member in get_args(annotation)]
        # One that accepts everything makes the others pointless; JSON is made of everything.
        widest = next((kind for kind in ("any", "json") if kind in kinds), None)
        return widest or "|".join(dict.fromkeys(kinds))
    if is_typeddict(annotation):
        return "dict"
    try:
        return _KINDS.get(origin or annotation, "any")
    except TypeError:
        return "any"
