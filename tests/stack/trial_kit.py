"""Runs ``mvstack up`` as somebody who is not root, and visits what it started."""

import functools
import os
import re
import shlex
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from gateways import listens
from household import free_ports
from mvsqlite_stack.up import tether
from mvsqlite_stack.up.supervision import State, Supervisor
from mvsqlite_stack.up.trial import at

NOBODY = 65534
COMMANDS = Path(sys.executable).parent
NGINX = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
DOMAIN = "home.localhost"
PATIENCE = 90.0
"""Seconds: more than ``mvstack up`` itself has."""


def wait_for(what: str, condition: Callable[[], object]) -> None:
    deadline, pause = time.monotonic() + PATIENCE, threading.Event()
    while not condition():
        assert time.monotonic() < deadline, f"waited {PATIENCE} s for {what}"
        pause.wait(0.05)


@functools.cache
def somebody() -> list[str]:
    """How a command is run without root's rights, if we are root: as nobody. Where Python lies in root's own
    directory, nobody may also read what others may not, and no more."""
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        return []
    words = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--no-new-privs"]
    reading = [
        "--securebits=+no_setuid_fixup",
        "--inh-caps=+dac_read_search",
        "--ambient-caps=+dac_read_search",
    ]
    for one in (words, [*words, *reading]):
        code = f"import mvsqlite_stack, os; os.execv({sys.executable!r}, ['python', '-c', ''])"
        if (
            subprocess.run([*one, sys.executable, "-c", code], check=False, capture_output=True).returncode
            == 0
        ):
            return one
    return []


@dataclass
class Up:
    """A directory for a trial, and whoever runs it."""

    directory: Path
    as_somebody: list[str]
    https: int
    http: int
    started: "list[subprocess.Popen[str]]" = field(default_factory=list)

    @property
    def place(self) -> Path:
        return self.directory / "t"

    def run(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """One command to its end, in the directory."""
        return subprocess.run(
            [*self.as_somebody, *words], **self._where(), capture_output=True, check=False, timeout=60
        )

    def mvstack(self, *words: str) -> "subprocess.CompletedProcess[str]":
        return self.run(str(COMMANDS / "mvstack"), *words)

    def begin(self, *words: str) -> "subprocess.Popen[str]":
        """``mvstack up`` in the foreground."""
        command = [str(COMMANDS / "mvstack"), "up", "t", "--port", str(self.https)]
        command += ["--http-port", str(self.http), *words]
        with (self.directory / "told").open("w") as told:
            process = subprocess.Popen(
                [*self.as_somebody, *command], **self._where(), stdout=told, stderr=subprocess.STDOUT
            )
        self.started.append(process)
        return process

    def up(self) -> "subprocess.Popen[str]":
        """The same, once it has said all that it has to say."""
        process = self.begin()
        wait_for("mvstack up", lambda: "^C ends it" in self.told() or process.poll() is not None)
        assert process.poll() is None, self.told()
        return process

    def told(self) -> str:
        return (self.directory / "told").read_text()

    def _where(self) -> dict[str, Any]:
        told = {name: text for name, text in os.environ.items() if not name.startswith("MVS")}
        environment = told | {"HOME": str(self.directory), "COLUMNS": "200"}
        return {"cwd": self.directory, "env": environment, "text": True, "stdin": subprocess.DEVNULL}

    def states(self) -> dict[str, State]:
        """Of each program."""
        return {one.name: one for one in Supervisor(at(self.place)).states() or []}

    def processes(self) -> list[int]:
        """All that belongs to the trial."""
        owner = os.geteuid() if not self.as_somebody else NOBODY
        with _as_user(owner):
            return list(tether.leftovers(str(self.place.resolve())))

    def nothing_left(self) -> bool:
        return not self.processes() and not listens(self.https) and not listens(self.http)

    def password(self, user: str) -> str:
        found = re.search(rf"^  {user} +(\S+)", self.told(), re.MULTILINE)
        assert found, self.told()
        return found[1]

    def command(self, begin: str) -> list[str]:
        """The command that was printed to be copied; begin: its program and first word."""
        lines = [line.strip() for line in self.told().splitlines()]
        return next(shlex.split(line) for line in lines if f"{begin} " in line)

    def ask(self, host: str, path: str = "/", accept: str = "*/*", authority: Path | None = None) -> int:
        """The status of an answer, over TLS that trusts the trial's authority alone."""
        context = ssl.create_default_context(cafile=authority or self.place / "ca/ca.pem")
        with (
            socket.create_connection(("127.0.0.1", self.https), 20) as plain,
            context.wrap_socket(plain, server_hostname=host) as connection,
        ):
            head = f"Host: {host}:{self.https}\r\nAccept: {accept}\r\nConnection: close\r\n"
            connection.sendall(f"GET {path} HTTP/1.1\r\n{head}\r\n".encode())
            return int(connection.makefile("rb").readline().split()[1])

    def answers(self, host: str, status: int) -> bool:
        """Whether it answers so by now; a part that is being started again may cut a connection off."""
        with suppress(OSError, IndexError):
            return self.ask(host) == status
        return False


@contextmanager
def _as_user(user: int) -> Iterator[None]:
    """Looks for processes of another user, as root can."""
    before = os.geteuid()
    if user == before:
        yield
        return
    original = os.geteuid
    os.geteuid = lambda: user
    try:
        yield
    finally:
        os.geteuid = original


@contextmanager
def trial() -> Iterator[Up]:
    """A new directory that anybody may enter by name; whatever runs there has ended after it."""
    if NGINX is None:
        pytest.skip("nginx is not installed: make setup installs it")
    directory = Path(tempfile.mkdtemp(prefix="mvstack-up-"))
    as_somebody = somebody()
    if as_somebody:
        os.chown(directory, NOBODY, NOBODY)
    one = Up(directory, as_somebody, *free_ports(2))
    try:
        yield one
    finally:
        for process in one.started:
            process.kill()
            process.wait()
        if one.processes():
            one.mvstack("down", "t")
        shutil.rmtree(directory, ignore_errors=True)
