"""Starts a program that ends with whoever started it: ``tether.py -- PROGRAM ARGUMENT...``

The kernel sends it SIGTERM when its parent has died, however that came. What is left of an earlier life of
the same program is killed first, for it would hold the port. Run by path with ``python -I -S``: it imports
nothing but the standard library, and is gone as soon as the program begins.
"""

import ctypes
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

TRIAL = "MVSTACK_TRIAL"
"""In the environment of every process of a trial: its directory."""
PROGRAM = "MVSTACK_PROGRAM"
"""In the same: the part that it belongs to."""
REWRITES_ITSELF = "nginx"
"""Writes its title over its environment; it is known by its working directory, which nobody else has."""

_PR_SET_PDEATHSIG = 1


def leftovers(trial: str, program: str | None = None) -> Iterator[int]:
    """Ids of our own processes that belong to a trial, or to one part of it; this one excepted."""
    wanted = {f"{TRIAL}={trial}".encode()} | ({f"{PROGRAM}={program}".encode()} if program else set())
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal() or int(entry.name) == os.getpid():
            continue
        try:
            if entry.stat().st_uid == os.geteuid() and (
                wanted <= set((entry / "environ").read_bytes().split(b"\0"))
                or _is_gateway(entry, trial, program)
            ):
                yield int(entry.name)
        except OSError:  # it has ended, or is not ours to look at
            continue


def _is_gateway(entry: Path, trial: str, program: str | None) -> bool:
    if program not in (None, "gateway") or (entry / "comm").read_text().strip() != REWRITES_ITSELF:
        return False
    where = (entry / "cwd").readlink()
    return where.is_relative_to(trial) and where != Path(trial)


def kill(processes: Iterator[int] | list[int], how: signal.Signals) -> None:
    """Sends a signal to each that is still there."""
    for one in processes:
        try:
            os.kill(one, how)
        except ProcessLookupError:
            continue


def main() -> None:
    """Becomes the program."""
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0) != 0:
        sys.exit(f"prctl: {os.strerror(ctypes.get_errno())}")
    trial, program = os.environ.get(TRIAL), os.environ.get(PROGRAM)
    if trial and program:
        kill(list(leftovers(trial, program)), signal.SIGKILL)
    words = sys.argv[sys.argv.index("--") + 1 :]
    try:
        os.execvp(words[0], words)
    except OSError as error:
        sys.exit(f"{words[0]}: {error.strerror}")


if __name__ == "__main__":
    main()
