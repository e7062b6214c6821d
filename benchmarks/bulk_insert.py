"""How long does a bulk insert of a million rows take, in one transaction and in a hundred?"""

from pathlib import Path

from benchmarks.common import Contender, Figure, Question, Settings, Stopwatch, compare, main, size_on_disk
from benchmarks.rows import INSERT, SCHEMA, Row, rows

QUESTIONS = [
    Question("bulk.1", "in 1 transaction", "s", more_is_better=False),
    Question("bulk.100", "in 100 transactions", "s", more_is_better=False),
    Question("bulk.disk", "size on disk after 1", "MB", more_is_better=False),
    Question("bulk.disk.100", "size on disk after 100", "MB", more_is_better=False),
]


def insert(contender: Contender, directory: Path, data: list[Row], transactions: int) -> float:
    connection = contender.connect(directory)
    connection.execute(SCHEMA)
    step = max(1, len(data) // transactions)
    with Stopwatch() as watch:
        for at in range(0, len(data), step):
            with connection:
                connection.executemany(INSERT, data[at : at + step])
    connection.close()
    return watch.seconds


def run(settings: Settings) -> list[Figure]:
    data = list(rows(settings.pick(1_000_000, 100_000, 200)))

    def measure(contender: Contender, directory: Path) -> dict[str, float]:
        parts = [directory / "one", directory / "hundred"]
        for part in parts:
            part.mkdir()
        return {
            "bulk.1": insert(contender, parts[0], data, 1),
            "bulk.100": insert(contender, parts[1], data, settings.pick(100, 100, 4)),
            "bulk.disk": size_on_disk(parts[0]) / 1e6,
            "bulk.disk.100": size_on_disk(parts[1]) / 1e6,
        }

    return compare(settings.fewer(3), QUESTIONS, measure)


if __name__ == "__main__":
    assert __doc__
    main(run, __doc__)
