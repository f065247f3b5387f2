"""What do effects cost? Runs that write a key, cause a child, fire a trigger, and many that want one key."""

from __future__ import annotations

from harness import Stack, median, report, stack
from harness.apps import add_kv_trigger, add_script, seed
from harness.backlog import picloud, raw_dramatiq

ROUNDS = 3
ROWS = 10_000
STORM = 500

KV_SET = 'kv::collection("plain").set(ctx.execution_id, ctx.event.args)'
CHILD = 'functions::invoke("nothing", 1)'
FIRES = 'kv::collection("watched").set(ctx.execution_id, 1)'
INCREMENT = 'kv::collection("counters").increment("all")'


def main() -> None:
    measured: dict[str, list[float]] = {name: [] for name in ("raw_dramatiq", "kv_set", "child", "kv_trigger", "storm")}
    with stack() as bench:
        with bench.connect() as connection:
            seed(connection)
            add_script(connection, "nothing", "()")
            scripts = {
                "kv_set": add_script(connection, "kv_set", KV_SET),
                "child": add_script(connection, "child", CHILD),
                "kv_trigger": add_script(connection, "fires", FIRES),
                "storm": add_script(connection, "increment", INCREMENT),
            }
            add_kv_trigger(connection, "watched", "nothing")
        for _ in range(ROUNDS):
            measured["raw_dramatiq"].append(raw_dramatiq(bench, 2 * ROWS))
            for name in ("kv_set", "child", "kv_trigger"):
                measured[name].append(picloud(bench, ROWS, scripts[name]))
            measured["storm"].append(picloud(bench, STORM, scripts["storm"]))
        runs = _runs_of(bench, scripts["storm"])
    raw = median(measured["raw_dramatiq"])
    report(
        "effects",
        "runs a second that write a key, cause a child (which runs too), fire a kv trigger (whose script runs too)",
        {f"{name}_per_second": [round(value) for value in values] for name, values in measured.items()}
        | {f"{name}_ratio": round(median(measured[name]) / raw, 2) for name in ("kv_set", "child", "kv_trigger")}
        | {"storm_runs_per_increment": round(runs, 2)},
    )


def _runs_of(bench: Stack, script_id: int) -> float:
    with bench.connect() as connection:
        row = connection.execute(
            "select 1 + avg(conflicts) from executions where script_id = %s", (script_id,)
        ).fetchone()
    assert row is not None
    return float(row[0])


if __name__ == "__main__":
    main()
