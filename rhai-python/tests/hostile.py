"""Scripts that try to hurt the process that runs them, and a process to run them in.

Started as ``python hostile.py``: reads scripts as JSON lines, runs each under the
default limits (with a deadline of one second) and answers with one JSON line.
An abort shows as a process that ends without an answer.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from typing import Any

#: Deep enough to overflow a stack of 8 MiB in a comparison, and quick enough to build.
DEPTH = 4_500

NEST = "let a = []; for i in 0..%d { a = [a.take()]; } "
NEST_MAP = "let a = #{}; for i in 0..%d { a = #{x: a.take()}; } "
CHAIN = "let f = || 1; for i in 0..%d { let g = f; f = || g; } "
BIG = "let s = \"\"; s.pad(1000000, 'a'); "
GROW = 'let s = "abcdefgh"; loop { s += s; }'


def joined(form: str, count: int, separator: str = ",") -> str:
    return separator.join(form.replace("%d", str(i)) for i in range(count))


#: name: (hole it belongs to, script, names of the exceptions it may end with; "ok" for a result)
SCRIPTS: dict[str, tuple[str, str, str]] = {
    # recursion that is not a call level
    "eval recursion": ("eval", 'let s = "eval(s)"; eval(s)', "RhaiSyntaxError"),
    "eval by pointer": ("eval", 'let s = "1"; let f = Fn("eval"); f.call(s)', "RhaiError"),
    "eval by name": ("eval", 'call("eval", "1")', "RhaiError"),
    "curry doubling": ("curry", "let f = |x| 1; for i in 0..40 { f = f.curry(f); } 1", "RhaiSyntaxError"),
    "curry by pointer": ("curry", 'let c = Fn("curry"); let f = |x| 1; c.call(f, 1)', "RhaiError"),
    "function recursion": ("depth", "fn f(n) { f(n + 1) } f(0)", "RhaiLimitError"),
    "closure recursion": ("depth", "let f = |f, n| f.call(f, n + 1); f.call(f, 0)", "RhaiLimitError"),
    "recursion through map": ("depth", "fn f(n) { [1].map(|x| f(n + 1)) } f(0)", "RhaiLimitError"),
    "recursion through sort": ("depth", "fn f(n) { [2, 1].sort(|a, b| f(n + 1)) } f(0)", "RhaiLimitError"),
    "recursion through reduce": ("depth", "fn f(n) { [1, 2].reduce(|a, b| f(n + 1), 0) } f(0)", "RhaiLimitError"),
    "recursion through this": ("depth", "fn g() { this.g() } let x = 1; x.g()", "RhaiLimitError"),
    "recursion through for_each": ("depth", "fn f(n) { let a = [1]; a.for_each(|| f(n + 1)); } f(0)", "RhaiLimitError"),
    # callbacks and the operation count
    "nested for_each": ("operations", "let a = []; a.pad(3000, 1); a.for_each(|| { let b = []; b.pad(5000, 1); b.for_each(|| 1); });", "RhaiLimitError RhaiTimeoutError"),
    "loop in map": ("operations", "[1].map(|x| { loop {} })", "RhaiLimitError RhaiTimeoutError"),
    "loop in filter": ("operations", "[1].filter(|x| { loop {} })", "RhaiLimitError RhaiTimeoutError"),
    "loop in find": ("operations", "[1].find(|x| { loop {} })", "RhaiLimitError RhaiTimeoutError"),
    "loop in map of map": ("operations", "#{a: 1}.map(|k, v| { loop {} })", "RhaiLimitError RhaiTimeoutError"),
    "loop": ("operations", "loop {}", "RhaiLimitError RhaiTimeoutError"),
    "loop in try": ("operations", "loop { try { loop {} } catch { } }", "RhaiLimitError RhaiTimeoutError"),
    "swallowed by sort": ("sort", "let a = [3, 1, 2]; a.sort(|x, y| { loop {} }); 42", "RhaiLimitError RhaiTimeoutError"),
    "swallowed by sort at the end": ("sort", "let a = [3, 1, 2]; a.sort(|x, y| { loop {} })", "RhaiLimitError RhaiTimeoutError"),
    "swallowed by order": ("sort", "let a = [3, 1, 2]; a.order(|x, y| { loop {} })", "RhaiLimitError RhaiTimeoutError"),
    "swallowed by dedup": ("sort", "let a = [3, 1, 2]; a.dedup(|x, y| { loop {} }); 1", "RhaiLimitError RhaiTimeoutError"),
    "swallowed by interpolation": ("sort", "fn to_string() { loop {} } let a = [1]; `${a}`; 1", "ok RhaiLimitError RhaiTimeoutError"),
    "order without order": ("sort", "let a = []; for i in 0..500 { a.push(i); } let n = 0; a.sort(|x, y| { n += 1; if n % 3 == 0 { 1 } else { -1 } }); a.len()", "ok"),
    # memory
    "library stack doubling": ("memory", " ".join(f"fn f{i}(x) {{ [1].map(|y| f{i + 1}(y)) }}" for i in range(20)) + " fn f20(x) { x } f0(1)", "ok"),
    "closures of closures": ("memory", "let f = || 1; for i in 0..64 { let g = f; f = || [g, g, g]; } let r = f; for i in 0..12 { r = r.call(); } 1", "RhaiError ok"),
    "closure chain": ("memory", CHAIN % 20_000 + "1", "ok RhaiMemoryError"),
    "long closure chain": ("memory", CHAIN % 1_000_000 + "1", "RhaiMemoryError RhaiTimeoutError RhaiLimitError"),
    "array of strings": ("memory", BIG + 'let a = []; for i in 0..9000 { let t = s; t += "x"; a.push(t); } 1', "RhaiMemoryError RhaiLimitError"),
    "strings in closures": ("memory", BIG + "let f = || 1; for i in 0..9000 { let t = s; t += `${i}`; let g = f; f = || [g, t]; } 1", "RhaiMemoryError"),
    "string doubling": ("memory", GROW, "RhaiLimitError"),
    "blob growing": ("memory", "let b = blob(10000, 1); loop { b += b; }", "RhaiLimitError"),
    "array doubling": ("memory", "let a = [1]; loop { a += a; }", "RhaiLimitError"),
    "map growing": ("memory", "let m = #{}; let i = 0; loop { m[`k${i}`] = i; i += 1; }", "RhaiLimitError"),
    "nested doubling": ("memory", "let a = [1]; loop { a = [a, a]; }", "RhaiLimitError"),
    "array padded with arrays": ("memory", "let a = []; a.pad(100, 1); let b = []; b.pad(9000, a); 1", "RhaiLimitError"),
    "cycle": ("memory", "for i in 0..3000 { let x = #{}; let f = || x; x.f = f; } 1", "ok"),
    "huge blob": ("memory", "blob(9223372036854775807, 0)", "RhaiLimitError"),
    "huge range": ("memory", "let t = 0; for i in 0..9223372036854775807 { t += 1; } t", "RhaiLimitError RhaiTimeoutError"),
    "range to array": ("memory", "let a = []; for i in range(0, 9223372036854775807, 1) { a.push(i); } 1", "RhaiLimitError"),
    # deep nesting
    "nest and drop": ("nesting", NEST % DEPTH + "1", "ok "),
    "nest and compare": ("nesting", NEST % DEPTH + "a == a", "ok "),
    "nest and contain": ("nesting", NEST % DEPTH + "[a].contains(a)", "ok RhaiError"),
    "nest and find": ("nesting", NEST % DEPTH + "[a].index_of(a)", "ok RhaiError"),
    "nest and dedup": ("nesting", NEST % DEPTH + "let b = [a, a]; b.dedup(); 1", "ok RhaiError"),
    "nest and print": ("nesting", NEST % DEPTH + "print(a); 1", "RhaiLimitError "),
    "nest and interpolate": ("nesting", NEST % DEPTH + "`${a}`.len", "RhaiLimitError "),
    "nest and debug": ("nesting", NEST % DEPTH + "debug(a); 1", "RhaiLimitError "),
    "nest and to_debug": ("nesting", NEST % DEPTH + "a.to_debug().len", "RhaiLimitError "),
    "nest and add": ("nesting", NEST % DEPTH + '"" + a', "RhaiLimitError "),
    "nest and return": ("nesting", NEST % DEPTH + "a", "RhaiLimitError "),
    "nest and throw": ("nesting", NEST % DEPTH + "throw a", "RhaiThrow "),
    "nest and json": ("nesting", NEST % DEPTH + "json::stringify(a)", "RhaiLimitError "),
    "nest and index": ("nesting", NEST % DEPTH + "let m = #{}; m[a]", "RhaiError"),
    "nest and switch": ("nesting", NEST % DEPTH + "switch a { 1 => 2, _ => 3 }", "ok RhaiError"),
    "nest and capture": ("nesting", NEST % DEPTH + "let f = || a; f", "ok "),
    "nest maps and compare": ("nesting", NEST_MAP % DEPTH + "a == a", "ok "),
    "nest maps and print": ("nesting", NEST_MAP % DEPTH + "print(a)", "RhaiLimitError "),
    "nest maps and to_json": ("nesting", NEST_MAP % DEPTH + "a.to_json()", "RhaiLimitError"),
    "chain and return": ("nesting", CHAIN % 100_000 + "f", "ok RhaiMemoryError "),
    # formatting what a function pointer captured
    "chain and print": ("pointers", CHAIN % 100_000 + "print(f); 1", "ok RhaiMemoryError RhaiTimeoutError"),
    "chain and to_string": ("pointers", CHAIN % 100_000 + "f.to_string().len", "ok RhaiMemoryError RhaiTimeoutError"),
    "chain and to_debug": ("pointers", CHAIN % 100_000 + "`${[f]}`.len + f.to_debug().len", "ok RhaiMemoryError RhaiTimeoutError"),
    "chain and throw": ("pointers", CHAIN % 100_000 + "throw f", "RhaiThrow RhaiMemoryError RhaiTimeoutError"),
    "chain and json": ("pointers", CHAIN % 20_000 + "#{f: f}.to_json()", "RhaiError"),
    "chain and compare": ("pointers", CHAIN % 20_000 + "f == f", "RhaiError ok"),
    # sizes that are checked after the fact
    "replace": ("strings", BIG + 's.replace("a", s); 1', "RhaiLimitError"),
    "replace a character": ("strings", BIG + "s.replace('a', \"" + "b" * 500 + '"); 1', "RhaiLimitError"),
    "replace the empty string": ("strings", BIG + 's.replace("", s); 1', "RhaiLimitError"),
    "pad with wide characters": ("strings", "let s = \"\"; s.pad(1000000, '\U0001f600'); s.len", "RhaiLimitError"),
    "pad with a wide string": ("strings", 'let s = ""; s.pad(1000000, "\U0001f600\U0001f600"); s.len', "RhaiLimitError"),
    "pad with nothing": ("strings", 'let s = "x"; s.pad(1000000, ""); s.len', "ok"),
    "pad to the end of the world": ("strings", "let s = \"\"; s.pad(9223372036854775807, 'x'); 1", "RhaiLimitError"),
    "split": ("strings", BIG + 's.split("").len', "RhaiLimitError"),
    "split at a character": ("strings", BIG + "s.split('a').len", "RhaiLimitError"),
    "split in segments": ("strings", BIG + 's.split("a", 9223372036854775807).len', "RhaiLimitError"),
    "split from the end": ("strings", BIG + 's.split_rev("a").len', "RhaiLimitError"),
    "split at spaces": ("strings", "let s = \"\"; s.pad(1000000, \"a \"); s.split().len", "RhaiLimitError"),
    "to_chars": ("strings", BIG + "s.to_chars().len", "RhaiLimitError"),
    "to_string of many strings": ("strings", BIG + "let a = []; for i in 0..5 { a.push(s); } a.to_string().len", "RhaiLimitError"),
    "to_blob": ("strings", BIG + "s.to_blob().len", "RhaiLimitError"),
    "sleep": ("sleep", "sleep(100000)", "RhaiRuntimeError"),
    "sleep forever": ("sleep", "sleep(1e300)", "RhaiRuntimeError"),
    "sleep by pointer": ("sleep", 'let f = Fn("sleep"); f.call(100000)', "RhaiRuntimeError"),
    # JSON that is code
    "parse_json calls": ("json", 'parse_json("{\\"a\\": host::fire(5)}")', "RhaiRuntimeError"),
    "parse_json computes": ("json", 'parse_json("{\\"a\\": 2*21}")', "RhaiRuntimeError"),
    "parse_json calls a closure": ("json", 'parse_json("{\\"a\\": (|| 5).call()}")', "RhaiRuntimeError"),
    "json too deep": ("json", "let s = \"\"; s.pad(100000, \"[\"); json::parse(s)", "RhaiLimitError"),
    "json with many values": ("json", "let s = \"1\"; s.pad(800001, \",1\"); json::parse(\"[\" + s + \"]\").len", "RhaiLimitError"),
    # callbacks with many captured variables
    "captures and map": ("callbacks", joined("let v%d = %d;", 20, " ") + " let a = []; a.pad(2000, 1); a.map(|x| x + " + joined("v%d", 20, "+") + "); 1", "ok"),
    "captures and filter": ("callbacks", joined("let v%d = %d;", 20, " ") + " let a = []; a.pad(2000, 1); a.filter(|x| x > " + joined("v%d", 20, "+") + "); 1", "ok"),
    "captures and reduce": ("callbacks", joined("let v%d = %d;", 20, " ") + " let a = []; a.pad(2000, 1); a.reduce(|s, x| s + x + " + joined("v%d", 20, "+") + ", 0)", "ok"),
    "captures and retain": ("callbacks", joined("let v%d = %d;", 20, " ") + " let a = []; a.pad(2000, 1); a.retain(|x| x > " + joined("v%d", 20, "+") + "); 1", "ok"),
    "captures and this": ("callbacks", joined("let v%d = %d;", 20, " ") + " let a = []; a.pad(2000, 1); a.for_each(|| this += " + joined("v%d", 20, "+") + "); 1", "ok"),
    # sources
    "call with 30,000 arguments": ("source", f"nosuch({joined('1', 30_000)})", "RhaiSourceLimitError"),
    "method with 20,000 arguments": ("source", f"let a = []; a.nosuch({joined('1', 20_000)})", "RhaiSourceLimitError"),
    "call of a pointer with 20,000 arguments": ("source", f"let f = Fn(\"x\"); f.call({joined('1', 20_000)})", "RhaiSourceLimitError"),
    "unknown function with 30 arguments": ("source", f"let n = 0; for i in 0..100 {{ try {{ nosuch({joined('i', 30)}); }} catch {{ n += 1; }} }} n", "ok RhaiTimeoutError"),
    "function with many parameters": ("source", f"fn f({joined('p%d', 8000)}) {{ 1 }} 1", "RhaiSourceLimitError"),
    "map with many keys": ("source", f"let m = #{{{joined('k%d:1', 6500)}}}; 1", "ok RhaiSourceLimitError"),
    "many cases": ("source", f"switch 1 {{{joined('%d=>1', 7000)}}}", "ok RhaiSourceLimitError"),
    "many variables": ("source", joined("let v%d=1", 4500, ";"), "RhaiLimitError"),
    "many exports": ("source", joined("let e%x=1;".replace("%x", "%d"), 2500, "") + joined("export e%d;", 2000, ""), "RhaiError"),
    "source of a megabyte": ("source", "1;" * 500_000, "RhaiSourceLimitError"),
    "long string": ("source", 'let s = "' + "a" * 65_000 + '"; s.len', "ok"),
    "long addition": ("source", "1" + "+1" * 30_000, "ok RhaiSyntaxError RhaiLimitError"),
    "long concatenation": ("source", "let a = 1; a" + "+a" * 30_000, "ok RhaiSyntaxError RhaiLimitError"),
    "long and": ("source", "let a = true; a" + "&&a" * 20_000, "ok RhaiSyntaxError RhaiLimitError"),
    "long coalescing": ("source", "let a = (); a" + "??a" * 20_000, "ok RhaiSyntaxError RhaiLimitError"),
    "long chain of properties": ("source", "let a = #{}; a" + "?.a" * 20_000, "ok RhaiSyntaxError RhaiLimitError"),
    "long chain of indexes": ("source", "let a = [1]; a" + "[0]" * 20_000, "RhaiError"),
    "long chain of calls": ("source", "let a = 1; a" + ".abs()" * 10_000, "ok RhaiSyntaxError RhaiLimitError"),
    "long else if": ("source", "if false {}" + "else if false {}" * 4_000, "ok RhaiSyntaxError RhaiLimitError"),
    "deep parentheses": ("source", "(" * 30_000 + "1" + ")" * 30_000, "RhaiSyntaxError"),
    "deep brackets": ("source", "[" * 30_000, "RhaiSyntaxError"),
    "deep blocks": ("source", "{" * 30_000, "RhaiSyntaxError"),
    "deep negation": ("source", "-" * 30_000 + "1", "RhaiSyntaxError RhaiLimitError"),
    "deep not": ("source", "!" * 30_000 + "true", "RhaiSyntaxError RhaiLimitError"),
    "deep closures": ("source", "|x|" * 20_000 + "1", "RhaiSyntaxError"),
    "deep interpolation": ("source", "`${" * 10_000, "RhaiSyntaxError"),
    "deep comments": ("source", "/*" * 30_000, "RhaiSyntaxError ok"),
    "deep maps": ("source", "#{a:" * 15_000, "RhaiSyntaxError"),
    "deep assignment": ("source", "let a = 1; " + "a=" * 20_000 + "1", "RhaiSyntaxError RhaiLimitError ok"),
    "deep functions": ("source", "fn f(){" * 8_000, "RhaiSyntaxError"),
    "deep if": ("source", "if true {" * 7_000, "RhaiSyntaxError"),
    "deep try": ("source", "try {" * 10_000, "RhaiSyntaxError"),
    # input and output
    "import a file": ("files", 'import "/etc/hostname" as x; 1', "RhaiNameError"),
    "import a script": ("files", 'import "hostile" as x; 1', "RhaiNameError"),
    "print too much": ("output", BIG + "loop { print(s); }", "RhaiOutputLimitError"),
    "debug too much": ("output", BIG + "loop { debug(s); }", "RhaiOutputLimitError"),
    "print often": ("output", 'loop { print("x"); }', "RhaiOutputLimitError RhaiLimitError RhaiTimeoutError"),
    # looking like a limit, or hiding one
    "throw like a limit": ("throw", 'throw "ErrorTooManyOperations"', "RhaiThrow"),
    "throw in a loop": ("throw", 'loop { try { throw "x" } catch { } }', "RhaiLimitError RhaiTimeoutError"),
    "catch a limit": ("throw", 'try { let s = "x"; loop { s += s; } } catch (e) { 42 }', "RhaiLimitError"),
    "locked variable": ("throw", "let arr = [1, 2]; let f = |v| arr.len(); arr.map(|v| { arr.push(1); arr.len() })", "RhaiError ok"),
    "locked in a loop": ("throw", "let a = [1]; let n = 0; for i in 0..1000 { try { a.map(|v| { a.push(1) }) } catch { n += 1; } } n", "RhaiTimeoutError RhaiError ok"),
    "exit in a callback": ("throw", "[1].map(|x| exit(5)); 1", "ok"),
    "exit in sort": ("throw", "[1, 2].sort(|a, b| exit(5)); 1", "ok"),
    "shifts": ("throw", "1 << 9223372036854775807", "ok RhaiArithmeticError"),
    "smallest integer": ("throw", "let x = -9223372036854775807 - 1; -x", "RhaiArithmeticError"),
    "power": ("throw", "9223372036854775807 ** 9223372036854775807", "RhaiArithmeticError"),
    "bit fields": ("throw", "let x = 1; x[-9223372036854775807..=9223372036854775807] = 5", "RhaiError ok"),
    "string slices": ("throw", 'let s = "héllo"; s[-9223372036854775807..9223372036854775807] = "x"; s', "RhaiError ok"),
    "array splice": ("throw", "let a = [1, 2]; a.splice(-9223372036854775807, 9223372036854775807, [1]); a", "RhaiError ok"),
    "blob numbers": ("throw", "let b = blob(8, 255); b.parse_le_int(-9223372036854775807, 9223372036854775807)", "RhaiError ok"),
}  # fmt: skip


def attempt(engine: Any, script: str, seconds: float, host_calls: list[int]) -> dict[str, Any]:
    """Run one and say how it ended."""
    import rhai

    host_calls.clear()
    started = time.perf_counter()
    stats = None
    try:
        outcome = engine.compile(script).execute(limits=rhai.Limits(timeout_seconds=seconds))
        classes, stats = ["ok"], outcome.stats
    except rhai.RhaiError as error:
        classes, stats = [cls.__name__ for cls in type(error).__mro__], error.stats
        if error.kind == "ResultNotUsable":
            # The script ended well; a closure has no JSON form.
            classes.append("ok")
    return {
        "classes": classes,
        "seconds": time.perf_counter() - started,
        "peak_bytes": stats.peak_bytes if stats else 0,
        "leaked_bytes": stats.leaked_bytes if stats else 0,
        "host_calls": len(host_calls),
    }


def serve() -> None:
    import rhai

    calls: list[int] = []
    module = rhai.Module("host")
    module.fn(calls.append, name="fire")
    engine = rhai.Engine(modules=[module])
    for line in sys.stdin:
        script, seconds = json.loads(line)
        print(json.dumps(attempt(engine, script, seconds, calls)), flush=True)


if __name__ == "__main__":
    import rhai

    if "--own-stack" in sys.argv:
        # As the platform does: the thread has the stack, so nothing is handed to another one.
        threading.stack_size(rhai.recommended_stack_bytes(rhai.Limits()))
        thread = threading.Thread(target=serve)
        thread.start()
        thread.join()
    else:
        serve()
