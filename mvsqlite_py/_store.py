"""Stores: databases by name, in one directory (or cluster)."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from mvsqlite_py import _binding, _retention
from mvsqlite_py._binding import check, encode, ffi, lib
from mvsqlite_py._database import Database, Moment, Usage, usage_of
from mvsqlite_py._errors import BusyError
from mvsqlite_py._retention import Dropped

if TYPE_CHECKING:
    from mvsqlite_py._copy import Copied, CopyProgress

Progress = Callable[[int, int], None]
"""Called with how many pages of how many are done."""

IMPORTING, COPYING, DROPPED = ".importing-", ".copying-", ".dropped-"
"""How the name of a database begins while it is imported, copied or dropped; such are not listed."""


@dataclass(frozen=True, slots=True)
class DatabaseInfo:
    """What a listing says about one database."""

    name: str
    id: int
    created: datetime
    deleted: datetime | None
    version: str | None
    """The newest version; None before the first commit."""
    changed: datetime | None
    size: int
    """Bytes, as a SQLite file."""
    parent_id: int | None
    parent: str | None
    """Of a branch: the database it began in; None: it is none."""
    base: str | None
    """Of a branch: the parent's version it began at; None also if that was empty."""


def default_url() -> str:
    """The store used when none is named: ``$MVSQLITE_STORE``, or one in the user's data directory."""
    return _binding.default_url()


def from_ms(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)


class Store:
    """A store of databases. Open one with :func:`open_store`; use it from any thread."""

    def __init__(self, url: str) -> None:
        pointer = ffi.new("mv_store **")
        check(lib.mv_store_open(encode(url, "a store address", "MV_URL"), pointer))
        self._pointer = pointer[0]
        self.url = url

    @property
    def pointer(self) -> Any:
        if self._pointer is None:
            raise _binding.failure("MV_MISUSE", f"the store {self.url} is closed")
        return self._pointer

    def close(self) -> None:
        """Closes the store; connections that are open stay open. Closing twice does nothing."""
        if self._pointer is not None:
            lib.mv_store_close(self._pointer)
            self._pointer = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        with contextlib.suppress(AttributeError, TypeError):
            self.close()

    def configure(
        self, *, stage_bytes: int | None = None, cache_bytes: int | None = None, full_every: int | None = None
    ) -> None:
        """Sets how this process uses the store.

        stage_bytes: a transaction that writes more is staged in steps of this size (at least 65,536);
        cache_bytes: bound of the page cache shared by the process's connections (default 64 MiB);
        full_every: at most so many deltas in a row in a page's history (1 to 250, default 128).
        """
        settings = {
            _binding.STAGE_BYTES: stage_bytes,
            _binding.CACHE_BYTES: cache_bytes,
            _binding.FULL_EVERY: full_every,
        }
        for setting, value in settings.items():
            if value is not None:
                if value < 0:
                    raise ValueError(f"a setting in bytes or entries cannot be negative: {value}")
                check(lib.mv_store_set(self.pointer, setting, value))

    def counters(self) -> dict[str, int]:
        """What the engine has counted since this process opened the store; empty on one machine.

        Of a cluster: ``read_versions`` asked for, ``rounds`` of answers waited for beside those,
        ``keys`` and ``ranges`` read, ``commits``, ``retries``; keys asked for ``ahead`` of need and
        how many of these were ``ahead_used``; errors met by FoundationDB's number (``error_...``).
        """
        name, value = ffi.new("const char **"), ffi.new("uint64_t *")
        counted: dict[str, int] = {}
        while (code := lib.mv_store_counter(self.pointer, len(counted), name, value)) != _binding.NOT_FOUND:
            check(code)
            counted[_binding.text(name[0])] = int(value[0])
        return counted

    # ---- names ----------------------------------------------------------------

    def create(self, name: str) -> Database:
        """Creates an empty database. Raises DatabaseExistsError, NameNotUsableError."""
        check(lib.mv_create(self.pointer, encode(name, "a database name")))
        return self.database(name)

    def database(self, name: str) -> Database:
        """The database of that name. Raises DatabaseNotFoundError."""
        return Database(self, name)

    def delete(self, name: str) -> None:
        """Takes the database out of sight; :meth:`undelete` brings it back with all its versions."""
        check(lib.mv_delete(self.pointer, encode(name, "a database name")))

    def undelete(self, name: str, new_name: str | None = None) -> Database:
        """Brings the most recently deleted database of that name back, perhaps under another one.

        Raises DatabaseNotFoundError, DatabaseExistsError if the name is taken.
        """
        other = ffi.NULL if new_name is None else encode(new_name, "a database name")
        check(lib.mv_undelete(self.pointer, encode(name, "a database name"), other))
        return self.database(new_name or name)

    def rename(self, name: str, new_name: str) -> Database:
        """Raises DatabaseNotFoundError, DatabaseExistsError if the new name is taken."""
        check(
            lib.mv_rename(self.pointer, encode(name, "a database name"), encode(new_name, "a database name"))
        )
        return self.database(new_name)

    def list(self, *, deleted: bool = False) -> list[DatabaseInfo]:
        """The databases by name; with ``deleted`` those that can be undeleted instead."""
        shown = (
            entry for entry in self._list_all() if not entry.name.startswith((IMPORTING, COPYING, DROPPED))
        )
        return sorted(
            (entry for entry in shown if bool(entry.deleted) == deleted), key=lambda entry: entry.name
        )

    def _list_all(self) -> Iterable[DatabaseInfo]:
        found: list[DatabaseInfo] = []

        def each(info: Any) -> None:
            found.append(_info(_binding.text(info.name), info))

        handle = ffi.new_handle(each)
        check(lib.mv_list(self.pointer, lib.each_database, handle))
        names = {entry.id: entry.name for entry in found}
        return [replace(entry, parent=names.get(entry.parent_id or 0)) for entry in found]

    def stat(self) -> tuple[tuple[DatabaseInfo, Usage], ...]:
        """What each database takes in the store, by name, and then each deleted one. Reads all keys.

        A branch takes what was written in it; what it shares with its parent counts there.
        """
        native = ffi.new("mv_usage *")
        found = []
        for entry in [*self.list(), *self.list(deleted=True)]:
            check(lib.mv_usage_of(self.pointer, entry.id, native))
            found.append((entry, usage_of(native)))
        return tuple(found)

    def discard_unfinished(self, *, name: str | None = None, older_than: float = 60.0) -> None:
        """Drops what imports left that did not end: of that name, or all older than so many seconds.

        One that is still being written is left alone.
        """
        for entry in self._list_all():
            age = (datetime.now(UTC) - entry.created).total_seconds()
            wanted = entry.name == name if name else entry.name.startswith(IMPORTING) and age > older_than
            if wanted:
                with contextlib.suppress(BusyError):
                    check(lib.mv_discard(self.pointer, entry.id))

    def gc_deleted(self, *, dry_run: bool = False) -> tuple[Dropped, ...]:
        """Drops for good the deleted databases that, by their policies, cannot be brought back any more.

        dry_run: only tell which. One that a branch needs, or that is being read, stays, and is told.
        """
        entries = [entry for entry in self._list_all() if entry.deleted]
        return tuple(_retention.gc_deleted(self, entries[::-1], dry_run=dry_run))

    # ---- branches -------------------------------------------------------------

    def branch(
        self, name: str, new_name: str, *, at: Moment | None = None, version: str | None = None
    ) -> Database:
        """Makes a database that begins as a version of another (the newest without one), at once.

        It shares the other's pages until it writes its own, has its history up to there, and is
        written without it. Raises DatabaseNotFoundError, DatabaseExistsError, VersionNotFoundError.
        """
        stamp = ffi.NULL
        if at is not None or version is not None:
            stamp = _binding.stamp_from_hex(self.database(name).find(at=at, version=version))
        names = encode(name, "a database name"), encode(new_name, "a database name")
        check(lib.mv_branch(self.pointer, names[0], stamp, names[1]))
        return self.database(new_name)

    # ---- copies ---------------------------------------------------------------

    def copy_to(
        self,
        target: Self,
        *names: str,
        new_name: str | None = None,
        deleted: bool = True,
        restart: bool = False,
        progress: CopyProgress | None = None,
    ) -> tuple[Copied, ...]:
        """Copies databases with all their versions into another store, perhaps of another engine.

        names: none means all. Deleted ones are copied as deleted ones, unless ``deleted`` is False.
        new_name: of the copy, if one name is given. What an interrupted copy has left is gone on
        with, unless ``restart`` says to begin anew. This store may be written meanwhile: each copy
        ends with the version that was the newest when it began. A copy appears when it is whole
        and verified. Raises DatabaseNotFoundError, DatabaseExistsError, CorruptError, BusyError.
        """
        from mvsqlite_py._copy import copy_databases

        return copy_databases(self, target, names, new_name, deleted, restart, progress)

    # ---- files ----------------------------------------------------------------

    def import_file(self, path: str | Path, name: str, *, progress: Progress | None = None) -> Database:
        """Copies an ordinary SQLite file into a new database; the file is only read.

        The name appears when the copy is complete, never before. Raises FileNotFoundError,
        NotADatabaseError, DatabaseExistsError.
        """
        from mvsqlite_py._files import import_file

        return import_file(self, Path(path), name, progress)

    def export(
        self,
        name: str,
        path: str | Path,
        *,
        at: str | None = None,
        version: str | None = None,
        overwrite: bool = False,
        progress: Progress | None = None,
    ) -> None:
        """Copies a database, now or at a past moment, to an ordinary SQLite file.

        The file appears when it is complete. Raises FileExistsError unless ``overwrite``.
        """
        from mvsqlite_py._files import export

        export(self, name, Path(path), at, version, overwrite, progress)


def _version_of(stamp: Any) -> str | None:
    version = _binding.stamp_to_hex(stamp)
    return version if int(version, 16) else None


def _info(name: str, info: Any) -> DatabaseInfo:
    version = _version_of(info.newest)
    return DatabaseInfo(
        name=name,
        id=info.id,
        created=from_ms(info.created_ms),
        deleted=from_ms(info.deleted_ms) if info.deleted_ms else None,
        version=version,
        changed=from_ms(info.newest_ms) if version else None,
        size=info.pages * info.page_size,
        parent_id=info.parent or None,
        parent=None,
        base=_version_of(info.base) if info.parent else None,
    )


def open_store(url: str | None = None) -> Store:
    """Opens a store, creating it if it does not exist.

    url: ``lmdb:/path/to/directory``; None: ``$MVSQLITE_STORE``, or a directory of the user's.
    Raises StoreError for an address that cannot be used, FormatError, CorruptError.
    """
    return Store(default_url() if url is None else url)
