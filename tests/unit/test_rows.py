"""What a version did, by rows: found through pages, equal to a comparison of everything."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import apsw.ext
import pytest

import mvsqlite_py
from mvsqlite_py import _rows
from mvsqlite_py._rows import RowCounts, compare


def connect(database: mvsqlite_py.Database) -> apsw.Connection:
    connection = database.connect()
    apsw.ext.make_virtual_module(connection, "generate_series", apsw.ext.generate_series)
    return connection


def commit(connection: apsw.Connection, sql: str, *bindings: Any) -> None:
    connection.execute("BEGIN")
    connection.execute(sql, *bindings)
    connection.execute("COMMIT")


def last_counts(database: mvsqlite_py.Database) -> dict[str, RowCounts]:
    newest = database.newest
    assert newest
    return database.diff(newest.previous, newest.version).rows


@pytest.fixture
def database(store: mvsqlite_py.Store) -> mvsqlite_py.Database:
    return store.create("rows.db")


@pytest.fixture
def sql(database: mvsqlite_py.Database) -> Callable[..., dict[str, RowCounts]]:
    """Runs statements as one commit and tells what it did."""
    connection = connect(database)

    def run(text: str, *bindings: Any) -> dict[str, RowCounts]:
        commit(connection, text, *bindings)
        return last_counts(database)

    return run


Sql = Callable[..., dict[str, RowCounts]]


def test_added_removed_and_changed_rows_are_counted_by_table(sql: Sql) -> None:
    sql("CREATE TABLE a(id INTEGER PRIMARY KEY, x); CREATE TABLE b(id INTEGER PRIMARY KEY, x)")
    assert sql("INSERT INTO a VALUES (1, 1), (2, 2), (3, 3)") == {"a": RowCounts(added=3)}
    assert sql(
        "DELETE FROM a WHERE id = 1; UPDATE a SET x = 9 WHERE id = 2; INSERT INTO b VALUES (1, 1)"
    ) == {
        "a": RowCounts(removed=1, changed=1),
        "b": RowCounts(added=1),
    }


def test_the_first_version_is_compared_with_the_empty_database(sql: Sql) -> None:
    assert sql("CREATE TABLE a(x); INSERT INTO a VALUES (1), (2)") == {"a": RowCounts(added=2)}


@pytest.mark.parametrize(
    ("declaration", "before", "after"),
    [
        ("id INTEGER PRIMARY KEY, x COLLATE NOCASE", "1, 'a'", "1, 'A'"),
        ("id INTEGER PRIMARY KEY, x", "1, 1", "1, 1.0"),
        ("id INTEGER PRIMARY KEY, x", "1, ''", "1, NULL"),
        ("id INTEGER PRIMARY KEY, x", "1, 'a'", "1, CAST('a' AS BLOB)"),
        ("id TEXT PRIMARY KEY, x", "NULL, 1", "NULL, 2"),
    ],
    ids=["case", "type", "null", "blob", "null key"],
)
def test_changes_that_sql_calls_equal_are_seen(sql: Sql, declaration: str, before: str, after: str) -> None:
    sql(f"CREATE TABLE a({declaration})")
    sql(f"INSERT INTO a VALUES ({before})")
    columns = "id, x"
    values = after.split(", ", 1)
    assert sql(f"UPDATE a SET ({columns}) = ({values[0]}, {values[1]})") == {"a": RowCounts(changed=1)}


def test_a_row_without_a_key_is_known_by_its_rowid(sql: Sql, database: mvsqlite_py.Database) -> None:
    sql("CREATE TABLE a(x)")
    sql("INSERT INTO a VALUES ('same'), ('same')")
    assert sql("UPDATE a SET x = 'other' WHERE rowid = 2") == {"a": RowCounts(changed=1)}
    newest = database.newest
    assert newest
    with compare(database, newest.previous, newest.version) as comparison:
        assert [change.key for change in comparison.row_changes()] == [{"rowid": 2}]


def test_a_row_replaced_under_its_key_is_a_change(sql: Sql) -> None:
    sql("CREATE TABLE a(k TEXT PRIMARY KEY, x)")
    sql("INSERT INTO a VALUES ('one', 1), ('two', 2)")
    assert sql("INSERT OR REPLACE INTO a VALUES ('one', 3)") == {"a": RowCounts(changed=1)}


@pytest.mark.parametrize("more", ["", " WITHOUT ROWID"])
def test_a_key_written_differently_is_the_same_key(sql: Sql, more: str) -> None:
    """Where the key's collation says so."""
    sql(f"CREATE TABLE a(k TEXT COLLATE NOCASE, l TEXT COLLATE RTRIM, PRIMARY KEY(l, k)){more}")
    sql("INSERT INTO a VALUES ('One', 'x')")
    assert sql("UPDATE a SET k = 'oNE', l = 'x '") == {"a": RowCounts(changed=1)}
    assert sql("UPDATE a SET l = ' x'") == {"a": RowCounts(added=1, removed=1)}


def test_columns_that_take_the_names_of_the_rowid(sql: Sql) -> None:
    sql("CREATE TABLE a(rowid, x)")
    sql("INSERT INTO a VALUES (7, 1), (7, 2)")
    assert sql("UPDATE a SET x = 3 WHERE x = 2") == {"a": RowCounts(changed=1)}


def test_a_commit_that_moves_pages_only_changes_no_row(sql: Sql, database: mvsqlite_py.Database) -> None:
    sql("CREATE TABLE a(x); CREATE INDEX i ON a(x)")
    sql("INSERT INTO a SELECT value FROM generate_series(1, 5000)")
    sql("DELETE FROM a WHERE x % 3 = 0")
    database.connect().execute("VACUUM")
    assert last_counts(database) == {}


def test_a_table_created_or_dropped_counts_its_rows(sql: Sql, database: mvsqlite_py.Database) -> None:
    sql("CREATE TABLE keep(x)")
    assert sql("CREATE TABLE a(x); INSERT INTO a VALUES (1), (2)") == {"a": RowCounts(added=2)}
    assert sql("DROP TABLE a") == {"a": RowCounts(removed=2)}
    newest = database.newest
    assert newest
    with compare(database, newest.previous, newest.version) as comparison:
        assert [(c.action, c.type, c.name) for c in comparison.schema_changes()] == [
            ("dropped", "table", "a")
        ]


def test_an_added_column_changes_only_rows_that_do_not_hold_its_default(sql: Sql) -> None:
    sql("CREATE TABLE a(id INTEGER PRIMARY KEY)")
    sql("INSERT INTO a VALUES (1), (2)")
    assert sql("ALTER TABLE a ADD COLUMN x DEFAULT 'd'; UPDATE a SET x = 'e' WHERE id = 2") == {
        "a": RowCounts(changed=1)
    }


def test_a_renamed_column_changes_no_row(sql: Sql) -> None:
    sql("CREATE TABLE a(id INTEGER PRIMARY KEY, x)")
    sql("INSERT INTO a VALUES (1, 1)")
    assert sql("ALTER TABLE a RENAME COLUMN x TO y") == {}


def test_full_text_tables_are_told_by_their_rows(sql: Sql) -> None:
    sql("CREATE VIRTUAL TABLE f USING fts5(t); CREATE VIRTUAL TABLE g USING fts4(t)")
    assert sql("INSERT INTO f VALUES ('one'), ('two'); INSERT INTO g VALUES ('one')") == {
        "f": RowCounts(added=2),
        "g": RowCounts(added=1),
    }
    assert sql("UPDATE f SET t = 'three' WHERE rowid = 1") == {"f": RowCounts(changed=1)}
    assert sql("INSERT INTO f(f) VALUES ('optimize')") == {}


def test_an_index_over_another_table_has_no_rows_of_its_own(sql: Sql) -> None:
    sql("CREATE TABLE n(id INTEGER PRIMARY KEY, t); CREATE VIRTUAL TABLE f USING fts5(t, content='n')")
    assert sql("INSERT INTO n VALUES (1, 'x'); INSERT INTO f(rowid, t) VALUES (1, 'x')") == {
        "n": RowCounts(added=1)
    }


def test_spatial_tables_are_told_by_their_rows(sql: Sql) -> None:
    sql("CREATE VIRTUAL TABLE r USING rtree(id, x0, x1, +label)")
    assert sql("INSERT INTO r VALUES (1, 0, 1, 'a'), (2, 3, 4, 'b')") == {"r": RowCounts(added=2)}
    assert sql("UPDATE r SET x1 = 2 WHERE id = 1") == {"r": RowCounts(changed=1)}


def test_text_that_is_no_utf8_is_compared_by_its_bytes(sql: Sql) -> None:
    sql("CREATE TABLE a(id INTEGER PRIMARY KEY, x)")
    sql("INSERT INTO a VALUES (1, CAST(x'ff' AS TEXT)), (2, 'fine')")
    assert sql("UPDATE a SET x = CAST(x'fe' AS TEXT) WHERE id = 1") == {"a": RowCounts(changed=1)}


def test_an_overflow_page_rewritten_in_place_is_noticed(sql: Sql) -> None:
    """The leaf of such a row stays as it is: only a page of no b-tree changes."""
    sql("CREATE TABLE a(id INTEGER PRIMARY KEY, x)")
    sql("INSERT INTO a VALUES (1, zeroblob(50000)), (2, 'small')")
    assert sql(
        "UPDATE a SET x = CAST(substr(x, 1, 40000) || 'y' || substr(x, 40002) AS BLOB) WHERE id = 1"
    ) == {"a": RowCounts(changed=1)}


def test_little_is_read_of_a_large_table(sql: Sql, monkeypatch: pytest.MonkeyPatch) -> None:
    """A change of one row among many reads the rows of its page, not the table."""
    sql("CREATE TABLE a(id INTEGER PRIMARY KEY, x); CREATE INDEX i ON a(x)")
    sql("INSERT INTO a SELECT value, hex(randomblob(40)) FROM generate_series(1, 20000)")
    read = 0
    original = _rows.Comparison._joined

    def counted(self: Any, pair: Any, ranges: Any) -> Any:
        nonlocal read
        read += sum(high - low + 1 for low, high in ranges)
        return original(self, pair, ranges)

    monkeypatch.setattr(_rows.Comparison, "_joined", counted)
    assert sql("UPDATE a SET x = 'new' WHERE id = 12345") == {"a": RowCounts(changed=1)}
    assert 0 < read < 500
    assert sql("DELETE FROM a WHERE id BETWEEN 100 AND 120") == {"a": RowCounts(removed=21)}
    assert read < 2000


def random_statement(rng: random.Random) -> str:
    table = rng.choice(["plain", "named", "bare", "narrow", "words"])
    key = {"plain": "id", "named": "rowid", "bare": "rowid", "narrow": "b", "words": "rowid"}[table]
    low = rng.randrange(0, 3000)
    span = rng.choice([1, 5, 400, 10000])
    size = rng.choice([3, 30, 300, 20000])
    series = f"generate_series({low}, {low + min(span, 800 if size < 20000 else 3)})"
    insert = {
        "plain": f"SELECT value, randomblob({size}) FROM {series}",
        "named": f"SELECT 'k' || value, randomblob({size}) FROM {series}",
        "bare": f"SELECT value, hex(randomblob({size})) FROM {series}",
        "narrow": f"SELECT value % 7, value, randomblob({size}) FROM {series}",
        "words": f"SELECT hex(randomblob({size % 500})) FROM {series}",
    }[table]
    column = {"plain": "x", "named": "x", "bare": "y", "narrow": "x", "words": "w"}[table]
    return rng.choice(
        [
            f"INSERT OR REPLACE INTO {table} {insert}",
            f"INSERT OR REPLACE INTO {table} {insert}",
            f"DELETE FROM {table} WHERE {key} BETWEEN {low} AND {low + span}",
            f"UPDATE {table} SET {column} = hex(randomblob({size}))"
            f" WHERE {key} BETWEEN {low} AND {low + span % 500}",
            f"DELETE FROM {table}" if rng.random() < 0.1 else f"DELETE FROM {table} WHERE {key} % 5 = 1",
        ]
    )


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("page_size", [512, 4096])
@pytest.mark.parametrize("auto_vacuum", ["none", "full"])
def test_looking_at_pages_finds_what_comparing_everything_finds(
    database: mvsqlite_py.Database, seed: int, page_size: int, auto_vacuum: str
) -> None:
    rng = random.Random(seed)
    connection = connect(database)
    connection.execute(f"PRAGMA page_size = {page_size}; PRAGMA auto_vacuum = {auto_vacuum}")
    commit(
        connection,
        "CREATE TABLE plain(id INTEGER PRIMARY KEY, x); CREATE TABLE named(k TEXT PRIMARY KEY, x);"
        "CREATE TABLE bare(x, y); CREATE INDEX bare_y ON bare(y);"
        "CREATE TABLE narrow(a, b, x, PRIMARY KEY(a, b)) WITHOUT ROWID;"
        "CREATE VIRTUAL TABLE words USING fts5(w)",
    )
    while len(list(database.versions())) < 14:
        commit(connection, "; ".join(random_statement(rng) for _ in range(rng.randint(1, 3))))
    versions = [version.version for version in database.versions()]
    pairs = [
        *zip(versions[1:], versions, strict=False),
        (versions[-1], versions[0]),
        (versions[6], versions[2]),
    ]
    for before, after in pairs:
        with compare(database, before, after) as comparison:
            quick = list(comparison.row_changes())
            comparison.pages = None
            assert sorted(map(repr, quick)) == sorted(map(repr, comparison.row_changes()))


def test_negative_rowids_are_found(sql: Sql) -> None:
    sql("CREATE TABLE a(id INTEGER PRIMARY KEY, x)")
    sql("INSERT INTO a SELECT value, zeroblob(50) FROM generate_series(-9000, 9000)")
    least = -(2**63)
    assert sql(f"INSERT INTO a VALUES ({least}, 1), ({2**63 - 1}, 2)") == {"a": RowCounts(added=2)}
    assert sql("UPDATE a SET x = 5 WHERE id IN (-8000, 9223372036854775807)") == {"a": RowCounts(changed=2)}


def test_the_pages_of_a_version_are_those_sqlite_counts(database: mvsqlite_py.Database) -> None:
    connection = connect(database)
    connection.execute("CREATE TABLE a(x); CREATE INDEX i ON a(x)")
    connection.execute("INSERT INTO a SELECT hex(randomblob(60)) FROM generate_series(1, 9000)")
    first, newest = list(database.versions())[-1], database.newest
    assert newest
    schema = connection.execute("SELECT name, rootpage FROM sqlite_schema").fetchall()
    with compare(database, first.version, newest.version) as comparison:
        assert comparison.pages
        places = comparison.pages.places([1, *(root for _, root in schema)])
    for name, root in schema:
        dbstat = {row[0] for row in connection.execute("SELECT pageno FROM dbstat WHERE name = ?", (name,))}
        assert {page for page, of in places.items() if of == root} == dbstat


def test_real_databases_compare_equal_to_themselves_changed_by_one_row(
    store: mvsqlite_py.Store, real_databases: list[Path]
) -> None:
    for path in real_databases:
        database = store.import_file(path, path.name)
        newest = database.newest
        assert newest
        connection = connect(database)
        with compare(database, None, newest.version) as comparison:
            for table, found in comparison.counts().items():
                (rows,) = connection.execute(f'SELECT count(*) FROM "{table}"').fetchone()  # type: ignore[misc]
                assert found == RowCounts(added=rows), f"{path.name}: {table}"
        connection.close()
