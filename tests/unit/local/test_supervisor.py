"""The back-off of the supervisor; its processes are tested in integration/local/test_up.py."""

from __future__ import annotations

import pytest

from picloud.local.supervisor import restart_delay_seconds


@pytest.mark.parametrize(("failures", "seconds"), [(1, 0.2), (2, 0.4), (3, 0.8), (8, 25.6), (9, 30), (10_000, 30)])
def test_the_delay_doubles_up_to_half_a_minute(failures: int, seconds: float) -> None:
    assert restart_delay_seconds(failures) == pytest.approx(seconds)
