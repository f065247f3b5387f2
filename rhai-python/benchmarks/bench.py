"""How long runs take. ``python benchmarks/bench.py --write`` renews ``results.md`` beside this file.

Each figure is the best of several repetitions: on a shared machine the best one is
the least disturbed. Everything runs on a thread with the recommended stack, as a
worker would, unless the line says otherwise.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import rhai

RESULTS = Path(__file__).with_name("results.md")

REQUEST = {"items": [{"sku": "abc", "qty": i, "price": 12} for i in range(10)], "name": "bob"}
DOCUMENT = rhai.Json(json.dumps(REQUEST).encode())

HANDLER = """
fn clamp(x, lo, hi) { if x < lo { lo } else if x > hi { hi } else { x } }

let total = 0;
let out = [];
for item in ctx.items {
    let price = item.qty * item.price;
    if item.qty > 3 { price -= price / 10; }
    total += clamp(price, 0, 1000000);
    out.push(#{ sku: item.sku, price: price });
}
if total > 100 { out.push(#{ sku: "bonus", price: 0 }); }
#{ status: 200, total: total, lines: out, msg: `hello ${ctx.name}` }
"""


def best_us(call: Callable[[], object], count: int, repetitions: int = 7) -> float:
    """Microseconds of one call."""
    best = float("inf")
    for _ in range(repetitions):
        started = time.perf_counter()
        for _ in range(count):
            call()
        best = min(best, (time.perf_counter() - started) / count)
    return best * 1e6


def engine() -> rhai.Engine:
    module = rhai.Module("host")

    @module.fn
    def add(left: int, right: int) -> int:
        return left + right

    @module.fn
    def nothing() -> None:
        return None

    return rhai.Engine(modules=[module])


def single_thread() -> list[tuple[str, str]]:
    shared = engine()
    compile_ = shared.compile
    trivial, function, handler = compile_("40 + 2"), compile_("fn f() { 1 }"), compile_(HANDLER)
    identity = compile_("ctx")
    empty = best_us(compile_("for i in 0..1000 { i }").run, 200)
    nothing = best_us(compile_("for i in 0..1000 { host::nothing() }").run, 100)
    add = best_us(compile_("for i in 0..1000 { host::add(i, 1) }").run, 100)
    pad = best_us(compile_("let a = []; a.pad(10000, 1); 1").run, 50)
    mapped = best_us(compile_("let a = []; a.pad(10000, 1); a.map(|x| x + 1); 1").run, 5)
    local = best_us(compile_("let c = #{name: 1}; for i in 0..1000 { c.name }").run, 100)
    names = compile_("for i in 0..1000 { ctx.name }")
    constant = best_us(lambda: names.run({"ctx": DOCUMENT}), 100)
    python_json = best_us(lambda: json.dumps(json.loads(DOCUMENT.data)), 3_000)
    figures = [
        ("run `40 + 2`", best_us(trivial.run, 20_000)),
        ("execute `40 + 2` (bytes and statistics)", best_us(trivial.execute, 20_000)),
        ("call a function of a script", best_us(lambda: function.call("f"), 20_000)),
        ("compile the 10-item handler", best_us(lambda: compile_(HANDLER), 500)),
        ("10-item handler, JSON in and out", best_us(lambda: handler.execute({"ctx": DOCUMENT}), 3_000)),
        ("10-item handler, dict in and out", best_us(lambda: handler.run({"ctx": REQUEST}), 3_000)),
        ("only JSON in and out", best_us(lambda: identity.execute({"ctx": DOCUMENT}), 3_000)),
        ("only dict in and out", best_us(lambda: identity.run({"ctx": REQUEST}), 3_000)),
        ("for comparison: `json.loads` and `json.dumps` of the same", python_json),
        ("one host call without arguments, in a loop", (nothing - empty) / 1000),
        ("one host call with two integers and an answer, in a loop", (add - empty) / 1000),
        ("one element of `map` with a closure", (mapped - pad) / 10_000),
        ("one property of a constant", (constant - empty) / 1000),
        ("one property of a local map", (local - empty) / 1000),
    ]
    return [(label, f"{value:.2f} µs") for label, value in figures]


def per_second(script: rhai.Script, with_input: bool, threads: int, seconds: float = 1.0) -> float:
    """Runs of a script on some threads, per second."""
    counts = [0] * threads
    constants = {"ctx": DOCUMENT} if with_input else None
    until = time.perf_counter() + seconds

    def work(index: int) -> None:
        while time.perf_counter() < until:
            for _ in range(10):
                script.execute(constants)
            counts[index] += 10

    workers = [threading.Thread(target=work, args=(index,)) for index in range(threads)]
    started = time.perf_counter()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return sum(counts) / (time.perf_counter() - started)


def scaling() -> list[tuple[str, str]]:
    shared = engine()
    rows = []
    for label, source, with_input in [
        ("10-item handler", HANDLER, True),
        ("loop of 20,000 additions", "let x = 0; for i in 0..20000 { x += i; } x", False),
        ("fib(16)", "fn fib(n) { if n < 2 { n } else { fib(n - 1) + fib(n - 2) } } fib(16)", False),
    ]:
        script = shared.compile(source)
        ratios = []
        for _ in range(5):
            one, two = per_second(script, with_input, 1), per_second(script, with_input, 2)
            ratios.append((two / one, one, two))
        ratio, one, two = max(ratios)
        rows.append((f"{label}, 2 threads against 1", f"{one:,.0f} → {two:,.0f} runs/s, {ratio:.2f}x"))
    return rows


def on_big_stack(work: Callable[[], list[tuple[str, str]]]) -> list[tuple[str, str]]:
    results: list[list[tuple[str, str]]] = []
    threading.stack_size(rhai.recommended_stack_bytes(rhai.Limits()))
    thread = threading.Thread(target=lambda: results.append(work()))
    thread.start()
    thread.join()
    return results[0]


def all_rows() -> list[tuple[str, str]]:
    rows = on_big_stack(single_thread) + on_big_stack(scaling)
    threading.stack_size(0)
    trivial = engine().compile("40 + 2")
    rows.append(
        ("run `40 + 2` from a thread with a small stack (handed over)", f"{best_us(trivial.run, 2_000):.2f} µs")
    )
    return rows


def machine() -> str:
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text().splitlines()
        model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), model)
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return f"{os.cpu_count()} × {model}, {platform.system()}, CPython {platform.python_version()}, load {load} at the start"


def main() -> None:
    place = machine()
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    lines = [
        "# Results of `bench.py`",
        "",
        f"Machine: {place}. Commit: {commit or 'unknown'}. Release build.",
        "",
        "| what | best |",
        "|---|---|",
        *(f"| {label} | {value} |" for label, value in all_rows()),
    ]
    text = "\n".join(lines) + "\n"
    print(text)
    if "--write" in sys.argv:
        RESULTS.write_text(text)


if __name__ == "__main__":
    main()
