"""Records sent as one literal arrive as they were: whatever their text holds."""

from __future__ import annotations

import psycopg
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from picloud.database import record_array
from tests.integration.protocol.stage import Stage

_TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
_RECORDS = st.lists(st.tuples(st.none() | _TEXT, st.none() | st.integers(-(2**63), 2**63 - 1), st.booleans()))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(records=_RECORDS)
def test_records_arrive_as_they_were(stage: Stage, records: list[tuple[str | None, int | None, bool]]) -> None:
    with stage.db.transaction(force_rollback=True):
        stage.db.execute("create type sample as (words text, number bigint, flag boolean)")
        found = stage.db.execute(
            "select words, number, flag from unnest(%s::text::sample[]) with ordinality order by ordinality",
            [record_array(records)],
        ).fetchall()
    assert found == records


def test_text_that_looks_like_the_literal_itself_is_only_text(stage: Stage) -> None:
    hostile = ['"', "\\", '","', "(1,2)", "{}", "NULL", "", " ", 'a"),("b', "\n"]
    with stage.db.transaction(force_rollback=True):
        stage.db.execute("create type sample as (words text)")
        rows: list[psycopg.rows.TupleRow] = stage.db.execute(
            "select words from unnest(%s::text::sample[]) with ordinality order by ordinality",
            [record_array([[each] for each in hostile])],
        ).fetchall()
    assert [row[0] for row in rows] == hostile
