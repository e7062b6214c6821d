"""A database to make commits in."""

import pytest

import mvsqlite_py
from bench import Bench


@pytest.fixture
def bench(store: mvsqlite_py.Store) -> Bench:
    return Bench(store)


@pytest.fixture
def notes(bench: Bench) -> Bench:
    bench.commit(
        "CREATE TABLE notes(id INTEGER PRIMARY KEY, title TEXT, stars INT);"
        "INSERT INTO notes VALUES (1, 'one', 1), (2, 'two', 2), (3, 'three', 3), (4, 'four', 4)"
    )
    return bench
