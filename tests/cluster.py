"""FoundationDB servers for tests: found, started, made to fail, and ended again.

``cluster.py`` alone says whether there are any here (and ends with 1 if not);
``cluster.py [--three] COMMAND...`` runs a command with a cluster around it, whose file is in
``FDB_CLUSTER_FILE`` and which is the default store.
"""

import ctypes.util
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

PROGRAMS = ("fdbserver", "fdbcli")
CLIENT = "libfdb_c.so"
START_SECONDS = 90
"""How long a cluster may take to come up, or to be whole again after a failure."""

SERVER_OPTIONS = [
    *("--memory", "8GiB", "--storage-memory", "4GB", "--cache-memory", "256MiB"),
    *("--logsize", "1MiB", "--maxlogssize", "4MiB"),
    "--knob_disable_posix_kernel_aio=1",  # which is slow on file systems in memory
]
"""Small: there are several servers beside the tests."""

MEMORY, MEMORY_ROOM = Path("/dev/shm"), 8 << 30

SYNCED = "ssd"
IN_MEMORY = "memory"

REAPER = """
import os, shutil, signal, sys
running = set()
for line in sys.stdin:
    (running.add if line[0] == "+" else running.discard)(int(line[1:]))
for pid in running:
    os.kill(pid, signal.SIGKILL)
shutil.rmtree(sys.argv[1], ignore_errors=True)
"""
"""Ends the servers and removes their data when the process that started them is gone, however it ended."""


# ---- what there is on this machine -----------------------------------------------------------


def find(program: str) -> str | None:
    """The program in MVSQLITE_FDB_BIN, on PATH or where packages put it."""
    places = [os.environ.get("MVSQLITE_FDB_BIN"), os.environ.get("PATH"), "/usr/sbin", "/usr/local/sbin"]
    return shutil.which(program, path=os.pathsep.join(place for place in places if place))


def find_client() -> str | None:
    """The client library: named by MVSQLITE_FDB_CLIENT, beside the programs, or in a usual place."""
    named = os.environ.get("MVSQLITE_FDB_CLIENT")
    server = find("fdbserver")
    beside = [Path(server).parent, Path(server).parents[1] / "lib"] if server else []
    system = [Path(place) for place in ("/usr/local/lib", "/usr/lib", "/usr/lib64", "/lib")]
    places = [Path(named)] if named else [place / CLIENT for place in beside + system]
    return next((str(place) for place in places if place.exists()), None)


def missing() -> str | None:
    """Why no cluster can be run here, and what to do about it; None: one can."""
    absent = " and ".join(program for program in PROGRAMS if not find(program))
    if absent:
        return f"{absent} not found: set MVSQLITE_FDB_BIN to the directory of FoundationDB's programs"
    client = find_client()
    if not client:
        return f"{CLIENT} not found: set MVSQLITE_FDB_CLIENT to FoundationDB's client library"
    if not ctypes.util.find_library("fdb_c"):
        os.environ["MVSQLITE_FDB_CLIENT"] = client
    return None


def version() -> str:
    """What the server says it is."""
    answer = subprocess.run([str(find("fdbserver")), "--version"], capture_output=True, text=True, check=True)
    return answer.stdout.splitlines()[0]


def free_ports(number: int) -> list[int]:
    """Ports nobody listens on; asked for together, so that they differ."""
    listeners = [socket.socket() for _ in range(number)]
    try:
        for listener in listeners:
            listener.bind(("127.0.0.1", 0))
        return [int(listener.getsockname()[1]) for listener in listeners]
    finally:
        for listener in listeners:
            listener.close()


def scratch() -> Path | None:
    """Memory, where there is room: killed servers lose nothing there, and a sync costs nothing."""
    roomy = MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > MEMORY_ROOM
    return MEMORY if roomy else None


# ---- a cluster ---------------------------------------------------------------------------------


class Cluster:
    """Servers of one process each, every one a machine of its own with its own data.

    One server keeps everything in memory and starts fast; three keep each key twice on disk, and
    any one of them may fail. ``file`` is the cluster file for clients. With ``tls``, a certificate with
    its key and the one that signed it, all connections are encrypted.
    """

    def __init__(self, servers: int = 1, tls: tuple[Path, Path, Path] | None = None) -> None:
        names = ("--tls_certificate_file", "--tls_key_file", "--tls_ca_file")
        self.tls = [word for pair in zip(names, map(str, tls), strict=True) for word in pair] if tls else []
        self.replication, self.engine = ("single", IN_MEMORY) if servers == 1 else ("double", SYNCED)
        self.directory = Path(tempfile.mkdtemp(prefix="mvsqlite-fdb-", dir=scratch()))
        self.reaper = subprocess.Popen(
            [sys.executable, "-c", REAPER, str(self.directory)],
            stdin=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.addresses = [f"127.0.0.1:{port}{':tls' if tls else ''}" for port in free_ports(servers)]
        self.processes: list[subprocess.Popen[bytes] | None] = [None] * servers
        self.stopped: set[int] = set()
        self.prefixes: list[str] = []
        self.name = f"test:{secrets.token_hex(8)}"
        self.file = self.directory / "fdb.cluster"
        self._write_cluster_file(self.file)
        try:
            for i in range(servers):
                place = self.directory / str(i)
                place.mkdir()
                self._write_cluster_file(place / "fdb.cluster")
                self.start(i)
            self.fdbcli(f"configure new {self.replication} {self.engine}")
            self.wait_whole()
        except BaseException:
            self.close()
            raise

    def _write_cluster_file(self, path: Path) -> None:
        path.write_text(f"{self.name}@{','.join(self.addresses)}\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends every server and removes all data."""
        for i in range(len(self.processes)):
            self.kill(i)
        assert self.reaper.stdin
        self.reaper.stdin.close()
        self.reaper.wait()

    # ---- servers: the i-th is 0 to 2 ---------------------------------------------------

    def start(self, i: int) -> None:
        """Starts the server, with the data it had; returns before it is ready."""
        place = self.directory / str(i)
        command = [
            str(find("fdbserver")),
            *("--public-address", self.addresses[i], "--cluster-file", str(place / "fdb.cluster")),
            *("--datadir", str(place / "data"), "--logdir", str(place)),
            *("--locality-machineid", f"machine{i}", "--locality-zoneid", f"zone{i}"),
            *SERVER_OPTIONS,
            *self.tls,
        ]
        with (place / "output").open("ab") as output:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        self.processes[i] = process
        self._tell_reaper(f"+{process.pid}")

    def _tell_reaper(self, line: str) -> None:
        assert self.reaper.stdin
        print(line, file=self.reaper.stdin, flush=True)

    def kill(self, i: int) -> None:
        """SIGKILL: what was not synced to disk by the server is lost with it."""
        process = self.processes[i]
        if process:
            process.kill()
            process.wait()
            self._tell_reaper(f"-{process.pid}")
        self.processes[i] = None
        self.stopped.discard(i)

    def restart(self, i: int) -> None:
        self.kill(i)
        self.start(i)

    def stop(self, i: int) -> None:
        """SIGSTOP: its connections stay open, and nothing answers."""
        self._signal(i, signal.SIGSTOP)
        process = self.processes[i]
        assert process
        os.waitid(os.P_PID, process.pid, os.WSTOPPED)
        self.stopped.add(i)

    def cont(self, i: int) -> None:
        self._signal(i, signal.SIGCONT)
        self.stopped.discard(i)

    def _signal(self, i: int, number: signal.Signals) -> None:
        process = self.processes[i]
        assert process, f"server {i} does not run"
        process.send_signal(number)

    def heal(self) -> None:
        """Every server runs again, and all is as it should be."""
        for i in sorted(self.stopped):
            self.cont(i)
        for i, process in enumerate(self.processes):
            if process is None or process.poll() is not None:
                self.restart(i)
        self.wait_whole()

    # ---- the service ----------------------------------------------------------------------

    def fdbcli(self, command: str, seconds: int = START_SECONDS) -> str:
        """What fdbcli answers; raises if it reports an error."""
        arguments = [str(find("fdbcli")), "-C", str(self.file), "--timeout", str(seconds), *self.tls]
        arguments += ["--exec", command]
        answer = subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=seconds + 30)
        if answer.returncode != 0 or "ERROR:" in answer.stdout:
            raise RuntimeError(f"fdbcli: {command}: {answer.stdout}{answer.stderr}{self._last_words()}")
        return answer.stdout

    def _last_words(self) -> str:
        outputs = [place / "output" for place in sorted(self.directory.glob("[0-9]"))]
        return "".join(f"\n{path}: {path.read_text()[-2000:]}" for path in outputs if path.exists())

    def status(self) -> dict[str, Any]:
        """The cluster's own report; empty if nobody gives one in time."""
        with suppress(RuntimeError, subprocess.TimeoutExpired, ValueError):
            text = self.fdbcli("status json", seconds=5)
            report: dict[str, Any] = json.loads(text[text.index("{") :])
            return report
        return {}

    def available(self) -> bool:
        """Whether clients are served."""
        return bool(_at(self.status(), "client", "database_status", "available"))

    def whole(self) -> bool:
        """Whether clients are served, every server takes part, and one may fail if there are several."""
        report = self.status()
        spare = _at(report, "cluster", "fault_tolerance", "max_zone_failures_without_losing_data")
        coordinators = _at(report, "client", "coordinators", "coordinators") or []
        return (
            bool(_at(report, "client", "database_status", "available"))
            and len(_at(report, "cluster", "processes") or {}) == len(self.processes)
            and all(coordinator["reachable"] for coordinator in coordinators)
            and isinstance(spare, int)
            and spare >= min(1, len(self.processes) - 1)
        )

    def wait_whole(self) -> None:
        self._wait(self.whole, "whole")

    def wait_available(self) -> None:
        self._wait(self.available, "available")

    def _wait(self, asked: Callable[[], bool], what: str) -> None:
        """Asks again and again; each question takes fdbcli a while."""
        until = time.monotonic() + START_SECONDS
        while not asked():
            if time.monotonic() > until:
                raise TimeoutError(
                    f"the cluster is not {what} after {START_SECONDS} s: {self.status()}{self._last_words()}"
                )

    # ---- room for tests -------------------------------------------------------------------------

    def url(self, **options: str | int) -> str:
        """The address of a store that does not exist yet."""
        prefix = f"{secrets.token_hex(8)}/"
        self.prefixes.append(prefix)
        if len(self.prefixes) > KEPT:
            self.forget(self.prefixes[: KEPT // 2])
            del self.prefixes[: KEPT // 2]
        more = "".join(f"{name}={value}&" for name, value in options.items())
        return f"fdb:{self.file}?{more}prefix={prefix}"

    def forget(self, prefixes: list[str]) -> None:
        """Removes the stores under the prefixes: a cluster in memory has little room."""
        ranges = [f"clearrange {prefix} {prefix.removesuffix('/')}0" for prefix in prefixes]
        self.fdbcli("; ".join(["writemode on", *ranges]))


KEPT = 60
"""So many stores stay for a while after their test; the address of one still in use is never older."""


def _at(report: Any, *path: str) -> Any:
    """What the report says at a path; None where it says nothing."""
    for name in path:
        report = report.get(name) if isinstance(report, dict) else None
    return report


def main(arguments: list[str]) -> int:
    why = missing()
    if why:
        print(f"FoundationDB: {why}", file=sys.stderr)
        return 1
    if not arguments:
        print(f"{version()}: {find('fdbserver')}")
        return 0
    three = arguments[0] == "--three"
    with Cluster(3 if three else 1) as servers:
        more = {"FDB_CLUSTER_FILE": str(servers.file), "MVSQLITE_STORE": servers.url()}
        return subprocess.run(arguments[three:], env=os.environ | more, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
