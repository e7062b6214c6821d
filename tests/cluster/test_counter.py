"""Sixteen processes count while servers of the cluster fail: no increment is lost, none counts twice."""

import random
import time
from collections.abc import Callable

import pytest

import jobs
from cluster import Cluster
from crew import Hand, pause

WORKERS = 16
SHORT_SECONDS = 20
PATIENCE_MS = 1000
"""Less than a failure lasts, so that there are errors of every kind."""

Fail = Callable[[Cluster, int, random.Random], None]


def kill_and_restart(servers: Cluster, i: int, chance: random.Random) -> None:
    servers.kill(i)
    pause(chance.uniform(0, 3))
    servers.restart(i)


def stop_and_continue(servers: Cluster, i: int, chance: random.Random) -> None:
    servers.stop(i)
    pause(chance.uniform(0, 5))
    servers.cont(i)


@pytest.mark.soak
@pytest.mark.parametrize("fail", [kill_and_restart, stop_and_continue])
def test_every_increment_counts_once(
    fail: Fail, three: Cluster, hire: Callable[..., Hand], soak_seconds: int
) -> None:
    """Also those whose COMMIT brought an error that leaves open whether it happened."""
    url = three.url(wait_ms=PATIENCE_MS)
    jobs.make_counter(url)
    hands = [hire("count", url, i, {}) for i in range(WORKERS)]
    for hand in hands:
        assert hand.hear() == "ready"
    for hand in hands:
        hand.tell("go")
    failures = fail_again_and_again(three, fail, soak_seconds or SHORT_SECONDS)
    for hand in hands:
        hand.tell("stop")
    answers = [hand.hear() for hand in hands]
    done = sum(answer["done"] for answer in answers)
    print(f"{done} increments, {failures} failures, errors {[answer['errors'] for answer in answers]}")
    assert hire("check_counter", url).hear() == {
        "value": done,
        "done": done,
        "check": [("ok",)],
        "problems": [],
        "staged": 0,
    }
    assert failures > 0
    assert all(answer["done"] > 0 for answer in answers)


def fail_again_and_again(servers: Cluster, fail: Fail, seconds: float) -> int:
    """One server at a time; the next when all is well again, for two at once would be too many."""
    seed = random.randrange(1 << 30)
    chance, failures, until = random.Random(seed), 0, time.monotonic() + seconds
    print(f"seed {seed}")
    while time.monotonic() < until:
        fail(servers, chance.randrange(3), chance)
        failures += 1
        servers.wait_whole()
        pause(chance.uniform(0, 1))
    return failures
