"""The tree of exceptions: what is raised, where it points, and that it travels."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
import rhai

ENGINE = rhai.Engine()


def failure(source: str, **options: Any) -> rhai.RhaiError:
    with pytest.raises(rhai.RhaiError) as caught:
        ENGINE.compile(source, name="main").run(**options)
    return caught.value


@pytest.mark.parametrize(
    ("source", "expected", "kind", "line", "column"),
    [
        ("let x = ;", rhai.RhaiSyntaxError, "BadInput/UnexpectedInput", 1, 9),
        ("\n  'ab", rhai.RhaiSyntaxError, "BadInput/UnterminatedString", 2, 3),
        ("let x = 1;\nlet y = x / 0; y", rhai.RhaiArithmeticError, "ErrorArithmetic", 2, 11),
        ("9223372036854775807 + 1", rhai.RhaiArithmeticError, "ErrorArithmetic", 1, None),
        ("\n nope", rhai.RhaiNameError, "ErrorVariableNotFound", 2, 2),
        ("nope(1)", rhai.RhaiNameError, "ErrorFunctionNotFound", 1, 1),
        ('import "x" as x;', rhai.RhaiNameError, "ErrorModuleNotFound", 1, 8),
        ("[1][2]", rhai.RhaiIndexError, "ErrorArrayBounds", 1, 5),
        ('"abc"[7]', rhai.RhaiIndexError, "ErrorStringBounds", 1, None),
        ('1 + #{a: 1}', rhai.RhaiNameError, "ErrorFunctionNotFound", 1, 3),
        ("for x in 5 { x }", rhai.RhaiSyntaxError, "MismatchedType", 1, 10),
        ("let y = 5; for x in y { x }", rhai.RhaiTypeError, "ErrorFor", 1, 21),
        ("if 5 { }", rhai.RhaiSyntaxError, "MismatchedType", 1, 4),
        ("let x = 5; if x { 1 } else { 2 }", rhai.RhaiTypeError, "ErrorMismatchDataType", 1, 15),
        ("const X = 1; let f = || X; X += 1;", rhai.RhaiSyntaxError, "AssignmentToConstant", 1, None),
        ("throw 5", rhai.RhaiThrow, "ErrorRuntime", 1, 1),
    ],
)  # fmt: skip
def test_classes_kinds_and_positions(source: str, expected: type, kind: str, line: int, column: int | None) -> None:
    error = failure(source)
    assert type(error) is expected
    assert error.kind == kind
    assert error.line == line
    if column is not None:
        assert error.column == column
    assert error.source == "main"
    assert "(line" not in error.message


@pytest.mark.parametrize(
    ("source", "value", "message"),
    [
        ('throw "text"', "text", "text"),
        ('throw #{message: "x", retry: false}', {"message": "x", "retry": False}, "x"),
        ("throw [1, ()]", [1, None], "[1, ()]"),
        ("throw", None, "()"),
        ("throw 'c'", "c", "c"),
        ("throw 1.5", 1.5, "1.5"),
        ("fn f() { throw 7 } f()", 7, "7"),
        ("[1].map(|x| { throw x })", 1, "1"),
    ],
)  # fmt: skip
def test_a_throw_keeps_its_value(source: str, value: Any, message: str) -> None:
    error = failure(source)
    assert isinstance(error, rhai.RhaiThrow)
    assert error.value == value
    assert error.message == message


def test_a_call_stack_is_innermost_first() -> None:
    error = failure("fn inner(x) {\n  x / 0\n}\nfn outer(x) {\n  inner(x)\n}\n\nouter(1);")
    assert error.function == "inner"
    assert [(frame.function, frame.line, frame.source) for frame in error.frames] == [
        ("inner", 2, "main"),
        ("outer", 5, "main"),
        (None, 8, "main"),
    ]
    assert failure("let f = |x| x / 0;\nf.call(1)").function == "closure"


def test_columns_count_characters() -> None:
    assert failure('let s = "äöü😀"; nope').column == 17


@pytest.mark.parametrize("source", ['throw "memory"', 'throw #{limit: "operations", kind: "ErrorTooManyOperations"}'])
def test_a_throw_is_never_a_limit(source: str) -> None:
    assert type(failure(source)) is rhai.RhaiThrow


def test_limits_cannot_be_caught_or_rethrown() -> None:
    error = failure("try { loop {} } catch (e) { throw e }", limits=rhai.Limits(max_operations=100))
    assert type(error) is rhai.RhaiLimitError


def test_every_error_can_be_pickled() -> None:
    errors = [
        failure("let x = ;"),
        failure("throw #{a: [1]}"),
        failure("fn f() { 1 / 0 } f()"),
        failure("loop {}", limits=rhai.Limits(max_operations=10)),
        failure("loop {}", limits=rhai.Limits(timeout_seconds=0.001)),
        failure("x" * 70_000),
    ]
    for error in errors:
        copy = pickle.loads(pickle.dumps(error))
        assert type(copy) is type(error)
        assert str(copy) == str(error)
        for name in error._fields:
            assert getattr(copy, name) == getattr(error, name)


def test_the_tree_is_what_it_says() -> None:
    assert issubclass(rhai.RhaiTimeoutError, TimeoutError)
    assert issubclass(rhai.RhaiMemoryError, MemoryError)
    assert issubclass(rhai.RhaiSourceLimitError, rhai.RhaiSyntaxError)
    assert issubclass(rhai.RhaiSourceLimitError, rhai.RhaiLimitError)
    assert issubclass(rhai.RhaiInputError, ValueError)
    assert not issubclass(rhai.RhaiThrow, rhai.RhaiLimitError)
    exported = [getattr(rhai, name) for name in rhai.__all__ if name.startswith("Rhai")]
    assert all(issubclass(cls, rhai.RhaiError) for cls in exported)


def test_failed_runs_have_statistics() -> None:
    stats = failure("let a = []; for i in 0..100 { a.push(i); } throw 1").stats
    assert stats is not None
    assert stats.operations > 100
    assert stats.peak_bytes > 100 * 8
    assert stats.leaked_bytes == 0
    assert pickle.loads(pickle.dumps(stats)) == stats


def test_errors_read_well() -> None:
    assert str(failure("\n nope")) == "Variable not found: nope (main:2:2)"


def panicking_engine() -> rhai.Engine:
    """Its ``m::panic`` panics in Rust: PyO3 gives a panic of other Rust code back as the panic it was."""

    def fail() -> None:
        raise ValueError

    def panic() -> None:
        # PyO3 makes the class when it first looks at an exception, which `fail` has it do; there is no other way to it.
        # Ours is the last: other extensions that pytest's plugins have loaded by now may have brought their own.
        raise [each for each in BaseException.__subclasses__() if each.__name__ == "PanicException"][-1]("on purpose")

    module = rhai.Module("m")
    module.fn(fail)
    module.fn(panic)
    engine = rhai.Engine(modules=[module])
    engine.compile("try { m::fail() } catch {}").run()
    return engine


@pytest.mark.parametrize(
    "source",
    [
        "m::panic()",
        "try { m::panic() } catch { 1 }",
        "fn f(x) { m::panic() } f(1)",
        "[1].map(|x| m::panic())",
        "[2, 1].sort(|a, b| m::panic())",
    ],
)
def test_a_panic_is_an_internal_error_and_nobody_else_notices(source: str) -> None:
    engine = panicking_engine()
    healthy = engine.compile("let a = []; for i in 0..100 { a.push(i); } a.len()")
    with pytest.raises(rhai.RhaiInternalError, match="on purpose") as caught:
        engine.compile(source, name="main").run()
    assert (caught.value.kind, caught.value.source) == ("Panic", "main")
    assert caught.value.stats is not None
    assert caught.value.stats.leaked_bytes == 0
    assert healthy.run() == 100
    assert engine.compile("40 + 2").run() == 42
    assert rhai.Engine().compile("40 + 2").run() == 42


def test_errors_travel_even_when_what_they_carry_does_not() -> None:
    class Stubborn(Exception):
        def __reduce__(self) -> Any:
            raise TypeError("not me")

    def fail() -> None:
        raise Stubborn("reason")

    module = rhai.Module("m")
    module.fn(fail)
    with pytest.raises(rhai.RhaiHostError) as caught:
        rhai.Engine(modules=[module]).compile("m::fail()").run()
    assert isinstance(caught.value.__cause__, Stubborn)
    copy = pickle.loads(pickle.dumps(caught.value))
    assert str(copy.__cause__) == "Stubborn: reason"
    thrown = pickle.loads(pickle.dumps(failure("throw |x| x")))
    assert type(thrown) is rhai.RhaiThrow
    assert "closure" in thrown.value
