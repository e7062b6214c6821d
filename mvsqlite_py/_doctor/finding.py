"""What was found, and the way out."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Level = Literal["ok", "warning", "wrong"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at."""

    level: Level
    about: str
    """What was looked at, in a word or two; the same in every release, for programs."""
    what: str
    """A sentence without a full stop."""
    remedy: str = ""
    """The way out; empty if all is well."""


def fine(about: str, what: str) -> Finding:
    return Finding("ok", about, what)


def warning(about: str, what: str, remedy: str) -> Finding:
    return Finding("warning", about, what, remedy)


def wrong(about: str, what: str, remedy: str) -> Finding:
    return Finding("wrong", about, what, remedy)


@dataclass(frozen=True, slots=True)
class Process:
    """A process of this machine."""

    pid: int
    name: str
    state: str
    """As ``ps`` says it: R, S, D, T (stopped), Z (dead, not yet collected)."""

    def __str__(self) -> str:
        return f"process {self.pid} ({self.name})"

    @property
    def stopped(self) -> bool:
        return self.state in ("T", "t")


def read_process(pid: int) -> Process | None:
    """None: there is no such process, or not in this container."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    return parse_process(pid, text)


def parse_process(pid: int, text: str) -> Process:
    """Reads /proc/PID/stat; the name in parentheses may hold anything."""
    begin, end = text.index("("), text.rindex(")")
    return Process(pid, text[begin + 1 : end], text[end + 2 : end + 3])


def way_on(process: Process) -> str:
    """What to do about a process that is stopped."""
    return f"let it go on with `kill -CONT {process.pid}`, or end it with `kill -KILL {process.pid}`"
