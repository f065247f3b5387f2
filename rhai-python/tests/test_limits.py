"""Each budget, by the error its breach raises."""

from __future__ import annotations

import subprocess
import sys
import threading
from typing import Any

import pytest
import rhai

ENGINE = rhai.Engine()


@pytest.mark.parametrize(
    ("source", "limits", "expected", "limit"),
    [
        ("loop {}", {"max_operations": 1000}, rhai.RhaiLimitError, "operations"),
        ("[1, 2, 3].map(|x| { loop {} })", {"max_operations": 1000}, rhai.RhaiLimitError, "operations"),
        ("loop {}", {"timeout_seconds": 0.02, "max_operations": None}, rhai.RhaiTimeoutError, "time"),
        ("let f = || 1; loop { let g = f; f = || g; }", {"max_memory_bytes": 100_000}, rhai.RhaiMemoryError, "memory"),
        ("fn f(n) { f(n + 1) } f(0)", {"max_call_depth": 10}, rhai.RhaiLimitError, "call_depth"),
        ('let s = "ab"; loop { s += s; }', {"max_string_bytes": 100}, rhai.RhaiLimitError, "string_bytes"),
        ("let a = []; loop { a.push(1); }", {"max_array_length": 100}, rhai.RhaiLimitError, "array_length"),
        ("let b = blob(); loop { b.push(1); }", {"max_array_length": 100}, rhai.RhaiLimitError, "array_length"),
        ("let m = #{}; let i = 0; loop { m.set(`${i}`, 1); i += 1; }", {"max_map_length": 9}, rhai.RhaiLimitError, "map_length"),
        ("let a = 1; let b = 1; let c = 1;", {"max_variables": 2}, rhai.RhaiLimitError, "variables"),
        ("loop { print(1); }", {"max_output_bytes": 10}, rhai.RhaiOutputLimitError, "output"),
        ("loop { debug(1); }", {"max_output_bytes": 10}, rhai.RhaiOutputLimitError, "output"),
        ("let a = []; for i in 0..90 { a = [a]; } a.to_string()", {}, rhai.RhaiLimitError, "string_bytes"),
        ("let a = []; for i in 0..20 { a = [a]; } a", {"max_value_depth": 10}, rhai.RhaiLimitError, "value_depth"),
        ("let a = []; for i in 0..20 { a = [a]; } json::stringify(a)", {"max_value_depth": 10}, rhai.RhaiLimitError, "value_depth"),
        ('json::parse("[[[[1]]]]")', {"max_value_depth": 3}, rhai.RhaiLimitError, "value_depth"),
        ('json::parse("[1,2,3]")', {"max_value_nodes": 3}, rhai.RhaiLimitError, "value_nodes"),
        ("json::stringify([1, 2, 3])", {"max_string_bytes": 6}, rhai.RhaiLimitError, "string_bytes"),
        ("json::pretty([[[1]]])", {"max_string_bytes": 12}, rhai.RhaiLimitError, "string_bytes"),
        ("let f = |f, n| f.call(f, n); f.call(f, 0)", {}, rhai.RhaiLimitError, "call_depth"),
    ],
)  # fmt: skip
def test_limits_of_a_run(source: str, limits: dict[str, Any], expected: type, limit: str) -> None:
    script = ENGINE.compile(source)
    with pytest.raises(rhai.RhaiError) as caught:
        script.run(limits=rhai.Limits(**limits))
    assert type(caught.value) is expected
    assert isinstance(caught.value, rhai.RhaiLimitError)
    assert caught.value.limit == limit


@pytest.mark.parametrize(
    ("source", "limits", "limit"),
    [
        ("1" * 200, {"max_source_bytes": 100}, "source_bytes"),
        ("((((1))))", {"max_expr_depth": 2}, "expr_depth"),
        ("fn f() { ((((1)))) }", {"max_fn_expr_depth": 2}, "expr_depth"),
        ("fn a() { 1 } fn b() { 2 }", {"max_functions": 1}, "functions"),
        ('"aaaaaaaa"', {"max_string_bytes": 5}, "string_bytes"),
        ("[1, 2, 3]", {"max_array_length": 2}, "array_length"),
        ("#{a: 1, b: 2}", {"max_map_length": 1}, "map_length"),
        (f"f({','.join('1' * 33)})", {}, "arguments"),
    ],
)  # fmt: skip
def test_limits_of_a_source(source: str, limits: dict[str, Any], limit: str) -> None:
    with pytest.raises(rhai.RhaiSourceLimitError) as caught:
        rhai.Engine(limits=rhai.Limits(**limits)).compile(source)
    assert caught.value.limit == limit


@pytest.mark.parametrize(
    "options",
    [
        {"timeout_seconds": 0},
        {"timeout_seconds": -1},
        {"timeout_seconds": float("nan")},
        {"max_operations": 0},
        {"max_call_depth": None},
        {"max_memory_bytes": 1.5},
        {"max_string_bytes": True},
        {"max_value_depth": 10_000},
        {"max_expr_depth": 10_000},
    ],
)
def test_limits_that_mean_nothing_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"must be|at most"):
        rhai.Limits(**options)


def test_the_engine_s_limits_hold_unless_a_run_brings_its_own() -> None:
    script = rhai.Engine(limits=rhai.Limits(max_operations=500)).compile("let n = 0; for i in 0..1000 { n += 1; } 1")
    with pytest.raises(rhai.RhaiLimitError):
        script.run()
    assert script.run(limits=rhai.Limits()) == 1


def test_more_budget_never_ends_earlier() -> None:
    script = ENGINE.compile("let n = 0; loop { n += 1; }")
    spent = []
    for budget in (10, 100, 1_000, 10_000):
        with pytest.raises(rhai.RhaiLimitError) as caught:
            script.run(limits=rhai.Limits(max_operations=budget))
        assert caught.value.stats is not None
        spent.append(caught.value.stats.operations)
    assert spent == [11, 101, 1_001, 10_001]


def test_a_token_stops_runs_from_another_thread() -> None:
    token = rhai.CancelToken()
    started = threading.Event()
    module = rhai.Module("m")
    module.fn(started.set, name="started")
    script = rhai.Engine(modules=[module]).compile("m::started(); loop { try { loop {} } catch { } }")
    raised: list[BaseException] = []

    def target() -> None:
        try:
            script.run(cancel=token, limits=rhai.Limits(timeout_seconds=30, max_operations=None))
        except rhai.RhaiError as error:
            raised.append(error)

    thread = threading.Thread(target=target)
    thread.start()
    started.wait()
    assert not token.cancelled
    token.cancel()
    thread.join()
    assert token.cancelled
    assert [type(error) for error in raised] == [rhai.RhaiCancelled]
    with pytest.raises(rhai.RhaiCancelled):
        ENGINE.compile("1").run(cancel=token)


def test_print_and_debug_reach_their_listeners_and_nobody_else(capfd: pytest.CaptureFixture[str]) -> None:
    printed: list[str] = []
    debugged: list[Any] = []
    script = ENGINE.compile('print("a"); print([1, "x"]); print();\n  debug("d");', name="main")
    script.run(on_print=printed.append, on_debug=lambda *args: debugged.append(args))
    assert printed == ["a", '[1, "x"]', ""]
    assert debugged == [('"d"', "main", 2, 3)]
    outcome = script.execute()
    assert outcome.stats.output_bytes == sum(map(len, printed)) + 3
    assert capfd.readouterr() == ("", "")


def test_what_a_listener_raises_ends_the_run() -> None:
    def refuse(text: str) -> None:
        raise LookupError(text)

    with pytest.raises(LookupError, match="a"):
        ENGINE.compile('try { print("a"); loop {} } catch { }').run(on_print=refuse)


def test_statistics_of_a_run() -> None:
    stats = ENGINE.compile("let a = []; for i in 0..1000 { a.push(i); } 1").execute().stats
    assert stats.operations > 1000
    assert 16_000 < stats.peak_bytes < 200_000
    assert stats.leaked_bytes == 0
    assert stats.wall_seconds > 0


def test_inputs_count_as_memory() -> None:
    limits = rhai.Limits(max_memory_bytes=200_000)
    script = ENGINE.compile("let t = 0; for x in data { t += 1; } t")
    assert script.run({"data": [1] * 100}, limits=limits) == 100
    with pytest.raises(rhai.RhaiMemoryError):
        script.run({"data": [1] * 50_000}, limits=limits)


def test_recommended_stack_is_enough_to_stay_on_the_thread() -> None:
    needed = rhai.recommended_stack_bytes(rhai.Limits())
    assert needed == 192 << 20
    assert (
        rhai.recommended_stack_bytes(rhai.Limits(max_memory_bytes=8 << 20, max_array_length=500, max_map_length=500))
        < needed
    )
    program = (
        "import rhai, threading\n"
        "seen = []\n"
        "m = rhai.Module('m')\n"
        "m.fn(lambda: seen.append(threading.get_ident()), name='f')\n"
        "script = rhai.Engine(modules=[m]).compile('m::f()')\n"
        "def target():\n"
        "    seen.append(threading.get_ident())\n"
        "    script.run()\n"
        "threading.stack_size(rhai.recommended_stack_bytes(rhai.Limits()))\n"
        "thread = threading.Thread(target=target); thread.start(); thread.join()\n"
        "assert seen[0] == seen[1], 'handed to another thread'\n"
        "script.run()\n"
        "assert seen[2] != threading.get_ident(), 'the main thread has too little stack'\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_signal_interrupts_a_run_of_the_main_thread() -> None:
    program = (
        "import rhai, signal\n"
        # Whoever starts the tests in the background of a shell has it ignored, and so would we.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "m = rhai.Module('m')\n"
        "m.fn(lambda: signal.raise_signal(signal.SIGINT), name='hit')\n"
        "script = rhai.Engine(modules=[m]).compile('m::hit(); loop {}')\n"
        "try:\n"
        "    script.run(limits=rhai.Limits(timeout_seconds=60, max_operations=None))\n"
        "except KeyboardInterrupt:\n"
        "    print('interrupted')\n"
    )
    result = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=30)
    assert result.stdout == "interrupted\n"


def test_a_forked_process_makes_threads_of_its_own() -> None:
    program = (
        "import os, rhai\n"
        "script = rhai.Engine().compile('40 + 2')\n"
        "assert script.run() == 42\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    os._exit(0 if script.run() == 42 else 1)\n"
        "assert os.waitpid(child, 0)[1] == 0\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=30)
