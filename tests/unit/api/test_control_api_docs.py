"""docs/control-api.md against the endpoints it lists."""

from __future__ import annotations

import re
from pathlib import Path

from picloud_web.api import all_endpoints

_PAGE = Path(__file__).resolve().parents[3] / "docs" / "control-api.md"
_BELOW_AN_APP = "/apps/{app}"


def _documented() -> dict[str, tuple[str, str]]:
    """Statuses and meaning of each row, by method and path; a starred row stands for two."""
    rows = re.findall(r"^\| `(\w+) (\S+)`(\*?) \| (.+?) \| (.+?) \|$", _PAGE.read_text(), re.MULTILINE)
    found: dict[str, tuple[str, str]] = {}
    for method, path, star, statuses, meaning in rows:
        for each in (path, path.removeprefix(_BELOW_AN_APP)) if star else (path,):
            assert f"{method} {each}" not in found, f"{method} {each} is listed twice"
            found[f"{method} {each}"] = (statuses, meaning)
    return found


def test_the_page_lists_every_endpoint_as_it_is_served() -> None:
    served = {
        f"{endpoint.method} {re.sub(r':(uuid|int|path|segment)', '', endpoint.path)}": (
            ", ".join(map(str, endpoint.statuses)),
            endpoint.summary,
        )
        for endpoint in all_endpoints()
    }
    assert _documented() == served
