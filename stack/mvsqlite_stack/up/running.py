"""The life of a trial: making it ready, starting it, watching over it, ending it."""

import fcntl
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from mvsqlite_stack import render
from mvsqlite_stack.errors import StackError, fail
from mvsqlite_stack.model import Stack
from mvsqlite_stack.plan import compare, files_in, perform
from mvsqlite_stack.signin.keys import SIGNING
from mvsqlite_stack.up import authority, health, supervision, trial, users
from mvsqlite_stack.up.programs import Program, inner_ports, not_run, programs
from mvsqlite_stack.up.supervision import State, Supervisor
from mvsqlite_stack.up.trial import Trial

START_SECONDS = 60.0
"""For all programs to answer."""
POLL_SECONDS = 0.1
WATCH_SECONDS = 1.0
DIRECTORIES = ("run", "log", "etc", "store", "lib")


class AlreadyRunsError(Exception):
    """It was started before."""


class StoppedError(Exception):
    """We were told to stop."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a start needs, and what is to be told about it."""

    trial: Trial
    declared: Stack
    here: Stack
    programs: list[Program]
    certificates: authority.Made
    passwords: dict[str, str]
    """Of users that were added now."""

    @property
    def not_run(self) -> dict[str, str]:
        """Apps that are declared and not run here, and why."""
        return not_run(self.trial, self.here)


def prepare(place: Trial, https: int | None, http: int | None) -> Prepared:
    """Ends what an earlier trial here left, and writes all that the programs need. Raises StackError."""
    trial.nginx()
    Supervisor(place).sweep()
    trial.declare(place, https, http)
    declared, here = trial.read(place, https, http)
    trial.check_ports(place, here, inner_ports(place, here))
    hosts = [here.sign_in_host, here.status_host, *map(here.host_of, here.apps)]
    certificates = authority.ensure(place.directory, here.domain, hosts)
    place.secrets.create(here)
    _write_rendered(place, here)
    _link_keys(place)
    found = programs(place, here)
    for program in found:
        program.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    supervision.write_settings(place, found)
    added = users.create(place, here)
    return Prepared(place, declared, here, found, certificates, added)


def _write_rendered(place: Trial, here: Stack) -> None:
    """What a machine would get below /etc/mvstack; units are systemd's, which is stood in for."""
    layout = place.layout
    written = render.files(here, place.secrets.public_keys(), place.declaration.name, layout)
    own = {path: text for path, text in written.items() if "/systemd/" not in path}
    there = [f"{here.gateway_host}/{path}" for path in files_in(Path(layout.settings))]
    perform(compare(own, lambda path: Path(layout.place(path)), there))


def _link_keys(place: Trial) -> None:
    """The service's keys are those of the secrets directory, so that a rotation there is one here."""
    keys = Path(place.layout.keys)
    keys.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not (keys / SIGNING).exists():
        keys.unlink(missing_ok=True)
        keys.symlink_to(place.secrets.directory / "signin/keys")


@contextmanager
def only_one(place: Trial) -> Iterator[None]:
    """Makes the directories, and holds them for ourselves. Raises AlreadyRunsError, StackError."""
    try:
        place.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        for name in DIRECTORIES:
            (place.directory / name).mkdir(exist_ok=True, mode=0o700)
        lock = (place.run / "lock").open("w")
    except OSError as error:
        what = error.strerror or "it cannot be made"
        raise fail(place.directory, what, "Choose a directory that you can write to") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyRunsError from None
        if Supervisor(place).running():
            raise AlreadyRunsError
        yield


class Stop:
    """Whether we were told to stop: ^C, SIGTERM, or the terminal is gone."""

    def __init__(self) -> None:
        self._event = threading.Event()
        for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(one, self._told)

    def _told(self, _number: int, _frame: FrameType | None) -> None:
        self._event.set()

    def wait(self, seconds: float) -> bool:
        return self._event.wait(seconds)


def start(prepared: Prepared, supervisor: Supervisor, stop: Stop, *, detached: bool) -> None:
    """Starts all, and waits until all answer. Raises StackError if one does not, StoppedError."""
    supervisor.start(detached=detached)
    end = time.monotonic() + START_SECONDS
    waiting = list(prepared.programs)
    while waiting:
        if stop.wait(POLL_SECONDS):
            raise StoppedError
        states = supervisor.states()
        if supervisor.ended():
            raise _did_not_start(prepared.trial, supervision.OF_SUPERVISOR, "the supervisor ended")
        for state in states or []:
            if state.state in ("BACKOFF", "EXITED", "FATAL"):
                raise _did_not_start(prepared.trial, state.name, state.note)
        waiting = [one for one in waiting if not health.answers(one)]
        if waiting and time.monotonic() > end:
            what = f"it did not answer on port {waiting[0].port} in {START_SECONDS:.0f} s"
            raise _did_not_start(prepared.trial, waiting[0].name, what)
    here = prepared.here
    status = health.visit(here.sign_in_host, here.ports.https, prepared.certificates.authority, "/healthz")
    if status != 200:
        what = f"a visitor to {here.sign_in_host} gets no page through it ({status or 'no answer'})"
        raise _did_not_start(prepared.trial, "gateway", what)


def _did_not_start(place: Trial, program: str, what: str) -> StackError:
    log = place.log_of(program)
    lines = [f"    {line}" for line in supervision.last_lines(log)]
    said = ":\n" + "\n".join(lines) + "\n  Correct that" if lines else ", which is empty"
    return fail(Path(program), f"does not start: {what}", f"Its log is {log}{said}")


def watch(supervisor: Supervisor, stop: Stop, tell: Callable[[State], None]) -> bool:
    """Until we are told to stop (True) or the supervisor has ended (False).

    tell: is given a program that ended, one that runs again, one that is given up.
    """
    known = {one.name: one for one in supervisor.states() or []}
    while not stop.wait(WATCH_SECONDS):
        if supervisor.ended():
            return False
        for one in supervisor.states() or []:
            before = known.get(one.name, one)
            known[one.name] = one
            if one.state == "BACKOFF" and before.state == "BACKOFF":
                continue
            if (one.state, one.pid) != (before.state, before.pid) and not (one.up and one.pid == before.pid):
                tell(one)
    return True


def down(place: Trial) -> bool:
    """Ends a trial, whoever started it; whether anything ran."""
    ran = Supervisor(place).stop()
    with suppress(FileNotFoundError):
        place.socket.unlink()
    return ran
