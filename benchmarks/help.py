"""How long until a help text begins: of ``picloud`` and its commands, beside an empty Python and an import of click?"""

from __future__ import annotations

import os
import subprocess
import sys
import time

from harness import ROOT, median, report

ROUNDS = 21
_PICLOUD = "from picloud.cli.main import main; main()"
#: What is run, by name. The first two are what no help of a click program can go below.
PROGRAMS = {
    "python -c pass": ("pass",),
    "python -c 'import click'": ("import click",),
    "picloud --help": (_PICLOUD, "--help"),
    "picloud deploy --help": (_PICLOUD, "deploy", "--help"),
    "picloud top --help": (_PICLOUD, "top", "--help"),
    "picloud dead-letters replay --help": (_PICLOUD, "dead-letters", "replay", "--help"),
}


def first_byte_ms(code: str, *arguments: str) -> float:
    """Milliseconds from the start of a process to its first byte; to its end, where it prints nothing."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    started = time.perf_counter()
    with subprocess.Popen([sys.executable, "-c", code, *arguments], env=environment, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.read(1)
        return (time.perf_counter() - started) * 1_000


def main() -> None:
    for program in PROGRAMS.values():
        first_byte_ms(*program)  # bytecode is compiled, files are in memory
    # One of each in turn, so that what else the machine does falls on all of them alike.
    rounds = [{name: first_byte_ms(*program) for name, program in PROGRAMS.items()} for _ in range(ROUNDS)]
    medians = {name: median([each[name] for each in rounds]) for name in PROGRAMS}
    click = medians["python -c 'import click'"]
    measured: dict[str, object] = {
        name: {"median_ms": round(value, 1), "ratio_to_click": round(value / click, 2)}
        for name, value in medians.items()
    }
    report("help", f"milliseconds to the first byte of help, the median of {ROUNDS}", measured)


if __name__ == "__main__":
    main()
