"""How long runs take. ``python benchmarks/bench.py --write`` renews ``results.md`` beside this file.

Each figure is the best of several repetitions, three rounds apart: on a shared
machine the best one is the least disturbed. Everything runs on a thread with the recommended stack, as a
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


def single_thread() -> dict[str, float]:
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
    return {
        "run `40 + 2`": best_us(trivial.run, 20_000),
        "execute `40 + 2` (bytes and statistics)": best_us(trivial.execute, 20_000),
        "call a function of a script": best_us(lambda: function.call("f"), 20_000),
        "compile the 10-item handler": best_us(lambda: compile_(HANDLER), 500),
        "10-item handler, JSON in and out": best_us(lambda: handler.execute({"ctx": DOCUMENT}), 3_000),
        "10-item handler, dict in and out": best_us(lambda: handler.run({"ctx": REQUEST}), 3_000),
        "only JSON in and out": best_us(lambda: identity.execute({"ctx": DOCUMENT}), 3_000),
        "only dict in and out": best_us(lambda: identity.run({"ctx": REQUEST}), 3_000),
        "for comparison: `json.loads` and `json.dumps` of the same": python_json,
        "one host call without arguments, in a loop": (nothing - empty) / 1000,
        "one host call with two integers and an answer, in a loop": (add - empty) / 1000,
        "one element of `map` with a closure": (mapped - pad) / 10_000,
        "one property of a constant": (constant - empty) / 1000,
        "one property of a local map": (local - empty) / 1000,
    }


def per_second(script: rhai.Script, with_input: bool, threads: int, seconds: float = 0.7) -> tuple[float, float]:
    """Runs of a script on some threads: per second of the clock, and per second of processor time of one thread."""
    counts = [0] * threads
    used = [0.0] * threads
    constants = {"ctx": DOCUMENT} if with_input else None
    until = time.perf_counter() + seconds

    def work(index: int) -> None:
        began = time.thread_time()
        while time.perf_counter() < until:
            for _ in range(10):
                script.execute(constants)
            counts[index] += 10
        used[index] = time.thread_time() - began

    workers = [threading.Thread(target=work, args=(index,)) for index in range(threads)]
    started = time.perf_counter()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return sum(counts) / (time.perf_counter() - started), sum(counts) / sum(used)


def scaling() -> dict[str, float]:
    """How much more two threads get done than one; and how much of its speed a thread keeps beside another."""
    shared = engine()
    ratios = {}
    for label, source, with_input in [
        ("10-item handler", HANDLER, True),
        ("loop of 20,000 additions", "let x = 0; for i in 0..20000 { x += i; } x", False),
        ("fib(16)", "fn fib(n) { if n < 2 { n } else { fib(n - 1) + fib(n - 2) } } fib(16)", False),
    ]:
        script = shared.compile(source)
        one = [per_second(script, with_input, 1) for _ in range(3)]
        two = [per_second(script, with_input, 2) for _ in range(3)]
        ratios[f"{label}, 2 threads: runs per second against 1 thread"] = max(two)[0] / max(one)[0]
        ratios[f"{label}, 2 threads: runs per processor second against 1 thread"] = max(cpu for _, cpu in two) / max(
            cpu for _, cpu in one
        )
    return ratios


def on_big_stack(work: Callable[[], dict[str, float]]) -> dict[str, float]:
    results: list[dict[str, float]] = []
    threading.stack_size(rhai.recommended_stack_bytes(rhai.Limits()))
    thread = threading.Thread(target=lambda: results.append(work()))
    thread.start()
    thread.join()
    return results[0]


def all_rows(rounds: int = 3) -> list[tuple[str, str]]:
    times: dict[str, float] = {}
    ratios: dict[str, float] = {}
    trivial = engine().compile("40 + 2")
    for _ in range(rounds):
        found = on_big_stack(single_thread)
        threading.stack_size(0)
        found["run `40 + 2` from a thread with a small stack (handed over)"] = best_us(trivial.run, 2_000)
        times = {label: min(value, times.get(label, value)) for label, value in found.items()}
        found = on_big_stack(scaling)
        ratios = {label: max(value, ratios.get(label, value)) for label, value in found.items()}
    rows = [(label, f"{value:.2f} µs") for label, value in times.items()]
    return rows + [(label, f"{value:.2f}x") for label, value in ratios.items()]


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
