"""Finds the tests of an app folder, runs each in a world of its own, and tells how they ended."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from picloud.apptests.app import AppUnderTest
from picloud.apptests.runs import identity, place_of, shown_line
from picloud.apptests.sdk import TEST
from picloud.apptests.services import LiveServices, context_of_script, context_of_test
from picloud.apptests.world import World
from picloud.engine import ScriptLimits, ScriptRunner
from picloud.engine.calls import CallFailure, FunctionRunner, Place, ScriptFunction
from picloud.errors import InvalidInputError, ScriptError
from picloud.manifest import SCRIPT_SUFFIX, Manifest
from picloud.settings import SandboxCeilings

FOLDER = "tests"
_PREFIX = "test_"

#: What a test may take, all that it runs included.
_TEST_LIMITS = ScriptLimits(timeout_seconds=60.0)


class Outcome(StrEnum):
    """How a test can end."""

    PASSED = "passed"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class TestResult:
    """How a test ended.

    Attributes:
        file: inside the app's folder.
        name: of the function; empty: the file itself cannot be used.
        line: where it failed, 1-based; 0: nowhere in particular.
        logs: of scripts and of the test, with notes about runs that failed.
    """

    __test__ = False  # for pytest, which would take it for a test of its own

    file: str
    name: str
    outcome: Outcome
    duration_ms: float
    message: str | None = None
    line: int = 0
    column: int = 0
    logs: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class FoundTest:
    """A function of a test file; or what is wrong with the file, or with the function."""

    file: str
    name: str
    line: int = 0
    problem: ScriptError | None = None


@dataclass(frozen=True, slots=True)
class Suite:
    """The tests of an app folder.

    Attributes:
        sources: of every file under ``tests``, by name (``tests/orders``), as they are compiled.
        lengths: lines of those files; what comes behind them is ours.
    """

    tests: tuple[FoundTest, ...]
    sources: Mapping[str, str]
    lengths: Mapping[str, int]
    runner: FunctionRunner

    def matching(self, pattern: str | None) -> tuple[FoundTest, ...]:
        """Those whose ``file::name`` contains a text, whatever its case; None: all."""
        if pattern is None:
            return self.tests
        return tuple(each for each in self.tests if pattern.lower() in f"{each.file}::{each.name}".lower())


def find_tests(root: Path) -> Suite:
    """The tests under ``root/tests``.

    Raises:
        InvalidInputError: a file cannot be read.
    """
    runner = FunctionRunner(SandboxCeilings(), extra=(TEST,), new_context=context_of_test)
    tests: list[FoundTest] = []
    sources: dict[str, str] = {}
    lengths: dict[str, int] = {}
    for path in _files(root):
        file = path.relative_to(root).as_posix()
        name = file.removesuffix(SCRIPT_SUFFIX)
        try:
            text = path.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidInputError(f"{path}: cannot be read: {error}") from None
        try:
            sources[name] = runner.with_globals(name, text)
            tests += [_found(file, each) for each in runner.functions(name, text) if each.name.startswith(_PREFIX)]
        except ScriptError as error:
            sources[name] = text
            tests.append(FoundTest(file, "", error.line, error))
        lengths[name] = len(text.splitlines())
    return Suite(tuple(tests), sources, lengths, runner)


def _files(root: Path) -> list[Path]:
    """Test files and what they share; neither hidden ones nor definitions for editors."""
    found = (root / FOLDER).rglob(f"*{SCRIPT_SUFFIX}")
    return sorted(
        path
        for path in found
        if not path.name.endswith(f".d{SCRIPT_SUFFIX}")
        and not any(part.startswith(".") for part in path.relative_to(root).parts)
    )


def _found(file: str, function: ScriptFunction) -> FoundTest:
    if not function.parameters:
        return FoundTest(file, function.name, function.line)
    problem = ScriptError(
        f"{function.name} has parameters ({', '.join(function.parameters)}); a test has none",
        name=file,
        line=function.line,
        column=1,
    )
    return FoundTest(file, function.name, function.line, problem)


def run_tests(
    suite: Suite, tests: tuple[FoundTest, ...], manifest: Manifest, files: Mapping[str, str]
) -> Iterator[TestResult]:
    """Run some tests of a suite, one after another.

    Args:
        files: the app's scripts, source by path.
    """
    runner = ScriptRunner(SandboxCeilings(), new_context=context_of_script)
    app = AppUnderTest(manifest, files, suite.sources, runner)
    for test in tests:
        yield _run(suite, test, app)


def _run(suite: Suite, test: FoundTest, app: AppUnderTest) -> TestResult:
    if test.problem is not None:
        problem = test.problem
        return TestResult(test.file, test.name, Outcome.FAILED, 0.0, problem.message, problem.line, problem.column)
    began = time.perf_counter()
    world = World(app)
    name = test.file.removesuffix(SCRIPT_SUFFIX)
    row = world.new_row("test", None, b"{}")
    services = LiveServices(world, identity(row, 0))
    failure = suite.runner.call(name, suite.sources[name], test.name, services, _TEST_LIMITS)
    message, place = _told(suite, app, name, failure)
    forgotten = _forgotten(world)
    if failure is None or failure.code is None:
        message = "\n".join([*([message] if message else []), *forgotten]) or None
    return TestResult(
        test.file,
        test.name,
        Outcome.PASSED if message is None else Outcome.FAILED,
        (time.perf_counter() - began) * 1_000,
        message,
        place.line if place else 0 if message is None else test.line,
        place.column if place else 0 if message is None else 1,
        tuple(shown_line(each) for each in world.journal),
    )


def _told(suite: Suite, app: AppUnderTest, name: str, failure: CallFailure | None) -> tuple[str | None, Place | None]:
    """What a failure says, and where in the test file it is."""
    if failure is None:
        return None, None
    written = [each for each in failure.places if 0 < each.line <= suite.lengths.get(each.script, each.line)]
    own = next((each for each in written if each.script == name), None)
    inner = written[0] if written else None
    if inner is None or inner == own:
        return failure.message, own
    return f"{failure.message}\n  in {app.file_of(inner.script)}:{inner.line}:{inner.column}", own


def _forgotten(world: World) -> list[str]:
    """What went wrong while the test did not look: it would pass although its app does not work."""
    said = [f"{each} was called, and no mock answers it" for each in dict.fromkeys(world.web.unanswered)]
    for failure in world.failures:
        if not (failure.is_seen or failure.is_handled):
            place = place_of(world, failure.error)
            said.append(f"{failure.row.script} failed for good, and the test did not ask test::failures(): {place}")
    return said
