"""Constants: visible everywhere, shared, read-only, and otherwise like any map or array."""

from __future__ import annotations

from typing import Any

import pytest
import rhai

ENGINE = rhai.Engine()
CONTEXT = {"a": {"b": 5}, "items": [1, 2, 3], "name": "bob", "none": None, "data": b"\x01\x02", "f": 1.5}


def run(source: str, **options: Any) -> Any:
    return ENGINE.compile(source, constants=["ctx"]).run({"ctx": CONTEXT}, **options)


READS: list[tuple[str, Any]] = [
    ("type_of(ctx)", "map"),
    ("type_of(ctx.items)", "array"),
    ("ctx.a.b", 5),
    ('ctx["a"]["b"]', 5),
    ("ctx?.a?.b", 5),
    ("ctx.missing", None),
    ("ctx.missing == ()", True),
    ("ctx.a == ()", False),
    ("ctx.a != ()", True),
    ("ctx.none", None),
    ("ctx.missing ?? 7", 7),
    ("ctx.items[0] + ctx.items[-1]", 4),
    ("ctx.items.len", 3),
    ("ctx.items.len()", 3),
    ("ctx.len()", 6),
    ("ctx.a.is_empty()", False),
    ('"a" in ctx', True),
    ('"z" in ctx', False),
    ('"z" !in ctx', True),
    ("2 in ctx.items", True),
    ("ctx.a in [#{b: 5}]", True),
    ("ctx.keys()", sorted(CONTEXT)),
    ("ctx.a.values()", [5]),
    ('ctx.contains("name")', True),
    ('ctx.get("name")', "bob"),
    ("ctx.items.get(1)", 2),
    ("let t = 0; for x in ctx.items { t += x; } t", 6),
    ("let t = 0; for (x, i) in ctx.items { t += x * i; } t", 8),
    ("let t = []; for k in ctx.a.keys() { t.push(k); } t", ["b"]),
    ("fn f() { ctx.a.b } f()", 5),
    ("fn f() { g() } fn g() { ctx.name } f()", "bob"),
    ("let f = || ctx.a.b; f.call()", 5),
    ("ctx.items.map(|x| x + ctx.a.b)", [6, 7, 8]),
    ("ctx.items.filter(|x| x > ctx.items[0])", [2, 3]),
    ("ctx.items.map(|x| ctx.items.map(|y| x * y))", [[1, 2, 3], [2, 4, 6], [3, 6, 9]]),
    ("ctx.items.reduce(|s, x| s + x, 0)", 6),
    ("ctx.items.some(|x| x == 2) && ctx.items.all(|x| x > 0)", True),
    ("ctx.items.find(|x| x > 1)", 2),
    ("ctx.items.index_of(3)", 2),
    ("ctx.items.extract(1)", [2, 3]),
    ("ctx.items + [4]", [1, 2, 3, 4]),
    ("[0] + ctx.items", [0, 1, 2, 3]),
    ("ctx.a + #{c: 1}", {"b": 5, "c": 1}),
    ("ctx.a == #{b: 5}", True),
    ("#{b: 5} == ctx.a", True),
    ("ctx.a == ctx.a", True),
    ("ctx.items != [1]", True),
    ("[ctx.a] == [#{b: 5}]", True),
    ("ctx.items.to_string()", "[1, 2, 3]"),
    ("`${ctx.a} ${ctx.name}`", '#{"b": 5} bob'),
    ('"" + ctx.items', "[1, 2, 3]"),
    ("json::stringify(ctx.a)", '{"b":5}'),
    ("ctx.a.to_json()", '{"b":5}'),
    ("ctx.name.to_upper()", "BOB"),
    ("ctx.name.len() + ctx.data.len()", 5),
    ("ctx.f.floor()", 1.0),
    ('switch ctx.name { "bob" => 1, _ => 2 }', 1),
    ("fn f(c) { c.a.b } f(ctx)", 5),
    ("fn f(m) { m.b } f(ctx.a)", 5),
    ("let m = #{}; m.x = ctx.a; m.x.b", 5),
    ("let c = [ctx.a, ctx.items]; c[1][0]", 1),
    ("let ctx = 1; ctx", 1),
    ("fn f(ctx) { ctx } f(3)", 3),
    ("let x = ctx.items; is_shared(x)", False),
]


@pytest.mark.parametrize(("source", "expected"), READS, ids=[source for source, _ in READS])
def test_reads_like_a_map(source: str, expected: Any) -> None:
    assert run(source) == expected


#: A variable holds a copy of its own as soon as it changes.
COPIES: list[tuple[str, Any]] = [
    ("let b = ctx.a; b.b += 1; b.c = 3; [b, ctx.a]", [{"b": 6, "c": 3}, {"b": 5}]),
    ("let b = ctx; b.a.b = 9; [b.a, ctx.a]", [{"b": 9}, {"b": 5}]),
    ("let b = ctx.items; b.push(9); [b, ctx.items]", [[1, 2, 3, 9], [1, 2, 3]]),
    ("let b = ctx.items; b[0] = 7; b[-1] = 8; [b, ctx.items]", [[7, 2, 8], [1, 2, 3]]),
    ("let b = ctx; b.items.push(4); [b.items, ctx.items]", [[1, 2, 3, 4], [1, 2, 3]]),
    ("let b = ctx.items; b.sort(|x, y| y - x); b", [3, 2, 1]),
    ("let b = ctx.items; b.reverse(); b", [3, 2, 1]),
    ("let b = ctx.items; [b.remove(0), b.pop(), b]", [1, 3, [2]]),
    ("let b = ctx.items; b += [4]; b", [1, 2, 3, 4]),
    ("let b = ctx.items; b += 4; b", [1, 2, 3, 4]),
    ("let b = [0]; b.append(ctx.items); b", [0, 1, 2, 3]),
    ("let b = ctx.a; b += #{c: 1}; b", {"b": 5, "c": 1}),
    ("let b = #{c: 1}; b += ctx.a; b", {"b": 5, "c": 1}),
    ("let b = #{c: 1}; b.mixin(ctx.a); b", {"b": 5, "c": 1}),
    ('let b = ctx.a; b.remove("b"); [b, ctx.a]', [{}, {"b": 5}]),
    ("let b = ctx.items; b.for_each(|| this *= 2); [b, ctx.items]", [[2, 4, 6], [1, 2, 3]]),
    ("let b = ctx.items; b.retain(|x| x > 1); b", [2, 3]),
    ("fn f(c) { c.a.b = 7; c.a } [f(ctx), ctx.a]", [{"b": 7}, {"b": 5}]),
    ("let b = ctx.a; let f = || b.b += 1; f.call(); f.call(); [b, ctx.a]", [{"b": 7}, {"b": 5}]),
    ("let r = []; for x in [ctx.a] { x.b = 1; r.push(x); } [r, ctx.a]", [[{"b": 1}], {"b": 5}]),
]


@pytest.mark.parametrize(("source", "expected"), COPIES, ids=[source for source, _ in COPIES])
def test_variables_get_their_own_copy(source: str, expected: Any) -> None:
    assert run(source) == expected


@pytest.mark.parametrize(
    "source",
    [
        "ctx = 1",
        "ctx.a = 1",
        "ctx.extra = 1",
        "ctx.a.b = 1",
        "ctx.a.b += 1",
        'ctx["a"] = 1',
        "ctx.items[0] = 9",
        "ctx.items.push(1)",
        "ctx.items += [1]",
        "ctx.items.sort()",
        "ctx.clear()",
        'ctx.a.remove("b")',
        "ctx.items.for_each(|| this += 1)",
        'ctx.name += "x"',
        "fn f() { ctx.a = 1 } f()",
        "(|| ctx.items.push(1)).call()",
    ],
)
def test_the_constant_itself_cannot_change(source: str) -> None:
    with pytest.raises(rhai.RhaiTypeError) as caught:
        run(source)
    assert caught.value.kind in ("ErrorAssignmentToConstant", "ErrorNonPureMethodCallOnConstant")
    assert caught.value.line == 1
    assert CONTEXT["items"] == [1, 2, 3]


def test_an_array_appended_with_an_operator_is_the_known_difference() -> None:
    """`own += view` is decided inside the engine, which takes a view for a single item; `append` and `+` do not."""
    assert run("let b = [0]; b += ctx.items; b") == [0, [1, 2, 3]]


def test_reading_does_not_copy_the_tree() -> None:
    big = {"rows": [{"id": i, "text": "x" * 100} for i in range(5_000)], "one": {"two": {"three": 3}}}
    script = ENGINE.compile("let t = 0; for i in 0..2000 { t += ctx.one.two.three + ctx.rows[i].id; } t")
    document = rhai.Json(rhai.stringify_json(big))
    baseline = ENGINE.compile("1").execute({"ctx": document}).stats.peak_bytes
    outcome = script.execute({"ctx": document})
    assert outcome.data == str(3 * 2000 + sum(range(2000))).encode()
    assert outcome.stats.peak_bytes < baseline * 1.1


def test_out_of_bounds_and_wrong_keys_are_the_usual_errors() -> None:
    with pytest.raises(rhai.RhaiIndexError) as caught:
        run("ctx.items[9]")
    assert caught.value.kind == "ErrorArrayBounds"
    with pytest.raises(rhai.RhaiTypeError):
        run("ctx.name.nope")


def test_strict_variables_know_declared_constants() -> None:
    engine = rhai.Engine(strict_variables=True)
    assert engine.compile("fn f() { ctx } f() + ctx", constants=["ctx"]).run({"ctx": 2}) == 4
    with pytest.raises(rhai.RhaiSyntaxError) as caught:
        engine.compile("ctx")
    assert caught.value.kind == "VariableUndefined"


def test_scope_variables_are_the_top_level_s_own() -> None:
    script = ENGINE.compile("x.push(1); x")
    items = [0]
    assert script.run(scope={"x": items}) == [0, 1]
    assert items == [0]
    with pytest.raises(rhai.RhaiNameError):
        ENGINE.compile("fn f() { x } f()").run(scope={"x": 1})


def test_a_scope_object_keeps_its_variables() -> None:
    scope = rhai.Scope()
    scope.push("x", 1)
    scope.push_constant("LIMIT", 10)
    ENGINE.compile("x += LIMIT; let y = x * 2;").run(scope=scope)
    assert (scope["x"], scope["y"], len(scope)) == (11, 22, 3)
    assert scope.names() == ["x", "LIMIT", "y"] or set(scope.names()) == {"x", "LIMIT", "y"}
    assert "y" in scope
    with pytest.raises(KeyError):
        scope["nope"]
    with pytest.raises(rhai.RhaiError):
        ENGINE.compile("LIMIT = 1").run(scope=scope)
