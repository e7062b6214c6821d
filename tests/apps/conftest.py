"""Both ways to run a program."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from ways import Play, Scenario, Way


@pytest.fixture
def play(tmp_path: Path, store_url: str) -> Play:
    """Plays a scenario on stock SQLite and then routed, and compares what it returned."""

    def both(scenario: Scenario, routes: Sequence[str]) -> None:
        told = scenario(Way(tmp_path / "stock", store_url))
        routed = Way(tmp_path / "routed", store_url, routes)
        assert scenario(routed) == told
        routed.verify()

    return both


@pytest.fixture
def routed(tmp_path: Path, store_url: str) -> Callable[..., Way]:
    """Makes a way that routes."""
    return lambda *routes: Way(tmp_path / "routed", store_url, routes)
