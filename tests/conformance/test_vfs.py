"""What the VFS promises beyond SQL: commits, versions, past states, pragmas, functions."""

import datetime
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import apsw
import pytest

import mvsqlite_py
from mvsqlite_py import dbapi
from mvsqlite_py._binding import lib

FAULT_COMMIT, FAULT_WRITE, FAULT_READ_BEGIN = 6, 5, 2
MV_CONFLICT, MV_IO, MV_FULL = 2, 11, 12


@pytest.fixture
def db(store: mvsqlite_py.Store) -> Iterator[apsw.Connection]:
    """A connection to a database with a table of ten rows in one version."""
    with closing(mvsqlite_py.connect("main.db", store, timeout=0)) as connection:
        connection.execute("BEGIN; CREATE TABLE t(a INTEGER PRIMARY KEY, b)")
        connection.executemany("INSERT INTO t VALUES (?, ?)", [(n, f"row {n}") for n in range(1, 11)])
        connection.execute("COMMIT")
        yield connection


def rows(connection: Any, sql: str, *parameters: Any) -> list[Any]:
    return [tuple(row) for row in connection.execute(sql, parameters).fetchall()]


def one(connection: Any, sql: str, *parameters: Any) -> Any:
    return rows(connection, sql, *parameters)[0][0]


def versions(store: mvsqlite_py.Store, name: str = "main.db") -> list[mvsqlite_py.Version]:
    """Newest first."""
    return list(store.database(name).versions())


# ---- commits -----------------------------------------------------------------------


def test_a_transaction_is_one_version_and_appears_at_its_commit(db: Any, store: mvsqlite_py.Store) -> None:
    other = mvsqlite_py.connect("main.db", store)
    db.execute("BEGIN; INSERT INTO t(b) VALUES ('x'); CREATE TABLE u(a); INSERT INTO u VALUES (1)")
    assert len(versions(store)) == 1
    assert one(other, "SELECT count(*) FROM t") == 10
    db.execute("COMMIT")
    assert len(versions(store)) == 2
    assert one(other, "SELECT count(*) FROM t") == 11
    other.close()


def test_a_version_says_where_it_came_from(db: Any, store: mvsqlite_py.Store) -> None:
    db.execute("INSERT INTO t(b) VALUES ('x')")
    newest, first = versions(store)
    assert newest.previous == first.version < newest.version
    assert first.previous is None
    assert newest.kind == "commit"
    assert newest.pages == 1
    assert newest.size == one(db, "PRAGMA page_size") * one(db, "PRAGMA page_count")
    assert first.time <= newest.time <= datetime.datetime.now(datetime.UTC)
    assert newest.program
    assert newest.pid > 0


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE t SET b = b",
        "UPDATE t SET b = b || '!'; ROLLBACK",
        "SELECT * FROM t",
        "DELETE FROM t WHERE a > 1000",
        "SAVEPOINT s; DELETE FROM t; ROLLBACK TO s; RELEASE s",
        "UPDATE t SET b = 'x' WHERE a = 1; UPDATE t SET b = 'row 1' WHERE a = 1",
        "PRAGMA user_version = 0",
        "PRAGMA cache_size = 1; CREATE TABLE u(a); INSERT INTO u SELECT zeroblob(9999) FROM t, t x; ROLLBACK",
        "INSERT OR IGNORE INTO t VALUES (1, 'taken')",
    ],
)
def test_a_transaction_that_changes_nothing_is_no_version(
    db: Any, store: mvsqlite_py.Store, sql: str
) -> None:
    before = rows(db, "SELECT * FROM t")
    db.execute("BEGIN IMMEDIATE; " + sql)
    if db.in_transaction:
        db.execute("COMMIT")
    assert len(versions(store)) == 1
    assert rows(db, "SELECT * FROM t") == before


def test_a_spilled_transaction_rolled_back_leaves_nothing(db: Any, store: mvsqlite_py.Store) -> None:
    store.configure(stage_bytes=65536)
    db.execute("PRAGMA cache_size = 5; BEGIN; CREATE TABLE big(x)")
    db.execute("INSERT INTO big SELECT zeroblob(2000) FROM t, t AS u, t AS v")
    assert store.database("main.db").stat().staged_bytes > 0
    db.execute("ROLLBACK")
    assert len(versions(store)) == 1
    assert store.database("main.db").stat().staged_bytes == 0
    assert store.database("main.db").verify().problems == []


def test_a_staged_transaction_that_changes_nothing_is_no_version(db: Any, store: mvsqlite_py.Store) -> None:
    db.execute("CREATE TABLE big(x); INSERT INTO big SELECT zeroblob(2000) FROM t, t AS u, t AS v")
    before = len(versions(store))
    store.configure(stage_bytes=65536)
    db.execute("PRAGMA cache_size = 5; UPDATE big SET x = x")
    assert len(versions(store)) == before
    assert store.database("main.db").stat().staged_bytes == 0


def test_an_error_in_autocommit_is_no_version(db: Any, store: mvsqlite_py.Store) -> None:
    with pytest.raises(apsw.ConstraintError):
        db.execute("INSERT INTO t VALUES (11, 'new'), (1, 'taken')")
    assert len(versions(store)) == 1


@pytest.mark.parametrize("mode", ["wal", "off", "memory", "truncate", "persist", "delete"])
def test_journal_modes_are_answered_and_change_nothing(db: Any, store: mvsqlite_py.Store, mode: str) -> None:
    assert one(db, f"PRAGMA journal_mode = {mode}") == mode
    assert one(db, "PRAGMA journal_mode") == mode
    db.execute("BEGIN; DELETE FROM t; ROLLBACK")
    assert one(db, "SELECT count(*) FROM t") == 10
    db.execute("INSERT INTO t(b) VALUES ('x')")
    assert len(versions(store)) == 2
    assert store.database("main.db").at(version=versions(store)[0].version).read()[18:20] == b"\1\1"


@pytest.mark.parametrize("setting", ["OFF", "off", "0", "00", "no", "false", "256", "7"])
def test_synchronous_off_is_remembered_and_kept_inside(store: mvsqlite_py.Store, setting: str) -> None:
    connection = dbapi.connect("main.db", store, isolation_level=None)
    assert rows(connection, f"PRAGMA synchronous = {setting}") == []
    assert one(connection, "PRAGMA synchronous") == "0"
    assert rows(connection, "PRAGMA synchronous = NORMAL") == []
    assert one(connection, "PRAGMA synchronous") == 1
    connection.close()


# ---- several databases -----------------------------------------------------------------


@pytest.fixture
def faulty(store_url: str) -> Iterator[mvsqlite_py.Store]:
    """A store whose engine fails on demand; never after the test."""
    lib.mv_fault_reset()
    with mvsqlite_py.open_store(f"fault:{store_url}") as opened:
        yield opened
        lib.mv_fault_reset()


def pair(store: mvsqlite_py.Store, connect: Any, **options: Any) -> Any:
    """A connection with a second database attached, a table with one row in each."""
    connection = connect("one.db", store, **options)
    connection.execute("ATTACH ? AS two", (mvsqlite_py.uri("two.db", store=store),))
    for schema in ("main", "two"):
        connection.execute(f"CREATE TABLE {schema}.t(a)")
        connection.execute(f"INSERT INTO {schema}.t VALUES (1)")
    return connection


def both(store: mvsqlite_py.Store) -> list[int]:
    """What a new connection finds in each of the two."""
    found = []
    for name in ("one.db", "two.db"):
        with closing(mvsqlite_py.connect(name, store)) as connection:
            found.append(one(connection, "SELECT a FROM t"))
    return found


DRIVERS = [
    pytest.param(mvsqlite_py.connect, {}, id="apsw"),
    pytest.param(dbapi.connect, {"isolation_level": None}, id="sqlite3"),
]


@pytest.mark.parametrize(("connect", "options"), DRIVERS)
@pytest.mark.parametrize("mode", ["DELETE", "OFF", "MEMORY", "WAL"])
def test_databases_attached_commit_as_one_version(
    store: mvsqlite_py.Store, connect: Any, options: dict[str, Any], mode: str
) -> None:
    connection = pair(store, connect, **options)
    for schema in ("main", "two"):
        connection.execute(f"PRAGMA {schema}.journal_mode = {mode}").fetchall()
        connection.execute(f"PRAGMA {schema}.synchronous = OFF")
    connection.execute("BEGIN")
    connection.execute("UPDATE main.t SET a = 2")
    connection.execute("UPDATE two.t SET a = 2")
    connection.execute("COMMIT")
    assert versions(store, "one.db")[0].version == versions(store, "two.db")[0].version
    assert both(store) == [2, 2]
    connection.close()


@pytest.mark.parametrize(("connect", "options"), DRIVERS)
@pytest.mark.parametrize("kind", [FAULT_COMMIT, FAULT_WRITE])
@pytest.mark.parametrize("nth", [1, 2, 5])
def test_a_failed_commit_over_several_databases_changes_none(
    faulty: mvsqlite_py.Store, connect: Any, options: dict[str, Any], kind: int, nth: int
) -> None:
    """The failure comes while the super-journal is deleted, which is the commit."""
    connection = pair(faulty, connect, **options)
    before = [len(versions(faulty, name)) for name in ("one.db", "two.db")]
    connection.execute("BEGIN")
    connection.execute("UPDATE main.t SET a = 2")
    connection.execute("UPDATE two.t SET a = 2")
    lib.mv_fault_arm(kind, nth, 0, MV_IO)
    if kind == FAULT_COMMIT and nth > 1:
        connection.execute("COMMIT")
        assert both(faulty) == [2, 2]
        connection.close()
        return
    with pytest.raises((apsw.IOError, sqlite3.OperationalError)):
        connection.execute("COMMIT")
    assert "planned fault" in one(connection, "SELECT mv_error()")
    lib.mv_fault_reset()
    if connection.in_transaction:
        connection.execute("ROLLBACK")
    assert both(faulty) == [1, 1]
    assert [len(versions(faulty, name)) for name in ("one.db", "two.db")] == before
    connection.execute("BEGIN")
    connection.execute("UPDATE main.t SET a = 3")
    connection.execute("UPDATE two.t SET a = 3")
    connection.execute("COMMIT")
    assert both(faulty) == [3, 3]
    connection.close()


@pytest.mark.parametrize(("code", "kind"), [(MV_CONFLICT, apsw.BusyError), (MV_FULL, apsw.FullError)])
def test_a_commit_over_several_databases_fails_with_the_engines_reason(
    faulty: mvsqlite_py.Store, code: int, kind: type[Exception]
) -> None:
    connection = pair(faulty, mvsqlite_py.connect)
    connection.execute("BEGIN; UPDATE main.t SET a = 2; UPDATE two.t SET a = 2")
    lib.mv_fault_arm(FAULT_COMMIT, 1, 0, code)
    with pytest.raises(kind):
        connection.execute("COMMIT")
    if connection.in_transaction:
        connection.execute("ROLLBACK")
    assert both(faulty) == [1, 1]
    connection.execute("BEGIN; UPDATE main.t SET a = 2; UPDATE two.t SET a = 2; COMMIT")
    assert both(faulty) == [2, 2]
    connection.close()


def test_databases_of_different_stores_do_not_commit_together(
    store: mvsqlite_py.Store, store_url: str
) -> None:
    """No transaction spans two stores: the commit is refused, and neither changes."""
    with mvsqlite_py.open_store(f"{store_url}-other") as elsewhere:
        connection = mvsqlite_py.connect("main.db", store)
        connection.execute("ATTACH ? AS other", (mvsqlite_py.uri("other.db", store=elsewhere),))
        connection.execute("CREATE TABLE main.t(a); CREATE TABLE other.t(a)")
        connection.execute("BEGIN; INSERT INTO main.t VALUES (1); INSERT INTO other.t VALUES (1)")
        with pytest.raises(apsw.Error):
            connection.execute("COMMIT")
        assert "different stores" in one(connection, "SELECT mv_error()")
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        assert one(connection, "SELECT count(*) FROM main.t") == 0
        assert one(connection, "SELECT count(*) FROM other.t") == 0
        connection.execute("INSERT INTO other.t VALUES (1)")
        connection.close()


@pytest.mark.parametrize(("connect", "options"), DRIVERS)
@pytest.mark.parametrize("code", [MV_IO, MV_FULL])
def test_a_failed_commit_changes_nothing(
    faulty: mvsqlite_py.Store, connect: Any, options: dict[str, Any], code: int
) -> None:
    connection = connect("main.db", faulty, **options)
    connection.execute("CREATE TABLE t(a)")
    lib.mv_fault_arm(FAULT_COMMIT, 1, 0, code)
    with pytest.raises((apsw.IOError, apsw.FullError, sqlite3.OperationalError)):
        connection.execute("INSERT INTO t VALUES (1)")
    assert one(connection, "SELECT count(*) FROM t") == 0
    connection.execute("INSERT INTO t VALUES (2)")
    assert rows(connection, "SELECT a FROM t") == [(2,)]
    assert len(versions(faulty)) == 2
    connection.close()


def test_a_failed_read_is_an_error_and_passes(faulty: mvsqlite_py.Store) -> None:
    connection = mvsqlite_py.connect("main.db", faulty)
    connection.execute("CREATE TABLE t(a)")
    lib.mv_fault_arm(FAULT_READ_BEGIN, 1, 0, MV_IO)
    with pytest.raises(apsw.IOError):
        connection.execute("SELECT * FROM t").fetchall()
    assert rows(connection, "SELECT * FROM t") == []
    connection.close()


# ---- past states -----------------------------------------------------------------------


@pytest.fixture
def history(db: Any, store: mvsqlite_py.Store) -> list[str]:
    """Versions, oldest first, in which t has 10, 11, ... 14 rows."""
    for n in range(11, 15):
        db.execute("INSERT INTO t VALUES (?, 'later')", (n,))
    return [version.version for version in reversed(versions(store))]


def test_every_version_opens_as_it_was(store: mvsqlite_py.Store, history: list[str]) -> None:
    for count, version in enumerate(history, 10):
        for connect in (mvsqlite_py.connect, dbapi.connect):
            connection = connect("main.db", store, version=version)
            assert one(connection, "SELECT count(*) FROM t") == count
            connection.close()


def test_a_moment_opens_the_version_of_that_moment(store: mvsqlite_py.Store, history: list[str]) -> None:
    for version in history:
        moment = store.database("main.db").version(version).time
        found = store.database("main.db").find(at=moment)
        assert store.database("main.db").version(found).time == moment
        with closing(mvsqlite_py.connect("main.db", store, at=moment.isoformat())) as connection:
            assert one(connection, "SELECT mv_version()") == found


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO t VALUES (99, 'x')", "CREATE TABLE u(a)", "DELETE FROM t", "PRAGMA user_version = 5",
        "CREATE INDEX i ON t(b)", "BEGIN IMMEDIATE; INSERT INTO t VALUES (99, 'x')", "VACUUM", "DROP TABLE t",
        "ANALYZE",
    ],
)  # fmt: skip
@pytest.mark.parametrize("how", ["uri", "pragma"])
def test_a_past_state_is_read_only(store: mvsqlite_py.Store, history: list[str], sql: str, how: str) -> None:
    if how == "uri":
        connection = mvsqlite_py.connect("main.db", store, version=history[0])
    else:
        connection = mvsqlite_py.connect("main.db", store)
        rows(connection, f"PRAGMA mv_version = '{history[0]}'")
    with pytest.raises(apsw.ReadOnlyError):
        connection.execute(sql)
    if connection.in_transaction:
        connection.execute("ROLLBACK")
    assert one(connection, "SELECT count(*) FROM t") == 10
    connection.close()
    assert len(versions(store)) == len(history)


def test_past_and_present_in_one_statement(db: Any, store: mvsqlite_py.Store, history: list[str]) -> None:
    db.execute("ATTACH ? AS past", (mvsqlite_py.uri("main.db", store=store, version=history[1]),))
    gone = "SELECT a FROM main.t EXCEPT SELECT a FROM past.t ORDER BY a"
    assert rows(db, gone) == [(12,), (13,), (14,)]
    db.execute("BEGIN; DELETE FROM main.t; INSERT INTO main.t SELECT * FROM past.t; COMMIT")
    assert rows(db, gone) == []
    assert one(db, "SELECT mv_version('past')") == history[1]


def test_pragma_mv_version_travels_and_returns(db: Any, history: list[str]) -> None:
    assert one(db, "PRAGMA mv_version") == history[-1]
    for count, version in enumerate(history, 10):
        assert one(db, f"PRAGMA mv_version = '{version}'") == version
        assert one(db, "SELECT count(*) FROM t") == count
        assert one(db, "SELECT mv_version()") == version
    assert one(db, "PRAGMA mv_at = 'now'") == history[-1]
    db.execute("INSERT INTO t(b) VALUES ('writable again')")
    assert one(db, "SELECT count(*) FROM t") == 15


def test_pragma_mv_pinned_tells_where_a_connection_is_kept(db: Any, history: list[str]) -> None:
    assert one(db, "PRAGMA mv_pinned") == ""
    db.execute(f"PRAGMA mv_version = '{history[1]}'")
    assert one(db, "PRAGMA mv_pinned") == history[1]
    db.execute("PRAGMA mv_at = 'now'")
    assert one(db, "PRAGMA mv_pinned") == ""


def test_pragma_mv_at_takes_moments(db: Any, store: mvsqlite_py.Store, history: list[str]) -> None:
    first = store.database("main.db").version(history[0])
    found = store.database("main.db").find(at=first.time)
    assert one(db, f"PRAGMA mv_at = '{first.time.isoformat()}'") == found
    assert one(db, "PRAGMA mv_at = ''") == history[-1]
    assert one(db, "PRAGMA mv_at = '0 s ago'") == history[-1]
    for wrong in ("next week", "2999-01-01", "-900 weeks"):
        with pytest.raises(apsw.Error, match=r"moment|future|first"):
            db.execute(f"PRAGMA mv_at = '{wrong}'")
    with pytest.raises(apsw.Error, match="no version"):
        db.execute("PRAGMA mv_version = 'ffff'")
    assert one(db, "SELECT count(*) FROM t") == 14


@pytest.mark.parametrize("begin", ["BEGIN; SELECT * FROM t", "BEGIN IMMEDIATE"])
def test_no_travel_inside_a_transaction(db: Any, history: list[str], begin: str) -> None:
    rows(db, begin)
    with pytest.raises(apsw.Error, match="inside a transaction"):
        db.execute(f"PRAGMA mv_version = '{history[0]}'")
    assert one(db, "SELECT count(*) FROM t") == 14
    db.execute("COMMIT")


def test_a_pinned_connection_stays_while_others_write(
    db: Any, store: mvsqlite_py.Store, history: list[str]
) -> None:
    pinned = mvsqlite_py.connect("main.db", store, version=history[-1])
    db.execute("DELETE FROM t; VACUUM; CREATE TABLE other(a)")
    assert one(pinned, "SELECT count(*) FROM t") == 14
    assert one(pinned, "PRAGMA integrity_check") == "ok"
    pinned.close()


# ---- functions ---------------------------------------------------------------------------


def test_mv_version_and_mv_time_tell_the_snapshot(db: Any, store: mvsqlite_py.Store) -> None:
    newest = versions(store)[0]
    assert one(db, "SELECT mv_version()") == newest.version == one(db, "SELECT mv_version('main')")
    assert datetime.datetime.fromisoformat(one(db, "SELECT mv_time()")) == newest.time
    db.execute("BEGIN")
    rows(db, "SELECT * FROM t")
    with closing(mvsqlite_py.connect("main.db", store)) as other:
        other.execute("INSERT INTO t(b) VALUES ('x')")
    assert one(db, "SELECT mv_version()") == newest.version
    db.execute("COMMIT")
    assert one(db, "SELECT mv_version()") == versions(store)[0].version != newest.version


def test_mv_version_of_an_empty_database_is_zero(store: mvsqlite_py.Store) -> None:
    with closing(mvsqlite_py.connect("empty.db", store)) as connection:
        assert one(connection, "SELECT mv_version()") == "0" * 20
        assert one(connection, "SELECT mv_time()").startswith("1970-01-01T00:00:00")


@pytest.mark.parametrize("schema", ["'temp'", "'nothing'", "NULL", "'memory'"])
def test_mv_version_of_a_schema_that_is_not_ours(db: Any, schema: str) -> None:
    db.execute("ATTACH ':memory:' AS memory")
    with pytest.raises(apsw.SQLError, match="not a database of the mvsqlite VFS"):
        db.execute(f"SELECT mv_version({schema})")


def test_mv_message_names_the_next_commit_only(db: Any, store: mvsqlite_py.Store) -> None:
    assert one(db, "SELECT mv_message('because')") == "because"
    db.execute("INSERT INTO t(b) VALUES ('x')")
    db.execute("INSERT INTO t(b) VALUES ('y')")
    db.execute("BEGIN; INSERT INTO t(b) VALUES ('z')")
    rows(db, "SELECT mv_message('first thought')")
    rows(db, "SELECT mv_message('better: é')")
    db.execute("COMMIT; BEGIN; DELETE FROM t")
    rows(db, "SELECT mv_message('rolled back')")
    db.execute("ROLLBACK; INSERT INTO t(b) VALUES ('after')")
    assert [version.message for version in versions(store)] == [None, "better: é", None, "because", None]


def test_mv_message_can_be_taken_back(db: Any, store: mvsqlite_py.Store) -> None:
    rows(db, "SELECT mv_message('wrong')")
    assert one(db, "SELECT mv_message(NULL)") is None
    db.execute("INSERT INTO t(b) VALUES ('x')")
    assert versions(store)[0].message is None


def test_mv_message_cannot_be_hidden_in_a_view(db: Any) -> None:
    db.execute("CREATE VIEW v AS SELECT mv_message('hidden')")
    with pytest.raises(apsw.SQLError, match="unsafe use"):
        db.execute("SELECT * FROM v")


def test_statements_are_recorded(db: Any, store: mvsqlite_py.Store) -> None:
    assert "CREATE TABLE t" in str(versions(store)[0].statements)
    db.execute("BEGIN")
    for n in range(5):
        db.execute("INSERT INTO t(b) VALUES (?)", (n,))
    rows(db, "SELECT * FROM t")
    db.execute("DELETE FROM t WHERE a < 3;  ")
    db.execute("COMMIT")
    text = versions(store)[0].statements
    assert text == "INSERT INTO t(b) VALUES (?) /* 5 times */;\nDELETE FROM t WHERE a < 3"


def test_statements_rolled_back_are_not_recorded(db: Any, store: mvsqlite_py.Store) -> None:
    db.execute("BEGIN; DELETE FROM t; ROLLBACK; UPDATE t SET b = 'x' WHERE a = 1")
    assert versions(store)[0].statements == "UPDATE t SET b = 'x' WHERE a = 1"


def test_a_trigger_is_no_statement_of_its_own(db: Any, store: mvsqlite_py.Store) -> None:
    db.execute("CREATE TABLE log(x)")
    db.execute("CREATE TRIGGER g AFTER DELETE ON t BEGIN INSERT INTO log VALUES (old.a); END")
    db.execute("DELETE FROM t WHERE a = 1")
    assert versions(store)[0].statements == "DELETE FROM t WHERE a = 1"


def test_long_statements_are_cut_between_characters(db: Any, store: mvsqlite_py.Store) -> None:
    db.execute("INSERT INTO t(b) VALUES ('" + "é" * 5000 + "')")
    text = versions(store)[0].statements
    assert text is not None
    assert 900 < len(text.encode()) <= 1000
    assert "\ufffd" not in text


@pytest.mark.parametrize("how", ["uri", "environment"])
def test_statements_off(store: mvsqlite_py.Store, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    address = mvsqlite_py.uri("quiet.db", store=store)
    if how == "uri":
        address += "&statements=off"
    else:
        monkeypatch.setenv("MVSQLITE_STATEMENTS", "off")
    flags = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE | apsw.SQLITE_OPEN_URI
    mvsqlite_py.connect("quiet.db", store).close()
    with closing(apsw.Connection(address, flags=flags)) as connection:
        connection.execute("CREATE TABLE t(secret)")
    assert [version.statements for version in versions(store, "quiet.db")] == [None]


def test_a_vacuum_into_of_a_past_state_is_a_plain_file(
    store: mvsqlite_py.Store, history: list[str], tmp_path: Path
) -> None:
    with closing(mvsqlite_py.connect("main.db", store, version=history[2])) as connection:
        connection.execute("VACUUM INTO ?", (f"file:{tmp_path / 'copy.db'}?vfs=unix",))
    plain = sqlite3.connect(tmp_path / "copy.db")
    assert one(plain, "SELECT count(*) FROM t") == 12
    plain.close()
