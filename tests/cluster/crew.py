"""Processes that do one job of ``jobs.py`` each.

They are forked from a process that has loaded the library and opened nothing, so that they
start fast and clean, whatever the test's own process has open.
"""

import multiprocessing
import os
import select
import signal
import sys
import time
import traceback
import types
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

CONTEXT = multiprocessing.get_context("forkserver")
PASSED_ON = ("MVSQLITE_FDB_CLIENT", "XDG_RUNTIME_DIR")
"""Of the environment: the process that forks may be older than these."""

ANSWER_SECONDS = 180
DONE, FAILED, SAID = "done", "failed", "said"


def pause(seconds: float) -> None:
    """Lets others work: for how long failures last, not for when something will have happened."""
    select.select([], [], [], seconds)


class Channel:
    """The job's end of the line to its test."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def say(self, message: Any) -> None:
        self.connection.send((SAID, message))

    def hear(self) -> Any:
        return self.connection.recv()

    def told(self) -> bool:
        """Whether the test has said something that was not heard yet."""
        return self.connection.poll()


def _work(connection: Connection, job: str, arguments: tuple[Any, ...], environment: dict[str, str]) -> None:
    os.environ.update(environment)
    import jobs

    try:
        answer = getattr(jobs, job)(Channel(connection), *arguments)
        connection.send((DONE, answer))
    except BaseException:
        connection.send((FAILED, traceback.format_exc()))


class Hand:
    """A process that does a job; its answer, or what it says on the way, is heard with ``hear``."""

    def __init__(self, job: str, *arguments: Any, environment: dict[str, str]) -> None:
        given = {name: os.environ[name] for name in PASSED_ON if name in os.environ} | environment
        self.job = job
        self.connection, theirs = CONTEXT.Pipe()
        self.process = CONTEXT.Process(target=_work, args=(theirs, job, arguments, given))
        with pytest.MonkeyPatch.context() as patch:
            here = Path(__file__).parent
            patch.setenv("PYTHONPATH", os.pathsep.join([str(here), str(here.parent)]))
            # each process would import the program that runs the tests
            patch.setitem(sys.modules, "__main__", types.ModuleType("__main__"))
            CONTEXT.set_forkserver_preload(["jobs"])
            self.process.start()
        theirs.close()

    def tell(self, message: Any) -> None:
        self.connection.send(message)

    def hear(self, seconds: float = ANSWER_SECONDS) -> Any:
        """What it says next, or its answer; a job that failed fails the test."""
        assert self.connection.poll(seconds), f"{self.job} says nothing for {seconds} s"
        try:
            kind, message = self.connection.recv()
        except EOFError:
            self.process.join()
            raise AssertionError(f"{self.job} ended with {self.process.exitcode}") from None
        assert kind != FAILED, f"{self.job}: {message}"
        return message

    def signal(self, number: signal.Signals) -> None:
        assert self.process.pid
        os.kill(self.process.pid, number)

    def wait_stopped(self, seconds: float = ANSWER_SECONDS) -> None:
        """Until the process has stopped itself (SIGSTOP)."""
        until = time.monotonic() + seconds
        status = Path(f"/proc/{self.process.pid}/stat")
        while status.read_text().rpartition(")")[2].split()[0] != "T":
            assert not self.connection.poll(), f"{self.job} did not stop, but says: {self.hear()}"
            assert time.monotonic() < until, f"{self.job} does not stop"
            pause(0.01)

    def kill(self) -> None:
        """SIGKILL; gone when this returns."""
        self.process.kill()
        self.process.join()

    def end(self) -> None:
        self.kill()
        self.connection.close()
