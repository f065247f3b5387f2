"""An internet for every test that asks for one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.unit.services.outbound.internet import Internet


@pytest.fixture
def internet() -> Iterator[Internet]:
    """Nothing but what the test puts there."""
    internet = Internet()
    yield internet
    internet.close()
