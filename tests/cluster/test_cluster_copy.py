"""Databases moved into a cluster and out again."""

from contextlib import closing
from itertools import pairwise
from pathlib import Path

import mvsqlite_py
from cluster import Cluster

AHEAD = 10**15
"""A version that a cluster reaches after thirty years."""

ROWS = "WITH RECURSIVE g(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM g WHERE x < 4000)"


def contents(database: mvsqlite_py.Database) -> list[tuple[str, bytes]]:
    return [(one.version, database.at(version=one.version).read()) for one in database.versions()]


def commit(database: mvsqlite_py.Database) -> str:
    with closing(database.connect()) as connection:
        connection.execute("UPDATE t SET b = randomblob(9) WHERE rowid % 9 = 1")
    newest = database.newest
    assert newest
    assert database.verify().problems == []
    return newest.version


def test_into_a_cluster_and_out_again(fdb_cluster: Cluster, tmp_path: Path) -> None:
    """Versions keep their names all the way, and each new one is greater."""
    urls = [
        f"lmdb:{tmp_path / 'first'}",
        fdb_cluster.url(),
        f"lmdb:{tmp_path / 'last'}",
        fdb_cluster.url(),
    ]
    with closing(mvsqlite_py.connect("a.db", urls[0])) as connection:
        connection.execute("CREATE TABLE t(a, b)")
        for i in range(30):
            connection.execute("INSERT INTO t VALUES (?, randomblob(3000))", (i,))
        connection.execute(f"INSERT INTO t {ROWS} SELECT x, randomblob(1000) FROM g")
        connection.execute("DELETE FROM t WHERE a > 30")
    with mvsqlite_py.open_store(urls[0]) as first:
        first.create("gone.db")
        first.delete("gone.db")
    for place, following in pairwise(urls):
        with mvsqlite_py.open_store(place) as there, mvsqlite_py.open_store(following) as here:
            database = there.database("a.db")
            copied, deleted = there.copy_to(here)
            assert copied.renamed == 0
            assert deleted.deleted
            copy = here.database("a.db")
            assert contents(database) == contents(copy)
            assert database.newest
            assert commit(copy) > database.newest.version


def test_a_cluster_behind_the_source_gives_new_names(fdb_cluster: Cluster) -> None:
    """The source is a cluster whose versions were advanced beyond the destination's."""
    with Cluster() as ahead:
        ahead.fdbcli(f"advanceversion {AHEAD}")
        ahead.wait_available()
        with (
            mvsqlite_py.open_store(ahead.url()) as there,
            mvsqlite_py.open_store(fdb_cluster.url()) as here,
        ):
            with closing(mvsqlite_py.connect("a.db", there)) as connection:
                connection.execute("CREATE TABLE t(a, b)")
                connection.execute("INSERT INTO t VALUES (1, 'one'), (2, 'two')")
            database = there.database("a.db")
            assert database.newest
            there.database("a.db").revert(version=database.newest.version)
            commit(database)
            (copied,) = there.copy_to(here)
            copy = here.database("a.db")
            assert int(str(copied.version)[:16], 16) > AHEAD
            assert copied.renamed == copied.versions == len(contents(database))
            assert [state for _, state in contents(database)] == [state for _, state in contents(copy)]
            assert commit(copy) > str(copied.new_version)
