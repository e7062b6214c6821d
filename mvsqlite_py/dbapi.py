"""PEP 249 with the standard library's ``sqlite3`` over a store: put it where ``sqlite3`` was.

Whatever ``sqlite3`` has is here too. ``connect`` takes a database's name instead of a path; where a
file name means something else to SQLite, it means the same here: ``:memory:`` and the empty name are
SQLite's own, and a ``file:`` URI keeps what it says.
"""

import sqlite3
from sqlite3 import *  # noqa: F403
from typing import Any

from mvsqlite_py._sqlite3 import Connection, connect  # type: ignore[no-redef]  # noqa: F401

__all__ = [name for name in dir(sqlite3) if not name.startswith("_")]


def __getattr__(name: str) -> Any:
    """What ``sqlite3`` makes only when it is asked for, such as names that it is about to drop."""
    return getattr(sqlite3, name)
