"""docs/scripts.md: its generated parts are what would be generated, and the rest is true."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from picloud.engine import Run, ScriptLimits, ScriptRunner, check_script
from picloud.engine.limits import DEFAULT_TIMEOUT_SECONDS, LIMIT_NAMES, MAX_LOG_BYTES
from picloud.engine.sdk.ctx import CTX, EVENTS, REQUEST
from picloud.engine.sdk.definitions import render_definitions
from picloud.engine.sdk.description import SdkModule
from picloud.engine.sdk.library import MODULES
from picloud.engine.sdk.reference import render_page
from picloud.settings import SandboxCeilings
from tests.unit.engine.sdk.scripts import EXECUTION, KEY

FILE = Path(__file__).resolve().parents[4] / "docs" / "scripts.md"
PAGE = FILE.read_text("utf-8")
PROSE = re.sub(r"<!-- generated: (\w+) -->.*?<!-- end of \1 -->", "", PAGE, flags=re.DOTALL)


def test_the_page_is_up_to_date() -> None:
    assert render_page(PAGE) == PAGE, "write it again with: python -m picloud.engine.sdk"


def test_every_function_has_its_place() -> None:
    headings = re.findall(r"^### `(.+)`$", PAGE, re.MULTILINE)
    expected: list[str] = []
    for module in MODULES:
        expected += [("" if each.is_global else f"{module.name}::") + each.name for each in module.functions]
        for host_type in module.types:
            expected.append(host_type.name)
            expected += [f"{host_type.name.lower()}.{each.name}" for each in (*host_type.getters, *host_type.methods)]
    assert headings == expected


@pytest.mark.parametrize("missing", ["<!-- generated: ctx -->", "<!-- end of modules -->"])
def test_a_page_without_one_of_its_parts_is_not_written(missing: str) -> None:
    with pytest.raises(ValueError, match="the page has the generated parts"):
        render_page(PAGE.replace(missing, ""))


def test_the_command_writes_the_page_again(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE.replace("- `op`", "- `opp`"), "utf-8")
    subprocess.run([sys.executable, "-m", "picloud.engine.sdk", str(page)], check=True)
    assert page.read_text("utf-8") == PAGE
    command = [sys.executable, "-m", "picloud.engine.sdk", "--definitions"]
    printed = subprocess.run(command, check=True, capture_output=True, text=True, encoding="utf-8")
    assert printed.stdout == render_definitions()


@pytest.mark.parametrize("script", re.findall(r"```rhai\n(.*?)```", PROSE, re.DOTALL))
def test_every_script_of_the_page_compiles(script: str) -> None:
    check_script("page", script)


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.name)
def test_every_example_can_be_copied(module: SdkModule) -> None:
    functions = [*module.functions, *(each for host_type in module.types for each in host_type.methods)]
    for function in functions:
        check_script(function.name, function.doc.example)


def ran(source: str, *, kind: str = "http", is_sync: bool = True, body: bytes | None = None) -> dict[str, object]:
    runner = ScriptRunner(SandboxCeilings())
    runner.prepare(KEY, "page", source)
    event = {
        "method": "POST",
        "path": "/",
        "params": {},
        "query": {},
        "headers": {},
        "content_type": "application/json",
    }
    encoded = b'{"args":1}' if kind == "invoke" else json.dumps(event).encode()
    run = Run(EXECUTION, EXECUTION, "shop", "page", 1, kind, None, "ada", 0, 1, is_sync, encoded, body)
    result = runner.run(KEY, run, ScriptLimits())
    assert result.failure is None, result.failure
    assert result.data is not None
    found: dict[str, object] = json.loads(result.data)
    return found


def test_the_script_at_the_top_works() -> None:
    script = re.search(r"```rhai\n(.*?)```", PROSE, re.DOTALL)
    assert script is not None
    order = {"customer": "Ada", "items": [{"qty": 2, "price": 1.5}, {"qty": 1, "price": 10}]}
    assert ran(script[1], body=json.dumps(order).encode())["total"] == 13.0


def test_ctx_has_the_members_that_are_described_and_no_others() -> None:
    keys = ran("#{ ctx: ctx.keys(), request: ctx.request.keys(), event: ctx.event.keys() }", is_sync=False)
    assert sorted(keys["ctx"]) == sorted(each.name for each in CTX.members)  # type: ignore[call-overload]
    assert sorted(keys["request"]) == sorted(each.name for each in REQUEST.members)  # type: ignore[call-overload]
    assert sorted(keys["event"]) == sorted(each.name for each in EVENTS["http"].members)  # type: ignore[call-overload]
    keys = ran("#{ event: ctx.event.keys(), request: ctx.request }", kind="invoke")
    assert sorted(keys["event"]) == sorted(each.name for each in EVENTS["invoke"].members)  # type: ignore[call-overload]
    assert keys["request"] is None


def test_the_limits_are_those_there_are() -> None:
    listed = dict(re.findall(r"^\| `(\w+)` \| ([\d,]+) \|", PROSE, re.MULTILINE))
    assert tuple(listed) == LIMIT_NAMES
    ceilings = SandboxCeilings()
    assert {name: int(number.replace(",", "")) for name, number in listed.items()} == {
        name: DEFAULT_TIMEOUT_SECONDS if name == "timeout_seconds" else getattr(ceilings, name) for name in LIMIT_NAMES
    }
    assert f"at most {ceilings.max_timeout_seconds:g}" in PROSE
    assert f"the log of one run {MAX_LOG_BYTES // 1024} KiB" in " ".join(PROSE.split())
