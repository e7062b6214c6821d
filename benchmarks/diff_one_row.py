"""How long does it take to find the one row that a commit changed, in a database of 1 GB?

A table of rows of about 1,000 bytes, of which one is updated; then the two versions are compared,
in all (``Database.diff``: rows by table, and the schema) and by row (``row_changes``). Beside it what
plain SQL does with both versions attached: it reads each row of the one and looks for it in the other.
"""

import random
from collections.abc import Iterator
from pathlib import Path

import apsw

import mvsqlite_py
from benchmarks.common import OURS, Contender, Figure, Named, Question, Settings, Stopwatch, main
from benchmarks.rows import WORDS

SQL = Contender("plain SQL", None)
COLUMNS: tuple[Named, ...] = (OURS, SQL)
QUESTIONS = [
    Question("diff.counts", "how many rows, of which tables (quick: 100 MB)", "ms", False),
    Question("diff.rows", "the row, as it was and is (quick: 100 MB)", "ms", False),
]
SCHEMA = "CREATE TABLE item(id INTEGER PRIMARY KEY, number INTEGER, text TEXT)"
COMPARE = """
SELECT now.id FROM item AS now LEFT JOIN past.item AS old ON old.id = now.id
  WHERE (now.number, now.text) IS NOT (old.number, old.text)
UNION ALL SELECT old.id FROM past.item AS old
  WHERE NOT EXISTS (SELECT 1 FROM item AS now WHERE now.id = old.id)
"""
ROW_BYTES = 1_000


def rows(n: int) -> Iterator[tuple[int, int, str]]:
    source = random.Random(n)
    texts = [" ".join(source.choices(WORDS, k=ROW_BYTES // 7)) for _ in range(997)]
    for i in range(1, n + 1):
        yield i, source.randrange(1_000_000), f"{i} {texts[i % len(texts)]}"[:ROW_BYTES]


def fill(directory: Path, n: int) -> None:
    connection = OURS.connect(directory)
    connection.execute(SCHEMA)
    with connection:
        connection.executemany("INSERT INTO item VALUES (?, ?, ?)", rows(n))
    connection.close()


def plainly(connection: apsw.Connection, store: mvsqlite_py.Store, version: str) -> tuple[list[int], float]:
    """The rows that SQL finds, and in how many milliseconds."""
    connection.execute("ATTACH ? AS past", (mvsqlite_py.uri("bench", store=store, version=version),))
    with Stopwatch() as watch:
        found = [row[0] for row in connection.execute(COMPARE)]
    connection.execute("DETACH past")
    return found, watch.seconds * 1000


def run(settings: Settings) -> list[Figure]:
    figures = {question.key: Figure(question) for question in QUESTIONS}
    n = settings.pick(1_000, 100, 1) * 1_000_000 // ROW_BYTES
    with settings.scratch() as directory, mvsqlite_py.open_store(f"lmdb:{directory}") as store:
        fill(directory, n)
        database = store.database("bench")
        connection = mvsqlite_py.connect("bench", store=store)
        for round_ in range(settings.fewer(3).rounds):
            newest = database.newest
            assert newest
            key, before = n // 7 * (round_ + 1), newest.version
            connection.execute("UPDATE item SET number = -1 WHERE id = ?", (key,))
            after = next(database.versions(limit=1)).version
            with Stopwatch() as counting:
                counted = database.diff(before, after).rows
            with Stopwatch() as looking:
                changes = list(database.row_changes(before, after))
            found, milliseconds = plainly(connection, store, before)
            assert [one.changed for one in counted.values()] == [1]
            assert len(changes) == 1
            assert found == [key]
            for question, watch in ("diff.counts", counting), ("diff.rows", looking):
                figures[question].add(OURS, watch.seconds * 1000)
                figures[question].add(SQL, milliseconds)
        connection.close()
    return list(figures.values())


if __name__ == "__main__":
    assert __doc__
    main(run, __doc__, COLUMNS)
