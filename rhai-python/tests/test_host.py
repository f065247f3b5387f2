"""Functions and objects of Python inside scripts."""

from __future__ import annotations

import threading
from typing import Any, Optional, TypedDict, Union, cast

import pytest
import rhai


class Counter:
    def __init__(self, start: int = 0) -> None:
        self.value = start
        self.label = "none"


class Loud(Counter):
    pass


class Options(TypedDict, total=False):
    deep: bool


def counter_type() -> rhai.HostType[Counter]:
    host_type = rhai.HostType(Counter, name="Counter")

    @host_type.method
    def add(counter: Counter, by: int = 1) -> Counter:
        counter.value += by
        return counter

    @host_type.method(name="describe", context=True)
    def describe(context: Any, counter: Counter, prefix: str) -> str:
        return f"{prefix}{counter.value} for {context}"

    @host_type.getter("value")
    def value(counter: Counter) -> int:
        return counter.value

    @host_type.getter("label")
    def label(counter: Counter) -> str:
        return counter.label

    @host_type.setter("label")
    def set_label(counter: Counter, text: str) -> None:
        counter.label = text

    return host_type


def tools() -> rhai.Module:
    module = rhai.Module("tools", doc="For tests.")

    @module.fn
    def add(left: int, right: int = 10) -> int:
        return left + right

    @module.fn
    def half(number: float) -> float:
        return number / 2

    @module.fn
    def join(*parts: str) -> str:
        return "-".join(parts)

    @module.fn(context=True)
    def who(context: Any) -> Any:
        assert rhai.current_context() is context
        return context

    @module.fn
    def as_json(value: rhai.Json) -> bytes:
        return value.data

    @module.fn
    def from_json() -> rhai.Json:
        return rhai.Json(b'{"a":[1,null]}')

    @module.fn
    def fail(text: str) -> None:
        raise LookupError(text)

    @module.fn
    def interrupt() -> None:
        raise KeyboardInterrupt

    @module.fn
    def twice(function: rhai.Function, value: int) -> Any:
        return function(function(value))

    @module.fn
    def counter(start: int) -> Counter:
        return Counter(start)

    @module.fn
    def loud() -> Counter:
        return Loud(5)

    @module.fn
    def echo(value: Any) -> Any:
        return value

    @module.fn
    def bad() -> Any:
        return object()

    @module.fn
    def many(a: int, b: str, c: bool, d: int, e: Any) -> str:
        return f"{a}{b}{c}{d}{e}"

    @module.fn
    def size(data: str | bytes, options: Options | None = None) -> str:
        return f"{type(data).__name__} {len(data)} {options}"

    @module.fn
    def either(number: Union[int, float], plain: Optional[float] = None) -> str:  # noqa: UP045, PYI041
        # Spelt the old way, which counts too. To a script an int is no float: each is handed over as it is.
        return f"{number!r} {plain!r}"

    module.const("LIMIT", 7)
    module.const("TABLE", {"x": [1, 2]})
    inner = module.submodule("deep")
    inner.fn(lambda: 42, name="answer")
    return module


ENGINE = rhai.Engine(modules=[tools()], types=[counter_type()])


def run(source: str, **options: Any) -> Any:
    return ENGINE.compile(source, name="main").run(**options)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("tools::add(1)", 11),
        ("tools::add(1, 2)", 3),
        ("tools::half(3)", 1.5),
        ("tools::half(3.0)", 1.5),
        ('tools::join("a", "b", "c")', "a-b-c"),
        ("tools::join()", ""),
        ("tools::join('x')", "x"),
        ("tools::LIMIT", 7),
        ("tools::TABLE.x[1]", 2),
        ("tools::deep::answer()", 42),
        ("fn f() { tools::add(1) } f()", 11),
        ("[1, 2].map(|x| tools::add(x))", [11, 12]),
        ("tools::as_json(#{b: 1, a: [()]})", b'{"a":[null],"b":1}'),
        ("tools::from_json().a.len", 2),
        ("let m = tools::from_json(); m.a.push(1); m.a", [1, None, 1]),
        ("tools::twice(|x| x * 3, 2)", 18),
        ("let k = 5; tools::twice(|x| x + k, 0)", 10),
        ("fn inc(x) { x + 1 } tools::twice(inc, 0)", 2),
        ("tools::echo(|x| x + 1).call(2)", 3),
        ('tools::many(1, "b", true, 4, [5])', "1bTrue4[5]"),
        ('tools::size("abc")', "str 3 None"),
        ("tools::size(blob(2))", "bytes 2 None"),
        ("tools::size('a', #{deep: true})", "str 1 {'deep': True}"),
        ('tools::size("", ())', "str 0 None"),
        ("tools::either(1)", "1 None"),
        ("tools::either(1.5, 2)", "1.5 2.0"),
    ],
)
def test_calls(source: str, expected: Any) -> None:
    assert run(source) == expected


def test_views_arrive_as_plain_data() -> None:
    script = ENGINE.compile("[tools::echo(ctx), tools::as_json(ctx), tools::echo(ctx.a)]")
    assert script.run({"ctx": {"a": [1]}}) == [{"a": [1]}, b'{"a":[1]}', [1]]


@pytest.mark.parametrize(
    "source",
    [
        'tools::add("1")',
        "tools::add(1.5)",
        "tools::add(true)",
        "tools::join(1)",
        'tools::half("x")',
        "tools::twice(1, 2)",
    ],
)
def test_annotations_are_checked(source: str) -> None:
    with pytest.raises(rhai.RhaiTypeError, match="argument 1 of tools::"):
        run(source)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("tools::size(1)", r"i64 \(expecting string or blob for argument 1 of tools::size\)"),
        ("tools::size(())", r"\(\) \(expecting string or blob for argument 1"),
        ('tools::size("a", [1])', r"array \(expecting map or \(\) for argument 2"),
        ('tools::either("1")', r"string \(expecting i64 or f64 for argument 1"),
    ],
)
def test_a_union_is_checked_too(source: str, message: str) -> None:
    with pytest.raises(rhai.RhaiTypeError, match=message):
        run(source)


def test_wrong_number_of_arguments_and_unknown_names() -> None:
    for source in ("tools::add()", "tools::add(1, 2, 3)", "tools::nope()", "nope::add(1)"):
        with pytest.raises(rhai.RhaiNameError):
            run(source)


def test_host_objects_stay_themselves() -> None:
    counter = Counter(1)
    assert run("c.add(2).add().value", scope={"c": counter}) == 4
    assert counter.value == 4
    assert run("c", scope={"c": counter}) is counter
    outcome = ENGINE.compile("c").execute({"c": counter})
    assert outcome.kind == "host"
    assert outcome.host is counter
    assert run('c.label = "x"; c.label', scope={"c": counter}) == "x"
    assert counter.label == "x"
    assert run("type_of(c)", scope={"c": counter}) == "Counter"
    assert run("`${c}`", scope={"c": counter}) == "Counter"
    assert run("[c, c][0] == c && c != tools::counter(4)", scope={"c": counter}) is True
    assert run('c.describe("=")', scope={"c": counter}, context="me") == "=4 for me"


def test_host_objects_in_constants_can_be_used() -> None:
    counter = Counter()
    script = ENGINE.compile("fn f() { ctx.counter.add(5).value } f() + c.value")
    assert script.run({"ctx": {"counter": counter}, "c": counter}) == 10


def test_subclasses_count_as_their_registered_class() -> None:
    assert run("tools::loud().add(1).value") == 6


def test_objects_show_only_what_is_registered() -> None:
    for source in ("c.__class__", "c.__dict__", "c.nope()", "c.value = 1", "c[0]"):
        with pytest.raises(rhai.RhaiError):
            run(source, scope={"c": Counter()})


def test_the_context_belongs_to_the_run() -> None:
    assert run("tools::who()", context="first") == "first"
    assert run("tools::who()") is None
    with pytest.raises(RuntimeError):
        rhai.current_context()


def test_runs_nest_and_keep_their_contexts() -> None:
    inner = ENGINE.compile("tools::who()")
    module = rhai.Module("nested")
    module.fn(lambda: inner.run(context="inner"), name="run")
    engine = rhai.Engine(modules=[tools(), module])
    assert engine.compile("[tools::who(), nested::run(), tools::who()]").run(context="outer") == [
        "outer",
        "inner",
        "outer",
    ]


def test_a_script_can_catch_an_exception() -> None:
    assert run('try { tools::fail("no"); } catch (e) { return [e.kind, e.message, `${e}`]; }') == [
        "LookupError",
        "no",
        "no",
    ]


def described(error: Exception) -> dict[str, Any]:
    if isinstance(error, LookupError):
        return {"message": f"there is no {error}", "code": "not_found", "details": {"tried": [1, 2]}}
    if isinstance(error, ValueError):
        raise error
    return cast("dict[str, Any]", [])


def test_who_makes_an_engine_says_what_scripts_see_of_an_exception() -> None:
    engine = rhai.Engine(modules=[tools()], describe_error=described)
    seen = 'e.message, e.code, e["code"], e.details.tried[1], e.kind, `${e}`, e'
    told = engine.compile(f'try {{ tools::fail("way"); }} catch (e) {{ return [{seen}]; }}').run()
    assert told[:6] == ["there is no way", "not_found", "not_found", 2, None, "there is no way"]
    assert told[6] == {"message": "there is no way", "code": "not_found", "details": {"tried": [1, 2]}}
    with pytest.raises(rhai.RhaiHostError) as caught:
        engine.compile('tools::fail("way")').run()
    assert (caught.value.message, caught.value.kind) == ("there is no way", "LookupError")
    assert type(caught.value.__cause__) is LookupError


@pytest.mark.parametrize(("raised", "expected"), [(ValueError("no"), ValueError), (OSError("no"), TypeError)])
def test_no_script_catches_that_an_error_cannot_be_described(raised: Exception, expected: type[Exception]) -> None:
    def fail() -> None:
        raise raised

    module = rhai.Module("own")
    module.fn(fail)
    engine = rhai.Engine(modules=[module], describe_error=described)
    with pytest.raises(expected):
        engine.compile("try { own::fail() } catch { 1 }").run()


def test_an_uncaught_exception_is_the_cause() -> None:
    for source in (
        'fn f() {\n  tools::fail("no") }\nf()',
        'fn f() {\n  try { tools::fail("no") } catch (e) { throw e } }\nf()',
    ):
        with pytest.raises(rhai.RhaiHostError) as caught:
            run(source)
        assert type(caught.value.__cause__) is LookupError
        assert (caught.value.message, caught.value.kind, caught.value.function) == ("no", "LookupError", "f")
        assert caught.value.line == 2
        assert caught.value.__cause__.__traceback__ is not None


def test_what_is_no_exception_cannot_be_caught() -> None:
    for source in (
        "tools::interrupt()",
        "try { tools::interrupt() } catch { 1 }",
        "[1, 2].sort(|a, b| tools::interrupt())",
    ):
        with pytest.raises(KeyboardInterrupt):
            run(source)


def test_errors_of_a_closure_pass_through_python() -> None:
    with pytest.raises(rhai.RhaiThrow) as caught:
        run("tools::twice(|x| { throw #{code: 5} }, 1)")
    assert caught.value.value == {"code": 5}
    assert run("try { tools::twice(|x| { throw 7 }, 1); } catch (e) { return e; }") == 7
    with pytest.raises(rhai.RhaiLimitError) as limited:
        run("try { tools::twice(|x| { loop {} }, 1) } catch { 1 }", limits=rhai.Limits(max_operations=1000))
    assert limited.value.limit == "operations"


def test_a_closure_lives_as_long_as_the_call() -> None:
    kept: list[rhai.Function] = []
    module = rhai.Module("m")
    module.fn(lambda function: kept.append(function), name="keep")
    module.fn(lambda: kept[0](1), name="later")
    engine = rhai.Engine(modules=[module])
    with pytest.raises(rhai.RhaiHostError, match="only by the host function"):
        engine.compile("m::keep(|x| x); m::later()").run()
    with pytest.raises(RuntimeError):
        kept[0](1)


def test_a_closure_stays_on_its_thread() -> None:
    raised: list[type[BaseException]] = []

    def call_elsewhere(function: rhai.Function) -> None:
        def attempt() -> None:
            try:
                function(1)
            except RuntimeError as error:
                raised.append(type(error))

        thread = threading.Thread(target=attempt)
        thread.start()
        thread.join()

    module = rhai.Module("m")
    module.fn(call_elsewhere)
    rhai.Engine(modules=[module]).compile("m::call_elsewhere(|x| x)").run()
    assert raised == [RuntimeError]


def test_answers_scripts_do_not_know_are_host_errors() -> None:
    with pytest.raises(rhai.RhaiHostError) as caught:
        run("tools::bad()")
    assert isinstance(caught.value.__cause__, TypeError)


def test_modules_are_closed_once_in_use() -> None:
    module = rhai.Module("m")
    inner = module.submodule("inner")
    rhai.Engine(modules=[module])
    for change in (
        lambda: module.fn(len),
        lambda: module.const("A", 1),
        lambda: inner.const("B", 1),
        lambda: module.submodule("x"),
    ):
        with pytest.raises(RuntimeError):
            change()


@pytest.mark.parametrize("name", ["call", "eval", "print", "1a", "a-b", "", "module"])
def test_names_no_script_could_use_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="Rhai"):
        rhai.Module("m").fn(lambda: 1, name=name)
    with pytest.raises(ValueError, match="Rhai"):
        rhai.Module(name)


def test_signatures_no_script_could_use_are_refused() -> None:
    def keyword_only(*, key: int) -> None: ...

    def too_long(*a: int, **rest: int) -> None: ...

    with pytest.raises(TypeError, match="keyword-only"):
        rhai.Module("m").fn(keyword_only)
    rhai.Module("m").fn(too_long)
    with pytest.raises(TypeError, match="context"):
        rhai.Module("m").fn(lambda: 1, name="f", context=True)
    with pytest.raises(ValueError, match="already"):
        rhai.Engine(modules=[rhai.Module("json")])
    with pytest.raises(ValueError, match="already"):
        rhai.Engine(modules=[rhai.Module("a"), rhai.Module("a")])
