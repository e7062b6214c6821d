"""A store in a FoundationDB cluster: how fast, and how far from the physical floor?

The benchmark starts servers of its own on loopback (engine ``ssd``) and measures commits, point reads,
a cold scan with and without read-ahead, and what an update stores; then behind a proxy that adds to the
network's delay; then commits on three servers that keep every key twice. Beside each figure stands the
floor: a C program that does on the same cluster, in the same round, what the operation cannot do
without: one read version, one parallel read, one commit of values as large. It checks, compresses and
remembers nothing. Divided by the floor, a rate or a time of 1 is the floor itself.
"""

import contextlib
import os
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import apsw
from rich.console import Console

import mvsqlite_py
from benchmarks.cluster_kit import (
    FLOOR,
    OFF,
    Absent,
    Book,
    Cluster,
    Floor,
    Part,
    client_library,
    compiler,
    program,
    section_of,
    server_version,
    summary,
    table,
)
from benchmarks.commits import TEXT
from benchmarks.common import (
    BUSY_SECONDS,
    OURS,
    Barrier,
    Figure,
    Settings,
    Stopwatch,
    arguments,
    as_json,
    console,
    describe,
    environment,
    in_processes,
    settings_of,
)
from benchmarks.delay import Delay

SECTIONS = {
    "bytes": "What one update of a row stores",
    "commits": "Commits: an UPDATE of one row each",
    "reads": "Point reads: one row by its primary key (first: in a fresh process, opening included)",
    "scan": "Cold scan: SELECT sum(length(text)), the client's caches empty, the servers' warm",
    "delay": "One connection, by the delay added each way",
    "trips": "Round trips of one operation: how much longer it takes, divided by the delay added both ways",
    "double": "Commits on three servers, every key kept twice",
}
PREFIX = "bench/"
Concurrency = Literal["host", "optimistic", "lease"]
ROWS = 200
"""Rows that a writer updates in its table: a handful of pages."""
BLOB_BYTES = 960
"""Four rows fill a page of 4096 bytes and none spills; random, so they do not compress."""
CREATE = "CREATE TABLE {}(id INTEGER PRIMARY KEY, at REAL, text TEXT)"
UPDATE = "UPDATE {} SET at = ? WHERE id = ?"
SELECT = "SELECT at, text FROM {} WHERE id = ?"


# ---- in the workers' processes -------------------------------------------------------


def opened(url: str, database: str, concurrency: Concurrency | None = None) -> apsw.Connection:
    return mvsqlite_py.connect(database, store=url, timeout=BUSY_SECONDS, concurrency=concurrency)


def until_done(connection: apsw.Connection, sql: str, values: tuple[float, int]) -> int:
    """Executes a statement in autocommit, again if another commit came first. How many times again?"""
    again = 0
    while True:
        try:
            connection.execute(sql, values)
            return again
        except apsw.BusyError as error:
            if getattr(error, "extendedresult", None) != apsw.SQLITE_BUSY_SNAPSHOT:
                raise
            again += 1


def prepare(_: Barrier, url: str, tables: dict[str, dict[str, int]]) -> None:
    """Makes databases, their tables and so many rows in each."""
    for database, each in tables.items():
        connection = opened(url, database)
        for name, rows in each.items():
            with connection:
                connection.execute(CREATE.format(name))
                values = ((i, i + 0.5, TEXT) for i in range(1, rows + 1))
                connection.executemany(f"INSERT INTO {name} VALUES (?, ?, ?)", values)
        connection.close()


def fill(_: Barrier, url: str, megabytes: int) -> None:
    """A table of random text, in commits of about a megabyte."""
    connection = opened(url, "large")
    with connection:
        connection.execute(CREATE.format("item"))
    for _megabyte in range(megabytes):
        with connection:
            values = ((0.5, os.urandom(BLOB_BYTES)) for _row in range(1_000_000 // BLOB_BYTES))
            connection.executemany("INSERT INTO item(at, text) VALUES (?, ?)", values)
    connection.close()


def repeated(operation: Callable[[], int], seconds: float) -> Part:
    """Does an operation for a while, at least once."""
    begin = now = time.perf_counter()
    took: list[float] = []
    again = 0
    while now - begin < seconds or not took:
        again += operation()
        before, now = now, time.perf_counter()
        took.append(now - before)
    return Part(begin, now, took, again)


def update(
    barrier: Barrier,
    url: str,
    database: str,
    name: str,
    rows: int,
    seconds: float,
    concurrency: Concurrency | None,
) -> Part:
    connection = opened(url, database, concurrency)
    chance = random.Random(os.getpid())
    sql = UPDATE.format(name)

    def one() -> int:
        return until_done(connection, sql, (chance.random(), chance.randint(1, rows)))

    one()
    barrier.wait()
    done = repeated(one, seconds)
    connection.close()
    return done


def update_times(_: Barrier, url: str, database: str, name: str, times: int) -> None:
    connection = opened(url, database)
    chance = random.Random(1)
    for _time in range(times):
        until_done(connection, UPDATE.format(name), (chance.random(), chance.randint(1, ROWS)))
    connection.close()


def usage(_: Barrier, url: str, database: str) -> mvsqlite_py.Usage:
    with mvsqlite_py.open_store(url) as store:
        return store.database(database).stat()


def reader(connection: apsw.Connection, name: str, rows: int) -> Callable[[], int]:
    chance = random.Random(2)
    sql = SELECT.format(name)

    def one() -> int:
        found = connection.execute(sql, (chance.randint(1, rows),)).fetchall()
        assert len(found) == 1
        return 0

    return one


def read_warm(_: Barrier, url: str, database: str, name: str, seconds: float, manner: str) -> Part:
    """Reads of a small table; the manner is ``warm``, ``stale`` or ``together`` in one transaction."""
    staleness = 1.0 if manner == "stale" else None
    connection = mvsqlite_py.connect(database, store=url, max_staleness=staleness)
    connection.execute(f"SELECT count(text) FROM {name}").fetchall()
    with connection if manner == "together" else contextlib.nullcontext():
        done = repeated(reader(connection, name, ROWS), seconds)
    connection.close()
    return done


def read_cold(_: Barrier, url: str, rows: int, seconds: float) -> tuple[Part, float]:
    """Reads of a large table in a fresh process, and the seconds of the first, opening included."""
    with Stopwatch() as watch:
        connection = opened(url, "large")
        one = reader(connection, "item", rows)
        one()
    done = repeated(one, seconds)
    connection.close()
    return done, watch.seconds


def scan(_: Barrier, url: str, rows: int) -> tuple[float, dict[str, int]]:
    """Seconds to read rows of the large table in a fresh process, and what the engine counted."""
    with mvsqlite_py.open_store(url) as store, contextlib.closing(opened(url, "large")) as connection:
        sql = "SELECT count(*), sum(length(text)) FROM item WHERE id <= ?"
        with Stopwatch() as watch:
            found = connection.execute(sql, (rows,)).fetchall()
        counted = store.counters()
    assert found == [(rows, rows * BLOB_BYTES)], found
    return watch.seconds, counted


# ---- the questions ---------------------------------------------------------------------


@dataclass(slots=True)
class Bench:
    """A running cluster and how much to ask of it."""

    cluster: Cluster
    floor: Floor
    book: Book
    rounds: int
    seconds: float
    connections: tuple[int, ...]
    writers: tuple[int, ...]
    updates: int
    megabytes: int
    delays_ms: tuple[int, ...]
    sizes: tuple[int, ...] = ()
    """What one commit writes, as measured."""

    @property
    def url(self) -> str:
        return f"fdb:{self.cluster.file}?prefix={PREFIX}"

    @property
    def large_rows(self) -> int:
        return self.megabytes * (1_000_000 // BLOB_BYTES)

    def each(self, *measures: Callable[[], None]) -> None:
        """Interleaved rounds, each begun with another."""
        for round_ in range(self.rounds):
            first = round_ % len(measures)
            for measure in measures[first:] + measures[:first]:
                measure()

    # ---- preparing

    def make_tables(self) -> None:
        most = max(self.connections + self.writers)
        tables = {f"own-{i}": {"entry": ROWS} for i in range(most)}
        tables["shared"] = {"entry": ROWS * most}
        tables["disjoint"] = {f"entry_{i}": ROWS for i in range(most)}
        tables["size"] = {"entry": ROWS}
        in_processes(prepare, [(self.url, tables)])

    # ---- what an update stores

    def stored(self) -> None:
        """Bytes of an update, by the store's own count and by all keys and values of the cluster."""
        before, (all_before, _) = in_processes(usage, [(self.url, "size")])[0], self.floor.scan(PREFIX)
        in_processes(update_times, [(self.url, "size", "entry", self.updates)])
        after, (all_after, _) = in_processes(usage, [(self.url, "size")])[0], self.floor.scan(PREFIX)
        history = (after.history_bytes - before.history_bytes) / self.updates
        record = (after.record_bytes - before.record_bytes) / self.updates
        counts = {
            "all": ("all, as the store counts", (after.total_bytes - before.total_bytes) / self.updates),
            "history": ("of that: history of pages", history),
            "record": ("of that: commit records", record),
            "cluster": ("all keys and values in the cluster", (all_after - all_before) / self.updates),
        }
        for key, (label, value) in counts.items():
            self.book.add(f"bytes.{key}", label, OURS, {"bytes": value})
        self.sizes = (round(after.page_bytes / after.pages), 64, round(history), round(record), 0)

    # ---- commits

    def floor_of_commits(self, section: str, connections: int) -> None:
        values = summary(self.floor.commits(connections, self.seconds, 2, self.sizes))
        if section == "commits":  # a database that one writer at a time may write: the floor of one
            if connections == 1:
                for n in self.connections:
                    self.book.add(f"commits.locked.{n}", LOCKED.format(n), FLOOR, {"rate": values["rate"]})
                    self.book.add(f"commits.lease.{n}", LEASE.format(n), FLOOR, {"rate": values["rate"]})
            if connections in self.writers:
                self.book.add(f"commits.disjoint.{connections}", DISJOINT.format(connections), FLOOR, values)
                self.book.add(f"commits.one.{connections}", ONE.format(connections), FLOOR, values)
        if connections in self.connections:
            self.book.add(f"{section}.own.{connections}", OWN.format(connections), FLOOR, values)

    def write(
        self,
        key: str,
        label: str,
        targets: Sequence[tuple[str, str, int]],
        concurrency: Concurrency | None = None,
    ) -> None:
        """Writers side by side; a target is a database, a table and how many rows are updated."""
        work = [(self.url, *target, self.seconds, concurrency) for target in targets]
        parts = in_processes(update, work)
        done = sum(len(part.took) for part in parts)
        again = sum(part.again for part in parts) / done
        self.book.add(key, label, OURS, {**summary(parts), "again": again})

    def write_own(self, section: str, n: int) -> None:
        targets = [(f"own-{i}", "entry", ROWS) for i in range(n)]
        self.write(f"{section}.own.{n}", OWN.format(n), targets)

    def commits(self) -> None:
        everybody = ROWS * max(self.connections + self.writers)

        def ours() -> None:
            for n in self.connections:
                self.write_own("commits", n)
            for n in self.connections:
                self.write(f"commits.locked.{n}", LOCKED.format(n), [("shared", "entry", everybody)] * n)
            for n in self.connections:
                targets = [("shared", "entry", everybody)] * n
                self.write(f"commits.lease.{n}", LEASE.format(n), targets, "lease")
            for n in self.writers:
                targets = [("disjoint", f"entry_{i}", ROWS) for i in range(n)]
                self.write(f"commits.disjoint.{n}", DISJOINT.format(n), targets, "optimistic")
            for n in self.writers:
                targets = [("shared", "entry", everybody)] * n
                self.write(f"commits.one.{n}", ONE.format(n), targets, "optimistic")

        def floor() -> None:
            for n in sorted({1, *self.connections, *self.writers}):
                self.floor_of_commits("commits", n)

        self.each(ours, floor)

    # ---- reads

    def reads(self) -> None:
        labels = {
            "warm": "warm, a transaction each",
            "stale": "warm, max_staleness=1s",
            "together": "warm, all in one transaction",
            "cold": "cold, a transaction each",
        }

        def ours() -> None:
            for key in "warm", "stale", "together":
                task = (self.url, "own-0", "entry", self.seconds, key)
                parts = in_processes(read_warm, [task])
                self.book.add(f"reads.{key}", labels[key], OURS, summary(parts))
            part, first = in_processes(read_cold, [(self.url, self.large_rows, self.seconds)])[0]
            self.book.add("reads.cold", labels["cold"], OURS, {**summary([part]), "first": first * 1000})

        def floor() -> None:
            parts, first = self.floor.reads(self.seconds)
            self.book.add("reads.warm", labels["warm"], FLOOR, summary(parts))
            self.book.add("reads.cold", labels["cold"], FLOOR, {**summary(parts), "first": first * 1000})

        self.each(ours, floor)

    # ---- the scan

    def scan(self, key: str, label: str) -> None:
        """A scan with read-ahead; one of a tenth without, which takes long where there is delay; and
        the floor: all keys, many ranges at once.
        """

        def ours(option: str, rows: int) -> tuple[float, dict[str, int]]:
            return in_processes(scan, [(self.url + option, rows)])[0]

        rows = self.large_rows
        seconds, counted = ours("", rows)
        without, _ = ours(WITHOUT, rows // 10)
        read, floor = self.floor.scan(PREFIX)
        for who, rate in (
            (OURS, rows * BLOB_BYTES / seconds),
            (OFF, rows // 10 * BLOB_BYTES / without),
            (FLOOR, read / floor),
        ):
            self.book.add(f"scan.{key}", label, who, {"megabytes": rate / 1e6})
        wasted = counted["ahead"] - counted["ahead_used"]
        more = {"seconds": seconds, "rounds": counted["rounds"], "wasted": wasted}
        self.book.add(f"scan.{key}", label, OURS, more)

    # ---- added delay

    def with_delay(self, delay: Delay) -> None:
        for milliseconds in self.delays_ms:
            delay.value = milliseconds
            self.one_connection(milliseconds)
            self.scan(f"{milliseconds}ms", f"{milliseconds} ms added each way")
        self.trips()

    def one_connection(self, milliseconds: int) -> None:
        def add(key: str, who: Any, values: dict[str, float]) -> None:
            label = f"{OPERATIONS[key]}, {milliseconds} ms"
            self.book.add(f"delay.{milliseconds}ms.{key}", label, who, {"p50": values["p50"]})

        def ours() -> None:
            task = (self.url, "own-0", "entry", ROWS, self.seconds, None)
            add("commit", OURS, summary(in_processes(update, [task])))
            warm = in_processes(read_warm, [(self.url, "own-0", "entry", self.seconds, "warm")])
            add("warm", OURS, summary(warm))
            part, first = in_processes(read_cold, [(self.url, self.large_rows, self.seconds)])[0]
            add("cold", OURS, summary([part]))
            add("first", OURS, {"p50": first * 1000})

        def floor() -> None:
            add("commit", FLOOR, summary(self.floor.commits(1, self.seconds, 2, self.sizes)))
            parts, first = self.floor.reads(self.seconds)
            add("warm", FLOOR, summary(parts))
            add("cold", FLOOR, summary(parts))
            add("first", FLOOR, {"p50": first * 1000})

        self.each(ours, floor)

    def trips(self) -> None:
        least, most = self.delays_ms[0], self.delays_ms[-1]
        for key, label in OPERATIONS.items():
            for who in OURS, FLOOR:
                short, long = (self.book.get(f"delay.{ms}ms.{key}.p50", who) for ms in (least, most))
                self.book.add(f"trips.{key}", label, who, {"trips": (long - short) / 2 / (most - least)})


WITHOUT = "&readahead=0"
OWN = "a database each, {} at once"
LOCKED = "one database, the host's lock, {} at once"
LEASE = "one database, the write lease, {} at once"
DISJOINT = "a table each, optimistic, {} at once"
ONE = "one table, optimistic, {} at once"
OPERATIONS = {
    "commit": "commit of one row",
    "warm": "warm point read",
    "cold": "cold point read",
    "first": "first read of a fresh process",
}


# ---- running it -----------------------------------------------------------------------------


@contextlib.contextmanager
def runtime_directory(directory: Path) -> Iterator[None]:
    """The engine's lock files go to the benchmark's own directory, and with it."""
    name, before = "XDG_RUNTIME_DIR", os.environ.get("XDG_RUNTIME_DIR")
    os.environ[name] = str(directory)
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


@contextlib.contextmanager
def bench(settings: Settings, book: Book, processes: int) -> Iterator[Bench]:
    with settings.scratch() as directory, runtime_directory(directory):
        cluster = Cluster(directory, processes)
        yield Bench(
            cluster,
            Floor(cluster),
            book,
            rounds=settings.pick(min(settings.rounds, 3), 1, 1),
            seconds=settings.pick(2.0, 1.0, 0.1),
            connections=settings.pick((1, 8, 32), (1, 8, 32), (1,)),
            writers=settings.pick((1, 2, 4, 8, 16, 32), (1, 8, 32), (1, 2)),
            updates=settings.pick(1000, 300, 20),
            megabytes=settings.pick(100, 20, 1),
            delays_ms=settings.pick((0, 1, 5), (0, 1, 5), (0, 1)),
        )


def one_server(settings: Settings, book: Book) -> tuple[int, ...]:
    """All questions but one; what a commit writes."""
    with bench(settings, book, 1) as one:
        with one.cluster.running():
            one.make_tables()
            one.stored()
            one.commits()
            in_processes(fill, [(one.url, one.megabytes)])
            one.reads()
            one.scan("direct", "loopback, no proxy")
        with one.cluster.running(behind_proxy=True) as delay:
            assert delay is not None
            one.with_delay(delay)
        return one.sizes


def three_servers(settings: Settings, book: Book, sizes: tuple[int, ...]) -> None:
    with bench(settings, book, 3) as three, three.cluster.running():
        three.sizes = sizes
        three.make_tables()
        for n in three.connections:
            three.each(partial(three.write_own, "double", n), partial(three.floor_of_commits, "double", n))


def needed() -> None:
    """Raises Absent, with words, if something needed is not here."""
    program("fdbserver")
    program("fdbcli")
    client_library()
    compiler()


def run(settings: Settings) -> list[Figure]:
    """Raises Absent if there is no FoundationDB here."""
    needed()
    book = Book()
    sizes = one_server(settings, book)
    three_servers(settings, book, sizes)
    return list(book.figures.values())


def show(out: Console, figures: Sequence[Figure]) -> None:
    for section, title in SECTIONS.items():
        found = [figure for figure in figures if section_of(figure) == section]
        if found:
            out.print(table(title, found))


def facts() -> dict[str, str]:
    return {"foundationdb": server_version(), "foundationdb_engine": "ssd"}


def main() -> None:
    assert __doc__
    parser = arguments(__doc__)
    given = parser.parse_args()
    settings = settings_of(given)
    try:
        needed()
    except Absent as absent:
        parser.exit(0, f"skipped: {absent}\n")
    if given.json:
        print(as_json(settings, run(settings), facts()))
    else:
        console().print(describe(environment(settings) | facts()))
        show(console(), run(settings))


if __name__ == "__main__":
    main()
