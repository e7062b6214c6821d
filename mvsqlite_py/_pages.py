"""Which rows may differ between two versions, from the pages that differ.

A commit of one row in a table of a million changes a handful of pages. Reading the interior
pages of the b-trees (about one page in three hundred) tells which tables the changed pages
belong to; reading the changed leaves tells between which rowids to look. Wherever the pages do
not prove that a row is untouched, the answer is to compare it.
"""

import contextlib
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from mvsqlite_py import _binding
from mvsqlite_py._binding import check, ffi, lib
from mvsqlite_py._database import Database

INDEX_INTERIOR, TABLE_INTERIOR, INDEX_LEAF, TABLE_LEAF = 2, 5, 10, 13
HEADER_OF_FILE = 100
FULL_SCAN_SHARE = 0.5
"""Where more than this share of a table's leaves differ, looking by range saves nothing."""

Range = tuple[int, int]
"""Rowids from and to, both included."""


@dataclass
class Tree:
    """The pages of one b-tree."""

    inner: set[int] = field(default_factory=set)
    leaves: set[int] = field(default_factory=set)

    @property
    def pages(self) -> set[int]:
        return self.inner | self.leaves


class PageState:
    """The pages of one version, as b-trees. A context manager: it holds a handle."""

    def __init__(self, database: Database, version: str) -> None:
        self._resources = contextlib.ExitStack()
        try:
            self._db: Any = self._resources.enter_context(database._open())
            check(lib.mv_db_pin(self._db, _binding.stamp_from_hex(version)))
            snapshot = ffi.new("mv_snapshot *")
            lib.mv_db_snapshot(self._db, snapshot)
            self.page_count: int = snapshot.pages
            self._room: int = snapshot.page_size
            self._buffer = ffi.new("uint8_t[]", self._room)
            self._first = self.read(1) if self.page_count else bytes(HEADER_OF_FILE)
            self._usable = self._room - self._first[20]
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self._resources.close()

    def __enter__(self) -> "PageState":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def read(self, page: int) -> bytes:
        check(lib.mv_db_read(self._db, page, self._buffer))
        return bytes(ffi.buffer(self._buffer, self._room))

    # ---- b-trees ------------------------------------------------------------------

    @staticmethod
    def _start(page: int) -> int:
        return HEADER_OF_FILE if page == 1 else 0

    def _cells(self, page: int, data: bytes) -> list[int]:
        """Where the cells of a b-tree page begin."""
        start = self._start(page)
        (count,) = struct.unpack_from(">H", data, start + 3)
        header = 12 if data[start] in (INDEX_INTERIOR, TABLE_INTERIOR) else 8
        return list(struct.unpack_from(f">{count}H", data, start + header))

    def _children(self, page: int, data: bytes) -> list[int]:
        unpack = struct.Struct(">I").unpack_from
        found = [unpack(data, cell)[0] for cell in self._cells(page, data)]
        found.append(unpack(data, self._start(page) + 8)[0])
        return found

    def tree(self, root: int) -> Tree:
        """All pages of a b-tree but its overflow pages; reads only the interior ones."""
        tree, level = Tree(), [root]
        while self.read(level[0])[self._start(level[0])] in (INDEX_INTERIOR, TABLE_INTERIOR):
            tree.inner.update(level)
            level = [child for page in level for child in self._children(page, self.read(page))]
        tree.leaves.update(level)
        return tree

    def rowids(self, leaf: int) -> Range | None:
        """The least and the greatest rowid on a leaf of a table; None if it is empty."""
        data = self.read(leaf)
        cells = self._cells(leaf, data)
        if not cells:
            return None
        ends = [self._varint(data, self._varint(data, cell)[1])[0] for cell in (cells[0], cells[-1])]
        low, high = (end - (1 << 64) if end >= 1 << 63 else end for end in ends)
        return low, high

    @staticmethod
    def _varint(data: bytes, at: int) -> tuple[int, int]:
        value = 0
        for i in range(8):
            byte = data[at + i]
            value = value << 7 | byte & 0x7F
            if byte < 0x80:
                return value, at + i + 1
        return value << 8 | data[at + 8], at + 9

    # ---- pages of no b-tree -------------------------------------------------------

    def loose(self) -> set[int]:
        """Free pages and pointer maps: nothing of a row is on them."""
        found: set[int] = set()
        (trunk,) = struct.unpack_from(">I", self._first, 32)
        while trunk and trunk not in found:
            found.add(trunk)
            data = self.read(trunk)
            following, count = struct.unpack_from(">II", data)
            found.update(struct.unpack_from(f">{count}I", data, 8))
            trunk = following
        if self._first[52:56] != b"\0\0\0\0":
            found.update(range(2, self.page_count + 1, self._usable // 5 + 1))
        return found

    def overflow(self, pages: Iterable[int]) -> Iterator[int]:
        """The overflow pages of the cells on these b-tree pages."""
        for page in pages:
            data = self.read(page)
            kind = data[self._start(page)]
            if kind != TABLE_INTERIOR:
                for cell in self._cells(page, data):
                    yield from self._chain(self._spill(kind, data, cell))

    def _spill(self, kind: int, data: bytes, cell: int) -> int:
        """The first overflow page of a cell, 0 if it has none: "B-tree Cell Format" of the file format."""
        size, at = self._varint(data, cell + 4 if kind == INDEX_INTERIOR else cell)
        usable = self._usable
        if kind == TABLE_LEAF:
            _, at = self._varint(data, at)
            most = usable - 35
        else:
            most = (usable - 12) * 64 // 255 - 23
        if size <= most:
            return 0
        least = (usable - 12) * 32 // 255 - 23
        local = least + (size - least) % (usable - 4)
        at += local if local <= most else least
        return int(struct.unpack_from(">I", data, at)[0])

    def _chain(self, page: int) -> Iterator[int]:
        seen: set[int] = set()
        while page and page not in seen:
            seen.add(page)
            yield page
            (page,) = struct.unpack_from(">I", self.read(page))


@dataclass
class Suspects:
    """Where to look in one b-tree: ``ranges`` None means everywhere."""

    ranges: list[Range] | None


def merge(ranges: Iterable[Range]) -> list[Range]:
    """Sorted, with those that touch joined."""
    merged: list[Range] = []
    for low, high in sorted(ranges):
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
        else:
            merged.append((low, high))
    return merged


class PageDifference:
    """Two versions by their pages: for pairs of b-trees, whether and where they may differ."""

    def __init__(
        self,
        before: PageState,
        after: PageState,
        changed: Iterable[int],
        roots_before: Iterable[int],
        roots_after: Iterable[int],
    ) -> None:
        self._changed = set(changed)
        self._states = (before, after)
        self._trees = (
            {root: before.tree(root) for root in {1, *roots_before}},
            {root: after.tree(root) for root in {1, *roots_after}},
        )
        self.unexplained = self._find_unexplained()

    def _find_unexplained(self) -> set[int]:
        """Changed pages that may be overflow pages of a row whose leaf did not change.

        A page that in either version is a b-tree page, free, or an overflow page of a cell on a
        changed b-tree page is not the first page in which the chain of an unchanged cell differs.
        """
        left = {page for page in self._changed if page <= max(s.page_count for s in self._states)}
        for state, trees in zip(self._states, self._trees, strict=True):
            left.difference_update(*(tree.pages for tree in trees.values()))
            left -= state.loose()
        for which in (0, 1):
            if left:
                left.difference_update(self._states[which].overflow(self._different(which)))
        return left

    def _different(self, which: int) -> set[int]:
        """The b-tree pages of one version that the other one does not have alike in the same place."""
        mine: set[int] = set().union(*(tree.pages for tree in self._trees[which].values()))
        others: set[int] = set().union(*(tree.pages for tree in self._trees[1 - which].values()))
        return (mine & self._changed) | (mine - others)

    def suspects(self, root_before: int, root_after: int, by_rowid: bool) -> Suspects | None:
        """Where the rows of one b-tree may differ; None if nowhere."""
        if self.unexplained:
            return Suspects(None)
        trees = self._trees[0][root_before], self._trees[1][root_after]
        sets = [
            (mine.pages & self._changed) | (mine.pages ^ other.pages) & mine.pages
            for mine, other in (trees, trees[::-1])
        ]
        if not any(sets):
            return None
        leaves = [different & tree.leaves for different, tree in zip(sets, trees, strict=True)]
        total = sum(len(tree.leaves) for tree in trees)
        if not by_rowid or sum(map(len, leaves)) > max(8, FULL_SCAN_SHARE * total):
            return Suspects(None)
        found = (state.rowids(leaf) for state, own in zip(self._states, leaves, strict=True) for leaf in own)
        return Suspects(merge(pair for pair in found if pair))
