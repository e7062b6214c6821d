"""How long does it take to go back: 10 versions, 1,000, 100,000; and to list that many?

A database of one page that every commit changes (the counter of ``workloads.py``): the page with the
longest history there can be. Going back is opening the version, reading a row and closing; the
versions are other ones each time, so that none is in the cache. Beside it the same for the newest
version. Listing is ``Database.versions``.
"""

import contextlib
import itertools
import shutil
import statistics
from collections.abc import Iterator
from pathlib import Path

import mvsqlite_py
from benchmarks.common import OURS, Contender, Figure, Named, Question, Settings, Stopwatch, main
from benchmarks.workloads import WORKLOADS

NEWEST = Contender("the newest", None)
COLUMNS: tuple[Named, ...] = (OURS, NEWEST)

QUESTIONS = [
    Question("travel.near", "a row of 10 versions back", "ms", False),
    Question("travel.back", "a row of 1,000 versions back", "ms", False),
    Question("travel.far", "a row of 100,000 versions back (quick: 20,000)", "ms", False),
    Question("travel.log.first", "the newest 20 versions listed", "ms", False),
    Question("travel.log.all", "all versions listed", "versions/s"),
]
COUNTER = next(workload for workload in WORKLOADS if workload.key == "counter")
SELECT = "SELECT hits, last FROM counter WHERE name = '/page/7'"


@contextlib.contextmanager
def made(settings: Settings, versions: int) -> Iterator[Path]:
    """A store with so many versions."""
    with settings.scratch() as directory, settings.untimed().scratch() as place:
        connection = OURS.connect(place)
        COUNTER.prepare(connection, COUNTER.rows)
        for _ in itertools.islice(COUNTER.commits(connection), versions):
            pass
        connection.close()
        shutil.copytree(place, directory / "store")
        yield directory / "store"


def row_of(store: mvsqlite_py.Store, version: str | None) -> float:
    """Milliseconds to open, read a row and close."""
    with Stopwatch() as watch:
        connection = mvsqlite_py.connect("bench", store=store, version=version)
        (_,) = connection.execute(SELECT).fetchall()
        connection.close()
    return watch.seconds * 1000


def run(settings: Settings) -> list[Figure]:
    figures = {question.key: Figure(question) for question in QUESTIONS}
    depths = {"near": 10, "back": settings.pick(1_000, 1_000, 20), "far": settings.pick(100_000, 20_000, 40)}
    times = settings.pick(100, 100, 2)
    most = max(depths.values()) + settings.rounds * times
    with made(settings, most) as directory, mvsqlite_py.open_store(f"lmdb:{directory}") as store:
        database = store.database("bench")
        for round_ in range(settings.rounds):
            with Stopwatch() as watch:
                versions = [version.version for version in database.versions()]
            figures["travel.log.all"].add(OURS, len(versions) / watch.seconds)
            with Stopwatch() as watch:
                assert len(list(database.versions(limit=20))) == 20
            figures["travel.log.first"].add(OURS, watch.seconds * 1000)
            for key, depth in depths.items():
                first = depth + round_ * times
                past = [row_of(store, version) for version in versions[first : first + times]]
                now = [row_of(store, None) for _ in range(times)]
                figures[f"travel.{key}"].add(OURS, statistics.median(past))
                figures[f"travel.{key}"].add(NEWEST, statistics.median(now))
    return list(figures.values())


if __name__ == "__main__":
    assert __doc__
    main(run, __doc__, COLUMNS)
