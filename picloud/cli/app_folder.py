"""A folder with ``picloud.toml`` on this machine: what of it is deployed, and what is wrong with it.

Deployed are the scripts under ``scripts/`` and those the manifest names; tests, notes
and ``picloud.d.rhai`` stay where they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from picloud.errors import ManifestError, ScriptError
from picloud.manifest import FILE_NAME, SCRIPT_SUFFIX, Manifest, Problem, examine_manifest

_SCRIPTS = "scripts"


@dataclass(frozen=True, slots=True)
class AppFolder:
    """An app that is fit to be sent."""

    manifest: Manifest
    #: Source by path inside the folder, with / between parts.
    files: dict[str, str]


def examine(root: Path) -> tuple[AppFolder | None, list[Problem]]:
    """The app in ``root``, or everything that is wrong with it.

    Raises:
        ManifestError: there is no manifest, or it cannot be read.
    """
    manifest, found = examine_manifest(root / FILE_NAME)
    problems = list(found)
    named = [] if manifest is None else [entry.file for entry in manifest.scripts]
    files, unreadable = _read_scripts(root, named)
    problems += unreadable
    names = {path: path.removesuffix(SCRIPT_SUFFIX) for path in files}
    if manifest is not None:
        missing = [file for file in named if not (root / file).is_file()]
        problems += [_missing(root, file) for file in missing]
        if not (missing or unreadable):
            try:
                names = {entry.file: entry.name for entry in manifest.scripts_of(files, str(root / FILE_NAME))}
            except ManifestError as error:
                problems += [_of_message(line) for line in error.message.splitlines()]
    problems += _compile(root, files, names)
    if manifest is None or problems:
        return None, problems
    return AppFolder(manifest, files), []


def excerpt(problem: Problem) -> str | None:
    """The line a problem is on, with a mark below its column; None when there is none to show."""
    if not problem.line:
        return None
    try:
        lines = Path(problem.file).read_text("utf-8").splitlines()
        line = lines[problem.line - 1]
    except (OSError, UnicodeDecodeError, IndexError):
        return None
    number = f"{problem.line:>5}"
    # Tabs are kept below the line, so that the mark stands where it belongs whatever a tab's width is.
    indent = "".join(char if char == "\t" else " " for char in line[: max(problem.column - 1, 0)])
    return f"{number} | {line}\n{' ' * len(number)} | {indent}^"


def _read_scripts(root: Path, named: list[str]) -> tuple[dict[str, str], list[Problem]]:
    paths = {path for path in (root / _SCRIPTS).rglob(f"*{SCRIPT_SUFFIX}") if _is_ours(path.relative_to(root))}
    paths |= {root / file for file in named if (root / file).is_file()}
    files: dict[str, str] = {}
    problems: list[Problem] = []
    for path in sorted(paths):
        try:
            files[path.relative_to(root).as_posix()] = path.read_text("utf-8")
        except UnicodeDecodeError as error:
            problems.append(Problem(str(path), 1, 1, f"is not UTF-8 text (byte {error.start})"))
        except OSError as error:
            problems.append(Problem(str(path), 0, 0, f"cannot be read: {error.strerror}"))
    return files, problems


def _is_ours(path: Path) -> bool:
    """Editors and version control keep copies in hidden files and folders; definitions are not scripts."""
    hidden = any(part.startswith(".") for part in path.parts)
    return not hidden and not path.name.endswith(f".d{SCRIPT_SUFFIX}")


def _compile(root: Path, files: dict[str, str], names: dict[str, str]) -> list[Problem]:
    from picloud.engine import check_script

    problems: list[Problem] = []
    for path, source in files.items():
        try:
            check_script(names.get(path, path), source)
        except ScriptError as error:
            problems.append(Problem(str(root / path), error.line, error.column, error.message))
    return problems


def _missing(root: Path, file: str) -> Problem:
    """The manifest names a file that is not there: say where it does."""
    manifest = root / FILE_NAME
    for number, line in enumerate(manifest.read_text("utf-8").splitlines(), start=1):
        column = line.find(file)
        if column >= 0:
            return Problem(str(manifest), number, column + 1, f"{file} does not exist")
    return Problem(str(manifest), 0, 0, f"{file} does not exist")


def _of_message(line: str) -> Problem:
    file, _, message = line.partition(": ")
    return Problem(file, 0, 0, message)
