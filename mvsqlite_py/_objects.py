"""Taking changes of the schema back: tables, columns, indexes, views and triggers."""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import zip_longest
from typing import Literal

import apsw

from mvsqlite_py._apply import Step, savepoint
from mvsqlite_py._errors import UndoError
from mvsqlite_py._ledger import CONSTRAINT, Ledger, Untouched, same_value
from mvsqlite_py._rebuild import can_rebuild, common, past_row, rebuild
from mvsqlite_py._rows import (
    BEFORE,
    Change,
    Comparison,
    Pair,
    Row,
    SchemaChange,
    match_by_key,
    merge_by_rowid,
    same,
)
from mvsqlite_py._schema import Content, Object, Schema, Table, fold, quoted, read_schema
from mvsqlite_py._words import plural

BEFORE_SIDE: Literal[0] = 0
AFTER_SIDE: Literal[1] = 1
"""Of a comparison."""

Filter = Callable[[Pair, Iterable[Change]], Iterable[Change]]


@dataclass(frozen=True, slots=True)
class Scope:
    """What of a difference is to be taken back."""

    tables: frozenset[str] | None = None
    """Folded names; None means all, and views too."""
    rows_only: bool = False
    """Leave the schema alone but for tables that were dropped: rows are chosen by a condition."""
    force: bool = False
    """The state from before wins over later changes."""

    def has(self, *names: str) -> bool:
        return self.tables is None or any(fold(name) in self.tables for name in names)


def table_of(schema: Schema, name: str) -> Table | None:
    return next((table for other, table in schema.tables.items() if fold(other) == fold(name)), None)


def loosely(sql: str | None) -> str | None:
    """SQL without white space and quotes: SQLite itself quotes names when it renames."""
    return None if sql is None else re.sub(r"[\s\"`\[\]]", "", sql)


def _inverse(change: SchemaChange) -> SchemaChange:
    inverse: dict[str, Literal["created", "dropped", "altered"]] = {
        "created": "dropped",
        "dropped": "created",
    }
    action = inverse.get(change.action, "altered")
    return SchemaChange(action, change.type, change.name, change.after, change.before)


def fits(pair: Pair, target: Table) -> bool:
    """Whether rows of the pair can be found in and written to the table."""
    there = {fold(name) for name in target.names}
    return (
        {fold(name) for name in pair.columns} <= there
        and [*map(fold, pair.key)] == [*map(fold, target.key)]
        and pair.table.virtual == target.virtual
        and pair.by_rowid == target.rowid_is_key
    )


def rows_of(
    connection: apsw.Connection, schema: str, table: Table, columns: Iterable[str] | None = None
) -> Iterator[Row]:
    """The rows of a table, in the order of rowids where there are any."""
    names = [quoted(name) for name in (table.names if columns is None else columns)]
    rowid = quoted(table.rowid) if table.rowid else "NULL"
    order = f" ORDER BY {rowid}" if table.rowid else ""
    yield from connection.execute(
        f"SELECT {', '.join([rowid, *names])} FROM {quoted(schema)}.{quoted(table.name)}{order}"
    )


def _differences(pair: Pair, left: Iterable[Row], right: Iterable[Row]) -> Iterator[Change]:
    if pair.by_rowid and pair.table.rowid:
        return merge_by_rowid(left, right)
    return match_by_key(left, right, pair.match_of)


def renamed_tables(comparison: Comparison) -> dict[str, str]:
    """The old names of tables that got another, by the new: such keep root page and columns."""
    before, after = comparison.before.tables, comparison.after.tables
    return {
        b.name: a.name
        for a in (before[name] for name in before.keys() - after.keys())
        for b in (after[name] for name in after.keys() - before.keys())
        if not a.virtual and a.roots == b.roots and a.columns == b.columns and a.key == b.key
    }


@dataclass
class Objects:
    """One difference's changes of the schema, to be taken back in ``main`` of a connection.

    ``prepare`` does what must come before the rows, ``steps`` tells which rows, ``finish`` what
    must come after them.
    """

    connection: apsw.Connection
    comparison: Comparison
    scope: Scope
    ledger: Ledger
    way_out: str
    """A sentence part: how to go back altogether."""
    what: str
    """What is taken back, e.g. ``version 1f``."""
    done: list[SchemaChange] = field(default_factory=list)
    untouched: list[Untouched] = field(default_factory=list)
    _late: list[tuple[SchemaChange, str]] = field(default_factory=list)
    _renamed: dict[str, str] = field(default_factory=dict)
    """Names of tables before, by those after."""
    _handled: set[str] = field(default_factory=set)
    """Tables (names after) whose rows need nothing more."""
    _narrowed: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """By table the columns to compare, where columns were added."""
    _regained: set[str] = field(default_factory=set)
    """Tables that got columns back which the state after did not have."""

    # ---- before the rows --------------------------------------------------------------

    def prepare(self) -> None:
        changes = self.comparison.schema_changes()
        self._renamed = renamed_tables(self.comparison)
        tables = [change for change in changes if change.type == "table" and self._meant(change)]
        others = [change for change in changes if change.type != "table" and self._meant(change)]
        dropped = {c.name for c in tables if c.action == "dropped" and c.name not in self._renamed.values()}
        self._refuse_names_taken(dropped)
        if not self.scope.rows_only:
            self._others(others, dropped)
            for after, before in self._renamed.items():
                if self.scope.has(after, before):
                    self._rename_back(before, after)
            for change in tables:
                if change.action == "altered":
                    self._unalter(change)
            self._drop_created([c for c in tables if c.action == "created" and c.name not in self._renamed])
        for name in sorted(dropped):
            self.recreate(self.comparison.before.objects["table", name])

    def _meant(self, change: SchemaChange) -> bool:
        if self.scope.tables is None:
            return True
        both = (self.comparison.before, self.comparison.after)
        entries = [state.objects.get((change.type, change.name)) for state in both]
        return self.scope.has(change.name, *(entry.table for entry in entries if entry))

    def _refuse_names_taken(self, dropped: set[str]) -> None:
        now = read_schema(self.connection, "main")
        taken = {fold(name) for _, name in now.objects}
        for name in dropped:
            if fold(name) in taken:
                raise UndoError(
                    f'{self.what} dropped the table "{name}", and there is another of that name now: '
                    f"rename that one first, or go back altogether: {self.way_out}"
                )

    def _others(self, changes: list[SchemaChange], dropped: set[str]) -> None:
        """Takes changes of indexes, views and triggers back: old ones come after the rows."""
        now = read_schema(self.connection, "main")
        for change in changes:
            entry = self.comparison.before.objects.get((change.type, change.name))
            if entry and entry.table in dropped and change.action == "dropped":
                continue  # comes with its table
            there = now.objects.get((change.type, change.name))
            is_now = loosely(there.sql if there else None)
            if is_now == loosely(change.before):
                continue
            if is_now != loosely(change.after) and not self.scope.force:
                self._leave(change.name, f"the {change.type} was changed since")
                continue
            if there is not None:
                self.connection.execute(f"DROP {change.type} main.{quoted(change.name)}")
            if change.before is not None:
                self._late.append((_inverse(change), change.before))
            else:
                self.done.append(_inverse(change))

    def _leave(self, name: str, reason: str, detail: str | None = None) -> None:
        self.untouched.append(Untouched(name, {}, reason, detail))

    def _try(self, name: str, sql: str) -> bool:
        """Runs a statement that changes the schema; what stands in its way is told."""
        try:
            with savepoint(self.connection):
                self.connection.execute(sql)
        except (apsw.SQLError, apsw.ConstraintError) as error:
            self._leave(name, CONSTRAINT, str(error))
            return False
        return True

    # ---- tables altered -----------------------------------------------------------------

    def _rename_back(self, before: str, after: str) -> None:
        now = read_schema(self.connection, "main")
        there, entry = table_of(now, after), self.comparison.after.objects["table", after]
        self._handled.add(after)
        if there is None or loosely(there.sql) != loosely(entry.sql):
            self._leave(after, "the table was altered since" if there else "the table was dropped since")
        elif any(fold(name) == fold(before) for _, name in now.objects):
            self._leave(after, f'there is another "{before}" now')
        elif self._try(after, f"ALTER TABLE main.{quoted(after)} RENAME TO {quoted(before)}"):
            self._handled.discard(after)
            self.ledger.renamed(after, before)
            old = self.comparison.before.objects["table", before].sql
            self.done.append(SchemaChange("altered", "table", before, entry.sql, old))

    def _unalter(self, change: SchemaChange) -> None:
        there = table_of(read_schema(self.connection, "main"), change.name)
        if there is None or loosely(there.sql) == loosely(change.before):
            return  # told with its rows; or a table that it refers to has its old name again
        old, new = self.comparison.before.tables[change.name], self.comparison.after.tables[change.name]
        if not can_rebuild(old, new):
            raise UndoError(
                f'{self.what} altered the table "{change.name}" in a way that cannot be taken back row by '
                f"row. To go back to the state before, without later work: {self.way_out}"
            )
        if loosely(there.sql) != loosely(change.after):
            self._leave(change.name, "the table was altered since")
        elif self._renames_columns(old, new):
            self._rename_columns(change, old, new)
        else:
            self._give_columns(change, old, new, there)

    def _renames_columns(self, old: Table, new: Table) -> bool:
        """Whether only names of columns changed, and no row."""
        alike = len(old.columns) == len(new.columns) and all(
            (a.declared, a.default) == (b.declared, b.default)
            for a, b in zip(old.columns, new.columns, strict=True)
        )
        if not alike or old.names == new.names:
            return False
        if self.comparison.suspects(self.comparison.pair(new.name)) is None:
            return True
        sides = [
            self.comparison.rows(Pair(new.name, table, table, table.names), which)
            for table, which in ((old, BEFORE_SIDE), (new, AFTER_SIDE))
        ]
        return all(a and b and a[0] == b[0] and same(a, b) for a, b in zip_longest(*sides))

    def _rename_columns(self, change: SchemaChange, old: Table, new: Table) -> None:
        table = quoted(change.name)
        names = [(a.name, b.name) for a, b in zip(old.columns, new.columns, strict=True) if a.name != b.name]
        # By way of names that nobody has: columns may have exchanged theirs.
        steps = [(b, f"mv_{i}_{b}") for i, (_, b) in enumerate(names)] if len(names) > 1 else []
        steps += [(f"mv_{i}_{b}" if steps else b, a) for i, (a, b) in enumerate(names)]
        sql = "; ".join(
            f"ALTER TABLE main.{table} RENAME COLUMN {quoted(b)} TO {quoted(a)}" for b, a in steps
        )
        if self._try(change.name, sql):
            self._handled.add(change.name)
            self.done.append(_inverse(change))

    def _give_columns(self, change: SchemaChange, old: Table, new: Table, there: Table) -> None:
        """Takes out columns that were added, if nobody wrote to them since, and puts back what was there."""
        both = common(old, new)
        self._narrowed[change.name] = both
        folded = {fold(name) for name in both}
        added = [name for name in new.names if fold(name) not in folded]
        for name in [] if self.scope.force else added:
            if written := self._written_since(new, there, name):
                self._leave(change.name, f'the column "{name}" was written since', plural(written, "row"))
                return
        table = quoted(change.name)
        drop = [f"ALTER TABLE main.{table} DROP COLUMN {quoted(name)}" for name in added]
        if new.columns[: len(old.columns)] == old.columns and drop:
            if self._try(change.name, "; ".join(drop)):
                self.done.append(_inverse(change))
            return
        try:
            with savepoint(self.connection):
                rebuild(self.connection, self.comparison.connection, old, there)
        except (apsw.SQLError, apsw.ConstraintError) as error:
            self._leave(change.name, CONSTRAINT, str(error))
        else:
            self.done.append(_inverse(change))
            if len(both) < len(old.names):
                self._regained.add(change.name)

    def _written_since(self, new: Table, there: Table, name: str) -> int:
        """In how many rows a column has another value than in the state after, or than its default."""
        default = next(column.default for column in new.columns if column.name == name)
        (value,) = self.connection.execute(f"SELECT {default or 'NULL'}").fetchone() or (None,)
        columns = (*(key for key in new.key if key != name), name)
        pair = Pair(new.name, new, new, columns)
        left = self.comparison.rows(pair, AFTER_SIDE)
        right = rows_of(self.connection, "main", there, columns)
        changes = _differences(pair, left, right)
        return sum(1 for c in changes if c.after and (c.before or not same_value(c.after[-1], value)))

    # ---- tables created and dropped -------------------------------------------------------

    def _drop_created(self, changes: list[SchemaChange]) -> None:
        going = {fold(change.name) for change in changes}
        for change in changes:
            self._handled.add(change.name)
            now = read_schema(self.connection, "main")
            there = table_of(now, change.name)
            if there is None:
                continue
            if why := self._referred_to(now, there, going):
                self._leave(change.name, why)
                continue
            entry = self.comparison.after.tables[change.name]
            if not self.scope.force and (found := self._moved_on(now, entry, there)):
                self._leave(change.name, *found)
                continue
            rows = sum(1 for _ in rows_of(self.connection, "main", there, ())) if there.columns else 0
            if self._try(change.name, f"DROP TABLE main.{quoted(there.name)}"):
                self.done.append(_inverse(change))
                self.ledger.removed(change.name, rows if there.content is Content.OWN else 0)

    def _referred_to(self, now: Schema, there: Table, going: set[str]) -> str | None:
        for name in now.tables:
            if fold(name) not in going:
                sql = "SELECT \"table\" FROM pragma_foreign_key_list(?, 'main')"
                if any(fold(row[0]) == fold(there.name) for row in self.connection.execute(sql, (name,))):
                    return f'the table "{name}" refers to it'
        return None

    def _moved_on(self, now: Schema, entry: Table, there: Table) -> tuple[str, str | None] | None:
        """What others made of a table since it was created."""
        if loosely(entry.sql) != loosely(there.sql):
            return "the table was altered since", None
        for (kind, name), one in now.objects.items():
            known = self.comparison.after.objects.get((kind, name))
            mine = fold(one.table) == fold(there.name) and kind in ("index", "trigger")
            if mine and one.sql and (known is None or loosely(known.sql) != loosely(one.sql)):
                return f'the {kind} "{name}" on it was made since', None
        if entry.content is not Content.OWN:
            return None
        pair = Pair(entry.name, entry, entry, entry.names)
        left = self.comparison.rows(pair, AFTER_SIDE)
        rows = sum(1 for _ in _differences(pair, left, rows_of(self.connection, "main", there)))
        return ("its rows were changed since", plural(rows, "row")) if rows else None

    def recreate(self, entry: Object) -> None:
        """Makes a dropped table again, empty; its indexes and triggers follow after the rows."""
        assert entry.sql
        state = self.comparison.before
        self.connection.execute(entry.sql)
        self.done.append(SchemaChange("created", entry.type, entry.name, None, entry.sql))
        for (kind, name), other in sorted(state.objects.items()):
            if fold(other.table) == fold(entry.name) and kind in ("index", "trigger") and other.sql:
                self._late.append((SchemaChange("created", kind, name, None, other.sql), other.sql))

    # ---- the rows -------------------------------------------------------------------------

    def steps(self, only: Filter | None) -> list[Step]:
        now = read_schema(self.connection, "main")
        steps: list[Step] = []
        for pair in self._pairs():
            changes: Callable[[], Iterable[Change]] = partial(self.comparison.changes, pair)
            if only is not None:
                changes = partial(_filtered, only, pair, changes)
            target = table_of(now, pair.name)
            if pair.table.content is Content.NONE:
                self._leave_rows(pair, changes, "a full-text index that keeps no rows cannot be read back")
            elif target is None:
                self._leave_rows(pair, changes, "the table was dropped since")
            elif not fits(pair, target):
                self._leave_rows(pair, changes, "the table's columns were altered since")
            else:
                steps += self._steps_of(pair, target, changes)
        return steps

    def _steps_of(self, pair: Pair, target: Table, changes: Callable[[], Iterable[Change]]) -> Iterator[Step]:
        if pair.name not in self._regained:
            yield Step(pair, target, changes)
            return
        # What is put back has the columns that the state after had lost; they were not compared.
        assert pair.before
        whole = Pair(pair.name, pair.before, pair.before, pair.before.names)
        yield Step(pair, target, lambda: (change for change in changes() if change.after is not None))
        yield Step(
            whole, target, lambda: (self._whole(pair, change) for change in changes() if not change.after)
        )

    def _whole(self, pair: Pair, change: Change) -> Change:
        assert pair.before
        assert change.before
        names, past = pair.before.names, self.comparison.connection
        found = past_row(past, pair.before, pair.columns, change.before, names)
        assert found is not None
        return Change((change.before[0], *found), None)

    def _pairs(self) -> Iterator[Pair]:
        for pair in self.comparison.pairs():
            old = self._renamed.get(pair.name)
            if pair.name in self._handled or not self.scope.has(pair.name, old or pair.name):
                continue
            if old is not None:
                before = self.comparison.before.tables[old]
                name = pair.name if self.scope.rows_only else old
                both = replace(pair, name=name, before=before, columns=before.names)
                if self.comparison.suspects(both) is not None:
                    yield both
            elif pair.name not in self._renamed.values():
                yield replace(pair, columns=self._narrowed.get(pair.name, pair.columns))

    def _leave_rows(self, pair: Pair, changes: Callable[[], Iterable[Change]], reason: str) -> None:
        gone = reason == "the table was dropped since"
        rows = sum(1 for change in changes() if change.before is not None or not gone)
        if rows:
            self._leave(pair.name, reason, plural(rows, "row"))

    # ---- after the rows -------------------------------------------------------------------

    def finish(self) -> None:
        for change, sql in self._late:
            if self._try(change.name, sql):
                self.done.append(change)
        for change in self.done:
            if change.type == "table" and change.action == "created":
                self._restore_sequence(change.name)

    def _restore_sequence(self, table: str) -> None:
        """Sets AUTOINCREMENT to go on where it was: keys are never given twice."""
        if ("table", "sqlite_sequence") not in self.comparison.before.objects:
            return
        sql = f"SELECT seq FROM {BEFORE}.sqlite_sequence WHERE name = ?"
        (was,) = self.comparison.connection.execute(sql, (table,)).fetchone() or (None,)
        if was is None:
            return
        self.connection.execute(
            "UPDATE main.sqlite_sequence SET seq = max(seq, ?) WHERE name = ?", (was, table)
        )
        if not self.connection.changes():
            self.connection.execute("INSERT INTO main.sqlite_sequence(name, seq) VALUES (?, ?)", (table, was))

    def indexes_to_rebuild(self) -> set[str]:
        """Full-text indexes over other tables that the difference touched themselves."""
        both = self.comparison.before.tables.keys() & self.comparison.after.tables.keys()
        return {
            name
            for name in both
            if self.comparison.before.tables[name].content is Content.EXTERNAL
            and self.comparison.suspects(self.comparison.pair(name)) is not None
        }


def _filtered(only: Filter, pair: Pair, changes: Callable[[], Iterable[Change]]) -> Iterable[Change]:
    return only(pair, changes())
