"""Taking row changes back in the newest state, leaving alone what has moved on.

Nothing here commits. Triggers and foreign keys are off while rows move, so that only the rows
named are touched; references are checked afterwards (:mod:`mvsqlite_py._references`).
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import apsw

from mvsqlite_py._errors import UndoError
from mvsqlite_py._rows import Change, Kind, Pair, Row, RowCounts
from mvsqlite_py._schema import Table, fold, quoted

CHANGED = "changed since"
DELETED = "deleted since"
EXISTS = "a row with that key exists again"
CONSTRAINT = "constraint"
SWAP_ATTEMPTS = 50
"""How often a group of rows that block each other is tried with one row fewer."""


@dataclass(frozen=True, slots=True)
class Untouched:
    """A row (or with an empty key a whole table or object) that was left as it is, and why."""

    table: str
    key: dict[str, Any]
    reason: str
    """``changed since``, ``deleted since``, ``a row with that key exists again``, ``constraint``,
    or of a whole table or object what happened to it."""
    detail: str | None = None


@dataclass
class Outcome:
    """What happened to the newest state."""

    tables: dict[str, RowCounts] = field(default_factory=dict)
    untouched: list[Untouched] = field(default_factory=list)

    def did(self, table: str, kind: Kind) -> None:
        counts = self.tables.get(table, RowCounts())
        self.tables[table] = replace(counts, **{kind: getattr(counts, kind) + 1})


@dataclass(frozen=True, slots=True)
class Step:
    """One table's changes to take back. ``changes`` may be called again and gives the same."""

    pair: Pair
    target: Table
    changes: Callable[[], Iterable[Change]]


INVERSE: dict[Kind, Kind] = {"added": "removed", "removed": "added", "changed": "changed"}


class Exclusions:
    """Rows to leave alone for the sake of a foreign key, by the values of some columns.

    ``restored``: rows whose state to be restored has the values; otherwise the state to be given up.
    """

    def __init__(self) -> None:
        self._by_columns: dict[tuple[str, bool, tuple[str, ...]], dict[Row, str]] = {}

    def add(self, table: str, restored: bool, columns: tuple[str, ...], values: Row, why: str) -> None:
        self._by_columns.setdefault((fold(table), restored, columns), {})[values] = why

    def __len__(self) -> int:
        return sum(map(len, self._by_columns.values()))

    def of(self, pair: Pair) -> Callable[[Change], str | None]:
        """A function that says why a change of this table is to be left alone, if it is."""
        positions = {fold(name): 1 + i for i, name in enumerate(pair.columns)}
        rules = [
            (restored, [positions[fold(name)] for name in columns], values)
            for (table, restored, columns), values in self._by_columns.items()
            if table == fold(pair.name) and all(fold(name) in positions for name in columns)
        ]

        def why(change: Change) -> str | None:
            for restored, places, values in rules:
                row = change.before if restored else change.after
                if row is not None and (found := values.get(tuple(row[i] for i in places))):
                    return found
            return None

        return why


class Writer:
    """Takes changes of one table back."""

    def __init__(self, connection: apsw.Connection, pair: Pair, target: Table) -> None:
        self._connection = connection
        self._pair = pair
        self._target = target
        self._name = f"main.{quoted(target.name)}"
        self._or_abort = "" if target.virtual else " OR ABORT"
        columns = {fold(name) for name in target.names}
        spatial = target.virtual and bool(target.key)
        self._rowid_is_hidden = not spatial and fold(target.rowid or "") not in columns

    # ---- one row ------------------------------------------------------------------

    def _where(self, row: Row) -> tuple[str, Row]:
        key = self._pair.key_of(row)
        if self._target.rowid and (self._target.rowid_is_key or key[0] is None):
            return f"{quoted(self._target.rowid)} = ?", (row[0],)
        return " AND ".join(f"{quoted(name)} = ?" for name in self._pair.key), key

    def current(self, row: Row, columns: Iterable[str] | None = None) -> Row | None:
        """The row of that key as it is now."""
        where, values = self._where(row)
        names = [quoted(name) for name in (self._pair.columns if columns is None else columns)]
        rowid = quoted(self._target.rowid) if self._target.rowid else "NULL"
        sql = f"SELECT {', '.join([rowid, *names])} FROM {self._name} WHERE {where}"
        found: Row | None = self._connection.execute(sql, values).fetchone()
        return found

    def take_back(self, change: Change) -> str | None:
        """None if the row is now as it was; else why not. Raises apsw.ConstraintError."""
        if change.after is None:
            assert change.before is not None
            return self._put_back(change.before)
        now = self.current(change.after)
        if now is None:
            return DELETED
        places = self.modified(change)
        if any(not _same_value(now[i], change.after[i]) for i in places):
            return CHANGED
        if change.before is None:
            self.delete(change.after)
        else:
            self._set(change.after, change.before, places)
        return None

    def modified(self, change: Change) -> list[int]:
        """The places of the values that the change changed: all, if it added or removed the row."""
        places = range(1, 1 + len(self._pair.columns))
        if change.before is None or change.after is None:
            return list(places)
        return [i for i in places if not _same_value(change.before[i], change.after[i])]

    def delete(self, row: Row) -> None:
        where, values = self._where(row)
        self._connection.execute(f"DELETE FROM {self._name} WHERE {where}", values)

    def _set(self, row: Row, to: Row, places: list[int]) -> None:
        where, values = self._where(row)
        columns = ", ".join(f"{quoted(self._pair.columns[i - 1])} = ?" for i in places)
        sql = f"UPDATE{self._or_abort} {self._name} SET {columns} WHERE {where}"
        self._connection.execute(sql, (*(to[i] for i in places), *values))

    def _put_back(self, row: Row) -> str | None:
        try:
            self.insert(self._pair.columns, row)
        except apsw.ConstraintError:
            has_key = bool(self._pair.key) and self._pair.key_of(row)[0] is not None
            if (has_key or self._target.virtual) and self.current(row) is not None:
                return EXISTS
            raise
        return None

    def insert(self, columns: tuple[str, ...], row: Row) -> None:
        """Inserts a row, with the rowid it had where that is free and not a column."""
        rowid = self._target.rowid
        names = [quoted(name) for name in columns]
        if rowid is None or not self._rowid_is_hidden:
            self._insert(names, row[1:])
            return
        try:
            self._insert([quoted(rowid), *names], row)
        except apsw.ConstraintError:
            if self._target.virtual or self._rowid_is_free(row[0]):
                raise
            self._insert(names, row[1:])

    def _insert(self, names: list[str], values: Row) -> None:
        marks = ", ".join("?" * len(names))
        sql = f"INSERT{self._or_abort} INTO {self._name} ({', '.join(names)}) VALUES ({marks})"
        self._connection.execute(sql, values)

    def _rowid_is_free(self, rowid: int) -> bool:
        sql = f"SELECT 1 FROM {self._name} WHERE {quoted(self._target.rowid or '')} = ?"
        return self._connection.execute(sql, (rowid,)).fetchone() is None

    # ---- rows that block each other -----------------------------------------------

    def exchange(self, changes: list[Change]) -> None:
        """Takes all out, then puts all in as they were: for unique values that moved in a circle.

        Raises apsw.ConstraintError with ``stuck`` set to the change at fault; nothing is done then.
        """
        columns = self._target.names
        place = {fold(name): 1 + i for i, name in enumerate(columns)}
        wanted: list[tuple[Change, tuple[str, ...], Row]] = []
        for change in changes:
            assert change.before is not None
            if change.after is None:
                wanted.append((change, self._pair.columns, change.before))
                continue
            row = self.current(change.after, columns)
            assert row is not None
            restored = list(row)
            for i in self.modified(change):
                restored[place[fold(self._pair.columns[i - 1])]] = change.before[i]
            wanted.append((change, columns, tuple(restored)))
        for change in changes:
            if change.after is not None:
                self.delete(change.after)
        for change, names, row in wanted:
            try:
                self.insert(names, row)
            except apsw.ConstraintError as error:
                raise _Stuck(change, str(error)) from error


class _Stuck(Exception):
    def __init__(self, change: Change, why: str) -> None:
        super().__init__(why)
        self.change = change


def _same_value(a: Any, b: Any) -> bool:
    return type(a) is type(b) and bool(a == b)


@contextlib.contextmanager
def savepoint(connection: apsw.Connection) -> Iterator[None]:
    """Everything inside, or nothing if it raises."""
    connection.execute("SAVEPOINT mv_apply")
    try:
        yield
    except BaseException:
        if connection.in_transaction:  # after some errors SQLite has rolled everything back itself
            connection.execute("ROLLBACK TO mv_apply; RELEASE mv_apply")
        raise
    connection.execute("RELEASE mv_apply")


def take_back(connection: apsw.Connection, steps: list[Step], exclusions: Exclusions) -> Outcome:
    """Takes the changes of all steps back, as far as that is possible row by row."""
    outcome = Outcome()
    blocked: list[tuple[Step, Writer, list[tuple[Change, str]]]] = []
    for step in steps:
        writer = Writer(connection, step.pair, step.target)
        try:
            blocked.append((step, writer, _first_pass(step, writer, exclusions, outcome)))
        except UnicodeDecodeError as error:
            raise UndoError(
                f'a row of "{step.pair.name}" holds text that is no UTF-8: it cannot be taken back row by row'
            ) from error
        except apsw.SQLError as error:
            raise UndoError(f'the rows of "{step.pair.name}" cannot be written from here: {error}') from error
    for step, writer, changes in blocked:
        left = _retry(step, writer, changes, outcome)
        again = [change for change, why in left if why == EXISTS]
        outcome.untouched += [untouched(step.pair, change, EXISTS) for change in again]
        left = [(change, why) for change, why in left if why != EXISTS]
        for change, why in _exchange(connection, step, writer, left, outcome):
            outcome.untouched.append(untouched(step.pair, change, CONSTRAINT, why))
    return outcome


def untouched(pair: Pair, change: Change, reason: str, detail: str | None = None) -> Untouched:
    row = change.after or change.before
    assert row is not None
    return Untouched(pair.name, pair.told_key(row), reason, detail)


def _first_pass(
    step: Step, writer: Writer, exclusions: Exclusions, outcome: Outcome
) -> list[tuple[Change, str]]:
    """Tries each change once; returns those that a constraint stopped."""
    blocked = []
    excluded = exclusions.of(step.pair)
    for change in step.changes():
        if why := excluded(change):
            outcome.untouched.append(untouched(step.pair, change, CONSTRAINT, why))
            continue
        if why := _try(step, writer, change, outcome):
            blocked.append((change, why))
    return blocked


def _try(step: Step, writer: Writer, change: Change, outcome: Outcome) -> str | None:
    """Takes one change back, or notes that it cannot be; returns what stopped it if that may go away."""
    try:
        reason = writer.take_back(change)
    except apsw.ConstraintError as error:
        return str(error)
    if reason == EXISTS:
        return EXISTS
    if reason:
        outcome.untouched.append(untouched(step.pair, change, reason))
    else:
        outcome.did(step.pair.name, INVERSE[change.kind])
    return None


def _retry(
    step: Step, writer: Writer, blocked: list[tuple[Change, str]], outcome: Outcome
) -> list[tuple[Change, str]]:
    """Tries again while that helps: a later change may have made room."""
    while blocked:
        left = []
        for change, _ in blocked:
            if why := _try(step, writer, change, outcome):
                left.append((change, why))
        if len(left) == len(blocked):
            return left
        blocked = left
    return []


def _exchange(
    connection: apsw.Connection,
    step: Step,
    writer: Writer,
    blocked: list[tuple[Change, str]],
    outcome: Outcome,
) -> list[tuple[Change, str]]:
    """Moves rows that block each other all at once; returns those that cannot move at all."""
    changes, stuck = [change for change, _ in blocked], []
    for _ in range(SWAP_ATTEMPTS):
        if len(changes) < 2:
            break
        try:
            with savepoint(connection):
                writer.exchange(changes)
        except _Stuck as error:
            changes.remove(error.change)
            stuck.append((error.change, str(error)))
        else:
            for change in changes:
                outcome.did(step.pair.name, INVERSE[change.kind])
            return stuck
    return stuck + [(change, why) for change, why in blocked if change in changes]
