"""Manifests that are fine, and every kind that is not, with the exact message."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from picloud.errors import ManifestError
from picloud.manifest import Manifest, RouteEntry, ScriptEntry, examine_manifest, load_manifest, parse_manifest

APP = '[app]\nname = "shop"\n'
ROUTE = '[[route]]\nmethod = "GET"\npath = "/a"\nscript = "scripts/a.rhai"\n'


def write(folder: Path, text: str) -> Path:
    path = folder / "picloud.toml"
    path.write_text(text, encoding="utf-8")
    return path


def problems_of(folder: Path, text: str) -> list[str]:
    """Every problem as ``line:column: message``."""
    manifest, problems = examine_manifest(write(folder, text))
    assert manifest is None
    return [f"{each.line}:{each.column}: {each.message}" for each in problems]


def test_the_manifest_of_the_contract_is_read(tmp_path: Path) -> None:
    text = """
[app]
name = "shop"

[[script]]
name = "on_order"
file = "scripts/on_order.rhai"
timeout_seconds = 10
max_operations = 1_000

[[route]]
method = "post"
path = "/orders/:id"
script = "scripts/orders.rhai"
dispatch_mode = "async"

[[route]]
method = "GET"
path = "/"
script = "scripts/on_order.rhai"
"""
    manifest = load_manifest(write(tmp_path, text))
    assert manifest == Manifest(
        "shop",
        scripts=(
            ScriptEntry("on_order", "scripts/on_order.rhai", timeout_seconds=10.0, max_operations=1_000),
            ScriptEntry("orders", "scripts/orders.rhai"),
        ),
        routes=(
            RouteEntry("POST", "/orders/:id", "orders", "async", "scripts/orders.rhai"),
            RouteEntry("GET", "/", "on_order", "sync", "scripts/on_order.rhai"),
        ),
    )
    assert manifest.scripts[0].limits() == {"timeout_seconds": 10.0, "max_operations": 1_000}


def test_a_name_and_nothing_else_is_an_app() -> None:
    assert parse_manifest({"app": {"name": "a"}}) == Manifest("a")


def test_what_is_sent_is_read_as_the_same_manifest(tmp_path: Path) -> None:
    text = APP + '[[script]]\nname = "other"\nfile = "b.rhai"\nmax_call_depth = 8\n' + ROUTE
    manifest = load_manifest(write(tmp_path, text))
    assert parse_manifest(json.loads(json.dumps(manifest.to_data()))) == manifest


def test_a_route_runs_the_script_its_file_is_called(tmp_path: Path) -> None:
    text = APP + '[[script]]\nname = "other"\nfile = "scripts/a.rhai"\n' + ROUTE
    assert load_manifest(write(tmp_path, text)).routes[0].script == "other"


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("", ["1:1: app: missing: expected a table [app]"]),
        ("app = 3\n", ["1:7: app: expected a table, not the number 3"]),
        ("[app]\n", ["1:2: app.name: missing: expected a string"]),
        ("[app]\nname = 7\n", ["2:8: app.name: expected a string, not the number 7"]),
        (
            '[app]\nname = "My Shop"\n',
            ["2:8: app.name: 'My Shop' cannot be a host name: 1 to 63 of a-z, 0-9 and -, with no - first or last"],
        ),
        (APP + 'nmae = "x"\n', ["3:1: app.nmae: no such key (did you mean name?)"]),
        (APP + "[routes]\n", ["3:2: routes: no such key (did you mean route?)"]),
        (APP + "[route]\n", ["3:2: route: expected [[route]] with double brackets, not a table"]),
        (APP + "[[zebra]]\n", ["3:3: zebra: no such key"]),
        ('route = ["x"]\n' + APP, ["1:10: route[1]: expected a table, not the string 'x'"]),
        (
            APP + '[[route]]\nmethod = "GTE"\npath = "/a"\nscript = "scripts/a.rhai"\n',
            [
                (
                    "4:10: route[1].method: 'GTE' is not one of GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
                    " (did you mean GET?)"
                )
            ],
        ),
        (
            APP + '[[route]]\nmethod = "GET"\npath = "a"\nscript = "a.txt"\n',
            [
                "5:8: route[1].path: 'a' must start with /",
                (
                    "6:10: route[1].script: 'a.txt' is not a script's file: expected a path that ends in .rhai,"
                    " as in scripts/hello.rhai"
                ),
            ],
        ),
        (
            APP + "[[route]]\n",
            [
                "3:3: route[1].method: missing: expected a string",
                "3:3: route[1].path: missing: expected a string",
                "3:3: route[1].script: missing: expected a string",
            ],
        ),
        (
            APP + ROUTE + 'dispatch_mode = "later"\n',
            ["7:17: route[1].dispatch_mode: 'later' is not one of sync, async"],
        ),
        (
            APP + ROUTE + "\n" + ROUTE.replace('"/a"', '"/:x"') + "\n" + ROUTE.replace('"/a"', '"/:y"'),
            ["15:8: route[3].path: GET /:y answers the same requests as GET /:x above"],
        ),
        (
            APP + '[[script]]\nfile = "../a.rhai"\n',
            ["4:8: script[1].file: '../a.rhai' must be a path inside the app's folder, with / between parts"],
        ),
        (
            APP + '[[script]]\nfile = "a.rhai"\nname = "a b"\n',
            ["5:8: script[1].name: 'a b' cannot be a script's name: letters, digits, _, - and ., with / between parts"],
        ),
        (
            APP + '[[script]]\nfile = "a.rhai"\n[[script]]\nfile = "scripts/a.rhai"\n',
            ["5:3: script[2].name: another script is called 'a' already"],
        ),
        (
            APP + '[[script]]\nfile = "a.rhai"\n[[script]]\nfile = "a.rhai"\nname = "b"\n',
            ["6:8: script[2].file: a.rhai has an entry already"],
        ),
        (
            APP + '[[script]]\nfile = "b.rhai"\nname = "a"\n' + ROUTE,
            [
                (
                    "9:10: route[1].script: b.rhai is called 'a' already:"
                    " give scripts/a.rhai a [[script]] entry with its own name"
                )
            ],
        ),
        (
            APP + '[[script]]\nfile = "a.rhai"\ntimeout_seconds = 0\nmax_operations = 1.5\nmax_map_length = true\n',
            [
                "5:19: script[1].timeout_seconds: expected seconds above 0, not the number 0",
                "6:18: script[1].max_operations: expected a whole number from 1 up, not the number 1.5",
                "7:18: script[1].max_map_length: expected a whole number from 1 up, not true",
            ],
        ),
        (
            APP + '[[script]]\nfile = "a.rhai"\ntimeout_seconds = inf\n',
            ["5:19: script[1].timeout_seconds: expected seconds above 0, not the number inf"],
        ),
        (APP + '"quoted key" = 1\n', ["3:1: app.quoted key: no such key"]),
        (APP + "since = 2030-01-01\n", ["3:1: app.since: no such key"]),
        ('[app]\nname = "shop\n', ["2:13: this string has no closing quote"]),
        ("[app]\nname = ", ["2:7: a value is missing"]),
    ],
)
def test_a_wrong_manifest_is_told_place_by_place(tmp_path: Path, text: str, problems: list[str]) -> None:
    assert problems_of(tmp_path, text) == problems


def test_all_problems_are_reported_together_in_the_order_of_the_text(tmp_path: Path) -> None:
    path = write(tmp_path, '[[route]]\npath = "x"\nmethod = "GET"\nscript = "a.rhai"\n[app]\nname = "A"\n[x]\n')
    with pytest.raises(ManifestError) as caught:
        load_manifest(path)
    places = [line.removeprefix(f"{path}:").partition(": ")[0] for line in caught.value.message.splitlines()]
    assert places == ["2:8", "6:8", "7:2"]


def test_without_a_text_the_place_stands_alone() -> None:
    with pytest.raises(ManifestError) as caught:
        parse_manifest({"app": {"name": "A"}, "route": [{}]}, "request")
    assert caught.value.message.splitlines()[:2] == [
        "request: app.name: 'A' cannot be a host name: 1 to 63 of a-z, 0-9 and -, with no - first or last",
        "request: route[1].method: missing: expected a string",
    ]


@pytest.mark.parametrize("value", [None, [], "x", 1, {"name": None}])
def test_json_that_is_no_manifest_is_refused_and_not_a_crash(value: object) -> None:
    with pytest.raises(ManifestError):
        parse_manifest({"app": value})


def test_a_folder_without_a_manifest_is_told_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(ManifestError) as caught:
        load_manifest(tmp_path / "picloud.toml")
    assert caught.value.message == f"{tmp_path}/picloud.toml: no such file"
    assert caught.value.hint == "`picloud init DIR` makes an app folder"


def test_a_manifest_that_is_not_text_is_told(tmp_path: Path) -> None:
    path = tmp_path / "picloud.toml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ManifestError, match="is not UTF-8 text"):
        load_manifest(path)


def test_a_manifest_that_is_a_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "picloud.toml").mkdir()
    with pytest.raises(ManifestError, match="Is a directory"):
        load_manifest(tmp_path / "picloud.toml")
