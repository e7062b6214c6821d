"""How much memory does a process need at its peak?

Each contender in a process of its own, doing the same: fill a table in transactions of 1,000
rows, read at random, update, scan. The peak counts mapped files too, which are page cache that
the system takes back at will; the private part is what only this process has.
"""

import re
from pathlib import Path

from benchmarks.common import Barrier, Contender, Figure, Question, Settings, compare, in_processes, main
from benchmarks.rows import INSERT, SCHEMA, random_ids, rows

QUESTIONS = [
    Question("memory.idle", "peak before opening", "MB", more_is_better=False),
    Question("memory.peak", "peak at the end", "MB", more_is_better=False),
    Question("memory.private", "private at the end", "MB", more_is_better=False),
]


def kilobytes(what: str) -> int:
    """A line of the process's status: VmHWM, RssAnon."""
    match = re.search(rf"^{what}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    return int(match.group(1)) if match else 0


def workload(_: Barrier, contender: Contender, directory: Path, n: int) -> dict[str, float]:
    idle = kilobytes("VmHWM")
    connection = contender.connect(directory)
    connection.execute(SCHEMA)
    for first in range(1, n + 1, 1000):
        with connection:
            connection.executemany(INSERT, rows(min(1000, n + 1 - first), first))
    for key in random_ids(n // 4, n):
        connection.execute("SELECT * FROM item WHERE id = ?", (key,)).fetchall()
    with connection:
        connection.execute("UPDATE item SET number = number + 1 WHERE id % 10 = 0")
    connection.execute("SELECT count(*), sum(number), sum(length(text)) FROM item").fetchall()
    peak, private = kilobytes("VmHWM"), kilobytes("RssAnon")
    connection.close()
    return {"memory.idle": idle / 1000, "memory.peak": peak / 1000, "memory.private": private / 1000}


def run(settings: Settings) -> list[Figure]:
    n = settings.pick(200_000, 30_000, 200)

    def measure(contender: Contender, directory: Path) -> dict[str, float]:
        return in_processes(workload, [(contender, directory, n)])[0]

    return compare(settings.fewer(3), QUESTIONS, measure)


if __name__ == "__main__":
    assert __doc__
    main(run, __doc__)
