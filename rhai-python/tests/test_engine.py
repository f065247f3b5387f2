"""Scripts, calls, imports, callbacks and threads."""

from __future__ import annotations

import hashlib
import resource
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import rhai

ENGINE = rhai.Engine()


def run(source: str, **options: Any) -> Any:
    return ENGINE.compile(source).run(**options)


def test_a_script_knows_itself() -> None:
    source = "fn add(a, b) { a + b } private fn hidden() { 1 } 5"
    script = ENGINE.compile(source, name="maths")
    assert script.name == "maths"
    assert script.sha256 == hashlib.sha256(source.encode()).hexdigest()
    assert {(f.name, f.params, f.private) for f in script.functions} == {
        ("add", ("a", "b"), False),
        ("hidden", (), True),
    }


def test_calls_run_the_top_level_first() -> None:
    script = ENGINE.compile("const K = 10; fn f(x) { x + global::K } fn g() { c.a }")
    assert script.call("f", 1) == 11
    assert script.call("g", constants={"c": {"a": 3}}) == 3
    with pytest.raises(rhai.RhaiNameError):
        script.call("nope")
    with pytest.raises(rhai.RhaiNameError):
        script.call("f")
    assert ENGINE.compile("fn f(x) { x.len }").call("f", rhai.Json(b"[1,2]")) == 2


def test_eval_and_curry_must_be_allowed() -> None:
    for source in ('eval("1")', "let f = |x| x; f.curry(1).call()"):
        with pytest.raises(rhai.RhaiSyntaxError):
            run(source)
    engine = rhai.Engine(allowed_symbols=("eval", "curry"))
    assert engine.compile('eval("40 + 2")').run() == 42
    assert engine.compile("let f = |a, b| a - b; f.curry(5).call(3)").run() == 2
    with pytest.raises(rhai.RhaiLimitError):
        engine.compile('let s = "eval(s)"; eval(s)').run()


def test_allowed_eval_is_guarded_too() -> None:
    source = "eval(`f(" + "1," * 40 + "1)`)"
    with pytest.raises(rhai.RhaiSourceLimitError) as caught:
        rhai.Engine(allowed_symbols=["eval"]).compile(source).run()
    assert caught.value.limit == "arguments"


def test_languages_and_symbols_can_be_cut() -> None:
    for language, source in [
        (rhai.Language(loops=False), "loop { break; }"),
        (rhai.Language(anonymous_functions=False), "|x| x"),
        (rhai.Language(if_expressions=False), "let x = if true { 1 } else { 2 };"),
        (rhai.Language(shadowing=False), "let x = 1; let x = 2;"),
    ]:
        ENGINE.compile(source)
        with pytest.raises(rhai.RhaiSyntaxError):
            rhai.Engine(language=language).compile(source)
    with pytest.raises(rhai.RhaiSyntaxError):
        rhai.Engine(disabled_symbols=["while"]).compile("while true { }")
    with pytest.raises(rhai.RhaiNameError):
        rhai.Engine(language=rhai.Language(missing_properties=False)).compile("let m = #{}; m.x").run()


CALLBACKS: list[tuple[str, Any]] = [
    ("[1, 2].map(|x| x * 2)", [2, 4]),
    ("[1, 2].map(|x, i| x * i)", [0, 2]),
    ("[1, 2].map(|| this * 3)", [3, 6]),
    ("let k = 5; [1, 2].map(|x| x + k)", [6, 7]),
    ("let k = 5; [1, 2].map(|x, i| x + k + i)", [6, 8]),
    ("fn f(x) { x + 1 } [1, 2].map(f)", [2, 3]),
    ('fn f(x) { x + 1 } [1, 2].map(Fn("f"))', [2, 3]),
    ('["a"].map(Fn("to_upper"))', ["A"]),
    ('["ab", "c"].map(Fn("len"))', [2, 1]),
    ("[1, 2, 3].filter(|x| x > 1)", [2, 3]),
    ("[1, 2, 3].filter(|x, i| i == 0)", [1]),
    ("[1, 2, 3].filter(|| this > 2)", [3]),
    ("[1, 2].filter(|x| 1)", []),
    ("let a = [1, 2]; a.for_each(|| this *= 2); a", [2, 4]),
    ("let a = [1, 2]; a.for_each(|i| this += i); a", [1, 3]),
    ("let s = 0; [1, 2].for_each(|| s += this); s", 3),
    ("[1, 2, 3].reduce(|s, x| s + x, 0)", 6),
    ("[1, 2, 3].reduce(|s, x| if s == () { x } else { s + x })", 6),
    ("[1, 2, 3].reduce(|s, x, i| s + x * i, 0)", 8),
    ("[1, 2, 3].reduce(|s| s + this, 0)", 6),
    ('["a", "b"].reduce_rev(|s, x| s + x, "")', "ba"),
    ("[1, 2].some(|x| x == 2)", True),
    ("[].some(|x| true)", False),
    ("[1, 2].all(|x| x > 0)", True),
    ("[].all(|x| false)", True),
    ("[1, 2, 3].find(|x| x > 1)", 2),
    ("[1, 2, 3].find(|x| x > 1, 2)", 3),
    ("[1].find(|x| x > 1)", None),
    ("[1, 2].find_map(|x| if x > 1 { `${x}` })", "2"),
    ("[1, 2, 1].index_of(|x| x == 1, 1)", 2),
    ("[1, 2, 1].index_of(|x| x == 1, -1)", 2),
    ("[1].index_of(|x| x == 9)", -1),
    ("let a = [3, 1, 2]; a.sort(|x, y| x - y); a", [1, 2, 3]),
    ("let a = [3, 1, 2]; a.sort(|x, y| x < y); a", [1, 2, 3]),
    ("let a = [3, 1, 2]; a.sort_by(|x, y| y - x); a", [3, 2, 1]),
    ("let a = [[1, 2], [0, 1], [1, 1], [0, 2]]; a.sort(|x, y| x[0] - y[0]); a", [[0, 1], [0, 2], [1, 2], [1, 1]]),
    ("let a = [3, 1, 2]; [a.order(|x, y| x - y), a]", [[1, 2, 3], [3, 1, 2]]),
    ("let a = [1, 1, 2, 1]; a.dedup(|x, y| x == y); a", [1, 2, 1]),
    ("let a = [1, 2, 3]; [a.drain(|x| x > 1), a]", [[2, 3], [1]]),
    ("let a = [1, 2, 3]; [a.retain(|x| x > 1), a]", [[1], [2, 3]]),
    ("[1, 2].zip([3, 4], |x, y| x * y)", [3, 8]),
    ("[1, 2].zip([3, 4], |x, y, i| x * y + i)", [3, 9]),
    ("#{a: 1}.map(|k, v| `${k}${v}`)", {"a": "a1"}),
    ("#{a: 1, b: 2}.filter(|k, v| v > 1)", {"b": 2}),
    ("#{a: 1, b: 2}.filter(|k| this > 1)", {"b": 2}),
    ("let m = #{a: 1, b: 2}; [m.drain(|k, v| v > 1), m]", [{"b": 2}, {"a": 1}]),
    ("let m = #{a: 1, b: 2}; [m.retain(|k, v| v > 1), m]", [{"a": 1}, {"b": 2}]),
]  # fmt: skip


@pytest.mark.parametrize(("source", "expected"), CALLBACKS, ids=[source for source, _ in CALLBACKS])
def test_callbacks_mean_what_they_mean_in_rhai(source: str, expected: Any) -> None:
    assert run(source) == expected


@pytest.mark.parametrize(
    "function", ["map", "filter", "sort", "dedup", "for_each", "retain", "order", "some", "reduce"]
)
def test_errors_end_a_callback_function(function: str) -> None:
    parameters = {"for_each": "", "sort": "a, b", "dedup": "a, b", "order": "a, b", "reduce": "a, b"}.get(function, "a")
    with pytest.raises(rhai.RhaiThrow) as caught:
        run(f"let x = [3, 1, 2]; x.{function}(|{parameters}| {{ throw 5 }}); 1")
    assert caught.value.value == 5


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ('let s = "aXbX"; s.replace("X", "--"); s', "a--b--"),
        ("let s = \"aXb\"; s.replace('X', 'y'); s", "ayb"),
        ("let s = \"aXb\"; s.replace('X', \"yy\"); s", "ayyb"),
        ("let s = \"aXb\"; s.replace(\"X\", 'y'); s", "ayb"),
        ("let s = \"ab\"; s.pad(4, '-'); s", "ab--"),
        ('let s = "ab"; s.pad(7, "xyz"); s', "abxyzxy"),
        ('"a b  c".split()', ["a", "b", "c"]),
        ('"a,b,c".split(",")', ["a", "b", "c"]),
        ("\"a,b,c\".split(',')", ["a", "b", "c"]),
        ('"a,b,c".split(",", 2)', ["a", "b,c"]),
        ('"a,b,c".split_rev(",")', ["c", "b", "a"]),
        ('"a,b,c".split_rev(",", 2)', ["c", "a,b"]),
        ('"hello".split(2)', ["he", "llo"]),
        ('"ab".to_chars()', ["a", "b"]),
        ('[1, "a", \'b\', (), 1.0, true, #{x: [1]}].to_string()', '[1, "a", \'b\', (), 1.0, true, #{"x": [1]}]'),
        ('parse_json("{\\"a\\": [1, null]}")', {"a": [1, None]}),
        ('parse_json("[1]")', [1]),
        ('json::parse("[1]".to_blob())', [1]),
        ("json::parse('1')", 1),
        ("json::pretty(#{b: [1, 2], a: #{}})", '{\n  "a": {},\n  "b": [\n    1,\n    2\n  ]\n}'),
        ("json::pretty(1)", "1"),
        ("#{b: 1, a: 'x'}.to_json()", '{"a":"x","b":1}'),
        ("let f = |x| x; f.to_string() == `${f}`", True),
    ],
)  # fmt: skip
def test_replaced_functions_still_do_their_job(source: str, expected: Any) -> None:
    assert run(source) == expected


def importing(
    sources: Mapping[str, str | rhai.Script], **options: Any
) -> tuple[rhai.Engine, list[tuple[str, str | None]]]:
    asked: list[tuple[str, str | None]] = []

    def resolve(path: str, importer: str | None) -> rhai.Script | str | None:
        asked.append((path, importer))
        return sources.get(path)

    return rhai.Engine(resolver=resolve, **options), asked


def test_imports_ask_the_resolver_once_a_run() -> None:
    engine, asked = importing(
        {
            "lib": 'import "other" as o; fn twice(x) { o::add(x, x) } export const K = 3;',
            "other": ENGINE.compile("fn add(a, b) { a + b }", name="other"),
        }
    )
    script = engine.compile(
        'import "lib" as l; for i in 0..3 { import "lib" as again; } l::twice(4) + l::K', name="main"
    )
    assert script.run() == 11
    assert asked == [("lib", "main"), ("other", "lib")]


def test_missing_broken_and_cyclic_imports() -> None:
    engine, _ = importing({"broken": "let x = ;", "self": 'import "self" as s;', "fails": "fn f() { 1 / 0 } f();"})
    with pytest.raises(rhai.RhaiNameError) as missing:
        engine.compile('import "nope" as n;').run()
    assert missing.value.kind == "ErrorModuleNotFound"
    with pytest.raises(rhai.RhaiSyntaxError) as broken:
        engine.compile('import "broken" as b;').run()
    assert broken.value.source == "broken"
    with pytest.raises(rhai.RhaiRuntimeError, match="imports itself"):
        engine.compile('import "self" as s;').run()
    with pytest.raises(rhai.RhaiArithmeticError):
        engine.compile('import "fails" as f;').run()


def test_imported_modules_share_the_budgets() -> None:
    engine, _ = importing({f"m{i}": f'import "m{i + 1}" as m;' for i in range(50)} | {"spin": "loop {}"})
    with pytest.raises(rhai.RhaiLimitError) as caught:
        engine.compile('import "m0" as m;').run()
    assert caught.value.limit == "modules"
    with pytest.raises(rhai.RhaiLimitError) as spun:
        engine.compile('try { import "spin" as s; print(s::x); } catch (e) { print(e); }').run(
            limits=rhai.Limits(max_operations=1000)
        )
    assert spun.value.limit == "operations"


def test_imported_functions_see_constants() -> None:
    engine, _ = importing({"lib": "fn name() { ctx.name }"})
    assert engine.compile('import "lib" as l; l::name()').run({"ctx": {"name": "x"}}) == "x"


def test_a_script_runs_on_many_threads_without_cross_talk() -> None:
    module = rhai.Module("m")
    module.fn(lambda context, text: f"{context}:{text}", name="tag", context=True)
    script = rhai.Engine(modules=[module]).compile(
        "let out = []; for i in 0..20 { print(n); out.push(m::tag(`${n}`)); } out"
    )
    failures: list[Any] = []

    def worker(number: int) -> None:
        for _ in range(50):
            printed: list[str] = []
            result = script.run({"n": number}, context=number, on_print=printed.append)
            if result != [f"{number}:{number}"] * 20 or printed != [str(number)] * 20:
                failures.append((result, printed))

    threads = [threading.Thread(target=worker, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_the_gil_is_free_while_a_script_runs() -> None:
    ready = threading.Event()
    module = rhai.Module("m")
    module.fn(ready.set, name="ready")
    token = rhai.CancelToken()
    script = rhai.Engine(modules=[module]).compile("m::ready(); loop {}")

    def spin() -> None:
        with pytest.raises(rhai.RhaiCancelled):
            script.run(cancel=token, limits=rhai.Limits(timeout_seconds=30, max_operations=None))

    thread = threading.Thread(target=spin)
    thread.start()
    ready.wait()
    # With the GIL held by the script none of this would run.
    assert sum(range(1000)) == 499_500
    token.cancel()
    thread.join()


def test_ten_thousand_runs_stay_flat() -> None:
    script = ENGINE.compile(
        "let out = []; for x in ctx.items { out.push(#{id: x.id, text: `item ${x.id}`}); } out.map(|x| x.text).len"
    )
    document = rhai.Json(rhai.stringify_json({"items": [{"id": i} for i in range(10)]}))

    def many(count: int) -> None:
        for _ in range(count):
            outcome = script.execute({"ctx": document})
            assert outcome.stats.leaked_bytes == 0

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

    threading.stack_size(rhai.recommended_stack_bytes(rhai.Limits()))
    try:
        sizes: list[int] = []

        def measure() -> None:
            for count in (1_000, 10_000):
                many(count)
                sizes.append(resident())

        thread = threading.Thread(target=measure)
        thread.start()
        thread.join()
    finally:
        threading.stack_size(0)
    assert sizes[1] - sizes[0] < 4 << 20


def test_failing_runs_stay_flat() -> None:
    script = ENGINE.compile("fn f(n) { if n > 10 { throw #{a: [n]} } f(n + 1) } f(0)")
    for _ in range(500):
        with pytest.raises(rhai.RhaiThrow) as caught:
            script.run()
        assert caught.value.stats is not None
        assert caught.value.stats.leaked_bytes == 0
