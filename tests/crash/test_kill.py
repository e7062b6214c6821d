"""kill -9 at random moments and at every step: nothing acknowledged is lost, nothing is half there."""

import random
import time
from collections.abc import Callable
from contextlib import closing

import pytest

import mvsqlite_py
from killing import KINDS, Ledger, check_rows, check_store, killed_at, open_pair, prepare, run_and_kill

pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


@pytest.fixture
def url(store_url: str) -> str:
    prepare(store_url)
    return store_url


def test_killed_at_random_moments(url: str, soak_seconds: int, capsys: pytest.CaptureFixture[str]) -> None:
    rng, ledger = random.Random(7), Ledger()
    until = time.monotonic() + (soak_seconds or 10)
    rounds = 0
    while time.monotonic() < until:
        run_and_kill(url, ledger, rng.choice([1, 3, 3, 6]), rng.uniform(0.02, 0.25), rng)
        check_rows(url, ledger)
        rounds += 1
        if rounds % 25 == 0:
            check_store(url, versions=3)
    check_store(url, versions=50)
    with closing(open_pair(url)) as connection:  # the next writer works at once
        KINDS["both"](connection, 0, 1)
    assert ledger.commits > 0
    with capsys.disabled():
        if soak_seconds:
            print(f"\n{ledger.kills} kills, {ledger.commits} acknowledged commits checked")


def revert(url: str) -> None:
    with mvsqlite_py.open_store(url) as store:
        database = store.database("one.db")
        database.revert(version=list(database.versions(limit=2))[1].version)


def one_commit(kind: str) -> Callable[[str], None]:
    def action(url: str) -> None:
        with closing(open_pair(url)) as connection:
            tx = connection.execute("SELECT coalesce(max(tx), 0) + 1 FROM done").fetchall()[0][0]
            KINDS[kind](connection, 99, tx)

    return action


ACTIONS = {kind: one_commit(kind) for kind in KINDS} | {"revert": revert}


@pytest.mark.parametrize("name", ACTIONS)
def test_killed_at_every_step(url: str, name: str) -> None:
    kinds = ["small", "large", "small"] if name == "revert" else ["both", "large", "both"]
    with closing(open_pair(url)) as connection:
        for tx, kind in enumerate(kinds, 1):
            KINDS[kind](connection, 1, tx)
    ledger = Ledger() if name == "revert" else Ledger({1: dict(enumerate(kinds, 1))})
    n, step = 1, 1
    while killed_at(url, n, ACTIONS[name]):
        check_rows(url, ledger)
        n += step
        if n > 60:
            step = 29  # a large commit does the same for many pages
    check_rows(url, ledger)
    check_store(url, versions=5)
    assert n > 10, "the action makes engine calls"
