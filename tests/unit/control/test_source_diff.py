"""Differences of sources: what changes, and never more than a reader or a server can bear."""

from __future__ import annotations

import asyncio

from picloud.control.plan import Change
from picloud.control.source_diff import source_diff, with_diffs


def test_a_difference_is_unified_without_the_names_of_files() -> None:
    assert source_diff("a\nb\nc\n", "a\nx\nc\n").splitlines() == ["@@ -1,3 +1,3 @@", " a", "-b", "+x", " c"]


def test_a_long_difference_and_a_long_line_are_cut_and_say_so() -> None:
    lines = source_diff("", "\n".join(map(str, range(1_000)))).splitlines()
    assert (len(lines), lines[-1]) == (401, "(601 more lines)")
    (_, line) = source_diff("", "x" * 10_000).splitlines()
    assert len(line) < 500


def test_sources_that_are_too_long_are_not_compared() -> None:
    assert source_diff("1\n" * 6_000, "1") == "(not compared: 6000 lines become 1)"


def test_a_whole_plan_is_bounded_too() -> None:
    names = [f"s{n}" for n in range(50)]
    after = dict.fromkeys(names, "\n".join(["y" * 100] * 400))
    changes = [Change("update", "script", name) for name in names] + [Change("update", "route", "s1")]
    found = asyncio.run(with_diffs(changes, dict.fromkeys(names, ""), after))
    assert sum(len(change.diff or "") for change in found) < 512 * 1024
    assert found[0].diff is not None
    assert found[-2].diff == "(not compared: too much changes)"
    assert found[-1].diff is None
