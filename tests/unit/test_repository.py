"""The repository as a whole: what every file in it owes to a stranger."""

from __future__ import annotations

import ast
import importlib.metadata
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PACKAGES = ("picloud", "actors/picloud_actors", "web/picloud_web")

#: Past this a file has to be asked what it really is (CONTRIBUTING.md).
LONGEST_FILE_LINES = 500


def tracked(*suffixes: str) -> list[Path]:
    """The files git has, of these suffixes (all without any): a checkout, without what was built in it."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    paths = [ROOT / name for name in listed.split("\0") if name]
    return [path for path in paths if path.is_file() and (not suffixes or path.suffix in suffixes)]


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def is_text(path: Path) -> bool:
    return b"\0" not in path.read_bytes()[:8192]


def lines_matching(pattern: re.Pattern[str], *, but_not: re.Pattern[str] | None = None) -> list[str]:
    found: list[str] = []
    for path in filter(is_text, tracked()):
        for number, line in enumerate(path.read_text().splitlines(), start=1):
            if pattern.search(but_not.sub("", line) if but_not else line):
                found.append(f"{name_of(path)}:{number}: {line.strip()[:120]}")
    return found


def test_no_file_names_the_host_of_a_package_registry() -> None:
    # Spelt in pieces, so that this file is no exception to its own rule.
    hosts = ["pypi" + ".org", "python" + "hosted" + ".org", "npmjs" + ".", "deb" + ".debian", "static.rust" + "-lang"]
    hosts += ["crates" + ".io", "proxy" + ".golang" + ".org", "ghcr" + ".io", "docker" + ".io"]
    # The one name a Cargo.lock cannot do without: cargo replaces it by whatever registry it is configured for.
    lock_line = re.compile(r'^source = "registry\+https://github\.com/rust-lang/crates' + r'\.io-index"$')
    assert lines_matching(re.compile("|".join(map(re.escape, hosts))), but_not=lock_line) == []


def test_no_file_knows_the_machine_it_was_written_on() -> None:
    folders = ["work", "root", "home"]
    assert lines_matching(re.compile(rf"(?<![\w.~*-])/(?:{'|'.join(folders)})/\w")) == []


def test_every_module_says_what_it_is_for() -> None:
    modules = [path for path in tracked(".py") if "tests" not in path.parts]
    assert len(modules) > 50
    assert [name_of(path) for path in modules if not ast.get_docstring(ast.parse(path.read_text()))] == []


def test_every_file_is_short_enough_to_be_one_thing() -> None:
    lengths = {
        name_of(path): len(path.read_text().splitlines()) for path in tracked(".py", ".rs", ".sql", ".lua", ".sh")
    }
    assert {name: length for name, length in lengths.items() if length > LONGEST_FILE_LINES} == {}


def test_every_relative_link_of_the_documentation_leads_somewhere() -> None:
    broken = [
        f"{name_of(page)}: {target}"
        for page in tracked(".md")
        for target in re.findall(r"\]\((?!\w+:|#)([^)#\s]+)", page.read_text())
        if not (page.parent / target).exists()
    ]
    assert broken == []


def test_every_dependency_is_pinned_inside_its_range() -> None:
    pins = dict(
        line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")
    )
    wanted = [Requirement(text) for text in PROJECT["project"]["dependencies"]]
    wanted += [Requirement(text) for text in PROJECT["project"]["optional-dependencies"]["dev"]]
    built_here = {"rhai-python"}
    wrong = [
        str(requirement)
        for requirement in wanted
        if requirement.name not in built_here and pins.get(requirement.name, "none") not in requirement.specifier
    ]
    assert wrong == []


def test_constraints_are_plain_pins() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert [line for line in lines if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.]+", line)] == []
    assert lines == sorted(lines, key=str.casefold)


@pytest.mark.parametrize(
    "entry_point", importlib.metadata.entry_points(group="picloud.processes"), ids=lambda it: it.name
)
def test_a_process_can_be_loaded_by_its_name(entry_point: importlib.metadata.EntryPoint) -> None:
    assert callable(entry_point.load())


def test_the_processes_are_announced() -> None:
    names = {each.name for each in importlib.metadata.entry_points(group="picloud.processes")}
    assert names == {"web", "relay", "worker", "mail"}


def test_a_wheel_holds_everything_that_is_read_at_run_time(tmp_path: Path) -> None:
    build = "import sys, hatchling.build; print(hatchling.build.build_wheel(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-c", build, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    [wheel] = done.stdout.split()[-1:]
    inside = set(zipfile.ZipFile(tmp_path / wheel).namelist())
    expected = {
        str(path.relative_to(ROOT / folder.rpartition("/")[0]))
        for folder in PACKAGES
        for path in tracked()
        if path.is_relative_to(ROOT / folder)
    }
    expected |= {f"picloud/_migrations/{path.name}" for path in tracked(".sql") if path.parent == ROOT / "migrations"}
    assert expected - inside == set()
    top_level = {name.partition("/")[0] for name in inside}
    assert {name for name in top_level if not name.endswith(".dist-info")} == {
        "picloud",
        "picloud_actors",
        "picloud_web",
    }


def test_ci_runs_what_a_person_runs() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert script.read_text().splitlines()[-1] == "exec make test"


def test_every_python_file_can_be_read_by_the_oldest_python_supported() -> None:
    oldest = re.fullmatch(r">=3\.(\d+)", PROJECT["project"]["requires-python"])
    assert oldest
    for path in tracked(".py"):
        ast.parse(path.read_text(), filename=name_of(path), feature_version=(3, int(oldest[1])))


def test_the_page_about_the_architecture_names_every_package_and_module_of_the_domain() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    named = set(re.findall(r"`(?:picloud/)?([a-z_]+(?:\.py|/))", page))
    packages = {f"{path.parent.name}/" for path in (ROOT / "picloud").glob("*/__init__.py")}
    modules = {path.name for path in (ROOT / "picloud").glob("*.py")} - {"__init__.py"}
    assert packages | modules <= named
    # And nothing that is no longer there.
    folders = re.findall(
        r"`((?:picloud|web|actors|tests|docs|ops|examples|benchmarks|migrations|rhai-python)(?:/\w+)*/)`", page
    )
    assert [folder for folder in folders if not (ROOT / folder).is_dir()] == []
