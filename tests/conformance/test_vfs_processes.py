"""Two copies of SQLite in one process, forks, other processes, and the VFS wrapped in Python."""

import gc
import multiprocessing
import sqlite3
import subprocess
import sys
from contextlib import closing
from typing import Any

import apsw
import pytest

import mvsqlite_py
from child import in_child
from mvsqlite_py import dbapi

TIMEOUT = 60


def one(connection: Any, sql: str) -> Any:
    return connection.execute(sql).fetchone()[0]


@pytest.fixture
def filled(store: mvsqlite_py.Store) -> mvsqlite_py.Store:
    with closing(mvsqlite_py.connect("main.db", store)) as connection:
        connection.execute("CREATE TABLE t(a); INSERT INTO t VALUES (0)")
    return store


# ---- two copies of SQLite --------------------------------------------------------------


def test_the_two_copies_are_two() -> None:
    """The tests below are worth something only then."""
    if apsw.sqlite_lib_version() == sqlite3.sqlite_version:
        pytest.skip("apsw and sqlite3 may share one SQLite here")
    assert apsw.sqlite_lib_version() != sqlite3.sqlite_version


def test_writers_of_two_copies_take_turns(filled: mvsqlite_py.Store) -> None:
    ours, theirs = (
        mvsqlite_py.connect("main.db", filled),
        dbapi.connect("main.db", filled, isolation_level=None),
    )
    for n in range(100):
        writer, reader = (ours, theirs) if n % 2 else (theirs, ours)
        writer.execute("UPDATE t SET a = a + 1")
        assert one(reader, "SELECT a FROM t") == n + 1
        assert one(reader, "SELECT mv_version()") == one(writer, "SELECT mv_version()")
    ours.close()
    theirs.close()
    assert len(list(filled.database("main.db").versions())) == 102


def test_a_transaction_of_one_copy_keeps_the_other_out(filled: mvsqlite_py.Store) -> None:
    ours = mvsqlite_py.connect("main.db", filled, timeout=0)
    theirs = dbapi.connect("main.db", filled, timeout=0, isolation_level=None)
    ours.execute("BEGIN IMMEDIATE")
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        theirs.execute("BEGIN IMMEDIATE")
    ours.execute("COMMIT")
    theirs.execute("BEGIN IMMEDIATE")
    with pytest.raises(apsw.BusyError):
        ours.execute("BEGIN IMMEDIATE")
    theirs.execute("COMMIT")
    ours.close()
    theirs.close()


# ---- forks -------------------------------------------------------------------------------


@pytest.mark.parametrize("connect", [mvsqlite_py.connect, dbapi.connect], ids=["apsw", "sqlite3"])
def test_a_forked_child_opens_its_own(filled: mvsqlite_py.Store, connect: Any) -> None:
    inherited = mvsqlite_py.connect("main.db", filled)
    assert one(inherited, "SELECT a FROM t") == 0

    def work() -> str:
        with mvsqlite_py.open_store(filled.url) as store, closing(connect("main.db", store)) as own:
            own.execute("UPDATE t SET a = 5")
            if isinstance(own, sqlite3.Connection):
                own.commit()
            return str(one(own, "SELECT a FROM t"))

    assert in_child(work) == "5"
    assert one(inherited, "SELECT a FROM t") == 5
    inherited.execute("UPDATE t SET a = a + 1")
    assert one(inherited, "SELECT a FROM t") == 6
    inherited.close()


@pytest.mark.parametrize(
    "begin", ["SELECT 1", "BEGIN IMMEDIATE; UPDATE t SET a = 9", "BEGIN; SELECT * FROM t"]
)
def test_an_inherited_connection_is_refused_and_the_parent_unharmed(
    filled: mvsqlite_py.Store, begin: str
) -> None:
    inherited = mvsqlite_py.connect("main.db", filled)
    inherited.execute(begin)
    in_transaction = inherited.in_transaction

    def work() -> str:
        try:
            inherited.execute("UPDATE t SET a = 100").fetchall()
            if inherited.in_transaction:
                inherited.execute("COMMIT")
        except apsw.Error as error:
            return f"{type(error).__name__} {mvsqlite_py._binding.last_error()}"
        return "accepted"

    said = in_child(work)
    assert "before fork" in said, said
    if in_transaction:
        inherited.execute("COMMIT")
    inherited.execute("UPDATE t SET a = a + 1")
    assert one(inherited, "SELECT a FROM t") in (1, 10)
    inherited.close()
    assert filled.database("main.db").verify().problems == []


def test_a_child_that_closes_what_it_inherited_harms_nobody(filled: mvsqlite_py.Store) -> None:
    inherited = mvsqlite_py.connect("main.db", filled)
    inherited.execute("BEGIN IMMEDIATE; UPDATE t SET a = 3")

    def work() -> str:
        inherited.close(True)
        filled.close()
        gc.collect()
        return "closed"

    assert in_child(work) == "closed"
    with closing(mvsqlite_py.connect("main.db", filled, timeout=0)) as other, pytest.raises(apsw.BusyError):
        other.execute("BEGIN IMMEDIATE")
    inherited.execute("COMMIT")
    assert one(inherited, "SELECT a FROM t") == 3
    inherited.close()


def test_an_inherited_store_is_refused(filled: mvsqlite_py.Store) -> None:
    def work() -> str:
        try:
            filled.list()
        except mvsqlite_py.MisuseError as error:
            return str(error)
        return "accepted"

    assert "before fork" in in_child(work)
    assert [info.name for info in filled.list()] == ["main.db"]


# ---- other processes -----------------------------------------------------------------------


def count_up(url: str, times: int) -> None:
    with (
        mvsqlite_py.open_store(url) as store,
        closing(mvsqlite_py.connect("main.db", store, timeout=TIMEOUT)) as db,
    ):
        for _ in range(times):
            db.execute("BEGIN IMMEDIATE; UPDATE t SET a = a + 1; COMMIT")


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_processes_of_a_pool_write_one_database(filled: mvsqlite_py.Store, method: str) -> None:
    context: Any = multiprocessing.get_context(method)
    with closing(mvsqlite_py.connect("main.db", filled)) as watching:
        workers = [context.Process(target=count_up, args=(filled.url, 20)) for _ in range(3)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(TIMEOUT)
        assert [worker.exitcode for worker in workers] == [0, 0, 0]
        assert one(watching, "SELECT a FROM t") == 60
    assert len({version.pid for version in filled.database("main.db").versions()}) == 4


def test_another_process_sees_a_commit_at_once(filled: mvsqlite_py.Store) -> None:
    script = """if True:
        import sys, mvsqlite_py
        connection = mvsqlite_py.connect("main.db", sys.argv[1])
        print(connection.execute("SELECT a FROM t").fetchone()[0], flush=True)
        sys.stdin.readline()
        print(connection.execute("SELECT a FROM t").fetchone()[0], flush=True)
        connection.execute("UPDATE t SET a = a * 2")
    """
    with closing(mvsqlite_py.connect("main.db", filled)) as connection:
        other = subprocess.Popen(
            [sys.executable, "-c", script, filled.url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert other.stdout is not None
        assert other.stdout.readline() == "0\n"
        connection.execute("UPDATE t SET a = 21")
        rest, _ = other.communicate("\n", TIMEOUT)
        assert rest == "21\n"
        assert one(connection, "SELECT a FROM t") == 42


# ---- wrapped in Python -----------------------------------------------------------------------


class Watching(mvsqlite_py.VFS):
    """Counts what passes."""

    def __init__(self, name: str) -> None:
        self.opened: list[str] = []
        self.reads = self.writes = 0
        super().__init__(name)

    def xOpen(self, name: Any, flags: list[int]) -> "WatchedFile":
        self.opened.append(name.filename() if isinstance(name, apsw.URIFilename) else str(name))
        return WatchedFile(self, name, flags)


class WatchedFile(mvsqlite_py.VFSFile):
    def __init__(self, vfs: Watching, name: Any, flags: list[int]) -> None:
        self.vfs = vfs
        super().__init__(name, flags)

    def xRead(self, amount: int, offset: int) -> bytes:
        self.vfs.reads += 1
        return super().xRead(amount, offset)

    def xWrite(self, data: bytes, offset: int) -> None:
        self.vfs.writes += 1
        super().xWrite(data, offset)


def test_a_vfs_derived_in_python_sees_reads_and_writes(filled: mvsqlite_py.Store) -> None:
    vfs = Watching("watching")
    with closing(mvsqlite_py.connect("main.db", filled, vfs="watching")) as connection:
        assert one(connection, "SELECT a FROM t") == 0
        assert vfs.reads > 0
        assert vfs.opened[0] == "main.db"
        connection.execute("UPDATE t SET a = 7")
        assert vfs.writes > 0
        connection.execute("BEGIN; DELETE FROM t; ROLLBACK")
    seen = vfs.reads
    with closing(mvsqlite_py.connect("main.db", filled)) as direct:
        assert one(direct, "SELECT a FROM t") == 7
    assert vfs.reads == seen
    assert len(list(filled.database("main.db").versions())) == 3
    vfs.unregister()


def test_a_vfs_that_only_inherits_is_the_native_one(filled: mvsqlite_py.Store) -> None:
    vfs = mvsqlite_py.VFS("inherits")
    with closing(mvsqlite_py.connect("main.db", filled, vfs="inherits")) as connection:
        connection.execute("UPDATE t SET a = 8")
        assert (
            one(connection, "SELECT mv_version()") == filled.database("main.db").versions().__next__().version
        )
    vfs.unregister()


def test_the_native_name_is_taken() -> None:
    with pytest.raises(ValueError, match="choose another"):
        mvsqlite_py.VFS("mvsqlite")
