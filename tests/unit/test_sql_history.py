"""History in SQL: the table-valued functions of every connection, in each copy of SQLite."""

import itertools
import json
import random
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

import apsw
import pytest

import mvsqlite_py
from mvsqlite_py import _binding, _retention, dbapi

Connect = Callable[..., Any]
FAILURES = (apsw.Error, sqlite3.Error)


@pytest.fixture(params=["apsw", "sqlite3"])
def connect(request: pytest.FixtureRequest, store: mvsqlite_py.Store) -> Connect:
    """Opens a connection to a database of the store, with one of two copies of SQLite."""
    if request.param == "apsw":
        return lambda name="a.db", **options: mvsqlite_py.connect(name, store, **options)
    return lambda name="a.db", **options: dbapi.connect(name, store, isolation_level=None, **options)


def rows(connection: Any, sql: str, *bindings: Any) -> list[tuple[Any, ...]]:
    return list(connection.execute(sql, bindings))


def versions(connection: Any) -> list[str]:
    """Oldest first."""
    return [row[0] for row in connection.execute("SELECT version FROM mv_log ORDER BY version")]


# ---- mv_log ------------------------------------------------------------------------------


def test_the_log_tells_what_the_library_tells(connect: Connect, store: mvsqlite_py.Store) -> None:
    connection = connect()
    connection.execute("CREATE TABLE a(x)")
    connection.execute("SELECT mv_message('why')").fetchall()
    connection.execute("INSERT INTO a VALUES (1)")
    database = store.database("a.db")
    database.revert(version=versions(connection)[0])
    told = rows(
        connection,
        "SELECT version, time, previous, kind, target, pages, size, host, program, pid, message, statements"
        " FROM mv_log",
    )
    known = [
        (v.version, v.time, v.previous, v.kind, v.target, v.pages, v.size, v.host, v.program, v.pid)
        for v in database.versions()
    ]
    assert [(row[0], datetime.fromisoformat(row[1]), *row[2:10]) for row in told] == known
    assert [row[10:] for row in told] == [(v.message, v.statements) for v in database.versions()]
    assert told[1][10:] == ("why", "INSERT INTO a VALUES (1)")


def test_bounds_and_limits_of_the_log(connect: Connect) -> None:
    connection = connect()
    connection.execute("CREATE TABLE a(x)")
    for i in range(9):
        connection.execute("INSERT INTO a VALUES (?)", (i,))
    all_of_them = versions(connection)
    assert len(all_of_them) == 10
    for operator, of in {
        "=": lambda v, w: v == w,
        "<": lambda v, w: v < w,
        "<=": lambda v, w: v <= w,
        ">": lambda v, w: v > w,
        ">=": lambda v, w: v >= w,
        "<>": lambda v, w: v != w,
    }.items():
        for bound in (all_of_them[0], all_of_them[4], all_of_them[9], "0" * 20, "f" * 20, "zzz", ""):
            expected = [v for v in reversed(all_of_them) if of(v, bound)]
            assert [
                r[0]
                for r in rows(connection, f"SELECT version FROM mv_log WHERE version {operator} ?", bound)
            ] == expected, f"{operator} {bound}"
    limited = rows(connection, "SELECT version FROM mv_log ORDER BY version DESC LIMIT 3 OFFSET 2")
    assert [row[0] for row in limited] == all_of_them[::-1][2:5]
    plan = rows(connection, "EXPLAIN QUERY PLAN SELECT * FROM mv_log ORDER BY version DESC LIMIT 3")
    assert not any("TEMP B-TREE" in row[3] for row in plan)


def test_a_database_without_versions(connect: Connect) -> None:
    connection = connect()
    assert rows(connection, "SELECT * FROM mv_log") == []
    for sql in ("SELECT * FROM mv_diff('a', NULL)", "SELECT * FROM mv_history('a')"):
        with pytest.raises(FAILURES, match='version has a table "a"'):
            rows(connection, sql)


# ---- moments ------------------------------------------------------------------------------


def test_versions_and_times_turn_into_each_other(connect: Connect, store: mvsqlite_py.Store) -> None:
    connection = connect()
    connection.execute("CREATE TABLE a(x)")
    connection.execute("INSERT INTO a VALUES (1)")
    for version in store.database("a.db").versions():
        ((time,),) = rows(connection, "SELECT mv_time_of(?)", version.version)
        assert datetime.fromisoformat(time) == version.time
        ((found,),) = rows(connection, "SELECT mv_version_at(?)", time)
        assert found == store.database("a.db").find(at=version.time)
    assert rows(connection, "SELECT mv_version_at('now') = mv_version(), mv_time_of(NULL)") == [(1, None)]
    for sql, why in {
        "SELECT mv_version_at('soon')": "is no moment",
        "SELECT mv_version_at('2001-01-01')": "before the first version",
        "SELECT mv_time_of('12')": "is no version",
        "SELECT mv_time_of('ffffffffffffffffffff')": "has no version",
        "SELECT mv_version_at('now', 'temp')": "no database of the mvsqlite VFS",
    }.items():
        with pytest.raises(FAILURES, match=why):
            rows(connection, sql)


# ---- mv_changed ----------------------------------------------------------------------------


def test_changed_pages_are_told_with_their_tables(connect: Connect) -> None:
    connection = connect()
    connection.execute("PRAGMA page_size = 512")
    connection.execute("CREATE TABLE a(x, y)")
    connection.execute("CREATE INDEX a_y ON a(y)")
    connection.execute("CREATE TABLE b(k PRIMARY KEY, z) WITHOUT ROWID")
    connection.execute("INSERT INTO a VALUES (randomblob(3000), 1)")
    connection.execute("INSERT INTO b VALUES (1, 2)")
    connection.execute("DELETE FROM a")
    told = [
        {row[1:] for row in rows(connection, "SELECT page, kind, name FROM mv_changed(?)", version)}
        for version in versions(connection)[-3:]
    ]
    assert told[0] == {("table", "sqlite_schema"), ("table", "a"), ("index", "a_y"), ("overflow", "a")}
    assert told[1] == {("table", "b")}
    assert told[2] == {("table", "sqlite_schema"), ("table", "a"), ("index", "a_y"), ("free", None)}
    joined = "SELECT count(*) FROM mv_log AS l JOIN mv_changed(l.version) AS c"
    assert rows(connection, joined) == rows(connection, "SELECT sum(pages) FROM mv_log")


def test_changed_pages_come_with_what_became_of_their_tables_rows(connect: Connect) -> None:
    connection = connect()
    connection.execute("CREATE TABLE a(id INTEGER PRIMARY KEY, x)")
    connection.execute("CREATE TABLE b(k PRIMARY KEY) WITHOUT ROWID")
    connection.execute("INSERT INTO a VALUES (1, 1), (2, 2), (3, 3)")
    connection.execute("CREATE VIRTUAL TABLE f USING fts5(t)")
    connection.execute("BEGIN")
    connection.execute("DELETE FROM a WHERE id = 1")
    connection.execute("UPDATE a SET x = 9 WHERE id > 1")
    connection.execute("INSERT INTO a VALUES (4, zeroblob(20000))")
    connection.execute("INSERT INTO b VALUES (1)")
    connection.execute("INSERT INTO f VALUES ('word')")
    connection.execute("COMMIT")
    sql = "SELECT DISTINCT name, added, removed, changed FROM mv_changed('now') WHERE name NOT LIKE 'f_%'"
    assert sorted(rows(connection, sql)) == [
        ("a", 1, 1, 2),
        ("b", 1, 0, 0),
        ("sqlite_schema", None, None, None),
    ]
    assert rows(connection, "SELECT DISTINCT added FROM mv_changed('now') WHERE name = 'f_content'") == [(1,)]


# ---- mv_diff --------------------------------------------------------------------------------


def test_a_difference_is_rows(connect: Connect) -> None:
    connection = connect()
    connection.execute("CREATE TABLE a(id INTEGER PRIMARY KEY, x, y)")
    connection.execute(
        "INSERT INTO a VALUES (1, 'one', 0.1), (2, x'00ff', NULL), (3, CAST(x'ff' AS TEXT), 9e999)"
    )
    connection.execute("UPDATE a SET x = 'quo\"te\\' || char(10) WHERE id = 1")
    connection.execute("DELETE FROM a WHERE id = 2")
    connection.execute("INSERT INTO a VALUES (-4, 'ä', 1e300)")
    first = versions(connection)[1]
    told = rows(connection, "SELECT kind, rowid, key, before, after FROM mv_diff('A', ?)", first)
    assert [(row[0], row[1], json.loads(row[2])) for row in told] == [
        ("added", -4, {"id": -4}),
        ("changed", 1, {"id": 1}),
        ("removed", 2, {"id": 2}),
    ]
    assert [tuple(row[i] and json.loads(row[i]) for i in (3, 4)) for row in told] == [
        (None, {"id": -4, "x": "ä", "y": 1e300}),
        ({"id": 1, "x": "one", "y": 0.1}, {"id": 1, "x": 'quo"te\\\n', "y": 0.1}),
        ({"id": 2, "x": {"blob": "00ff"}, "y": None}, None),
    ]
    ((bad,),) = rows(connection, "SELECT after FROM mv_diff('a', NULL, ?) WHERE rowid = 3", first)
    assert bad == '{"id":3,"x":{"text":"ff"},"y":9e999}'
    assert rows(connection, "SELECT * FROM mv_diff('a', 'now')") == []
    assert rows(connection, "SELECT DISTINCT kind FROM mv_diff('a', ?, NULL)", first) == [
        (kind,) for kind in ("added", "changed", "removed")
    ]


@pytest.mark.parametrize("number", [0.1, 1 / 3, 1e-300, 123456789.123456789, -2.5, 5e-324, 1e22])
def test_numbers_are_written_so_that_they_read_back(connect: Connect, number: float) -> None:
    connection = connect()
    connection.execute("CREATE TABLE a(x)")
    connection.execute("INSERT INTO a VALUES (?)", (number,))
    ((after,),) = rows(connection, "SELECT after FROM mv_diff('a', NULL)")
    assert json.loads(after) == {"x": number}
    assert isinstance(json.loads(after)["x"], float)


def statement(rng: random.Random) -> str:
    table, size = rng.choice(["plain", "bare", "narrow"]), rng.choice([3, 300, 3000])
    low, high = sorted(rng.choices(range(150), k=2))
    key = {"plain": "id", "bare": "rowid", "narrow": "k"}[table]
    series = f"WITH RECURSIVE s(i) AS (SELECT {low} UNION ALL SELECT i + 1 FROM s WHERE i < {high})"
    return rng.choice(
        [
            f"{series} INSERT OR REPLACE INTO {table}({key}, x) SELECT i, hex(randomblob({size})) FROM s",
            f"UPDATE {table} SET x = {low} WHERE {key} BETWEEN {low} AND {low + 3}",
            f"UPDATE {table} SET {key} = {key} + 1000 WHERE {key} = {low}",
            f"DELETE FROM {table} WHERE {key} BETWEEN {low} AND {low + rng.choice([0, 2, 50])}",
        ]
    )


def random_history(connection: Any, rng: random.Random) -> None:
    connection.execute("PRAGMA page_size = 512")
    connection.execute("CREATE TABLE plain(id INTEGER PRIMARY KEY, x)")
    connection.execute("CREATE TABLE bare(x)")
    connection.execute("CREATE TABLE narrow(k PRIMARY KEY, x) WITHOUT ROWID")
    for _ in range(25):
        connection.execute("BEGIN")
        for _ in range(rng.choice([1, 1, 3])):
            connection.execute(statement(rng))
        connection.execute("COMMIT")


@pytest.mark.parametrize("seed", range(3))
def test_differences_are_those_the_library_finds(
    connect: Connect, store: mvsqlite_py.Store, seed: int
) -> None:
    rng = random.Random(seed)
    connection, database = connect(), store.database("a.db")
    random_history(connection, rng)
    known = versions(connection)[2:]  # from where all tables exist
    pairs = [*itertools.pairwise(known), *(sorted(rng.sample(known, 2)) for _ in range(5))]
    for before, after in [*pairs, (known[-1], known[3])]:
        for table in ("plain", "bare", "narrow"):
            expected = [
                (change.kind, change.key, change.before, change.after)
                for change in database.row_changes(before, after, table=table)
            ]
            told = [
                (kind, *(text and json.loads(text) for text in texts))
                for kind, *texts in rows(
                    connection, "SELECT kind, key, before, after FROM mv_diff(?, ?, ?)", table, before, after
                )
            ]
            assert sorted(map(repr, told)) == sorted(map(repr, expected))


def test_tables_that_were_made_anew(connect: Connect) -> None:
    connection = connect()
    connection.execute("CREATE TABLE a(k PRIMARY KEY, x) WITHOUT ROWID")
    connection.execute("INSERT INTO a VALUES ('one', 1)")
    connection.execute("DROP TABLE a")
    connection.execute("CREATE TABLE a(k, x, more DEFAULT 5)")
    connection.execute("INSERT INTO a(k, x) VALUES ('one', 1)")
    known = versions(connection)
    told = "SELECT kind, json_extract(coalesce(after, before), '$.more') FROM mv_diff('a', ?, ?)"
    assert rows(connection, told, known[1], known[4]) == [("removed", None), ("added", 5)]
    assert rows(connection, told, known[1], known[2]) == [("removed", None)]
    assert rows(connection, told, known[2], known[1]) == [("added", None)]


@pytest.mark.parametrize(
    ("sql", "why"),
    [
        ("SELECT * FROM mv_diff", "too few arguments: mv_diff\\(table"),
        ("SELECT * FROM mv_diff('a')", "too few arguments"),
        ("SELECT * FROM mv_diff(NULL, 'now')", "no table is named"),
        ("SELECT * FROM mv_diff('b', 'now')", 'neither version has a table "b"'),
        ("SELECT * FROM mv_diff('v', 'now')", '"v" is a view'),
        ("SELECT * FROM mv_diff('f', 'now')", '"f" is a virtual table of fts5'),
        ("SELECT * FROM mv_history('f')", '"f" is a virtual table of fts5'),
        ("SELECT * FROM mv_diff('rowids', 'now')", "columns named rowid, _rowid_ and oid"),
        ("SELECT * FROM mv_diff('a', 'soon')", "is no moment"),
        ("SELECT * FROM mv_diff('a', 'ffffffffffffffffffff')", "has no version"),
        ("SELECT * FROM mv_diff('a', 'now', 'now', 'other')", '"other" is no database of the mvsqlite VFS'),
        ("SELECT * FROM mv_changed", "too few arguments: mv_changed"),
        ("SELECT * FROM mv_changed(NULL)", "no version is named"),
        ("SELECT * FROM mv_history", "too few arguments: mv_history"),
        ("SELECT * FROM mv_history('a', 'nope = 1')", "no such column: nope"),
        ("INSERT INTO mv_log(version) VALUES (1)", "may not be modified"),
        ("DELETE FROM mv_diff('a', 'now')", "."),
        ("CREATE VIRTUAL TABLE mine USING mv_log", "no such module"),
    ],
)
def test_what_cannot_be_told_says_why(connect: Connect, sql: str, why: str) -> None:
    connection = connect()
    for made in (
        "TABLE a(x)",
        "VIEW v AS SELECT 1",
        "VIRTUAL TABLE f USING fts5(t)",
        "TABLE rowids(rowid, _rowid_, oid)",
    ):
        connection.execute(f"CREATE {made}")
    with pytest.raises(FAILURES, match=why):
        rows(connection, sql)


# ---- mv_history ------------------------------------------------------------------------------


def test_the_states_of_a_row(connect: Connect) -> None:
    connection = connect()
    connection.execute("CREATE TABLE a(id INTEGER PRIMARY KEY, x)")
    for sql in (
        "INSERT INTO a VALUES (7, 'first'), (8, 'other')",
        "UPDATE a SET x = 'second' WHERE id = 7",
        "DELETE FROM a WHERE id = 7",
        "INSERT INTO a VALUES (7, 'third')",
    ):
        connection.execute(sql)
    created, inserted, updated, deleted, again = versions(connection)
    assert created
    told = rows(connection, "SELECT kind, row ->> 'x', version, ended FROM mv_history('a', 'id = 7')")
    assert told == [
        ("added", "third", again, None),
        ("changed", "second", updated, deleted),
        ("added", "first", inserted, updated),
    ]
    times = rows(
        connection, "SELECT time = mv_time_of(version), ended_time = mv_time_of(ended) FROM mv_history('a')"
    )
    assert sorted(times, key=repr) == [(1, 1), (1, 1), (1, None), (1, None)]
    at_that_time = connect(version=updated)
    assert [
        row[:2] for row in rows(at_that_time, "SELECT row ->> 'x', ended FROM mv_history('a', 'id = 7')")
    ] == [
        ("second", None),
        ("first", updated),
    ]


def expected_history(store: mvsqlite_py.Store, table: str, known: list[str]) -> set[tuple[Any, ...]]:
    """Every state of every row, from whole tables."""
    key = "k" if table == "narrow" else "rowid"
    alive: dict[Any, tuple[Any, str, str]] = {}
    found = set()
    for version in known:
        connection = store.database("a.db").connect(version=version)
        exists = connection.execute("SELECT 1 FROM sqlite_schema WHERE name = ?", (table,)).fetchone()
        now = dict(connection.execute(f"SELECT {key}, x FROM {table}")) if exists else {}
        for row, (value, made, kind) in list(alive.items()):
            if row not in now or now[row] != value:
                found.add((row, value, made, kind, version))
                del alive[row]
                if row in now:
                    alive[row] = (now[row], version, "changed")
        for row in now.keys() - alive.keys():
            alive[row] = (now[row], version, "added")
    return found | {(row, value, made, kind, None) for row, (value, made, kind) in alive.items()}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("table", ["plain", "bare", "narrow"])
def test_history_is_what_comparing_all_versions_tells(
    connect: Connect, store: mvsqlite_py.Store, seed: int, table: str
) -> None:
    connection = connect()
    random_history(connection, random.Random(seed))
    sql = "SELECT key, row ->> 'x', version, kind, ended FROM mv_history(?, ?)"
    known = versions(connection)
    expected = expected_history(store, table, known)
    told = [(next(iter(json.loads(row[0]).values())), *row[1:]) for row in rows(connection, sql, table, None)]
    assert len(told) == len(expected)
    assert set(told) == expected
    for row in {one[0] for one in told}:
        made = [one[2] for one in told if one[0] == row]
        assert made == sorted(made, reverse=True)
    key = "k" if table == "narrow" else "rowid"
    some = rows(connection, sql, table, f"{key} % 3 = 0 AND length(x) < 700 -- a comment")
    assert {(next(iter(json.loads(row[0]).values())), *row[1:]) for row in some} == {
        one for one in expected if one[0] % 3 == 0 and len(str(one[1])) < 700
    }


def test_a_condition_may_name_columns_that_came_later(connect: Connect) -> None:
    connection = connect()
    connection.execute("CREATE TABLE a(id INTEGER PRIMARY KEY, x)")
    connection.execute("INSERT INTO a VALUES (1, 'old'), (2, 'old')")
    connection.execute("ALTER TABLE a ADD COLUMN y DEFAULT 'd'")
    connection.execute("UPDATE a SET y = 'e' WHERE id = 2")
    told = rows(connection, "SELECT key, row FROM mv_history('a', 'y = ''d'' AND rowid > 0')")
    assert told == [('{"id":1}', '{"id":1,"x":"old"}'), ('{"id":2}', '{"id":2,"x":"old"}')]


def test_what_was_forgotten_is_not_told(
    connect: Connect, store: mvsqlite_py.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """States of forgotten versions are gone; what they left is told of the version that stands for them."""
    connection = connect()
    connection.execute("CREATE TABLE a(id INTEGER PRIMARY KEY, x)")
    for sql in (
        "INSERT INTO a VALUES (1, 'old'), (2, 'old')",
        "UPDATE a SET x = 'lost' WHERE id = 2",
        "UPDATE a SET x = 'kept' WHERE id = 2",
        "UPDATE a SET x = 'lost' WHERE id = 2",
        "UPDATE a SET x = 'new' WHERE id = 2",
    ):
        connection.execute(sql)
    database, known = store.database("a.db"), versions(connection)
    connection.close()
    database.tag("here", version=known[3])
    database.set_policy(mvsqlite_py.Policy(keep_all=0, least=0))
    monkeypatch.setattr(_retention, "clock_ms", lambda: int((time.time() + 24 * 3600) * 1000))
    database.gc()
    connection = connect()
    left = versions(connection)
    assert left == [known[3], known[5]]
    assert rows(
        connection, "SELECT row ->> 'x', kind, version, time IS NULL, ended FROM mv_history('a')"
    ) == [
        ("new", "changed", known[5], 0, None),
        ("old", "added", known[3], 0, None),
        ("kept", "added", known[3], 0, known[5]),
    ]
    assert rows(connection, "SELECT DISTINCT added, removed, changed FROM mv_changed(?)", known[5]) == [
        (0, 0, 1)
    ]
    told = rows(connection, "SELECT DISTINCT added, changed FROM mv_changed(?) WHERE name = 'a'", known[3])
    assert told == [(2, 0)]
    assert rows(connection, "SELECT merged FROM mv_log") == [(1,), (3,)]
    with pytest.raises(FAILURES, match=known[1]):
        rows(connection, "SELECT * FROM mv_diff('a', ?)", known[1])


@pytest.mark.parametrize(
    "condition",
    [
        "(DELETE FROM a)",
        "1; DELETE FROM a",
        "1) UNION SELECT 1 --",
        "(SELECT count(*) FROM mv_log)",
        "x IN (SELECT name FROM pragma_table_info('a'))",
        "load_extension('nothing')",
        "mv_message('mine') IS NULL",
        "1); DROP TABLE a; SELECT (1",
        "x = 1 OR",
        "",
    ],
)
def test_a_condition_does_nothing_but_select(connect: Connect, condition: str) -> None:
    connection = connect()
    connection.execute("CREATE TABLE a(x)")
    connection.execute("INSERT INTO a VALUES (1)")
    with pytest.raises(FAILURES, match="mv_history: "):
        rows(connection, "SELECT * FROM mv_history('a', ?)", condition)
    assert rows(connection, "SELECT x FROM a") == [(1,)]
    assert len(versions(connection)) == 2


# ---- beside the connection's own work -----------------------------------------------------------


def test_statements_go_on_while_the_connection_commits(connect: Connect) -> None:
    connection = connect()
    connection.execute("CREATE TABLE a(id INTEGER PRIMARY KEY, x)")
    for i in range(40):
        connection.execute("INSERT INTO a VALUES (?, 'x')", (i,))
    walks = [
        connection.execute(sql, bindings)
        for sql, bindings in (
            ("SELECT version FROM mv_log", ()),
            ("SELECT rowid FROM mv_diff('a', NULL)", ()),
            ("SELECT key FROM mv_history('a')", ()),
            ("SELECT page FROM mv_changed('now')", ()),
        )
    ]
    seen: list[int] = [0] * len(walks)
    for turn in range(60):
        for i, walk in enumerate(walks):
            seen[i] += next(walk, None) is not None
        if turn < 20:
            connection.execute("UPDATE a SET x = x || 'y' WHERE id = ?", (turn,))
            connection.execute("DELETE FROM a WHERE id = ?", (39 - turn,))
    assert seen[1:] == [40, 40, 1]
    assert seen[0] == 41  # as many as there were when the walk began


def test_an_attached_database_may_go_while_a_statement_runs(
    connect: Connect, store: mvsqlite_py.Store
) -> None:
    other = connect("b.db")
    other.execute("CREATE TABLE a(x)")
    for i in range(5):
        other.execute("INSERT INTO a VALUES (?)", (i,))
    connection = connect()
    connection.execute("ATTACH ? AS more", (mvsqlite_py.uri("b.db", store=store),))
    assert len(rows(connection, "SELECT * FROM mv_diff('a', NULL, NULL, 'more')")) == 5
    walk = connection.execute("SELECT row ->> 'x' FROM mv_history('a', NULL, 'more')")
    assert next(walk) == (4,)
    connection.execute("DETACH more")
    assert [row[0] for row in walk] == [3, 2, 1, 0]


def test_a_transaction_keeps_its_snapshot_and_its_statements(
    connect: Connect, store: mvsqlite_py.Store
) -> None:
    connection, other = connect(), connect()
    connection.execute("CREATE TABLE a(id INTEGER PRIMARY KEY, x)")
    connection.execute("INSERT INTO a VALUES (1, 'mine')")
    connection.execute("CREATE TABLE b(x)")
    connection.execute("BEGIN")
    assert rows(connection, "SELECT x FROM a") == [("mine",)]
    other.execute("INSERT INTO a VALUES (2, 'theirs')")
    assert len(rows(connection, "SELECT * FROM mv_diff('a', NULL)")) == 1
    assert len(rows(connection, "SELECT * FROM mv_history('a')")) == 1
    assert len(rows(connection, "SELECT * FROM mv_log")) == 4
    assert rows(connection, "SELECT x FROM a") == [("mine",)]
    connection.execute("COMMIT")
    connection.execute("BEGIN")
    connection.execute("INSERT INTO b VALUES (1)")
    assert len(rows(connection, "SELECT * FROM mv_diff('a', NULL)")) == 2
    assert rows(connection, "SELECT * FROM mv_diff('b', NULL)") == []  # what is not committed is no version
    connection.execute("COMMIT")
    newest = store.database("a.db").newest
    assert newest
    assert newest.statements == "INSERT INTO b VALUES (1)"


def test_in_sqlites_shell(store: mvsqlite_py.Store) -> None:
    shell = shutil.which("sqlite3")
    if not shell:
        pytest.skip("no sqlite3 shell is installed")
    connection = store.create("a.db").connect()
    connection.execute("CREATE TABLE a(x)")
    connection.execute("INSERT INTO a VALUES (1)")
    address = mvsqlite_py.uri("a.db", store=store)
    sql = "SELECT kind, after FROM mv_diff('a', NULL); SELECT count(*) FROM mv_log, mv_history('a')"
    commands = [f".load {_binding.LIBRARY}", f".open '{address}'", f"{sql};"]
    done = subprocess.run([shell], input="\n".join(commands), capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ('added|{"x":1}\n2\n', "")
