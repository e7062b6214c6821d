"""Locks, snapshots and SQLite's own page cache: several connections of one process."""

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import apsw
import pytest

import mvsqlite_py
from mvsqlite_py import _binding, dbapi

BUSY_SNAPSHOT = 517
Opener = Callable[..., Any]


def open_apsw(store: mvsqlite_py.Store, name: str = "main.db", timeout: float = 0) -> Any:
    return mvsqlite_py.connect(name, store, timeout=timeout)


def open_sqlite3(store: mvsqlite_py.Store, name: str = "main.db", timeout: float = 0) -> Any:
    return dbapi.connect(name, store, timeout=timeout, isolation_level=None, check_same_thread=False)


@pytest.fixture(
    params=[(open_apsw, open_apsw), (open_sqlite3, open_sqlite3), (open_apsw, open_sqlite3)],
    ids=["apsw", "sqlite3", "both"],
)
def two(request: pytest.FixtureRequest, store: mvsqlite_py.Store) -> Iterator[tuple[Any, Any]]:
    """Two connections to one database with tables t and u of twenty pages each; "both" are of
    two copies of SQLite."""
    first, second = (opener(store) for opener in request.param)
    first.execute("BEGIN")
    for table in "tu":
        first.execute(f"CREATE TABLE {table}(a INTEGER PRIMARY KEY, b)")
        first.executemany(f"INSERT INTO {table} VALUES (?, zeroblob(4000))", [(n,) for n in range(20)])
    first.execute("COMMIT")
    yield first, second
    first.close()
    second.close()


def rows(connection: Any, sql: str) -> list[Any]:
    return [tuple(row) for row in connection.execute(sql).fetchall()]


def one(connection: Any, sql: str) -> Any:
    return rows(connection, sql)[0][0]


def refused(connection: Any, sql: str, match: str = "locked") -> Exception:
    with pytest.raises((apsw.BusyError, sqlite3.OperationalError), match=match) as caught:
        connection.execute(sql)
    return caught.value


def code_of(error: Exception) -> int:
    return error.extendedresult if isinstance(error, apsw.Error) else error.sqlite_errorcode


# ---- one writer ----------------------------------------------------------------------


@pytest.mark.parametrize("begin", ["BEGIN IMMEDIATE", "BEGIN EXCLUSIVE", "BEGIN; DELETE FROM t WHERE a = 0"])
@pytest.mark.parametrize("want", ["BEGIN IMMEDIATE", "BEGIN EXCLUSIVE", "DELETE FROM u", "CREATE TABLE v(x)"])
def test_a_second_writer_is_told_busy(two: tuple[Any, Any], begin: str, want: str) -> None:
    first, second = two
    for statement in begin.split(";"):
        first.execute(statement)
    assert code_of(refused(second, want)) == apsw.SQLITE_BUSY
    assert not second.in_transaction
    first.execute("COMMIT")
    second.execute(want)


def test_a_second_writer_waits_with_a_busy_handler(store: mvsqlite_py.Store) -> None:
    first, second = open_apsw(store), open_apsw(store)
    first.execute("CREATE TABLE t(a); BEGIN IMMEDIATE; INSERT INTO t VALUES (1)")
    asked = []

    def handler(n: int) -> bool:
        asked.append(n)
        if n == 2:
            first.execute("COMMIT")
        return True

    second.set_busy_handler(handler)
    second.execute("INSERT INTO t VALUES (2)")
    assert asked == [0, 1, 2]
    assert rows(second, "SELECT a FROM t") == [(1,), (2,)]
    first.execute("BEGIN IMMEDIATE")
    second.set_busy_handler(lambda _: False)
    refused(second, "BEGIN IMMEDIATE")
    first.close()
    second.close()


@pytest.mark.parametrize("opener", [open_apsw, open_sqlite3])
def test_a_second_writer_waits_with_a_timeout(store: mvsqlite_py.Store, opener: Opener) -> None:
    first, second = open_apsw(store), opener(store, timeout=60)
    first.execute("CREATE TABLE t(a); BEGIN IMMEDIATE; INSERT INTO t VALUES (1)")
    waits = threading.Event()

    def write() -> None:
        waits.set()
        second.execute("INSERT INTO t SELECT max(a) + 1 FROM t")

    writer = threading.Thread(target=write)
    writer.start()
    waits.wait()
    first.execute("UPDATE t SET a = 10")
    first.execute("COMMIT")
    writer.join()
    assert rows(first, "SELECT a FROM t") == [(10,), (11,)]
    first.close()
    second.close()


def test_a_short_timeout_runs_out(store: mvsqlite_py.Store) -> None:
    first, second = open_apsw(store), open_apsw(store, timeout=0.05)
    first.execute("CREATE TABLE t(a); BEGIN IMMEDIATE")
    refused(second, "INSERT INTO t VALUES (1)")
    first.execute("COMMIT")
    second.execute("INSERT INTO t VALUES (1)")
    first.close()
    second.close()


# ---- readers ---------------------------------------------------------------------------


@pytest.mark.parametrize("begin", ["BEGIN IMMEDIATE", "BEGIN EXCLUSIVE"])
def test_a_reader_is_not_blocked_by_a_writer(two: tuple[Any, Any], begin: str) -> None:
    first, second = two
    first.execute("PRAGMA cache_size = 2")
    first.execute(begin)
    first.execute("DELETE FROM t")
    first.execute("UPDATE u SET b = zeroblob(9000)")
    assert one(second, "SELECT count(*) FROM t") == 20
    first.execute("COMMIT")
    assert one(second, "SELECT count(*) FROM t") == 0


def test_a_writer_is_not_blocked_by_readers(two: tuple[Any, Any]) -> None:
    first, second = two
    second.execute("BEGIN")
    assert one(second, "SELECT count(*) FROM t") == 20
    first.execute("DELETE FROM t")
    first.execute("DELETE FROM u")
    first.execute("VACUUM")
    assert one(second, "SELECT count(*) FROM t") == 20
    assert one(second, "SELECT count(*) FROM u") == 20
    assert rows(second, "PRAGMA integrity_check") == [("ok",)]
    second.execute("COMMIT")
    assert one(second, "SELECT count(*) FROM u") == 0


def test_a_cursor_keeps_its_snapshot(two: tuple[Any, Any]) -> None:
    first, second = two
    cursor = second.execute("SELECT a FROM t")
    seen = [next(cursor)[0] for _ in range(5)]
    first.execute("DELETE FROM t")
    seen += [row[0] for row in cursor]
    assert seen == list(range(20))
    assert one(second, "SELECT count(*) FROM t") == 0


def test_a_reader_of_stale_pages_cannot_become_a_writer(two: tuple[Any, Any]) -> None:
    first, second = two
    second.execute("BEGIN")
    rows(second, "SELECT * FROM t")
    first.execute("UPDATE t SET b = 'changed' WHERE a = 3")
    assert code_of(refused(second, "UPDATE t SET b = 'lost' WHERE a = 3")) == BUSY_SNAPSHOT
    assert second.in_transaction
    second.execute("ROLLBACK")
    assert one(second, "SELECT b FROM t WHERE a = 3") == "changed"
    second.execute("BEGIN")
    rows(second, "SELECT * FROM t")
    second.execute("UPDATE t SET b = 'mine' WHERE a = 3")
    second.execute("COMMIT")
    assert one(first, "SELECT b FROM t WHERE a = 3") == "mine"


def test_a_stale_snapshot_is_not_waited_for(store: mvsqlite_py.Store) -> None:
    """Waiting would not help: the busy handler is not asked."""
    first, second = open_apsw(store), open_apsw(store)
    first.execute("CREATE TABLE t(a); INSERT INTO t VALUES (1)")
    asked: list[int] = []
    second.set_busy_handler(lambda n: asked.append(n) or True)
    second.execute("BEGIN")
    rows(second, "SELECT * FROM t")
    first.execute("UPDATE t SET a = 2")
    refused(second, "UPDATE t SET a = 3")
    assert asked == []
    first.close()
    second.close()


def test_no_update_is_lost_between_interleaved_writers(two: tuple[Any, Any]) -> None:
    first, second = two
    first.execute("UPDATE t SET b = 0")
    for n in range(40):
        writer = (first, second)[n % 2]
        writer.execute("BEGIN IMMEDIATE")
        assert one(writer, "SELECT b FROM t WHERE a = 1") == n
        writer.execute(f"UPDATE t SET b = {n + 1} WHERE a = 1")
        writer.execute("COMMIT")
    assert one(first, "SELECT b FROM t WHERE a = 1") == 40
    assert rows(second, "PRAGMA integrity_check") == [("ok",)]


# ---- locking_mode=EXCLUSIVE ----------------------------------------------------------------


def test_an_exclusive_session_keeps_writers_out_and_moves_on(two: tuple[Any, Any]) -> None:
    first, second = two
    rows(first, "PRAGMA locking_mode = EXCLUSIVE")
    assert one(first, "SELECT count(*) FROM t") == 20
    refused(second, "DELETE FROM t")
    for left in (19, 18, 17):
        first.execute(f"DELETE FROM t WHERE a = {left}")
        assert one(first, "SELECT count(*) FROM t") == left
        assert one(second, "SELECT count(*) FROM t") == left
        refused(second, "DELETE FROM t")
    first.execute("BEGIN")
    first.execute("DELETE FROM t")
    first.execute("ROLLBACK")
    assert one(first, "SELECT count(*) FROM t") == 17
    rows(first, "PRAGMA locking_mode = NORMAL")
    one(first, "SELECT count(*) FROM t")
    second.execute("DELETE FROM t")
    assert one(first, "SELECT count(*) FROM t") == 0
    assert rows(first, "PRAGMA integrity_check") == [("ok",)]


def test_an_exclusive_session_waits_for_its_turn(two: tuple[Any, Any]) -> None:
    first, second = two
    second.execute("BEGIN IMMEDIATE")
    rows(first, "PRAGMA locking_mode = EXCLUSIVE")
    refused(first, "SELECT count(*) FROM t")
    second.execute("DELETE FROM t")
    second.execute("COMMIT")
    assert one(first, "SELECT count(*) FROM t") == 0


def test_an_exclusive_session_of_a_past_state_locks_nothing(two: tuple[Any, Any]) -> None:
    first, second = two
    second.execute("DELETE FROM u")
    rows(first, "PRAGMA mv_at = '0 s ago'")
    rows(first, "PRAGMA locking_mode = EXCLUSIVE")
    assert one(first, "SELECT count(*) FROM t") == 20
    second.execute("DELETE FROM t")
    assert one(first, "SELECT count(*) FROM t") == 20


def test_an_exclusive_session_covers_attached_databases(
    two: tuple[Any, Any], store: mvsqlite_py.Store
) -> None:
    """SQLite keeps every database of the connection locked: none may go stale under it."""
    first, second = two
    other = open_apsw(store, "attached.db")
    other.execute("CREATE TABLE x(a)")
    first.execute("ATTACH ? AS side", (mvsqlite_py.uri("attached.db", store=store),))
    rows(first, "PRAGMA locking_mode = EXCLUSIVE")
    assert one(first, "SELECT count(*) FROM side.x") == 0
    refused(other, "INSERT INTO x VALUES (1)")
    first.execute("INSERT INTO side.x VALUES (2)")
    assert rows(other, "SELECT a FROM x") == [(2,)]
    other.close()
    assert one(second, "SELECT count(*) FROM t") == 20


# ---- SQLite's page cache -----------------------------------------------------------------------


def misses(connection: apsw.Connection, sql: str) -> int:
    """How many pages SQLite asked the VFS for."""
    connection.status(apsw.SQLITE_DBSTATUS_CACHE_MISS, True)
    rows(connection, sql)
    return int(connection.status(apsw.SQLITE_DBSTATUS_CACHE_MISS, True)[0])


@pytest.mark.parametrize("opener", [open_apsw, open_sqlite3])
def test_the_cache_is_kept_when_others_change_other_pages(store: mvsqlite_py.Store, opener: Opener) -> None:
    reader, writer = open_apsw(store), opener(store)
    for table in "tu":
        writer.execute(f"CREATE TABLE {table}(a INTEGER PRIMARY KEY, b)")
        writer.executemany(f"INSERT INTO {table} VALUES (?, zeroblob(4000))", [(n,) for n in range(20)])
    everything = "SELECT sum(length(b)) FROM t"
    assert misses(reader, everything) > 20
    assert misses(reader, everything) == 0
    writer.execute("UPDATE u SET b = zeroblob(3999)")
    assert misses(reader, everything) == 0
    assert one(reader, "SELECT sum(length(b)) FROM u") == 20 * 3999
    writer.execute("UPDATE t SET b = zeroblob(3998) WHERE a = 7")
    assert misses(reader, everything) > 0
    assert one(reader, everything) == 19 * 4000 + 3998
    reader.close()
    writer.close()


def test_own_commits_keep_the_cache(store: mvsqlite_py.Store) -> None:
    connection = open_apsw(store)
    connection.execute("CREATE TABLE t(a INTEGER PRIMARY KEY, b)")
    connection.executemany("INSERT INTO t VALUES (?, zeroblob(4000))", [(n,) for n in range(20)])
    rows(connection, "SELECT sum(length(b)) FROM t")
    for n in range(5):
        connection.execute(f"UPDATE t SET b = zeroblob(3000) WHERE a = {n}")
        assert misses(connection, "SELECT sum(length(b)) FROM t") == 0
    connection.close()


def test_data_version_changes_with_every_foreign_commit(two: tuple[Any, Any]) -> None:
    """Also with those that change no page this connection has seen; not with its own."""
    first, second = two
    seen = [one(first, "PRAGMA data_version")]
    for sql in (
        "UPDATE u SET b = 1 WHERE a = 1",
        "UPDATE u SET b = 2 WHERE a = 1",
        "DELETE FROM t",
        "VACUUM",
    ):
        second.execute(sql)
        seen.append(one(first, "PRAGMA data_version"))
        assert one(first, "PRAGMA data_version") == seen[-1]
    assert len(set(seen)) == len(seen)
    first.execute("INSERT INTO u(b) VALUES (5)")
    assert one(first, "PRAGMA data_version") == seen[-1]


def test_a_changed_schema_is_noticed(two: tuple[Any, Any]) -> None:
    first, second = two
    rows(second, "SELECT * FROM t")
    first.execute("ALTER TABLE t ADD COLUMN c DEFAULT 5")
    assert one(second, "SELECT sum(c) FROM t") == 100
    first.execute("DROP TABLE t")
    with pytest.raises((apsw.SQLError, sqlite3.OperationalError), match="no such table"):
        second.execute("SELECT * FROM t")
    first.execute("CREATE TABLE t(z)")
    assert rows(second, "SELECT z FROM t") == []


def test_a_revert_is_noticed_by_open_connections(two: tuple[Any, Any], store: mvsqlite_py.Store) -> None:
    first, second = two
    database = store.database("main.db")
    newest = database.newest
    assert newest
    rows(second, "SELECT * FROM t")
    first.execute("DROP TABLE u")
    first.execute("ALTER TABLE t ADD COLUMN c DEFAULT 5")
    rows(second, "SELECT c FROM t")
    database.revert(version=newest.version)
    for count, connection in enumerate(two, 20):
        assert one(connection, "SELECT count(*) FROM u") == count
        assert len(rows(connection, "SELECT * FROM t")[0]) == 2
        connection.execute("INSERT INTO u(b) VALUES ('after')")
    assert one(first, "SELECT count(*) FROM u") == 22
    assert rows(first, "PRAGMA integrity_check") == [("ok",)]


def test_a_database_deleted_while_open(two: tuple[Any, Any], store: mvsqlite_py.Store) -> None:
    first, second = two
    store.delete("main.db")
    for connection in two:
        with pytest.raises((apsw.ReadOnlyError, sqlite3.OperationalError)):
            connection.execute("INSERT INTO t(b) VALUES (1)")
        assert isinstance(_binding.last_error(), mvsqlite_py.DatabaseDeletedError)
    store.undelete("main.db")
    first.execute("INSERT INTO t(b) VALUES (1)")
    assert one(second, "SELECT count(*) FROM t") == 21


@pytest.mark.parametrize("opener", [open_apsw, open_sqlite3])
def test_threads_with_connections_of_their_own(store: mvsqlite_py.Store, opener: Opener) -> None:
    with closing(opener(store)) as connection:
        connection.execute("CREATE TABLE counter(n)")
        connection.execute("INSERT INTO counter VALUES (0)")
    failures: list[BaseException] = []

    def count() -> None:
        try:
            with closing(opener(store, timeout=60)) as connection:
                for _ in range(25):
                    connection.execute("BEGIN IMMEDIATE")
                    connection.execute("UPDATE counter SET n = n + 1")
                    connection.execute("COMMIT")
        except (apsw.Error, sqlite3.Error) as error:
            failures.append(error)

    threads = [threading.Thread(target=count) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    with closing(opener(store)) as connection:
        assert one(connection, "SELECT n FROM counter") == 150
    assert len(list(store.database("main.db").versions())) == 152
