"""Reads ``[[script]]``, and the scripts that routes and triggers name by file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

from picloud.manifest.entries import WHOLE_LIMITS, ScriptEntry
from picloud.manifest.names import script_name, wrong_file, wrong_script_name
from picloud.manifest.positions import Place
from picloud.manifest.tables import Table, is_list

#: By table, the keys that name a script's file.
_NAMING = {"script": ("file",), "route": ("script",), "trigger": ("script", "failed_script")}


def read_scripts(top: Table) -> dict[str, ScriptEntry]:
    """The entries by file; those with a problem are reported and left out."""
    entries: dict[str, ScriptEntry] = {}
    names: set[str] = set()
    for table in top.tables("script"):
        file = table.checked_text("file", wrong_file)
        name = table.text("name", default=script_name(file or ""))
        limits: dict[str, Any] = {"timeout_seconds": table.seconds("timeout_seconds")}
        limits |= {key: table.whole(key) for key in WHOLE_LIMITS}
        table.refuse_the_rest()
        if file is None or name is None:
            continue
        if (wrong := wrong_script_name(name)) is not None:
            table.problem("name", wrong)
        elif file in entries:
            table.problem("file", f"{file} has an entry already")
        elif name in names:
            table.problem("name", f"another script is called {name!r} already")
        else:
            entries[file] = ScriptEntry(name, file, **limits)
            names.add(name)
    return entries


def script_of(table: Table, key: str, scripts: dict[str, ScriptEntry]) -> ScriptEntry | None:
    """The script whose file ``key`` names; one that nothing has named before joins ``scripts``."""
    file = table.checked_text(key, wrong_file)
    if file is None or file in scripts:
        return None if file is None else scripts[file]
    name = script_name(file)
    taken = next((entry.file for entry in scripts.values() if entry.name == name), None)
    if taken is not None:
        table.problem(key, f"{taken} is called {name!r} already: give {file} a [[script]] entry with its own name")
        return None
    return scripts.setdefault(file, ScriptEntry(name, file))


def files_named(data: Mapping[str, Any]) -> Iterator[tuple[Place, str]]:
    """Every script's file that a manifest names, and where: also of one that is wrong elsewhere."""
    for table, keys in _NAMING.items():
        entries = data.get(table)
        for number, entry in enumerate(entries if is_list(entries) else [], start=1):
            named: Mapping[str, Any] = cast("Mapping[str, Any]", entry) if isinstance(entry, Mapping) else {}
            for key in keys:
                file = named.get(key)
                if isinstance(file, str) and wrong_file(file) is None:
                    yield (table, number, key), file
