"""Whether the routes took effect: a short-lived process beside the program looks.

The router leaves a file, the witness, when it is asked for the first routed path. An ordinary
SQLite file that appears or changes at a routed path before that says that the program's SQLite
does not know of us.
"""

import contextlib
import glob
import os
import re
import select
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from mvsqlite_py import _routes
from mvsqlite_py._run.plan import Plan, unescape
from mvsqlite_py._run.program import HEADER

WATCH_SECONDS = 60.0
LOOK_SECONDS = 0.5
FILES_AT_MOST = 5000
"""So many files are looked at each time."""

Seen = dict[Path, tuple[int, int]]
"""Ordinary SQLite files at routed paths: when they were changed, and their sizes."""


def _candidates(pattern: str) -> Iterator[Path]:
    """Files that a pattern may match."""
    if "**" in pattern:
        base = Path(unescape(pattern.split("*", 1)[0]).rpartition("/")[0] or "/")
        for directory, _, names in os.walk(base):
            yield from (Path(directory, name) for name in names)
    else:
        # glob knows no backslashes: what they protect is looked at more widely
        widened = re.sub(r"\\.", "?", pattern)
        yield from map(Path, glob.iglob(widened, include_hidden=True))  # noqa: PTH207


def ordinary_files(plan: Plan) -> Seen:
    """The ordinary SQLite files that stand at routed paths now."""
    seen: Seen = {}
    for pattern in plan.routes:
        for count, path in enumerate(_candidates(pattern)):
            if count == FILES_AT_MOST:
                break
            with contextlib.suppress(OSError, ValueError):
                if path not in seen and is_ordinary(path) and _routes.name_of(plan.map, path) is not None:
                    status = path.stat()
                    seen[path] = (status.st_mtime_ns, status.st_size)
    return seen


def is_ordinary(path: Path) -> bool:
    """Whether a SQLite file stands there that is not a stub."""
    if not path.is_file():
        return False
    with path.open("rb") as content:
        return content.read(len(HEADER)) == HEADER and not _routes.is_stub(path)


def changed(before: Seen, now: Seen) -> Path | None:
    """A file that was written or made in between."""
    return next((path for path, state in now.items() if before.get(path) != state), None)


def verdict(path: Path, command: str) -> str:
    return (
        f"mvsqlite run: {path} was written as an ordinary file, so {command} goes past mvsqlite: nothing "
        "that it writes there is kept in the store. It brings a SQLite of its own along, or started a "
        "program that does, or one without LD_PRELOAD in its environment; mvsqlite run --check says what can "
        "be told before"
    )


def start(plan: Plan, command: str) -> Path | None:
    """Starts the watcher of this process, which is about to become the program.

    Returns the path for ``MVSQLITE_WITNESS``; None: there is no watcher, for a first process of a
    container would find it among its own children.
    """
    if os.getpid() == 1 or not hasattr(os, "pidfd_open"):
        return None
    place = Path(tempfile.mkdtemp(prefix="mvsqlite-run-"))
    place.chmod(0o1733)  # the program may run as another user
    watched = os.pidfd_open(os.getpid())
    before = ordinary_files(plan)
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        os.close(watched)
        return place / "witness"
    try:
        os.setsid()
        if os.fork() == 0:
            _hush()
            _watch(plan, command, place, watched, before)
    finally:
        os._exit(0)


def _hush() -> None:
    """Keeps nothing open that somebody may wait for the end of, but standard error."""
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    os.chdir("/")


def _watch(plan: Plan, command: str, place: Path, watched: int, before: Seen) -> None:
    poll = select.poll()
    poll.register(watched, select.POLLIN)
    looks = int(WATCH_SECONDS / LOOK_SECONDS)
    try:
        for _ in range(looks):
            ended = bool(poll.poll(LOOK_SECONDS * 1000))
            if (place / "witness").exists():
                return
            path = changed(before, ordinary_files(plan))
            if path is not None and not (place / "witness").exists():
                os.write(2, f"{verdict(path, command)}\n".encode())
                return
            if ended:
                return
    finally:
        shutil.rmtree(place, ignore_errors=True)
