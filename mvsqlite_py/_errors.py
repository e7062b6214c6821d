"""The exceptions of this package: one tree, each also of apsw's and sqlite3's own kind.

``except mvsqlite_py.Error`` catches all of them; code written for ``sqlite3`` or ``apsw``
catches them under the names it knows.
"""

import sqlite3

import apsw


class Error(Exception):
    """Anything this package reports. ``code`` is the name of the native code, e.g. ``MV_BUSY``."""

    code = "MV_?"
    sqlite_errorcode: int
    """SQLite's extended result code, as on exceptions of ``sqlite3``."""
    sqlite_errorname: str


class BusyError(Error, apsw.BusyError, sqlite3.OperationalError):
    """Another connection of this host is writing to the database: try again."""


class ConflictError(BusyError):
    """Pages this transaction had seen were changed meanwhile: run it again."""


class ReadOnlyError(Error, apsw.ReadOnlyError, sqlite3.OperationalError):
    """A past state cannot be written."""


class DatabaseNotFoundError(Error, apsw.CantOpenError, sqlite3.OperationalError):
    """There is no database of that name."""


class DatabaseExistsError(Error, apsw.CantOpenError, sqlite3.OperationalError):
    """A database of that name exists already."""


class DatabaseDeletedError(Error, apsw.ReadOnlyError, sqlite3.OperationalError):
    """The database was deleted while it was open."""


class VersionNotFoundError(Error, apsw.CantOpenError, sqlite3.OperationalError):
    """The database has no such version, or none that early."""


class NameNotUsableError(Error, apsw.CantOpenError, sqlite3.OperationalError, ValueError):
    """Not a name a database can have."""


class MomentError(Error, apsw.CantOpenError, sqlite3.OperationalError, ValueError):
    """Not a moment that can be read, or one in the future."""


class CorruptError(Error, apsw.CorruptError, sqlite3.DatabaseError):
    """Stored data does not match its checksum or its index."""


class FormatError(Error, apsw.CantOpenError, sqlite3.OperationalError):
    """The store was written by a newer release."""


class EngineError(Error, apsw.IOError, sqlite3.OperationalError):
    """The engine below failed, or could not be reached in time."""


class StoreFullError(Error, apsw.FullError, sqlite3.OperationalError):
    """No space is left for the store."""


class OutOfMemoryError(Error, apsw.NoMemError, sqlite3.OperationalError, MemoryError):
    """Not enough memory."""


class StoreError(Error, apsw.CantOpenError, sqlite3.OperationalError):
    """The store cannot be opened at that address by this user."""


class MisuseError(Error, apsw.MisuseError, sqlite3.ProgrammingError, sqlite3.InterfaceError):
    """The call is not allowed in this state."""


class NotADatabaseError(Error, apsw.NotADBError, sqlite3.DatabaseError):
    """The file is no SQLite database."""


class UndoError(Error):
    """A version cannot be taken back as asked."""


BY_CODE: dict[str, type[Error]] = {
    "MV_BUSY": BusyError,
    "MV_CONFLICT": ConflictError,
    "MV_READONLY": ReadOnlyError,
    "MV_NOTFOUND": DatabaseNotFoundError,
    "MV_EXISTS": DatabaseExistsError,
    "MV_NOVERSION": VersionNotFoundError,
    "MV_NAME": NameNotUsableError,
    "MV_TIME": MomentError,
    "MV_CORRUPT": CorruptError,
    "MV_FORMAT": FormatError,
    "MV_IO": EngineError,
    "MV_FULL": StoreFullError,
    "MV_NOMEM": OutOfMemoryError,
    "MV_UNREACHABLE": EngineError,
    "MV_GONE": DatabaseDeletedError,
    "MV_MISUSE": MisuseError,
    "MV_PERM": StoreError,
    "MV_URL": StoreError,
    "MV_UNKNOWN": EngineError,
    "MV_FORKED": MisuseError,
    "MV_STALE": EngineError,
}
