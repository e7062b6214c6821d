"""PEP 249 with the standard library's ``sqlite3`` over a store: put it where ``sqlite3`` was.

Whatever ``sqlite3`` has is here too. ``connect`` takes a database's name instead of a path; where a
file name means something else to SQLite, it means the same here: ``:memory:`` and the empty name are
SQLite's own, and a ``file:`` URI keeps what it says.
"""

import sqlite3
from sqlite3 import (
    PARSE_COLNAMES,
    PARSE_DECLTYPES,
    Binary,
    Blob,
    Cursor,
    DatabaseError,
    DataError,
    Date,
    DateFromTicks,
    Error,
    IntegrityError,
    InterfaceError,
    InternalError,
    NotSupportedError,
    OperationalError,
    PrepareProtocol,
    ProgrammingError,
    Row,
    Time,
    TimeFromTicks,
    TimestampFromTicks,
    Warning,
    adapt,
    apilevel,
    complete_statement,
    enable_callback_tracebacks,
    paramstyle,
    register_adapter,
    register_converter,
    sqlite_version,
    sqlite_version_info,
    threadsafety,
)
from sqlite3.dbapi2 import Timestamp
from typing import Any

from mvsqlite_py._sqlite3 import Connection, connect

__all__ = [
    "PARSE_COLNAMES",
    "PARSE_DECLTYPES",
    "Binary",
    "Blob",
    "Connection",
    "Cursor",
    "DataError",
    "DatabaseError",
    "Date",
    "DateFromTicks",
    "Error",
    "IntegrityError",
    "InterfaceError",
    "InternalError",
    "NotSupportedError",
    "OperationalError",
    "PrepareProtocol",
    "ProgrammingError",
    "Row",
    "Time",
    "TimeFromTicks",
    "Timestamp",
    "TimestampFromTicks",
    "Warning",
    "adapt",
    "apilevel",
    "complete_statement",
    "connect",
    "enable_callback_tracebacks",
    "paramstyle",
    "register_adapter",
    "register_converter",
    "sqlite_version",
    "sqlite_version_info",
    "threadsafety",
]

# The constants, and whatever else this Python's sqlite3 has.
_rest = {name: thing for name, thing in vars(sqlite3).items() if not name.startswith("_")}
globals().update({name: thing for name, thing in _rest.items() if name not in globals()})
__all__ += sorted(_rest.keys() - set(__all__))  # noqa: PLE0605


def __getattr__(name: str) -> Any:
    """What ``sqlite3`` makes only when it is asked for, such as names that it is about to drop."""
    return getattr(sqlite3, name)
