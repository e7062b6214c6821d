"""Verification and statistics of a database that is written all the time."""

import threading
from contextlib import closing

import mvsqlite_py

ROUNDS = 40


def write(store: mvsqlite_py.Store, done: threading.Event, failures: list[BaseException]) -> None:
    """Small commits, large staged ones, a table dropped, VACUUM."""
    try:
        with closing(mvsqlite_py.connect("busy.db", store)) as connection:
            for i in range(ROUNDS):
                connection.execute(f"CREATE TABLE t{i}(a, b)")
                connection.execute(f"INSERT INTO t{i} VALUES (1, randomblob(5000))")
                if i % 4 == 1:
                    rows = "WITH RECURSIVE g(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM g WHERE x < 200)"
                    connection.execute(f"INSERT INTO t{i} {rows} SELECT x, randomblob(900) FROM g")
                if i % 4 == 3:
                    connection.execute(f"DROP TABLE t{i - 2}")
                    connection.execute("VACUUM")
    except BaseException as error:
        failures.append(error)
    finally:
        done.set()


def test_others_may_commit_meanwhile(store: mvsqlite_py.Store) -> None:
    store.configure(stage_bytes=65536)
    database = store.create("busy.db")
    done, failures = threading.Event(), list[BaseException]()
    writer = threading.Thread(target=write, args=(store, done, failures))
    writer.start()
    checked = 0
    while not done.is_set():
        assert database.verify().problems == []
        usage = database.stat()
        assert usage.versions >= checked
        checked = usage.versions
    writer.join()
    assert failures == []
    found = database.verify()
    usage = database.stat()
    assert found.problems == []
    assert found.images == usage.pages + usage.history_pages
    assert usage.staged_bytes == 0
    assert usage.versions == len(list(database.versions()))
