"""Single statements in autocommit that lose a race are run again; transactions are told."""

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import apsw
import pytest

import mvsqlite_py
from mvsqlite_py import _races, dbapi

ROUNDS = 40
BUSY_SNAPSHOT = 517

Open = Callable[..., Any]


@pytest.fixture
def counter(store: mvsqlite_py.Store) -> Iterator[Callable[[], int]]:
    """A database with one number; tells it."""
    with closing(dbapi.connect("n.db", store)) as connection:
        with connection:
            connection.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, n INT)")
            connection.execute("INSERT INTO t VALUES (1, 0)")
        yield lambda: connection.execute("SELECT n FROM t").fetchone()[0]


@pytest.fixture
def open_sqlite3(store: mvsqlite_py.Store) -> Open:
    return lambda **options: dbapi.connect(
        "n.db", store, **{"concurrency": "optimistic", "isolation_level": None, "timeout": 30, **options}
    )


@pytest.fixture
def open_apsw(store: mvsqlite_py.Store) -> Open:
    return lambda **options: mvsqlite_py.connect(
        "n.db", store, **{"concurrency": "optimistic", "timeout": 30, **options}
    )


ADD = "UPDATE t SET n = n + 1 WHERE id = 1"


def by_connection(connection: Any) -> None:
    for _ in range(ROUNDS):
        connection.execute(ADD)


def by_cursor(connection: Any) -> None:
    cursor = connection.cursor()
    for _ in range(ROUNDS):
        cursor.execute(ADD.replace("1 WHERE", "? WHERE"), (1,))


def by_many(connection: Any) -> None:
    cursor = connection.cursor()
    cursor.executemany(ADD.replace("id = 1", "id = ?"), ((1,) for _ in range(ROUNDS)))
    if isinstance(cursor, sqlite3.Cursor):
        assert cursor.rowcount == ROUNDS


def returning(connection: Any) -> None:
    seen = [connection.execute(f"{ADD} RETURNING n").fetchone()[0] for _ in range(ROUNDS)]
    assert seen == sorted(set(seen))


@pytest.mark.parametrize("work", [by_connection, by_cursor, by_many, returning])
def test_statements_of_sqlite3(
    counter: Callable[[], int], open_sqlite3: Open, work: Callable[[Any], None]
) -> None:
    both(open_sqlite3, work)
    assert counter() == 2 * ROUNDS


@pytest.mark.parametrize("work", [by_connection, by_cursor, by_many])
def test_statements_of_apsw(counter: Callable[[], int], open_apsw: Open, work: Callable[[Any], None]) -> None:
    both(open_apsw, work)
    assert counter() == 2 * ROUNDS


def both(connect: Open, work: Callable[[Any], None]) -> None:
    """Does the work on two connections at once."""
    start, failed = threading.Barrier(2), []

    def run() -> None:
        try:
            with closing(connect()) as connection:
                start.wait(30)
                work(connection)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []


class Rival:
    """Wins so many races: commits in the middle of a statement that calls ``rival()``."""

    def __init__(self, connection: Any, wins: int) -> None:
        self.connection, self.left, self.calls = connection, wins, 0

    def __call__(self) -> int:
        self.calls += 1
        if self.left:
            self.left -= 1
            self.connection.execute("UPDATE t SET n = n + 100")
        return 1


RIVALLED = "UPDATE t SET n = n + rival()"


@pytest.fixture
def rival(open_sqlite3: Open) -> Iterator[Callable[..., Rival]]:
    with closing(open_sqlite3()) as other:

        def against(connection: Any, wins: int) -> Rival:
            made = Rival(other, wins)
            if isinstance(connection, apsw.Connection):
                connection.create_scalar_function("rival", made, 0)
            else:
                connection.create_function("rival", 0, made)
            return made

        yield against


@pytest.mark.parametrize("driver", ["sqlite3", "apsw"])
def test_it_is_run_until_it_wins(
    counter: Callable[[], int], rival: Callable[..., Rival], request: pytest.FixtureRequest, driver: str
) -> None:
    with closing(request.getfixturevalue(f"open_{driver}")()) as connection:
        against = rival(connection, 3)
        connection.execute(RIVALLED)
    assert counter() == 301
    assert against.calls == 4


def test_rows_come_once_though_the_statement_ran_thrice(
    counter: Callable[[], int], open_sqlite3: Open, rival: Callable[..., Rival]
) -> None:
    with closing(open_sqlite3()) as connection:
        rival(connection, 2)
        cursor = connection.cursor()
        cursor.execute(f"{RIVALLED} RETURNING n, id")
        assert cursor.description[0][0] == "n"
        assert [*cursor] == [(201, 1)]
        assert (cursor.rowcount, cursor.fetchone()) == (1, None)
        cursor.execute("SELECT 7 UNION SELECT 8")
        assert type(cursor.fetchone()) is tuple
        assert (cursor.fetchall(), cursor.rowcount) == ([(8,)], -1)
    assert counter() == 201


def test_items_that_won_are_not_run_again(
    counter: Callable[[], int], open_sqlite3: Open, rival: Callable[..., Rival]
) -> None:
    with closing(open_sqlite3()) as connection:
        against = rival(connection, 2)
        cursor = connection.executemany("UPDATE t SET n = n + ? * rival()", [(1,), (10,), (1000,)])
        assert cursor.rowcount == 3
    assert against.calls == 5
    assert counter() == 1211


@pytest.mark.parametrize("driver", ["sqlite3", "apsw"])
def test_a_transaction_is_told(
    counter: Callable[[], int], rival: Callable[..., Rival], request: pytest.FixtureRequest, driver: str
) -> None:
    with closing(request.getfixturevalue(f"open_{driver}")()) as connection:
        against = rival(connection, 1)
        connection.execute("BEGIN")
        connection.execute(RIVALLED)
        with pytest.raises((sqlite3.OperationalError, apsw.BusyError)) as caught:
            connection.execute("COMMIT")
        code = getattr(caught.value, "sqlite_errorcode", getattr(caught.value, "extendedresult", None))
        assert code == BUSY_SNAPSHOT
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        assert against.calls == 1
    assert counter() == 100


def test_an_implicit_transaction_is_told(
    counter: Callable[[], int], open_sqlite3: Open, rival: Callable[..., Rival]
) -> None:
    with closing(open_sqlite3(isolation_level="")) as connection:
        rival(connection, 1)
        connection.execute(RIVALLED)
        with pytest.raises(sqlite3.OperationalError) as caught:
            connection.commit()
        assert caught.value.sqlite_errorname == "SQLITE_BUSY_SNAPSHOT"
        connection.rollback()
    assert counter() == 100


@pytest.mark.parametrize("driver", ["sqlite3", "apsw"])
@pytest.mark.usefixtures("counter")
def test_it_gives_up_when_the_busy_timeout_is_over(
    rival: Callable[..., Rival], request: pytest.FixtureRequest, driver: str
) -> None:
    with closing(request.getfixturevalue(f"open_{driver}")(timeout=0.5)) as connection:
        against = rival(connection, 10_000)
        with pytest.raises((sqlite3.OperationalError, apsw.BusyError)):
            connection.execute(RIVALLED)
        assert against.calls > 1
        against.left = 1
        connection.execute("PRAGMA busy_timeout = 0")
        with pytest.raises((sqlite3.OperationalError, apsw.BusyError)):
            connection.execute(RIVALLED)


def test_it_gives_up_when_another_statement_holds_the_old_state(
    counter: Callable[[], int], open_sqlite3: Open, rival: Callable[..., Rival]
) -> None:
    with closing(open_sqlite3(timeout=3600)) as connection:
        against = rival(connection, 1)
        reader = connection.execute("SELECT n FROM t UNION ALL SELECT 1 UNION ALL SELECT 2")
        reader.fetchone()
        with pytest.raises(sqlite3.OperationalError) as caught:
            connection.execute(RIVALLED)
        assert caught.value.sqlite_errorname == "SQLITE_BUSY_SNAPSHOT"
        assert against.calls <= 2
    assert counter() == 100


def test_apsw_does_not_run_several_statements_again(
    counter: Callable[[], int], open_apsw: Open, rival: Callable[..., Rival]
) -> None:
    with closing(open_apsw()) as connection:
        rival(connection, 1)
        with pytest.raises(apsw.BusyError):
            connection.execute(f"{ADD}; {RIVALLED}")
    assert counter() == 101


@pytest.mark.lmdb_only("on a cluster any commit can lose")
def test_who_cannot_lose_does_not_pay(store: mvsqlite_py.Store) -> None:
    with (
        closing(dbapi.connect("a.db", store)) as plain,
        closing(dbapi.connect("a.db", store, concurrency="optimistic")) as racing,
        closing(mvsqlite_py.connect("a.db", store)) as apsws,
    ):
        assert type(plain) is dbapi.Connection
        assert type(plain.cursor()) is sqlite3.Cursor
        assert isinstance(racing, dbapi.Connection)
        assert type(racing.cursor()) is not sqlite3.Cursor
        assert type(apsws.cursor()) is apsw.Cursor


def test_a_cluster_is_where_races_are_lost() -> None:
    for address, lost in {
        "file:a?vfs=mvsqlite&store=lmdb:/x": False,
        "file:a?vfs=mvsqlite&store=lmdb:/x&concurrency=optimistic": True,
        "file:a?vfs=mvsqlite&store=fdb:/x%3Fprefix%3Dy": True,
        "file:a?vfs=mvsqlite&store=fdb:/x&mode=ro": False,
        "file:a?vfs=unix&concurrency=optimistic": False,
        ":memory:": False,
    }.items():
        assert _races.may_be_lost(address) == lost, address
