"""What happened between two versions, row by row.

Rows are compared by value and type in Python, not with SQLite's session extension: its ``diff``
compares with each column's collation and SQL's ``IS``, so that it does not see 'a' become 'A' in
a NOCASE column, nor 1 become 1.0, and it leaves out rows with NULL in their primary key.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from heapq import merge
from itertools import zip_longest
from operator import itemgetter
from typing import Any, Literal

import apsw

from mvsqlite_py import _binding
from mvsqlite_py._binding import check, ffi, lib
from mvsqlite_py._connections import load_into_apsw, uri
from mvsqlite_py._database import Database
from mvsqlite_py._literals import Undecoded, literal
from mvsqlite_py._pages import PageDifference, Range, Suspects, page_difference
from mvsqlite_py._schema import Content, Table, fold, quoted, read_schema

Row = tuple[Any, ...]
"""The rowid (None without one), then the values of the columns compared."""

Kind = Literal["added", "removed", "changed"]
BEFORE, AFTER = "mv_before", "mv_after"
EVERYWHERE: Range = (-(1 << 63), (1 << 63) - 1)
JOINED_COLUMNS_MAX = 200
"""SQLite bounds the depth of an expression, to which each column compared adds."""
UNMATCHED_MAX = 10_000
"""Rows kept in memory while tables without a rowid to go by are compared."""
ENCODINGS = ("UTF-8", "UTF-8", "UTF-16le", "UTF-16be")
"""By the number in a database's header; 0 is one without tables."""
COLLATIONS: dict[str, Callable[[str], str]] = {"NOCASE": fold, "RTRIM": lambda text: text.rstrip(" ")}
"""How SQLite's own collations other than BINARY make keys equal."""


@dataclass(frozen=True, slots=True)
class RowCounts:
    """How many rows of a table were added, removed and changed."""

    added: int = 0
    removed: int = 0
    changed: int = 0

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed)


@dataclass(frozen=True, slots=True)
class RowChange:
    """One row that differs, by the names of its columns."""

    table: str
    kind: Kind
    key: dict[str, Any]
    before: dict[str, Any] | None
    after: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class SchemaChange:
    """One table, index, view or trigger that was created, dropped or altered."""

    action: Literal["created", "dropped", "altered"]
    type: str
    name: str
    before: str | None
    """The SQL that made it, before; None if it was created."""
    after: str | None


@dataclass(frozen=True, slots=True)
class Diff:
    """How two versions differ."""

    rows: dict[str, RowCounts]
    """By table; tables without a row that differs are left out."""
    schema: list[SchemaChange]
    skipped: dict[str, str] = field(default_factory=dict)
    """Tables that may differ and whose rows cannot be told, and why."""
    _between: "tuple[Database, str | None, str | None, Database | None] | None" = field(
        default=None, repr=False, compare=False
    )

    def row_changes(self, table: str | None = None) -> Iterator[RowChange]:
        """The rows that differ, of one table or of all, read while they are asked for."""
        assert self._between
        database, before, after, other = self._between
        return row_changes(database, before, after, table, other)

    def sql(self) -> Iterator[str]:
        """Statements that make the newer state out of the older one, in one transaction.

        Each ends with a semicolon. ``skipped`` says what they leave as it is.
        """
        from mvsqlite_py._replay import replay

        assert self._between
        with compare(*self._between) as comparison:
            yield from replay(comparison)


@dataclass(frozen=True, slots=True)
class Change:
    """One row that differs, by position in the pair's columns."""

    before: Row | None
    after: Row | None

    @property
    def kind(self) -> Kind:
        return "added" if self.before is None else "removed" if self.after is None else "changed"


@dataclass(frozen=True, slots=True)
class Pair:
    """One table in two states, and the columns to compare."""

    name: str
    before: Table | None
    after: Table | None
    columns: tuple[str, ...]

    @property
    def table(self) -> Table:
        table = self.after or self.before
        assert table is not None
        return table

    @property
    def key(self) -> tuple[str, ...]:
        """The primary key's columns, if both states have them."""
        return self.table.key if set(self.table.key) <= set(self.columns) else ()

    @property
    def by_rowid(self) -> bool:
        """Whether rows are told apart by rowid alone."""
        return all(side.rowid_is_key for side in (self.before, self.after) if side)

    def key_of(self, row: Row) -> Row:
        """What a row is known by: its primary key, or its rowid where that has a NULL."""
        values = tuple(row[1 + self.columns.index(name)] for name in self.key)
        return values if values and None not in values else (None, row[0])

    def match_of(self, row: Row) -> Row:
        """The same for equal keys: as their collations say, where SQLite brings those."""
        key = self.key_of(row)
        if key[0] is None or not set(self.table.collations) & COLLATIONS.keys():
            return key
        folded = zip(key, self.table.collations, strict=True)
        return tuple(COLLATIONS.get(c, str)(v) if isinstance(v, str) else v for v, c in folded)

    def told_key(self, row: Row) -> dict[str, Any]:
        """The key as told to people."""
        key = self.key_of(row)
        return {"rowid": row[0]} if key[0] is None else dict(zip(self.key, key, strict=True))


def same(a: Row, b: Row) -> bool:
    """Whether the columns of two rows have equal values of equal types."""
    return a[1:] == b[1:] and [*map(type, a)] == [*map(type, b)]


def merge_by_rowid(before: Iterable[Row], after: Iterable[Row]) -> Iterator[Change]:
    """The differences of two sequences in the order of their rowids; keeps nothing in memory."""
    left, right = iter(before), iter(after)
    b, a = next(left, None), next(right, None)
    while b is not None or a is not None:
        if a is None or (b is not None and b[0] < a[0]):
            yield Change(b, None)
            b = next(left, None)
        elif b is None or a[0] < b[0]:
            yield Change(None, a)
            a = next(right, None)
        else:
            if not same(b, a):
                yield Change(b, a)
            b, a = next(left, None), next(right, None)


def _decoded(width: int, row: Row) -> Row:
    """A row read with the bytes of its texts behind its values: text where it is UTF-8."""
    values = list(row[: 1 + width])
    for i, text in enumerate(row[1 + width :], 1):
        if text is not None:
            try:
                values[i] = text.decode()
            except UnicodeDecodeError:
                values[i] = Undecoded(text)
    return tuple(values)


Lookup = Callable[[Literal[0, 1], Row], Row | None]
"""Finds the row of one side (0: before) that has the key of a row."""


def match_by_key(
    before: Iterable[Row],
    after: Iterable[Row],
    key: Callable[[Row], Row],
    lookup: Lookup | None = None,
    room: int = UNMATCHED_MAX,
) -> Iterator[Change]:
    """The differences of two sequences in any (best the same) order.

    At most ``room`` rows wait for the one of their key, if they can be looked up. Beyond, they are: a
    row of before tells what became of it, one of after only that it is new, so that each is told once.
    """

    def settle(lookup: Lookup) -> Iterator[Change]:
        for row in lost.values():
            there = lookup(1, row)
            if there is None or not same(row, there):
                yield Change(row, there)
        for row in new.values():
            if lookup(0, row) is None:
                yield Change(None, row)
        lost.clear()
        new.clear()

    settled = False
    lost: dict[Row, Row] = {}
    new: dict[Row, Row] = {}
    for b, a in zip_longest(before, after):
        if b is not None and a is not None and same(b, a) and key(b) == key(a):
            continue
        for row, mine, other, turned in ((b, lost, new, False), (a, new, lost, True)):
            if row is not None:
                partner = other.pop(key(row), None)
                if partner is None:
                    mine[key(row)] = row
                elif not same(partner, row):
                    yield Change(partner, row) if turned else Change(row, partner)
        if lookup and len(lost) + len(new) > room:
            settled = True
            yield from settle(lookup)
    if lookup and settled:
        yield from settle(lookup)
    yield from (Change(row, None) for row in lost.values())
    yield from (Change(None, row) for row in new.values())


class Comparison:
    """Two states attached to one connection, and how they differ.

    before, after: the names of the schemas; pages: where to look, None for everywhere.
    """

    def __init__(
        self,
        connection: apsw.Connection,
        before: str,
        after: str,
        pages: PageDifference | None = None,
    ) -> None:
        self.connection = self._connection = connection
        self._names = (before, after)
        self.before = read_schema(connection, before)
        self.after = read_schema(connection, after)
        self.pages = pages
        self._raw: set[str] = set()
        self.skipped: dict[str, str] = {}
        """Tables met that may differ and whose rows cannot be told, and why."""

    def query(self, sql: str) -> list[Any]:
        return self._connection.execute(sql).fetchall()

    def value(self, sql: str) -> Any:
        return self.query(sql)[0][0]

    # ---- schemas ------------------------------------------------------------------

    def schema_changes(self) -> list[SchemaChange]:
        """Objects created, dropped or altered; shadow tables and SQLite's own are not told."""
        changes: list[SchemaChange] = []
        hidden = self.before.shadows | self.after.shadows
        for kind, name in sorted(self.before.objects.keys() | self.after.objects.keys()):
            old, new = self.before.objects.get((kind, name)), self.after.objects.get((kind, name))
            entry = new or old
            assert entry is not None
            if entry.sql is None or name in hidden or entry.table in hidden or name.startswith("sqlite_"):
                continue
            if old is None:
                changes.append(SchemaChange("created", kind, name, None, entry.sql))
            elif new is None:
                changes.append(SchemaChange("dropped", kind, name, entry.sql, None))
            elif old.sql != new.sql:
                changes.append(SchemaChange("altered", kind, name, old.sql, new.sql))
        return changes

    # ---- tables -------------------------------------------------------------------

    def pairs(self) -> list[Pair]:
        """The tables whose rows may differ, by name."""
        found = []
        for name in sorted(self.before.tables.keys() | self.after.tables.keys()):
            pair = self.pair(name)
            if pair.table.content is not Content.EXTERNAL and self.suspects(pair) is not None:
                found.append(pair)
        return found

    def pair(self, name: str) -> Pair:
        """One table, in whichever of the states it exists."""
        before, after = self.before.tables.get(name), self.after.tables.get(name)
        table = after or before
        assert table is not None
        columns = table.names
        if before and after:
            old, new = ({fold(column) for column in side.names} for side in (before, after))
            if not old <= new:  # a column was dropped or renamed: what both have is compared
                columns = tuple(column for column in columns if fold(column) in old)
        return Pair(name, before, after, columns)

    def suspects(self, pair: Pair) -> Suspects | None:
        """Where the table's rows may differ; None if nowhere."""
        if not pair.before or not pair.after or not self.pages:
            return Suspects(None)
        if not pair.table.virtual:
            by_rowid = bool(pair.before.rowid and pair.after.rowid)
            return self.pages.suspects(pair.before.roots[0], pair.after.roots[0], by_rowid)
        return self._virtual_suspects(self.pages, pair.before, pair.after)

    @staticmethod
    def _virtual_suspects(difference: PageDifference, before: Table, after: Table) -> Suspects | None:
        if len(before.roots) != len(after.roots):
            return Suspects(None)
        roots = zip(before.roots, after.roots, strict=True)
        if all(difference.suspects(*both, False) is None for both in roots):
            return None
        if before.row_root is None or after.row_root is None:
            return Suspects(None)
        return difference.suspects(before.row_root, after.row_root, True) or Suspects([])

    # ---- rows ---------------------------------------------------------------------

    def _select(self, pair: Pair, side: Table, schema: str) -> str:
        have = {fold(name) for name in side.names}
        defaults = {column.name: column.default for column in pair.table.columns}
        columns = [quoted(c) if fold(c) in have else f"({defaults[c] or 'NULL'})" for c in pair.columns]
        if pair.name in self._raw:
            texts = [f"CASE typeof({c}) WHEN 'text' THEN CAST({c} AS BLOB) END" for c in columns]
            columns = [f"CASE typeof({c}) WHEN 'text' THEN NULL ELSE {c} END" for c in columns] + texts
        rowid = quoted(side.rowid) if side.rowid else "NULL"
        return f"SELECT {', '.join([rowid, *columns])} FROM {quoted(schema)}.{quoted(side.name)}"

    def rows(self, pair: Pair, which: Literal[0, 1], ranges: list[Range] | None = None) -> Iterator[Row]:
        """The rows of one side, in the order of rowids where there are any."""
        side = (pair.before, pair.after)[which]
        if side is None:
            return
        sql = self._select(pair, side, self._names[which])
        read = partial(self._read, pair)
        if not side.rowid:
            yield from read(sql)
            return
        rowid = quoted(side.rowid)
        if ranges is None:
            yield from read(f"{sql} ORDER BY {rowid}")
            return
        for both in ranges:
            yield from read(f"{sql} WHERE {rowid} BETWEEN ? AND ? ORDER BY {rowid}", both)

    def _read(self, pair: Pair, sql: str, values: Row = ()) -> Iterator[Row]:
        rows: Iterator[Row] = self._connection.execute(sql, values)
        return map(partial(_decoded, len(pair.columns)), rows) if pair.name in self._raw else rows

    def row(self, pair: Pair, which: Literal[0, 1], like: Row) -> Row | None:
        """The row of one side that has the same key."""
        side = (pair.before, pair.after)[which]
        if side is None:
            return None
        key = pair.key_of(like)
        names, values = (pair.key, key) if key[0] is not None else ((side.rowid or "rowid",), (like[0],))
        where = " AND ".join(
            f"{quoted(name)} = {literal(value)}" for name, value in zip(names, values, strict=True)
        )
        sql = f"{self._select(pair, side, self._names[which])} WHERE {where}"
        found = next(self._read(pair, sql), None)
        return found if found and pair.match_of(found) == pair.match_of(like) else None

    def changes(self, pair: Pair) -> Iterator[Change]:
        """The rows of one table that differ."""
        suspects = self.suspects(pair)
        if suspects is None:
            return
        if self._joins(pair):
            yield from self._joined(pair, suspects.ranges or [EVERYWHERE])
            return
        before, after = self.rows(pair, 0, suspects.ranges), self.rows(pair, 1, suspects.ranges)
        if pair.by_rowid and pair.table.rowid:
            yield from merge_by_rowid(before, after)
        else:
            yield from match_by_key(before, after, pair.match_of, partial(self.row, pair))

    def _joins(self, pair: Pair) -> bool:
        """Whether SQLite can find the rows that differ: that makes no object of each row that does not."""
        if pair.before is None or pair.after is None or pair.name in self._raw or pair.table.virtual:
            return False
        sides = [{fold(name) for name in side.names} for side in (pair.before, pair.after)]
        known = all(fold(name) in side for name in pair.columns for side in sides)
        rowids = pair.by_rowid and pair.before.rowid and pair.after.rowid
        return bool(rowids) and known and len(pair.columns) <= JOINED_COLUMNS_MAX

    def _joined(self, pair: Pair, ranges: Iterable[Range]) -> Iterator[Change]:
        """The rows that differ, told apart by rowid, by value and by type, whatever the collations."""
        assert pair.before
        assert pair.after
        columns = [quoted(name) for name in pair.columns]
        tables = [
            f"{quoted(schema)}.{quoted(side.name)}"
            for schema, side in zip(self._names, (pair.before, pair.after), strict=True)
        ]
        b, a = f"b.{quoted(pair.before.rowid or '')}", f"a.{quoted(pair.after.rowid or '')}"
        old, new = ([f"{side}.{name}" for name in columns] for side in "ba")
        differ = [f"{a} IS NULL"] + [
            f"+{x} IS NOT +{y} COLLATE BINARY OR typeof({x}) <> typeof({y})"
            for x, y in zip(old, new, strict=True)
        ]
        of_before = (
            f"SELECT {', '.join([b, *old, a, *new])} FROM {tables[0]} b LEFT JOIN {tables[1]} a ON {a} = {b}"
            f" WHERE {b} BETWEEN ? AND ? AND ({' OR '.join(differ)}) ORDER BY {b}"
        )
        only_after = (
            f"SELECT {', '.join([a, *new])} FROM {tables[1]} a WHERE {a} BETWEEN ? AND ?"
            f" AND NOT EXISTS (SELECT 1 FROM {tables[0]} b WHERE {b} = {a}) ORDER BY {a}"
        )
        width = 1 + len(columns)
        for both in ranges:
            found = (self._connection.execute(sql, both) for sql in (of_before, only_after))
            for row in merge(*found, key=itemgetter(0)):
                if len(row) == width:
                    yield Change(None, row)
                else:
                    yield Change(row[:width], None if row[width] is None else row[width:])

    def told(self, table: str | None = None) -> Iterator[tuple[Pair, RowCounts]]:
        """The tables whose rows differ, and how many; notes in ``skipped`` what cannot be told."""
        for name in sorted(self.before.tables.keys() | self.after.tables.keys()):
            pair = self.pair(name)
            if (table is not None and fold(table) != fold(name)) or self.suspects(pair) is None:
                continue
            if why := untold(pair.table):
                self.skipped[name] = why
                continue
            try:
                counts = self.count(pair)
            except apsw.SQLError as error:  # e.g. a function that only the application has
                self.skipped[name] = str(error)
                continue
            if counts:
                yield pair, counts

    def counts(self, table: str | None = None) -> dict[str, RowCounts]:
        """How many rows differ, by table; tables without any are left out."""
        return {pair.name: counts for pair, counts in self.told(table)}

    def count(self, pair: Pair) -> RowCounts:
        """How many rows of one table differ."""
        counts = {"added": 0, "removed": 0, "changed": 0}
        try:
            for change in self.changes(pair):
                counts[change.kind] += 1
        except UnicodeDecodeError:
            if pair.name in self._raw:
                raise
            self._raw.add(pair.name)  # text that is no UTF-8: compare its bytes
            return self.count(pair)
        return RowCounts(**counts)

    def row_changes(self, table: str | None = None) -> Iterator[RowChange]:
        """The rows that differ, of one table or of all, by the names of their columns."""
        for pair, _ in self.told(table):
            yield from (tell(pair, change) for change in self.changes(pair))


def untold(table: Table) -> str | None:
    """Why a table's rows cannot be told, if they cannot."""
    if table.content is Content.EXTERNAL:
        return f"a full-text index over {table.content_table}, whose rows are told"
    if table.content is Content.NONE:
        return "a full-text index that keeps no rows"
    if table.virtual and not table.columns:
        return "a virtual table whose module is not at hand"
    if table.virtual and not table.roots:
        return "a virtual table that keeps no rows of its own"
    if not table.virtual and not table.key and not table.rowid:
        return "a table whose columns take all names of the rowid: its rows cannot be told apart"
    return None


def tell(pair: Pair, change: Change) -> RowChange:
    """A change as told to people."""

    def named(row: Row | None) -> dict[str, Any] | None:
        return None if row is None else dict(zip(pair.columns, row[1:], strict=True))

    row = change.before or change.after
    assert row is not None
    return RowChange(pair.name, change.kind, pair.told_key(row), named(change.before), named(change.after))


def attach(connection: apsw.Connection, database: Database, version: str | None, name: str) -> None:
    """Attaches a state under a name; None is the empty database before the first version."""
    address = ":memory:" if version is None else uri(database.name, store=database.store, version=version)
    connection.execute(f"ATTACH ? AS {name}", (address,))


def encoding_of(database: Database, version: str | None) -> int:
    """How a version's text is encoded, as its header says ("Text encoding" of the file format)."""
    place, size, utf8 = 56, 4, 1
    data, got = bytearray(size), ffi.new("size_t *")
    if version is not None:
        with database._open() as db:
            check(lib.mv_db_pin(db, _binding.stamp_from_hex(version)))
            check(lib.mv_db_read_bytes(db, place, ffi.from_buffer(data), size, got))
    return int.from_bytes(data, "big") or utf8


@contextlib.contextmanager
def compare(
    database: Database, before: str | None, after: str | None, other: Database | None = None
) -> Iterator[Comparison]:
    """The difference of two versions; None is the empty database before the first one.

    other: the database of ``after``, if that is another branch.
    """
    load_into_apsw()
    flags = apsw.SQLITE_OPEN_URI | apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE
    connection = apsw.Connection("file::memory:", flags=flags)
    try:
        # SQLite attaches only what is encoded like the main database.
        encoding = max(encoding_of(database, before), encoding_of(other or database, after))
        connection.execute(f"PRAGMA encoding = '{ENCODINGS[encoding]}'")
        attach(connection, database, before, BEFORE)
        attach(connection, other or database, after, AFTER)
        with page_difference(database, before, after, other) as pages:
            yield Comparison(connection, BEFORE, AFTER, pages)
    finally:
        connection.close()


def diff(database: Database, before: str | None, after: str | None, other: Database | None = None) -> Diff:
    """How two versions differ; see :meth:`Database.diff`."""
    with compare(database, before, after, other) as comparison:
        rows, schema = comparison.counts(), comparison.schema_changes()
        return Diff(rows, schema, comparison.skipped, (database, before, after, other))


def row_changes(
    database: Database,
    before: str | None,
    after: str | None,
    table: str | None,
    other: Database | None = None,
) -> Iterator[RowChange]:
    """The rows that differ; see :meth:`Database.row_changes`."""
    with compare(database, before, after, other) as comparison:
        yield from comparison.row_changes(table)
