"""The native part of `rhai`; import from `rhai` itself."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, final

from rhai import HostType, Language, Limits, Module, Value

__all__ = [
    "CancelToken",
    "Engine",
    "Function",
    "FunctionInfo",
    "Json",
    "Outcome",
    "Range",
    "Scope",
    "Script",
    "Stats",
    "current_context",
    "parse_json",
    "recommended_stack_bytes",
    "stringify_json",
]

@final
class Json:
    """A JSON document as bytes.

    As an input it is parsed natively; as the annotation of a host function's parameter it asks for the argument as
    JSON; as the return value of a host function it is parsed natively.
    """

    def __new__(cls, data: bytes | bytearray) -> Json: ...
    @property
    def data(self) -> bytes:
        """The document."""
    def __bytes__(self) -> bytes: ...
    def __hash__(self) -> int: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __ne__(self, other: object, /) -> bool: ...
    def __getnewargs__(self) -> tuple[bytes]: ...

@final
class Range:
    """``start..end``, or ``start..=end`` when ``inclusive``."""

    def __new__(cls, start: int, end: int, inclusive: bool = False) -> Range: ...
    @property
    def start(self) -> int: ...
    @property
    def end(self) -> int: ...
    @property
    def inclusive(self) -> bool: ...
    def __hash__(self) -> int: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __ne__(self, other: object, /) -> bool: ...
    def __getnewargs__(self) -> tuple[int, int, bool]: ...

@final
class Function:
    """A function or closure of a script.

    A host function may call those it was given, until it returns and on its own thread. Afterwards one can only be
    handed back to a script.
    """

    @property
    def name(self) -> str:
        """Its name, "closure" for a closure."""
    def __call__(self, *args: Value) -> Any:
        """Call it.

        Raises:
            RuntimeError: the host function it was given to has returned, or another thread calls.
            RhaiError: it failed. Let the exception pass and the script fails as if Python had not been there.
        """

@final
class FunctionInfo:
    """A function a script defines."""

    @property
    def name(self) -> str: ...
    @property
    def params(self) -> tuple[str, ...]: ...
    @property
    def private(self) -> bool: ...

@final
class Stats:
    """What a run has spent.

    ``operations`` counts callbacks too; ``wall_seconds`` includes host functions; ``peak_bytes`` is the most memory
    held at one time; ``leaked_bytes`` is what is still held after the run (closures that contain themselves);
    ``output_bytes`` is what was printed.
    """

    def __new__(
        cls,
        operations: int = 0,
        wall_seconds: float = 0.0,
        peak_bytes: int = 0,
        leaked_bytes: int = 0,
        output_bytes: int = 0,
    ) -> Stats: ...
    @property
    def operations(self) -> int: ...
    @property
    def wall_seconds(self) -> float: ...
    @property
    def peak_bytes(self) -> int: ...
    @property
    def leaked_bytes(self) -> int: ...
    @property
    def output_bytes(self) -> int: ...
    __hash__: None  # type: ignore[assignment]
    def __eq__(self, other: object, /) -> bool: ...
    def __ne__(self, other: object, /) -> bool: ...
    def __getnewargs__(self) -> tuple[int, float, int, int, int]: ...

@final
class Outcome:
    """The result of `Script.execute`.

    ``kind`` says what ``data`` is: "json" a JSON document, "text" a string in UTF-8, "blob" raw bytes; it is empty for
    "unit" and for "host", where ``host`` is the object.
    """

    @property
    def kind(self) -> Literal["unit", "json", "text", "blob", "host"]: ...
    @property
    def data(self) -> bytes: ...
    @property
    def host(self) -> object | None: ...
    @property
    def stats(self) -> Stats: ...

@final
class CancelToken:
    """Stops the runs it was given to, from any thread."""

    def __new__(cls) -> CancelToken: ...
    def cancel(self) -> None:
        """Stop them. A host function that is running returns first."""
    @property
    def cancelled(self) -> bool: ...

@final
class Scope:
    """Variables that outlive a run. One run at a time can use it."""

    def __new__(cls) -> Scope: ...
    def push(self, name: str, value: Value) -> None:
        """Declare a variable, hiding one of the same name."""
    def push_constant(self, name: str, value: Value) -> None:
        """Declare a constant."""
    def set(self, name: str, value: Value) -> None:
        """Change a variable, or declare it."""
    def names(self) -> list[str]: ...
    def __getitem__(self, name: str, /) -> Any: ...
    def __contains__(self, name: str, /) -> bool: ...
    def __len__(self) -> int: ...

@final
class Script:
    """A compiled script: immutable, and free to run on any number of threads at once.

    ``constants`` are visible everywhere in the script, functions and closures included, and cannot be changed.
    ``scope`` holds variables of the top level. ``context`` goes to host functions that ask for it. All three entry
    points raise `RhaiError`, and what a listener or host function raised that is no `Exception`.
    """

    @property
    def name(self) -> str: ...
    @property
    def sha256(self) -> str:
        """Of the source, in hex."""
    @property
    def functions(self) -> tuple[FunctionInfo, ...]: ...
    def run(
        self,
        constants: Mapping[str, Value | Json] | None = None,
        *,
        scope: Mapping[str, Value] | Scope | None = None,
        context: object = None,
        limits: Limits | None = None,
        on_print: Callable[[str], object] | None = None,
        on_debug: Callable[[str, str | None, int, int], object] | None = None,
        cancel: CancelToken | None = None,
    ) -> Any:
        """Run it; the value of its last statement."""
    def call(
        self,
        function: str,
        /,
        *args: Value | Json,
        constants: Mapping[str, Value | Json] | None = None,
        scope: Mapping[str, Value] | Scope | None = None,
        context: object = None,
        limits: Limits | None = None,
        on_print: Callable[[str], object] | None = None,
        on_debug: Callable[[str, str | None, int, int], object] | None = None,
        cancel: CancelToken | None = None,
    ) -> Any:
        """Call one of its functions, after the statements of its top level."""
    def execute(
        self,
        constants: Mapping[str, Value | Json] | None = None,
        *,
        scope: Mapping[str, Value] | Scope | None = None,
        context: object = None,
        limits: Limits | None = None,
        on_print: Callable[[str], object] | None = None,
        on_debug: Callable[[str, str | None, int, int], object] | None = None,
        cancel: CancelToken | None = None,
    ) -> Outcome:
        """Run it; the result as bytes, with statistics."""

@final
class Engine:
    """Configuration of scripts: what they may call, and what they may spend. Thread-safe.

    Args:
        modules: what scripts reach as ``module::function``.
        types: classes whose objects scripts may hold.
        limits: for compiling, and for runs that do not bring their own.
        resolver: gives the script for ``import "path"``: called with the path and the name of the importing script;
            None: there is no such module.
        allowed_symbols: of the symbols disabled by default ("eval", "curry"), those to enable.
        strict_variables: using a variable that does not exist fails while compiling.
        disabled_symbols: further keywords and operators scripts may not use.
        language: switches of the language.
        describe_error: called with an exception of a host function; the dict it returns is what a script sees of it
            when it catches it. None: ``kind``, the name of its class, and ``message``.
    """

    def __new__(
        cls,
        *,
        modules: Iterable[Module] | None = None,
        types: Iterable[HostType[Any]] | None = None,
        limits: Limits | None = None,
        resolver: Callable[[str, str | None], Script | str | None] | None = None,
        allowed_symbols: Iterable[str] | None = None,
        strict_variables: bool = False,
        disabled_symbols: Iterable[str] | None = None,
        language: Language | None = None,
        describe_error: Callable[[Exception], dict[str, Any]] | None = None,
    ) -> Engine: ...
    @property
    def limits(self) -> Limits: ...
    def compile(
        self,
        source: str,
        *,
        name: str = "script",
        constants: Iterable[str] | None = None,
        scope: Scope | None = None,
        expression: bool = False,
    ) -> Script:
        """Compile a source.

        Args:
            source: the text.
            name: for messages, and for the resolver.
            constants: names that runs will provide; needed with ``strict_variables`` only.
            scope: variables that will exist; constants in it become part of the script.
            expression: accept a single expression and nothing else.

        Raises:
            RhaiSyntaxError: it does not compile.
        """

def current_context() -> Any:
    """The ``context`` of the run this thread is in.

    Raises:
        RuntimeError: no script is running on this thread.
    """

def recommended_stack_bytes(limits: Limits) -> int:
    """Stack a thread needs so that runs under these limits stay on it: ``threading.stack_size(...)``."""

def parse_json(data: bytes) -> Any:
    """Parse JSON as ``json::parse`` does.

    Raises:
        RhaiInputError: it is no JSON, or has an integer beyond 64 bits, or is too deep.
    """

def stringify_json(value: Value) -> bytes:
    """Write JSON as ``json::stringify`` does: keys in byte order, no spaces.

    Raises:
        RhaiInputError: a value has no JSON form.
    """
