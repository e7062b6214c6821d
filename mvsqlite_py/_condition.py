"""Rows chosen by a condition in SQL, as they were in past states. Nothing it says can write."""

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

import apsw

from mvsqlite_py._database import Database
from mvsqlite_py._errors import UndoError
from mvsqlite_py._rows import Change, Pair, Row
from mvsqlite_py._schema import Table, quoted

READING = {apsw.SQLITE_SELECT, apsw.SQLITE_READ, apsw.SQLITE_FUNCTION, apsw.SQLITE_RECURSIVE}


def _only_reading(action: int, *_: str | None) -> int:
    return apsw.SQLITE_OK if action in READING else apsw.SQLITE_DENY


@contextlib.contextmanager
def reader(database: Database, version: str | None) -> Iterator[apsw.Connection | None]:
    """A connection to a state on which only SELECT is allowed; None for the empty one."""
    if version is None:
        yield None
        return
    connection = database.connect(version=version)
    try:
        connection.config(apsw.SQLITE_DBCONFIG_DQS_DML, 0)  # a name that is no column is an error, not a text
        connection.authorizer = _only_reading
        yield connection
    finally:
        connection.close(True)


class Condition:
    """An expression over the columns of a table, asked of single rows of one state."""

    def __init__(self, connection: apsw.Connection, table: Table, text: str) -> None:
        self._connection = connection
        self._table = table
        self._text = text
        self._asked = f"SELECT CASE WHEN ({text}\n) THEN 1 ELSE 0 END FROM main.{quoted(table.name)} WHERE "
        self._ask("0", ())

    def _ask(self, where: str, values: Row) -> bool:
        try:
            return self._connection.execute(self._asked + where, values).fetchone() == (1,)
        except apsw.AuthError as error:
            raise UndoError(f"the condition may only read: {self._text}") from error
        except (apsw.SQLError, apsw.BindingsError) as error:
            raise UndoError(
                f'the condition does not fit the table "{self._table.name}": {error}. '
                "If it is for other tables, name those"
            ) from error

    def holds(self, pair: Pair, row: Row) -> bool:
        """Whether the row of that key meets the condition in this state."""
        table, key = self._table, pair.key_of(row)
        if table.rowid and (table.rowid_is_key or key[0] is None):
            return self._ask(f"{quoted(table.rowid)} = ?", (row[0],))
        return self._ask(" AND ".join(f"{quoted(name)} = ?" for name in pair.key), key)


def chosen(
    pair: Pair,
    changes: Iterable[Change],
    readers: tuple[apsw.Connection | None, apsw.Connection | None],
    text: str,
) -> Iterator[Change]:
    """The changes of rows that meet the condition in the state before or in the one after."""
    sides: list[Any] = [
        Condition(connection, table, text) if connection and table else None
        for connection, table in zip(readers, (pair.before, pair.after), strict=True)
    ]
    for change in changes:
        rows = (change.before, change.after)
        if any(side and row and side.holds(pair, row) for side, row in zip(sides, rows, strict=True)):
            yield change
