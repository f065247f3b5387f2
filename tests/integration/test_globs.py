"""A glob matches in PostgreSQL, where triggers are found, exactly what it matches in Python."""

from __future__ import annotations

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from picloud.triggers import glob_parts, matches

pytestmark = pytest.mark.integration

#: Few characters, so that prefixes are met often; among them those of LIKE, and two that look alike together.
_NAMES = st.text(st.sampled_from("aA:%_\\.é\u0301eß🜁"), min_size=1, max_size=6)
_GLOBS = _NAMES | _NAMES.map(lambda name: f"{name}*") | st.just("*")
_ANY = st.text(st.characters(exclude_categories=("Cc", "Cs"), exclude_characters="*"), min_size=1, max_size=40)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(_GLOBS | _ANY | _ANY.map(lambda name: f"{name}*"), _NAMES | _ANY), min_size=20, max_size=60))
def test_postgresql_and_python_agree(database_url: str, pairs: list[tuple[str, str]]) -> None:
    pairs = [*pairs, *((f"{name[:2]}*", name) for _, name in pairs)]
    parts = [(*glob_parts(glob), name) for glob, name in pairs]
    with psycopg.connect(database_url) as connection:
        found = connection.execute(
            "select array_agg(glob_matches(p, l, n) order by i)"
            " from unnest(%s::boolean[], %s::text[], %s::text[]) with ordinality as t(p, l, n, i)",
            [list(column) for column in zip(*parts, strict=True)],
        ).fetchone()
    assert found is not None
    assert found[0] == [matches(glob, name) for glob, name in pairs]
