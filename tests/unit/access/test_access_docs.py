"""``docs/access.md`` shows the table of capabilities as it is."""

from __future__ import annotations

import re
from pathlib import Path

from picloud.access import GRANTS, AppRole, Scope
from picloud.access.scopes import with_included

_PAGE = Path(__file__).parents[3] / "docs" / "access.md"
_ROW = re.compile(r"^\| `((?:Self|Instance|App)\w*)` \| (.+) \| (.+) \|$", re.MULTILINE)


def test_the_page_shows_every_capability_with_its_role_and_the_scopes_that_allow_it() -> None:
    expected: dict[str, tuple[str, str]] = {}
    for capability, grant in GRANTS.items():
        where = "app" if isinstance(grant.role, AppRole) else "installation"
        allowing = [f"`{scope}`" for scope in Scope if grant.scopes & with_included(frozenset({scope}))]
        expected[str(capability)] = (f"{grant.role} of the {where}", " ".join(allowing) or "any")
    assert {name: (role, scopes) for name, role, scopes in _ROW.findall(_PAGE.read_text())} == expected
