"""Copies of databases with all their versions, from one store into another."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from mvsqlite_py import _binding
from mvsqlite_py._binding import encode, ffi, lib
from mvsqlite_py._store import COPYING, IMPORTING, DatabaseInfo, Store

CopyProgress = Callable[[str, bool, int, int], None]
"""Called with the name, whether the copy is being verified by now, and how much of how much is
done (0 of 0: not known yet). What it raises stops the copy, which can go on later."""

STOPPED = 1


@dataclass(frozen=True, slots=True)
class Copied:
    """What was copied of one database, and that it was verified: the copy has just what the source had."""

    name: str
    """In the source."""
    new_name: str
    deleted: bool
    version: str | None
    """The newest version that was copied, by its name in the source; None: the database is empty."""
    new_version: str | None
    """The same by its name in the copy."""
    versions: int
    pages: int
    history_pages: int
    bytes: int
    """Of keys and values in the destination."""
    renamed: int
    """How many versions have new names, because later ones of the destination would not be greater."""
    newer: int
    """How many versions the source has beyond the copied ones."""
    resumed: bool
    """An interrupted copy was gone on with."""
    already: bool
    """It had been copied before; nothing was done. The figures are of this call, so they are zero."""


class _Progress:
    """Passes progress on; keeps what the callback raises, for it cannot go through C."""

    def __init__(self, name: str, progress: CopyProgress | None) -> None:
        self.raised: BaseException | None = None
        self._name, self._progress = name, progress

    def __call__(self, verifying: bool, done: int, of: int) -> int:
        try:
            if self._progress:
                self._progress(self._name, verifying, done, of)
        except BaseException as error:
            self.raised = error
            return STOPPED
        return 0


def find_databases(store: Store, names: Iterable[str], deleted: bool) -> list[DatabaseInfo]:
    """The databases to be copied: live ones first, but branches after their parents.

    Raises DatabaseNotFoundError.
    """
    wanted = set(names)
    found = [
        entry
        for entry in sorted(store._list_all(), key=lambda entry: (entry.deleted is not None, entry.name))
        if not entry.name.startswith((IMPORTING, COPYING))
        and (not wanted or entry.name in wanted)
        and (deleted or not entry.deleted)
    ]
    missing = sorted(wanted - {entry.name for entry in found})
    if missing:
        raise _binding.failure("MV_NOTFOUND", f'no database "{missing[0]}" in store {store.url}')
    return _parents_first(found)


def _parents_first(entries: list[DatabaseInfo]) -> list[DatabaseInfo]:
    by_id = {entry.id: entry for entry in entries}
    ordered: dict[int, DatabaseInfo] = {}

    def add(entry: DatabaseInfo) -> None:
        if entry.parent_id in by_id:
            add(by_id[entry.parent_id])
        ordered.setdefault(entry.id, entry)

    for entry in entries:
        add(entry)
    return list(ordered.values())


def copy_database(
    source: Store,
    entry: DatabaseInfo,
    target: Store,
    new_name: str | None = None,
    restart: bool = False,
    progress: CopyProgress | None = None,
) -> Copied:
    """Copies one database, deleted or not."""
    native = ffi.new("mv_copy *")
    name = encode(new_name or entry.name, "a database name")
    keep_name, passed_on = ffi.new("char[]", name), _Progress(entry.name, progress)
    handle = ffi.new_handle(passed_on)
    native.restart = restart
    native.progress, native.ctx = lib.copy_progress, handle
    setattr(native, "as", keep_name)
    code = lib.mv_copy_database(source.pointer, entry.id, target.pointer, native)
    if passed_on.raised is not None:
        raise passed_on.raised
    _binding.check(code)
    return _copied(entry, new_name or entry.name, native)


def _copied(entry: DatabaseInfo, new_name: str, native: Any) -> Copied:
    def version(stamp: Any) -> str | None:
        name = _binding.stamp_to_hex(stamp)
        return name if int(name, 16) else None

    return Copied(
        name=entry.name,
        new_name=new_name,
        deleted=entry.deleted is not None,
        version=version(native.source),
        new_version=version(native.newest),
        versions=native.versions,
        pages=native.pages,
        history_pages=native.history,
        bytes=native.bytes,
        renamed=native.renamed,
        newer=native.later,
        resumed=bool(native.resumed),
        already=bool(native.already),
    )


def copy_databases(
    source: Store,
    target: Store,
    names: Iterable[str],
    new_name: str | None,
    deleted: bool,
    restart: bool,
    progress: CopyProgress | None,
) -> tuple[Copied, ...]:
    wanted = list(names)
    if new_name is not None and len(wanted) != 1:
        raise ValueError("a new name is for one database: give its name")
    return tuple(
        copy_database(source, entry, target, new_name, restart, progress)
        for entry in find_databases(source, wanted, deleted)
    )
