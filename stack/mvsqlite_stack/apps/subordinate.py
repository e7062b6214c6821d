"""From which numbers containers get users of their own: what podman wants to find on a host."""

import fcntl
import re
from pathlib import Path

FILES = (Path("/etc/subuid"), Path("/etc/subgid"))
LINE = "containers:2147483647:2147483648"
"""The upper half, which users of the host do not have."""


def missing() -> list[Path]:
    """The files that do not say it."""
    return [file for file in FILES if not (file.is_file() and _says(file.read_text()))]


def make() -> None:
    """Adds a line where there is none; others stay as they are."""
    for path in FILES:
        with path.open("a+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            text = file.read()
            if not _says(text):
                file.write(f"{LINE}\n" if not text or text.endswith("\n") else f"\n{LINE}\n")


def _says(text: str) -> bool:
    return re.search(r"^containers:", text, re.MULTILINE) is not None


if __name__ == "__main__":
    make()
