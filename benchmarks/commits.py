"""How many durable single-row commits a second?

One INSERT a transaction, from one writer; from eight processes that share one database and wait
for each other; from eight writers each with a database of its own, as threads of one process
(commits that arrive together are synced together) and as processes.
"""

import threading
import time
from pathlib import Path

import apsw

from benchmarks.common import Barrier, Contender, Figure, Question, Settings, compare, in_processes, main

QUESTIONS = [
    Question("commits.1", "1 writer", "commits/s"),
    Question("commits.8", "8 processes, 1 database", "commits/s"),
    Question("commits.8x8.threads", "8 threads, 8 databases", "commits/s"),
    Question("commits.8x8.processes", "8 processes, 8 databases", "commits/s"),
]
SCHEMA = "CREATE TABLE entry(id INTEGER PRIMARY KEY, at REAL, text TEXT)"
INSERT = "INSERT INTO entry(at, text) VALUES (?, ?)"
TEXT = "a hundred bytes or so, as an application's log line, an order or a message would have, give or take"


Span = tuple[int, float, float]
"""Commits done, and from when to when."""


def insert_for(connection: apsw.Connection, barrier: Barrier | threading.Barrier, seconds: float) -> Span:
    """Commits rows for a while, beginning together with the others."""
    connection.execute(INSERT, (0.0, TEXT))
    barrier.wait()
    done, begin = 0, time.perf_counter()
    while (now := time.perf_counter()) - begin < seconds or done == 0:
        connection.execute(INSERT, (now, TEXT))
        done += 1
    return done, begin, time.perf_counter()


def rate(spans: list[Span]) -> float:
    """Commits a second, of all writers, from the first's begin to the last's end."""
    return sum(span[0] for span in spans) / (max(span[2] for span in spans) - min(span[1] for span in spans))


def writer(
    barrier: Barrier | threading.Barrier, contender: Contender, directory: Path, database: str, seconds: float
) -> Span:
    connection = contender.connect(directory, database)
    try:
        return insert_for(connection, barrier, seconds)
    finally:
        connection.close()


def create(contender: Contender, directory: Path, names: list[str]) -> None:
    for name in names:
        connection = contender.connect(directory, name)
        connection.execute(SCHEMA)
        connection.close()


def with_processes(contender: Contender, directory: Path, names: list[str], seconds: float) -> float:
    create(contender, directory, sorted(set(names)))
    return rate(in_processes(writer, [(contender, directory, name, seconds) for name in names]))


def with_threads(contender: Contender, directory: Path, names: list[str], seconds: float) -> float:
    create(contender, directory, names)
    barrier = threading.Barrier(len(names))
    spans: list[Span] = []

    def run(name: str) -> None:
        spans.append(writer(barrier, contender, directory, name, seconds))

    threads = [threading.Thread(target=run, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(spans) == len(names), "a writer failed"
    return rate(spans)


def run(settings: Settings) -> list[Figure]:
    seconds = settings.pick(3.0, 1.0, 0.02)
    writers = settings.pick(8, 8, 2)
    own = [f"bench-{i}" for i in range(writers)]

    def measure(contender: Contender, directory: Path) -> dict[str, float]:
        parts = [directory / key for key in ("one", "shared", "threads", "processes")]
        for part in parts:
            part.mkdir()
        return {
            "commits.1": with_threads(contender, parts[0], ["bench"], seconds),
            "commits.8": with_processes(contender, parts[1], ["bench"] * writers, seconds),
            "commits.8x8.threads": with_threads(contender, parts[2], own, seconds),
            "commits.8x8.processes": with_processes(contender, parts[3], own, seconds),
        }

    return compare(settings, QUESTIONS, measure)


if __name__ == "__main__":
    assert __doc__
    main(run, __doc__)
