"""Taking row changes back in the newest state, leaving alone what has moved on.

Nothing here commits. Triggers and foreign keys are off while rows move, so that only the rows
named are touched; references are checked afterwards (:mod:`mvsqlite_py._references`).
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import apsw

from mvsqlite_py._errors import UndoError
from mvsqlite_py._ledger import ALREADY, CHANGED, CONSTRAINT, DELETED, EXISTS, Ledger, same_value
from mvsqlite_py._rows import Change, Kind, Pair, Row, same
from mvsqlite_py._schema import Table, fold, quoted

SWAP_ATTEMPTS = 50
"""How often a group of rows that block each other is tried with one row fewer."""
BATCH_ROWS = 500
"""How many rows are put back at once; if one cannot be, all of these go one by one."""


@dataclass(frozen=True, slots=True)
class Step:
    """One table's changes to take back. ``changes`` may be called again and gives the same."""

    pair: Pair
    target: Table
    changes: Callable[[], Iterable[Change]]


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


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a row is left as it is, and what it is now."""

    reason: str
    now: Row | None


class Writer:
    """Takes changes of one table back.

    force: the state from before wins over later changes of the same row.
    moved: rowids of rows without a key that were put back under another one.
    """

    def __init__(
        self, connection: apsw.Connection, step: Step, force: bool, moved: dict[int, int] | None = None
    ) -> None:
        self._connection = connection
        self.pair = step.pair
        self._target = target = step.target
        self._force = force
        self._moved = {} if moved is None else moved
        self._name = f"main.{quoted(target.name)}"
        self._or_abort = "" if target.virtual else " OR ABORT"
        columns = {fold(name) for name in target.names}
        spatial = target.virtual and bool(target.key)
        self._rowid_is_hidden = not spatial and fold(target.rowid or "") not in columns
        self._by_rowid = f"{quoted(target.rowid or '')} = ?"
        self._by_key = " AND ".join(f"{quoted(name)} = ?" for name in self.pair.key)
        self._select = self._select_of(self.pair.columns)

    # ---- one row ------------------------------------------------------------------

    def _where(self, row: Row) -> tuple[str, Row]:
        if self._target.rowid and self._target.rowid_is_key:
            return self._by_rowid, (self._moved.get(row[0], row[0]),)
        key = self.pair.key_of(row)
        if self._target.rowid and key[0] is None:
            return self._by_rowid, (row[0],)
        return self._by_key, key

    def _select_of(self, columns: tuple[str, ...]) -> str:
        rowid = quoted(self._target.rowid) if self._target.rowid else "NULL"
        return f"SELECT {', '.join([rowid, *map(quoted, columns)])} FROM {self._name} WHERE "

    def current(self, row: Row, columns: tuple[str, ...] | None = None) -> Row | None:
        """The row of that key as it is now."""
        where, values = self._where(row)
        select = self._select if columns is None else self._select_of(columns)
        found: Row | None = self._connection.execute(select + where, values).fetchone()
        return found

    def take_back(self, change: Change) -> Refusal | Kind:
        """What was done to make the row as it was, or why that was not. Raises apsw.ConstraintError."""
        if change.after is None:
            assert change.before is not None
            return self._put_back(change.before)
        now = self.current(change.after)
        if now is None:
            return self._missing(change, now)
        places = self.modified(change)
        if any(not same_value(now[i], change.after[i]) for i in places):
            if change.before is not None and all(same_value(now[i], change.before[i]) for i in places):
                return Refusal(ALREADY, now)
            if not self._force:
                return Refusal(CHANGED, now)
        if change.before is None:
            self.delete(change.after)
            return "removed"
        self._set(change.after, change.before, places)
        return "changed"

    def _missing(self, change: Change, now: Row | None) -> Refusal | Kind:
        """Of a row that was to be removed or set back and is gone."""
        if change.before is None:
            return Refusal(ALREADY, now)
        if not self._force:
            return Refusal(DELETED, now)
        self.insert(self.pair.columns, change.before)
        return "added"

    def modified(self, change: Change) -> list[int]:
        """The places of the values that the change changed: all, if it added or removed the row."""
        places = range(1, 1 + len(self.pair.columns))
        if change.before is None or change.after is None:
            return list(places)
        return [i for i in places if not same_value(change.before[i], change.after[i])]

    def delete(self, row: Row) -> None:
        where, values = self._where(row)
        self._connection.execute(f"DELETE FROM {self._name} WHERE {where}", values)

    def _set(self, row: Row, to: Row, places: list[int]) -> None:
        where, values = self._where(row)
        columns = ", ".join(f"{quoted(self.pair.columns[i - 1])} = ?" for i in places)
        sql = f"UPDATE{self._or_abort} {self._name} SET {columns} WHERE {where}"
        self._connection.execute(sql, (*(to[i] for i in places), *values))

    def _put_back(self, row: Row) -> Refusal | Kind:
        now = self.holder(row)
        if now is None or not (self.known(row) or same(now, row)):
            self.insert(self.pair.columns, row)
            return "added"
        if same(now, row):
            return Refusal(ALREADY, now)
        if not self._force:
            return Refusal(EXISTS, now)
        self._set(row, row, list(range(1, len(row))))
        return "changed"

    def known(self, row: Row) -> bool:
        """Whether the row has a key that no other can have: a rowid alone is given to others."""
        return self._target.virtual or (bool(self.pair.key) and self.pair.key_of(row)[0] is not None)

    def holder(self, row: Row) -> Row | None:
        """The row that has the key, or the rowid, of one to be put back."""
        return self.current(row) if self.known(row) or self._target.rowid else None

    def insert(self, columns: tuple[str, ...], row: Row) -> None:
        """Inserts a row, with the rowid it had where that is free and not a column."""
        sql, with_rowid = self._insert_of(columns)
        if not with_rowid:
            self._connection.execute(sql, row[1:])
            return
        try:
            self._connection.execute(sql, row)
        except apsw.ConstraintError:
            if self._target.virtual or self._rowid_is_free(row[0]):
                raise
            sql = self._insert_sql([quoted(name) for name in columns])
            self._connection.execute(sql, row[1:])
            if not self.pair.key:
                self._moved[row[0]] = self._connection.last_insert_rowid()

    def insert_all(self, rows: list[Row]) -> None:
        """Inserts rows where no key and no rowid may be taken. Raises apsw.ConstraintError."""
        sql, with_rowid = self._insert_of(self.pair.columns)
        self._connection.executemany(sql, rows if with_rowid else [row[1:] for row in rows])

    def _insert_of(self, columns: tuple[str, ...]) -> tuple[str, bool]:
        names = [quoted(name) for name in columns]
        with_rowid = self._target.rowid is not None and self._rowid_is_hidden
        return self._insert_sql(
            [quoted(self._target.rowid or ""), *names] if with_rowid else names
        ), with_rowid

    def _insert_sql(self, names: list[str]) -> str:
        marks = ", ".join("?" * len(names))
        return f"INSERT{self._or_abort} INTO {self._name} ({', '.join(names)}) VALUES ({marks})"

    def _rowid_is_free(self, rowid: int) -> bool:
        sql = f"SELECT 1 FROM {self._name} WHERE {self._by_rowid}"
        return self._connection.execute(sql, (rowid,)).fetchone() is None

    # ---- rows that block each other -----------------------------------------------

    def exchange(self, changes: list[Change]) -> list[Kind]:
        """Takes all out, then puts all in as they were: for unique values that moved in a circle.

        Returns what was done to each. Raises _Stuck with the change at fault; the caller rolls back then.
        """
        columns = self._target.names
        place = {fold(name): 1 + i for i, name in enumerate(columns)}
        wanted: list[tuple[Change, tuple[str, ...], Row]] = []
        for change in changes:
            assert change.before is not None
            row = None if change.after is None else self.current(change.after, columns)
            if row is None:
                wanted.append((change, self.pair.columns, change.before))
                continue
            restored = list(row)
            for i in self.modified(change):
                restored[place[fold(self.pair.columns[i - 1])]] = change.before[i]
            wanted.append((change, columns, tuple(restored)))
        kinds: list[Kind] = []
        for change in changes:
            row = change.after or change.before
            assert row is not None
            there = (change.after is not None or self.known(row)) and self.current(row) is not None
            kinds.append("changed" if there else "added")
            if there:
                self.delete(row)
        for change, names, row in wanted:
            try:
                self.insert(names, row)
            except apsw.ConstraintError as error:
                raise _Stuck(change, str(error)) from error
        return kinds


class _Stuck(Exception):
    def __init__(self, change: Change, why: str) -> None:
        super().__init__(why)
        self.change = change


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


@dataclass(frozen=True, slots=True)
class _Blocked:
    """A change that something else stands in the way of, which may yet move."""

    change: Change
    refusal: Refusal
    detail: str | None = None


def take_back(
    connection: apsw.Connection, steps: list[Step], exclusions: Exclusions, ledger: Ledger, *, force: bool
) -> None:
    """Takes the changes of all steps back, as far as that is possible row by row."""
    passes = [_Pass(connection, step, exclusions, ledger, force) for step in steps]
    for one in passes:
        name = one.step.pair.name
        try:
            one.first()
        except UnicodeDecodeError as error:
            raise UndoError(
                f'a row of "{name}" holds text that is no UTF-8: it cannot be taken back row by row'
            ) from error
        except apsw.SQLError as error:
            raise UndoError(f'the rows of "{name}" cannot be written from here: {error}') from error
    for one in passes:
        one.again()


class _Pass:
    """The rows of one step."""

    def __init__(
        self, connection: apsw.Connection, step: Step, exclusions: Exclusions, ledger: Ledger, force: bool
    ) -> None:
        self.step = step
        self._connection = connection
        self._excluded = exclusions.of(step.pair)
        self._ledger = ledger
        self._moved = ledger.moved.setdefault(fold(step.target.name), {})
        self._writer = Writer(connection, step, force, self._moved)
        self._blocked: list[_Blocked] = []

    def first(self) -> None:
        """Tries each change once; keeps those that something stands in the way of."""
        batch: list[Change] = []
        for change in self.step.changes():
            if self._ledger.met(self.step.pair, change):
                continue
            if why := self._excluded(change):
                self._ledger.leave(self.step.pair, change, CONSTRAINT, why, self._now(change))
            elif change.after is None:
                batch.append(change)
                if len(batch) == BATCH_ROWS:
                    self._put_back(batch)
                    batch = []
            else:
                self._try(change, self._blocked)
        self._put_back(batch)

    def _put_back(self, batch: list[Change]) -> None:
        if not batch:
            return
        try:
            with savepoint(self._connection):
                self._writer.insert_all([change.before for change in batch if change.before is not None])
        except apsw.ConstraintError:
            for change in batch:
                self._try(change, self._blocked)
        else:
            for change in batch:
                self._ledger.did(self.step.pair, change, "added")

    def _try(self, change: Change, blocked: list[_Blocked]) -> None:
        """Takes one change back, or notes that it cannot be, or that it is blocked."""
        try:
            refusal = self._writer.take_back(change)
        except apsw.ConstraintError as error:
            blocked.append(_Blocked(change, Refusal(CONSTRAINT, None), str(error)))
            return
        if not isinstance(refusal, Refusal):
            self._ledger.did(self.step.pair, change, refusal)
        elif refusal.reason == EXISTS:
            blocked.append(_Blocked(change, refusal))
        else:
            self._ledger.leave(self.step.pair, change, refusal.reason, None, refusal.now)

    def again(self) -> None:
        """Tries the blocked ones again while that helps, then all at once; notes what is left."""
        while self._blocked:
            left: list[_Blocked] = []
            for one in self._blocked:
                self._try(one.change, left)
            helped, self._blocked = len(left) < len(self._blocked), left
            if not helped:
                break
        for one in self._blocked:
            if one.refusal.reason == EXISTS:
                self._ledger.leave(self.step.pair, one.change, EXISTS, None, one.refusal.now)
        for one in self._exchange([b for b in self._blocked if b.refusal.reason != EXISTS]):
            now = self._now(one.change)
            self._ledger.leave(self.step.pair, one.change, CONSTRAINT, one.detail, now)

    def _now(self, change: Change) -> Row | None:
        row = change.after or change.before
        assert row is not None
        return self._writer.current(row) if change.after or self._writer.known(row) else None

    def _exchange(self, blocked: list[_Blocked]) -> list[_Blocked]:
        """Moves rows that block each other all at once; returns those that cannot move at all."""
        changes, stuck = [one.change for one in blocked], []
        for _ in range(SWAP_ATTEMPTS):
            if len(changes) < 2:
                break
            moved = dict(self._moved)
            try:
                with savepoint(self._connection):
                    kinds = self._writer.exchange(changes)
            except _Stuck as error:
                self._moved.clear()
                self._moved.update(moved)
                changes.remove(error.change)
                stuck.append(_Blocked(error.change, Refusal(CONSTRAINT, None), str(error)))
            else:
                for change, kind in zip(changes, kinds, strict=True):
                    self._ledger.did(self.step.pair, change, kind)
                return stuck
        return stuck + [one for one in blocked if one.change in changes]
