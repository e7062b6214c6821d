"""Which rows may differ between two versions, from the pages that differ: ``native/rows`` for Python."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from mvsqlite_py import _binding
from mvsqlite_py._binding import check, ffi, lib
from mvsqlite_py._database import Database

NOTHING, EVERYTHING = 0, 2

Range = tuple[int, int]
"""Rowids from and to, both included."""


@dataclass(frozen=True, slots=True)
class Suspects:
    """Where to look in one b-tree: ``ranges`` None means everywhere."""

    ranges: list[Range] | None


@dataclass(frozen=True, slots=True)
class PageCost:
    """What looking at pages has cost."""

    changed: int
    """Pages that changed between the two versions."""
    read: int
    """Pages read so far to find where rows may differ."""
    whole: int
    """Pages of both versions: what comparing everything would read."""


class PageDifference:
    """Two versions by their pages: for pairs of b-trees, whether and where they may differ."""

    def __init__(self, pointer: Any) -> None:
        self._rows = pointer

    def suspects(self, root_before: int, root_after: int, by_rowid: bool) -> Suspects | None:
        """Where the rows of one b-tree may differ; None if nowhere."""
        found = ffi.new("mv_suspects *")
        check(lib.mv_rows_suspects(self._rows, root_before, root_after, found))
        if found.answer == NOTHING:
            return None
        if found.answer == EVERYTHING or not by_rowid:
            return Suspects(None)
        return Suspects([(found.ranges[i].low, found.ranges[i].high) for i in range(found.n)])

    def places(self, roots: list[int]) -> dict[int, int]:
        """Of the changed pages that belong to b-trees of the later version: the root page."""
        places, n = ffi.new("mv_place **"), ffi.new("size_t *")
        check(lib.mv_rows_places(self._rows, 1, roots, len(roots), places, n))
        try:
            return {places[0][i].pgno: places[0][i].root for i in range(n[0]) if places[0][i].root}
        finally:
            lib.mv_free(places[0])

    @property
    def cost(self) -> PageCost:
        cost = ffi.new("mv_rows_cost *")
        lib.mv_rows_figures(self._rows, cost)
        return PageCost(cost.changed, cost.read, cost.whole)


@contextlib.contextmanager
def page_difference(
    database: Database, before: str | None, after: str | None, other: Database | None = None
) -> Iterator[PageDifference | None]:
    """How the pages of two versions differ, in either order of age; None for the empty database.

    other: the database of ``after``, if that is another branch. Raises MisuseError if it is not.
    """
    if before is None or after is None:
        yield None
        return
    rows = ffi.new("mv_rows **")
    with database._open() as old, (other or database)._open() as new:
        check(lib.mv_db_pin(old, _binding.stamp_from_hex(before)))
        check(lib.mv_db_pin(new, _binding.stamp_from_hex(after)))
        check(lib.mv_rows_open(old, new, rows))
        try:
            yield PageDifference(rows[0])
        finally:
            lib.mv_rows_close(rows[0])
