"""What is kept of a database, and forgetting the rest: policies, tags, gc."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from mvsqlite_py import _binding
from mvsqlite_py._binding import check, encode, ffi, lib
from mvsqlite_py._errors import BusyError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mvsqlite_py._store import DatabaseInfo, Store

Span = timedelta | float
"""How long: a timedelta, or seconds."""

FOR_EVER = 2**64 - 1
STATEMENTS = ("text", "off", "values")
MOST_OF_A_KIND = 2**32 - 1

Progress = Callable[[int, int], None]


def clock_ms() -> int:
    """The time by which gc decides, in unix milliseconds; 0 is the native library's own clock."""
    return 0


@dataclass(frozen=True, slots=True)
class Policy:
    """Which versions are kept: those for which any field says so.

    The newest version, those with a tag, those at which a branch begins and those that are being
    read are kept whatever it says. Times may be given in seconds.
    """

    keep_all: Span | None = None
    """Every version until so long after the next one was made; None: for ever."""
    hourly: int = 0
    """The last version of each of the last so many hours in which there is one (UTC)."""
    daily: int = 0
    weekly: int = 0
    """Weeks begin on Monday."""
    least: Span = timedelta(hours=1)
    """No version goes before it is so old, whatever else is said; a minute at least."""
    deleted: Span | None = None
    """How long a deleted database can be brought back; None: for ever."""
    statements: str = "text"
    """What commits record of their statements: ``text``, ``off`` or ``values``."""

    def __post_init__(self) -> None:
        for name in ("keep_all", "least", "deleted"):
            given = getattr(self, name)
            if given is None or isinstance(given, timedelta):
                continue
            object.__setattr__(self, name, timedelta(seconds=given))
        for name in ("keep_all", "least", "deleted"):
            span = getattr(self, name)
            if span is not None and span < timedelta(0):
                raise ValueError(f"{name} is before its beginning: {span}")
        for name in ("hourly", "daily", "weekly"):
            if not 0 <= getattr(self, name) <= MOST_OF_A_KIND:
                raise ValueError(f"{name} is not between 0 and {MOST_OF_A_KIND}: {getattr(self, name)}")
        if self.statements not in STATEMENTS:
            raise ValueError(f"statements is one of {', '.join(STATEMENTS)}, not {self.statements!r}")


@dataclass(frozen=True, slots=True)
class GcReport:
    """What a gc did, or would do."""

    removed: int
    """Versions."""
    kept: int
    images: int
    """Page images that were freed."""
    bytes: int
    """Freed, of keys and values."""
    for_tags: int
    """Versions that the policy would not keep, and a tag does."""
    for_branches: int
    for_snapshots: int
    dry_run: bool


def _ms(span: Span | None) -> int:
    if span is None:
        return FOR_EVER
    return int(span.total_seconds() * 1000) if isinstance(span, timedelta) else int(span * 1000)


def _span(ms: int) -> timedelta | None:
    try:
        return None if ms == FOR_EVER else timedelta(milliseconds=ms)
    except OverflowError:
        return timedelta.max


def get_policy(db: Any) -> Policy:
    native = ffi.new("mv_policy *")
    check(lib.mv_db_policy(db, native))
    return Policy(
        keep_all=_span(native.all_ms),
        hourly=native.hourly,
        daily=native.daily,
        weekly=native.weekly,
        least=_span(native.least_ms) or timedelta.max,
        deleted=_span(native.deleted_ms),
        statements=STATEMENTS[native.statements],
    )


def set_policy(db: Any, policy: Policy) -> None:
    native = ffi.new("mv_policy *")
    native.all_ms, native.least_ms, native.deleted_ms = map(
        _ms, (policy.keep_all, policy.least, policy.deleted)
    )
    native.hourly, native.daily, native.weekly = policy.hourly, policy.daily, policy.weekly
    native.statements = STATEMENTS.index(policy.statements)
    check(lib.mv_db_set_policy(db, native))


def tag(db: Any, name: str, version: str) -> None:
    check(lib.mv_db_tag(db, encode(name, "a tag"), _binding.stamp_from_hex(version)))


def untag(db: Any, name: str) -> None:
    code = lib.mv_db_untag(db, encode(name, "a tag"))
    if code == _binding.NOT_FOUND:
        raise _binding.failure("MV_NOVERSION", _binding.text(lib.mv_error_text()))
    check(code)


def tags(db: Any) -> dict[str, str]:
    found: dict[str, str] = {}
    handle = ffi.new_handle(found)
    check(lib.mv_db_tags(db, lib.each_tag, handle))
    return found


def _report(native: Any) -> GcReport:
    return GcReport(
        removed=native.removed,
        kept=native.kept,
        images=native.images,
        bytes=native.bytes,
        for_tags=native.for_tags,
        for_branches=native.for_branches,
        for_snapshots=native.for_snapshots,
        dry_run=bool(native.dry_run),
    )


class _Watcher:
    """Calls a progress function from native code, which an exception of it stops."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress
        self.error: BaseException | None = None

    def __call__(self, done: int, of: int) -> int:
        try:
            if self._progress:
                self._progress(done, of)
        except BaseException as error:
            self.error = error
            return 1
        return 0


@contextmanager
def _native_gc(progress: Progress | None, dry_run: bool) -> Iterator[Any]:
    native, watcher = ffi.new("mv_gc *"), _Watcher(progress)
    handle = ffi.new_handle(watcher)
    native.dry_run, native.now_ms = dry_run, clock_ms()
    native.progress, native.ctx = lib.gc_progress, handle
    try:
        yield native
    finally:
        if watcher.error:
            raise watcher.error


def gc(db: Any, *, dry_run: bool, progress: Progress | None) -> GcReport:
    with _native_gc(progress, dry_run) as native:
        check(lib.mv_db_gc(db, native))
    return _report(native)


@dataclass(frozen=True, slots=True)
class Dropped:
    """A deleted database whose time is over."""

    database: DatabaseInfo
    report: GcReport | None
    """What dropping it freed, or would free; None: it stays."""
    why_not: str | None
    """Why it stays, in a sentence."""


def gc_deleted(store: Store, entries: list[DatabaseInfo], *, dry_run: bool) -> list[Dropped]:
    """Drops those whose time is over; of the others, tells of those that something keeps."""
    found = []
    for entry in entries:
        dropped = ffi.new("int *")
        try:
            with _native_gc(None, dry_run) as native:
                check(lib.mv_gc_deleted(store.pointer, entry.id, native, dropped))
        except BusyError as error:
            found.append(Dropped(entry, None, str(error)))
            continue
        if dropped[0]:
            found.append(Dropped(entry, _report(native), None))
    return found
