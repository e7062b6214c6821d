"""Work in a forked child, which may become another user."""

import os
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import mvsqlite_py

NOBODY = 65534

needs_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")


def in_child(work: Callable[[], object], user: int | None = None) -> str:
    """What the work says in the child, or its error; None: as the same user."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            if user is not None:
                os.setgroups([])
                os.setgid(user)
                os.setuid(user)
            said = str(work())
        except (mvsqlite_py.Error, OSError) as error:
            said = f"{type(error).__name__}: {error}"
        except BaseException:
            said = traceback.format_exc()
        os.write(write, said.encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        said = pipe.read()
    assert os.waitpid(child, 0)[1] == 0
    return said


@contextmanager
def open_to_everyone() -> Iterator[Path]:
    """A directory every user can reach, unlike those of tests."""
    with tempfile.TemporaryDirectory(prefix="mvsqlite-") as directory:
        Path(directory).chmod(0o755)
        yield Path(directory)
