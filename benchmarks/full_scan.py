"""How long does a full scan take, cold and warm?

Every row of a table that is larger than SQLite's cache. Cold: a fresh process, the page cache
dropped, opening the database included; warm: the same scan once more in that process.
"""

from pathlib import Path

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
    size_on_disk,
)
from benchmarks.rows import fill

QUESTIONS = [
    Question("scan.cold", "cold", "s", more_is_better=False),
    Question("scan.warm", "warm", "s", more_is_better=False),
    Question("scan.disk", "size on disk", "MB", more_is_better=False),
]
SCAN = "SELECT count(*), sum(number), sum(length(text)) FROM item"


def scan(_: Barrier, contender: Contender, directory: Path, everything: bool) -> tuple[float, float]:
    evict(directory, everything=everything)
    with Stopwatch() as cold:
        connection = contender.connect(directory, ready=False)
        connection.execute(SCAN).fetchall()
    with Stopwatch() as warm:
        connection.execute(SCAN).fetchall()
    connection.close()
    return cold.seconds, warm.seconds


def run(settings: Settings) -> list[Figure]:
    n = settings.pick(800_000, 100_000, 500)

    def prepare(contender: Contender, directory: Path) -> None:
        fill(contender, directory, n)

    def measure(contender: Contender, directory: Path) -> dict[str, float]:
        task = (contender, directory, settings.size != "toy")
        cold, warm = in_processes(scan, [task])[0]
        return {"scan.cold": cold, "scan.warm": warm, "scan.disk": size_on_disk(directory) / 1e6}

    return compare(settings, QUESTIONS, measure, prepare)


if __name__ == "__main__":
    assert __doc__
    main(run, __doc__)
