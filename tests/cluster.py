"""A FoundationDB server for tests: found, started, configured, and stopped again."""

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


def find(program: str) -> str:
    """The program in MVSQLITE_FDB_BIN, on PATH or where packages put it; skips the test without it."""
    places = [os.environ.get("MVSQLITE_FDB_BIN"), os.environ.get("PATH"), "/usr/sbin", "/usr/local/sbin"]
    found = shutil.which(program, path=os.pathsep.join(place for place in places if place))
    if not found:
        pytest.skip(f"no {program} here: set MVSQLITE_FDB_BIN to the directory of FoundationDB's programs")
    return found


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextmanager
def run(directory: Path) -> Iterator[Path]:
    """Runs a server of one process with its data in memory; yields its cluster file."""
    server, cli = find("fdbserver"), find("fdbcli")
    address = f"127.0.0.1:{free_port()}"
    file = directory / "fdb.cluster"
    file.write_text(f"test:test@{address}\n")
    command = [server, "-p", address, "-C", str(file), "-d", str(directory / "data"), "-L", str(directory)]
    with (
        (directory / "server.out").open("wb") as log,
        subprocess.Popen(command, stdout=log, stderr=log) as process,
    ):
        try:
            configure = [cli, "-C", str(file), "--timeout", "60", "--exec", "configure new single memory"]
            subprocess.run(configure, check=True, capture_output=True, timeout=90)
            yield file
        finally:
            process.terminate()
