"""Programs run as they are: on SQLite's own files, or with their databases routed into a store.

A scenario is a function of a ``Way`` and returns what its programs said. It is played on stock
SQLite first, which proves that the scenario is right, and then routed: both must say the same.
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import httpx
import pytest

import mvsqlite_py

PATIENCE_SECONDS = 60.0
"""How long to wait for what happens in milliseconds on a machine that does nothing else."""

STUB_SAYS = "this is not the data"
"""What plain SQLite says of a routed path."""

ABOVE = pytest.mark.lmdb_only(
    "of programs, which are tested with a cluster in test_gallery and test_python_programs"
)
"""A mark: the engine below makes no difference that other tests would not meet."""

Scenario = Callable[["Way"], object]
Play = Callable[[Scenario, Sequence[str]], None]


def need(*programs: str) -> pytest.MarkDecorator:
    """Skips a module's tests where a program is not installed."""
    absent = [each for each in programs if not (Path(each).exists() or shutil.which(each))]
    return pytest.mark.skipif(bool(absent), reason=f"not installed here: {', '.join(absent)}")


def command_line(program: str, *words: str) -> list[str]:
    """One of our commands, as a process of its own."""
    return [sys.executable, "-c", f"from mvsqlite_py._cli.{program} import main; main()", *words]


def wait_until(condition: Callable[[], object], what: str) -> None:
    """Returns when the condition is true; fails the test when it never is."""
    pause = threading.Event()
    for _ in range(int(PATIENCE_SECONDS / 0.02)):
        if condition():
            return
        pause.wait(0.02)
    pytest.fail(f"never happened: {what}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


class Way:
    """How programs are run, and what can be asked afterwards.

    routes: ``PATTERN=NAME`` as ``mvsqlite run --map`` takes them, below ``home``; none: stock SQLite.
    """

    def __init__(self, home: Path, store: str, routes: Sequence[str] = ()) -> None:
        home.mkdir()
        self.home = home.resolve()
        self.store = store
        self.routed = bool(routes)
        self._left: dict[str, str] = {}
        self.imports = False
        """Whether files that were there before are taken in."""
        self._maps = [word for route in routes for word in ("--map", f"{self.home}/{route}")]

    def words(self, *words: str | Path) -> list[str]:
        """The command that runs a command this way."""
        told = [str(word) for word in words]
        if not self.routed:
            return told
        options = ["--store", self.store, *self._maps, *(["--import"] if self.imports else [])]
        return command_line("mvsqlite", "run", *options, "--", *told)

    def _inherited(self) -> dict[str, str]:
        """What a shell under ``mvsqlite run`` gives its commands, found out once: many are short."""
        if self.routed and not self._left:
            bare = self.environment({})
            done = subprocess.run(
                self.words("env", "-0"), env=bare, capture_output=True, text=True, check=True, cwd=self.home
            )
            lines = [line.partition("=") for line in done.stdout.split("\0") if line]
            self._left = {name: value for name, _, value in lines if bare.get(name) != value}
            assert "LD_PRELOAD" in self._left
        return self._left

    def environment(self, more: dict[str, str]) -> dict[str, str]:
        apart = re.compile(r"MVSQLITE_(?!FDB_)|LD_PRELOAD$")
        ours = {name: value for name, value in os.environ.items() if not apart.match(name)}
        return ours | {"HOME": str(self.home), "LC_ALL": "C.UTF-8", "TZ": "UTC"} | more

    def run(self, *words: str | Path, status: int = 0, alone: bool = False, **more: str) -> str:
        """What a program prints on standard output, paths evened out.

        alone: without us, as if somebody had forgotten how the program is to be started; then what
        it prints on standard error belongs to the answer. more: variables of its environment.
        """
        done = subprocess.run(
            [str(word) for word in words],
            env=self.environment(more) | ({} if alone else self._inherited()),
            cwd=self.home,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if alone else subprocess.PIPE,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
        told = f"{' '.join(map(str, words))} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert (done.returncode != 0) if status < 0 else done.returncode == status, told
        return self.plain(done.stdout)

    def plain(self, text: str) -> str:
        return text.replace(str(self.home), "HOME")

    @contextmanager
    def serve(self, *words: str | Path, port: int = 0, alone: bool = False, **more: str) -> Iterator[Path]:
        """A server, stopped with all its children at the end; gives the file its output goes to.

        port: of 127.0.0.1, where it listens when it is ready.
        """
        log = self.home / f"{Path(str(words[0])).name}-{port}.log"
        with log.open("ab") as output:
            server = subprocess.Popen(
                [str(word) for word in words] if alone else self.words(*words),
                env=self.environment(more),
                cwd=self.home,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                if port:
                    wait_until(lambda: listens(port) or server.poll() is not None, f"{words} listens")
                    assert server.poll() is None, log.read_text(errors="replace")
                yield log
            finally:
                end(server)

    # ---- what only a routed database can answer ----

    def versions(self, database: str, statement: str) -> list[str]:
        """The versions whose statements hold this text, newest first."""
        with mvsqlite_py.open_store(self.store) as store:
            found = store.database(database).versions()
            return [one.version for one in found if statement in (one.statements or "")]

    def newest(self, database: str) -> str | None:
        """The version now; None on stock SQLite."""
        return self._all(database)[0] if self.routed else None

    def after(self, database: str, version: str | None) -> str:
        """The first version after that one."""
        every = self._all(database)
        return every[every.index(version or "") - 1]

    def _all(self, database: str) -> list[str]:
        with mvsqlite_py.open_store(self.store) as store:
            return [one.version for one in store.database(database).versions()]

    def undo(self, database: str, *selection: str) -> None:
        """Takes commits back with the command, as somebody at the same machine would."""
        self.command("mvrevert", "undo", database, *selection, "--yes")

    def verify(self) -> None:
        """Reads everything the store has, and runs SQLite's own check on the newest states."""
        self.command("mvsqlite", "verify")
        with mvsqlite_py.open_store(self.store) as store:
            for entry in store.list():
                with closing(mvsqlite_py.connect(entry.name, store=self.store)) as connection:
                    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)], entry.name

    def command(self, program: str, *words: str) -> str:
        done = subprocess.run(
            command_line(program, *words, "--store", self.store),
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
        assert done.returncode == 0, f"{program} {words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout


def end(server: subprocess.Popen[bytes]) -> None:
    """Stops a process and whatever it started in its group, and waits for it."""
    for how in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(server.pid, how)
        with suppress(subprocess.TimeoutExpired):
            server.wait(timeout=10)
            break
    with suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGKILL)


def client(port: int) -> httpx.Client:
    """Talks to a server here, one connection a request."""
    return httpx.Client(
        base_url=f"http://127.0.0.1:{port}",
        headers={"Accept": "application/json", "Connection": "close"},
        timeout=PATIENCE_SECONDS,
        trust_env=False,
    )
