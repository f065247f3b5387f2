"""An app folder of a few lines, and its tests run as ``picloud test`` runs them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from picloud.apptests import TestResult, find_tests, run_tests
from picloud.cli.app_folder import examine

RunApp = Callable[..., list[TestResult]]


@pytest.fixture
def run_app(tmp_path: Path) -> RunApp:
    """Run test functions against an app: a manifest without its ``[app]``, and scripts by name."""

    def run(tests: str, manifest: str = "", scripts: Mapping[str, str] | None = None) -> list[TestResult]:
        files = {"picloud.toml": f'[app]\nname = "demo"\n{manifest}', "tests/some.rhai": tests}
        files |= {f"scripts/{name}.rhai": source for name, source in (scripts or {}).items()}
        for path, text in files.items():
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_text(text)
        folder, problems = examine(tmp_path)
        assert folder is not None, problems
        suite = find_tests(tmp_path)
        return list(run_tests(suite, suite.tests, folder.manifest, folder.files))

    return run


@pytest.fixture
def passes(run_app: RunApp) -> Callable[..., TestResult]:
    """Run the statements of one test, which passes."""

    def run(statements: str, manifest: str = "", scripts: Mapping[str, str] | None = None) -> TestResult:
        (result,) = run_app(f"fn test_it() {{ {statements} }}", manifest, scripts)
        assert result.message is None, result
        return result

    return run


@pytest.fixture
def fails(run_app: RunApp) -> Callable[..., str]:
    """Run the statements of one test, which fails; its message."""

    def run(statements: str, manifest: str = "", scripts: Mapping[str, str] | None = None) -> str:
        (result,) = run_app(f"fn test_it() {{ {statements} }}", manifest, scripts)
        assert result.message is not None
        return result.message

    return run
