"""A difference as SQL, replayed: the older state becomes the newer one, row for row."""

import itertools
import math
import random
import sqlite3
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import mvsqlite_py
from mvsqlite_py._literals import literal
from mvsqlite_py._rows import Row, match_by_key

Make = Callable[[str], mvsqlite_py.Database]


@pytest.fixture(scope="module")
def make(url_in: Callable[[Path], str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Make]:
    """Creates databases in one store."""
    with mvsqlite_py.open_store(url_in(tmp_path_factory.mktemp("replay"))) as store:
        yield store.create


@pytest.fixture
def database(store: mvsqlite_py.Store) -> mvsqlite_py.Database:
    return store.create("replay.db")


def commit(database: mvsqlite_py.Database, sql: str) -> str:
    """Runs statements as one commit; the version it made."""
    connection = database.connect()
    connection.execute(f"BEGIN; {sql}; COMMIT")
    version: str = connection.pragma("mv_version")
    connection.close()
    return version


def stock(database: mvsqlite_py.Database, version: str | None) -> apsw.Connection:
    """A state in an ordinary SQLite database in memory."""
    connection = apsw.Connection(":memory:")
    if version is not None:
        connection.deserialize("main", database.at(version=version).read())
    return connection


def state(connection: apsw.Connection) -> dict[str, Any]:
    """All that can be asked of a state with SQL, text by its bytes."""
    schema = connection.execute(
        "SELECT type, name, tbl_name, sql FROM sqlite_schema WHERE sql NOT NULL AND name NOT LIKE 'sqlite%' "
        "AND name NOT IN (SELECT name FROM pragma_table_list WHERE type = 'shadow')"
    )
    found: dict[str, Any] = {"schema": sorted(schema), "version": connection.pragma("user_version")}
    found["encoding"] = connection.pragma("encoding")
    tables = connection.execute(
        "SELECT name FROM pragma_table_list WHERE schema = 'main' AND type IN ('table', 'virtual') "
        "AND name NOT IN ('sqlite_schema', 'sqlite_stat1')"
    )
    for (name,) in tables.fetchall():
        quoted = '"' + name.replace('"', '""') + '"'
        columns = [row[1] for row in connection.execute(f"PRAGMA table_xinfo({quoted})") if row[6] != 1]
        names = [f'"{column}"' for column in columns]
        told = [
            f"typeof({n}) || ' ' || CASE typeof({n}) WHEN 'text' THEN hex({n}) ELSE '' END" for n in names
        ]
        told += [f"CASE typeof({n}) WHEN 'text' THEN NULL ELSE {n} END" for n in names]
        key = any(row[5] for row in connection.execute(f"PRAGMA table_info({quoted})"))
        rowid = "" if key or "rowid" in columns else "rowid, "
        found[name] = sorted(map(repr, connection.execute(f"SELECT {rowid}{', '.join(told)} FROM {quoted}")))
    if not found.get("sqlite_sequence"):
        found.pop("sqlite_sequence", None)  # once made it cannot be dropped
    return found


def replayed(
    database: mvsqlite_py.Database, before: str | None, after: str | None
) -> tuple[list[str], apsw.Connection]:
    """Replays a difference; its statements, and the state they led to."""
    statements = list(database.diff(before, after).sql())
    connection = stock(database, before)
    connection.pragma("foreign_keys", 1)
    for sql in statements:
        connection.execute(sql)
    assert state(connection) == state(stock(database, after))
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    return statements, connection


# ---- values ---------------------------------------------------------------------------


@given(st.floats(allow_nan=False))
@settings(max_examples=500, deadline=None)
def test_a_float_is_read_exactly_by_every_sqlite(value: float) -> None:
    """apsw's and the standard library's are of different ages."""
    for connection in (apsw.Connection(":memory:"), sqlite3.connect(":memory:")):
        (read,) = connection.execute(f"SELECT {literal(value)}").fetchone()
        assert read == value
        assert isinstance(read, float)
        connection.close()


def test_floats_at_the_ends_of_their_range_are_read_exactly() -> None:
    rng = random.Random(1)
    values = [struct.unpack("d", rng.randbytes(8))[0] for _ in range(2000)]
    values += [5e-324, -5e-324, 2.2250738585072014e-308, 1.7976931348623157e308, math.inf, -math.inf]
    for connection in (apsw.Connection(":memory:"), sqlite3.connect(":memory:")):
        for value in values:
            if not math.isnan(value):
                assert connection.execute(f"SELECT {literal(value)}").fetchone() == (value,)
        connection.close()


@given(
    st.one_of(
        st.none(),
        st.integers(-(2**63), 2**63 - 1),
        st.binary(max_size=20),
        st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    )
)
@settings(max_examples=300, deadline=None)
def test_other_values_are_read_exactly(value: Any) -> None:
    connection = apsw.Connection(":memory:")
    read = connection.execute(f"SELECT {literal(value)}").fetchone()
    assert read == (value,)
    assert type(read[0]) is type(value)


# ---- rows ------------------------------------------------------------------------------

NOTES = "CREATE TABLE notes(id INTEGER PRIMARY KEY, title, n)"


def test_statements_name_the_row_and_what_changed(database: mvsqlite_py.Database) -> None:
    before = commit(database, f"{NOTES}; INSERT INTO notes VALUES (1, 'a', 1), (2, 'b', 2), (3, 'c', 3)")
    after = commit(
        database,
        "DELETE FROM notes WHERE id = 1; UPDATE notes SET title = 'it''s' WHERE id = 2; "
        "INSERT INTO notes VALUES (9007199254740993, x'00ff', 0.1)",
    )
    statements, _ = replayed(database, before, after)
    assert statements == [
        "PRAGMA foreign_keys = OFF;",
        "BEGIN IMMEDIATE;",
        'DELETE FROM "notes" WHERE "id" = 1;',
        'UPDATE "notes" SET "title" = \'it\'\'s\' WHERE "id" = 2;',
        'INSERT INTO "notes" ("id", "title", "n") VALUES (9007199254740993, x\'00ff\', 0.1);',
        "COMMIT;",
    ]
    replayed(database, after, before)
    assert list(database.diff(after, after).sql()) == []
    replayed(database, None, after)
    replayed(database, after, None)


@pytest.mark.parametrize(
    ("schema", "rows", "change"),
    [
        (
            "CREATE TABLE t(k TEXT COLLATE NOCASE PRIMARY KEY, x)",
            "('a', 1), ('B', 2), (NULL, 3), (NULL, 4)",
            "UPDATE t SET k = 'A' WHERE k = 'a'; UPDATE t SET x = 9 WHERE x > 2; "
            "INSERT INTO t VALUES (NULL, 5)",
        ),
        (
            "CREATE TABLE t(a, b, x, PRIMARY KEY(b, a)) WITHOUT ROWID",
            "(1, 1, 1), (1, 2, x'01'), (1.5, 'z', NULL)",
            "UPDATE t SET x = 'y' WHERE b = 1; DELETE FROM t WHERE a = 1.5; INSERT INTO t VALUES (3, 4, 5)",
        ),
        (
            "CREATE TABLE t(x)",
            "(1), (1), (1)",
            "DELETE FROM t WHERE rowid = 2; INSERT INTO t(rowid, x) VALUES (9, 1)",
        ),
        (
            "CREATE TABLE t(rowid, x)",
            "(1, 1), (1, 2)",
            "DELETE FROM t WHERE x = 1; INSERT INTO t VALUES (1, 3)",
        ),
        (
            "CREATE TABLE t(id INTEGER PRIMARY KEY, u UNIQUE)",
            "(1, 'a'), (2, 'b'), (3, 'c')",
            "DELETE FROM t; INSERT INTO t VALUES (1, 'b'), (2, 'c'), (3, 'a')",
        ),
        (
            "CREATE TABLE t(id INTEGER PRIMARY KEY, u); CREATE UNIQUE INDEX i ON t(lower(u)) WHERE id > 0",
            "(1, 'a'), (2, 'b')",
            "DELETE FROM t; INSERT INTO t VALUES (1, 'B'), (2, 'A')",
        ),
        (
            "CREATE TABLE t(id INTEGER PRIMARY KEY AUTOINCREMENT, x)",
            "(1, 1), (7, 7)",
            "INSERT INTO t VALUES (99, 1); DELETE FROM t WHERE id > 5",
        ),
        (
            "CREATE TABLE t(a, b AS (a * 2), c AS (a + 1) STORED, d)",
            "(1, 2), (3, 4)",
            "UPDATE t SET a = 7 WHERE a = 1; INSERT INTO t(a, d) VALUES (5, 6)",
        ),
        (
            "CREATE TABLE t(a, b)",
            "(1, CAST(x'ff' AS TEXT))",
            "UPDATE t SET a = CAST(x'fe' AS TEXT), b = x'ff'",
        ),
        ("CREATE TABLE t(a)", "('x' || char(0) || 'y')", "UPDATE t SET a = char(0) || 'it''s'"),
        ("CREATE TABLE t(a REAL, b INT, c TEXT)", "(1, 1, 1)", "UPDATE t SET a = 9e999, b = 1.5, c = 2.0"),
        (
            "CREATE VIRTUAL TABLE t USING fts5(a, b)",
            "('one', 'two'), ('three', 'it''s')",
            "UPDATE t SET a = 'four' WHERE rowid = 2; DELETE FROM t WHERE rowid = 1; "
            "INSERT INTO t VALUES ('', NULL)",
        ),
        (
            "CREATE VIRTUAL TABLE t USING rtree(id, x0, x1, +label)",
            "(1, 0.1, 1.7, 'a'), (2, 3, 4, 'b')",
            "UPDATE t SET x1 = 2.3, label = 'c' WHERE id = 1; DELETE FROM t WHERE id = 2",
        ),
    ],
)
def test_rows_of_every_kind_of_table(
    database: mvsqlite_py.Database, schema: str, rows: str, change: str
) -> None:
    names = "(a, d)" if "STORED" in schema else ""
    before = commit(database, f"{schema}; INSERT INTO t{names} VALUES {rows}")
    after = commit(database, change)
    replayed(database, before, after)
    replayed(database, after, before)
    replayed(database, None, after)


def test_an_index_over_another_table_follows_its_rows(database: mvsqlite_py.Database) -> None:
    before = commit(
        database,
        "CREATE TABLE n(id INTEGER PRIMARY KEY, t); CREATE VIRTUAL TABLE f USING fts5(t, content=n); "
        "CREATE TRIGGER i AFTER INSERT ON n BEGIN INSERT INTO f(rowid, t) VALUES (new.id, new.t); END; "
        "CREATE TABLE log(x); CREATE TRIGGER l AFTER INSERT ON n BEGIN INSERT INTO log VALUES (new.id); END; "
        "INSERT INTO n VALUES (1, 'one')",
    )
    after = commit(database, "INSERT INTO n VALUES (2, 'two')")
    _, connection = replayed(database, before, after)
    assert connection.execute("SELECT rowid FROM f('two')").fetchall() == [(2,)]
    assert list(database.diff(before, after).skipped) == ["f"]


def test_cascades_and_references_do_not_interfere(database: mvsqlite_py.Database) -> None:
    before = commit(
        database,
        "CREATE TABLE p(id INTEGER PRIMARY KEY, u UNIQUE); INSERT INTO p VALUES (1, 1), (2, 2), (3, 3); "
        "CREATE TABLE a_child(p REFERENCES p(u) ON DELETE CASCADE); INSERT INTO a_child VALUES (1), (2), (3)",
    )
    after = commit(
        database,
        "DELETE FROM p WHERE id = 3; UPDATE p SET u = 9 WHERE id = 1; UPDATE p SET u = 1 WHERE id = 2; "
        "UPDATE p SET u = 2 WHERE id = 1; UPDATE a_child SET p = 1 WHERE p = 3",
    )
    replayed(database, before, after)
    replayed(database, after, before)


# ---- schemas ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE notes ADD COLUMN more DEFAULT 'it''s'; UPDATE notes SET more = 7 WHERE id = 2",
        "ALTER TABLE notes ADD COLUMN more INT NOT NULL DEFAULT 5; DELETE FROM notes WHERE id = 1",
        "ALTER TABLE notes RENAME COLUMN title TO name",
        "ALTER TABLE notes RENAME TO entries",
        "ALTER TABLE notes RENAME TO x; ALTER TABLE x RENAME TO Notes",
        "DROP TRIGGER t; DROP VIEW v; DROP INDEX i; ALTER TABLE notes DROP COLUMN n",
        "DROP TABLE notes",
        "DROP TABLE notes; CREATE VIEW notes AS SELECT 1 AS one -- a comment\n",
        "DROP VIEW v; CREATE TABLE v(a, b)",
        "DROP INDEX i; CREATE UNIQUE INDEX i ON notes(title DESC) WHERE n > 0; UPDATE notes SET title = id",
        "DROP TRIGGER t; CREATE TRIGGER t BEFORE UPDATE ON notes BEGIN SELECT raise(ABORT, 'no'); END",
        "CREATE TABLE other AS SELECT * FROM notes; INSERT INTO other VALUES (1, 2, 3)",
        "CREATE VIRTUAL TABLE f USING fts5(t); INSERT INTO f VALUES ('x')",
        "PRAGMA user_version = 7; PRAGMA application_id = -5",
        "CREATE TABLE auto(id INTEGER PRIMARY KEY AUTOINCREMENT); INSERT INTO auto VALUES (5)",
    ],
)
def test_changes_of_the_schema(database: mvsqlite_py.Database, change: str) -> None:
    before = commit(
        database,
        f"{NOTES}; CREATE INDEX i ON notes(title, n); CREATE VIEW v AS SELECT title FROM notes; "
        "CREATE TABLE log(x); "
        "CREATE TRIGGER t AFTER DELETE ON notes BEGIN INSERT INTO log VALUES (old.id); END; "
        "INSERT INTO notes VALUES (1, 'a', 1), (2, 'b', 2), (3, 'c', 3)",
    )
    after = commit(database, change)
    replayed(database, before, after)
    replayed(database, after, before)


def test_rows_that_did_not_change_are_copied_when_a_column_is_added(database: mvsqlite_py.Database) -> None:
    many = "WITH c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c LIMIT 500) SELECT i, i, i FROM c"
    before = commit(database, f"{NOTES}; INSERT INTO notes {many}")
    after = commit(
        database, "ALTER TABLE notes ADD COLUMN more DEFAULT 1; UPDATE notes SET more = 2 WHERE id = 9"
    )
    statements, _ = replayed(database, before, after)
    assert len(statements) < 15


def test_a_virtual_table_where_an_ordinary_one_was(database: mvsqlite_py.Database) -> None:
    """Its shadow tables are no tables of their own, whatever the other state has of that name."""
    before = commit(database, "CREATE TABLE f(t); INSERT INTO f VALUES (1)")
    after = commit(database, "DROP TABLE f; CREATE VIRTUAL TABLE f USING fts5(t); INSERT INTO f VALUES (2)")
    assert [(one.action, one.name) for one in database.diff(before, after).schema] == [("altered", "f")]
    replayed(database, before, after)
    replayed(database, after, before)


@pytest.mark.parametrize("encoding", ["UTF-16le", "UTF-16be"])
def test_other_encodings(database: mvsqlite_py.Database, encoding: str) -> None:
    connection = database.connect()
    connection.execute(f"PRAGMA encoding = '{encoding}'; CREATE TABLE t(x)")
    before = connection.pragma("mv_version")
    connection.execute("INSERT INTO t VALUES ('ä' || char(0) || '€')")
    after = connection.pragma("mv_version")
    assert database.diff(before, after).rows == {"t": mvsqlite_py.RowCounts(added=1)}
    replayed(database, before, after)
    replayed(database, None, after)


# ---- what cannot be told ------------------------------------------------------------------


def test_what_cannot_be_told_is_named_and_the_rest_told(database: mvsqlite_py.Database) -> None:
    connection = database.connect()
    connection.create_module("ours", Series(), use_bestindex_object=True)
    connection.execute(
        "CREATE TABLE n(x); CREATE VIRTUAL TABLE c USING fts5(t, content=''); "
        "CREATE TABLE three(rowid, _rowid_, oid); CREATE VIRTUAL TABLE o USING ours"
    )
    before = connection.pragma("mv_version")
    connection.execute(
        "BEGIN; INSERT INTO c(rowid, t) VALUES (1, 'x'); INSERT INTO n VALUES (1); "
        "INSERT INTO three VALUES (1, 2, 3); COMMIT"
    )
    after = connection.pragma("mv_version")
    found = database.diff(before, after)
    assert found.rows == {"n": mvsqlite_py.RowCounts(added=1)}
    assert found.skipped == {
        "c": "a full-text index that keeps no rows",
        "three": "a table whose columns take all names of the rowid: its rows cannot be told apart",
    }
    assert [one.table for one in found.row_changes()] == ["n"]
    assert 'INSERT INTO "n" ("rowid", "x") VALUES (1, 1);' in list(found.sql())
    whole = database.diff(None, after)
    assert whole.skipped["o"] == "a virtual table whose module is not at hand"


class Series:
    """A virtual table that only this application has."""

    def Create(self, *_: Any) -> tuple[str, Any]:
        return "CREATE TABLE x(value)", self

    Connect = Create

    def BestIndexObject(self, _: Any) -> bool:
        return True

    def Disconnect(self) -> None:
        pass

    Destroy = Disconnect


# ---- bounded memory -----------------------------------------------------------------------


@given(
    st.dictionaries(st.integers(0, 30), st.integers(0, 2)),
    st.dictionaries(st.integers(0, 30), st.integers(0, 2)),
    st.integers(0, 8),
    st.randoms(use_true_random=False),
)
@settings(max_examples=300, deadline=None)
def test_rows_without_an_order_are_matched_in_bounded_memory(
    before: dict[int, int], after: dict[int, int], room: int, rng: random.Random
) -> None:
    """However few rows may wait, each difference is told once."""
    sides: list[list[Row]] = [[(None, k, v) for k, v in side.items()] for side in (before, after)]
    for side in sides:
        rng.shuffle(side)

    def lookup(which: int, row: Row) -> Row | None:
        return next((other for other in sides[which] if other[1] == row[1]), None)

    found = list(match_by_key(*sides, lambda row: (row[1],), lookup, room))
    told = sorted((c.before, c.after) for c in found if c.before and c.after)
    assert told == [
        ((None, k, v), (None, k, after[k])) for k, v in sorted(before.items()) if after.get(k, v) != v
    ]
    assert sorted(c.before[1] for c in found if c.before and not c.after) == sorted(
        before.keys() - after.keys()
    )
    assert sorted(c.after[1] for c in found if c.after and not c.before) == sorted(
        after.keys() - before.keys()
    )


# ---- anything -----------------------------------------------------------------------------

KINDS = ["", " INTEGER", " TEXT", " REAL", " BLOB", " NUMERIC", " TEXT COLLATE NOCASE"]
numbers = itertools.count()


def random_table(rng: random.Random, name: str) -> str:
    if rng.random() < 0.1:
        return f"CREATE VIRTUAL TABLE {name} USING fts5(c0, c1)"
    columns = [f"c{i}{rng.choice(KINDS)}" for i in range(2)]
    columns[0] += rng.choice(
        ["", "", " UNIQUE", " DEFAULT 7", " PRIMARY KEY", f" REFERENCES {name}(c1) ON DELETE CASCADE"]
    )
    columns[1] += rng.choice(["", " UNIQUE", " DEFAULT (1 + 1)", " NOT NULL"])
    if "PRIMARY KEY" not in columns[0] and rng.random() < 0.3:
        columns.append("PRIMARY KEY(c1, c0)")
    elif rng.random() < 0.3:
        columns.append("c2 AS (c0 || 'x')")
    without = " WITHOUT ROWID" if "PRIMARY KEY" in " ".join(columns) and rng.random() < 0.5 else ""
    return f"CREATE TABLE {name}({', '.join(columns)}){without}"


def random_value(rng: random.Random) -> Any:
    return rng.choice(
        [None, rng.randrange(6), rng.random(), -(2**63), 2**53 + 1, str(rng.randrange(6)), "it's", "a" * 3000,
         "A", "a", rng.randbytes(3), b"\xff" * 2000, "ä\0ö", 1e-300, 0.0, "1.50"]
    )  # fmt: skip


def random_statement(rng: random.Random) -> tuple[str, tuple[Any, ...]]:
    name, value, other = rng.choice("abc"), random_value(rng), random_value(rng)
    column = rng.choice(["c0", "c1"])
    low = rng.randrange(6)
    return rng.choice(
        [
            (random_table(rng, name), ()),
            (f"INSERT OR REPLACE INTO {name}(c0, c1) VALUES (?, ?)", (value, other)),
            (f"INSERT OR REPLACE INTO {name}(c0, c1) VALUES (?, ?)", (other, value)),
            (f"INSERT OR REPLACE INTO {name}(c0, c1) SELECT c1, c0 FROM {rng.choice('abc')}", ()),
            (f"UPDATE OR REPLACE {name} SET {column} = ? WHERE {column} < ?", (value, low)),
            (f"DELETE FROM {name} WHERE {column} > ?", (low,)),
            (f"DROP TABLE {name}", ()),
            (f"ALTER TABLE {name} ADD COLUMN c{rng.randrange(3, 6)} DEFAULT {rng.randrange(5)}", ()),
            (f"ALTER TABLE {name} RENAME COLUMN {column} TO c9", ()),
            (f"ALTER TABLE {name} RENAME TO {rng.choice('abcABC')}", ()),
            (f"CREATE UNIQUE INDEX i{name} ON {name}({column})", ()),
            (f"CREATE INDEX j{name} ON {name}(c1, lower({column}))", ()),
            (f"DROP INDEX {rng.choice('ij')}{name}", ()),
            (f"CREATE VIEW v{name} AS SELECT {column} FROM {name}", ()),
            (f"DROP VIEW v{name}", ()),
            (f"CREATE TRIGGER t{name} AFTER DELETE ON {name} BEGIN INSERT INTO {rng.choice('abc')}(c0, c1) "
             "VALUES (old.c1, old.c0); END", ()),
            (f"DROP TRIGGER t{name}", ()),
        ]
    )  # fmt: skip


@given(st.randoms(use_true_random=False))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_two_states(make: Make, rng: random.Random) -> None:
    """Random schemas and changes, from each state to each other one."""
    database = make(f"any{next(numbers)}.db")
    connection = database.connect()
    connection.pragma("recursive_triggers", 0)
    for name in "abc":
        connection.execute(random_table(rng, name))
    versions: list[str | None] = [None]
    for _ in range(4):
        connection.execute("BEGIN")
        for _ in range(rng.randrange(2, 25)):
            sql, values = random_statement(rng)
            try:
                connection.execute(sql, values)
            except apsw.Error:
                continue  # this statement does not fit this schema
        connection.execute("COMMIT")
        versions.append(connection.pragma("mv_version"))
    connection.close()
    for before, after in itertools.permutations(rng.sample(versions, 3), 2):
        replayed(database, before, after)
