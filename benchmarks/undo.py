"""How long does it take to bring 10,000 deleted rows back?

A table of a million rows (with an index) loses one row in a hundred: those next to each other, or
every hundredth. We undo the DELETE, which finds out by itself which rows were lost; stock SQLite
inserts the same rows from a list in memory, which nobody has who needs it. Each is also told as a
multiple of its own DELETE.
"""

from pathlib import Path
from typing import Any

import apsw

import mvsqlite_py
from benchmarks.common import Contender, Figure, Question, Settings, Stopwatch, compare, main
from benchmarks.rows import INSERT, fill

WAYS = {"run": "in a row", "spread": "every 100th"}
QUESTIONS = [
    Question(f"undo.{way}.{what}", f"{label}, {words}", unit, more_is_better=False)
    for way, words in WAYS.items()
    for what, label, unit in (
        ("delete", "DELETE", "ms"),
        ("back", "rows back", "ms"),
        ("share", "rows back", "x DELETE"),
    )
]


def lose(connection: apsw.Connection, condition: str) -> tuple[list[Any], float]:
    """Deletes rows; returns them, and the seconds the DELETE took."""
    lost = connection.execute(f"SELECT * FROM item WHERE {condition}").fetchall()
    with Stopwatch() as watch:
        connection.execute(f"DELETE FROM item WHERE {condition}")
    return lost, watch.seconds


def bring_back(contender: Contender, directory: Path, connection: apsw.Connection, lost: list[Any]) -> float:
    """Takes the newest commit back, by hand where there is no other way; returns the seconds."""
    if not contender.ours:
        with Stopwatch() as watch, connection:
            connection.executemany(INSERT, lost)
        return watch.seconds
    with mvsqlite_py.open_store(f"lmdb:{directory}") as store:
        database = store.database("bench")
        newest = database.newest
        assert newest
        with Stopwatch() as watch:
            report = database.undo(newest.version)
    assert report.tables["item"].added == len(lost)
    return watch.seconds


def run(settings: Settings) -> list[Figure]:
    n = settings.pick(1_000_000, 100_000, 1000)
    conditions = {"run": f"id > {n // 2} AND id <= {n // 2 + n // 100}", "spread": "id % 100 = 7"}

    def prepare(contender: Contender, directory: Path) -> None:
        fill(contender, directory, n)
        connection = contender.connect(directory)
        connection.execute("CREATE INDEX item_name ON item(name)")
        connection.close()

    def measure(contender: Contender, directory: Path) -> dict[str, float]:
        answers = {}
        connection = contender.connect(directory)
        for way, condition in conditions.items():
            lost, deleting = lose(connection, condition)
            back = bring_back(contender, directory, connection, lost)
            answers[f"undo.{way}.delete"] = deleting * 1000
            answers[f"undo.{way}.back"] = back * 1000
            answers[f"undo.{way}.share"] = back / deleting
        connection.close()
        return answers

    return compare(settings.fewer(3), QUESTIONS, measure, prepare)


if __name__ == "__main__":
    assert __doc__
    main(run, __doc__)
