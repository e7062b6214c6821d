"""What the cluster's benchmark stands on: a FoundationDB of its own, the floor, figures in tables."""

import contextlib
import ctypes.util
import json
import math
import os
import secrets
import shutil
import socket
import statistics
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from rich.table import Table

from benchmarks.common import OURS, Figure, Named, Question, shown
from benchmarks.delay import Delay, delayed

HOST = "127.0.0.1"
START_SECONDS = 60.0
"""How long a server may take until it answers; a second or two when the machine is idle."""


class Absent(Exception):
    """What this benchmark needs is not on this machine; the message says what, and the way out."""


# ---- FoundationDB ------------------------------------------------------------------


def program(name: str) -> str:
    """The program in MVSQLITE_FDB_BIN, on PATH or where packages put it."""
    places = [os.environ.get("MVSQLITE_FDB_BIN"), os.environ.get("PATH"), "/usr/sbin", "/usr/local/sbin"]
    found = shutil.which(name, path=os.pathsep.join(place for place in places if place))
    if not found:
        raise Absent(f"no {name} here: set MVSQLITE_FDB_BIN to the directory of FoundationDB's programs")
    return found


def client_library() -> str:
    """What to link with: the library in MVSQLITE_FDB_CLIENT, or the system's."""
    named = os.environ.get("MVSQLITE_FDB_CLIENT")
    if named:
        return named
    if not ctypes.util.find_library("fdb_c"):
        raise Absent("no libfdb_c.so here: install FoundationDB's clients or set MVSQLITE_FDB_CLIENT to it")
    return "-lfdb_c"


def compiler() -> str:
    for name in "gcc", "clang", "cc":
        found = shutil.which(name)
        if found:
            return found
    raise Absent("no C compiler here to build the floor with: install gcc")


def server_version() -> str:
    """``7.3.77``, from the first line of ``fdbserver --version``."""
    told = subprocess.run([program("fdbserver"), "--version"], capture_output=True, text=True, check=True)
    first = told.stdout.partition("\n")[0]
    return first.partition("(v")[2].rstrip(")") or first


def free_ports(n: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(n)]
        for one in sockets:
            one.bind((HOST, 0))
        return [int(one.getsockname()[1]) for one in sockets]


class Cluster:
    """A FoundationDB on loopback, its data in a directory, started and stopped as often as one likes.

    A client knows a server by its public address. Behind the proxy a server keeps that address and
    listens at another, so that all that clients send and receive passes through the proxy, while the
    servers' data and the cluster file stay as they are.
    """

    def __init__(self, directory: Path, processes: int = 1) -> None:
        self.directory = directory
        self.ports = free_ports(processes)
        self.file = directory / "fdb.cluster"
        self.redundancy = "single" if processes == 1 else "double"
        self.configured = False
        addresses = ",".join(f"{HOST}:{port}" for port in self.ports)
        self.file.write_text(f"bench:{secrets.token_hex(8)}@{addresses}\n")

    @contextlib.contextmanager
    def running(self, *, behind_proxy: bool = False) -> Iterator[Delay | None]:
        """Runs the servers; yields the proxy's delay, if there is a proxy."""
        with contextlib.ExitStack() as stack:
            delay, listening = None, self.ports
            if behind_proxy:
                listening = free_ports(len(self.ports))
                delay = stack.enter_context(delayed(list(zip(self.ports, listening, strict=True))))
            for number, (public, listen) in enumerate(zip(self.ports, listening, strict=True)):
                stack.enter_context(self._server(number, public, listen))
            if not self.configured:
                self._cli(f"configure new {self.redundancy} ssd")
                self.configured = True
            self._wait()
            yield delay

    @contextlib.contextmanager
    def _server(self, number: int, public: int, listen: int) -> Iterator[None]:
        place = self.directory / f"server-{number}"
        place.mkdir(exist_ok=True)
        command = [program("fdbserver"), "-p", f"{HOST}:{public}", "-l", f"{HOST}:{listen}"]
        command += ["-C", str(self.file), "-d", str(place / "data"), "-L", str(place)]
        command += [f"--locality-{kind}={kind}-{number}" for kind in ("machineid", "zoneid")]
        with (place / "output").open("ab") as output:
            process = subprocess.Popen(command, stdout=output, stderr=output)
        try:
            yield
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _cli(self, command: str) -> str:
        call = [program("fdbcli"), "-C", str(self.file), "--timeout", f"{START_SECONDS:.0f}"]
        told = subprocess.run([*call, "--exec", command], capture_output=True, text=True, check=False)
        if told.returncode != 0:
            raise RuntimeError(f'fdbcli "{command}": {told.stdout}{told.stderr}{self._outputs()}')
        return told.stdout

    def _outputs(self) -> str:
        texts = [path.read_text()[-2000:] for path in sorted(self.directory.glob("server-*/output"))]
        return "\n" + "\n".join(text for text in texts if text)

    def _wait(self) -> None:
        """Until the database answers. Copies are there from the start: servers seed them as configured."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if json.loads(self._cli("status json"))["client"]["database_status"]["available"]:
                return
            time.sleep(0.1)
        raise TimeoutError(f"the cluster did not start within {START_SECONDS:g} s{self._outputs()}")


# ---- what one measurement gives ---------------------------------------------------------


class Part(NamedTuple):
    """One connection's work: when it began and ended, how long each operation took, in seconds."""

    begin: float
    end: float
    took: list[float]
    again: int = 0
    """How many times an operation had to be done again, for another had come first."""


def percentile(values: Sequence[float], part: float) -> float:
    """The smallest value that so large a part of the values does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(part * len(ordered)) - 1)]


def summary(parts: Sequence[Part]) -> dict[str, float]:
    """Operations a second of all connections, and milliseconds of one."""
    took = [one for part in parts for one in part.took]
    seconds = max(part.end for part in parts) - min(part.begin for part in parts)
    return {
        "rate": len(took) / seconds,
        "p50": percentile(took, 0.5) * 1000,
        "p99": percentile(took, 0.99) * 1000,
    }


# ---- the floor ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Reference:
    """What a figure is compared with."""

    name: str


FLOOR = Reference("floor")
OFF = Reference("read-ahead off")
READ_KEYS = 1000
READ_BYTES = 4096


class Floor:
    """A C program that asks the cluster for the same traffic and does nothing else."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.program = cluster.directory / "floor"
        self.filled = False
        source = Path(__file__).with_name("floor.c")
        build = [compiler(), "-std=c11", "-D_GNU_SOURCE", "-O2", "-pthread", "-o", str(self.program)]
        made = subprocess.run(
            [*build, str(source), client_library()], capture_output=True, text=True, check=False
        )
        if made.returncode != 0:
            raise RuntimeError(f"floor.c does not build:\n{made.stderr}")

    def commits(self, connections: int, seconds: float, reads: int, sizes: Sequence[int]) -> list[Part]:
        """Transactions of one read version, some parallel reads and one commit, each on keys of its own."""
        what = [[f"{seconds}", f"{reads}", *(str(size) for size in sizes)]] * connections
        return self._repeat([["commit", f"own-{i}", *each] for i, each in enumerate(what)])[0]

    def reads(self, seconds: float) -> tuple[list[Part], float]:
        """Transactions of one read version and one read; and the first one's time, connecting included."""
        if not self.filled:
            self._run("fill", "read", f"{READ_KEYS}", f"{READ_BYTES}")
            self.filled = True
        parts, first = self._repeat([["read", "read", f"{READ_KEYS}", f"{seconds}"]])
        return parts, first[0]

    def scan(self, prefix: str, at_once: int = 64) -> tuple[int, float]:
        """Reads all keys with a prefix: how many bytes, and in how many seconds."""
        size, _, seconds = self._run("scan", prefix, f"{at_once}").split()
        return int(size), float(seconds)

    def _call(self, what: Sequence[str]) -> list[str]:
        return [str(self.program), str(self.cluster.file), *what]

    def _run(self, *what: str) -> str:
        told = subprocess.run(self._call(what), capture_output=True, text=True, check=False)
        if told.returncode != 0:
            raise RuntimeError(told.stderr)
        return told.stdout

    def _repeat(self, calls: Sequence[Sequence[str]]) -> tuple[list[Part], list[float]]:
        """Starts a process for each, lets them begin together, and collects."""
        with contextlib.ExitStack() as stack:
            started = []
            for call in calls:
                process = subprocess.Popen(
                    self._call(call),
                    text=True,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                )
                started.append(stack.enter_context(process))
            for process in started:
                assert process.stdout
                assert process.stderr
                if process.stdout.readline() != "ready\n":
                    raise RuntimeError(process.stderr.read())
            for process in started:
                assert process.stdin
                process.stdin.write("\n")
                process.stdin.flush()
            answers = [process.communicate() for process in started]
            if any(process.returncode for process in started):
                raise RuntimeError("; ".join(problem for _, problem in answers if problem))
        parts, first = [], []
        for text, _ in answers:
            head, *took = text.splitlines()
            begin, end, one = (float(word) for word in head.split())
            parts.append(Part(begin, end, [float(line) for line in took]))
            first.append(one)
        return parts, first


# ---- figures ----------------------------------------------------------------------------------

METRICS = {
    "rate": ("per second", "1/s", True),
    "p50": ("p50", "ms", False),
    "p99": ("p99", "ms", False),
    "first": ("first", "ms", False),
    "again": ("done again", "each", False),
    "trips": ("round trips", "each", False),
    "bytes": ("stored", "bytes", False),
    "seconds": ("time", "s", False),
    "megabytes": ("rate", "MB/s", True),
    "rounds": ("rounds", "waited for", False),
    "wasted": ("read ahead", "in vain", False),
}
"""What is told of an operation: its name, its unit, and whether more of it is better."""


@dataclass(slots=True)
class Book:
    """Figures as they are found. A key is ``cluster.SECTION.WHAT.METRIC``."""

    figures: dict[str, Figure] = field(default_factory=dict)

    def add(self, key: str, label: str, who: Named, values: dict[str, float]) -> None:
        for metric, value in values.items():
            _, unit, more = METRICS[metric]
            full = f"cluster.{key}.{metric}"
            if full not in self.figures:
                self.figures[full] = Figure(Question(full, label, unit, more))
            self.figures[full].add(who, value)

    def get(self, key: str, who: Named) -> float:
        value = self.figures[f"cluster.{key}"].median(who)
        assert value is not None
        return value


def divided(figure: Figure, by: Named) -> float | None:
    """Our figure divided by another's, the median of the rounds: a rate or a time of 1 is as good."""
    pairs = zip(figure.samples.get(OURS.name, ()), figure.samples.get(by.name, ()), strict=False)
    ratios = [mine / other for mine, other in pairs if other]
    return statistics.median(ratios) if ratios else None


def section_of(figure: Figure) -> str:
    return figure.question.key.split(".")[1]


def table(title: str, figures: Sequence[Figure]) -> Table:
    """One row an operation; for each metric ours, what it is compared with, and ours divided by that."""
    metrics = list(dict.fromkeys(figure.question.key.rpartition(".")[2] for figure in figures))
    others = {
        metric: [
            name
            for name in dict.fromkeys(name for figure in figures for name in figure.samples)
            if name != OURS.name
            and any(name in f.samples for f in figures if f.question.key.endswith(metric))
        ]
        for metric in metrics
    }
    made = Table(title=title)
    made.add_column("")
    for metric in metrics:
        name, unit, _ = METRICS[metric]
        made.add_column(f"{name}\n{unit}", justify="right")
        for other in others[metric]:
            made.add_column(f"{other}\n{unit}", justify="right", style="dim")
            made.add_column(f"ours /\n{other}", justify="right", style="bold")
    found = {figure.question.key: figure for figure in figures}
    for what in dict.fromkeys(figure.question.key.rpartition(".")[0] for figure in figures):
        cells, label = [], ""
        for metric in metrics:
            one = found.get(f"{what}.{metric}")
            label = one.question.label if one else label
            cells.append(shown(one.median(OURS)) if one else "-")
            for other in others[metric]:
                ratio = divided(one, Reference(other)) if one else None
                cells.append(shown(one.median(Reference(other))) if one else "-")
                cells.append(f"{ratio:.2f}" if ratio else "-")
        made.add_row(label, *cells)
    return made
