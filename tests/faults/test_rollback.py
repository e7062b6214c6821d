"""What is rolled back, by the application or after a refused commit, leaves nothing behind."""

from collections.abc import Iterator

import apsw
import pytest
from scenarios import KINDS

import mvsqlite_py
from mvsqlite_py._binding import lib

ROWS = 200


@pytest.fixture
def faulty(store_url: str) -> Iterator[mvsqlite_py.Store]:
    with mvsqlite_py.open_store(f"fault:{store_url}") as store:
        yield store
    lib.mv_fault_reset()


@pytest.fixture(params=["normal", "exclusive"])
def connection(request: pytest.FixtureRequest, faulty: mvsqlite_py.Store) -> Iterator[apsw.Connection]:
    """A database with many pages that are free: SQLite does not journal what it writes there."""
    opened = mvsqlite_py.connect("free.db", faulty)
    opened.execute(f"PRAGMA locking_mode={request.param}").fetchall()
    opened.execute("PRAGMA cache_size=5; CREATE TABLE t(i INTEGER PRIMARY KEY, filler)")
    insert(opened, ROWS)
    opened.execute("DELETE FROM t WHERE i>3")
    yield opened
    opened.close()


def insert(connection: apsw.Connection, rows: int) -> None:
    connection.execute(
        "WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i+1 FROM n WHERE i<?1) "
        "INSERT OR REPLACE INTO t SELECT i, randomblob(1000) FROM n",
        (rows,),
    )


def look(connection: apsw.Connection, store: mvsqlite_py.Store) -> tuple[object, ...]:
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    rows = connection.execute("SELECT i, hex(filler) FROM t").fetchall()
    return rows, [version.version for version in store.database("free.db").versions()]


def test_a_rolled_back_transaction_is_no_version(
    connection: apsw.Connection, faulty: mvsqlite_py.Store
) -> None:
    """Even if its pages had left SQLite's cache, some of them without being journalled."""
    before = look(connection, faulty)
    connection.execute("BEGIN")
    insert(connection, ROWS)
    connection.execute("ROLLBACK")
    assert look(connection, faulty) == before


def test_a_savepoint_rolled_back_keeps_the_rest(
    connection: apsw.Connection, faulty: mvsqlite_py.Store
) -> None:
    """SQLite reads its journal for a savepoint too; what came before it is committed."""
    (rows, versions) = look(connection, faulty)
    connection.execute("BEGIN; UPDATE t SET filler='kept' WHERE i=1; SAVEPOINT s")
    insert(connection, ROWS)
    connection.execute("ROLLBACK TO s; COMMIT")
    (rows_now, versions_now) = look(connection, faulty)
    assert len(rows_now) == len(rows)  # type: ignore[arg-type]
    assert connection.execute("SELECT filler FROM t WHERE i=1").fetchall() == [("kept",)]
    assert len(versions_now) == len(versions) + 1  # type: ignore[arg-type]


def test_commits_after_a_rollback_count(connection: apsw.Connection, faulty: mvsqlite_py.Store) -> None:
    """A rollback is forgotten with its transaction, also where the lock is kept."""
    for turn in range(3):
        connection.execute("BEGIN")
        insert(connection, ROWS)
        connection.execute("ROLLBACK; BEGIN; DELETE FROM t WHERE i=2; ROLLBACK")
        connection.execute("UPDATE t SET filler=? WHERE i=1", (f"turn {turn}",))
        with faulty.database("free.db").connect() as other:
            assert other.execute("SELECT filler FROM t WHERE i=1").fetchall() == [(f"turn {turn}",)]
        other.close()


@pytest.mark.parametrize("sql", ["VACUUM", "PRAGMA page_size=512; VACUUM", "INSERT INTO t VALUES(50,'new')"])
def test_a_refused_commit_leaves_the_database_whole(
    sql: str, connection: apsw.Connection, faulty: mvsqlite_py.Store
) -> None:
    """SQLite restores only what it journalled; free pages and cut ones must come back by themselves."""
    before = look(connection, faulty)
    lib.mv_fault_arm(KINDS["COMMIT"], 1, 0, 11)
    with pytest.raises(apsw.IOError):
        connection.execute(sql).fetchall()
    lib.mv_fault_reset()
    assert look(connection, faulty) == before
    connection.execute(sql).fetchall()
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
