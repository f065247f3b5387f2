"""The rules of names, files and paths, over generated ones."""

from __future__ import annotations

import string

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from picloud.errors import ManifestError
from picloud.manifest import (
    Manifest,
    ScriptEntry,
    parse_manifest,
    path_shape,
    script_name,
    wrong_app_name,
    wrong_path,
    wrong_script_name,
)
from picloud.manifest.names import wrong_file

WORDS = st.text(string.ascii_letters + string.digits + "_", min_size=1, max_size=8)
NAMES = st.lists(WORDS, min_size=1, max_size=4).map("/".join)


@given(NAMES)
def test_a_script_is_called_as_its_file_without_folder_and_ending(name: str) -> None:
    assume(not name.startswith("scripts/"))
    assert script_name(f"scripts/{name}.rhai") == name
    assert script_name(f"{name}.rhai") == name
    assert wrong_file(f"scripts/{name}.rhai") is None
    assert wrong_script_name(name) is None


@given(st.text(max_size=30))
def test_a_file_that_is_accepted_stays_inside_its_folder(file: str) -> None:
    if wrong_file(file) is None:
        parts = file.split("/")
        assert ".." not in parts
        assert "" not in parts
        assert "\\" not in file
        assert file.endswith(".rhai")
        assert wrong_script_name(script_name(file)) is None


@pytest.mark.parametrize(
    "file", ["", ".rhai", "scripts/.rhai", "scripts/", "a.rhai/", "/a.rhai", "a//b.rhai", "./a.rhai", "a\\b.rhai"]
)
def test_a_file_that_names_no_script_is_refused(file: str) -> None:
    assert wrong_file(file) is not None


@given(st.text(string.ascii_lowercase + string.digits + "-", max_size=70))
def test_an_app_s_name_is_one_label_of_a_host_name(name: str) -> None:
    is_label = 0 < len(name) <= 63 and name[0] != "-" and name[-1] != "-"
    assert (wrong_app_name(name) is None) == is_label


@pytest.mark.parametrize("name", ["Shop", "my shop", "shop.de", "shöp", "shop\n", "../x", ""])
def test_an_app_s_name_that_is_no_host_name_is_refused(name: str) -> None:
    assert wrong_app_name(name) is not None


SEGMENTS = st.one_of(
    st.text(string.ascii_letters + string.digits + "-._~é", min_size=1).filter(lambda each: each not in (".", "..")),
    st.just("").map(lambda _: ":id"),
)


@given(st.lists(SEGMENTS, max_size=5), st.sampled_from(["", "/", "/*rest"]))
def test_paths_of_literals_parameters_and_a_rest_are_served(segments: list[str], end: str) -> None:
    assume(segments.count(":id") <= 1)
    path = "".join(f"/{segment}" for segment in segments) + end
    assume(path)
    assert wrong_path(path) is None


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("", "'' must start with /"),
        ("a", "'a' must start with /"),
        ("//", "'//': there is nothing between two /"),
        ("/a//b", "'/a//b': there is nothing between two /"),
        ("/:", "'/:': ':' is not a parameter: expected :name, with letters, digits and _"),
        ("/:1", "'/:1': ':1' is not a parameter: expected :name, with letters, digits and _"),
        ("/*a/b", "'/*a/b': '*a' takes the rest of the path, so it must be last"),
        ("/*a/", "'/*a/': '*a' takes the rest of the path, so it must be last"),
        ("/:a/b/:a", "'/:a/b/:a': two parameters are called 'a'"),
        ("/a b", "'/a b': 'a b' cannot be part of a path: write it decoded, without spaces, %, ? and #"),
        ("/%41", "'/%41': '%41' cannot be part of a path: write it decoded, without spaces, %, ? and #"),
        ("/a?b=1", "'/a?b=1': 'a?b=1' cannot be part of a path: write it decoded, without spaces, %, ? and #"),
        ("/..", "'/..': '..' cannot be part of a path: write it decoded, without spaces, %, ? and #"),
        ("/" + "a" * 1_000, "a path has at most 1000 characters"),
    ],
)
def test_a_path_that_cannot_be_served_is_told_why(path: str, problem: str) -> None:
    assert wrong_path(path) == problem


@given(WORDS, WORDS)
def test_the_shape_of_a_path_forgets_what_its_parameters_are_called(one: str, other: str) -> None:
    assert path_shape(f"/a/:{one}/*{one}") == path_shape(f"/a/:{other}/*{other}") == "/a/:/*"


def test_paths_of_different_shape_are_different_routes() -> None:
    shapes = {path_shape(path) for path in ("/a", "/a/", "/:a", "/*a", "/a/:b", "/a/*b", "/")}
    assert len(shapes) == 7


# A manifest beside the files it is deployed with


def test_files_the_manifest_does_not_name_are_scripts_too() -> None:
    manifest = parse_manifest(
        {"app": {"name": "a"}, "script": [{"file": "scripts/a.rhai", "name": "main", "max_operations": 5}]}
    )
    assert manifest.scripts_of(["scripts/lib/util.rhai", "scripts/a.rhai", "README.md"]) == (
        ScriptEntry("main", "scripts/a.rhai", max_operations=5),
        ScriptEntry("lib/util", "scripts/lib/util.rhai"),
    )


def test_a_file_that_is_missing_and_names_that_collide_are_reported_together() -> None:
    manifest = Manifest("a", scripts=(ScriptEntry("x", "scripts/x.rhai"), ScriptEntry("b", "scripts/c.rhai")))
    with pytest.raises(ManifestError) as caught:
        manifest.scripts_of(["scripts/b.rhai", "scripts/c.rhai", "../evil.rhai"])
    assert caught.value.message.splitlines() == [
        "picloud.toml: scripts/x.rhai does not exist",
        "picloud.toml: '../evil.rhai' must be a path inside the app's folder, with / between parts",
        "picloud.toml: scripts/b.rhai and scripts/c.rhai would both be called 'b'",
    ]
