"""Workers that write and are killed, and what must be true afterwards."""

import os
import random
import select
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field

import apsw

import mvsqlite_py
from mvsqlite_py._binding import lib

SCHEMA = """
CREATE TABLE IF NOT EXISTS item(worker, tx, part, data);
CREATE TABLE IF NOT EXISTS done(worker, tx, parts, PRIMARY KEY (worker, tx));
"""
STAGE = 65536
KILL, ANY = -9, 0


def open_pair(url: str, first: str = "one.db", second: str = "two.db") -> apsw.Connection:
    """A connection with two databases of the store."""
    connection = mvsqlite_py.connect(first, url, timeout=20)
    connection.execute("ATTACH ? AS other", (mvsqlite_py.uri(second, store=url),))
    connection.execute("PRAGMA cache_size = 10")
    return connection


def prepare(url: str) -> None:
    for name in ("one.db", "two.db"):
        with closing(mvsqlite_py.connect(name, url)) as connection:
            connection.execute(SCHEMA)


def write(connection: apsw.Connection, schema: str, worker: int, tx: int, parts: int, size: int) -> None:
    """One transaction's rows: all of them, or none, must be there afterwards."""
    connection.execute(
        f"WITH RECURSIVE g(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM g WHERE x < ?2) "
        f"INSERT INTO {schema}.item SELECT ?1, ?3, x, randomblob(?4) FROM g",
        (worker, parts, tx, size),
    )
    connection.execute(f"INSERT INTO {schema}.done VALUES (?, ?, ?)", (worker, tx, parts))


def small(connection: apsw.Connection, worker: int, tx: int) -> None:
    connection.execute("BEGIN IMMEDIATE")
    write(connection, "main", worker, tx, 3, 200)
    connection.execute("COMMIT")


def large(connection: apsw.Connection, worker: int, tx: int) -> None:
    """More than the stage takes at once, and the oldest rows cut off."""
    connection.execute("BEGIN IMMEDIATE")
    write(connection, "main", worker, tx, 120, 1500)
    connection.execute("UPDATE item SET data = x'' WHERE tx < ? AND length(data) > 0", (tx,))
    connection.execute("COMMIT")


def both(connection: apsw.Connection, worker: int, tx: int) -> None:
    connection.execute("BEGIN IMMEDIATE")
    for schema in ("main", "other"):
        write(connection, schema, worker, tx, 3, 300)
    connection.execute("COMMIT")


KINDS: dict[str, Callable[[apsw.Connection, int, int], None]] = {"small": small, "large": large, "both": both}


def work(url: str, worker: int, first_tx: int, seed: int, acknowledge: int) -> None:
    """Commits for ever; tells each commit after it returned."""
    rng = random.Random(seed)
    mvsqlite_py.open_store(url).configure(stage_bytes=STAGE)
    connection = open_pair(url)
    for tx in range(first_tx, first_tx + 1_000_000):
        kind = rng.choices(list(KINDS), [6, 1, 3])[0]
        KINDS[kind](connection, worker, tx)
        os.write(acknowledge, f"{tx} {kind}\n".encode())


@contextmanager
def forked(job: Callable[[int], None]) -> Iterator[tuple[int, int]]:
    """Runs job(pipe) in a child; yields its process id and the reading end."""
    read, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.close(read)
            job(write_end)
            status = 0
        finally:
            os._exit(status)
    os.close(write_end)
    try:
        yield pid, read
    finally:
        os.close(read)


@dataclass
class Ledger:
    """What was acknowledged: by worker, the kind of each transaction."""

    acknowledged: dict[int, dict[int, str]] = field(default_factory=dict)
    kills: int = 0
    commits: int = 0

    def note(self, worker: int, raw: bytes) -> None:
        for line in raw.decode().splitlines():
            tx, kind = line.split()
            self.acknowledged.setdefault(worker, {})[int(tx)] = kind
            self.commits += 1


def run_and_kill(url: str, ledger: Ledger, workers: int, seconds: float, rng: random.Random) -> None:
    """Several writers at once, killed one after another after about so many seconds."""
    children: list[tuple[int, int, int]] = []
    for index in range(workers):
        worker = ledger.kills + index + 1
        read, write_end = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                os.close(read)
                work(url, worker, 1, rng.getrandbits(32) + index, write_end)
            finally:
                os._exit(1)
        os.close(write_end)
        children.append((pid, read, worker))
    until = time.monotonic() + seconds
    raw = {read: b"" for _, read, _ in children}
    while (left := until - time.monotonic()) > 0:
        for ready in select.select(list(raw), [], [], left)[0]:
            raw[ready] += os.read(ready, 65536)
    for pid, _, _ in rng.sample(children, len(children)):
        os.kill(pid, signal.SIGKILL)
    for pid, read, worker in children:
        _, status = os.waitpid(pid, 0)
        assert os.WIFSIGNALED(status), f"worker {worker} ended by itself with {status}"
        while part := os.read(read, 65536):
            raw[read] += part
        os.close(read)
        ledger.note(worker, raw[read])
        ledger.kills += 1


def check_rows(url: str, ledger: Ledger) -> None:
    """Every acknowledged commit is there, and nothing is half there."""
    with closing(open_pair(url)) as connection:
        for schema in ("main", "other"):
            half = connection.execute(
                f"SELECT d.worker, d.tx, d.parts, count(i.part) FROM {schema}.done d "
                f"LEFT JOIN {schema}.item i ON i.worker = d.worker AND i.tx = d.tx "
                "GROUP BY 1, 2 HAVING count(i.part) <> d.parts"
            ).fetchall()
            assert half == [], f"half a transaction in {schema}"
            lone = connection.execute(
                f"SELECT DISTINCT worker, tx FROM {schema}.item EXCEPT SELECT worker, tx FROM {schema}.done"
            ).fetchall()
            assert lone == [], f"rows of no transaction in {schema}"
        here = set(connection.execute("SELECT worker, tx FROM main.done").fetchall())
        there = set(connection.execute("SELECT worker, tx FROM other.done").fetchall())
    assert there <= here, "a commit over two databases is in one only"
    for worker, transactions in ledger.acknowledged.items():
        for tx, kind in transactions.items():
            assert (worker, tx) in here, f"lost: {kind} {tx} of worker {worker}"
            assert kind != "both" or (worker, tx) in there, f"lost in the other: {tx} of worker {worker}"


def check_store(url: str, versions: int | None) -> None:
    """Every image is sound, and so is SQLite's view of the newest versions (None: of all)."""
    with mvsqlite_py.open_store(url) as store:
        for name in ("one.db", "two.db"):
            database = store.database(name)
            assert database.verify().problems == []
            for version in list(database.versions(limit=versions)):
                with closing(database.connect(version=version.version)) as past:
                    assert past.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            assert database.stat().staged_bytes == 0 or versions is not None


def killed_at(url: str, n: int, action: Callable[[str], None]) -> bool:
    """Runs the action in a child that kills itself at the n-th engine call; whether it came so far."""

    def job(pipe: int) -> None:
        del pipe
        mvsqlite_py.open_store(f"fault:{url}").configure(stage_bytes=STAGE)
        lib.mv_fault_arm(ANY, n, 0, KILL)
        action(f"fault:{url}")

    with forked(job) as (pid, _):
        _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.WEXITSTATUS(status) == 0
    return False
