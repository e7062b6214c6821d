"""FoundationDB's errors, met for real: each is answered as it should be, and nothing is lost.

The client's own fault injection ("buggify") makes requests fail: it refuses commits, loses their
answers, and says of reads that they are too old or too new. It is switched on by the environment
of a process before that loads the client library.
"""

import random
import shutil
import signal
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import apsw
import pytest

import jobs
import mvsqlite_py
from cluster import Cluster, find_client
from crew import Hand, pause

BUGGIFY = {
    "FDB_NETWORK_OPTION_CLIENT_BUGGIFY_ENABLE": "",
    "FDB_NETWORK_OPTION_CLIENT_BUGGIFY_SECTION_ACTIVATED_PROBABILITY": "100",
    "FDB_NETWORK_OPTION_CLIENT_BUGGIFY_SECTION_FIRED_PROBABILITY": "10",
}
TOO_OLD, FUTURE_VERSION, NOT_COMMITTED, UNKNOWN_RESULT, TIMED_OUT = 1007, 1009, 1020, 1021, 1031
VERSION_CHANGED = 1039


def test_errors_of_the_client_are_met_and_survived(
    url: str, hire: Callable[..., Hand], soak_seconds: int
) -> None:
    """Counting and random SQL while one commit in ten is refused or its answer lost."""
    jobs.make_counter(url)
    hands = [hire("count", url, i, {}, 50 * (1 + soak_seconds // 10), environment=BUGGIFY) for i in range(4)]
    for hand in hands:
        assert hand.hear() == "ready"
    for hand in hands:
        hand.tell("go")
    answers = [hand.hear(300 + 10 * soak_seconds) for hand in hands]
    done = sum(answer["done"] for answer in answers)
    checked = hire("check_counter", url).hear()
    assert checked == {"value": done, "done": done, "check": [("ok",)], "problems": [], "staged": 0}
    met = sum((Counter(answer["met"]) for answer in answers), Counter())
    print(f"met {dict(met)}, errors {[answer['errors'] for answer in answers]}")
    assert {TOO_OLD, NOT_COMMITTED, UNKNOWN_RESULT} <= met.keys()


def test_reads_that_the_client_refuses_are_made_again(url: str, hire: Callable[..., Hand]) -> None:
    """Of a hundred reads one is said to be too old or too new; SQL does not notice."""
    with closing(mvsqlite_py.connect("large.db", url)) as connection:
        connection.execute("CREATE TABLE large(mark, i, body)")
        connection.execute(jobs.WRITE_LARGE, ("a", 300, 6000))
    hand = hire("read_and_verify", url, environment=BUGGIFY)
    assert hand.hear() == "ready"
    pause(4)
    hand.tell("stop")
    answer = hand.hear()
    print(answer)
    assert {TOO_OLD, FUTURE_VERSION} <= answer["met"].keys()


@pytest.mark.parametrize(
    ("kind", "nth", "sql", "rows"),
    [
        ("GET", 9, "SELECT count(DISTINCT body) FROM large", [(300,)]),
        ("COMMIT", 1, "UPDATE large SET i = -i WHERE i = 7 RETURNING i", [(-7,)]),
    ],
    ids=["reading", "committing"],
)
def test_a_process_that_slept_in_a_transaction_goes_on(
    kind: str, nth: int, sql: str, rows: list[object], fdb_cluster: Cluster, hire: Callable[..., Hand]
) -> None:
    """Stopped for longer than five seconds and continued: 1007, and SQL does not notice."""
    url = fdb_cluster.url(readahead=0)  # what was read before the pause would be there after it
    with closing(mvsqlite_py.connect("large.db", url)) as connection:
        connection.execute("CREATE TABLE large(mark, i, body)")
        connection.execute(jobs.WRITE_LARGE, ("a", 300, 6000))
    hand = hire("sleep_at", url, kind, nth, sql)
    assert hand.hear() == "ready"
    hand.wait_stopped()
    pause(8)
    hand.signal(signal.SIGCONT)
    answer = hand.hear()
    assert answer["rows"] == rows
    assert answer["fired"] == 1
    assert TOO_OLD in answer["met"]


def test_a_server_that_does_not_answer_is_an_error_in_time(fdb_cluster: Cluster) -> None:
    """1031: SQLite gets an I/O error that says so, and everything works when the server is back."""
    url = fdb_cluster.url(wait_ms=700)
    with mvsqlite_py.open_store(url) as store, closing(mvsqlite_py.connect("a.db", store)) as connection:
        connection.execute("CREATE TABLE t(x); INSERT INTO t VALUES(0)")
        fdb_cluster.stop(0)
        try:
            with pytest.raises(apsw.IOError):
                connection.execute("UPDATE t SET x = x + 1")
            told = str(mvsqlite_py._binding.last_error())
            with pytest.raises((apsw.IOError, apsw.CantOpenError)):
                mvsqlite_py.connect("b.db", store)
            with pytest.raises((apsw.IOError, apsw.BusyError)):
                connection.execute("BEGIN IMMEDIATE; UPDATE t SET x = x + 1; COMMIT")
        finally:
            fdb_cluster.cont(0)
            fdb_cluster.wait_whole()
        if not connection.get_autocommit():
            connection.execute("ROLLBACK")
        assert "cluster" in told
        connection.execute("UPDATE t SET x = x + 1")
        assert connection.execute("SELECT x FROM t").fetchall()[0][0] in (1, 2, 3)
        assert store.database("a.db").verify().problems == []
        assert TIMED_OUT in jobs.met(store)


def test_a_client_that_changes_its_protocol(url: str, hire: Callable[..., Hand], tmp_path: Path) -> None:
    """1039: with only external client libraries the first work waits for the fitting one."""
    shutil.copy(find_client(), tmp_path / "libfdb_c_external.so")
    environment = {
        "FDB_NETWORK_OPTION_EXTERNAL_CLIENT_DIRECTORY": str(tmp_path),
        "FDB_NETWORK_OPTION_DISABLE_LOCAL_CLIENT": "",
    }
    jobs.make_counter(url)
    hand = hire("count", url, 0, {}, 20, environment=environment)
    assert hand.hear() == "ready"
    hand.tell("go")
    answer = hand.hear()
    assert answer["errors"] == {}
    assert VERSION_CHANGED in answer["met"]
    assert hire("check_counter", url).hear()["value"] == 20


def test_what_is_seen_after_an_unknown_outcome_stays(fdb_cluster: Cluster) -> None:
    """A commit that is given up while it is under way is there at the next look, or never comes."""
    url = fdb_cluster.url(wait_ms=300)
    with mvsqlite_py.open_store(url) as store, closing(mvsqlite_py.connect("a.db", store)) as connection:
        connection.execute("CREATE TABLE t(x); INSERT INTO t VALUES (0)")
        for turn in range(1, 6):
            connection.execute("BEGIN IMMEDIATE; UPDATE t SET x = ?", (turn,))
            stopper = threading.Timer(random.uniform(0, 0.003), fdb_cluster.stop, [0])
            stopper.start()
            try:
                connection.execute("COMMIT")
            except apsw.IOError:
                if not connection.get_autocommit():
                    connection.execute("ROLLBACK")
            stopper.join()
            fdb_cluster.cont(0)
            fdb_cluster.wait_available()
            seen = connection.execute("SELECT x FROM t").fetchall()
            pause(0.5)
            with closing(mvsqlite_py.connect("a.db", store)) as other:
                assert other.execute("SELECT x FROM t").fetchall() == seen
        assert store.database("a.db").verify().problems == []
