"""A day's worth of commits: every version is what a plain SQLite held at that moment."""

import random
from collections.abc import Callable

import pytest

from cluster import Cluster
from crew import Hand
from test_counter import PATIENCE_MS, kill_and_restart
from test_errors import BUGGIFY

COMMITS, COMMITS_A_SECOND = 300, 5
FAILING_COMMITS = 80
"""Where the client library fails and waits by chance, a staged transaction takes seconds."""


@pytest.mark.soak
@pytest.mark.parametrize("environment", [{}, BUGGIFY], ids=["well", "failing"])
def test_every_version_is_what_it_was(
    environment: dict[str, str], url: str, hire: Callable[..., Hand], soak_seconds: int
) -> None:
    """In random SQL, on tables and the schema, small and staged; the seed of a failure is in its output."""
    seed = random.randrange(1 << 30)
    commits = max(FAILING_COMMITS if environment else COMMITS, COMMITS_A_SECOND * soak_seconds)
    print(f"seed {seed}")
    hand = hire("live_a_day", url, seed, commits, environment=environment)
    assert hand.hear(300 + 10 * soak_seconds) == "lived"
    hand.tell("compare")
    answer = hand.hear(300 + 10 * soak_seconds)
    print(answer)
    assert answer["versions"] >= commits
    assert answer["errors"] == {} or environment


@pytest.mark.soak
def test_every_version_is_what_it_was_while_servers_fail(
    three: Cluster, hire: Callable[..., Hand], soak_seconds: int
) -> None:
    seed = random.randrange(1 << 30)
    chance = random.Random(seed)
    print(f"seed {seed}")
    commits = max(COMMITS // 2, soak_seconds)
    hand = hire("live_a_day", three.url(wait_ms=PATIENCE_MS), seed, commits)
    failures = 0
    while not hand.connection.poll(1):
        kill_and_restart(three, failures % 3, chance)
        three.wait_whole()
        failures += 1
    assert hand.hear() == "lived"
    hand.tell("compare")
    answer = hand.hear(300 + 10 * soak_seconds)
    print(failures, answer)
    assert failures > 0
    assert answer["versions"] >= commits
