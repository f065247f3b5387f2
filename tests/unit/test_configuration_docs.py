"""docs/configuration.md against the settings it describes."""

from __future__ import annotations

import re
from functools import reduce
from pathlib import Path

import pytest

from picloud.settings import _VARIABLES, load_settings, setting_names

PAGE = Path(__file__).resolve().parents[2] / "docs" / "configuration.md"

#: Defaults that depend on the machine, as the page words them.
WORDED_DEFAULTS = {"PICLOUD_DATA_DIR": "`$XDG_DATA_HOME/picloud`"}


def documented() -> dict[str, tuple[str, str, str]]:
    """Unit, default and meaning of each row, by the setting's name."""
    rows = re.findall(r"^\| `(PICLOUD_\w+)` \| (.+?) \| (.+?) \| (.+?) \|$", PAGE.read_text(), re.MULTILINE)
    assert len(rows) == len({name for name, *_ in rows}), "a setting is described twice"
    return {name: (unit, default, meaning) for name, unit, default, meaning in rows}


def as_documented(value: object) -> str:
    if value in ("", ()):
        return "*(empty)*"
    if isinstance(value, float):
        return f"`{value:g}`"
    return f"`{value}`"


def test_every_setting_is_described_and_nothing_else_is() -> None:
    assert sorted(documented()) == sorted(setting_names())


@pytest.mark.parametrize("name", setting_names())
def test_a_default_is_documented_as_it_is(name: str) -> None:
    value: object = reduce(getattr, _VARIABLES[name].path.split("."), load_settings({}))
    _, default, _ = documented()[name]
    assert default == WORDED_DEFAULTS.get(name, as_documented(value))


@pytest.mark.parametrize(
    "name", [name for name in setting_names() if name.endswith(("_MS", "_BYTES", "_SECONDS", "_DAYS"))]
)
def test_a_name_that_carries_a_unit_is_documented_in_that_unit(name: str) -> None:
    unit, _, _ = documented()[name]
    words = {"MS": "milliseconds", "BYTES": "bytes", "SECONDS": "seconds", "DAYS": "days"}
    assert unit == words[name.rpartition("_")[2]]
