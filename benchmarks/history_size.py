"""How many bytes of history does a single-row update leave behind?

A thousand updates, one a commit, of a database with pages of 4096 bytes: of rows all over the
table, and of one row again and again. Counted twice: the keys and values that were added (the old
images, the commit records with their time index), and what data.mdb grew by. Stock SQLite keeps
no history, so nobody stands beside.
"""

from pathlib import Path

import apsw

import mvsqlite_py
from benchmarks.common import OURS, Figure, Question, Settings, main
from benchmarks.rows import fill, random_ids

PATTERNS = {"scattered": "rows all over the table", "hot": "one row again and again"}
PARTS = {
    "history": "old images, keys and values",
    "records": "commit records and time index",
    "all": "all keys and values",
    "disk": "growth of data.mdb",
}
QUESTIONS = [
    Question(f"history.{pattern}.{part}", f"{label}: {what}", "bytes/update", False)
    for pattern, label in PATTERNS.items()
    for part, what in PARTS.items()
]
UPDATE = "UPDATE item SET number = ?, name = ? WHERE id = ?"


def update(connection: apsw.Connection, ids: list[int], first: int) -> None:
    for i, key in enumerate(ids, first):
        connection.execute(UPDATE, (i, f"updated-{i}", key))


def bytes_per_update(directory: Path, ids: list[int]) -> dict[str, float]:
    """Parts of PARTS, for the updates of these rows after a few of the same kind."""
    connection = OURS.connect(directory)
    assert connection.pragma("page_size") == 4096
    update(connection, ids[: len(ids) // 5], 0)
    with mvsqlite_py.open_store(f"lmdb:{directory}") as store:
        database, file = store.database("bench"), directory / "data.mdb"
        before, size = database.stat(), file.stat().st_size
        update(connection, ids, 1_000_000)
        after, grown = database.stat(), file.stat().st_size - size
    connection.close()
    return {
        "history": (after.history_bytes - before.history_bytes) / len(ids),
        "records": (after.record_bytes - before.record_bytes) / len(ids),
        "all": (after.total_bytes - before.total_bytes) / len(ids),
        "disk": grown / len(ids),
    }


def run(settings: Settings) -> list[Figure]:
    n = settings.pick(20_000, 20_000, 500)
    updates = settings.pick(1_000, 1_000, 10)
    figures = {question.key: Figure(question) for question in QUESTIONS}
    for pattern in PATTERNS:
        ids = random_ids(updates, n) if pattern == "scattered" else [n // 2] * updates
        with settings.scratch() as directory:
            fill(OURS, directory, n)
            for part, value in bytes_per_update(directory, ids).items():
                figures[f"history.{pattern}.{part}"].add(OURS, value)
    return list(figures.values())


if __name__ == "__main__":
    assert __doc__
    main(run, __doc__)
