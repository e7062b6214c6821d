"""What does a connection a request cost?

Open, one query, close; as a web application does that keeps nothing between requests, and as one
that keeps a connection open beside. The writing request also commits a row.
"""

import contextlib
from pathlib import Path

from benchmarks.common import Contender, Figure, Question, Settings, Stopwatch, compare, main
from benchmarks.rows import fill, random_ids

QUESTIONS = [
    Question("open.alone", "read, nothing else open", "µs", more_is_better=False),
    Question("open.beside", "read, another connection open", "µs", more_is_better=False),
    Question("open.write", "write, another connection open", "µs", more_is_better=False),
]
SELECT = "SELECT name FROM item WHERE id = ?"
UPDATE = "UPDATE item SET number = number + 1 WHERE id = ?"


def requests(contender: Contender, directory: Path, sql: str, ids: list[int]) -> float:
    """Microseconds a request."""
    with Stopwatch() as watch:
        for key in ids:
            connection = contender.connect(directory, ready=False)
            connection.execute(sql, (key,)).fetchall()
            connection.close()
    return watch.seconds / len(ids) * 1e6


def run(settings: Settings) -> list[Figure]:
    n = settings.pick(20_000, 20_000, 100)
    reads, writes = settings.pick(2_000, 500, 5), settings.pick(200, 50, 2)

    def prepare(contender: Contender, directory: Path) -> None:
        fill(contender, directory, n)

    def measure(contender: Contender, directory: Path) -> dict[str, float]:
        alone = requests(contender, directory, SELECT, random_ids(reads, n))
        with contextlib.closing(contender.connect(directory, ready=False)) as beside:
            beside.execute(SELECT, (1,)).fetchall()
            return {
                "open.alone": alone,
                "open.beside": requests(contender, directory, SELECT, random_ids(reads, n)),
                "open.write": requests(contender, directory, UPDATE, random_ids(writes, n)),
            }

    return compare(settings, QUESTIONS, measure, prepare)


if __name__ == "__main__":
    assert __doc__
    main(run, __doc__)
