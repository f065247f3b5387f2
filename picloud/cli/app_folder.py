"""A folder with ``picloud.toml`` on this machine: what of it is deployed, and what is wrong with it.

Deployed are the scripts under ``scripts/`` and those the manifest names; tests, notes
and ``picloud.d.rhai`` stay where they are.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from picloud.errors import InvalidInputError, ManifestError, ScriptError
from picloud.manifest import (
    FILE_NAME,
    SCRIPT_SUFFIX,
    Manifest,
    ManifestText,
    Problem,
    did_you_mean,
    read_manifest,
    script_name,
)

_SCRIPTS = "scripts"
#: Comments, characters and strings of a script, so that nothing in them is taken for an import; then imports.
_WORDS = re.compile(
    r"//[^\n]*|/\*.*?\*/|'(?:[^'\\\n]|\\.)+'|`(?:[^`\\]|\\.)*`"
    r'|\bimport\s+"(?P<imported>(?:[^"\\\n]|\\.)*)"(?=\s*(?:as\b|;|\}|$))|"(?P<text>(?:[^"\\]|\\.)*)"',
    re.DOTALL,
)
#: What the server says of several files: ``scripts/a.rhai:1:2: message``; of its manifest ``picloud.toml: place: …``.
_PLACED = re.compile(r"(?P<file>[^:]+)(?::(?P<line>\d+):(?P<column>\d+))?: (?P<message>.*)")
_KEY = re.compile(r"((?:[A-Za-z0-9_-]+(?:\[\d+\])?)(?:\.[A-Za-z0-9_-]+(?:\[\d+\])?)*): (.*)")


@dataclass(frozen=True, slots=True)
class AppFolder:
    """An app that is fit to be sent."""

    manifest: Manifest
    #: Source by path inside the folder, with / between parts.
    files: dict[str, str]
    #: The script's name by the path of its file.
    names: dict[str, str]

    def to_data(self) -> dict[str, Any]:
        """What a deploy sends."""
        return {"manifest": self.manifest.to_data(), "files": self.files}


def examine(root: Path) -> tuple[AppFolder | None, list[Problem]]:
    """The app in ``root``, or everything that is wrong with it; beside an app there may be warnings.

    Raises:
        ManifestError: there is no manifest, or it cannot be read.
    """
    text = read_manifest(root / FILE_NAME)
    files, unreadable = _read_scripts(root, {file for _, file in text.files_named})
    in_manifest = [*text.problems, *_missing(root, text, files)]
    problems = sorted(in_manifest, key=lambda each: (each.line, each.column))
    names = {path: script_name(path) for path in files}
    if text.manifest is not None and not (problems or unreadable):
        problems += _wrong_files(root, text, text.manifest, files)
        names |= {entry.file: entry.name for entry in text.manifest.scripts}
    problems += [*unreadable, *_compile(root, files, names)]
    if text.manifest is None or problems:
        return None, problems
    folder = AppFolder(text.manifest, files, names)
    return folder, list(_imports_of_nothing(root, folder))


def unused_scripts(root: Path, folder: AppFolder) -> Iterator[Problem]:
    """Scripts that neither the manifest nor another script names: a warning each, for only a person runs them."""
    named = {entry.file for entry in folder.manifest.scripts}
    words = {path: _texts(source) for path, source in folder.files.items()}
    for path, name in folder.names.items():
        if path not in named and not any(name in texts for other, texts in words.items() if other != path):
            message = f"nothing in this folder runs {name}: no route, no trigger and no other script names it"
            yield Problem(str(root / path), 1, 1, message, severity="warning")


def problems_of_refusal(root: Path, error: InvalidInputError) -> list[Problem]:
    """What the server refused of the app in ``root``, at its places here; empty when it names no file of it."""
    problems: list[Problem] = []
    for line in error.message.splitlines():
        placed = _PLACED.fullmatch(line)
        if placed is None or not (root / placed["file"]).is_file():
            return []
        file = str(root / placed["file"])
        if placed["line"]:
            problems.append(Problem(file, int(placed["line"]), int(placed["column"]), placed["message"]))
        elif placed["file"] == FILE_NAME:
            problems.append(_at_its_key(root, placed["message"]))
        else:
            problems.append(Problem(file, 1, 1, placed["message"]))
    return problems


def _at_its_key(root: Path, message: str) -> Problem:
    """``route[2].path: …``, which the server found in the values, where the text has it."""
    text = read_manifest(root / FILE_NAME)
    if (keyed := _KEY.fullmatch(message)) is None:
        return text.problem((), message)
    parts = re.findall(r"[A-Za-z0-9_-]+|\[\d+\]", keyed[1])
    place = tuple(int(part[1:-1]) if part.startswith("[") else part for part in parts)
    return text.problem(place, keyed[2])


def contents_of(root: Path) -> dict[str, bytes | None]:
    """Everything that is examined in ``root``, to see whether a save has changed any of it; None: unreadable."""
    try:
        named = {file for _, file in read_manifest(root / FILE_NAME).files_named}
    except ManifestError:
        named = set[str]()
    found: dict[str, bytes | None] = {}
    for path in (root / FILE_NAME, *_script_paths(root, named)):
        try:
            found[str(path)] = path.read_bytes()
        except OSError:
            found[str(path)] = None
    return found


def _script_paths(root: Path, named: set[str]) -> list[Path]:
    # os.walk passes over a folder that goes away under it, as in the middle of a checkout.
    below = (Path(folder, name) for folder, _, names in os.walk(root / _SCRIPTS) for name in names)
    paths = {path for path in below if path.suffix == SCRIPT_SUFFIX and _is_ours(path.relative_to(root))}
    return sorted(paths | {root / file for file in named if (root / file).is_file()})


def _read_scripts(root: Path, named: set[str]) -> tuple[dict[str, str], list[Problem]]:
    files: dict[str, str] = {}
    problems: list[Problem] = []
    for path in _script_paths(root, named):
        try:
            files[path.relative_to(root).as_posix()] = path.read_text("utf-8")
        except UnicodeDecodeError as error:
            problems.append(_not_text(path, error))
        except OSError as error:
            problems.append(Problem(str(path), 1, 1, f"cannot be read: {error.strerror}"))
    return files, problems


def _not_text(path: Path, error: UnicodeDecodeError) -> Problem:
    before = error.object[: error.start]
    line_start = before.rfind(b"\n") + 1
    column = len(before[line_start:].decode("utf-8")) + 1
    return Problem(str(path), before.count(b"\n") + 1, column, f"is not UTF-8 text (byte {error.start})")


def _is_ours(path: Path) -> bool:
    """Editors and version control keep copies in hidden files and folders; definitions are not scripts."""
    hidden = any(part.startswith(".") for part in path.parts)
    return not hidden and not path.name.endswith(f".d{SCRIPT_SUFFIX}")


def _missing(root: Path, text: ManifestText, files: Mapping[str, str]) -> list[Problem]:
    """Each place where the manifest names a file that is not there."""
    return [
        text.problem(place, f"{file} does not exist{_other_file(file, files)}")
        for place, file in text.files_named
        if not (root / file).is_file()
    ]


def _other_file(file: str, files: Iterable[str]) -> str:
    """Which of ``files`` may be meant: by their names, for folder and ending make all of them look alike."""
    files_by_name = {script_name(each): each for each in files}
    close = difflib.get_close_matches(script_name(file), files_by_name, n=1)
    return f" (did you mean {files_by_name[close[0]]}?)" if close else ""


def _wrong_files(root: Path, text: ManifestText, manifest: Manifest, files: Mapping[str, str]) -> Iterator[Problem]:
    """Files that cannot be scripts of this app beside the others, where the manifest names them or in themselves."""
    for file, message in manifest.wrong_files(files):
        place = next((place for place, named in text.files_named if named == file), None)
        yield Problem(str(root / file), 1, 1, message) if place is None else text.problem(place, message)


def _compile(root: Path, files: Mapping[str, str], names: Mapping[str, str]) -> Iterator[Problem]:
    from picloud.engine import check_script

    for path, source in files.items():
        try:
            check_script(names[path], source)
        except ScriptError as error:
            yield Problem(str(root / path), error.line, error.column, error.message)


def _imports_of_nothing(root: Path, folder: AppFolder) -> Iterator[Problem]:
    """Imports of scripts the app has not: a warning, because the run that gets there fails, and may catch it."""
    known = set(folder.names.values())
    for path, source in folder.files.items():
        for match in _WORDS.finditer(source):
            name = match["imported"]
            if name is None or name in known:
                continue
            line = source.count("\n", 0, match.start("imported")) + 1
            column = match.start("imported") - source.rfind("\n", 0, match.start("imported")) - 1
            meant = f" (did you mean {script_name(name)}?)" if script_name(name) in known else did_you_mean(name, known)
            message = f"the app has no script {name!r} to import{meant}"
            end = column + len(name) + 2
            yield Problem(str(root / path), line, column, message, end, severity="warning")


def _texts(source: str) -> set[str]:
    """Every string in a script: what ``import`` and ``functions::invoke`` may name."""
    return {match["imported"] or match["text"] or "" for match in _WORDS.finditer(source)}
