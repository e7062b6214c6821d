"""Taking one commit back row by row, or one table back to a past state, and keeping all other work."""

import contextlib
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

import apsw

from mvsqlite_py._apply import Exclusions, Outcome, Step, Untouched, savepoint, take_back
from mvsqlite_py._database import Database, Version
from mvsqlite_py._errors import BusyError, ConflictError, UndoError
from mvsqlite_py._pages import page_difference
from mvsqlite_py._references import References
from mvsqlite_py._rows import (
    AFTER,
    BEFORE,
    Comparison,
    Pair,
    RowCounts,
    SchemaChange,
    attach,
)
from mvsqlite_py._schema import Content, Object, Schema, Table, fold, quoted, read_schema

REFERENCE_ROUNDS = 20
"""How often rows are set aside for the sake of foreign keys before giving up."""
MOVED_ROUNDS = 20
"""How often the newest state may move on between looking and locking."""


@dataclass(frozen=True, slots=True)
class UndoReport:
    """What taking a version back did to the newest state, or would do."""

    version: str
    """The version taken back; of :func:`revert_table`, the one gone back to."""
    tables: dict[str, RowCounts]
    """What happened to the rows of each table: ``added`` were put back, ``removed`` taken out."""
    untouched: list[Untouched]
    """What was left alone, and why."""
    objects: list[SchemaChange]
    """Tables, indexes, views and triggers made again or dropped."""
    made: str | None
    """The new version; None if there was nothing to do, or nothing was asked to be done."""

    @property
    def nothing(self) -> bool:
        """Whether no row and no object was, or would be, changed."""
        return not any(self.tables.values()) and not self.objects


def undo(database: Database, version: str, *, timeout: float = 5.0) -> UndoReport:
    """Takes back what one commit did, as a commit of its own, and keeps later work.

    Rows that later commits changed are left alone and reported. timeout: seconds to wait for
    another writer. Raises VersionNotFoundError, BusyError, and UndoError for what cannot be
    taken back row by row; then nothing is done.
    """
    return _undo(database, version, timeout, commit=True)


def plan_undo(database: Database, version: str, *, timeout: float = 5.0) -> UndoReport:
    """What :func:`undo` would do now: it is done and rolled back."""
    return _undo(database, version, timeout, commit=False)


def revert_table(
    database: Database,
    table: str,
    version: str,
    *,
    message: str | None = None,
    timeout: float = 5.0,
    dry_run: bool = False,
) -> UndoReport:
    """Sets one table to its state at a version, as one commit, keeping all other tables.

    A table dropped since is made again with its indexes and triggers. Raises UndoError if its
    columns were altered since, if there was no such table, or if foreign keys would break.
    """
    work = _TableRevert(database, database.version(version), table)
    return work.run(message or f'table "{table}" as of {version}', timeout, commit=not dry_run)


def _undo(database: Database, version: str, timeout: float, commit: bool) -> UndoReport:
    entry = database.version(version)
    if entry.previous is None:
        raise UndoError(
            f"version {entry.version} is the first of {database.name!r}: there is no earlier state. "
            f"To be rid of the database: {_command('mvsqlite rm', database.name)}"
        )
    return _Undo(database, entry).run(f"undo of {entry.version}", timeout, commit)


def _command(*words: str) -> str:
    first, *rest = words
    return " ".join([first, *(shlex.quote(word) for word in rest)])


@contextlib.contextmanager
def _writer(database: Database, before: str, after: str, timeout: float) -> Iterator[apsw.Connection]:
    """A connection that can apply rows as they are: no trigger fires, no foreign key acts."""
    connection = database.connect(timeout=timeout, create=False)
    try:
        connection.config(apsw.SQLITE_DBCONFIG_ENABLE_TRIGGER, 0)
        connection.execute("PRAGMA foreign_keys = OFF")
        attach(connection, database, before, BEFORE)
        attach(connection, database, after, AFTER)
        yield connection
    finally:
        connection.close(True)


@dataclass
class _Work:
    """One transaction that takes things back. Derived classes say what."""

    database: Database
    version: Version
    objects: list[SchemaChange] = field(default_factory=list, init=False)
    untouched: list[Untouched] = field(default_factory=list, init=False)
    late: list[str] = field(default_factory=list, init=False)
    """SQL to run after the rows are there: indexes, triggers."""

    def states(self) -> tuple[str, str]:
        """The states whose difference is taken back."""
        raise NotImplementedError

    def still_current(self, _connection: apsw.Connection) -> bool:
        return True

    def steps(self, connection: apsw.Connection, comparison: Comparison, now: Schema) -> list[Step]:
        raise NotImplementedError

    # ---- the transaction ------------------------------------------------------------

    def run(self, message: str, timeout: float, commit: bool) -> UndoReport:
        for _ in range(MOVED_ROUNDS):
            self.objects, self.untouched, self.late = [], [], []
            with contextlib.suppress(ConflictError):
                report = self._attempt(message, timeout, commit)
                if report:
                    return report
        raise BusyError(f"{self.database.name!r} is being changed all the time: try again")

    def _attempt(self, message: str, timeout: float, commit: bool) -> UndoReport | None:
        before, after = self.states()
        with (
            _writer(self.database, before, after, timeout) as connection,
            page_difference(self.database, before, after) as pages,
        ):
            comparison = Comparison(connection, BEFORE, AFTER, pages)
            connection.execute("BEGIN IMMEDIATE")
            if not self.still_current(connection):
                return None
            connection.execute("SELECT mv_message(?)", (message,)).fetchall()
            steps = self.steps(connection, comparison, read_schema(connection, "main"))
            outcome = self._apply(connection, steps)
            self._finish(connection, comparison, set(outcome.tables))
            report = self._report(outcome)
            if not commit or report.nothing:
                connection.execute("ROLLBACK")
                return report
            was = connection.pragma("mv_version")
            connection.execute("COMMIT")
            made = connection.pragma("mv_version")
            return self._report(outcome, made=made if made != was else None)

    def _report(self, outcome: Outcome, made: str | None = None) -> UndoReport:
        left = self.untouched + outcome.untouched
        return UndoReport(self.version.version, outcome.tables, left, self.objects, made)

    def _apply(self, connection: apsw.Connection, steps: list[Step]) -> Outcome:
        """Takes the rows back; those that would break a foreign key are set aside and reported."""
        exclusions = Exclusions()
        references = References(connection, read_schema(connection, "main"), {s.target.name for s in steps})
        allowed = references.violations()
        sentences: set[str] = set()
        for _ in range(REFERENCE_ROUNDS):
            with contextlib.suppress(_Broken), savepoint(connection):
                outcome = take_back(connection, steps, exclusions)
                broken = references.violations() - allowed
                if not broken:
                    return outcome
                known = len(exclusions)
                sentences = {references.exclude(one, exclusions) for one in broken}
                if len(exclusions) == known:
                    break
                raise _Broken
        raise UndoError(f"foreign keys would break, so nothing was done: {'; '.join(sorted(sentences))}")

    def _finish(self, connection: apsw.Connection, comparison: Comparison, touched: set[str]) -> None:
        """What follows from the rows: indexes and triggers of tables made again, full-text indexes."""
        for sql in self.late:
            connection.execute(sql)
        now = read_schema(connection, "main")
        folded = {fold(name) for name in touched}
        views = {fold(name) for kind, name in now.objects if kind == "view"}
        for table in now.tables.values():
            if table.content is not Content.EXTERNAL or not touched:
                continue
            source = fold(table.content_table or "")
            if source in folded or source in views or _differs(comparison, table):
                name = quoted(table.name)
                connection.execute(f"INSERT INTO main.{name}({name}) VALUES ('rebuild')")

    # ---- tables -----------------------------------------------------------------------

    def recreate(self, connection: apsw.Connection, state: Schema, entry: Object) -> None:
        """Makes a dropped table again, empty; its indexes and triggers follow after the rows."""
        assert entry.sql
        connection.execute(entry.sql)
        self.objects.append(SchemaChange("created", entry.type, entry.name, None, entry.sql))
        for (kind, name), other in sorted(state.objects.items()):
            if fold(other.table) == fold(entry.name) and kind in ("index", "trigger") and other.sql:
                self.late.append(other.sql)
                self.objects.append(SchemaChange("created", kind, name, None, other.sql))
        if "sqlite_sequence" in {name for _, name in state.objects}:
            self.late.append(_sequence(entry.name))


class _Broken(Exception):
    pass


def _inverse(change: SchemaChange) -> SchemaChange:
    inverse: dict[str, Literal["created", "dropped", "altered"]] = {
        "created": "dropped",
        "dropped": "created",
    }
    action = inverse.get(change.action, "altered")
    return SchemaChange(action, change.type, change.name, change.after, change.before)


def _differs(comparison: Comparison, table: Table) -> bool:
    both = table.name in comparison.before.tables and table.name in comparison.after.tables
    return both and comparison.suspects(comparison.pair(table.name)) is not None


def _sequence(table: str) -> str:
    """Sets AUTOINCREMENT to go on where it was: keys are never given twice."""
    name = "'" + table.replace("'", "''") + "'"
    return (
        "UPDATE main.sqlite_sequence SET seq = max(seq, coalesce("
        f"(SELECT seq FROM {BEFORE}.sqlite_sequence WHERE name = {name}), 0)) WHERE name = {name}"
    )


def _table(schema: Schema, name: str) -> Table | None:
    return next((table for other, table in schema.tables.items() if fold(other) == fold(name)), None)


def _fits(pair: Pair, target: Table) -> bool:
    """Whether rows of the pair can be found in and written to the table."""
    there = {fold(name) for name in target.names}
    return (
        {fold(name) for name in pair.columns} <= there
        and [*map(fold, pair.key)] == [*map(fold, target.key)]
        and pair.table.virtual == target.virtual
        and pair.by_rowid == target.rowid_is_key
    )


class _Undo(_Work):
    """Takes back the commit that made ``version``."""

    def states(self) -> tuple[str, str]:
        assert self.version.previous
        return self.version.previous, self.version.version

    def steps(self, connection: apsw.Connection, comparison: Comparison, now: Schema) -> list[Step]:
        changes = comparison.schema_changes()
        self._refuse(changes, now)
        dropped = {change.name for change in changes if change.action == "dropped" and change.type == "table"}
        for name in sorted(dropped):
            self.recreate(connection, comparison.before, comparison.before.objects["table", name])
        self._objects(connection, changes, comparison, now, dropped)
        return self._rows(comparison, read_schema(connection, "main"))

    def _refuse(self, changes: list[SchemaChange], now: Schema) -> None:
        """Raises for changes of tables that cannot be taken back without losing rows."""
        taken = {fold(name) for _, name in now.objects}
        way_out = _command("mvrevert to", self.database.name, "--version", self.version.previous or "")
        for change in changes:
            if change.type != "table":
                continue
            if change.action != "dropped":
                raise UndoError(
                    f'version {self.version.version} {change.action} the table "{change.name}": that cannot '
                    f"be taken back row by row. To go back to the state before, without later work: {way_out}"
                )
            if fold(change.name) in taken:
                raise UndoError(
                    f'version {self.version.version} dropped the table "{change.name}", and there is another '
                    f"of that name now: rename that one first, or go back altogether: {way_out}"
                )

    def _objects(
        self,
        connection: apsw.Connection,
        changes: list[SchemaChange],
        comparison: Comparison,
        now: Schema,
        dropped: set[str],
    ) -> None:
        """Takes changes of indexes, views and triggers back."""
        for change in changes:
            if change.type == "table":
                continue
            entry = comparison.before.objects.get((change.type, change.name))
            if entry and entry.table in dropped and change.action == "dropped":
                continue  # comes with its table
            there = now.objects.get((change.type, change.name))
            if (there.sql if there else None) != change.after:
                self.untouched.append(Untouched(change.name, {}, f"the {change.type} was changed since"))
                continue
            if change.after is not None:
                connection.execute(f"DROP {change.type} main.{quoted(change.name)}")
            if change.before is not None:
                self.late.append(change.before)
            self.objects.append(_inverse(change))

    def _rows(self, comparison: Comparison, now: Schema) -> list[Step]:
        steps = []
        for pair in comparison.pairs():
            target = _table(now, pair.name)
            if pair.table.content is Content.NONE:
                self._leave(comparison, pair, "a full-text index that keeps no rows cannot be read back")
            elif target is None:
                self._leave(comparison, pair, "the table was dropped since")
            elif not _fits(pair, target):
                self._leave(comparison, pair, "the table's columns were altered since")
            else:
                steps.append(Step(pair, target, partial(comparison.changes, pair)))
        return steps

    def _leave(self, comparison: Comparison, pair: Pair, reason: str) -> None:
        rows = sum(1 for _ in comparison.changes(pair))
        if rows:
            detail = f"{rows} row{'s' if rows != 1 else ''}"
            self.untouched.append(Untouched(pair.name, {}, reason, detail))


@dataclass
class _TableRevert(_Work):
    """Sets one table to its state at ``version``."""

    table: str

    def states(self) -> tuple[str, str]:
        newest = self.database.newest
        assert newest
        self._newest = newest.version
        return self.version.version, newest.version

    def still_current(self, connection: apsw.Connection) -> bool:
        return bool(connection.execute("SELECT mv_version()").fetchone() == (self._newest,))

    def steps(self, connection: apsw.Connection, comparison: Comparison, now: Schema) -> list[Step]:
        then, current = _table(comparison.before, self.table), _table(now, self.table)
        if then is None:
            raise UndoError(
                f'there was no table "{self.table}" at version {self.version.version}; there were: '
                + (", ".join(sorted(comparison.before.tables)) or "none")
            )
        if then.content is not Content.OWN:
            raise UndoError(
                f'"{self.table}" is a full-text index without rows of its own: revert what it indexes'
            )
        if current is None:
            self._make_room(now, then)
            self.recreate(connection, comparison.before, comparison.before.objects["table", then.name])
            current = _table(read_schema(connection, "main"), self.table)
            assert current
        elif current.sql != then.sql:
            raise UndoError(
                f'the table "{self.table}" was altered since version {self.version.version}, so its '
                f"rows do not fit any more. To take the whole database back: "
                + _command("mvrevert to", self.database.name, "--version", self.version.version)
            )
        pair = comparison.pair(then.name)
        return [Step(pair, current, partial(comparison.changes, pair))]

    def _make_room(self, now: Schema, then: Table) -> None:
        if any(fold(name) == fold(then.name) for _, name in now.objects):
            raise UndoError(f'"{then.name}" is the name of something else now: rename or drop that first')

    def _apply(self, connection: apsw.Connection, steps: list[Step]) -> Outcome:
        outcome = super()._apply(connection, steps)
        if outcome.untouched:
            first = outcome.untouched[0]
            raise UndoError(
                f'"{self.table}" cannot be set back without breaking references, so nothing was done: '
                f"{len(outcome.untouched)} rows, the first {first.key}: {first.detail or first.reason}"
            )
        return outcome
