"""How fast are versions forgotten, and what does that cost a writer?

Single-row updates all over a table, one a commit; then all versions go but the newest (images only
go), or but every 20th, which has a tag (images that stay are made anew over others). In the second
case another process writes meanwhile, and just as long without: its commits per second, both ways.
"""

import multiprocessing
import time
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Event
from pathlib import Path

import apsw

import mvsqlite_py
from benchmarks.common import BUSY_SECONDS, OURS, Figure, Question, Settings, Stopwatch, main
from benchmarks.rows import fill, random_ids
from mvsqlite_py import GcReport, Policy, _retention

WAYS = {
    "all": "all but the newest",
    "most": "all but every 20th",
    "beside": "all but every 20th, beside a writer",
}
QUESTIONS = [
    Question(f"gc.{way}.{what}", f"{label}: {words}", unit)
    for way, label in WAYS.items()
    for what, words, unit in (("versions", "forgotten", "versions/s"), ("bytes", "freed", "MB/s"))
] + [
    Question("gc.writer.alone", "a writer, nothing else going on", "commits/s"),
    Question("gc.writer.beside", "the same beside a gc", "commits/s"),
]
UPDATE = "UPDATE item SET number = number + 1 WHERE id = ?"
DAY_MS = 24 * 3600 * 1000
EVERY = 20


def age() -> None:
    """From now on this process's gc takes it to be a day later."""
    now = int(time.time() * 1000)
    _retention.clock_ms = lambda: now + DAY_MS


def write_history(connection: apsw.Connection, ids: list[int]) -> None:
    for key in ids:
        connection.execute(UPDATE, (key,))


def tag_some(database: mvsqlite_py.Database) -> None:
    for i, version in enumerate(list(database.versions())[::EVERY]):
        database.tag(f"{version.version}.{i}", version=version.version)


def forget(directory: Path) -> tuple[GcReport, float]:
    with mvsqlite_py.open_store(f"lmdb:{directory}") as store:
        database = store.database("bench")
        with Stopwatch() as watch:
            report = database.gc()
    return report, watch.seconds


def write_until(directory: str, stop: Event, rows: int, result: "Queue[float]") -> None:
    connection = mvsqlite_py.connect("bench", store=f"lmdb:{directory}", timeout=BUSY_SECONDS)
    made = 0
    connection.execute(UPDATE, (1,))
    result.put(0.0)  # ready
    with Stopwatch() as watch:
        while not stop.is_set() or not made:
            connection.execute(UPDATE, (made * 7919 % rows + 1,))
            made += 1
    connection.close()
    result.put(made / watch.seconds)


class Writer:
    """Another process that writes until it is stopped."""

    def __init__(self, directory: Path, rows: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._stop, self._result = context.Event(), context.Queue()
        self._process = context.Process(
            target=write_until, args=(str(directory), self._stop, rows, self._result)
        )
        self._process.start()
        self._result.get()

    def stop(self) -> float:
        """How many commits it made a second."""
        self._stop.set()
        rate: float = self._result.get()
        self._process.join()
        return rate


def measure(directory: Path, way: str, ids: list[int], rows: int) -> dict[str, float]:
    fill(OURS, directory, rows)
    connection = OURS.connect(directory)
    write_history(connection, ids)
    connection.close()
    with mvsqlite_py.open_store(f"lmdb:{directory}") as store:
        store.database("bench").set_policy(Policy(keep_all=0, least=0))
        if way != "all":
            tag_some(store.database("bench"))
    age()
    writer = Writer(directory, rows) if way == "beside" else None
    report, seconds = forget(directory)
    answers = {
        f"gc.{way}.versions": report.removed / seconds,
        f"gc.{way}.bytes": report.bytes / seconds / 1e6,
    }
    if writer:
        answers["gc.writer.beside"] = writer.stop()
        writer = Writer(directory, rows)
        time.sleep(seconds)
        answers["gc.writer.alone"] = writer.stop()
    return answers


def run(settings: Settings) -> list[Figure]:
    rows = settings.pick(20_000, 20_000, 500)
    updates = settings.pick(20_000, 4_000, 40)
    figures = {question.key: Figure(question) for question in QUESTIONS}
    for _ in range(settings.fewer(3).rounds):
        for way in WAYS:
            with settings.scratch() as directory:
                for key, value in measure(directory, way, random_ids(updates, rows), rows).items():
                    figures[key].add(OURS, value)
    return list(figures.values())


if __name__ == "__main__":
    assert __doc__
    main(run, __doc__)
