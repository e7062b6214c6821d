"""``mvsqlite_py.dbapi`` stands in for ``sqlite3``."""

import contextlib
import importlib.util
import os
import re
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path
from types import ModuleType

import pytest

import mvsqlite_py
from mvsqlite_py import dbapi

OWN = {"connect", "Connection"}


def titles(connection: sqlite3.Connection) -> list[str]:
    return [title for (title,) in connection.execute("SELECT title FROM note ORDER BY id")]


# ---- what is there -------------------------------------------------------------------------------


def test_everything_public_is_there_and_the_same() -> None:
    modules = {name for name, value in vars(sqlite3).items() if isinstance(value, ModuleType)}
    public = {name for name in dir(sqlite3) if not name.startswith("_")} - modules
    assert public <= set(dbapi.__all__)
    assert {name for name in public if getattr(dbapi, name) is not getattr(sqlite3, name)} == OWN
    assert issubclass(dbapi.Connection, sqlite3.Connection)


def test_what_sqlite3_makes_on_demand_comes_along(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite3, "of_a_newer_python", 7, raising=False)
    assert dbapi.of_a_newer_python == 7
    with pytest.raises(AttributeError):
        _ = dbapi.no_such_thing


EXPECTED = {
    "test_connection_bad_reinit": "a file that may not be opened",
    "test_failed_open": "a file that may not be opened",
    "test_error_code_on_exception": "a directory that may not be written",
    "test_ctx_mgr_rollback_if_commit_failed": "another process opens the file with plain sqlite3",
    "test_factory_database_arg": "a factory that is not ours is given the URI",
    "test_open_undecodable_uri": "a name in a store is UTF-8",
    "test_open_with_undecodable_path": "a name in a store is UTF-8",
    "test_open_unquoted_uri": "looks for the file",
    "test_open_uri": "looks for the file",
    "test_open_uri_readonly": "writes the file",
    "test_open_with_path_like_object": "looks for the file",
    "test_optimized_unicode": "where a warning points",
    "test_deprecated_version": "where a warning points",
    "test_connect_positional_arguments": "there is no warning of arguments by position",
    "test_connection_factory_as_positional_arg": "there is no warning of arguments by position",
}
"""Python's own tests of sqlite3 that cannot pass, and what they are about."""

OWN_TESTS = """
import os, sys, unittest, warnings
import mvsqlite_py
from mvsqlite_py import dbapi
from test.support import os_helper

def unlink(path):
    with mvsqlite_py.open_store() as store:
        if os.fspath(path) in {entry.name for entry in store.list()}:
            store.delete(os.fspath(path))

os_helper.unlink = unlink
sys.modules["sqlite3"] = dbapi
warnings.simplefilter("ignore")
parts = "dbapi factory hooks transactions types userfunctions dump backup".split()
suite = unittest.defaultTestLoader.loadTestsFromNames([f"test.test_sqlite3.test_{part}" for part in parts])
assert sys.modules["test.test_sqlite3.test_dbapi"].sqlite is dbapi
done = unittest.TextTestRunner(verbosity=0).run(suite)
print("failed:", *(test.id() for test, _ in done.failures + done.errors))
print("run:", done.testsRun)
"""


@pytest.mark.skipif(
    importlib.util.find_spec("test") is None or importlib.util.find_spec("test.test_sqlite3") is None,
    reason="this Python came without its own tests",
)
def test_pythons_own_tests_of_sqlite3_pass(tmp_path: Path) -> None:
    """They find dbapi under the name of sqlite3; what they call files are databases of a store."""
    ran = subprocess.run(
        [sys.executable, "-c", OWN_TESTS], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    *_, failed, count = ran.stdout.splitlines()
    assert int(count.split()[1]) > 300
    assert set(re.findall(r"\.(test_\w+)(?!\S*\.)", failed)) - EXPECTED.keys() == set(), ran.stderr


# ---- names -----------------------------------------------------------------------------------------


def test_names_of_sqlites_own_are_plain_sqlite(store: mvsqlite_py.Store) -> None:
    uris = ["file::memory:", "file:shared?mode=memory&cache=shared", "file:"]
    for name, options in [(":memory:", {}), ("", {}), *((uri, {"uri": True}) for uri in uris)]:
        with closing(dbapi.connect(name, **options)) as connection:
            connection.execute("CREATE TABLE t(a)")
            assert connection.execute("PRAGMA mv_at").fetchall() == []
    assert store.list() == []
    for name in (":memory:", ""):
        with pytest.raises(mvsqlite_py.NameNotUsableError, match="never kept"):
            dbapi.connect(name, store=store)


def test_a_uri_keeps_what_it_says(notes: mvsqlite_py.Database, tmp_path: Path) -> None:
    with closing(dbapi.connect(f"file:notes.db?store={notes.store.url}&mode=ro", uri=True)) as connection:
        assert len(titles(connection)) == 4
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            connection.execute("DELETE FROM note")
    with closing(dbapi.connect("file:notes.db?mode=rw", store=notes.store, uri=True)) as connection:
        connection.execute("DELETE FROM note WHERE id = 4")
        connection.commit()
    with closing(dbapi.connect(f"file:{tmp_path}/plain.db?vfs=unix", uri=True)) as plain:
        plain.execute("CREATE TABLE t(a)")
    assert (tmp_path / "plain.db").read_bytes()[:6] == b"SQLite"
    with pytest.raises(TypeError, match="store is said twice"):
        dbapi.connect(f"file:notes.db?store={notes.store.url}", store=notes.store, uri=True)
    with pytest.raises(sqlite3.OperationalError, match="no database"):
        dbapi.connect("file:other.db?mode=rw", store=notes.store, uri=True)


def test_names_are_text_bytes_or_paths(notes: mvsqlite_py.Database) -> None:
    for name in ("notes.db", b"notes.db", Path("notes.db")):
        with closing(dbapi.connect(name, store=notes.store)) as connection:
            assert len(titles(connection)) == 4
    with pytest.raises(TypeError, match="not by int"):
        dbapi.connect(7)
    with closing(dbapi.connect("file:notes.db", store=notes.store)) as connection:  # no URI without uri=True
        assert connection.execute("SELECT count(*) FROM sqlite_schema").fetchone() == (0,)


# ---- arguments ---------------------------------------------------------------------------------------


def test_arguments_of_sqlite3_by_position_and_by_name(store: mvsqlite_py.Store) -> None:
    class Own(sqlite3.Connection):
        pass

    with closing(
        dbapi.connect("a.db", 0.25, dbapi.PARSE_DECLTYPES, None, False, Own, 7, False)
    ) as connection:
        assert type(connection) is Own
        assert connection.isolation_level is None
        assert connection.execute("PRAGMA busy_timeout").fetchone() == (250,)
        connection.execute("CREATE TABLE t(d date)")
        day = dbapi.Date(2026, 11, 28)
        connection.execute("INSERT INTO t VALUES (?)", (day.isoformat(),))
        with_thread = threading.Thread(target=connection.execute, args=("SELECT 1",))
        with_thread.start()
        with_thread.join()
    with closing(dbapi.connect("a.db", store, timeout=2.5, cached_statements=3)) as connection:
        assert isinstance(connection, dbapi.Connection)
        assert connection.execute("PRAGMA busy_timeout").fetchone() == (2500,)
        assert connection.isolation_level == ""
    for bad in ({"args": (1.0,), "timeout": 2.0}, {"args": (1.0,) * 9}):
        with pytest.raises(TypeError):
            dbapi.connect("a.db", *bad.pop("args"), **bad)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="autocommit= came with Python 3.12")
def test_autocommit_of_python_3_12(store: mvsqlite_py.Store) -> None:
    with closing(dbapi.connect("a.db", store, autocommit=False)) as connection:
        connection.execute("CREATE TABLE t(a)")
        connection.rollback()
        assert connection.execute("SELECT * FROM sqlite_schema").fetchall() == []
    with closing(dbapi.connect("a.db", store, autocommit=True)) as connection:
        connection.execute("CREATE TABLE t(a)")
    assert store.database("a.db").newest


def test_a_class_of_ones_own(store: mvsqlite_py.Store) -> None:
    class Own(dbapi.Connection):
        def __init__(self, *args: object, **options: object) -> None:
            super().__init__(*args, **options)
            self.opened = True

    for connection in (Own("a.db", store=store), dbapi.connect("a.db", store, factory=Own)):
        with closing(connection):
            assert connection.opened
            connection.execute("CREATE TABLE IF NOT EXISTS t(a)")
    assert [entry.name for entry in store.list()] == ["a.db"]


# ---- use ------------------------------------------------------------------------------------------------


def test_rows_blobs_dumps_and_context_managers(notes: mvsqlite_py.Database) -> None:
    with closing(dbapi.connect("notes.db", notes.store)) as connection:
        connection.row_factory = dbapi.Row
        assert [row["title"] for row in connection.execute("SELECT * FROM note")][:2] == ["one", "two"]
        connection.row_factory = None
        with contextlib.suppress(ZeroDivisionError), connection:
            connection.execute("DELETE FROM note")
            raise ZeroDivisionError
        assert len(titles(connection)) == 4
        with connection:
            connection.execute("CREATE TABLE file(data BLOB)")
            connection.execute("INSERT INTO file VALUES (zeroblob(100000))")
        with connection, connection.blobopen("file", "data", 1) as blob:
            blob[99990:] = b"0123456789"
        assert connection.execute("SELECT substr(data, -3) FROM file").fetchone() == (b"789",)
        dump = list(connection.iterdump())
    with closing(dbapi.connect(":memory:")) as plain:
        plain.executescript("\n".join(dump))
        assert list(plain.iterdump()) == dump


def test_backups_go_between_ours_and_to_plain_sqlite_and_back(notes: mvsqlite_py.Database) -> None:
    with (
        closing(dbapi.connect("notes.db", notes.store)) as ours,
        closing(dbapi.connect("copy.db", notes.store)) as other,
        closing(dbapi.connect(":memory:")) as plain,
    ):
        ours.backup(plain)
        plain.execute("INSERT INTO note(title) VALUES ('five')")
        plain.commit()
        plain.backup(other, pages=1)
        assert titles(other) == [*titles(ours), "five"]
        other.backup(ours)
        assert titles(ours)[-1] == "five"
    assert notes.verify().problems == []


def test_threads_share_a_database(notes: mvsqlite_py.Database) -> None:
    def write(n: int) -> None:
        with closing(dbapi.connect("notes.db", notes.store, timeout=30)) as connection:
            for i in range(10):
                with connection:
                    connection.execute("INSERT INTO note(title) VALUES (?)", (f"{n}.{i}",))

    threads = [threading.Thread(target=write, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with closing(dbapi.connect("notes.db", notes.store)) as connection:
        assert len(titles(connection)) == 44


# ---- errors ---------------------------------------------------------------------------------------------


def test_errors_are_those_that_callers_of_sqlite3_catch(notes: mvsqlite_py.Database) -> None:
    with pytest.raises(sqlite3.OperationalError, match='no database "no-such"') as caught:
        dbapi.connect("no-such", store=notes.store, create=False)
    assert isinstance(caught.value, mvsqlite_py.DatabaseNotFoundError)
    assert (caught.value.sqlite_errorcode, caught.value.sqlite_errorname) == (14, "SQLITE_CANTOPEN")
    with pytest.raises(dbapi.OperationalError) as caught:
        dbapi.connect("notes.db", store=notes.store, at="1999-01-01")
    assert caught.value.sqlite_errorname == "SQLITE_CANTOPEN"
    with closing(dbapi.connect("notes.db", store=notes.store, at="now")) as past:
        with pytest.raises(sqlite3.OperationalError, match="readonly") as caught:
            past.execute("DELETE FROM note")
        assert caught.value.sqlite_errorname == "SQLITE_READONLY"


def test_a_writer_that_waits_in_vain_sees_what_sqlite_says(notes: mvsqlite_py.Database) -> None:
    with (
        closing(dbapi.connect("notes.db", notes.store)) as first,
        closing(dbapi.connect("notes.db", notes.store, timeout=0)) as second,
    ):
        first.execute("DELETE FROM note")
        with pytest.raises(sqlite3.OperationalError, match="database is locked") as caught:
            second.execute("DELETE FROM note")
        assert caught.value.sqlite_errorname == "SQLITE_BUSY"


def test_a_child_is_told_that_a_connection_is_its_parents(notes: mvsqlite_py.Database) -> None:
    with closing(dbapi.connect("notes.db", notes.store)) as connection:
        assert len(titles(connection)) == 4
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            said = []
            for call in (lambda: connection.execute("SELECT 1"), connection.cursor, connection.commit):
                try:
                    call()
                except dbapi.ProgrammingError as error:
                    said.append(f"{error.sqlite_errorname}: {error}")
            with closing(dbapi.connect("notes.db", notes.store)) as own:
                said.append(str(len(titles(own))))
            os.write(write, "\n".join(said).encode())
            os._exit(0)
        os.close(write)
        with os.fdopen(read) as pipe:
            said = pipe.read().splitlines()
        assert os.waitpid(child, 0)[1] == 0
        assert len(titles(connection)) == 4
    assert said[3:] == ["4"]
    assert all(line.startswith("SQLITE_MISUSE: ") and "before fork" in line for line in said[:3])
