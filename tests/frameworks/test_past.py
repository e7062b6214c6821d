"""``with at(connection, ...)``: the past for the length of a block, and the present after it."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from typing import Any

import apsw
import pytest

import mvsqlite_py
from mvsqlite_py import at, dbapi

Open = Callable[..., Any]
SQLErrors = (sqlite3.Error, apsw.Error)


@pytest.fixture
def versions(notes: mvsqlite_py.Database) -> list[str]:
    """With four, three and two notes."""
    for n in (4, 3):
        with closing(mvsqlite_py.connect("notes.db", notes.store)) as connection:
            connection.execute("DELETE FROM note WHERE id = ?", (n,))
    return [version.version for version in notes.versions()][2::-1]


@pytest.fixture(params=["apsw", "dbapi", "sqlite3"])
def connect(request: pytest.FixtureRequest, notes: mvsqlite_py.Database) -> Iterator[Open]:
    with ExitStack() as opened:
        dbapi.connect("notes.db", notes.store).close()  # loads the VFS for plain sqlite3

        def connect(**options: Any) -> Any:
            if request.param == "apsw":
                return opened.enter_context(closing(mvsqlite_py.connect("notes.db", notes.store, **options)))
            if request.param == "dbapi":
                return opened.enter_context(
                    closing(dbapi.connect("notes.db", notes.store, isolation_level=None, **options))
                )
            uri = mvsqlite_py.uri("notes.db", store=notes.store, **options)
            return opened.enter_context(closing(sqlite3.connect(uri, uri=True, isolation_level=None)))

        yield connect


def count(connection: Any) -> int:
    return int(connection.execute("SELECT count(*) FROM note").fetchall()[0][0])


def test_inside_is_the_past_and_after_it_the_present(connect: Open, versions: list[str]) -> None:
    connection = connect()
    with at(connection, version=versions[0]) as past:
        assert past is connection
        assert count(past) == 4
        with pytest.raises(SQLErrors, match="readonly"):
            past.execute("DELETE FROM note")
    assert count(connection) == 2
    connection.execute("DELETE FROM note")
    assert count(connection) == 0


def test_moments(connect: Open, notes: mvsqlite_py.Database, versions: list[str]) -> None:
    connection = connect()
    moment = notes.version(versions[1]).time
    with at(connection, moment):
        assert count(connection) <= 3
    with at(connection, "now"):
        assert count(connection) == 2
        notes.undo(version=versions[2])
        assert count(connection) == 2
    assert count(connection) == 3


def test_blocks_nest(connect: Open, versions: list[str]) -> None:
    connection = connect()
    with at(connection, version=versions[0]):
        with at(connection, version=versions[1]):
            assert count(connection) == 3
        assert count(connection) == 4
    assert count(connection) == 2


def test_an_error_inside_ends_the_past_too(connect: Open, versions: list[str]) -> None:
    connection = connect()
    with pytest.raises(ZeroDivisionError), at(connection, version=versions[0]):
        _ = 1 / 0
    assert count(connection) == 2


def test_statements_left_open_inside_end(connect: Open, versions: list[str]) -> None:
    connection = connect()
    closed = connection.cursor()
    closed.close()
    with at(connection, version=versions[0]):
        left = connection.execute("SELECT id FROM note")
        assert next(left) == (1,)
        connection.execute("BEGIN")
        assert count(connection) == 4
    assert count(connection) == 2
    assert not connection.in_transaction
    with pytest.raises((sqlite3.ProgrammingError, apsw.CursorClosedError, StopIteration)):
        next(left)


def test_not_in_a_transaction(connect: Open, versions: list[str]) -> None:
    connection = connect()
    connection.execute("BEGIN")
    with (
        pytest.raises(mvsqlite_py.MisuseError, match="commit or roll back"),
        at(connection, version=versions[0]),
    ):
        pass
    connection.execute("COMMIT")
    rows = connection.execute("SELECT id FROM note")
    next(rows)
    with pytest.raises((mvsqlite_py.MisuseError, *SQLErrors)), at(connection, version=versions[0]):
        pass
    rows.close()
    assert count(connection) == 2


def test_moments_that_are_none(connect: Open, versions: list[str]) -> None:
    connection = connect()
    bad = [
        (("-1h",), {}, mvsqlite_py.VersionNotFoundError),
        (("nonsense",), {}, mvsqlite_py.MomentError),
        (("it's",), {}, mvsqlite_py.MomentError),
        ((), {"version": "12"}, mvsqlite_py.VersionNotFoundError),
        ((), {}, ValueError),
        (("now",), {"version": versions[0]}, ValueError),
    ]
    for args, options, error in bad:
        with pytest.raises(error), at(connection, *args, **options):
            pass
    assert count(connection) == 2


def test_a_connection_closed_inside(connect: Open, versions: list[str]) -> None:
    connection = connect()
    with at(connection, version=versions[0]):
        connection.close()


@pytest.mark.parametrize("driver", [mvsqlite_py.connect, dbapi.connect])
def test_a_connection_opened_in_the_past_comes_back_there(
    notes: mvsqlite_py.Database, versions: list[str], driver: Open
) -> None:
    with closing(driver("notes.db", notes.store, version=versions[1])) as connection:
        with at(connection, version=versions[0]):
            assert count(connection) == 4
        assert count(connection) == 3


@pytest.mark.parametrize("driver", [sqlite3.connect, apsw.Connection, dbapi.connect])
def test_what_is_in_no_store_has_no_past(driver: Open) -> None:
    with (
        closing(driver(":memory:")) as connection,
        pytest.raises(mvsqlite_py.MisuseError, match="in no store"),
        at(connection, "-1h"),
    ):
        pass


def test_a_connection_kept_in_the_past_comes_back_to_where_it_was(connect: Open, versions: list[str]) -> None:
    connection = connect()
    connection.execute(f"PRAGMA mv_version = '{versions[1]}'").fetchall()
    with at(connection, version=versions[0]):
        assert count(connection) == 4
    assert count(connection) == 3
    connection.execute("PRAGMA mv_at = 'now'").fetchall()
    assert count(connection) == 2


def test_no_connection_inherits_the_past_of_one_that_was_closed(connect: Open, versions: list[str]) -> None:
    """Python gives a new connection the identity of one that is gone."""
    for _ in range(20):
        past = connect(version=versions[0])
        with at(past, version=versions[1]):
            assert count(past) == 3
        past.close()
        del past
        connection = connect()
        with at(connection, version=versions[1]):
            pass
        assert count(connection) == 2
