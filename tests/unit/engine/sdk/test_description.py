"""Functions of Python as modules of scripts: nothing is said twice, and everything reaches the engine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypedDict

import pytest
import rhai

from picloud.engine.sdk.context import RunContext
from picloud.engine.sdk.definitions import render_definitions
from picloud.engine.sdk.description import SdkModule, offered
from picloud.engine.sdk.errors import ArgumentError
from picloud.engine.sdk.options import read_options
from picloud.engine.sdk.registration import register
from picloud.engine.sdk.rhai_types import rhai_type

KV = SdkModule("kv", "Keys and values of this app.\n\nA second paragraph.")


class SetOptions(TypedDict, total=False):
    """How a value is kept.

    Attributes:
        ttl_seconds: it is gone after this long.
    """

    ttl_seconds: int


@KV.host_type
class Collection:
    """Keys and values under one name."""

    def __init__(self, run: RunContext, name: str) -> None:
        self._run = run
        self._name = name
        self._values: dict[str, Any] = {}

    @property
    @offered
    def name(self) -> str:
        """Its name."""
        return self._name

    @offered
    def get(self, key: str, otherwise: Any = None) -> Any:
        """The value of `key`, `otherwise` when there is none."""
        return self._values.get(key, otherwise)

    @offered
    def set(self, key: str, value: Any, options: SetOptions | None = None) -> Collection:
        """Changes the value of `key`.

        Args:
            key: 1 to 512 bytes.

        Throws:
            quota_exceeded: the app has no room left.

        Example:
            kv::collection("stock").set("apples", 3, #{ ttl_seconds: 60 });
        """
        read = read_options(options or {}, SetOptions)
        self._run.log.write("trace", f"{key} for {read.get('ttl_seconds', 'ever')}")
        self._values[key] = value
        return self

    def hidden(self) -> str:
        """Not offered."""
        return "never"


@KV.function
def collection(run: RunContext, name: str) -> Collection:
    """The collection `name`."""
    return Collection(run, name)


@KV.function(name="int")
def whole(text: str, base: int = 10) -> int | None:
    """A number in a text."""
    return int(text, base)


def engine_of(*modules: SdkModule) -> rhai.Engine:
    registered, types = register(modules)
    return rhai.Engine(modules=registered, types=types)


ENGINE = engine_of(KV)


def run(source: str, context: RunContext | None = None) -> Any:
    return ENGINE.compile(source).run(context=context or RunContext())


def test_a_handle_has_its_methods_and_getters_and_the_run_it_belongs_to() -> None:
    context = RunContext()
    source = """
        let stock = kv::collection("a").set("k", [1]).set("l", 2, #{ ttl_seconds: 5 });
        [stock.name, stock.get("k"), stock.get("m", 3)]
    """
    assert run(source, context) == ["a", [1], 3]
    assert b'"l for 5"' in (context.log.to_json() or b"")
    assert run('type_of(kv::collection("a"))') == "Collection"


def test_what_is_not_offered_is_not_there() -> None:
    for call in ("hidden()", "_values", "_run", "run"):
        with pytest.raises(rhai.RhaiError):
            run(f'kv::collection("a").{call}')


def test_the_run_is_no_argument_of_the_script() -> None:
    described = {function.name: function for function in KV.functions}
    assert described["collection"].takes_context
    assert [parameter.name for parameter in described["collection"].parameters] == ["name"]
    assert not described["int"].takes_context
    with pytest.raises(rhai.RhaiNameError):
        run('kv::collection("a", "b")')


def test_an_optional_parameter_makes_a_form_of_its_own() -> None:
    (set_value,) = [method for method in KV.types[0].methods if method.name == "set"]
    forms = [[(each.name, each.type) for each in form] for form in set_value.forms()]
    assert forms == [
        [("key", "String"), ("value", "?")],
        [("key", "String"), ("value", "?"), ("options", "SetOptions")],
    ]
    assert set_value.returns == "Collection"


def test_the_docstring_is_taken_apart() -> None:
    (set_value,) = [method for method in KV.types[0].methods if method.name == "set"]
    assert set_value.doc.text == "Changes the value of `key`."
    assert set_value.doc.entries == {"key": "1 to 512 bytes."}
    assert set_value.doc.throws == {"quota_exceeded": "the app has no room left."}
    assert set_value.doc.example == 'kv::collection("stock").set("apples", 3, #{ ttl_seconds: 60 });'
    shape = set_value.parameters[2].shape
    assert shape is not None
    assert [(each.name, each.type, each.doc) for each in shape.members] == [
        ("ttl_seconds", "int", "it is gone after this long.")
    ]


def undescribed() -> None: ...


def untyped(text):  # type: ignore[no-untyped-def]
    """Described, but of what types?"""


@pytest.mark.parametrize(
    ("function", "said"),
    [(undescribed, "undescribed has no docstring"), (untyped, "text of untyped has no annotation")],
)
def test_what_is_not_described_is_refused(function: Callable[..., None], said: str) -> None:
    module = SdkModule("bare", "A module.")
    module.function(function)
    with pytest.raises(TypeError, match=said):
        render_definitions([module])


def test_a_module_is_described_too() -> None:
    with pytest.raises(TypeError, match="bare has no docstring"):
        SdkModule("bare", None)


def test_definitions_follow_from_it() -> None:
    written = render_definitions([KV]).partition("const ctx: Context;\n\n")[2]
    assert (
        written
        == """\
/// Keys and values under one name.
type Collection = ...;

/// How a value is kept.
type SetOptions = #{
    /// it is gone after this long.
    ttl_seconds: int,
};

/// Its name.
fn get name(collection: Collection) -> String;

/// The value of `key`, `otherwise` when there is none.
fn get(collection: Collection, key: String) -> ?;
/// The value of `key`, `otherwise` when there is none.
fn get(collection: Collection, key: String, otherwise: ?) -> ?;

/// Changes the value of `key`.
///
/// - `key`: 1 to 512 bytes.
///
/// Throws `quota_exceeded`: the app has no room left.
///
/// ```rhai
/// kv::collection("stock").set("apples", 3, #{ ttl_seconds: 60 });
/// ```
fn set(collection: Collection, key: String, value: ?) -> Collection;
/// Changes the value of `key`.
fn set(collection: Collection, key: String, value: ?, options: SetOptions) -> Collection;

/// Keys and values of this app.
///
/// A second paragraph.
module kv {
    /// The collection `name`.
    fn collection(name: String) -> Collection;

    /// A number in a text.
    fn int(text: String) -> int | ();
    /// A number in a text.
    fn int(text: String, base: int) -> int | ();
}
"""
    )


@pytest.mark.parametrize(
    ("annotation", "written"),
    [
        (str | bytes, "String | Blob"),
        (int | None, "int | ()"),
        (list[str], "Array<String>"),
        (list[Any], "Array"),
        (dict[str, int], "Map"),
        (rhai.Json, "?"),
        (rhai.Function, "FnPtr"),
        (Collection, "Collection"),
        (SetOptions, "SetOptions"),
        (None, "()"),
    ],
)
def test_a_type_is_written_as_scripts_know_it(annotation: Any, written: str) -> None:
    assert rhai_type(annotation) == written


class Mail(TypedDict):
    """A mail.

    Attributes:
        to: whom it is for.
    """

    to: str | list[str]
    urgency: float


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"to": "a"}, "the option `urgency` is missing"),
        ({"to": 1, "urgency": 1.0}, "the option `to` must be String | Array<String>"),
        ({"to": "a", "urgency": True}, "the option `urgency` must be float"),
        ({"to": "a", "urgency": 1, "cc": "b"}, "there is no option `cc`; there are to, urgency"),
    ],
)
def test_options_are_checked_against_their_shape(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ArgumentError, match=said.replace("|", r"\|")):
        read_options(given, Mail)


def test_options_that_fit_are_handed_on() -> None:
    assert read_options({"to": ["a"], "urgency": 1}, Mail) == {"to": ["a"], "urgency": 1}
