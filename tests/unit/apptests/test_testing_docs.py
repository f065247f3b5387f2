"""docs/testing.md says what is so."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from picloud.apptests import TestResult
from picloud.apptests.__main__ import render_page
from picloud.apptests.sdk import TEST

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "testing.md").read_text()


def test_the_page_is_up_to_date() -> None:
    assert render_page(PAGE) == PAGE, "run python -m picloud.apptests"


def test_every_function_is_on_the_page() -> None:
    shown = set(re.findall(r"^### `(?:test::)?(\w+)`", PAGE, re.MULTILINE))
    assert shown == {each.name for each in TEST.functions}


def test_every_example_compiles(run_app: Callable[..., list[TestResult]]) -> None:
    examples = [each.doc.example for each in TEST.functions if each.doc.example]
    assert examples
    for example in examples:
        assert run_app(f"fn helper() {{ {example} }}") == []
