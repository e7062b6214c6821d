"""kill -9: every acknowledged commit is there, none is half there, the next writer works at once."""

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

TORTURE = Path(__file__).with_name("torture.py")
SHORT_SECONDS = 12


def torture(mode: str, url: str, directory: Path, seconds: int) -> dict[str, int]:
    """What was done; what was wrong fails the test, with the seed that led there."""
    seed = str(random.randrange(1 << 30))
    arguments = [sys.executable, str(TORTURE), mode, url, str(directory), str(seconds), seed]
    answer = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, f"seed {seed}: {answer.stderr}"
    tally: dict[str, int] = json.loads(answer.stdout)
    print(f"{mode}, seed {seed}: {tally}")
    return tally


@pytest.mark.soak
def test_writers_killed_at_random_moments(store_url: str, tmp_path: Path, soak_seconds: int) -> None:
    """Several at a time, on one database and on several, in commits small, large and over two."""
    tally = torture("random", store_url, tmp_path / "random", soak_seconds or SHORT_SECONDS)
    assert tally["kills"] >= 10
    assert tally["commits acknowledged"] >= 10


@pytest.mark.soak
def test_writers_killed_at_every_call_to_the_engine(
    store_url: str, tmp_path: Path, soak_seconds: int
) -> None:
    """A small commit, a large one, one over two databases, a revert, a VACUUM, a rollback."""
    tally = torture("steps", store_url, tmp_path / "steps", soak_seconds)
    assert tally["kills"] >= 100
