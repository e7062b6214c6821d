"""Foreign keys after rows were taken back: which references broke, and which rows are at fault."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import apsw

from mvsqlite_py._apply import Exclusions
from mvsqlite_py._schema import Schema, fold, quoted


@dataclass(frozen=True, slots=True)
class ForeignKey:
    """One foreign key of a table."""

    id: int
    child: str
    parent: str
    columns: tuple[str, ...]
    refers_to: tuple[str, ...]


Violation = tuple[str, int | None, str, int]
"""Child table, rowid (None without one), parent table, which foreign key."""


class References:
    """The foreign keys that rows of some tables take part in, from either side."""

    def __init__(self, connection: apsw.Connection, schema: Schema, touched: set[str]) -> None:
        self._connection = connection
        folded = {fold(name) for name in touched}
        keys = [
            key
            for name, table in schema.tables.items()
            if not table.virtual
            for key in self._of(schema, name)
        ]
        self._keys = [key for key in keys if {fold(key.child), fold(key.parent)} & folded]

    def _of(self, schema: Schema, table: str) -> list[ForeignKey]:
        sql = f"PRAGMA main.foreign_key_list({quoted(table)})"
        rows: list[Any] = self._connection.execute(sql).fetchall()
        found = []
        for number in sorted({row[0] for row in rows}):
            mine = sorted((row for row in rows if row[0] == number), key=lambda row: row[1])
            parent: str = mine[0][2]
            there = next((t for name, t in schema.tables.items() if fold(name) == fold(parent)), None)
            refers_to = tuple(row[4] for row in mine)
            if None in refers_to:
                refers_to = there.key if there else ()
            found.append(ForeignKey(number, table, parent, tuple(row[3] for row in mine), refers_to))
        return found

    def violations(self) -> Counter[Violation]:
        """What ``PRAGMA foreign_key_check`` says of these tables, but for keys it cannot check."""
        found: Counter[Violation] = Counter()
        for child in sorted({key.child for key in self._keys}):
            try:
                found.update(self._connection.execute(f"PRAGMA main.foreign_key_check({quoted(child)})"))
            except apsw.SQLError:
                continue  # a mismatch of the schema's own, which says nothing about rows
        return found

    def exclude(self, violation: Violation, exclusions: Exclusions) -> str:
        """Adds the rows at fault to the exclusions; returns a sentence about the violation."""
        child, rowid, parent, number = violation
        sentence = f'a row of "{child}" would refer to a row of "{parent}" that does not exist'
        key = next((k for k in self._keys if k.id == number and fold(k.child) == fold(child)), None)
        if key is None or rowid is None:
            return sentence
        values = self._values(key, rowid)
        if values is not None:
            exclusions.add(
                child, True, key.columns, values, f'the row of "{parent}" it refers to does not exist'
            )
            exclusions.add(parent, False, key.refers_to, values, f'rows of "{child}" refer to it')
        return sentence

    def _values(self, key: ForeignKey, rowid: int) -> tuple[Any, ...] | None:
        columns = ", ".join(quoted(column) for column in key.columns)
        sql = f"SELECT {columns} FROM main.{quoted(key.child)} WHERE rowid = ?"
        found: tuple[Any, ...] | None = self._connection.execute(sql, (rowid,)).fetchone()
        return found
