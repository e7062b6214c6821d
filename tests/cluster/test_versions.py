"""A day's worth of commits: every version is what a plain SQLite held at that moment."""

import random
from collections.abc import Callable

import pytest

from cluster import Cluster
from crew import Hand
from test_errors import BUGGIFY

COMMITS, COMMITS_A_SECOND = 300, 5


@pytest.mark.soak
@pytest.mark.parametrize("environment", [{}, BUGGIFY], ids=["well", "failing"])
def test_every_version_is_what_it_was(
    environment: dict[str, str], url: str, hire: Callable[..., Hand], soak_seconds: int
) -> None:
    """In random SQL, on tables and the schema, small and staged; the seed of a failure is in its output."""
    seed = random.randrange(1 << 30)
    commits = max(COMMITS, COMMITS_A_SECOND * soak_seconds)
    print(f"seed {seed}")
    answer = hire("live_a_day", url, seed, commits, environment=environment).hear(300 + 10 * soak_seconds)
    print(answer)
    assert answer["versions"] >= commits
    assert answer["errors"] == {} or environment


@pytest.mark.soak
def test_every_version_is_what_it_was_while_servers_fail(
    three: Cluster, hire: Callable[..., Hand], soak_seconds: int
) -> None:
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    commits = max(COMMITS // 2, soak_seconds)
    hand = hire("live_a_day", three.url(wait_ms=5000), seed, commits)
    while not hand.connection.poll(2):
        i = random.randrange(3)
        three.kill(i)
        three.restart(i)
        three.wait_whole()
    assert hand.hear()["versions"] >= commits
