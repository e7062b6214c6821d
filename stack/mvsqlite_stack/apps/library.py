"""A directory with our libraries and those that they need, for containers to look into.

A container has its own system libraries, and what ours are linked to is seldom among them. The directory is
made from this package and from the host's libraries; one that holds the same already is left as it is.
"""

import fcntl
import filecmp
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import mvsqlite_py
from mvsqlite_stack.render.containers import NEEDED

PACKAGE = Path(mvsqlite_py.__file__).parent
OURS = ("libmvsqlite.so", "libmvsqlite_preload.so")


def make(target: Path) -> bool:
    """Makes the directory; whether anything had to be done. Raises OSError if a library is not found."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with (target.parent / f".{target.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as place:
            new, old = Path(place, "new"), Path(place, "old")
            _fill(new)
            if _same(new, target):
                return False
            if target.exists() or target.is_symlink():
                target.rename(old)  # who looks into it goes on doing so
            new.rename(target)
    return True


def _fill(directory: Path) -> None:
    directory.mkdir(mode=0o755)
    directory.chmod(0o755)
    for name in OURS:
        shutil.copyfile(PACKAGE / name, directory / name)
    shutil.copytree(PACKAGE / "node", directory / "node", copy_function=shutil.copyfile)
    found = _needed()
    for name in NEEDED:
        shutil.copyfile(found[name], directory / name)
    for path in directory.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)


def _needed() -> dict[str, Path]:
    """Where the dynamic linker finds what ours need."""
    command = ["ldd", str(PACKAGE / OURS[0])]
    bare = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    told = subprocess.run(command, capture_output=True, text=True, check=True, env=bare).stdout
    parts = [line.split() for line in told.splitlines() if "=> /" in line]
    found = {words[0]: Path(words[2]) for words in parts}
    missing = [name for name in NEEDED if name not in found]
    if missing:
        raise FileNotFoundError(f"{PACKAGE / OURS[0]} needs {missing[0]}, which is not found")
    return found


def _same(one: Path, other: Path) -> bool:
    names, others = ({str(path.relative_to(top)) for path in top.rglob("*")} for top in (one, other))
    files = [name for name in names if (one / name).is_file()]
    return names == others and not any(filecmp.cmpfiles(one, other, files, shallow=False)[1:])


if __name__ == "__main__":
    make(Path(sys.argv[1]))
