"""A trigger's own retry policy over the platform's."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from picloud.retries import RetryPolicy
from picloud.settings import RetryDefaults, load_settings
from picloud.triggers import BACKOFFS, NO_OVERRIDES, RETRY_BOUNDS, RetryOverrides

OVERRIDES = st.builds(
    RetryOverrides,
    backoff=st.none() | st.sampled_from(BACKOFFS),
    **{name: st.none() | st.integers(low, high) for name, (low, high) in RETRY_BOUNDS.items()},
)


def test_a_trigger_that_says_nothing_has_the_settings_policy() -> None:
    assert NO_OVERRIDES.over(RetryDefaults()) == RetryPolicy(3, "exponential", 1_000, 3_600_000, 20)


@given(OVERRIDES)
def test_what_is_said_wins_and_the_rest_is_the_default(overrides: RetryOverrides) -> None:
    defaults = RetryPolicy(7, "linear", 11, 13, 17)
    policy = overrides.over(defaults)
    said = overrides.to_data()
    for name in ("max_attempts", "backoff", "base_ms", "max_ms", "jitter_pct"):
        assert getattr(policy, name) == (said[name] if name in said else getattr(defaults, name))
    assert overrides.problems() == []


def test_a_zero_is_said() -> None:
    assert RetryOverrides(base_ms=0, jitter_pct=0).over(RetryDefaults()) == RetryPolicy(
        3, "exponential", 0, 3_600_000, 0
    )


def test_every_value_out_of_its_bounds_is_told() -> None:
    assert RetryOverrides(max_attempts=0, base_ms=-1, jitter_pct=101).problems() == [
        ("max_attempts", "expected a whole number from 1 to 1000, not 0"),
        ("base_ms", "expected a whole number from 0 to 86400000, not -1"),
        ("jitter_pct", "expected a whole number from 0 to 100, not 101"),
    ]


@pytest.mark.parametrize("name", RETRY_BOUNDS)
def test_what_a_trigger_may_say_the_setting_may_and_a_column_holds(name: str) -> None:
    low, high = RETRY_BOUNDS[name]
    for value in (low, high):
        settings = load_settings({f"PICLOUD_TRIGGER_RETRY_{name.upper()}": str(value)})
        assert getattr(settings.retry, name) == value
    assert high < 2**31
