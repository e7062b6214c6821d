"""What is in a state of a database: tables with the columns that hold their rows, and other objects."""

import re
from dataclasses import dataclass
from enum import Enum
from typing import Any

import apsw

ROWID_NAMES = ("rowid", "_rowid_", "oid")

SHADOWS = {
    "fts3": ("content", "segments", "segdir"),
    "fts4": ("content", "segments", "segdir", "docsize", "stat"),
    "fts5": ("data", "idx", "content", "docsize", "config"),
    "rtree": ("node", "rowid", "parent"),
    "rtree_i32": ("node", "rowid", "parent"),
    "geopoly": ("node", "rowid", "parent"),
}
"""By SQLite's own modules: what the names of their shadow tables end in."""


class Content(Enum):
    """Where a table's rows are."""

    OWN = "own"
    EXTERNAL = "external"
    """A full-text index over another table: the rows are that table's."""
    NONE = "none"
    """A full-text index that keeps no rows: what was indexed cannot be read back."""


@dataclass(frozen=True, slots=True)
class Column:
    name: str
    declared: str
    default: str | None


@dataclass(frozen=True, slots=True)
class Table:
    """A table, or a virtual table together with the shadow tables that hold its data."""

    name: str
    sql: str
    virtual: bool
    columns: tuple[Column, ...]
    """Those that hold data: neither generated nor hidden."""
    key: tuple[str, ...]
    """Of the primary key; empty without one."""
    collations: tuple[str, ...]
    """Of the primary key's columns."""
    rowid: str | None
    """A name under which the rowid can be read; None if there is none."""
    rowid_is_key: bool
    """Rows are told apart by rowid: an INTEGER PRIMARY KEY, no key at all, a virtual table."""
    content: Content
    content_table: str | None
    roots: tuple[int, ...]
    """Root pages: the table's, or those of the shadow tables."""
    row_root: int | None
    """The root page of the b-tree that has a row for each row, by the same rowid."""

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)

    @property
    def key_names(self) -> tuple[str, ...]:
        """Under which names a row's key is told."""
        return self.key or (self.rowid or "rowid",)


@dataclass(frozen=True, slots=True)
class Object:
    """A row of ``sqlite_schema``."""

    type: str
    name: str
    table: str
    sql: str | None
    root: int


@dataclass(frozen=True, slots=True)
class Schema:
    """All of a state's tables by name, and all its objects."""

    tables: dict[str, Table]
    objects: dict[tuple[str, str], Object]
    shadows: frozenset[str]

    @property
    def roots(self) -> list[int]:
        return [one.root for one in self.objects.values() if one.root]


def quoted(name: str) -> str:
    """An identifier for SQL."""
    return '"' + name.replace('"', '""') + '"'


def fold(name: str) -> str:
    """SQLite compares names without regard to the case of ASCII letters."""
    return "".join(chr(ord(c) + 32) if "A" <= c <= "Z" else c for c in name)


def read_schema(connection: apsw.Connection, schema: str) -> Schema:
    """Reads what a schema (``main``, or an attached database) has."""
    rows = connection.execute(
        f"SELECT type, name, tbl_name, sql, rootpage FROM {quoted(schema)}.sqlite_schema"
    )
    objects = {(row[0], row[1]): Object(row[0], row[1], row[2], row[3], row[4] or 0) for row in rows}
    kinds = {
        row[1]: (row[2], bool(row[4]))
        for row in connection.execute(f"PRAGMA {quoted(schema)}.table_list")
        if row[0].lower() == schema.lower() and not fold(row[1]).startswith("sqlite_")
    }
    virtual = [name for name, (kind, _) in kinds.items() if kind == "virtual"]
    modules = {
        name: _module(objects["table", name].sql or "") for name in virtual if ("table", name) in objects
    }
    shadows = {name for name, (kind, _) in kinds.items() if _is_shadow(name, kind, modules)}
    tables = {}
    for name, (kind, without_rowid) in kinds.items():
        entry = objects.get(("table", name))
        if entry and kind in ("table", "shadow") and name not in shadows:
            tables[name] = _ordinary(connection, schema, entry, without_rowid)
        elif entry and kind == "virtual":
            mine = {s: objects["table", s].root for s in shadows if _owner(s, virtual) == name}
            tables[name] = _virtual(connection, schema, entry, mine)
    return Schema(tables, objects, frozenset(shadows))


def _is_shadow(name: str, kind: str, modules: dict[str, str]) -> bool:
    """SQLite looks for the virtual table in all attached databases, and takes the first of that name."""
    owner = _owner(name, list(modules))
    if owner is None or kind not in ("table", "shadow"):
        return False
    return kind == "shadow" or fold(name[len(owner) + 1 :]) in SHADOWS.get(modules[owner], ())


def _owner(shadow: str, virtual: list[str]) -> str | None:
    """The virtual table of a shadow table: that with the longest name it begins with."""
    return max((v for v in virtual if fold(shadow).startswith(fold(v) + "_")), key=len, default=None)


def _columns(
    connection: apsw.Connection, schema: str, table: str
) -> tuple[tuple[Column, ...], tuple[str, ...], set[str]]:
    """The columns that hold data, those of the primary key in its order, and all names."""
    rows: list[Any] = connection.execute(f"PRAGMA {quoted(schema)}.table_xinfo({quoted(table)})").fetchall()
    columns = tuple(Column(row[1], row[2], row[4]) for row in rows if row[6] == 0)
    key = tuple(row[1] for row in sorted(rows, key=lambda row: row[5]) if row[5])
    return columns, key, {fold(row[1]) for row in rows}


def _ordinary(connection: apsw.Connection, schema: str, entry: Object, without_rowid: bool) -> Table:
    columns, key, names = _columns(connection, schema, entry.name)
    indexes = connection.execute(f"PRAGMA {quoted(schema)}.index_list({quoted(entry.name)})").fetchall()
    of_key = next((index[1] for index in indexes if index[3] == "pk"), None)
    # An INTEGER PRIMARY KEY is the rowid itself and needs no index.
    alias = len(key) == 1 and not without_rowid and of_key is None
    sql = f"SELECT name, coll FROM pragma_index_xinfo(?, {quoted(schema)}) WHERE key"
    collations: dict[Any, Any] = dict(connection.execute(sql, (of_key,))) if of_key else {}
    free = key[0] if alias else next((name for name in ROWID_NAMES if name not in names), None)
    return Table(
        name=entry.name,
        sql=entry.sql or "",
        virtual=False,
        columns=columns,
        key=key,
        collations=tuple(collations.get(name, "BINARY").upper() for name in key),
        rowid=None if without_rowid else free,
        rowid_is_key=alias or not key,
        content=Content.OWN,
        content_table=None,
        roots=(entry.root,),
        row_root=None if without_rowid else entry.root,
    )


def _virtual(connection: apsw.Connection, schema: str, entry: Object, shadows: dict[str, int]) -> Table:
    try:
        columns, _, names = _columns(connection, schema, entry.name)
    except apsw.SQLError:  # its module is not at hand
        columns, names = (), set()
    module = _module(entry.sql or "")
    content, content_table = _content(module, entry.sql or "")
    spatial = module in ("rtree", "rtree_i32")
    return Table(
        name=entry.name,
        sql=entry.sql or "",
        virtual=True,
        columns=columns,
        key=(columns[0].name,) if spatial and columns else (),
        collations=("BINARY",) if spatial and columns else (),
        rowid=next((name for name in ROWID_NAMES if name not in names), None) if columns else None,
        rowid_is_key=True,
        content=content,
        content_table=content_table,
        roots=tuple(shadows.values()),
        row_root=shadows.get(f"{entry.name}_content") if module in ("fts3", "fts4", "fts5") else None,
    )


def _module(sql: str) -> str:
    found = re.search(r"\bUSING\s+[\"'`\[]?(\w+)", sql, re.IGNORECASE)
    return found.group(1).lower() if found else ""


def _content(module: str, sql: str) -> tuple[Content, str | None]:
    """Whose rows a full-text index shows, by its ``content=`` option."""
    if module not in ("fts4", "fts5"):
        return Content.OWN, None
    found = re.search(
        r"[(,]\s*content\s*=\s*(?:\"([^\"]*)\"|'([^']*)'|\[([^\]]*)\]|([^\s,)]*))", sql, re.IGNORECASE
    )
    if not found:
        return Content.OWN, None
    name = next((group for group in found.groups() if group), "")
    return (Content.EXTERNAL, name) if name else (Content.NONE, None)
