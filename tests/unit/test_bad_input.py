"""Bad input to stores, names, versions and moments: a specific error, and nothing is lost."""

import datetime
import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import apsw
import pytest

import mvsqlite_py
from mvsqlite_py import dbapi

LATE = datetime.datetime(2999, 1, 1, tzinfo=datetime.UTC)
CONNECTS = [pytest.param(mvsqlite_py.connect, id="apsw"), pytest.param(dbapi.connect, id="sqlite3")]


@pytest.fixture
def filled(store: mvsqlite_py.Store) -> mvsqlite_py.Store:
    with closing(mvsqlite_py.connect("notes.db", store)) as connection:
        connection.execute("CREATE TABLE t(a)")
        connection.execute("INSERT INTO t VALUES (1)")
    return store


def check_nothing_lost(store: mvsqlite_py.Store) -> None:
    assert [info.name for info in store.list()] == ["notes.db"]
    assert store.database("notes.db").verify().problems == []
    with closing(mvsqlite_py.connect("notes.db", store)) as connection:
        assert connection.execute("SELECT a FROM t").fetchall() == [(1,)]
    assert len(list(store.database("notes.db").versions())) == 2


# ---- databases -----------------------------------------------------------------------


@pytest.mark.parametrize("connect", CONNECTS)
def test_a_missing_database(filled: mvsqlite_py.Store, connect: Any) -> None:
    named = rf'"gone\.db" in store {re.escape(filled.url)}'
    with pytest.raises(mvsqlite_py.DatabaseNotFoundError, match=named):
        connect("gone.db", filled, create=False)
    with pytest.raises(mvsqlite_py.DatabaseNotFoundError, match=r'"gone\.db"'):
        connect("gone.db", filled, at="now")
    check_nothing_lost(filled)


@pytest.mark.parametrize(
    "call",
    [
        lambda store: store.database("gone.db"),
        lambda store: store.delete("gone.db"),
        lambda store: store.undelete("gone.db"),
        lambda store: store.rename("gone.db", "other.db"),
        lambda store: store.export("gone.db", "/nowhere/gone.db"),
    ],
    ids=["database", "delete", "undelete", "rename", "export"],
)
def test_every_call_names_the_missing_database(
    filled: mvsqlite_py.Store, call: Callable[[mvsqlite_py.Store], Any]
) -> None:
    with pytest.raises(mvsqlite_py.DatabaseNotFoundError, match=r"gone\.db"):
        call(filled)
    check_nothing_lost(filled)


def test_a_name_that_is_taken(filled: mvsqlite_py.Store) -> None:
    with pytest.raises(mvsqlite_py.DatabaseExistsError, match=r"notes\.db"):
        filled.create("notes.db")
    filled.create("other.db")
    with pytest.raises(mvsqlite_py.DatabaseExistsError, match=r"notes\.db"):
        filled.rename("other.db", "notes.db")
    filled.delete("other.db")
    with pytest.raises(mvsqlite_py.DatabaseExistsError, match=r"notes\.db"):
        filled.undelete("other.db", "notes.db")
    check_nothing_lost(filled)


GOOD_NAMES = [
    "a", "with space.db", " ", "ünïcödé-日本語-🎉.db", "what?.db", "a&b=c.db", "100%.db", "%41.db", "a#b.db",
    "it's \"quoted\".db", "dir/sub/name.db", "/absolute/name.db", "../up.db", "back\\slash", "x" * 255,
    "é" * 127, "a;b,c:d@e", "file:name.db", "-dash", "--", ".", "NUL", ":memory:x", "a+b", "$HOME", "*",
    "a-journal.db", "-wal.x", "a//b", "//host/name", "\u0080", "\ufeff"
]  # fmt: skip


@pytest.mark.parametrize("name", GOOD_NAMES, ids=[f"{n}" for n in range(len(GOOD_NAMES))])
def test_odd_names_are_names(store: mvsqlite_py.Store, name: str, tmp_path: Path) -> None:
    for n, connect in enumerate((mvsqlite_py.connect, dbapi.connect)):
        with closing(connect(name, store)) as connection:
            connection.execute(f"CREATE TABLE t{n}(a)")
            connection.commit() if isinstance(connection, sqlite3.Connection) else None
    with closing(mvsqlite_py.connect("main.db", store)) as connection:
        connection.execute("ATTACH ? AS other", (mvsqlite_py.uri(name, store=store),))
        connection.execute("BEGIN; CREATE TABLE other.u(a); CREATE TABLE main.u(a); COMMIT")
    assert name in [info.name for info in store.list()]
    store.export(name, tmp_path / "copy.db")
    imported = store.import_file(tmp_path / "copy.db", name[:-1] + "+" if len(name) > 1 else "+")
    assert imported.newest
    store.delete(name)
    store.undelete(name)
    assert store.database(name).verify().problems == []
    with closing(mvsqlite_py.connect(name, store, at="now", create=False)) as connection:
        assert connection.execute("SELECT count(*) FROM sqlite_schema").fetchall() == [(3,)]


BAD_NAMES = {
    "empty": ("", "1 to 255 bytes|never kept"),
    "memory": (":memory:", "never kept"),
    "256 bytes": ("x" * 256, "1 to 255 bytes, this one 256"),
    "128 letters": ("é" * 128, "1 to 255 bytes, this one 256"),
    "4000 bytes": ("x" * 4000, "1 to 255 bytes"),
    "510 bytes": ("x" * 510, "1 to 255 bytes"),
    "newline": ("a\nb", "control characters"),
    "tab": ("a\tb", "control characters"),
    "delete": ("\x7f", "control characters"),
    "control": ("\x01", "control characters"),
    "nul": ("a\0b", "NUL character"),
    "journal": ("a.db-journal", "-journal"),
    "wal": ("a.db-wal", "-wal"),
    "shm": ("a.db-shm", "-shm"),
    "bytes": ("a\udcff", "UTF-8"),
    "overlong": ("\udcc0\udc80", "UTF-8"),
    "cut": ("a\udce2\udc82", "UTF-8"),
    "surrogate": ("\ud800", "UTF-8"),
}


@pytest.mark.parametrize(("name", "match"), BAD_NAMES.values(), ids=BAD_NAMES)
def test_names_that_cannot_be(filled: mvsqlite_py.Store, name: str, match: str, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "plain.db")) as plain:
        plain.execute("CREATE TABLE t(a)")
    calls: list[Callable[[], Any]] = [
        lambda: filled.create(name),
        lambda: filled.rename("notes.db", name),
        lambda: filled.import_file(tmp_path / "plain.db", name),
        lambda: mvsqlite_py.connect(name, filled),
        lambda: dbapi.connect(name, filled),
        lambda: filled.database(name),
    ]
    for call in calls:
        with pytest.raises(mvsqlite_py.NameNotUsableError, match=match):
            call()
    check_nothing_lost(filled)


def test_a_name_that_cannot_be_is_a_value_error_too(store: mvsqlite_py.Store) -> None:
    with pytest.raises(ValueError, match="control characters"):
        store.create("a\nb")


# ---- versions and moments -----------------------------------------------------------------


BAD_VERSIONS = [
    "f" * 20, "0" * 19 + "1", "", "zz", "f" * 19, "f" * 21, " " * 20, "0x" + "1" * 18, "+1" * 10, " 1" * 10,
    "é" * 20, "1\0", "00 " * 10, "\ud800",
]  # fmt: skip


@pytest.mark.parametrize("connect", CONNECTS)
@pytest.mark.parametrize("version", BAD_VERSIONS, ids=ascii)
def test_a_version_that_never_was(filled: mvsqlite_py.Store, version: str, connect: Any) -> None:
    with pytest.raises(mvsqlite_py.VersionNotFoundError) as caught:
        connect("notes.db", filled, version=version)
    assert version in str(caught.value) or not version.isprintable()
    database = filled.database("notes.db")
    for call in (database.version, lambda v: database.find(version=v), lambda v: database.revert(version=v)):
        with pytest.raises(mvsqlite_py.VersionNotFoundError):
            call(version)
    check_nothing_lost(filled)


def test_a_version_of_another_database(filled: mvsqlite_py.Store) -> None:
    with closing(mvsqlite_py.connect("other.db", filled)) as connection:
        connection.execute("CREATE TABLE o(a)")
    foreign = filled.database("other.db").newest
    assert foreign
    with pytest.raises(mvsqlite_py.VersionNotFoundError, match=foreign.version):
        mvsqlite_py.connect("notes.db", filled, version=foreign.version)
    with pytest.raises(mvsqlite_py.VersionNotFoundError):
        filled.database("notes.db").revert(version=foreign.version)


@pytest.mark.parametrize("connect", CONNECTS)
@pytest.mark.parametrize("at", ["1999-12-31", "-99 weeks", 100000000, "2000-01-01T00:00:00Z"])
def test_a_time_before_the_first_commit(filled: mvsqlite_py.Store, at: Any, connect: Any) -> None:
    with pytest.raises(mvsqlite_py.VersionNotFoundError, match="first"):
        connect("notes.db", filled, at=at)
    with pytest.raises(mvsqlite_py.VersionNotFoundError, match="first"):
        filled.database("notes.db").revert(at=at)
    check_nothing_lost(filled)


@pytest.mark.parametrize("at", ["2999-01-01", 99999999999, LATE])
def test_a_time_in_the_future(filled: mvsqlite_py.Store, at: Any) -> None:
    with pytest.raises(mvsqlite_py.MomentError, match="future"):
        mvsqlite_py.connect("notes.db", filled, at=at)
    with pytest.raises(mvsqlite_py.MomentError, match="future"):
        filled.database("notes.db").find(at=at)
    check_nothing_lost(filled)


GARBAGE = [
    "", "yesterday", "5", "-5", "5 m", "-5 fortnights", "5 minutes ago!", "--5m", "2026", "2026-13-01",
    "2026-02-30", "2026-01-01T25:00", "2026-01-01T10:61", "2026-01-01T10:00+99:00", "2026-01-01 x", "1e9",
    "0x5f000000", "now now", "-99999999999999999999s", "9" * 400, "'; DROP TABLE t; --", "é", "2026-1-1T",
    "-5m ago", float("nan"), float("inf"), float("-inf"), -5, -1.5, True, "now\0", "\ud800", "now\n1",
]  # fmt: skip


@pytest.mark.parametrize("at", GARBAGE, ids=[f"{n}" for n in range(len(GARBAGE))])
def test_garbage_is_no_moment(filled: mvsqlite_py.Store, at: Any) -> None:
    with pytest.raises((mvsqlite_py.MomentError, mvsqlite_py.VersionNotFoundError)) as caught:
        filled.database("notes.db").find(at=at)
    assert str(caught.value)
    with pytest.raises((mvsqlite_py.MomentError, mvsqlite_py.VersionNotFoundError)):
        mvsqlite_py.connect("notes.db", filled, at=at)
    check_nothing_lost(filled)


def test_both_or_neither_of_at_and_version(filled: mvsqlite_py.Store) -> None:
    for arguments in ({}, {"at": "now", "version": "f" * 20}):
        with pytest.raises(ValueError, match=r"at= or version="):
            filled.database("notes.db").find(**arguments)
    with pytest.raises(ValueError, match=r"at= or version="):
        mvsqlite_py.uri("notes.db", at="now", version="f" * 20)
    address = mvsqlite_py.uri("notes.db", store=filled, at="now") + "&version=" + "f" * 20
    with pytest.raises(apsw.Error):
        apsw.Connection(address, flags=apsw.SQLITE_OPEN_URI | apsw.SQLITE_OPEN_READONLY)


def test_versions_of_a_database_before_its_first_commit(store: mvsqlite_py.Store) -> None:
    database = store.create("empty.db")
    assert database.newest is None
    assert list(database.versions()) == []
    with pytest.raises(mvsqlite_py.VersionNotFoundError, match="no versions yet"):
        mvsqlite_py.connect("empty.db", store, at="now")
    assert database.verify().problems == []


# ---- settings -----------------------------------------------------------------------------


@pytest.mark.parametrize("setting", ["stage_bytes", "cache_bytes", "full_every"])
@pytest.mark.parametrize("value", [-1, 0, 1, 2**63])
def test_settings_out_of_range(filled: mvsqlite_py.Store, setting: str, value: int) -> None:
    if value < 0:
        with pytest.raises(ValueError, match="negative"):
            filled.configure(**{setting: value})
    else:
        filled.configure(**{setting: value})
    with closing(mvsqlite_py.connect("notes.db", filled)) as connection:
        connection.execute("UPDATE t SET a = 2")
        connection.execute("UPDATE t SET a = 1")
        assert connection.execute("SELECT a FROM t").fetchall() == [(1,)]
    assert filled.database("notes.db").verify().problems == []


def test_a_closed_store_says_so(filled: mvsqlite_py.Store) -> None:
    connection = mvsqlite_py.connect("notes.db", filled)
    database = filled.database("notes.db")
    filled.close()
    filled.close()
    calls: list[Callable[[], Any]] = [
        filled.list,
        lambda: filled.create("x"),
        lambda: filled.database("notes.db"),
        lambda: filled.configure(stage_bytes=1),
        lambda: list(database.versions()),
        database.stat,
        database.verify,
        lambda: database.revert(at="now"),
        lambda: filled.import_file(Path(__file__), "x"),
    ]
    for call in calls:
        with pytest.raises((mvsqlite_py.MisuseError, mvsqlite_py.NotADatabaseError)) as caught:
            call()
        assert "closed" in str(caught.value) or "no SQLite database" in str(caught.value)
    connection.execute("UPDATE t SET a = 2")
    assert connection.execute("SELECT a FROM t").fetchall() == [(2,)]
    connection.close()
