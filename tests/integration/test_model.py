"""The model of the hand-over protocol, docs/model: what it promises holds, and each rule it breaks on purpose shows."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODEL = ROOT / "docs" / "model" / "handover.pml"

#: Spin preprocesses with gcc, by that name, and writes a C program.
MISSING = [tool for tool in ("spin", "gcc") if shutil.which(tool) is None]
needs_spin = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")

#: "effects happen once" and the like are searched state by state; that the row ends is searched for fair cycles.
FAIR_CYCLES = ("-a", "-f")


@dataclass(frozen=True, slots=True)
class Search:
    """What a verifier said.

    Attributes:
        story: the printed steps that lead to the error; empty when there is none.
    """

    output: str
    story: str

    @property
    def errors(self) -> int:
        found = re.search(r"errors: (\d+)", self.output)
        assert found, self.output
        return int(found[1])

    @property
    def is_exhaustive(self) -> bool:
        """Nothing was cut off and no state was taken for another one by its hash alone."""
        return "Full statespace search" in self.output and "max search depth too small" not in self.output

    @property
    def unreached(self) -> list[str]:
        """Statements of the processes that no run ever came to, but for the ends of endless loops."""
        return [
            line for line in re.findall(r"^\t(\S+, state \d+, .+)$", self.output, re.MULTILINE) if '"-end-"' not in line
        ]


def search(folder: Path, claim: str, *, broken: str | None = None) -> Search:
    """Check one claim over all states of the model, or of a broken variant of it."""
    define = [f"-D{broken}"] if broken else []
    # A broken one ends at its first error, before an optimised program would have paid for its compilation; and not far
    # down, so that the story is short and found soon.
    optimisation, depth = ("-O0", 500) if broken else ("-O2", 1_000_000)
    shutil.copy(MODEL, folder)
    _run(folder, "spin", "-a", *define, MODEL.name)
    _run(folder, "gcc", "-w", optimisation, "-o", "pan", "pan.c")
    kind = FAIR_CYCLES if claim == "ends" else ()
    output = _run(folder, "./pan", *kind, "-N", claim, f"-m{depth}", "-w22")
    has_trail = (folder / f"{MODEL.name}.trail").exists()
    return Search(output, _run(folder, "spin", "-t", *define, MODEL.name) if has_trail else "")


def _run(folder: Path, *command: str) -> str:
    done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}"
    return done.stdout


@needs_spin
@pytest.mark.parametrize("claim", ["safe", "ends"])
def test_the_protocol_keeps_its_promises_whatever_dies(claim: str, tmp_path: Path) -> None:
    found = search(tmp_path, claim)
    assert found.errors == 0, found.story
    assert found.is_exhaustive, found.output
    # A promise about steps that never happen would be worth nothing.
    assert found.unreached == []


@needs_spin
@pytest.mark.parametrize(
    ("broken", "claim", "because"),
    [
        pytest.param("NO_TOKEN", "owned", "begins the row", id="without a token, a run is settled by somebody else"),
        pytest.param(
            "NO_TOKEN", "truthful", "already", id="without a token, another's completion is taken for one's own"
        ),
        pytest.param("NO_TOKEN", "patient", "dead letter", id="without a token, one failure is counted twice"),
        pytest.param("COUNTER_TOKEN", "owned", "PostgreSQL crashes", id="a counter is issued twice"),
        pytest.param("COUNTER_TOKEN", "truthful", "PostgreSQL crashes", id="a counter misleads two workers"),
        pytest.param("PUBLISH_BEFORE_COMMIT", "ends", "begins nothing", id="a message ahead of its commit is dropped"),
        pytest.param("EFFECTS_APART", "once", "script succeeds", id="effects apart from the deletion happen twice"),
        pytest.param("EFFECTS_APART", "clean", "cancels", id="effects apart from the deletion survive a cancel"),
        pytest.param("CANCEL_KEEPS_TOKEN", "truthful", "cancels", id="a cancelled run takes itself for completed"),
    ],
)
def test_a_protocol_without_one_of_its_rules_fails(broken: str, claim: str, because: str, tmp_path: Path) -> None:
    found = search(tmp_path, claim, broken=broken)
    assert found.errors == 1, found.output
    assert "(value<=" not in found.output, "the claim was not what failed: the model ran out of tokens"
    assert because in found.story


def test_what_the_model_names_is_there() -> None:
    # Given the statements and functions that its comments name
    text = MODEL.read_text()
    statements = re.findall(r"(\w+\.sql): (\w+(?:, \w+)*)", text)
    scripts = set(re.findall(r"\b(\w+\.lua)\b", text))
    functions = set(re.findall(r"\b(\w+_v\d+)\b", text))
    assert statements
    assert scripts
    assert functions
    # Then each exists under that name
    for file, names in statements:
        known = re.findall(r"^-- name: (\w+)$", (ROOT / "picloud" / "sql" / file).read_text(), re.MULTILINE)
        assert set(names.split(", ")) <= set(known), file
    assert scripts <= {path.name for path in (ROOT / "picloud" / "lua").glob("*.lua")}
    migrations = "".join(path.read_text() for path in (ROOT / "migrations").glob("*.sql"))
    assert {name for name in functions if f"function {name}(" not in migrations} == set()
