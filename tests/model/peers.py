"""Processes that a test starts, and the lines they exchange with it."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

WORKER = Path(__file__).with_name("peer_worker.py")


class Peer:
    """A process that runs one job of ``peer_worker.py``: JSON lines go both ways."""

    def __init__(self, job: str, **arguments: Any) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(WORKER), job, json.dumps(arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def tell(self, message: Any) -> None:
        assert self.process.stdin
        self.process.stdin.write(json.dumps(message) + "\n")
        self.process.stdin.flush()

    def hear(self) -> Any:
        """The next line; waits for it. A process that ended instead fails the test."""
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            assert self.process.stderr
            raise AssertionError(f"the process ended: {self.process.stderr.read()}")
        return json.loads(line)

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream:
                stream.close()


@contextmanager
def peers(number: int, job: str, **arguments: Any) -> Iterator[list[Peer]]:
    """So many processes with one job, all ready to be told to go; ended with the block."""
    started = [Peer(job, number=i, **arguments) for i in range(number)]
    try:
        for peer in started:
            assert peer.hear() == "ready"
        yield started
    finally:
        for peer in started:
            peer.end()


def run_together(number: int, job: str, **arguments: Any) -> list[Any]:
    """What each of the processes answers after they were started at one moment."""
    with peers(number, job, **arguments) as started:
        for peer in started:
            peer.tell("go")
        return [peer.hear() for peer in started]
