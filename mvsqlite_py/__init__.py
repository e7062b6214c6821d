"""SQLite whose every commit is kept.

>>> import mvsqlite_py                                    # doctest: +SKIP
>>> db = mvsqlite_py.connect("notes.db")                  # an apsw.Connection
>>> db.execute("DELETE FROM notes")                       # oh no
>>> mvsqlite_py.open_store().database("notes.db").revert(at="-5m")
"""

from mvsqlite_py._blame import Blame
from mvsqlite_py._connections import connect, uri
from mvsqlite_py._copy import Copied
from mvsqlite_py._database import Database, DayUsage, Snapshot, Usage, Verification, Version
from mvsqlite_py._errors import (
    BusyError,
    ConflictError,
    CorruptError,
    DatabaseDeletedError,
    DatabaseExistsError,
    DatabaseNotFoundError,
    EngineError,
    Error,
    FormatError,
    MisuseError,
    MomentError,
    NameNotUsableError,
    NotADatabaseError,
    OutOfMemoryError,
    ReadOnlyError,
    StoreError,
    StoreFullError,
    UndoError,
    VersionNotFoundError,
)
from mvsqlite_py._ledger import Untouched
from mvsqlite_py._past import at
from mvsqlite_py._retention import Dropped, GcReport, Policy
from mvsqlite_py._rows import Diff, RowChange, RowCounts, SchemaChange
from mvsqlite_py._store import DatabaseInfo, Store, default_url, open_store
from mvsqlite_py._undo import UndoReport
from mvsqlite_py._vfs import VFS, VFSFile

__all__ = [
    "VFS",
    "Blame",
    "BusyError",
    "ConflictError",
    "Copied",
    "CorruptError",
    "Database",
    "DatabaseDeletedError",
    "DatabaseExistsError",
    "DatabaseInfo",
    "DatabaseNotFoundError",
    "DayUsage",
    "Diff",
    "Dropped",
    "EngineError",
    "Error",
    "FormatError",
    "GcReport",
    "MisuseError",
    "MomentError",
    "NameNotUsableError",
    "NotADatabaseError",
    "OutOfMemoryError",
    "Policy",
    "ReadOnlyError",
    "RowChange",
    "RowCounts",
    "SchemaChange",
    "Snapshot",
    "Store",
    "StoreError",
    "StoreFullError",
    "UndoError",
    "UndoReport",
    "Untouched",
    "Usage",
    "VFSFile",
    "Verification",
    "Version",
    "VersionNotFoundError",
    "at",
    "connect",
    "default_url",
    "open_store",
    "uri",
]
