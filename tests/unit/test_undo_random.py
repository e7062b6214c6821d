"""Any commit undone at once is as if it had not been; undone later, it leaves other tables' work alone."""

import random
from dataclasses import replace
from typing import Any

import apsw
import pytest

import mvsqlite_py

SCHEMA = """
CREATE TABLE plain(id INTEGER PRIMARY KEY, x, u UNIQUE);
CREATE TABLE named(k TEXT COLLATE NOCASE PRIMARY KEY, x);
CREATE TABLE bare(x, y);
CREATE TABLE narrow(a, b, x, PRIMARY KEY(a, b)) WITHOUT ROWID;
CREATE TABLE child(id INTEGER PRIMARY KEY, plain REFERENCES plain ON DELETE CASCADE ON UPDATE SET NULL);
CREATE VIRTUAL TABLE words USING fts5(w);
CREATE VIRTUAL TABLE boxes USING rtree(id, x0, x1);
CREATE TABLE log(what);
CREATE TRIGGER plain_d AFTER DELETE ON plain BEGIN INSERT INTO log VALUES (old.id); END;
"""
TABLES = ("plain", "named", "bare", "narrow", "child", "words", "boxes", "log")


def numbers(rng: random.Random) -> list[int]:
    low = rng.randrange(0, 300)
    return list(range(low, low + rng.choice([1, 3, 30, 300])))


def value(rng: random.Random) -> Any:
    kinds = [
        None,
        rng.randrange(5),
        rng.random(),
        "a" * rng.choice([1, 50, 9000]),
        rng.randbytes(rng.choice([1, 6000])),
    ]
    return rng.choice(kinds)


def mutate(connection: apsw.Connection, rng: random.Random) -> None:
    """One random statement, on rows around a random place."""
    ids = numbers(rng)
    low, high = ids[0], ids[-1]
    what = rng.randrange(11)
    if what == 0:
        rows: list[tuple[Any, ...]] = [(n, value(rng), -n if rng.random() < 0.5 else None) for n in ids]
        connection.executemany("INSERT OR REPLACE INTO plain VALUES (?, ?, ?)", rows)
    elif what == 1:
        connection.executemany(
            "INSERT OR REPLACE INTO named VALUES (?, ?)", [(f"K{n}", value(rng)) for n in ids]
        )
    elif what == 2:
        connection.executemany("INSERT INTO bare VALUES (?, ?)", [(n, value(rng)) for n in ids])
    elif what == 3:
        rows = [(n % 3, n, value(rng)) for n in ids]
        connection.executemany("INSERT OR REPLACE INTO narrow VALUES (?, ?, ?)", rows)
    elif what == 4:
        parents = [row[0] for row in connection.execute("SELECT id FROM plain LIMIT 50")]
        connection.executemany("INSERT INTO child(plain) VALUES (?)", [(p,) for p in parents])
    elif what == 5:
        connection.executemany("INSERT INTO words VALUES (?)", [(f"word{n} and more",) for n in ids])
    elif what == 6:
        boxes = [(n, n / 3, n) for n in ids]
        connection.executemany("INSERT OR REPLACE INTO boxes VALUES (?, ?, ?)", boxes)
    elif what == 7:
        table, key = rng.choice(
            [
                ("plain", "id"),
                ("named", "rowid"),
                ("bare", "x"),
                ("narrow", "b"),
                ("words", "rowid"),
                ("boxes", "id"),
            ]
        )
        connection.execute(f"DELETE FROM {table} WHERE {key} BETWEEN ? AND ?", (low, high))
    elif what == 8:
        connection.execute("UPDATE plain SET x = ?, u = -u WHERE id BETWEEN ? AND ?", (value(rng), low, high))
    elif what == 9:
        connection.execute(
            "UPDATE named SET k = lower(k), x = ? WHERE rowid BETWEEN ? AND ?", (value(rng), low, high)
        )
    else:
        connection.execute("UPDATE words SET w = 'other' WHERE rowid BETWEEN ? AND ?", (low, high))


def state(connection: apsw.Connection) -> dict[str, list[str]]:
    return {table: sorted(map(repr, connection.execute(f"SELECT * FROM {table}"))) for table in TABLES}


def commit(connection: apsw.Connection, rng: random.Random) -> str:
    """A random commit that changed something."""
    before = connection.pragma("mv_version")
    while connection.pragma("mv_version") == before:
        connection.execute("BEGIN")
        for _ in range(rng.randint(1, 4)):
            mutate(connection, rng)
        connection.execute("COMMIT")
    version: str = connection.pragma("mv_version")
    return version


@pytest.fixture(params=range(6))
def rng(request: pytest.FixtureRequest) -> random.Random:
    return random.Random(request.param)


@pytest.fixture
def connection(store: mvsqlite_py.Store, rng: random.Random) -> apsw.Connection:
    connection = store.create("random.db").connect()
    connection.execute(f"PRAGMA page_size = {rng.choice([512, 4096])}; PRAGMA foreign_keys = ON")
    connection.execute("BEGIN;" + SCHEMA + "COMMIT")
    return connection


def test_a_commit_undone_at_once_leaves_the_state_before_it(
    store: mvsqlite_py.Store, connection: apsw.Connection, rng: random.Random
) -> None:
    database = store.database("random.db")
    for _ in range(8):
        before = state(connection)
        version = commit(connection, rng)
        after = state(connection)
        report = database.undo(version)
        assert report.untouched == []
        assert state(connection) == before
        if report.made:
            database.undo(report.made)
        assert state(connection) == after
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_a_commit_undone_later_breaks_nothing(
    store: mvsqlite_py.Store, connection: apsw.Connection, rng: random.Random
) -> None:
    """Rows written since keep what was written, whatever is taken back."""
    database = store.database("random.db")
    made = [commit(connection, rng) for _ in range(10)]
    for version in rng.sample(made, 6):
        before = state(connection)
        report = database.undo(version)
        after = state(connection)
        assert sorted(t for t in TABLES if before[t] != after[t]) == sorted(report.tables)
        for table, counts in report.tables.items():
            assert len(after[table]) - len(before[table]) == counts.added - counts.removed
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_each_table_goes_back_to_any_version(
    store: mvsqlite_py.Store, connection: apsw.Connection, rng: random.Random
) -> None:
    database = store.database("random.db")
    connection.execute("DROP TABLE child")  # its references would keep rows of plain in place
    made, states = [], []
    for _ in range(6):
        connection.execute("CREATE TABLE child(id INTEGER PRIMARY KEY, plain)")
        made.append(commit(connection, rng))
        connection.execute("DROP TABLE child")
        states.append(
            {t: sorted(map(repr, connection.execute(f"SELECT * FROM {t}"))) for t in TABLES if t != "child"}
        )
    for table in states[0]:
        then = rng.randrange(len(made))
        database.revert_table(table, version=made[then])
        assert sorted(map(repr, connection.execute(f"SELECT * FROM {table}"))) == states[then][table]


def sound(database: mvsqlite_py.Database) -> bool:
    """What SQLite finds, asked anew: fts5 checks against what its own connection remembers."""
    connection = database.connect()
    try:
        broken = connection.execute("PRAGMA foreign_key_check").fetchall()
        return not broken and connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    finally:
        connection.close()


def test_several_commits_undone_as_one_and_that_undone_again(
    store: mvsqlite_py.Store, connection: apsw.Connection, rng: random.Random
) -> None:
    """The dry run tells what is done; nothing is broken by it; undoing it leaves no trace."""
    database = store.database("random.db")
    made = [commit(connection, rng) for _ in range(9)]
    for _ in range(4):
        before = state(connection)
        chosen = rng.sample(made, rng.randint(1, len(made)))
        conflicts: Any = rng.choice(["leave", "theirs"])
        planned = database.undo(chosen, conflicts=conflicts, dry_run=True)
        assert state(connection) == before
        done = database.undo(chosen, conflicts=conflicts)
        assert replace(done, made=None) == planned
        assert sound(database)
        after = state(connection)
        assert {t for t in TABLES if before[t] != after[t]} <= set(done.tables)
        if done.made:
            again = database.undo(done.made)
            assert again.untouched == []
            assert state(connection) == before
            database.undo(again.made or "")
            assert state(connection) == after
            made.append(commit(connection, rng))
