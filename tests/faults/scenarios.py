"""What is done while the engine fails: one class an operation, each with its states."""

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw

import mvsqlite_py
from mvsqlite_py import dbapi
from mvsqlite_py._binding import lib

State = Any
"""All that an observer can see of the databases concerned, comparable."""

STAGE_BYTES = 65_536
SMALL, LARGE = 3, 120
"""Rows of 1,000 bytes: on one page or two, or more than STAGE_BYTES of them."""


def fill(connection: apsw.Connection, mark: str, rows: int) -> None:
    """Gives every row of the table another mark; makes so many rows."""
    connection.execute("DELETE FROM t")
    connection.executemany(
        "INSERT INTO t VALUES(?,?,?)", [(i, mark, f"{mark}{i}".ljust(1000, ".")) for i in range(rows)]
    )


def create(store: mvsqlite_py.Store, name: str) -> None:
    """A database of two versions: marks a, then b."""
    connection = mvsqlite_py.connect(name, store)
    with connection:
        connection.execute("CREATE TABLE t(i INTEGER PRIMARY KEY, mark, filler)")
        fill(connection, "a", SMALL)
    with connection:
        fill(connection, "b", SMALL)
    connection.close()


def rows_of(connection: apsw.Connection) -> State:
    """By mark, how many rows and bytes; None if there is no table yet."""
    if not connection.execute("SELECT 1 FROM sqlite_schema").fetchall():
        return None
    return connection.execute("SELECT mark, count(*), sum(length(filler)) FROM t GROUP BY mark").fetchall()


def look(store: mvsqlite_py.Store, name: str) -> State:
    """The rows and how many versions there are; None if there is no such database."""
    try:
        database = store.database(name)
    except mvsqlite_py.DatabaseNotFoundError:
        return None
    connection = database.connect()
    try:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return rows_of(connection), sum(1 for _ in database.versions())
    finally:
        connection.close()


class Scenario:
    """One operation on databases of its own. ``act`` may be run again after it failed."""

    unknown_results = False
    """Whether the engine may also leave the question open whether a commit happened."""

    def __init__(self, store: mvsqlite_py.Store, serial: str, scratch: Path) -> None:
        self.store, self.scratch = store, scratch
        self.names = [f"{serial}-first.db", f"{serial}-second.db"]
        self.prepare()

    def prepare(self) -> None:
        create(self.store, self.names[0])
        self.connection = mvsqlite_py.connect(self.names[0], self.store, timeout=0)

    def act(self) -> None:
        raise NotImplementedError

    def recover(self) -> None:
        """What an application does after an error: ROLLBACK if a transaction is still open."""
        if not self.connection.get_autocommit():
            self.connection.execute("ROLLBACK")

    def state(self) -> State:
        return [look(self.store, name) for name in self.names]

    def still_works(self) -> None:
        """The connection reads, and may begin to write."""
        rows_of(self.connection)
        self.connection.execute("BEGIN IMMEDIATE; ROLLBACK")

    def end(self) -> None:
        self.connection.close()


# ---- opening and reading -----------------------------------------------------------


class Open(Scenario):
    def prepare(self) -> None:
        create(self.store, self.names[0])

    def act(self) -> None:
        connection = mvsqlite_py.connect(self.names[0], self.store.url, create=False)
        connection.execute("SELECT * FROM t").fetchall()
        connection.close()

    def recover(self) -> None:
        pass

    def still_works(self) -> None:
        pass

    def end(self) -> None:
        pass


class OpenNew(Open):
    """Opening creates the database: it is there or not."""

    def act(self) -> None:
        mvsqlite_py.connect(self.names[1], self.store.url).close()


class OpenStdlib(Open):
    def act(self) -> None:
        with contextlib.closing(dbapi.connect(self.names[0], self.store.url)) as connection:
            connection.execute("SELECT * FROM t").fetchall()


class PointRead(Scenario):
    def act(self) -> None:
        self.connection.execute("PRAGMA shrink_memory")
        rows = self.connection.execute("SELECT mark FROM t WHERE i=1").fetchall()
        assert rows == [("b",)]


class Scan(Scenario):
    def prepare(self) -> None:
        super().prepare()
        with self.connection:
            fill(self.connection, "c", LARGE)
        self.connection.execute("PRAGMA shrink_memory")

    def act(self) -> None:
        self.store.configure(cache_bytes=0)
        assert rows_of(self.connection) == [("c", LARGE, LARGE * 1000)]


class PastVersion(Scenario):
    """By a connection of its own and by a pinned one."""

    def act(self) -> None:
        database = self.store.database(self.names[0])
        past = list(database.versions())[1].version
        connection = database.connect(version=past)
        try:
            assert rows_of(connection) == [("a", SMALL, SMALL * 1000)]
        finally:
            connection.close()
        self.connection.execute(f"PRAGMA mv_version='{past}'").fetchall()
        assert rows_of(self.connection) == [("a", SMALL, SMALL * 1000)]
        self.connection.execute("PRAGMA mv_at='now'").fetchall()
        assert rows_of(self.connection) == [("b", SMALL, SMALL * 1000)]

    def recover(self) -> None:
        self.connection.execute("PRAGMA mv_at='now'").fetchall()


class SnapshotBytes(Scenario):
    def act(self) -> None:
        snapshot = self.store.database(self.names[0]).at("now")
        copy = sqlite3.connect(":memory:")
        copy.deserialize(snapshot.read())
        assert copy.execute("SELECT DISTINCT mark FROM t").fetchall() == [("b",)]
        copy.close()


# ---- commits -------------------------------------------------------------------------


class Autocommit(Scenario):
    unknown_results = True

    def act(self) -> None:
        self.connection.execute("UPDATE t SET mark='c' WHERE i=0")


class Explicit(Scenario):
    unknown_results = True

    def act(self) -> None:
        self.connection.execute("BEGIN IMMEDIATE")
        fill(self.connection, "c", SMALL)
        self.connection.execute("SAVEPOINT s; DELETE FROM t; ROLLBACK TO s; COMMIT")


class Deferred(Scenario):
    unknown_results = True

    def act(self) -> None:
        self.connection.execute("BEGIN")
        rows_of(self.connection)
        self.connection.execute("UPDATE t SET mark='c'; COMMIT")


class Large(Scenario):
    """Staged, with a SQLite cache so small that pages spill while the transaction runs."""

    unknown_results = True

    def act(self) -> None:
        self.connection.execute("PRAGMA cache_size=10")
        self.connection.execute("BEGIN")
        fill(self.connection, "c", LARGE)
        self.connection.execute("COMMIT")


class LargeCut(Scenario):
    """A commit that is large because most pages go."""

    unknown_results = True

    def prepare(self) -> None:
        super().prepare()
        with self.connection:
            fill(self.connection, "x", LARGE)

    def act(self) -> None:
        self.connection.execute("DELETE FROM t WHERE i>=3")
        self.connection.execute("VACUUM")

    def state(self) -> State:
        """Two commits: the rows alone tell between which."""
        rows, versions = look(self.store, self.names[0])
        return rows, min(versions, 4)


class TwoDatabases(Scenario):
    """One COMMIT over two attached databases; `rows` says how much of each."""

    unknown_results = True
    rows = SMALL

    def prepare(self) -> None:
        super().prepare()
        create(self.store, self.names[1])
        self.connection.execute("ATTACH ? AS other", (mvsqlite_py.uri(self.names[1], store=self.store),))

    def act(self) -> None:
        self.connection.execute("BEGIN")
        fill(self.connection, "c", self.rows)
        self.connection.execute("DELETE FROM other.t; INSERT INTO other.t SELECT * FROM main.t; COMMIT")


class TwoDatabasesLarge(TwoDatabases):
    rows = LARGE


class SettledByTheNext(Scenario):
    """A large commit whose move into place failed is finished by the next writer."""

    def prepare(self) -> None:
        super().prepare()
        self.connection.execute("BEGIN")
        fill(self.connection, "c", LARGE)
        with failing_moves():
            self.connection.execute("COMMIT")

    def act(self) -> None:
        self.connection.execute("UPDATE t SET mark='d'")


@contextlib.contextmanager
def failing_moves() -> Iterator[None]:
    """The engine commits what makes a large commit visible, and no transaction after it."""
    staged_commits = -(-LARGE * 1000 // STAGE_BYTES)
    lib.mv_fault_arm(KINDS["COMMIT"], staged_commits + 3, 1, 11)
    try:
        yield
    finally:
        lib.mv_fault_reset()


KINDS = {"ANY": 0, "GET": 3, "RANGE": 4, "COMMIT": 6, "UNKNOWN_DONE": 7, "UNKNOWN_LOST": 8}


# ---- the library's own operations ---------------------------------------------------------


class Revert(Scenario):
    unknown_results = True

    def act(self) -> None:
        database = self.store.database(self.names[0])
        first = list(database.versions())[-1].version
        database.revert(version=first, timeout=0)


class RevertLarge(Revert):
    def prepare(self) -> None:
        super().prepare()
        with self.connection:
            fill(self.connection, "c", LARGE)


class Undo(Scenario):
    """Takes back the second version; a later one is kept."""

    def prepare(self) -> None:
        super().prepare()
        self.connection.execute("INSERT INTO t VALUES(99,'later','')")
        self.version = list(self.store.database(self.names[0]).versions())[1].version

    def act(self) -> None:
        self.store.database(self.names[0]).undo(self.version, timeout=0)


class OwnStore(Scenario):
    """For operations that read the list of all databases: others would make the work longer."""

    def prepare(self) -> None:
        self.store = mvsqlite_py.open_store(f"{self.store.url}-{self.names[0]}")
        self.store.configure(stage_bytes=STAGE_BYTES)
        super().prepare()

    def end(self) -> None:
        super().end()
        self.store.close()


class Import(OwnStore):
    def prepare(self) -> None:
        super().prepare()
        self.path = self.scratch / f"{self.names[0]}.sqlite"
        with contextlib.closing(sqlite3.connect(self.path)) as file:
            file.execute("CREATE TABLE t(i INTEGER PRIMARY KEY, mark, filler)")
            file.executemany("INSERT INTO t VALUES(?,'file',?)", [(i, "." * 1000) for i in range(LARGE)])
            file.commit()

    def act(self) -> None:
        self.store.import_file(self.path, self.names[1])


class Export(Import):
    """The file appears whole or not at all, and nothing else stays behind."""

    def act(self) -> None:
        target = self.scratch / f"out-{self.names[0]}"
        target.unlink(missing_ok=True)
        try:
            self.store.export(self.names[0], target)
        except BaseException:
            assert not target.exists()
            assert not list(self.scratch.glob(".out-*"))
            raise
        with contextlib.closing(sqlite3.connect(target)) as file:
            assert file.execute("SELECT DISTINCT mark FROM t").fetchall() == [("b",)]


class Rename(Scenario):
    def act(self) -> None:
        self.store.rename(*self.names)


class Delete(Scenario):
    def act(self) -> None:
        self.store.delete(self.names[0])

    def still_works(self) -> None:
        if any(state is not None for state in self.state()):
            super().still_works()


class Undelete(OwnStore):
    def prepare(self) -> None:
        super().prepare()
        self.store.delete(self.names[0])

    def act(self) -> None:
        self.store.undelete(*self.names)

    def still_works(self) -> None:
        if any(state is not None for state in self.state()):
            super().still_works()


class Branch(Scenario):
    unknown_results = True

    def act(self) -> None:
        self.store.branch(*self.names)


class Promote(Scenario):
    """The branch's state and what is kept of the one before come together."""

    unknown_results = True
    rows = SMALL

    def prepare(self) -> None:
        super().prepare()
        connection = self.store.branch(*self.names).connect()
        with connection:
            fill(connection, "p", self.rows)
        connection.close()
        self.names.append(f"{self.names[0]}-kept")

    def act(self) -> None:
        first, branch, kept = self.names
        self.store.database(first).promote(branch, keep=kept, timeout=0)


class PromoteLarge(Promote):
    rows = LARGE


class Look(Scenario):
    """Listing, the log, what a database takes, verification."""

    def act(self) -> None:
        assert [info.name for info in self.store.list() if info.name == self.names[0]]
        database = self.store.database(self.names[0])
        versions = list(database.versions())
        assert len(versions) == 2
        assert database.changed_pages(versions[1].version, versions[0].version)
        assert database.stat().versions == 2
        assert database.verify().problems == []


class LookInSql(Scenario):
    """The table-valued functions: the whole answer, or an error."""

    def act(self) -> None:
        with contextlib.closing(
            mvsqlite_py.connect(self.names[0], self.store.url, create=False)
        ) as connection:
            told = [
                connection.execute(sql).fetchall()
                for sql in (
                    "SELECT count(*), sum(pages) FROM mv_log",
                    "SELECT count(*), total(added) > 0 FROM mv_log AS l JOIN mv_changed(l.version)",
                    "SELECT kind, count(*) FROM mv_diff('t', NULL) GROUP BY kind",
                    "SELECT count(*), count(ended) FROM mv_history('t')",
                    "SELECT mv_time_of(mv_version_at('now')) IS NOT NULL",
                )
            ]
        count, pages = told[0][0]
        assert count == 2
        assert told[1] == [(pages, 1)]
        assert [kind for kind, _ in told[2]] == ["added"]
        assert told[3][0][0] - told[3][0][1] == told[2][0][1]
        assert told[4] == [(1,)]


ALL = [
    Open, OpenNew, OpenStdlib, PointRead, Scan, PastVersion, SnapshotBytes, Autocommit, Explicit, Deferred,
    Large, LargeCut, TwoDatabases, TwoDatabasesLarge, SettledByTheNext, Revert, RevertLarge, Undo, Import,
    Export, Rename, Delete, Undelete, Branch, Promote, PromoteLarge, Look, LookInSql,
]  # fmt: skip
