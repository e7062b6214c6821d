"""How many bytes does a version leave behind, in a notes app, a feed reader and a counter?

A version is one commit of ``workloads.py``. Counted are keys and values: old images, and the commit
record with its time index. What the database itself grew by (newest images) is told apart, as is
what data.mdb grew by. Beside us, for the same commits: the same store without deltas
(``full_every=1``), and what a shipper of WAL frames would store for each commit: every page image
that SQLite wrote, plain and each compressed by itself (Zstandard, level 1).
"""

from pathlib import Path

import apsw
import zstandard

import mvsqlite_py
from benchmarks.common import OURS, WAL, Contender, Figure, Question, Settings, main
from benchmarks.workloads import WORKLOADS, Workload

FULL = Contender("full images", None)
FRAMES = Contender("page shipper", "wal")
PACKED = Contender("page shipper, zstd", "wal")
COLUMNS = (OURS, FULL, FRAMES, PACKED)

PARTS = {
    "version": "all that keeps the past",
    "history": "of which old images",
    "records": "of which commit records and time index",
    "heads": "growth of the newest images",
    "disk": "growth of data.mdb",
}
QUESTIONS = [
    Question(f"space.{workload.key}.{part}", f"{workload.label}: {what}", "bytes/version", False)
    for workload in WORKLOADS
    for part, what in PARTS.items()
]
WAL_HEADER, FRAME_HEADER = 32, 24


def run_workload(workload: Workload, connection: apsw.Connection, commits: int) -> None:
    steps = workload.commits(connection)
    for _ in range(commits):
        next(steps)


def ours(
    workload: Workload, directory: Path, rows: int, commits: int, full_every: int | None
) -> dict[str, float]:
    """Parts of PARTS, in bytes a version."""
    with mvsqlite_py.open_store(f"lmdb:{directory}") as store:
        store.configure(full_every=full_every)
        connection = OURS.connect(directory)
        assert connection.pragma("page_size") == 4096
        workload.prepare(connection, rows)
        database, file = store.database("bench"), directory / "data.mdb"
        before, size = database.stat(), file.stat().st_size
        run_workload(workload, connection, commits)
        after, grown = database.stat(), file.stat().st_size - size
        connection.close()
    assert after.versions - before.versions == commits
    parts = {
        "history": after.history_bytes - before.history_bytes,
        "records": after.record_bytes - before.record_bytes,
        "heads": after.page_bytes - before.page_bytes,
        "disk": grown,
    }
    parts["version"] = parts["history"] + parts["records"]
    return {part: value / commits for part, value in parts.items()}


def shipped(workload: Workload, directory: Path, rows: int, commits: int) -> dict[Contender, float]:
    """Bytes of page images a commit puts into SQLite's WAL, plain and compressed."""
    connection = WAL.connect(directory)
    workload.prepare(connection, rows)
    connection.execute(
        "PRAGMA synchronous=OFF; PRAGMA wal_autocheckpoint=0; PRAGMA wal_checkpoint(TRUNCATE)"
    ).fetchall()
    page_size = connection.pragma("page_size")
    run_workload(workload, connection, commits)
    compressor = zstandard.ZstdCompressor(level=1, write_content_size=False)
    plain = packed = 0
    with (directory / "bench.sqlite-wal").open("rb") as wal:
        wal.seek(WAL_HEADER)
        while frame := wal.read(FRAME_HEADER + page_size):
            plain += len(frame)
            packed += FRAME_HEADER + len(compressor.compress(frame[FRAME_HEADER:]))
    connection.close()
    return {FRAMES: plain / commits, PACKED: packed / commits}


def run(settings: Settings) -> list[Figure]:
    commits = settings.pick(3_000, 600, 12)
    figures = {question.key: Figure(question) for question in QUESTIONS}
    settings = settings.untimed()
    for workload in WORKLOADS:
        rows = settings.pick(workload.rows, workload.rows, 40)
        for contender, full_every in (OURS, None), (FULL, 1):
            with settings.scratch() as directory:
                for part, value in ours(workload, directory, rows, commits, full_every).items():
                    figures[f"space.{workload.key}.{part}"].add(contender, value)
        with settings.scratch() as directory:
            for contender, value in shipped(workload, directory, rows, commits).items():
                figures[f"space.{workload.key}.version"].add(contender, value)
    return list(figures.values())


if __name__ == "__main__":
    assert __doc__
    main(run, __doc__, COLUMNS)
