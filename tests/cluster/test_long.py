"""Transactions longer than FoundationDB's five seconds, and larger than its ten megabytes."""

import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import closing

import apsw
import pytest

import jobs
import mvsqlite_py
from crew import Hand, pause

ROWS = 3000
LARGE, LARGE_SOAK = 30 << 20, 2 << 30
KILLS = 4


@pytest.fixture
def store(url: str) -> Iterator[mvsqlite_py.Store]:
    """Of a database with rows on many pages, and a page cache of our own that keeps none."""
    with mvsqlite_py.open_store(url) as opened, closing(mvsqlite_py.connect("long.db", opened)) as connection:
        opened.configure(cache_bytes=0)
        connection.execute("CREATE TABLE t(i INTEGER PRIMARY KEY, x, filler)")
        with connection:
            connection.executemany("INSERT INTO t VALUES(?, 0, ?)", [(i, b"." * 500) for i in range(ROWS)])
        yield opened


@pytest.mark.soak
def test_a_transaction_may_last(store: mvsqlite_py.Store, soak_seconds: int) -> None:
    """What it reads is what was there when it began, however long ago; what it wrote is committed."""
    reader, writer, other = (mvsqlite_py.connect("long.db", store) for _ in range(3))
    reader.execute("PRAGMA cache_size=5; BEGIN")
    assert reader.execute("SELECT sum(x) FROM t WHERE i < 100").fetchall() == [(0,)]
    writer.execute("PRAGMA cache_size=5; BEGIN IMMEDIATE; UPDATE t SET x = 1 WHERE i < 100")
    for seconds in (6, 10, min(soak_seconds, 600)):
        pause(seconds)
        assert reader.execute("SELECT count(*), sum(x) FROM t").fetchall() == [(ROWS, 0)]
        assert writer.execute("SELECT count(*), sum(x) FROM t").fetchall() == [(ROWS, 100)]
        assert other.execute("SELECT count(*), sum(x) FROM t").fetchall() == [(ROWS, 0)]
    writer.execute("UPDATE t SET x = 1 WHERE i >= 2900; COMMIT")
    assert other.execute("SELECT sum(x) FROM t").fetchall() == [(200,)]
    assert reader.execute("SELECT sum(x) FROM t").fetchall() == [(0,)]
    reader.execute("COMMIT")
    assert reader.execute("SELECT sum(x) FROM t").fetchall() == [(200,)]
    for connection in (reader, writer, other):
        connection.close()
    assert store.database("long.db").verify().problems == []


def test_a_statement_that_is_read_slowly(store: mvsqlite_py.Store) -> None:
    """Its rows are those of its beginning, though another commits meanwhile."""
    with (
        closing(mvsqlite_py.connect("long.db", store)) as slow,
        closing(store.database("long.db").connect()) as other,
    ):
        slow.execute("PRAGMA cache_size=5")
        rows = slow.execute("SELECT i, x FROM t ORDER BY i")
        first = [next(rows) for _ in range(10)]
        other.execute("UPDATE t SET x = 7; DELETE FROM t WHERE i % 2")
        pause(6)
        assert first + list(rows) == [(i, 0) for i in range(ROWS)]


@pytest.fixture
def large(url: str) -> Iterator[apsw.Connection]:
    with closing(mvsqlite_py.connect("large.db", url, timeout=60)) as connection:
        connection.execute("CREATE TABLE large(mark, i, body)")
        yield connection


def contents(connection: apsw.Connection) -> list[tuple[object, ...]]:
    sql = "SELECT mark, count(*), sum(length(body)) FROM large GROUP BY mark"
    return connection.execute(sql).fetchall()


@pytest.mark.soak
def test_a_large_transaction_is_committed(
    large: apsw.Connection, url: str, hire: Callable[..., Hand], soak_seconds: int
) -> None:
    hand = hire("write_large", url, "whole", LARGE_SOAK if soak_seconds else LARGE)
    assert hand.hear() == "ready"
    rows = hand.hear(180 + 10 * soak_seconds)
    assert contents(large) == [("whole", rows, rows * jobs.ROW)]
    with mvsqlite_py.open_store(url) as store:
        assert store.database("large.db").stat().staged_bytes == 0
        assert store.database("large.db").verify().problems == []
    large.execute("VACUUM")
    assert large.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


@pytest.mark.soak
def test_a_large_transaction_killed_is_there_or_not(
    large: apsw.Connection, url: str, hire: Callable[..., Hand], soak_seconds: int
) -> None:
    """At random moments: while pages are staged, at its commit, while they are moved.

    The next writer works at once, and what was staged for nothing is gone.
    """
    seed = random.randrange(1 << 30)
    chance = random.Random(seed)
    print(f"seed {seed}")
    longest = duration(hire, url)
    for kill in range(KILLS * (1 + soak_seconds // 60)):
        hand = hire("write_large", url, f"kill {kill}", LARGE)
        assert hand.hear() == "ready"
        pause(chance.uniform(0, longest))
        hand.signal(signal.SIGKILL)
        hand.end()
        with closing(mvsqlite_py.connect("large.db", url, timeout=0)) as writer:
            writer.execute("INSERT INTO large VALUES('between', 0, NULL)")
        for mark, rows, size in contents(large):
            assert mark == "between" or (rows, size) == (LARGE // jobs.ROW, rows * jobs.ROW), mark
        large.execute("DELETE FROM large")
        with mvsqlite_py.open_store(url) as store:
            assert store.database("large.db").stat().staged_bytes == 0
    with mvsqlite_py.open_store(url) as store:
        assert store.database("large.db").verify().problems == []


def duration(hire: Callable[..., Hand], url: str) -> float:
    """Seconds that the transaction takes when nobody kills it."""
    hand = hire("write_large", url, "first", LARGE)
    assert hand.hear() == "ready"
    began = time.monotonic()
    hand.hear()
    return time.monotonic() - began
