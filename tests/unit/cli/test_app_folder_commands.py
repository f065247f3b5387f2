"""init, check and deploy: an app folder from nothing to a server."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from picloud.cli.app_folder import examine
from picloud.engine.sdk import render_definitions
from picloud.manifest import load_manifest
from tests.unit.cli.conftest import CommandLine, FakeServer

PLAN = {"app": "demo", "dry_run": False, "unchanged": False, "revision": 2, "changes": []}


@pytest.fixture(autouse=True)
def in_its_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def demo(picloud: CommandLine, tmp_path: Path) -> Path:
    assert picloud("init", "demo").exit_code == 0
    return tmp_path / "demo"


# init


def test_a_new_folder_holds_an_app_that_is_fine(picloud: CommandLine, demo: Path) -> None:
    files = sorted(path.relative_to(demo).as_posix() for path in demo.rglob("*") if path.is_file())
    assert files == [
        "events/order.json",
        "picloud.d.rhai",
        "picloud.toml",
        "scripts/flaky.rhai",
        "scripts/hello.rhai",
        "scripts/orders.rhai",
        "tests/hello.rhai",
    ]
    assert load_manifest(demo / "picloud.toml").app == "demo"
    json.loads((demo / "events/order.json").read_text())
    assert (demo / "picloud.d.rhai").read_text("utf-8") == render_definitions()
    result = picloud("check", "demo")
    assert result.exit_code == 0, result.output
    assert result.stderr == "demo: 3 scripts and the manifest are fine\n"


def test_the_next_steps_name_the_server_a_deploy_would_go_to(picloud: CommandLine) -> None:
    assert "curl http://server.test/@shop/hello/you" in picloud("init", "shop").stderr
    picloud.environ = {"PICLOUD_CONFIG": picloud.environ["PICLOUD_CONFIG"]}
    assert "curl http://127.0.0.1:8000/@other/hello/you" in picloud("init", "other").stderr


@pytest.mark.parametrize(
    ("folder", "app"), [("My Shop", "my-shop"), ("--a--", "a"), ("ü", "app"), ("a" * 80, "a" * 63)]
)
def test_the_app_is_called_as_the_folder_as_far_as_a_host_name_can_be(
    picloud: CommandLine, tmp_path: Path, folder: str, app: str
) -> None:
    assert picloud("init", "--", folder).exit_code == 0
    assert load_manifest(tmp_path / folder / "picloud.toml").app == app


def test_another_name_may_be_chosen_but_not_any(picloud: CommandLine, tmp_path: Path) -> None:
    assert picloud("init", "x", "--name", "shop").exit_code == 0
    assert load_manifest(tmp_path / "x" / "picloud.toml").app == "shop"
    result = picloud("init", "y", "--name", "My Shop")
    assert result.exit_code == 1
    assert "'My Shop' cannot be a host name" in result.stderr
    assert not (tmp_path / "y").exists()


def test_what_is_there_is_never_overwritten(picloud: CommandLine, demo: Path) -> None:
    mine = demo / "scripts" / "hello.rhai"
    mine.write_text("mine")
    (demo / "picloud.toml").unlink()
    result = picloud("init", "demo")
    assert result.exit_code == 6
    assert "is there already" in result.stderr
    assert mine.read_text() == "mine"
    assert not (demo / "picloud.toml").exists()


# check


def write_manifest(demo: Path, text: str) -> None:
    (demo / "picloud.toml").write_text(f'[app]\nname = "demo"\n{text}')


def test_each_problem_has_its_file_line_column_and_an_excerpt(picloud: CommandLine, demo: Path) -> None:
    write_manifest(demo, '[[route]]\nmethod = "GTE"\npath = "/"\nscript = "scripts/hello.rhai"\n')
    (demo / "scripts" / "hello.rhai").write_text("let a = 1;\n\tlet b = 2 let c;\n")
    result = picloud("check", "demo")
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    assert lines[0].startswith("demo/picloud.toml:4:10: route[1].method: 'GTE' is not one of GET")
    assert lines[1:3] == ['    4 | method = "GTE"', "      |          ^^^^^"]
    assert lines[3].startswith("demo/scripts/hello.rhai:2:12: ")
    assert lines[4:6] == ["    2 |  let b = 2 let c;".replace("|  ", "| \t"), "      | \t          ^"]
    assert result.stderr == "error: 2 problems in 2 files\n"


def test_a_manifest_that_is_no_toml_hides_no_script(picloud: CommandLine, demo: Path) -> None:
    write_manifest(demo, "port = eighty\n")
    (demo / "scripts" / "hello.rhai").write_text("let")
    lines = picloud("check", "demo").stdout.splitlines()
    assert lines[:3] == [
        "demo/picloud.toml:3:8: eighty is not a value: a string needs quotes",
        "    3 | port = eighty",
        "      |        ^^^^^^",
    ]
    assert lines[3].startswith("demo/scripts/hello.rhai:1:4: ")


def test_an_import_of_a_script_that_is_not_there_is_a_warning(picloud: CommandLine, demo: Path) -> None:
    (demo / "scripts" / "lib").mkdir()
    (demo / "scripts" / "lib" / "text.rhai").write_text("1")
    source = """// import "comment";
let a = "import \\"string\\";"; import "lib/text" as one;
import "lib/txt" as two; import "scripts/lib/text.rhai" as three; `import "template" as x;`
"""
    (demo / "scripts" / "hello.rhai").write_text(source)
    result = picloud("check", "demo")
    assert result.exit_code == 0
    assert [line for line in result.stdout.splitlines() if not line.startswith("  ")] == [
        ("demo/scripts/hello.rhai:3:8: warning: the app has no script 'lib/txt' to import (did you mean lib/text?)"),
        (
            "demo/scripts/hello.rhai:3:33: warning: the app has no script 'scripts/lib/text.rhai' to import"
            " (did you mean lib/text?)"
        ),
    ]
    assert "      |        ^^^^^^^^^\n" in result.stdout
    assert result.stderr == "demo: 4 scripts and the manifest are fine, with 2 warnings\n"


def test_a_script_that_nothing_names_is_a_warning(picloud: CommandLine, demo: Path) -> None:
    for name in ("alone", "imported", "invoked"):
        (demo / "scripts" / f"{name}.rhai").write_text(f'"{name}"')
    (demo / "scripts" / "hello.rhai").write_text('import "imported" as i; functions::invoke("invoked", ());')
    (warning,) = json.loads(picloud("check", "demo", "--json").stdout)
    assert (warning["file"], warning["severity"]) == ("demo/scripts/alone.rhai", "warning")
    assert "nothing in this folder runs alone" in warning["message"]


def test_problems_are_one_json_document_too(picloud: CommandLine, demo: Path) -> None:
    (demo / "scripts" / "hello.rhai").write_text("let")
    (problem,) = json.loads(picloud("check", "demo", "--json").stdout)
    assert problem.pop("message")
    place = {"file": "demo/scripts/hello.rhai", "line": 1, "column": 4, "end_column": 0}
    assert problem == {**place, "severity": "error"}
    (demo / "scripts" / "hello.rhai").write_text("1")
    assert picloud("check", "demo", "--json").stdout == "[]\n"


def test_a_file_the_manifest_names_must_be_there(picloud: CommandLine, demo: Path) -> None:
    (demo / "scripts" / "flaky.rhai").unlink()
    result = picloud("check", "demo")
    assert result.exit_code == 1
    assert [line.partition(" ")[0] for line in result.stdout.splitlines() if ": " in line] == [
        "demo/picloud.toml:23:10:",
        "demo/picloud.toml:29:8:",
    ]
    assert "route[3].script: scripts/flaky.rhai does not exist\n" in result.stdout


def test_a_file_that_is_nearly_there_is_suggested(picloud: CommandLine, demo: Path) -> None:
    write_manifest(demo, '[[script]]\nfile = "scripts/helo.rhai"\n')
    assert "script[1].file: scripts/helo.rhai does not exist (did you mean scripts/hello.rhai?)" in (
        picloud("check", "demo").stdout
    )


def test_two_files_cannot_share_a_name(picloud: CommandLine, demo: Path) -> None:
    text = (demo / "picloud.toml").read_text()
    (demo / "picloud.toml").write_text(text.replace('name = "flaky"', 'name = "hello2"'))
    (demo / "scripts" / "hello2.rhai").write_text("1")
    result = picloud("check", "demo")
    assert "hello2.rhai:1:1: scripts/flaky.rhai and scripts/hello2.rhai would both be called 'hello2'" in result.stdout


def test_a_script_that_is_not_text_is_told(picloud: CommandLine, demo: Path) -> None:
    (demo / "scripts" / "hello.rhai").write_bytes(b"// \xff")
    assert "demo/scripts/hello.rhai:1:4: is not UTF-8 text (byte 3)" in picloud("check", "demo").stdout


def test_a_folder_without_a_manifest_is_no_app(picloud: CommandLine, tmp_path: Path) -> None:
    result = picloud("check")
    assert result.exit_code == 1
    assert result.stderr == "error: picloud.toml: no such file\nhint: `picloud init DIR` makes an app folder\n"


def test_only_scripts_are_deployed(demo: Path) -> None:
    """Tests, definitions and what editors leave behind stay where they are."""
    for name in (
        "tests/a.rhai",
        "scripts/.hidden.rhai",
        "scripts/.git/x.rhai",
        "scripts/lib/util.rhai",
        "scripts/x.d.rhai",
    ):
        (demo / name).parent.mkdir(parents=True, exist_ok=True)
        (demo / name).write_text("1")
    folder, problems = examine(demo)
    assert problems == []
    assert folder is not None
    assert sorted(folder.files) == [
        "scripts/flaky.rhai",
        "scripts/hello.rhai",
        "scripts/lib/util.rhai",
        "scripts/orders.rhai",
    ]


# deploy


def test_a_deploy_sends_the_manifest_and_every_script(picloud: CommandLine, server: FakeServer, demo: Path) -> None:
    server.on("POST", "/apps/demo/deploy", PLAN)
    assert picloud("deploy", "demo").exit_code == 0
    (body,) = server.bodies
    assert body["manifest"] == load_manifest(demo / "picloud.toml").to_data()
    assert body["files"]["scripts/hello.rhai"] == (demo / "scripts/hello.rhai").read_text()
    assert body["dry_run"] is False


def test_the_plan_is_printed_like_a_diff(picloud: CommandLine, server: FakeServer, demo: Path) -> None:
    changes = [
        {"action": "create", "kind": "script", "name": "hello"},
        {"action": "update", "kind": "route", "name": "GET /", "note": "script a → b"},
        {"action": "delete", "kind": "script", "name": "old\x1b[2J"},
    ]
    server.on("POST", "/apps/demo/deploy", {**PLAN, "changes": changes, "dry_run": True})
    result = picloud("deploy", "demo", "--dry-run")
    assert result.stdout.splitlines() == ["+ script hello", "~ route  GET /  script a → b", "- script old\\x1b[2J"]
    assert result.stderr == "demo: 3 changes planned, none made\n"
    assert server.bodies[0]["dry_run"] is True


def test_deploying_the_same_again_says_that_there_is_nothing_to_change(
    picloud: CommandLine, server: FakeServer, demo: Path
) -> None:
    server.on("POST", "/apps/demo/deploy", {**PLAN, "unchanged": True})
    result = picloud("deploy", "demo")
    assert result.exit_code == 0
    assert result.stdout == "demo: nothing to change\n"


def test_the_plan_is_one_json_document_too(picloud: CommandLine, server: FakeServer, demo: Path) -> None:
    server.on("POST", "/apps/demo/deploy", PLAN)
    assert json.loads(picloud("deploy", "demo", "--json").stdout) == PLAN


def test_nothing_is_sent_while_something_is_wrong(picloud: CommandLine, server: FakeServer, demo: Path) -> None:
    (demo / "scripts" / "hello.rhai").write_text("let")
    result = picloud("deploy", "demo")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert "demo/scripts/hello.rhai:1:4: " in result.stderr
    assert server.requests == []


def test_what_the_server_refuses_is_shown_where_it_is(picloud: CommandLine, server: FakeServer, demo: Path) -> None:
    """A server of another release may know of problems this command line does not."""
    detail = "scripts/hello.rhai:2:5: no such word\nscripts/flaky.rhai:1:1: too old"
    server.problem("POST", "/apps/demo/deploy", 422, "script_does_not_compile", detail)
    (demo / "scripts" / "hello.rhai").write_text("1;\nlet name = 2;\n")
    result = picloud("deploy", "demo")
    assert result.exit_code == 1
    assert result.stderr.splitlines()[:3] == [
        "demo/scripts/hello.rhai:2:5: no such word",
        "    2 | let name = 2;",
        "      |     ^",
    ]
    assert result.stderr.endswith("error: the server refused 2 problems in 2 files\n")
    detail = "picloud.toml: route[2].path: is taken"
    server.problem("POST", "/apps/demo/deploy", 422, "invalid_manifest", detail)
    assert "demo/picloud.toml:15:8: route[2].path: is taken\n" in picloud("deploy", "demo").stderr


def test_a_refusal_that_is_about_no_file_stays_as_it_is(picloud: CommandLine, server: FakeServer, demo: Path) -> None:
    server.problem("POST", "/apps/demo/deploy", 413, "body_too_large", "too many scripts: 2001")
    assert picloud("deploy", "demo").stderr == "error: too many scripts: 2001\n"
