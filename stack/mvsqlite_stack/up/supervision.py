"""supervisord, which keeps the programs of a trial running: its settings, its start and its end.

It was chosen for having no dependency of its own, a control socket that only its user can open, and a
format that people know from servers. What it lacks, an end of its programs when it is killed itself, each
program gets from ``tether``.
"""

import contextlib
import shlex
import signal
import socket
import subprocess
import sys
import time
import xmlrpc.client
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

from mvsqlite_stack.up import tether
from mvsqlite_stack.up.programs import Program, environment
from mvsqlite_stack.up.trial import Trial

STEADY_SECONDS = 5
"""A program that ends sooner did not start: the next try waits a second longer than the one before."""
TRIES = 60
"""With these waits half an hour; then it is given up until the next ``up``."""
STOP_SECONDS = 5
"""For a program to end by itself."""
ANSWER_SECONDS = 3.0
"""For supervisord to answer."""
LOG_BYTES = 2_000_000
SETTINGS = "supervisord.conf"
OF_SUPERVISOR = "supervisor"

_TETHER = (sys.executable, "-I", "-S", tether.__file__, "--")


@dataclass(frozen=True, slots=True)
class State:
    """What supervisord says of one program."""

    name: str
    state: str
    """STARTING, RUNNING, BACKOFF (waits for its next try), STOPPING, EXITED, FATAL (given up)..."""
    pid: int
    """0: none."""
    since: float
    """When it was started, in unix seconds."""
    note: str

    @property
    def up(self) -> bool:
        return self.state in ("STARTING", "RUNNING")


def write_settings(trial: Trial, programs: Sequence[Program]) -> Path:
    """Settings for supervisord, with what programs are told: for their owner alone."""
    text = _SERVER.format(run=_literal(trial.run), log=_literal(trial.log_of(OF_SUPERVISOR)))
    for order, program in enumerate(programs, 1):
        told = {**program.environment, tether.PROGRAM: program.name}
        text += _PROGRAM.format(
            name=program.name,
            command=_literal(shlex.join([*_TETHER, *program.command])),
            directory=_literal(program.directory),
            environment=",".join(f'{key}="{_literal(value)}"' for key, value in told.items()),
            order=order,
            log=_literal(trial.log_of(program.name)),
            steady=STEADY_SECONDS,
            tries=TRIES,
            stop=STOP_SECONDS,
            bytes=LOG_BYTES,
        )
    path = trial.run / SETTINGS
    path.touch(0o600)
    path.chmod(0o600)
    path.write_text(text)
    return path


def _literal(value: object) -> str:
    """% begins an expansion of supervisord's."""
    return str(value).replace("%", "%%")


_SERVER = """\
[supervisord]
nodaemon=true
silent=true
logfile={log}
logfile_maxbytes=1000000
logfile_backups=1
pidfile={run}/supervisord.pid
directory={run}
umask=077

[unix_http_server]
file={run}/supervisor.sock
chmod=0600

[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
"""

_PROGRAM = """
[program:{name}]
command={command}
directory={directory}
environment={environment}
priority={order}
startsecs={steady}
startretries={tries}
autorestart=true
stopwaitsecs={stop}
stopasgroup=true
killasgroup=true
redirect_stderr=true
stdout_logfile={log}
stdout_logfile_maxbytes={bytes}
stdout_logfile_backups=1
"""


class Supervisor:
    """The supervisord of a trial."""

    def __init__(self, trial: Trial) -> None:
        self._trial = trial
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *, detached: bool) -> None:
        """Starts it; unless detached, it ends when we end, however that comes."""
        words = [sys.executable, "-m", "supervisor.supervisord", "-n"]
        words += ["-c", str(self._trial.run / SETTINGS)]
        told = environment(self._trial) | {tether.PROGRAM: OF_SUPERVISOR}
        with self._trial.log_of(OF_SUPERVISOR).open("ab") as log:
            self._process = subprocess.Popen(
                words if detached else [*_TETHER, *words],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=told,
                cwd=self._trial.run,
                start_new_session=True,  # ^C in the terminal is for us: we stop all in order
            )

    def ended(self) -> bool:
        """Whether one that we started is gone."""
        return self._process is not None and self._process.poll() is not None

    def running(self) -> int | None:
        """The id of its process if one answers, whoever started it."""
        with contextlib.suppress(OSError, HTTPException, xmlrpc.client.Error):
            return int(self._ask("getPID"))
        return None

    def states(self) -> list[State] | None:
        """Of each program; None if no supervisord answers."""
        with contextlib.suppress(OSError, HTTPException, xmlrpc.client.Error):
            return [
                State(
                    one["name"],
                    one["statename"],
                    one["pid"],
                    one["start"],
                    one["spawnerr"] or one["description"],
                )
                for one in self._ask("getAllProcessInfo")
            ]
        return None

    def signal(self, program: str, name: str) -> None:
        """Sends a signal to a program; name: as HUP."""
        self._ask("signalProcess", program, name)

    def stop(self) -> bool:
        """Ends all in order, and what does not heed by force; whether there was anything to end."""
        process = self.running()
        if process is not None:
            tether.kill([process], signal.SIGTERM)
            self._wait(lambda: self._is_gone(process), 6 * STOP_SECONDS)
        swept = self.sweep()
        if self._process is not None:
            self._process.wait()
        return process is not None or swept > 0

    def sweep(self) -> int:
        """Ends what is left of a trial whose supervisord was killed; how many processes that was."""
        trial = str(self._trial.directory)
        found = list(tether.leftovers(trial))
        tether.kill(found, signal.SIGTERM)
        tether.kill(found, signal.SIGCONT)  # a stopped one heeds nothing before
        if not self._wait(lambda: self._none_left(trial), STOP_SECONDS if found else 0):
            tether.kill(tether.leftovers(trial), signal.SIGKILL)
            self._wait(lambda: self._none_left(trial), STOP_SECONDS)
        return len(found)

    def _is_gone(self, process: int) -> bool:
        self.ended()  # else our own child stays a zombie
        return process not in tether.leftovers(str(self._trial.directory), OF_SUPERVISOR)

    def _none_left(self, trial: str) -> bool:
        return next(tether.leftovers(trial), None) is None

    @staticmethod
    def _wait(condition: Callable[[], bool], seconds: float) -> bool:
        end = time.monotonic() + seconds
        while not (met := condition()) and time.monotonic() < end:
            time.sleep(0.05)
        return met

    def _ask(self, method: str, *arguments: object) -> Any:
        # The address is a matter of form: the transport knows the socket.
        with xmlrpc.client.ServerProxy("http://localhost", _Transport(self._trial.socket)) as server:
            return getattr(server.supervisor, method)(*arguments)


class _Transport(xmlrpc.client.Transport):
    """XML-RPC over a Unix socket; one that does not answer is given up, as a stopped process would not."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def make_connection(self, host: Any) -> HTTPConnection:
        self._connection = host, _Connection(self._path)
        return self._connection[1]


class _Connection(HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=ANSWER_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(ANSWER_SECONDS)
        self.sock.connect(str(self._path))


def last_lines(path: Path, count: int = 12) -> list[str]:
    """The end of a log."""
    with contextlib.suppress(OSError):
        return path.read_text(errors="replace").splitlines()[-count:]
    return []
