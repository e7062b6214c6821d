"""What the benchmarks share: the contenders, interleaved rounds, worker processes, tables.

Every contender uses the same build of SQLite (apsw's) with ``synchronous=FULL``, on the same
filesystem. Rounds are interleaved and each begins with another contender, so that a machine
that is busy with other things disturbs all alike. Figures are medians of the rounds; ratios
are medians of the rounds' ratios.
"""

import argparse
import contextlib
import json
import multiprocessing
import os
import platform
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from threading import BrokenBarrierError
from typing import Any, Protocol, TypeVar

import apsw
from rich.console import Console
from rich.table import Table

import mvsqlite_py

T = TypeVar("T")

BUSY_SECONDS = 60.0
"""How long a writer waits for others; far longer than any round."""

MEMORY = Path("/dev/shm")
MEMORY_ROOM = 2 << 30
"""Bytes: no benchmark makes so much there."""

# ---- contenders --------------------------------------------------------------


class Named(Protocol):
    """Whoever answers a question."""

    @property
    def name(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Contender:
    """One way of keeping a SQLite database."""

    name: str
    journal: str | None
    """SQLite's journal mode; None: this project's VFS."""

    @property
    def ours(self) -> bool:
        return self.journal is None

    def connect(self, directory: Path, database: str = "bench", *, ready: bool = True) -> apsw.Connection:
        """Opens a database in the contender's directory, created if need be.

        ready: set journal mode and durability; without it a stock database opens as it was left.
        """
        if self.journal is None:
            return mvsqlite_py.connect(database, store=f"lmdb:{directory}", timeout=BUSY_SECONDS)
        connection = apsw.Connection(str(directory / f"{database}.sqlite"))
        connection.set_busy_timeout(int(BUSY_SECONDS * 1000))
        if ready:
            connection.execute(f"PRAGMA journal_mode={self.journal}").fetchall()
            connection.execute("PRAGMA synchronous=FULL").fetchall()
        return connection


OURS = Contender("mvsqlite", None)
DELETE = Contender("stock DELETE", "delete")
WAL = Contender("stock WAL", "wal")
CONTENDERS = (OURS, DELETE, WAL)


# ---- settings ----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Settings:
    """How much work to do, and where."""

    directory: Path
    rounds: int = 5
    size: str = "full"
    """``full``; ``quick`` for a first look; ``toy`` to see that everything runs."""

    def pick(self, full: T, quick: T, toy: T) -> T:
        return {"full": full, "quick": quick, "toy": toy}[self.size]

    def fewer(self, most: int) -> "Settings":
        """The same with at most so many rounds, for work that takes long."""
        return Settings(self.directory, min(self.rounds, most), self.size)

    def untimed(self) -> "Settings":
        """The same in memory, where a sync is free, if there is room: for what is only read or counted."""
        roomy = MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > MEMORY_ROOM
        return Settings(MEMORY, self.rounds, self.size) if roomy else self

    @contextlib.contextmanager
    def scratch(self) -> Iterator[Path]:
        """An empty directory, removed afterwards."""
        path = Path(tempfile.mkdtemp(prefix="bench-", dir=self.directory))
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)


# ---- figures -----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Question:
    """What is measured. ``key`` names it for good; ``label`` is for people."""

    key: str
    label: str
    unit: str
    more_is_better: bool = True


@dataclass(slots=True)
class Figure:
    """The answers to one question, by contender, one a round."""

    question: Question
    samples: dict[str, list[float]] = field(default_factory=dict)

    def add(self, contender: Named, value: float) -> None:
        self.samples.setdefault(contender.name, []).append(value)

    def median(self, contender: Named) -> float | None:
        values = self.samples.get(contender.name)
        return statistics.median(values) if values else None

    def ratio(self, against: Named) -> float | None:
        """How many times as good as ``against`` we are (above 1: better), the median over the rounds."""
        return self._ratio(against.name)

    def _ratio(self, against: str) -> float | None:
        pairs = zip(self.samples.get(OURS.name, ()), self.samples.get(against, ()), strict=False)
        better = self.question.more_is_better
        ratios = [mine / other if better else other / mine for mine, other in pairs if mine and other]
        return statistics.median(ratios) if ratios else None

    def spread(self, contender: Named) -> float:
        """Half the distance of the extremes, as a part of the median."""
        values = self.samples.get(contender.name, [0.0])
        middle = statistics.median(values)
        return (max(values) - min(values)) / 2 / middle if middle else 0.0

    def as_json(self) -> dict[str, Any]:
        others = [name for name in self.samples if name != OURS.name]
        return {
            "key": self.question.key,
            "question": self.question.label,
            "unit": self.question.unit,
            "more_is_better": self.question.more_is_better,
            "medians": {name: statistics.median(values) for name, values in self.samples.items()},
            "times_as_good_as": {name: self._ratio(name) for name in others},
            "samples": self.samples,
        }


Measure = Callable[[Contender, Path], dict[str, float]]
"""Does the work in a directory and answers questions by key."""


def _measured(measure: Measure, contender: Contender, directory: Path) -> dict[str, float]:
    try:
        return measure(contender, directory)
    except Exception as error:
        error.add_note(f"while measuring {contender.name}")
        raise


def compare(
    settings: Settings,
    questions: Sequence[Question],
    measure: Measure,
    prepare: Callable[[Contender, Path], None] | None = None,
) -> list[Figure]:
    """Asks every contender in every round.

    prepare: fills a contender's directory once, before the first round; without it every
    measurement begins with an empty directory.
    """
    figures = {question.key: Figure(question) for question in questions}
    with contextlib.ExitStack() as stack:
        kept: dict[str, Path] = {}
        for contender in CONTENDERS if prepare else ():
            kept[contender.name] = stack.enter_context(settings.scratch())
            assert prepare
            prepare(contender, kept[contender.name])
        for round_ in range(settings.rounds):
            first = round_ % len(CONTENDERS)
            for contender in CONTENDERS[first:] + CONTENDERS[:first]:
                with contextlib.ExitStack() as one:
                    directory = kept.get(contender.name) or one.enter_context(settings.scratch())
                    for key, value in _measured(measure, contender, directory).items():
                        figures[key].add(contender, value)
    return list(figures.values())


# ---- timing, processes, caches -------------------------------------------------


class Stopwatch:
    """``with Stopwatch() as watch: ...`` and then ``watch.seconds``."""

    def __enter__(self) -> "Stopwatch":
        self._begin = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.perf_counter() - self._begin


class Barrier(Protocol):
    """Where workers wait until all are ready."""

    def wait(self) -> int: ...

    def abort(self) -> None: ...


def _work(pipe: Pipe, barrier: Barrier, work: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    try:
        pipe.send((True, work(barrier, *arguments)))
    except BrokenBarrierError:
        pipe.send((False, "another worker failed"))
    except Exception as error:
        barrier.abort()
        pipe.send((False, f"{type(error).__name__}: {error}"))


def in_processes(work: Callable[..., T], arguments: Sequence[tuple[Any, ...]]) -> list[T]:
    """Runs ``work(barrier, *arguments)`` in a fresh process for each, side by side."""
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(len(arguments))
    workers = []
    answers: list[T] = []
    problems: list[str] = []
    for each in arguments:
        mine, theirs = context.Pipe(duplex=False)
        worker = context.Process(target=_work, args=(theirs, barrier, work, each))
        worker.start()
        theirs.close()
        workers.append((worker, mine))
    for worker, pipe in workers:
        try:
            good, answer = pipe.recv()
        except EOFError:
            good, answer = False, "a worker ended without an answer"
        (answers if good else problems).append(answer)
        worker.join()
        pipe.close()
    if problems:
        raise RuntimeError("; ".join(problems))
    return answers


def evict(directory: Path, *, everything: bool) -> None:
    """Drops the directory's files from the page cache; with ``everything`` and as root the whole cache."""
    for path in directory.rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(descriptor)
    if everything:
        with contextlib.suppress(OSError):
            Path("/proc/sys/vm/drop_caches").write_text("1")


def size_on_disk(directory: Path) -> int:
    return sum(path.stat().st_blocks * 512 for path in directory.rglob("*") if path.is_file())


# ---- the machine ----------------------------------------------------------------


def filesystem(path: Path) -> str:
    """The type of the filesystem a path is on."""
    best, kind = "", "?"
    with contextlib.suppress(OSError):
        for line in Path("/proc/mounts").read_text().splitlines():
            point, this = line.split()[1:3]
            if path.resolve().is_relative_to(point) and len(point) >= len(best):
                best, kind = point, this
    return kind


def sync_ms(directory: Path, times: int = 20) -> float:
    """Milliseconds to overwrite 4 KiB of a file and sync it: what any durable commit costs here."""
    samples = []
    with tempfile.TemporaryFile(dir=directory, buffering=0) as file:
        file.write(bytes(65536))
        os.fsync(file.fileno())
        for i in range(times):
            with Stopwatch() as watch:
                os.pwrite(file.fileno(), os.urandom(4096), i % 16 * 4096)
                os.fdatasync(file.fileno())
            samples.append(watch.seconds * 1000)
    return statistics.median(samples)


def environment(settings: Settings) -> dict[str, Any]:
    return {
        "cores": os.cpu_count(),
        "processor": platform.machine(),
        "kernel": platform.release(),
        "filesystem": filesystem(settings.directory),
        "sync_ms": round(sync_ms(settings.directory), 3),
        "python": platform.python_version(),
        "sqlite": apsw.sqlite_lib_version(),
        "mvsqlite": version("mvsqlite-py"),
        "size": settings.size,
        "rounds": settings.rounds,
    }


def describe(facts: dict[str, Any]) -> str:
    return (
        f"{facts['cores']} cores {facts['processor']}, Linux {facts['kernel']}, {facts['filesystem']}, "
        f"a 4 KiB sync takes {facts['sync_ms']} ms; SQLite {facts['sqlite']}, Python {facts['python']}, "
        f"mvsqlite-py {facts['mvsqlite']}; size {facts['size']}, {facts['rounds']} rounds"
        + (f"; FoundationDB {facts['foundationdb']}" if "foundationdb" in facts else "")
    )


# ---- output ----------------------------------------------------------------------


def shown(value: float | None) -> str:
    """A number with three significant digits or so."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def table(title: str, figures: Sequence[Figure], contenders: Sequence[Named] = CONTENDERS) -> Table:
    """contenders: the columns, the first one being us."""
    made = Table(title=title, caption="medians (± half the range); ratios above 1: we are better")
    made.add_column("question")
    made.add_column("unit")
    others = contenders[1:]
    for contender in contenders:
        made.add_column(contender.name, justify="right")
    for contender in others:
        made.add_column(f"x {contender.name.removeprefix('stock ')}", justify="right")
    for figure in figures:
        cells = []
        for contender in contenders:
            spread = f" ±{figure.spread(contender):.0%}" if contender.name in figure.samples else ""
            cells.append(shown(figure.median(contender)) + spread)
        ratios = [figure.ratio(contender) for contender in others]
        marks = [f"{ratio:.2f}" if ratio else "-" for ratio in ratios]
        made.add_row(figure.question.label, figure.question.unit, *cells, *marks)
    return made


def console() -> Console:
    """As wide as the terminal; wide enough for a table when there is none."""
    return Console(width=None if os.isatty(1) else 140, highlight=False)


def arguments(description: str, *, quick: bool = True) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        "--dir",
        type=Path,
        default=Path("/var/tmp"),
        help="where to put the databases: a real disk (%(default)s)",
    )
    parser.add_argument("--rounds", type=int, default=None, help="interleaved rounds (default 5; 3 if quick)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    if quick:
        parser.add_argument("--quick", action="store_true", help="a tenth of the work or less")
    return parser


def settings_of(given: argparse.Namespace) -> Settings:
    rounds = given.rounds or (3 if given.quick else 5)
    settings = Settings(given.dir, rounds, "quick" if given.quick else "full")
    if filesystem(given.dir) == "tmpfs":
        console().print(f"[yellow]{given.dir} is in memory: syncs are free there and prove nothing[/yellow]")
    return settings


def as_json(settings: Settings, figures: Sequence[Figure], more: dict[str, Any] | None = None) -> str:
    """more: facts of the environment that only these figures need."""
    about = environment(settings) | (more or {})
    return json.dumps({"environment": about, "figures": [one.as_json() for one in figures]}, indent=1)


def main(
    run: Callable[[Settings], list[Figure]], description: str, contenders: Sequence[Named] = CONTENDERS
) -> None:
    """The command of one benchmark."""
    given = arguments(description).parse_args()
    settings = settings_of(given)
    title = description.partition("\n")[0]
    if given.json:
        print(as_json(settings, run(settings)))
    else:
        console().print(describe(environment(settings)))
        console().print(table(title, run(settings), contenders))
