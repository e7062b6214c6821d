"""Which commit last touched each row of a table."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import Any

import apsw

from mvsqlite_py._condition import reader
from mvsqlite_py._database import Database, Version
from mvsqlite_py._ledger import named
from mvsqlite_py._objects import renamed_tables, table_of
from mvsqlite_py._rows import Comparison, Pair, Row, compare
from mvsqlite_py._schema import Content, Table, quoted, read_schema


@dataclass(frozen=True, slots=True)
class Blame:
    """A row as it is now, and the commit that last touched it."""

    table: str
    key: dict[str, Any]
    row: dict[str, Any]
    version: Version | None
    """None: it is as it was at the oldest version that is kept."""


def blame(database: Database, table: str, where: str | None) -> Iterator[Blame]:
    """The rows of a table by the commit that last touched them; see :meth:`Database.blame`.

    Walks the versions from the newest and ends when every row has been told. What is kept in
    memory is the keys of the rows told so far.
    """
    newest = database.newest
    if newest is None:
        raise ValueError(f"{database.name!r} has no versions yet, so no tables")
    with reader(database, newest.version) as connection:
        assert connection
        present = _Present(connection, _table(database, newest, table), where)
        name: str | None = present.table.name
        left = present.count()
        told: set[Row] = set()
        walk = chain(database.versions(until=newest.version), [None])
        for version, older in pairwise(walk):
            assert version
            if not left or name is None or (older is None and version.previous is not None):
                break
            with compare(database, older.version if older else None, version.version) as comparison:
                pair, name = _pair(comparison, name)
                for row in _touched(comparison, pair, present.table):
                    key = present.key_of(pair, row)
                    now = None if key in told else present.row(pair, row)
                    if now is not None:
                        told.add(key)
                        left -= 1
                        yield present.told(now, version)
        if left:
            yield from (
                present.told(row, None) for row in present.rows() if present.key_of(None, row) not in told
            )


def _table(database: Database, newest: Version, name: str) -> Table:
    connection = database.connect(version=newest.version)
    try:
        schema = read_schema(connection, "main")
    finally:
        connection.close()
    table = table_of(schema, name)
    if table is None:
        there = ", ".join(sorted(schema.tables)) or "none"
        raise ValueError(f'there is no table "{name}" in "{database.name}"; there are: {there}')
    if table.content is not Content.OWN:
        raise ValueError(f'"{name}" is a full-text index without rows of its own: ask for what it indexes')
    return table


def _pair(comparison: Comparison, name: str) -> tuple[Pair, str | None]:
    """The table in both states, and its name in the older one; None if it was not there."""
    pair = comparison.pair(name)
    if pair.before:
        return pair, name
    old = renamed_tables(comparison).get(name)
    if old is None:
        return pair, None
    return Pair(name, comparison.before.tables[old], pair.after, pair.columns), old


def _touched(comparison: Comparison, pair: Pair, present: Table) -> Iterator[Row]:
    """The rows that a version added or changed; all of them if their keys became other ones."""
    if not pair.by_rowid and not set(present.key) <= set(pair.columns):
        assert pair.after
        pair = Pair(pair.name, None, pair.after, pair.after.names)
    try:
        yield from (change.after for change in comparison.changes(pair) if change.after is not None)
    except UnicodeDecodeError:
        comparison.count(pair)  # from now on texts are compared by their bytes
        yield from (change.after for change in comparison.changes(pair) if change.after is not None)


class _Present:
    """The table as it is now."""

    def __init__(self, connection: apsw.Connection, table: Table, where: str | None) -> None:
        self.table = table
        self._connection = connection
        self._pair = Pair(table.name, table, table, table.names)
        names = [quoted(name) for name in table.names]
        rowid = quoted(table.rowid) if table.rowid else "NULL"
        self._from = f"FROM main.{quoted(table.name)} WHERE ({where or 'TRUE'}\n)"
        self._select = f"SELECT {', '.join([rowid, *names])} {self._from}"

    def key_of(self, pair: Pair | None, row: Row) -> Row:
        """What a row is known by; ``pair`` tells its columns, None for those of the present."""
        return (row[0],) if self.table.rowid_is_key else (pair or self._pair).match_of(row)

    def count(self) -> int:
        ((found,),) = list(self._ask(f"SELECT count(*) {self._from}"))
        return int(found)

    def rows(self) -> Iterator[Row]:
        yield from self._ask(self._select)

    def row(self, pair: Pair, row: Row) -> Row | None:
        """A row as it is now, if it still is there and meets the condition."""
        key = pair.key_of(row)
        if self.table.rowid and (self.table.rowid_is_key or key[0] is None):
            where, key = f"{quoted(self.table.rowid)} = ?", (row[0],)
        else:
            where = " AND ".join(f"{quoted(name)} = ?" for name in self.table.key)
        return next(self._ask(f"{self._select} AND {where}", key), None)

    def _ask(self, sql: str, values: Row = ()) -> Iterator[Row]:
        try:
            yield from self._connection.execute(sql, values)
        except apsw.AuthError as error:
            raise ValueError("the condition may only read") from error
        except (apsw.SQLError, apsw.BindingsError) as error:
            raise ValueError(f'the condition does not fit the table "{self.table.name}": {error}') from error
        except UnicodeDecodeError as error:
            raise ValueError(
                f'a row of "{self.table.name}" holds text that is no UTF-8: choose others by a condition'
            ) from error

    def told(self, row: Row, version: Version | None) -> Blame:
        return Blame(self.table.name, self._pair.told_key(row), named(self._pair, row) or {}, version)
