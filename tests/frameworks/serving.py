"""Servers of HTTP on a Unix socket, run for the length of a block."""

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import httpx

Serve = Callable[..., AbstractContextManager[httpx.Client]]

PATIENCE = 60.0
"""Seconds that a server may take to start, or to end."""


def wait_for(what: str, condition: Callable[[], object]) -> None:
    """Until the condition holds."""
    deadline, pause = time.monotonic() + PATIENCE, threading.Event()
    while not condition():
        assert time.monotonic() < deadline, f"waited {PATIENCE} s for {what}"
        pause.wait(0.02)


@contextmanager
def serving(
    directory: Path, command: Sequence[str], *, ready: str = "/", env: dict[str, str] | None = None
) -> Iterator[httpx.Client]:
    """Runs ``python -m command...``, whose words may hold ``{socket}``; gives a client of it.

    ready: a path that is answered once it serves. What it said is shown if it fails.
    """
    address, said = directory / "http.sock", directory / "server.log"
    words = [word.format(socket=address) for word in command]
    with said.open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", *words],
            stdout=log,
            stderr=log,
            cwd=directory,
            env=os.environ | {"PYTHONPATH": str(directory)} | (env or {}),
        )
    client = httpx.Client(
        transport=httpx.HTTPTransport(uds=str(address)), base_url="http://server", timeout=30
    )

    def answers() -> bool:
        assert server.poll() is None, said.read_text()
        try:
            with socket.socket(socket.AF_UNIX) as probe:
                probe.connect(str(address))
        except OSError:
            return False
        return client.get(ready).status_code < 500

    try:
        wait_for(command[0], answers)
        yield client
    finally:
        client.close()
        server.terminate()
        server.wait(PATIENCE)
        sys.stdout.write(said.read_text())  # pytest shows it with a failure
