"""``at``: a connection reads the past for the length of a block."""

import contextlib
import gc
import sqlite3
from collections.abc import Iterator
from typing import Any, TypeVar

import apsw

from mvsqlite_py import _binding
from mvsqlite_py._database import Moment, moment_text
from mvsqlite_py._errors import Error

Connection = TypeVar("Connection", bound=apsw.Connection | sqlite3.Connection)


@contextlib.contextmanager
def at(
    connection: Connection, moment: Moment | None = None, /, *, version: str | None = None
) -> Iterator[Connection]:
    """``with at(connection, "-1h"):`` the connection reads that moment, and in the end the present again.

    connection: to a database of a store, of ``mvsqlite_py.connect``, ``mvsqlite_py.dbapi`` or ``sqlite3``.
    moment: as for ``connect(at=)``; version: 20 hexadecimal digits, instead.
    Inside, the database is read-only, as it was at that moment whatever is committed meanwhile. Blocks may
    be nested: the inner one ends where the outer one reads. Cursors that still have rows are closed at the
    end, and a transaction begun inside is rolled back.
    Raises MisuseError in an open transaction and for a connection that is to no store, MomentError,
    VersionNotFoundError.
    """
    outer = pin(connection, moment, version)
    try:
        yield connection
    finally:
        unpin(connection, outer)


def pin(connection: Any, moment: Moment | None, version: str | None) -> str | None:
    """Lets a connection read the past; returns what :func:`unpin` needs to bring it back to where it is."""
    if (moment is None) == (version is None):
        raise ValueError("give a moment or version=")
    if connection.in_transaction:
        raise _binding.failure(
            "MV_MISUSE", "a transaction is open on this connection: commit or roll back before looking back"
        )
    outer = pinned_to(connection)
    if moment is not None and moment_text(moment).strip().lower() in ("now", ""):
        _move(connection, "now", None)  # the pragma's word for following the present, which is no pin
        moment, version = None, _ask(connection, "SELECT mv_version()")
        if version is None:
            raise _binding.failure("MV_NOVERSION", "the database has no version yet")
    _move(connection, moment, version)
    return outer


def unpin(connection: Any, outer: str | None) -> None:
    """Brings a connection back to the version it read before, or to the present (None)."""
    if is_closed(connection):
        return
    if connection.in_transaction:
        _run(connection, "ROLLBACK")
    try:
        _return(connection, outer)
    except Error:
        _close_cursors(connection)
        _return(connection, outer)


def pinned_to(connection: Any) -> str | None:
    """The version a connection is kept at; None where it follows the present, and where it is to no store."""
    return _ask(connection, "PRAGMA main.mv_pinned") or None


def _return(connection: Any, outer: str | None) -> None:
    _move(connection, None if outer else "now", outer)


def is_closed(connection: Any) -> bool:
    try:
        return connection.in_transaction is None
    except (apsw.ConnectionClosedError, sqlite3.ProgrammingError):
        return True


def _move(connection: Any, moment: Moment | None, version: str | None) -> None:
    """Pins to a moment or a version."""
    if version is not None:
        _binding.stamp_from_hex(version)
    value = version if version is not None else moment_text(moment)  # type: ignore[arg-type]
    text = value.replace("'", "''")
    _binding.clear_error()
    try:
        now = _ask(connection, f"PRAGMA main.{'mv_at' if version is None else 'mv_version'} = '{text}'")
    except (apsw.Error, sqlite3.Error) as error:
        raise (_binding.last_error() or error) from error
    if now is None:
        raise _binding.failure("MV_MISUSE", "the connection's main database is in no store: it has no past")


def _ask(connection: Any, question: str) -> Any:
    rows = _run(connection, question)
    return rows[0][0] if rows else None


def _run(connection: Any, sql: str) -> list[Any]:
    """Runs a statement by itself: no row factory of the application, no cursor of its own kind."""
    kind = apsw.Cursor if isinstance(connection, apsw.Connection) else sqlite3.Cursor
    return list(kind(connection).execute(sql))


def _close_cursors(connection: Any) -> None:
    """A statement that still has rows keeps SQLite in the past."""
    for thing in gc.get_objects():
        if issubclass(type(thing), apsw.Cursor | sqlite3.Cursor):
            with contextlib.suppress(apsw.CursorClosedError):
                if thing.connection is connection:
                    thing.close()
