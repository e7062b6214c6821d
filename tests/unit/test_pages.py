"""Where rows may differ, from pages: never a row missed, whatever the schema, and little read."""

import contextlib
import random
from collections.abc import Iterator
from typing import Any

import apsw
import apsw.ext
import pytest

import mvsqlite_py
from mvsqlite_py._binding import check, ffi, lib
from mvsqlite_py._pages import page_difference

TABLES = {
    "plain": "CREATE TABLE plain(id INTEGER PRIMARY KEY, x, y)",
    "keyed": "CREATE TABLE keyed(k TEXT PRIMARY KEY, x, y)",
    "bare": "CREATE TABLE bare(x, y); CREATE INDEX bare_x ON bare(x, y)",
    "narrow": "CREATE TABLE narrow(k, x, y, PRIMARY KEY(k)) WITHOUT ROWID",
    "calm": "CREATE TABLE calm(k, x, y, PRIMARY KEY(k)) WITHOUT ROWID; CREATE TABLE still(k, x, y)",
    "sparse": "CREATE TABLE sparse(id INTEGER PRIMARY KEY, x, y)",
}
KEYS = {"plain": "id", "keyed": "k", "bare": "rowid", "narrow": "k", "sparse": "id"}


def statement(rng: random.Random) -> str:
    """One change of one table: short and long rows, few and many, or of the whole schema."""
    table = rng.choice(sorted(KEYS))
    low, size = rng.randrange(2000), rng.choice([2, 20, 200, 900, 5000, 30000])
    span = rng.choice([0, 3, 300]) if size < 900 else rng.choice([0, 2])
    series = f"generate_series({low}, {low + span})"
    key = f"{'value * 1000003 - 900000000' if table == 'sparse' else 'value'}, " if table != "bare" else ""
    columns = f"{KEYS[table]}, x, y" if table != "bare" else "x, y"
    insert = (
        f"INSERT OR REPLACE INTO {table}({columns}) SELECT {key}hex(randomblob({size})), value FROM {series}"
    )
    where = f"(rowid + {low}) % {rng.choice([2, 7, 400])} = 0" if table != "narrow" else f"k % 5 = {low % 5}"
    tail = f"SET y = {low}"  # beyond long text: often only an overflow page changes, in place
    return rng.choice(
        [
            insert,
            insert,
            insert,
            f"UPDATE {table} SET x = hex(randomblob({size})) WHERE {where}",
            f"UPDATE {table} {tail} WHERE {where}",
            f"UPDATE {table} {tail} WHERE {KEYS[table]} = {low}",
            f"DELETE FROM {table} WHERE {where}",
            f"DELETE FROM {table}" if rng.random() < 0.2 else insert,
            f"DROP TABLE {table}; {TABLES[table]}" if rng.random() < 0.3 else insert,
            f"CREATE INDEX IF NOT EXISTS extra_{table} ON {table}(y, x)",
            f"DROP INDEX IF EXISTS extra_{table}",
            "PRAGMA incremental_vacuum(3)",
        ]
    )


def states(database: mvsqlite_py.Database, version: str) -> tuple[dict[str, int], dict[str, dict[Any, Any]]]:
    """Root pages and rows of all tables, by rowid where there is one."""
    connection = database.connect(version=version)
    found: dict[str, dict[Any, Any]] = {}
    roots = dict(connection.execute("SELECT name, rootpage FROM sqlite_schema WHERE type = 'table'"))
    for name in roots:
        key = "k" if name in ("narrow", "calm") else "rowid"
        found[name] = {row[0]: row[1:] for row in connection.execute(f"SELECT {key}, * FROM {name}")}
    connection.close()
    return roots, found


def missed(database: mvsqlite_py.Database, before: str, after: str) -> Iterator[tuple[str, Any]]:
    """Rows that differ where the pages say they do not; and 'nothing', 'some' or 'all' for each table."""
    (old_roots, old), (new_roots, new) = states(database, before), states(database, after)
    with page_difference(database, before, after) as pages:
        assert pages
        for name in sorted(old_roots.keys() & new_roots.keys()):
            suspects = pages.suspects(old_roots[name], new_roots[name], name not in ("narrow", "calm"))
            differ = {
                key for key in old[name].keys() | new[name].keys() if old[name].get(key) != new[name].get(key)
            }
            if suspects is None:
                yield ("nothing", name)
                yield from ((name, key) for key in differ)
            elif suspects.ranges is None:
                yield ("all", name)
            else:
                yield ("some", name)
                for key in differ:
                    if not any(low <= key <= high for low, high in suspects.ranges):
                        yield (name, key)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("page_size", [512, 1024, 4096])
@pytest.mark.parametrize("auto_vacuum", ["none", "full", "incremental"])
def test_no_row_is_missed(
    store: mvsqlite_py.Store, seed: int, page_size: int, auto_vacuum: str, stride: int
) -> None:
    if seed % stride:
        pytest.skip("one of several seeds is enough where round trips add up")
    rng = random.Random(f"{seed}{page_size}{auto_vacuum}")
    database = store.create("pages.db")
    connection = database.connect()
    apsw.ext.make_virtual_module(connection, "generate_series", apsw.ext.generate_series)
    connection.execute(f"PRAGMA page_size = {page_size}; PRAGMA auto_vacuum = {auto_vacuum}")
    connection.execute("BEGIN")
    for sql in TABLES.values():
        connection.execute(sql)
    connection.execute("INSERT INTO calm SELECT value, hex(randomblob(90)), 1 FROM generate_series(1, 800)")
    connection.execute("INSERT INTO still SELECT value, hex(randomblob(90)), 1 FROM generate_series(1, 800)")
    connection.execute("COMMIT")
    for turn in range(24):
        connection.execute("BEGIN")
        for _ in range(rng.choice([1, 1, 2, 4])):
            connection.execute(statement(rng))
        connection.execute("COMMIT")
        if turn == 12:
            connection.execute("VACUUM")
        if turn == 18:
            connection.close()
            database.revert(version=rng.choice(list(database.versions())[3:12]).version)
            connection = database.connect()
            apsw.ext.make_virtual_module(connection, "generate_series", apsw.ext.generate_series)
    versions = [version.version for version in database.versions()]
    pairs = [
        *zip(versions[1:], versions, strict=False),
        *((versions[i + 3], versions[i]) for i in range(0, len(versions) - 3, 3)),
        (versions[2], versions[9]),
    ]
    answers = [answer for pair in pairs for answer in missed(database, *pair)]
    told = {"nothing", "some", "all"}
    assert [answer for answer in answers if answer[0] not in told] == []
    kinds = [kind for kind, _ in answers]
    assert kinds.count("nothing") + kinds.count("some") > len(kinds) / 2
    assert ("nothing", "still") in answers
    assert ("nothing", "calm") in answers


@pytest.fixture
def large(store: mvsqlite_py.Store) -> apsw.Connection:
    """Several tables of thousands of pages."""
    connection = store.create("large.db").connect()
    apsw.ext.make_virtual_module(connection, "generate_series", apsw.ext.generate_series)
    connection.execute("PRAGMA page_size = 512")
    connection.execute("BEGIN")
    for name in ("one", "two", "three"):
        connection.execute(f"CREATE TABLE {name}(id INTEGER PRIMARY KEY, x, y)")
        connection.execute(
            f"INSERT INTO {name} SELECT value, hex(randomblob(60)), value FROM generate_series(1, 9000)"
        )
    connection.execute("CREATE INDEX i ON two(y)")
    connection.execute("CREATE TABLE long(id INTEGER PRIMARY KEY, x)")
    connection.execute("INSERT INTO long SELECT value, randomblob(20000) FROM generate_series(1, 40)")
    connection.execute("COMMIT")
    return connection


@pytest.mark.parametrize(
    ("sql", "table"),
    [
        ("UPDATE two SET x = 'new' WHERE id = 4567", "two"),
        ("UPDATE two SET y = -1 WHERE id = 4567", "two"),
        ("DELETE FROM three WHERE id = 12", "three"),
        ("INSERT INTO one VALUES (9001, 'x', 1)", "one"),
        ("INSERT INTO long VALUES (41, randomblob(40000))", "long"),
        ("DELETE FROM long WHERE id = 7", "long"),
        ("UPDATE long SET x = randomblob(30000) WHERE id = 7", "long"),
    ],
)
def test_the_cost_is_of_the_change(
    large: apsw.Connection, store: mvsqlite_py.Store, sql: str, table: str
) -> None:
    """Not of the database."""
    database = store.database("large.db")
    roots = dict(large.execute("SELECT name, rootpage FROM sqlite_schema WHERE type = 'table'"))
    large.execute(sql)
    newest = database.newest
    assert newest
    with page_difference(database, newest.previous, newest.version) as pages:
        assert pages
        found = {name: pages.suspects(root, root, True) for name, root in roots.items()}
        cost = pages.cost
    assert [name for name, suspects in found.items() if suspects] == [table]
    suspects = found[table]
    assert suspects
    assert suspects.ranges
    assert sum(high - low + 1 for low, high in suspects.ranges) < 20
    assert cost.read < 60 + 8 * cost.changed < cost.whole / 10  # the depth of each of four b-trees, twice


def test_a_row_written_over_in_place_is_never_missed(
    large: apsw.Connection, store: mvsqlite_py.Store
) -> None:
    """Incremental writes change an overflow page and nothing else."""
    database = store.database("large.db")
    roots = dict(large.execute("SELECT name, rootpage FROM sqlite_schema WHERE type = 'table'"))
    with large.blob_open("main", "long", "x", 20, True) as blob:
        blob.seek(15000)
        blob.write(b"other")
    newest = database.newest
    assert newest
    assert newest.pages == 1
    with page_difference(database, newest.previous, newest.version) as pages:
        assert pages
        suspects = pages.suspects(roots["long"], roots["long"], True)
    assert suspects
    assert suspects.ranges
    assert any(low <= 20 <= high for low, high in suspects.ranges)
    assert sum(high - low + 1 for low, high in suspects.ranges) < 20


@pytest.mark.parametrize("seed", range(12))
def test_damaged_pages_do_no_harm(store: mvsqlite_py.Store, seed: int, stride: int) -> None:
    """Whatever is on the pages, there is an answer or an error."""
    if seed % stride:
        pytest.skip("one of several seeds is enough where round trips add up")
    rng = random.Random(seed)
    database = store.create("damaged.db")
    connection = database.connect()
    apsw.ext.make_virtual_module(connection, "generate_series", apsw.ext.generate_series)
    connection.execute(f"PRAGMA page_size = 512; PRAGMA auto_vacuum = {rng.choice(['none', 'full'])}")
    for table, sql in TABLES.items():
        connection.execute(sql)
        if table != "bare":
            connection.execute(
                f"INSERT INTO {table} SELECT value, randomblob(value % 40 * 30), value"
                " FROM generate_series(1, 120)"
            )
    roots = [root for (root,) in connection.execute("SELECT rootpage FROM sqlite_schema WHERE rootpage")]
    connection.execute("DELETE FROM plain WHERE id % 3 = 0")
    connection.close()
    first = database.newest
    assert first
    with database._open() as db:
        check(lib.mv_db_lock(db))
        for _ in range(rng.choice([1, 5, 40])):
            offset = rng.randrange(first.size // 512) * 512 + rng.choice([0, 0, 1, 3, 8, rng.randrange(400)])
            data = rng.choice(
                [rng.randbytes(rng.choice([1, 2, 8, 100])), b"\xff" * 4, b"\x05", b"\x0d", b"\0\0\0"]
            )
            check(lib.mv_db_write_bytes(db, offset, data, len(data)))
        check(lib.mv_db_commit(ffi.new("mv_db *[]", [db]), 1, ffi.NULL))
        lib.mv_db_unlock(db)
    second = database.newest
    assert second
    for before, after in ((first.version, second.version), (second.version, first.version)):
        with page_difference(database, before, after) as pages:
            assert pages
            found = [pages.suspects(root, rng.choice([root, *roots]), True) for root in [1, *roots]]
            assert all(suspects is None or suspects.ranges != [] for suspects in found)
            with contextlib.suppress(mvsqlite_py.CorruptError):
                pages.places(roots)
