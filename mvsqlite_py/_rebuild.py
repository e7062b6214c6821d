"""Gives a table the columns and constraints it had, by making it anew and moving its rows over.

SQLite's own ALTER TABLE cannot put a dropped column back in its place, nor a constraint. The rows of
the present move over in what both forms have; what only the old form had comes from the state before.
"""

from collections.abc import Iterable, Iterator
from itertools import groupby, islice

import apsw

from mvsqlite_py._rows import BEFORE, Pair, Row
from mvsqlite_py._schema import Table, fold, quoted, read_schema

MOVED_AWAY = "mv_moved_away"
"""The name of the table in its present form while its rows move."""
BATCH_ROWS = 1000


def common(old: Table, new: Table) -> tuple[str, ...]:
    """The columns that both forms of a table have, by the old names and in the old order."""
    there = {fold(name) for name in new.names}
    return tuple(name for name in old.names if fold(name) in there)


def can_rebuild(old: Table, new: Table) -> bool:
    """Whether rows of one form can be found in the other."""
    same_key = [*map(fold, old.key)] == [*map(fold, new.key)] and old.rowid_is_key == new.rowid_is_key
    return not old.virtual and not new.virtual and same_key


def rebuild(connection: apsw.Connection, past: apsw.Connection, old: Table, there: Table) -> None:
    """Makes the table ``there`` of ``main`` as ``old`` was; ``past`` has the state before attached.

    Indexes and triggers stay as they are now. Raises apsw.SQLError, apsw.ConstraintError; the
    caller rolls back then.
    """
    objects = read_schema(connection, "main").objects
    hanging = [
        (kind, one.sql)
        for (kind, _), one in sorted(objects.items())
        if fold(one.table) == fold(there.name) and kind in ("index", "trigger") and one.sql
    ]
    sequence = _sequence(connection, there.name)
    # Views, triggers and references of other tables must go on to mean the new table.
    connection.config(apsw.SQLITE_DBCONFIG_LEGACY_ALTER_TABLE, 1)
    try:
        connection.execute(f"ALTER TABLE main.{quoted(there.name)} RENAME TO {MOVED_AWAY}")
    finally:
        connection.config(apsw.SQLITE_DBCONFIG_LEGACY_ALTER_TABLE, 0)
    connection.execute(old.sql)
    for columns, rows in _rows(connection, past, old, there):
        marks = ", ".join("?" * len(columns))
        sql = f"INSERT INTO main.{quoted(old.name)} ({', '.join(map(quoted, columns))}) VALUES ({marks})"
        connection.executemany(sql, rows)
    connection.execute(f"DROP TABLE main.{MOVED_AWAY}")
    for _, sql in hanging:
        connection.execute(sql)
    if sequence is not None and _sequence(connection, old.name) is not None:
        connection.execute("UPDATE main.sqlite_sequence SET seq = ? WHERE name = ?", (sequence, old.name))


def _sequence(connection: apsw.Connection, table: str) -> int | None:
    if ("table", "sqlite_sequence") not in read_schema(connection, "main").objects:
        return None
    sql = "SELECT seq FROM main.sqlite_sequence WHERE name = ?"
    found: tuple[int] | None = connection.execute(sql, (table,)).fetchone()
    return found and found[0]


def _rows(
    connection: apsw.Connection, past: apsw.Connection, old: Table, there: Table
) -> Iterator[tuple[list[str], Iterable[Row]]]:
    """The rows to be written, in batches of the same columns."""
    both = common(old, there)
    lost = [name for name in old.names if name not in both]
    hidden = [old.rowid] if old.rowid and not (old.rowid_is_key and old.key) and there.rowid else []
    rowid = quoted(there.rowid) if there.rowid else "NULL"
    select = f"SELECT {', '.join([rowid, *map(quoted, both)])} FROM main.{MOVED_AWAY}"
    moved = (
        (row if hidden else row[1:], past_row(past, old, both, row, lost) if lost else ())
        for row in connection.execute(select)
    )
    for whole, group in groupby(moved, key=lambda pair: pair[1] is not None):
        columns = [*hidden, *both, *(lost if whole else [])]
        while batch := [(*row, *(more or ())) for row, more in islice(group, BATCH_ROWS)]:
            yield columns, batch


def past_row(
    past: apsw.Connection, table: Table, known: Iterable[str], row: Row, wanted: Iterable[str]
) -> Row | None:
    """What a row had in some columns in the state before; None if it was not there.

    known: the columns of ``row``, after its rowid.
    """
    key = Pair(table.name, table, table, tuple(known)).key_of(row)
    if table.rowid and (table.rowid_is_key or key[0] is None):
        where, key = f"{quoted(table.rowid)} = ?", (row[0],)
    else:
        where = " AND ".join(f"{quoted(name)} = ?" for name in table.key)
    columns = ", ".join(map(quoted, wanted))
    sql = f"SELECT {columns} FROM {BEFORE}.{quoted(table.name)} WHERE {where}"
    found: Row | None = past.execute(sql, key).fetchone()
    return found
