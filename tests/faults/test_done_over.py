"""A read that the engine wants done over, for its transaction is too old, is done over and no error."""

from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import count
from typing import Any

import pytest
from scenarios import KINDS, create, rows_of

import mvsqlite_py
from mvsqlite_py._binding import lib

STALE = 21  # MV_STALE


@pytest.fixture
def faulty(store_url: str) -> Iterator[mvsqlite_py.Store]:
    with mvsqlite_py.open_store(f"fault:{store_url}") as store:
        create(store, "a")
        store.configure(cache_bytes=0)  # every page is asked of the engine
        yield store
    lib.mv_fault_reset()


def select(store: mvsqlite_py.Store) -> Any:
    with closing(mvsqlite_py.connect("a", store)) as connection:
        return rows_of(connection)


def select_past(store: mvsqlite_py.Store) -> Any:
    first = min(version.version for version in store.database("a").versions())
    with closing(mvsqlite_py.connect("a", store, version=first)) as connection:
        return rows_of(connection)


def by_moment(store: mvsqlite_py.Store) -> Any:
    return store.database("a").find(at="now")


def listing(store: mvsqlite_py.Store) -> Any:
    return store.list()


def begin_to_write(store: mvsqlite_py.Store) -> Any:
    with closing(mvsqlite_py.connect("a", store)) as connection:
        connection.execute("BEGIN IMMEDIATE; UPDATE t SET mark = mark")
        connection.execute("ROLLBACK")
        return rows_of(connection)


@pytest.mark.parametrize("kind", ["GET", "RANGE"])
@pytest.mark.parametrize("read", [select, select_past, by_moment, listing, begin_to_write])
def test_the_nth_read_is_done_over(
    faulty: mvsqlite_py.Store, read: Callable[[mvsqlite_py.Store], Any], kind: str
) -> None:
    expected, met = read(faulty), 0
    for nth in count(1):
        lib.mv_fault_reset()
        lib.mv_fault_arm(KINDS[kind], nth, 0, STALE)
        assert read(faulty) == expected
        if not lib.mv_fault_fired():
            break
        met += 1
    assert met or kind == "RANGE"


def test_what_never_works_ends_in_an_error(faulty: mvsqlite_py.Store) -> None:
    lib.mv_fault_arm(KINDS["GET"], 1, 1, STALE)
    with pytest.raises(mvsqlite_py.EngineError):
        faulty.database("a")
    assert lib.mv_fault_fired() > 3
