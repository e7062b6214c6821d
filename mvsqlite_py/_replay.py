"""SQL that makes one state of a database out of another: what changed, as statements.

The order is made so that no statement meets what it would trip over. Triggers of the tables
concerned go first and come back last, for the rows they wrote are among the changes. Foreign keys
are off, for a cascade would delete what is to stay. In each table rows that go, or whose unique
values move, are deleted before any row comes, so that values may be swapped. A table that was
altered is made anew, and rows that did not change are copied inside the database.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from mvsqlite_py._literals import literal
from mvsqlite_py._rows import AFTER, BEFORE, ENCODINGS, Change, Comparison, Pair, Row, SchemaChange, untold
from mvsqlite_py._schema import Content, Object, Table, fold, quoted

OLD = "mv_replay_old"
"""The name of a table while its successor is filled. Made free by a number if it is taken."""
HEADER_VALUES = ("user_version", "application_id")


def replay(comparison: Comparison) -> Iterator[str]:
    """The statements, each with its semicolon; none if nothing differs.

    ``comparison.skipped`` tells afterwards which tables are left as they are.
    """
    plan = _Plan(comparison)
    body = plan.statements()
    first = next(body, None)
    if first is None:
        return
    yield from plan.settings()
    yield "BEGIN IMMEDIATE;"
    yield first
    yield from body
    yield "COMMIT;"
    if plan.copied:
        yield "PRAGMA legacy_alter_table = OFF;"


@dataclass
class _Plan:
    comparison: Comparison
    changes: list[SchemaChange] = field(init=False)
    pairs: list[Pair] = field(init=False)
    """Tables in both states with rows that differ, and new ones; none that was altered."""
    anew: list[Pair] = field(default_factory=list, init=False)
    """Altered tables of which all rows are written."""
    copied: list[Pair] = field(default_factory=list, init=False)
    """Altered tables of which rows that did not change are copied."""

    def __post_init__(self) -> None:
        self.changes = self.comparison.schema_changes()
        altered = self._named("altered", "table")
        for name in sorted(altered):
            pair = self.comparison.pair(name)
            if _can_copy(pair):
                self.copied.append(pair)
            else:
                whole = Pair(name, None, pair.after, pair.table.names)
                self.anew.append(whole)
                if not untold(whole.table):
                    self.comparison.count(whole)  # which notices text that is no UTF-8
        self.pairs = [
            pair
            for name in sorted(self.comparison.after.tables)
            for pair, _ in self.comparison.told(name)
            if pair.name == name and name not in altered
        ]
        self._gone = {fold(name) for name in self._named("dropped", "table") | self._named("dropped", "view")}
        self._remade = {fold(name) for name in altered}
        self._touched = self._remade | {fold(pair.name) for pair in self.pairs}

    def _named(self, action: str, kind: str) -> set[str]:
        return {one.name for one in self.changes if (one.action, one.type) == (action, kind)}

    # ---- the whole -------------------------------------------------------------------

    def settings(self) -> Iterator[str]:
        encoding = self._pragma(AFTER, "encoding")
        if not self.comparison.before.objects and encoding != ENCODINGS[0]:
            yield f"PRAGMA encoding = {literal(encoding)};"
        yield "PRAGMA foreign_keys = OFF;"
        if self.copied:
            yield "PRAGMA legacy_alter_table = ON;"

    def _pragma(self, schema: str, name: str) -> object:
        return self.comparison.value(f"PRAGMA {schema}.{name}")

    def statements(self) -> Iterator[str]:
        yield from self._drop_triggers()
        for kind in ("view", "index"):
            yield from self._drop(kind)
        for name in sorted(self._named("dropped", "table")):
            yield f"DROP TABLE {quoted(name)};"
        for pair in self.copied:
            yield from self._copy(pair)
        for pair in self.anew:
            yield f"DROP TABLE {quoted(pair.name)};"
            yield _made(self.comparison.after.objects["table", pair.name])
            yield from self._inserts(pair)
        for name in sorted(self._named("created", "table")):
            yield _made(self.comparison.after.objects["table", name])
        for pair in self.pairs:
            yield from self._rows(pair)
        yield from self._rebuild()
        for kind in ("index", "view", "trigger"):
            yield from self._create_all(kind)
        yield from self._sequences()
        for name in HEADER_VALUES:
            value = self._pragma(AFTER, name)
            if value != self._pragma(BEFORE, name):
                yield f"PRAGMA {name} = {value};"

    # ---- schema ----------------------------------------------------------------------

    def _objects(self, which: int, kind: str) -> Iterable[Object]:
        schema = (self.comparison.before, self.comparison.after)[which]
        own = (one for one in schema.objects.values() if one.type == kind and one.sql)
        return sorted(own, key=lambda one: one.name)

    def _stays(self, trigger: Object) -> bool:
        """Whether a trigger of the older state is as it was, and fires for no row written here."""
        later = self.comparison.after.objects.get(("trigger", trigger.name))
        views = self._named("altered", "view")
        return (
            later is not None
            and later.sql == trigger.sql
            and fold(trigger.table) not in self._touched | self._gone | {fold(name) for name in views}
        )

    def _drop_triggers(self) -> Iterator[str]:
        for trigger in self._objects(0, "trigger"):
            if not self._stays(trigger) and fold(trigger.table) not in self._gone:
                yield f"DROP TRIGGER {quoted(trigger.name)};"

    def _drop(self, kind: str) -> Iterator[str]:
        for one in self._objects(0, kind):
            dropped = any(
                (change.type, change.name) == (kind, one.name) and change.action != "created"
                for change in self.changes
            )
            with_its_table = kind == "index" and fold(one.table) in self._gone | self._remade
            if dropped and not with_its_table:
                yield f"DROP {kind.upper()} {quoted(one.name)};"

    def _create_all(self, kind: str) -> Iterator[str]:
        made = {one.name for one in self.changes if one.type == kind and one.action != "dropped"}
        before = {one.name: one for one in self._objects(0, "trigger")}
        for one in self._objects(1, kind):
            if kind == "trigger":
                wanted = one.name not in before or not self._stays(before[one.name])
            else:
                with_its_table = kind == "index" and fold(one.table) in self._gone | self._remade
                wanted = one.name in made or with_its_table
            if wanted:
                yield _made(one)

    # ---- rows ------------------------------------------------------------------------

    def _rows(self, pair: Pair) -> Iterator[str]:
        moving = self._moving(pair) if pair.before else set()
        if pair.before:
            for change in self.comparison.changes(pair):
                if change.after is None or _moves(pair, change, moving):
                    yield _delete(pair, change, pair.name)
                elif change.before is not None:
                    yield _update(pair, change.before, change.after)
        yield from self._inserts(pair, moving)

    def _inserts(self, pair: Pair, moving: set[str] | None = None) -> Iterator[str]:
        if untold(pair.table):
            return
        for change in self.comparison.changes(pair):
            if change.after is not None and (change.before is None or _moves(pair, change, moving)):
                yield _insert(pair, change.after)

    def _moving(self, pair: Pair) -> set[str] | None:
        """The columns whose values must be unique; None: any column may take part."""
        if pair.table.virtual:
            return set()
        found = {fold(name) for name in pair.key}
        schema, name = BEFORE, pair.name
        for index, partial in self.comparison.query(
            f"SELECT name, partial FROM pragma_index_list({literal(name)}, '{schema}') WHERE \"unique\""
        ):
            columns = self.comparison.query(
                f"SELECT name FROM pragma_index_xinfo({literal(index)}, '{schema}') WHERE key"
            )
            plain = {fold(column) for (column,) in columns if column is not None}
            if partial or len(plain) < len(columns) or not plain <= {fold(name) for name in pair.columns}:
                return None
            found |= plain
        return found

    def _copy(self, pair: Pair) -> Iterator[str]:
        """An altered table: what goes or changes is deleted, the rest copied, the new rows written."""
        old = _free(OLD, self.comparison)
        yield f"ALTER TABLE {quoted(pair.name)} RENAME TO {quoted(old)};"
        for change in self.comparison.changes(pair):
            if change.before is not None:
                yield _delete(pair, change, old)
        yield _made(self.comparison.after.objects["table", pair.name])
        assert pair.before
        columns = [quoted(name) for name in pair.before.names]
        if pair.before.rowid and fold(pair.before.rowid) not in map(fold, pair.before.names):
            columns.insert(0, quoted(pair.before.rowid))
        names = ", ".join(columns)
        yield f"INSERT INTO {quoted(pair.name)} ({names}) SELECT {names} FROM {quoted(old)};"
        yield f"DROP TABLE {quoted(old)};"
        for change in self.comparison.changes(pair):
            if change.after is not None:
                yield _insert(pair, change.after)

    # ---- what follows from rows ---------------------------------------------------------

    def _rebuild(self) -> Iterator[str]:
        """Full-text indexes over tables that were written."""
        views = {fold(one.name) for one in self._objects(1, "view")}
        created = self._named("created", "table") | self._named("altered", "table")
        for table in self.comparison.after.tables.values():
            source = fold(table.content_table or "")
            both = table.name in self.comparison.before.tables
            if table.content is Content.EXTERNAL and (
                source in self._touched
                or table.name in created
                or (source in views and self._touched)
                or (both and self.comparison.suspects(self.comparison.pair(table.name)) is not None)
            ):
                name = quoted(table.name)
                yield f"INSERT INTO {name} ({name}) VALUES ('rebuild');"

    def _sequences(self) -> Iterator[str]:
        """Where AUTOINCREMENT goes on."""
        states = [self._sequence(which) for which in (0, 1)]
        for name in sorted(states[0].keys() | states[1].keys()):
            if fold(name) in self._gone:
                continue
            if states[0].get(name) != states[1].get(name) or fold(name) in self._touched:
                yield f"DELETE FROM sqlite_sequence WHERE name = {literal(name)};"
                if name in states[1]:
                    values = f"{literal(name)}, {literal(states[1][name])}"
                    yield f"INSERT INTO sqlite_sequence (name, seq) VALUES ({values});"

    def _sequence(self, which: int) -> dict[str, object]:
        schema = (self.comparison.before, self.comparison.after)[which]
        if ("table", "sqlite_sequence") not in schema.objects:
            return {}
        return dict(self.comparison.query(f"SELECT name, seq FROM {(BEFORE, AFTER)[which]}.sqlite_sequence"))


def _made(entry: Object) -> str:
    """What makes an object; a comment at its end would hide a semicolon on the same line."""
    return f"{entry.sql}\n;" if "--" in (entry.sql or "") else f"{entry.sql};"


def _can_copy(pair: Pair) -> bool:
    """Whether an altered table only has more columns, whose values follow from their defaults."""
    before, after = pair.before, pair.after
    assert before
    assert after
    old = {fold(name) for name in before.names}
    more = [column for column in after.columns if fold(column.name) not in old]
    return (
        not before.virtual
        and not after.virtual
        and pair.columns == after.names
        and [*map(fold, before.key)] == [*map(fold, after.key)]
        and (before.rowid, before.rowid_is_key) == (after.rowid, after.rowid_is_key)
        and old <= {fold(name) for name in after.names}
        and all(_constant(column.default) for column in more)
    )


def _constant(default: str | None) -> bool:
    return default is None or not ("(" in default or fold(default).startswith("current_"))


def _free(name: str, comparison: Comparison) -> str:
    taken = {fold(one) for schema in (comparison.before, comparison.after) for _, one in schema.objects}
    return next(one for one in (name, *(f"{name}{i}" for i in range(len(taken)))) if one not in taken)


def _moves(pair: Pair, change: Change, moving: set[str] | None) -> bool:
    """Whether a changed row must be taken out before others come in."""
    if change.before is None or change.after is None:
        return False
    if moving is None:
        return True
    return any(fold(pair.columns[i - 1]) in moving for i in _modified(pair, change.before, change.after))


def _modified(pair: Pair, before: Row, after: Row) -> list[int]:
    def differ(i: int) -> bool:
        return type(before[i]) is not type(after[i]) or bool(before[i] != after[i])

    return [i for i in range(1, 1 + len(pair.columns)) if differ(i)]


def _where(pair: Pair, table: Table, row: Row) -> str:
    key = pair.key_of(row)
    if key[0] is None:
        return f"{quoted(table.rowid or 'rowid')} = {row[0]}"
    both = zip(pair.key, key, strict=True)
    return " AND ".join(f"{quoted(name)} = {literal(value)}" for name, value in both)


def _delete(pair: Pair, change: Change, name: str) -> str:
    assert change.before is not None
    assert pair.before is not None
    return f"DELETE FROM {quoted(name)} WHERE {_where(pair, pair.before, change.before)};"


def _update(pair: Pair, before: Row, after: Row) -> str:
    assert pair.before is not None
    values = ", ".join(
        f"{quoted(pair.columns[i - 1])} = {literal(after[i])}" for i in _modified(pair, before, after)
    )
    return f"UPDATE {quoted(pair.name)} SET {values} WHERE {_where(pair, pair.before, before)};"


def _insert(pair: Pair, row: Row) -> str:
    """A row; with its rowid where rows are told apart by that alone and it is no column."""
    names, values = list(pair.columns), list(row[1:])
    rowid = pair.table.rowid
    if rowid and pair.by_rowid and not pair.key:
        names, values = [rowid, *names], list(row)
    columns = ", ".join(quoted(name) for name in names)
    return f"INSERT INTO {quoted(pair.name)} ({columns}) VALUES ({', '.join(map(literal, values))});"
