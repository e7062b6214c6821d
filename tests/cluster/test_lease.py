"""The write lease: one writer at a time over all hosts, for applications that cannot try again."""

import signal
from collections.abc import Callable, Iterator
from contextlib import closing

import apsw
import pytest

import jobs
import mvsqlite_py
from crew import Hand

LEASE = {"concurrency": "lease", "lease": 3.0, "timeout": 60.0}
WORKERS, TIMES = 4, 10


@pytest.fixture
def table(url: str) -> Iterator[apsw.Connection]:
    with closing(mvsqlite_py.connect("leased.db", url, **LEASE)) as connection:
        connection.execute("CREATE TABLE t(x)")
        yield connection


def values(connection: apsw.Connection) -> list[int]:
    return [row[0] for row in connection.execute("SELECT x FROM t ORDER BY x").fetchall()]


def test_writers_take_turns_and_none_is_refused(url: str, hire: Callable[..., Hand]) -> None:
    """Within the busy timeout there is no error at all, above all not at COMMIT."""
    jobs.make_counter(url)
    hands = [hire("count", url, i, LEASE, TIMES, host=i) for i in range(WORKERS)]
    for hand in hands:
        assert hand.hear() == "ready"
    for hand in hands:
        hand.tell("go")
    answers = [hand.hear() for hand in hands]
    assert [answer["errors"] for answer in answers] == [{}] * WORKERS
    assert hire("check_counter", url).hear()["value"] == WORKERS * TIMES


def test_who_waits_too_short_gets_plain_busy(
    table: apsw.Connection, url: str, hire: Callable[..., Hand]
) -> None:
    other = hire("obey", "leased.db", url, {**LEASE, "timeout": 0.2}, host=1)
    assert other.hear() == "ready"
    table.execute("BEGIN IMMEDIATE; INSERT INTO t VALUES(1)")
    other.tell("BEGIN IMMEDIATE")
    assert other.hear() == apsw.SQLITE_BUSY
    other.tell("SELECT x FROM t")
    assert other.hear() == [], "readers need no lease"
    table.execute("COMMIT")
    other.tell("BEGIN IMMEDIATE")
    assert other.hear() == []


def test_the_lease_of_a_writer_that_was_killed_expires(
    table: apsw.Connection, url: str, hire: Callable[..., Hand]
) -> None:
    holder = hire("hold_lease", url, 1, LEASE, host=1)
    assert holder.hear() == "holds"
    holder.kill()
    table.execute("INSERT INTO t VALUES(2)")
    assert values(table) == [2]


def test_a_writer_that_slept_past_its_lease_cannot_commit(
    table: apsw.Connection, url: str, hire: Callable[..., Hand]
) -> None:
    """It is refused with a code that applications know; it tries again, and nothing is lost."""
    holder = hire("hold_lease", url, 1, LEASE, host=1)
    assert holder.hear() == "holds"
    table.execute("INSERT INTO t VALUES(2)")  # waits until the lease has expired
    holder.signal(signal.SIGCONT)
    assert holder.hear() in (apsw.SQLITE_BUSY, apsw.SQLITE_BUSY_SNAPSHOT)
    assert values(table) == [2]
    with closing(mvsqlite_py.connect("leased.db", url, **LEASE)) as again:
        again.execute("INSERT INTO t VALUES(1)")
    assert values(table) == [1, 2]
