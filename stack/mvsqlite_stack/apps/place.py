"""An app's databases, where this machine can reach them."""

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mvsqlite_py import Store, open_store
from mvsqlite_stack.errors import fail
from mvsqlite_stack.model import Stack
from mvsqlite_stack.render.layout import Layout

LOCAL = ("localhost", "127.0.0.1", "::1")


def is_here(stack: Stack, app: str) -> bool:
    """Whether this machine is the one that an app runs on, as far as can be told."""
    one = stack.apps[app].on
    names = (*LOCAL, platform.node(), platform.node().partition(".")[0])
    return stack.hosts[one].address in names


def directory_of(url: str) -> Path | None:
    """Where an embedded store lies; None: it is none."""
    scheme, _, rest = url.partition(":")
    return Path(rest.partition("?")[0]) if scheme == "lmdb" else None


@contextmanager
def store_of(stack: Stack, app: str, layout: Layout, file: Path) -> Iterator[Store | None]:
    """An app's store, opened as the user it belongs to; None: there is none yet. Raises StackError."""
    url = stack.store_of(app, layout.state)
    directory = directory_of(url)
    if directory is not None and not (directory / "data.mdb").exists():
        if not is_here(stack, app):
            where = stack.apps[app].on
            raise fail(file, f"its databases are on {where!r}, in {directory}", "Run this command there")
        yield None
        return
    with _owner(directory), open_store(url) as store:
        yield store


@contextmanager
def _owner(directory: Path | None) -> Iterator[None]:
    """Root becomes the owner of a store for the length of a block: what it makes there must be theirs."""
    if directory is None or os.geteuid() != 0:
        yield
        return
    status = (directory / "data.mdb").stat()
    if status.st_uid == 0:
        yield
        return
    group = os.getegid()
    os.setegid(status.st_gid)
    os.seteuid(status.st_uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(group)
