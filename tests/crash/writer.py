"""What the processes do that are killed: transactions whose every half is visible.

A transaction adds a set of rows with its id, and a row in ``txns`` that says how many there
are and their sum; ``total`` counts the rows of all. Its id is also the commit's message. What
COMMIT has acknowledged goes to a file of the process's own, with one write: a killed process
loses no such write.
"""

import ctypes
import json
import os
import random
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw

import mvsqlite_py
from mvsqlite_py._binding import last_error, lib

NAMES = ["a.db", "b.db", "c.db"]
STAGE_BYTES = 65_536
KILL = -9  # MV_FAULT_KILL
CALL = -1
"""No kind of call to the engine, but one by the engine to the system."""
SCHEMA = """
CREATE TABLE IF NOT EXISTS txns(id TEXT PRIMARY KEY, n INTEGER, s INTEGER);
CREATE TABLE IF NOT EXISTS rows(id TEXT, i INTEGER, x INTEGER, filler BLOB, PRIMARY KEY(id, i));
CREATE TABLE IF NOT EXISTS total(n INTEGER, s INTEGER);
INSERT INTO total SELECT 0, 0 WHERE NOT EXISTS (SELECT 1 FROM total);
"""
ADD = """
WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i + 1 FROM n WHERE i < :n)
    INSERT INTO {schema}.rows SELECT :id, i, i * 7919 % 1000, randomblob(:size) FROM n;
INSERT INTO {schema}.txns SELECT :id, count(*), sum(x) FROM {schema}.rows WHERE id = :id;
UPDATE {schema}.total SET n = n + :n, s = s + (SELECT s FROM {schema}.txns WHERE id = :id);
"""


def prepare(url: str) -> None:
    with mvsqlite_py.open_store(url) as store:
        for name in NAMES:
            connection = mvsqlite_py.connect(name, store)
            with connection:
                connection.execute(SCHEMA)
            connection.execute("CREATE INDEX by_size ON txns(n)")
            connection.close()


class Writer:
    """One process's work on a store."""

    def __init__(self, url: str, acknowledged: Path, mark: str, timeout: float = 60) -> None:
        self.store = mvsqlite_py.open_store(url)
        self.random = random.Random(mark)
        self.acknowledged = os.open(acknowledged, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self.mark, self.serial, self.timeout = mark, 0, timeout
        self.connections: dict[str, apsw.Connection] = {}

    def acknowledge(self, **what: Any) -> None:
        os.write(self.acknowledged, (json.dumps(what) + "\n").encode())

    def connection(self, name: str, other: str | None = None) -> apsw.Connection:
        key = f"{name} {other}"
        if key not in self.connections:
            connection = mvsqlite_py.connect(name, self.store, timeout=self.timeout)
            connection.execute("PRAGMA cache_size=20")
            if other:
                connection.execute("ATTACH ? AS other", (mvsqlite_py.uri(other, store=self.store),))
            self.connections[key] = connection
        return self.connections[key]

    def identity(self, *names: str) -> str:
        """The next transaction's id, which tells the databases it is on."""
        self.serial += 1
        return f"{self.mark}.{self.serial} {' '.join(names)}"

    def commit(self, names: list[str], rows: int, size: int) -> None:
        """One transaction on one database, or on two at once."""
        identity = self.identity(*names)
        connection = self.connection(*names)
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("SELECT mv_message(?)", (identity,)).fetchall()
        for schema in ("main", "other")[: len(names)]:
            connection.execute(ADD.format(schema=schema), {"id": identity, "n": rows, "size": size})
        connection.execute("COMMIT")
        version = connection.execute("PRAGMA mv_version").fetchall()[0][0]
        self.acknowledge(id=identity, version=version)

    def small(self) -> None:
        self.commit([self.random.choice(NAMES)], self.random.randrange(1, 4), 50)

    def large(self) -> None:
        """More than one staging step, and pages that leave SQLite's cache early."""
        self.store.configure(stage_bytes=STAGE_BYTES)
        self.commit([self.random.choice(NAMES)], self.random.randrange(30, 120), 3000)

    def two(self) -> None:
        self.commit(self.random.sample(NAMES, 2), 2, 50)

    def two_large(self) -> None:
        self.store.configure(stage_bytes=STAGE_BYTES)
        self.commit(self.random.sample(NAMES, 2), 40, 3000)

    def revert(self) -> None:
        """To one of the last few versions."""
        name = self.random.choice(NAMES)
        database = self.store.database(name)
        versions = [version.version for version in database.versions(limit=6)]
        identity = self.identity(name)
        made = database.revert(version=self.random.choice(versions[1:]), message=identity, timeout=60)
        self.acknowledge(id=identity, version=made)

    def vacuum(self) -> None:
        """Content stays as it is, most pages move."""
        self.connection(self.random.choice(NAMES)).execute("VACUUM")

    def rolled_back(self) -> None:
        connection = self.connection(self.random.choice(NAMES))
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(ADD.format(schema="main"), {"id": "never", "n": 40, "size": 3000})
        connection.execute("ROLLBACK")

    def forever(self) -> None:
        """Random work until the process is killed."""
        steps = (
            [self.small] * 12
            + [self.large] * 3
            + [self.two] * 3
            + [self.revert, self.vacuum, self.rolled_back]
        )
        while True:
            self.random.choice(steps)()


def in_child(work: Callable[[], Any], errors: Path) -> int:
    """Forks a process that does the work; its end: 0, or 3 with the error's text in the file."""
    child = os.fork()
    if child:
        return child
    code = 3
    try:
        work()
        code = 0
    except BaseException as error:
        result = getattr(error, "extendedresult", "no result")
        errors.write_text(f"{traceback.format_exc()}\n{result}: {last_error()}")
    finally:
        os._exit(code)


def die_at(url: str, acknowledged: Path, mark: str, step: str, kind: int, nth: int) -> None:
    """One step of work, in which the n-th call (to the engine, or of its own) kills the process."""
    writer = Writer(url, acknowledged, mark)
    writer.random.seed(step)
    if kind == CALL:
        ctypes.CDLL(None).die_after(nth)
    else:
        lib.mv_fault_arm(kind, nth, 0, KILL)
    getattr(writer, step)()
