"""What a cluster is asked, counted: one read version and one batch to begin, one commit."""

from collections import Counter
from collections.abc import Iterator
from contextlib import closing

import apsw
import pytest

import mvsqlite_py

PAGES = 1500


@pytest.fixture
def store(url: str) -> Iterator[mvsqlite_py.Store]:
    with mvsqlite_py.open_store(url) as opened:
        yield opened


@pytest.fixture
def connection(store: mvsqlite_py.Store) -> Iterator[apsw.Connection]:
    with closing(mvsqlite_py.connect("a.db", store)) as made:
        made.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, x)")
        made.execute("INSERT INTO t VALUES (1, 1), (2, 2)")
        yield made


class Counted:
    """What the statements in between cost."""

    def __init__(self, store: mvsqlite_py.Store) -> None:
        self.store = store

    def __enter__(self) -> "Counted":
        self.before = Counter(self.store.counters())
        return self

    def __exit__(self, *_: object) -> None:
        spent = Counter(self.store.counters())
        spent.subtract(self.before)
        self.spent = dict(spent)


def test_an_idle_database_costs_one_read_version_and_one_round(
    store: mvsqlite_py.Store, connection: apsw.Connection
) -> None:
    connection.execute("SELECT x FROM t").fetchall()
    with Counted(store) as cost:
        assert connection.execute("SELECT x FROM t WHERE id = 2").fetchall() == [(2,)]
    assert (cost.spent["read_versions"], cost.spent["rounds"], cost.spent["commits"]) == (1, 1, 0)


def test_so_does_one_that_was_there_when_the_store_was_opened(url: str) -> None:
    """The page cache begins at the snapshot the first handle finds, not at the first commit after it."""
    with mvsqlite_py.open_store(url) as store, closing(mvsqlite_py.connect("a.db", store)) as made:
        made.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, x)")
    with mvsqlite_py.open_store(url) as store, closing(mvsqlite_py.connect("a.db", store)) as again:
        again.execute("SELECT x FROM t").fetchall()
        with Counted(store) as cost:
            again.execute("SELECT x FROM t").fetchall()
        assert (cost.spent["read_versions"], cost.spent["rounds"]) == (1, 1)


def test_a_small_commit_adds_one_round(store: mvsqlite_py.Store, connection: apsw.Connection) -> None:
    connection.execute("UPDATE t SET x = x + 1")
    with Counted(store) as cost:
        connection.execute("UPDATE t SET x = x + 1 WHERE id = 1")
    assert (cost.spent["read_versions"], cost.spent["rounds"], cost.spent["commits"]) == (1, 2, 1)


def test_reads_of_one_transaction_share_its_read_version(
    store: mvsqlite_py.Store, connection: apsw.Connection
) -> None:
    with Counted(store) as cost:
        connection.execute("BEGIN")
        for _ in range(20):
            connection.execute("SELECT sum(x) FROM t").fetchall()
        connection.execute("UPDATE t SET x = 7")
        connection.execute("COMMIT")
    assert cost.spent["read_versions"] == 1
    assert cost.spent["commits"] == 1


def test_what_another_connection_changed_is_seen_at_no_further_round(
    store: mvsqlite_py.Store, connection: apsw.Connection
) -> None:
    with closing(mvsqlite_py.connect("a.db", store)) as other:
        other.execute("SELECT x FROM t").fetchall()
        connection.execute("UPDATE t SET x = 99 WHERE id = 1")
        with Counted(store) as cost:
            assert other.execute("SELECT x FROM t WHERE id = 1").fetchall() == [(99,)]
        assert (cost.spent["read_versions"], cost.spent["rounds"]) == (1, 1)


def large_table(connection: apsw.Connection) -> None:
    connection.execute("CREATE TABLE large(id INTEGER PRIMARY KEY, x)")
    connection.execute(
        "INSERT INTO large WITH RECURSIVE g(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM g WHERE i < ?) "
        "SELECT i, randomblob(3500) FROM g",
        (PAGES,),
    )


def cold(url: str, options: str, sql: str) -> dict[str, int]:
    """What a query costs a process that has nothing in memory: another address has another cache."""
    with mvsqlite_py.open_store(url + options) as store, closing(mvsqlite_py.connect("a.db", store)) as fresh:
        with Counted(store) as cost:
            fresh.execute(sql).fetchall()
        return cost.spent


@pytest.mark.parametrize("order", ["ASC", "DESC"])
def test_a_scan_reads_ahead(url: str, connection: apsw.Connection, order: str) -> None:
    large_table(connection)
    sql = f"SELECT sum(length(x)) FROM (SELECT x FROM large ORDER BY id {order} LIMIT -1 OFFSET 0)"
    without, with_it = cold(url, "&readahead=0", sql), cold(url, "&readahead=64", sql)
    assert without["ahead"] <= 10 + without["read_versions"]  # the beginning of each transaction
    assert without["rounds"] > PAGES
    assert with_it["rounds"] < PAGES / 10
    wasted = with_it["ahead"] - with_it["ahead_used"]
    assert wasted < PAGES / 10


def test_look_ups_read_nothing_ahead_in_vain(url: str, connection: apsw.Connection) -> None:
    large_table(connection)
    keys = ",".join(str(1 + (i * 7919) % PAGES) for i in range(60))
    spent = cold(url, "&readahead=64&retry_limit=99", f"SELECT length(x) FROM large WHERE id IN ({keys})")
    assert spent["ahead"] - spent["ahead_used"] < 60


def test_a_reader_that_may_be_behind_asks_less(store: mvsqlite_py.Store, connection: apsw.Connection) -> None:
    with closing(mvsqlite_py.connect("a.db", store, max_staleness=3600)) as behind:
        behind.execute("SELECT x FROM t").fetchall()
        with Counted(store) as cost:
            for _ in range(10):
                assert behind.execute("SELECT x FROM t WHERE id = 2").fetchall() == [(2,)]
        assert cost.spent["read_versions"] <= 1
        assert cost.spent["rounds"] <= 1
        with closing(mvsqlite_py.connect("a.db", store, max_staleness=0)) as current:
            connection.execute("UPDATE t SET x = 5")
            assert current.execute("SELECT x FROM t").fetchall() == [(5,), (5,)]


def test_staleness_is_for_readers(store: mvsqlite_py.Store) -> None:
    uri = mvsqlite_py.uri("a.db", store=store, max_staleness=1)
    mvsqlite_py.connect("a.db", store).close()
    with pytest.raises(apsw.MisuseError):
        apsw.Connection(uri, flags=apsw.SQLITE_OPEN_URI | apsw.SQLITE_OPEN_READWRITE)
