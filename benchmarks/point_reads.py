"""How many point reads a second, warm and cold?

One row by its primary key. Warm: a database that fits SQLite's own page cache and one that does
not, each SELECT a transaction of its own or all in one. Cold: a fresh process, the page cache
dropped, opening the database included.
"""

from pathlib import Path

import apsw

from benchmarks.common import (
    Barrier,
    Contender,
    Figure,
    Question,
    Settings,
    Stopwatch,
    compare,
    evict,
    in_processes,
    main,
)
from benchmarks.rows import fill, random_ids

QUESTIONS = [
    Question("reads.small", "warm, fits SQLite's cache, autocommit", "reads/s"),
    Question("reads.warm", "warm, larger, autocommit", "reads/s"),
    Question("reads.warm.transaction", "warm, larger, one transaction", "reads/s"),
    Question("reads.cold", "cold, with opening", "reads/s"),
]
SELECT = "SELECT number, name, text FROM item WHERE id = ?"


def read(connection: apsw.Connection, ids: list[int]) -> float:
    """Reads a second."""
    cursor = connection.cursor()
    with Stopwatch() as watch:
        for key in ids:
            for _ in cursor.execute(SELECT, (key,)):
                pass
    return len(ids) / watch.seconds


def cold(_: Barrier, contender: Contender, directory: Path, ids: list[int], everything: bool) -> float:
    evict(directory, everything=everything)
    with Stopwatch() as watch:
        connection = contender.connect(directory, ready=False)
        read(connection, ids)
    connection.close()
    return len(ids) / watch.seconds


def warm(contender: Contender, directory: Path, n: int, reads: int) -> tuple[float, float]:
    """Rates with a transaction a read, and all in one transaction."""
    connection = contender.connect(directory, ready=False)
    ids = random_ids(reads, n)
    read(connection, random_ids(n, n, 1))
    alone = read(connection, ids)
    with connection:
        together = read(connection, ids)
    connection.close()
    return alone, together


def run(settings: Settings) -> list[Figure]:
    small = settings.pick(8_000, 8_000, 100)
    large = settings.pick(250_000, 100_000, 500)
    reads = settings.pick(100_000, 30_000, 100)
    cold_reads = settings.pick(2_000, 500, 10)

    def prepare(contender: Contender, directory: Path) -> None:
        for part, n in ("small", small), ("large", large):
            (directory / part).mkdir()
            fill(contender, directory / part, n)

    def measure(contender: Contender, directory: Path) -> dict[str, float]:
        ids = random_ids(cold_reads, large)
        task = (contender, directory / "large", ids, settings.size != "toy")
        chilly = in_processes(cold, [task])[0]
        alone, together = warm(contender, directory / "large", large, reads)
        return {
            "reads.small": warm(contender, directory / "small", small, reads)[0],
            "reads.warm": alone,
            "reads.warm.transaction": together,
            "reads.cold": chilly,
        }

    return compare(settings, QUESTIONS, measure, prepare)


if __name__ == "__main__":
    assert __doc__
    main(run, __doc__)
