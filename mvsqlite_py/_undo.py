"""Taking commits back row by row, or one table back to a past state, and keeping all other work."""

import contextlib
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

import apsw

from mvsqlite_py._apply import Exclusions, savepoint, take_back
from mvsqlite_py._condition import chosen, reader
from mvsqlite_py._database import Database, Version
from mvsqlite_py._errors import BusyError, ConflictError, UndoError, VersionNotFoundError
from mvsqlite_py._ledger import CONSTRAINT, Ledger, Outcome, Untouched
from mvsqlite_py._objects import Filter, Objects, Scope, table_of
from mvsqlite_py._references import References, Violation
from mvsqlite_py._rows import Comparison, RowCounts, SchemaChange, compare
from mvsqlite_py._schema import Content, Schema, fold, quoted, read_schema
from mvsqlite_py._selection import Run, runs

REFERENCE_ROUNDS = 20
"""How often rows are set aside for the sake of foreign keys before giving up."""
MOVED_ROUNDS = 20
"""How often the newest state may move on between looking and locking."""
VERSIONS_NAMED = 4
"""How many versions the message of an undo names one by one."""

Conflicts = Literal["leave", "mine", "theirs"]
"""Of rows changed since: ``leave`` and ``mine`` keep them as they are now, ``theirs`` sets them to
the state from before what is taken back."""


@dataclass(frozen=True, slots=True)
class UndoReport:
    """What taking versions back did to the newest state, or would do."""

    versions: tuple[str, ...]
    """The versions taken back, newest first; of :func:`revert_table`, the one gone back to."""
    tables: dict[str, RowCounts]
    """What happened to the rows of each table: ``added`` were put back, ``removed`` taken out."""
    untouched: list[Untouched]
    """What was left alone, and why."""
    already: dict[str, int]
    """By table how many rows were found as they had been before: nothing had to be done."""
    objects: list[SchemaChange]
    """Tables, indexes, views and triggers made again, set back or dropped."""
    made: str | None
    """The new version; None if there was nothing to do, or nothing was asked to be done."""

    @property
    def version(self) -> str:
        """The version, or the newest of those, taken back."""
        return self.versions[0]

    @property
    def nothing(self) -> bool:
        """Whether no row and no object was, or would be, changed."""
        return not any(self.tables.values()) and not self.objects


@dataclass(frozen=True, slots=True)
class UndoOptions:
    """What of the versions is taken back, and how."""

    tables: frozenset[str] | None = None
    where: str | None = None
    conflicts: Conflicts = "leave"
    message: str | None = None


def undo(
    database: Database,
    versions: str | Iterable[str],
    *,
    options: UndoOptions | None = None,
    timeout: float = 5.0,
    dry_run: bool = False,
) -> UndoReport:
    """Takes back what some commits did, as one commit, and keeps all other work.

    Rows that other commits changed since are left alone and reported; a row is changed if it is not
    as what is taken back left it, whoever had it otherwise meanwhile. timeout: seconds to wait for
    another writer. dry_run: it is done and rolled back. Raises VersionNotFoundError, BusyError,
    and UndoError for what cannot be taken back row by row; then nothing is done.
    """
    given = [versions] if isinstance(versions, str) else list(versions)
    if not given:
        raise ValueError("no version to take back was given")
    entries = {entry.version: entry for entry in map(database.version, given)}
    for version, entry in entries.items():
        if entry.merged:
            raise UndoError(
                f"version {version} stands for {entry.merged} that were forgotten too, and what it did "
                "itself is not known any more: go back to a version before it, or set single tables back"
            )
    work = _Undo(database, [entries[one] for one in sorted(entries, reverse=True)], options or UndoOptions())
    return work.run(work.options.message or work.told(), timeout, commit=not dry_run)


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
    work = _TableRevert(database, [database.version(version)], table)
    return work.run(message or f'table "{table}" as of {version}', timeout, commit=not dry_run)


def _command(*words: str) -> str:
    first, *rest = words
    return " ".join([first, *(shlex.quote(word) for word in rest)])


@contextlib.contextmanager
def _writer(database: Database, timeout: float) -> Iterator[apsw.Connection]:
    """A connection that can apply rows as they are: no trigger fires, no foreign key acts."""
    connection = database.connect(timeout=timeout, create=False)
    try:
        connection.config(apsw.SQLITE_DBCONFIG_ENABLE_TRIGGER, 0)
        connection.execute("PRAGMA foreign_keys = OFF")
        yield connection
    finally:
        connection.close(True)


@dataclass
class _Done:
    """What one attempt did."""

    ledger: Ledger
    objects: list[SchemaChange] = field(default_factory=list)
    untouched: list[Untouched] = field(default_factory=list)
    tables: set[str] = field(default_factory=set)
    """Whose rows were looked at, or which were dropped."""
    rebuild: set[str] = field(default_factory=set)
    """Full-text indexes over other tables that were changed themselves."""


class _Broken(Exception):
    pass


@dataclass
class _Work:
    """One transaction that takes differences of states back. Derived classes say which."""

    database: Database
    versions: list[Version]

    force = False

    def runs(self) -> list[Run]:
        """The states whose differences are taken back, newest first."""
        raise NotImplementedError

    def still_current(self, _connection: apsw.Connection) -> bool:
        return True

    def one(self, connection: apsw.Connection, comparison: Comparison, run: Run, done: _Done) -> Objects:
        """Prepares one difference."""
        raise NotImplementedError

    def only(self, _run: Run) -> contextlib.AbstractContextManager[Filter | None]:
        """Which rows of a difference are meant; None means all."""
        return contextlib.nullcontext()

    # ---- the transaction ------------------------------------------------------------

    def run(self, message: str, timeout: float, commit: bool) -> UndoReport:
        for _ in range(MOVED_ROUNDS):
            with contextlib.suppress(ConflictError):
                report = self._attempt(message, timeout, commit)
                if report:
                    return report
        raise BusyError(f"{self.database.name!r} is being changed all the time: try again")

    def _attempt(self, message: str, timeout: float, commit: bool) -> UndoReport | None:
        with _writer(self.database, timeout) as connection:
            differences = self.runs()
            connection.execute("BEGIN IMMEDIATE")
            if not self.still_current(connection):
                return None
            connection.execute("SELECT mv_message(?)", (message,)).fetchall()
            try:
                done = self._apply(connection, differences)
            except UnicodeDecodeError as error:
                raise UndoError(
                    "a row holds text that is no UTF-8, so it cannot be compared with what was created"
                ) from error
            _rebuild(connection, done)
            outcome = done.ledger.outcome()
            self.judge(outcome)
            report = self._report(done, outcome)
            if not commit or report.nothing:
                connection.execute("ROLLBACK")
                return report
            was = connection.pragma("mv_version")
            connection.execute("COMMIT")
            made = connection.pragma("mv_version")
            return self._report(done, outcome, made if made != was else None)

    def judge(self, outcome: Outcome) -> None:
        """May raise UndoError for what was not done."""

    def _report(self, done: _Done, outcome: Outcome, made: str | None = None) -> UndoReport:
        left = done.untouched + outcome.untouched
        versions = tuple(version.version for version in self.versions)
        return UndoReport(versions, outcome.tables, left, outcome.already, done.objects, made)

    def _apply(self, connection: apsw.Connection, differences: list[Run]) -> _Done:
        """Takes the differences back; rows that would break a foreign key are set aside and reported."""
        exclusions = Exclusions()
        allowed: Counter[Violation] | None = None
        sentences: set[str] = set()
        for _ in range(REFERENCE_ROUNDS):
            with contextlib.suppress(_Broken), savepoint(connection):
                done = self._once(connection, differences, exclusions)
                references = References(connection, read_schema(connection, "main"), done.tables)
                broken = references.violations() - (allowed or Counter())
                if not broken:
                    return done
                if allowed is None:
                    raise _Broken
                known = len(exclusions)
                sentences = {references.exclude(one, exclusions) for one in broken}
                if len(exclusions) == known:
                    break
                raise _Broken
            if allowed is None:  # what was broken before is not held against us
                before = References(connection, read_schema(connection, "main"), done.tables)
                allowed = before.violations()
        raise UndoError(f"foreign keys would break, so nothing was done: {'; '.join(sorted(sentences))}")

    def _once(self, connection: apsw.Connection, differences: list[Run], exclusions: Exclusions) -> _Done:
        done = _Done(Ledger(len(differences) > 1, self.force))
        for run in differences:
            with compare(self.database, run.before, run.after) as comparison, self.only(run) as only:
                objects = self.one(connection, comparison, run, done)
                steps = objects.steps(only)
                take_back(connection, steps, exclusions, done.ledger, force=self.force)
                objects.finish()
                done.tables |= {step.target.name for step in steps} | {c.name for c in objects.done}
                done.rebuild |= objects.indexes_to_rebuild()
            done.objects += objects.done
            done.untouched += objects.untouched
        return done


def _rebuild(connection: apsw.Connection, done: _Done) -> None:
    """Full-text indexes over other tables follow those."""
    touched = {fold(name) for name in done.ledger.touched()}
    touched |= {fold(change.name) for change in done.objects if change.type == "table"}
    if not touched:
        return
    now = read_schema(connection, "main")
    views = {fold(name) for kind, name in now.objects if kind == "view"}
    for table in now.tables.values():
        source = fold(table.content_table or "")
        stale = source in touched or source in views or table.name in done.rebuild
        if table.content is Content.EXTERNAL and stale:
            name = quoted(table.name)
            try:
                with savepoint(connection):
                    connection.execute(f"INSERT INTO main.{name}({name}) VALUES ('rebuild')")
            except apsw.SQLError as error:  # it indexes a column that is gone again
                done.untouched.append(Untouched(table.name, {}, CONSTRAINT, str(error)))


@dataclass
class _Undo(_Work):
    """Takes back commits."""

    options: UndoOptions

    def __post_init__(self) -> None:
        self.force = self.options.conflicts == "theirs"
        self._runs = runs(self.versions)
        known = {version.version for version in self.versions}
        for run in self._runs:
            if run.before is not None and run.before not in known:
                self._must_be_kept(run)

    def _must_be_kept(self, run: Run) -> None:
        try:
            self.database.version(run.before or "")
        except VersionNotFoundError as error:
            raise UndoError(
                f"the state before version {run.after} of {self.database.name!r} is not kept any more, so "
                "what that version did cannot be told. Take back later versions only"
            ) from error

    def told(self) -> str:
        """The message of the new version."""
        names = [version.version for version in self.versions]
        if len(names) > 1 and len(self._runs) == 1:
            return f"undo of {names[-1]}..{names[0]}"
        more = len(names) - VERSIONS_NAMED
        named = ", ".join(names if more <= 1 else names[:VERSIONS_NAMED])
        return f"undo of {named}" + (f" and {more} more" if more > 1 else "")

    def runs(self) -> list[Run]:
        return self._runs

    @contextlib.contextmanager
    def only(self, run: Run) -> Iterator[Filter | None]:
        if self.options.where is None:
            yield None
            return
        with reader(self.database, run.before) as before, reader(self.database, run.after) as after:
            yield partial(chosen, readers=(before, after), text=self.options.where)

    def one(self, connection: apsw.Connection, comparison: Comparison, run: Run, done: _Done) -> Objects:
        scope = Scope(self.options.tables, self.options.where is not None, self.force)
        if run.before is None:
            way_out = _command("mvsqlite rm", self.database.name)
        else:
            way_out = _command("mvrevert to", self.database.name, "--version", run.before)
        what = f"version {run.after}"
        objects = Objects(connection, comparison, scope, done.ledger, way_out, what)
        objects.prepare()
        return objects


@dataclass
class _TableRevert(_Work):
    """Sets one table to its state at the version."""

    table: str

    @property
    def _then(self) -> str:
        return self.versions[0].version

    def runs(self) -> list[Run]:
        newest = self.database.newest
        assert newest
        self._newest = newest.version
        return [Run(self._then, newest.version)]

    def still_current(self, connection: apsw.Connection) -> bool:
        return bool(connection.execute("SELECT mv_version()").fetchone() == (self._newest,))

    def one(self, connection: apsw.Connection, comparison: Comparison, _run: Run, done: _Done) -> Objects:
        then, current = table_of(comparison.before, self.table), table_of(comparison.after, self.table)
        if then is None:
            raise UndoError(
                f'there was no table "{self.table}" at version {self._then}; there were: '
                + (", ".join(sorted(comparison.before.tables)) or "none")
            )
        if then.content is not Content.OWN:
            raise UndoError(
                f'"{self.table}" is a full-text index without rows of its own: revert what it indexes'
            )
        way_out = _command("mvrevert to", self.database.name, "--version", self._then)
        scope = Scope(frozenset({fold(then.name)}), rows_only=True)
        objects = Objects(connection, comparison, scope, done.ledger, way_out, f"version {self._then}")
        if current is None:
            self._make_room(comparison.after, then.name)
            objects.recreate(comparison.before.objects["table", then.name])
        elif current.sql != then.sql:
            raise UndoError(
                f'the table "{self.table}" was altered since version {self._then}, so its '
                f"rows do not fit any more. To take the whole database back: {way_out}"
            )
        return objects

    def _make_room(self, now: Schema, then: str) -> None:
        if any(fold(name) == fold(then) for _, name in now.objects):
            raise UndoError(f'"{then}" is the name of something else now: rename or drop that first')

    def judge(self, outcome: Outcome) -> None:
        if outcome.untouched:
            first = outcome.untouched[0]
            raise UndoError(
                f'"{self.table}" cannot be set back without breaking references, so nothing was done: '
                f"{len(outcome.untouched)} rows, the first {first.key}: {first.detail or first.reason}"
            )


def restriction(
    database: Database, versions: Iterable[str], tables: Iterable[str] | None
) -> frozenset[str] | None:
    """Folded names of tables. Raises UndoError for one that no state around the versions has."""
    if tables is None:
        return None
    known: set[str] = set()
    for run in runs(map(database.version, versions)):
        with compare(database, run.before, run.after) as comparison:
            known |= {*comparison.before.tables, *comparison.after.tables}
    wanted = {fold(name): name for name in tables}
    for name in wanted.keys() - set(map(fold, known)):
        raise UndoError(
            f'there is no table "{wanted[name]}" in what is to be taken back; there are: '
            + (", ".join(sorted(known)) or "none")
        )
    return frozenset(wanted)
