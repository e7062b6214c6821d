"""The table that the reading benchmarks read: rows of about 110 bytes, made the same each time."""

import random
from collections.abc import Iterator
from pathlib import Path

from benchmarks.common import Contender

NAMES = (
    "ash birch cedar dogwood elm fir ginkgo hazel ivy juniper kapok larch maple nutmeg oak pine quince "
    "rowan spruce teak umbra viburnum willow yew zelkova amber basalt cobalt dolomite emerald flint gneiss"
)
WORDS = tuple(NAMES.split())


SCHEMA = "CREATE TABLE item(id INTEGER PRIMARY KEY, number INTEGER, name TEXT, text TEXT)"
INSERT = "INSERT INTO item VALUES (?, ?, ?, ?)"

Row = tuple[int, int, str, str]


def rows(n: int, first: int = 1) -> Iterator[Row]:
    source = random.Random(first)
    for i in range(first, first + n):
        text = " ".join(source.choices(WORDS, k=12))
        yield i, source.randrange(1_000_000), f"{source.choice(WORDS)}-{i}", text


def fill(contender: Contender, directory: Path, n: int) -> None:
    """Makes the database with n rows, in transactions of 20,000."""
    connection = contender.connect(directory)
    connection.execute(SCHEMA)
    for first in range(1, n + 1, 20_000):
        with connection:
            connection.executemany(INSERT, rows(min(20_000, n + 1 - first), first))
    connection.close()


def random_ids(n: int, highest: int, seed: int = 7) -> list[int]:
    source = random.Random(seed)
    return [source.randint(1, highest) for _ in range(n)]
