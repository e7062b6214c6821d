"""Several processes and threads on one database: nothing is lost, nobody waits without need."""

import os
import random
from itertools import count
from pathlib import Path
from typing import Any

import apsw
import pytest

import mvsqlite_py
from history import check_history
from peers import peers, run_together

BUSY, BUSY_SNAPSHOT = apsw.SQLITE_BUSY, apsw.SQLITE_BUSY_SNAPSHOT

EXPECTED_ERRORS = {
    "immediate": set(),
    "autocommit": set(),
    "deferred": {f"write {BUSY}", f"write {BUSY_SNAPSHOT}"},
}
"""What an application sees on stock SQLite in WAL mode with a busy timeout, by way of counting."""


def stock_file(path: Path) -> str:
    connection = apsw.Connection(str(path))
    connection.execute(
        "PRAGMA journal_mode=WAL; CREATE TABLE c(n INTEGER); INSERT INTO c VALUES(0)"
    ).fetchall()
    connection.close()
    return str(path)


def counter(store: mvsqlite_py.Store, name: str = "counter.db") -> None:
    connection = mvsqlite_py.connect(name, store)
    connection.execute("CREATE TABLE c(n INTEGER); INSERT INTO c VALUES(0)")
    connection.close()


def value(connection: apsw.Connection) -> int:
    number = connection.execute("SELECT n FROM c").fetchone()[0]
    connection.close()
    return int(number)


@pytest.mark.parametrize("way", ["immediate", "autocommit", "deferred"])
@pytest.mark.parametrize("number", [2, 8])
def test_no_increment_is_lost_and_no_error_is_new(
    way: str, number: int, store: mvsqlite_py.Store, tmp_path: Path, soak_seconds: int
) -> None:
    """The classic counter: every acknowledged increment counts once, errors are stock WAL's."""
    times = (20 if number == 8 else 60) * (1 + soak_seconds // 10)
    counter(store)
    ours = run_together(number, "count", way=way, times=times, timeout=60, store=store.url, name="counter.db")
    path = stock_file(tmp_path / "stock.db")
    theirs = run_together(number, "count", way=way, times=times, timeout=60, path=path)
    assert value(mvsqlite_py.connect("counter.db", store)) == number * times
    assert value(apsw.Connection(path)) == number * times
    assert {kind for answer in theirs for kind in answer["errors"]} <= EXPECTED_ERRORS[way]
    assert {kind for answer in ours for kind in answer["errors"]} <= EXPECTED_ERRORS[way]
    assert store.database("counter.db").verify().problems == []


@pytest.mark.parametrize("way", ["immediate", "autocommit"])
def test_threads_with_connections_of_their_own(way: str, store: mvsqlite_py.Store, soak_seconds: int) -> None:
    """Threads of a process exclude each other as processes do."""
    times = 20 * (1 + soak_seconds // 10)
    counter(store)
    answers = run_together(
        2, "count_in_threads", way=way, threads=4, times=times, timeout=60, store=store.url, name="counter.db"
    )
    assert [thread["errors"] for process in answers for thread in process] == [{}] * 8
    assert value(mvsqlite_py.connect("counter.db", store)) == 8 * times


def test_eight_writers_with_the_usual_timeout_all_make_progress(
    store: mvsqlite_py.Store, soak_seconds: int
) -> None:
    """Nobody waits longer than the five seconds that applications allow."""
    times = 40 * (1 + soak_seconds // 10)
    counter(store)
    answers = run_together(
        8, "count", way="autocommit", times=times, timeout=5, store=store.url, name="counter.db"
    )
    assert [answer["errors"] for answer in answers] == [{}] * 8
    assert max(answer["slowest"] for answer in answers) < 5


def test_readers_do_not_wait_for_a_writer_nor_it_for_them(store: mvsqlite_py.Store) -> None:
    """Neither another process's open write transaction nor its open reader is in the way."""
    counter(store)
    arguments = {"store": store.url, "name": "counter.db", "timeout": 0}
    with peers(2, "obey", **arguments) as (writer, reader):

        def ask(peer: Any, sql: str) -> Any:
            peer.tell(sql)
            return peer.hear()

        assert ask(writer, "BEGIN EXCLUSIVE") == {"rows": []}
        assert ask(writer, "UPDATE c SET n=1") == {"rows": []}
        assert ask(reader, "SELECT n FROM c") == {"rows": [[0]]}
        assert ask(reader, "BEGIN") == {"rows": []}
        assert ask(reader, "SELECT n FROM c") == {"rows": [[0]]}
        assert ask(writer, "COMMIT") == {"rows": []}
        assert ask(writer, "UPDATE c SET n=2") == {"rows": []}
        assert ask(reader, "SELECT n FROM c") == {"rows": [[0]]}
        assert ask(reader, "UPDATE c SET n=3") == {"error": BUSY_SNAPSHOT}
        assert ask(reader, "COMMIT") == {"rows": []}
        assert ask(reader, "SELECT n FROM c") == {"rows": [[2]]}


def test_a_writer_that_waits_gets_plain_busy(store: mvsqlite_py.Store) -> None:
    """The code that calls busy handlers, in whatever way the second writer begins."""
    counter(store)
    arguments = {"store": store.url, "name": "counter.db", "timeout": 0}
    with peers(2, "obey", **arguments) as (first, second):
        first.tell("BEGIN IMMEDIATE")
        assert first.hear() == {"rows": []}
        for sql in ("BEGIN IMMEDIATE", "BEGIN EXCLUSIVE", "UPDATE c SET n=5", "CREATE TABLE x(y)"):
            second.tell(sql)
            assert second.hear() == {"error": BUSY}, sql
        first.end()
        second.tell("UPDATE c SET n=5")
        assert second.hear() == {"rows": []}, "the lock outlived its process"


def test_a_transaction_that_begins_to_write_sees_the_newest_commit(store: mvsqlite_py.Store) -> None:
    """Work between another's commits never ends in a refused COMMIT.

    A reader whose pages nobody changed may begin to write; from then on it sees, and keeps,
    everything that was committed.
    """
    connection = mvsqlite_py.connect("two.db", store)
    connection.execute(
        "CREATE TABLE a(v); CREATE TABLE b(v); INSERT INTO a VALUES(0); INSERT INTO b VALUES(0)"
    )
    connection.close()
    connection = mvsqlite_py.connect("two.db", store)
    other = mvsqlite_py.connect("two.db", store)
    connection.execute("BEGIN; SELECT v FROM a").fetchall()
    other.execute("UPDATE b SET v=1")
    connection.execute("UPDATE a SET v=1")
    assert connection.execute("SELECT a.v, b.v FROM a, b").fetchall() == [(1, 1)]
    connection.execute("UPDATE b SET v=v+1; COMMIT")
    assert other.execute("SELECT a.v, b.v FROM a, b").fetchall() == [(1, 2)]
    connection.close()
    other.close()


def test_a_forked_child_opens_for_itself(store: mvsqlite_py.Store) -> None:
    """The parent's connection is refused in the child; a new one works; the parent goes on."""
    counter(store)
    idle = mvsqlite_py.connect("counter.db", store)
    writing = mvsqlite_py.connect("counter.db", store)
    writing.execute("BEGIN IMMEDIATE; UPDATE c SET n=n+1")
    child = os.fork()
    if child == 0:
        os._exit(_in_child(idle, store.url))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    writing.execute("COMMIT")
    assert value(idle) == 1
    writing.close()


def _in_child(inherited: apsw.Connection, url: str) -> int:
    """0, or the number of the step that did not go as it must."""
    own = mvsqlite_py.connect("counter.db", url, timeout=0)
    steps = [
        (apsw.MisuseError, lambda: inherited.execute("SELECT n FROM c").fetchall()),
        (apsw.BusyError, lambda: own.execute("UPDATE c SET n=100")),
    ]
    for number, (expected, step) in enumerate(steps, 1):
        try:
            step()
        except expected:
            continue
        except BaseException:  # no exception may leave the child
            return 10 + number
        return number
    return 0 if own.execute("SELECT n FROM c").fetchall() == [(0,)] else 3


def test_every_read_is_explained_by_the_order_of_versions(store_url: str, soak_seconds: int) -> None:
    """Random transactions from processes and threads, replayed one after the other.

    A transaction that wrote saw exactly what the commits before its own version made; one that
    only read, what its snapshot's version was; and who began after an acknowledgement saw it.
    """
    seed = random.randrange(1 << 30)
    longer = 1 + soak_seconds // 10
    for turn in count():
        url = f"{store_url}-{turn}"
        records, refused = run_history(url, f"{seed} {turn}", processes=3, threads=2, transactions=60)
        with mvsqlite_py.open_store(url) as store:
            problems = check_history(store, records)
        assert problems == [], f"seed {seed}, turn {turn}"
        assert len(records) > refused, "most transactions must get through"
        if turn + 1 >= longer:
            break


REGISTERS = 12


def run_history(
    url: str, seed: str, processes: int, threads: int, transactions: int
) -> tuple[list[Any], int]:
    """The records of all transactions that were not refused, and how many were."""
    with mvsqlite_py.open_store(url) as store:
        connection = mvsqlite_py.connect("registers.db", store)
        connection.execute("CREATE TABLE r(k INTEGER PRIMARY KEY, v, filler)")
        rows = [(k, "0", b"x" * 1500) for k in range(REGISTERS)]
        with connection:
            connection.executemany("INSERT INTO r VALUES(?,?,?)", rows)
        connection.close()
        answers = run_together(
            processes, "history", store=url, name="registers.db", timeout=2, seed=seed,
            threads=threads, transactions=transactions, registers=REGISTERS,
        )  # fmt: skip
    records = [record for answer in answers for record in answer["records"]]
    return records, sum(answer["refused"] for answer in answers)
