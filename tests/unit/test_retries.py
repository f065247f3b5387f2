"""Back-off: growth, cap and jitter of every policy."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from picloud.retries import Backoff, RetryPolicy

POLICIES: list[Backoff] = ["exponential", "linear", "constant"]


def policy(backoff: Backoff, *, jitter_pct: int = 0, max_ms: int = 60_000) -> RetryPolicy:
    return RetryPolicy(max_attempts=9, backoff=backoff, base_ms=100, max_ms=max_ms, jitter_pct=jitter_pct)


@pytest.mark.parametrize(
    ("backoff", "expected"),
    [("exponential", [100, 200, 400, 800]), ("linear", [100, 200, 300, 400]), ("constant", [100, 100, 100, 100])],
)
def test_delays_grow_as_the_policy_says(backoff: Backoff, expected: list[int]) -> None:
    assert [policy(backoff).delay_ms(attempt) for attempt in (1, 2, 3, 4)] == expected


def test_no_delay_exceeds_its_cap() -> None:
    assert policy("exponential", max_ms=500).delay_ms(9) == 500


def test_a_thousandth_attempt_is_still_a_number_of_reasonable_size() -> None:
    assert policy("exponential").delay_ms(1_000) == 60_000


def test_jitter_spreads_runs_that_failed_together() -> None:
    uniform = random.Random(7)
    delays = {policy("constant", jitter_pct=20).delay_ms(1, uniform) for _ in range(100)}
    assert len(delays) > 20
    assert min(delays) >= 80
    assert max(delays) <= 120


@given(
    backoff=st.sampled_from(POLICIES),
    attempt=st.integers(1, 10_000),
    base_ms=st.integers(0, 86_400_000),
    max_ms=st.integers(0, 30 * 86_400_000),
    jitter_pct=st.integers(0, 100),
)
def test_a_delay_stays_within_its_bounds(
    backoff: Backoff, attempt: int, base_ms: int, max_ms: int, jitter_pct: int
) -> None:
    delay = RetryPolicy(3, backoff, base_ms, max_ms, jitter_pct).delay_ms(attempt)
    assert 0 <= delay <= max_ms * (1 + jitter_pct / 100) + 1
