"""Databases, their versions, and their past states."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

from mvsqlite_py import _binding, _retention
from mvsqlite_py._binding import check, encode, ffi, lib
from mvsqlite_py._errors import BusyError
from mvsqlite_py._retention import GcReport, Policy

if TYPE_CHECKING:
    import apsw

    from mvsqlite_py._blame import Blame
    from mvsqlite_py._rows import Diff, RowChange
    from mvsqlite_py._store import Store
    from mvsqlite_py._undo import Conflicts, UndoReport

Moment = str | datetime | int | float
"""ISO 8601, an age such as ``-5m`` or ``2 hours ago``, ``now``; a datetime; unix seconds."""


KINDS = ("commit", "revert", "promote")


@dataclass(frozen=True, slots=True)
class Version:
    """One commit."""

    version: str
    """20 hexadecimal digits; later versions are greater."""
    previous: str | None
    """The version before; None for the first."""
    time: datetime
    pages: int
    """How many pages the commit changed."""
    size: int
    """Bytes of the database at this version, as a SQLite file."""
    kind: str
    """``commit``, ``revert`` (to an earlier version) or ``promote`` (of a branch)."""
    target: str | None
    """Of a revert: the version it went back to; of a promotion: the branch's version."""
    host: str
    program: str
    pid: int
    message: str | None
    statements: str | None
    merged: int = 0
    """So many versions before this one were forgotten; ``pages`` counts theirs too."""

    @property
    def origin(self) -> str:
        """Program, process and host that made the commit."""
        return f"{self.program}[{self.pid}]@{self.host}"


@dataclass(frozen=True, slots=True)
class Usage:
    """What a database takes in the store, in bytes of keys and values."""

    versions: int
    pages: int
    page_bytes: int
    history_pages: int
    history_bytes: int
    record_bytes: int
    staged_bytes: int

    @property
    def total_bytes(self) -> int:
        return self.page_bytes + self.history_bytes + self.record_bytes + self.staged_bytes


@dataclass(frozen=True, slots=True)
class DayUsage:
    """What the versions of one day take, in bytes of keys and values."""

    day: date
    """In the local time zone."""
    versions: int
    history_pages: int
    """Images that the day's versions replaced."""
    history_bytes: int
    record_bytes: int

    @property
    def total_bytes(self) -> int:
        return self.history_bytes + self.record_bytes


def usage_of(native: Any) -> Usage:
    """From an ``mv_usage``."""
    return Usage(
        versions=native.versions,
        pages=native.heads,
        page_bytes=native.head_bytes,
        history_pages=native.history,
        history_bytes=native.history_bytes,
        record_bytes=native.record_bytes,
        staged_bytes=native.staged_bytes,
    )


def _day(native: Any) -> DayUsage:
    year, rest = divmod(native.date, 10000)
    return DayUsage(
        day=date(year, rest // 100, rest % 100),
        versions=native.versions,
        history_pages=native.history,
        history_bytes=native.history_bytes,
        record_bytes=native.record_bytes,
    )


@dataclass(frozen=True, slots=True)
class Verification:
    """What a verification found."""

    images: int
    """Page images read."""
    problems: list[str]


def moment_text(moment: Moment) -> str:
    """A moment as the native library reads it."""
    if isinstance(moment, datetime):
        aware = moment if moment.tzinfo else moment.astimezone()
        return aware.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    if isinstance(moment, int | float):
        return f"{moment:.3f}"
    return moment


def moment_time(moment: Moment) -> datetime:
    """A moment as a time. Raises MomentError for one that cannot be read or is in the future."""
    ms = ffi.new("uint64_t *")
    text = encode(moment_text(moment), "a moment", "MV_TIME")
    check(lib.mv_parse_moment(text, int(time.time() * 1000), ms))
    return datetime.fromtimestamp(ms[0] / 1000, UTC)


class _Verifier:
    def __init__(self, progress: Callable[[int, int], None] | None) -> None:
        self.problems: list[str] = []
        self._progress = progress

    def problem(self, what: str) -> None:
        self.problems.append(what)

    def progress(self, done: int, of: int) -> None:
        if self._progress:
            self._progress(done, of)


class Database:
    """A database of a store. Obtained from :class:`Store`; holds no lock and no transaction."""

    def __init__(self, store: Store, name: str) -> None:
        self.store = store
        self.name = name
        with self._open():
            pass  # raises if there is none

    @contextlib.contextmanager
    def _open(self) -> Iterator[Any]:
        pointer = ffi.new("mv_db **")
        check(lib.mv_db_open(self.store.pointer, encode(self.name, "a database name"), 0, pointer))
        try:
            yield pointer[0]
        finally:
            lib.mv_db_close(pointer[0])

    # ---- looking ----------------------------------------------------------------

    def versions(
        self, *, after: str | None = None, until: str | None = None, limit: int | None = None
    ) -> Iterator[Version]:
        """The versions in (after, until], newest first, at most ``limit``."""
        bounds = [_binding.stamp_from_hex(bound) if bound else ffi.NULL for bound in (after, until)]
        log = ffi.new("mv_log **")
        with self._open() as db:
            check(lib.mv_log_open(db, *bounds, 1, log))
            native = ffi.new("mv_version *")
            try:
                while limit is None or limit > 0:
                    code = lib.mv_log_next(log[0], native)
                    if code == _binding.NOT_FOUND:
                        return
                    check(code)
                    yield _version(native)
                    limit = None if limit is None else limit - 1
            finally:
                lib.mv_log_close(log[0])

    def version(self, version: str) -> Version:
        """One version, by its digits. Raises VersionNotFoundError."""
        native = ffi.new("mv_version *")
        with self._open() as db:
            check(lib.mv_db_version(db, _binding.stamp_from_hex(version), native))
            return _version(native)

    @property
    def newest(self) -> Version | None:
        """The newest version; None before the first commit."""
        return next(self.versions(limit=1), None)

    def find(self, *, at: Moment | None = None, version: str | None = None) -> str:
        """The version of a moment, or the given one if it exists; one of them must be given.

        Raises MomentError for a moment that cannot be read or is in the future,
        VersionNotFoundError for one before the first commit or a version that never was.
        """
        if (at is None) == (version is None):
            raise ValueError("give either at= or version=")
        if version is not None:
            return self.version(version).version
        assert at is not None
        stamp = ffi.new("mv_stamp *")
        with self._open() as db:
            check(lib.mv_db_at(db, encode(moment_text(at), "a moment", "MV_TIME"), stamp))
        return _binding.stamp_to_hex(stamp)

    def at(self, at: Moment | None = None, *, version: str | None = None) -> Snapshot:
        """The state of a moment or version, to be read."""
        return Snapshot(self, self.version(self.find(at=at, version=version)))

    def changed_pages(self, after: str, until: str) -> list[int]:
        """The numbers of the pages changed by the commits in (after, until]."""
        pages, n = ffi.new("uint32_t **"), ffi.new("size_t *")
        with self._open() as db:
            stamps = [_binding.stamp_from_hex(bound) for bound in (after, until)]
            check(lib.mv_db_changed(db, *stamps, pages, n))
            try:
                return list(ffi.unpack(pages[0], n[0]))
            finally:
                lib.mv_free(pages[0])

    def diff(self, before: str | None, after: str | None, *, other: Database | None = None) -> Diff:
        """How many rows of which tables differ between two versions, and what of the schema.

        None is the empty database before the first version. The rows themselves, and SQL that
        does the same to the older state, are read from what this returns. other: the database of
        ``after``, if that is a branch of this one or the other way round; MisuseError if neither.
        """
        from mvsqlite_py._rows import diff

        return diff(self, before, after, other)

    def row_changes(self, before: str | None, after: str, *, table: str | None = None) -> Iterator[RowChange]:
        """The rows that differ between two versions, of one table or of all."""
        from mvsqlite_py._rows import row_changes

        return row_changes(self, before, after, table)

    def blame(self, table: str, *, where: str | None = None) -> Iterator[Blame]:
        """Which commit last touched each row of a table, newest first; looks back as far as is asked.

        where: only rows that meet this SQL condition now. Raises ValueError if there is no such table.
        """
        from mvsqlite_py._blame import blame

        return blame(self, table, where)

    def stat(self) -> Usage:
        """What the database takes in the store. Reads all its keys."""
        usage = ffi.new("mv_usage *")
        with self._open() as db:
            check(lib.mv_db_usage(db, usage))
        return usage_of(usage)

    def usage_by_day(self) -> list[DayUsage]:
        """What the versions of each day take, oldest first; days are those of the local time zone.

        Days without a version are left out. Reads all keys of versions.
        """
        days, n = ffi.new("mv_day **"), ffi.new("size_t *")
        with self._open() as db:
            check(lib.mv_db_days(db, days, n))
        try:
            return [_day(days[0][i]) for i in range(n[0])]
        finally:
            lib.mv_free(days[0])

    def verify(self, *, progress: Callable[[int, int], None] | None = None) -> Verification:
        """Reads every image of every version and every record, and tells what is wrong.

        It does not ask SQLite; for that open a version and run ``PRAGMA integrity_check``.
        """
        verifier = _Verifier(progress)
        handle = ffi.new_handle(verifier)
        native = ffi.new("mv_check *")
        native.problem, native.progress, native.ctx = lib.verify_problem, lib.verify_progress, handle
        with self._open() as db:
            check(lib.mv_db_verify(db, native))
        return Verification(images=native.images, problems=verifier.problems)

    # ---- what is kept -----------------------------------------------------------

    def tag(self, name: str, *, at: Moment | None = None, version: str | None = None) -> str:
        """Gives a version (the newest without one) a name, and returns it; it is kept for ever.

        Raises DatabaseExistsError if the tag names another version, VersionNotFoundError,
        NameNotUsableError.
        """
        newest = self.newest if at is None and version is None else None
        found = newest.version if newest else self.find(at=at, version=version) if at or version else "0" * 20
        with self._open() as db:
            _retention.tag(db, name, found)
        return found

    def untag(self, name: str) -> None:
        """Takes a tag away; the version is then kept as long as others. Raises VersionNotFoundError."""
        with self._open() as db:
            _retention.untag(db, name)

    def tags(self) -> dict[str, str]:
        """The tags and their versions, by name."""
        with self._open() as db:
            return _retention.tags(db)

    def policy(self) -> Policy:
        """How long versions are kept: for ever, unless something else was set."""
        with self._open() as db:
            return _retention.get_policy(db)

    def set_policy(self, policy: Policy) -> None:
        """Sets how long versions are kept. Nothing is forgotten but by :meth:`gc`."""
        with self._open() as db:
            _retention.set_policy(db, policy)

    def gc(self, *, dry_run: bool = False, progress: Callable[[int, int], None] | None = None) -> GcReport:
        """Forgets the versions that nothing keeps, while others read and write.

        It may be stopped at any moment: what is left reads as before, and the next call goes on.
        dry_run: only tell what would be done. progress: called with how many versions of how many
        are gone. Raises BusyError while somebody copies or verifies the database.
        """
        with self._open() as db:
            return _retention.gc(db, dry_run=dry_run, progress=progress)

    # ---- changing ---------------------------------------------------------------

    def revert(
        self,
        *,
        at: Moment | None = None,
        version: str | None = None,
        message: str | None = None,
        timeout: float = 5.0,
    ) -> str:
        """Makes a past state the newest one, as a commit of its own, and returns its version.

        timeout: seconds to wait for another writer; then BusyError.
        """
        target = self.find(at=at, version=version)
        stamp = _binding.stamp_from_hex(target)
        return self._replace(
            lambda db, made: lib.mv_db_revert(db, stamp, made), message or f"revert to {target}", timeout
        )

    def promote(
        self, branch: str, *, keep: str | None = None, message: str | None = None, timeout: float = 5.0
    ) -> str:
        """Makes the newest state of a branch the newest one of this database, as a commit.

        The branch may be any database that has an ancestor in common with this one.
        Whoever has the database open sees it like any other commit. keep: the name of a branch
        that the state before becomes, in the same transaction. The branch stays as it is. Returns
        the version. Raises DatabaseNotFoundError, DatabaseExistsError if ``keep`` is taken,
        MisuseError if the two have nothing in common, BusyError.
        """
        names = encode(branch, "a database name"), encode(keep, "a database name") if keep else ffi.NULL
        return self._replace(
            lambda db, made: lib.mv_db_promote(db, *names, made), message or f"promote {branch}", timeout
        )

    def _replace(self, act: Callable[[Any, Any], int], message: str, timeout: float) -> str:
        """Runs what commits, again while another one is writing."""
        text = encode(message, "a message", "MV_MISUSE")
        made = ffi.new("mv_stamp *")
        deadline = time.monotonic() + timeout
        while True:
            with self._open() as db:
                check(lib.mv_db_message(db, text))
                code = act(db, made)
            if code == 0:
                return _binding.stamp_to_hex(made)
            error = _binding.error(code)
            if not isinstance(error, BusyError) or time.monotonic() >= deadline:
                raise error
            time.sleep(0.01)

    def revert_table(
        self,
        table: str,
        *,
        at: Moment | None = None,
        version: str | None = None,
        message: str | None = None,
        timeout: float = 5.0,
        dry_run: bool = False,
    ) -> UndoReport:
        """Sets one table to a past state, as a commit of its own; all others stay as they are.

        dry_run: only tell what would be done. Raises UndoError if that is not possible, e.g.
        because the table was altered since; then nothing is done.
        """
        from mvsqlite_py._undo import revert_table

        target = self.find(at=at, version=version)
        return revert_table(self, table, target, message=message, timeout=timeout, dry_run=dry_run)

    def undo(
        self,
        version: str | Iterable[str],
        *,
        tables: Iterable[str] | None = None,
        where: str | None = None,
        conflicts: Conflicts = "leave",
        message: str | None = None,
        timeout: float = 5.0,
        dry_run: bool = False,
    ) -> UndoReport:
        """Takes back what one commit, or several, did row by row, and keeps all other work.

        Several are taken back as one commit, as if newest first; :meth:`select` finds them.
        tables: only those; where: only rows that met this SQL condition before or after.
        conflicts: rows that other commits changed since are left alone and reported (``leave``,
        ``mine``), or set to the state from before all the same (``theirs``).
        dry_run: only tell what would be done. Raises UndoError for what cannot be taken back;
        then nothing is done.
        """
        from mvsqlite_py._undo import UndoOptions, restriction, undo

        versions = [version] if isinstance(version, str) else list(version)
        only = restriction(self, versions, tables)
        options = UndoOptions(only, where, conflicts, message)
        return undo(self, versions, options=options, timeout=timeout, dry_run=dry_run)

    def select(
        self,
        *,
        program: str | None = None,
        host: str | None = None,
        pid: int | None = None,
        statement: str | None = None,
        message: str | None = None,
        since: Moment | None = None,
        until: Moment | None = None,
    ) -> Iterator[Version]:
        """The versions made by a program, host or process, with such statements or message; newest first.

        program, statement, message: a part of it, or with ``*`` a pattern of all of it; host: the
        name, or a pattern. since, until: after the state of a moment, up to a moment.
        """
        from mvsqlite_py._selection import Selection

        return Selection(program, host, pid, statement, message, since, until).among(self)

    def connect(self, **options: Any) -> apsw.Connection:
        """A connection to this database; see :func:`mvsqlite_py.connect`."""
        from mvsqlite_py._connections import connect

        return connect(self.name, store=self.store, **options)


class Snapshot:
    """A past (or the present) state of a database, frozen."""

    def __init__(self, database: Database, version: Version) -> None:
        self.database = database
        self.version = version

    def connect(self, **options: Any) -> apsw.Connection:
        """A read-only connection to this state."""
        return self.database.connect(version=self.version.version, **options)

    def read(self) -> bytes:
        """The whole state as the bytes of a SQLite file."""
        size = self.version.size
        data, got = bytearray(size), ffi.new("size_t *")
        with self.database._open() as db:
            check(lib.mv_db_pin(db, _binding.stamp_from_hex(self.version.version)))
            check(lib.mv_db_read_bytes(db, 0, ffi.from_buffer(data), size, got))
        return bytes(data[: got[0]])


def _version(native: Any) -> Version:
    previous = _binding.stamp_to_hex(native.previous)
    return Version(
        version=_binding.stamp_to_hex(native.stamp),
        previous=previous if int(previous, 16) else None,
        time=datetime.fromtimestamp(native.ms / 1000, UTC),
        pages=native.changed,
        size=native.pages * native.page_size,
        kind=KINDS[native.kind],
        target=_binding.stamp_to_hex(native.target) if native.kind else None,
        host=_binding.text(native.host),
        program=_binding.text(native.program),
        pid=native.pid,
        message=_binding.text(native.message) or None,
        statements=_binding.text(native.statements) or None,
        merged=native.merged,
    )
