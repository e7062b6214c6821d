"""Processes around a gc: one that writes, one that reads old versions, one that forgets.

Version n of the database has the rows 1 to n, so that what a reader finds says whether it is whole.
"""

import random
import sys
import time

import apsw

import mvsqlite_py
from mvsqlite_py import Policy, VersionNotFoundError, _retention

NAME = "a.db"
SCHEMA = """
CREATE TABLE t(a INTEGER PRIMARY KEY, filler BLOB);
CREATE INDEX by_filler ON t(filler);
"""


def prepare(url: str) -> None:
    connection = mvsqlite_py.connect(NAME, url)
    connection.execute(SCHEMA)
    connection.close()
    with mvsqlite_py.open_store(url) as store:
        store.database(NAME).set_policy(Policy(keep_all=0, least=0))


def write_one(connection: apsw.Connection) -> None:
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("INSERT INTO t(filler) VALUES (randomblob(abs(random()) % 2000))")
    connection.execute("UPDATE t SET filler = randomblob(300) WHERE a % 7 = abs(random()) % 7")
    connection.execute("COMMIT")


def check(connection: apsw.Connection) -> int:
    """The number of rows, which are as one commit left them."""
    found = connection.execute("SELECT count(*), coalesce(max(a), 0), coalesce(sum(a), 0) FROM t").fetchall()
    count, last, total = found[0]
    assert (last, total) == (count, count * (count + 1) // 2), found
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    return int(count)


def write(url: str) -> None:
    connection = mvsqlite_py.connect(NAME, url, timeout=60)
    while True:
        write_one(connection)


def read(url: str) -> None:
    """Opens versions at random: one that is there when it is opened stays until it is closed."""
    chance = random.Random()
    with mvsqlite_py.open_store(url) as store:
        database = store.database(NAME)
        while True:
            version = chance.choice([entry.version for entry in database.versions(limit=50)])
            try:
                connection = database.connect(version=version)
                check(connection)
            except VersionNotFoundError:
                continue
            rows = [check(connection) for _ in range(3)]
            assert len(set(rows)) == 1
            connection.close()


def forget(url: str) -> None:
    _retention.clock_ms = lambda: int(time.time() * 1000) + 10**9
    with mvsqlite_py.open_store(url) as store:
        while True:
            store.database(NAME).gc()


if __name__ == "__main__":
    {"write": write, "read": read, "forget": forget}[sys.argv[1]](sys.argv[2])
