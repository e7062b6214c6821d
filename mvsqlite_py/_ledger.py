"""What taking back did to each row, over all steps of one undo."""

from dataclasses import dataclass, field
from typing import Any

from mvsqlite_py._rows import Change, Kind, Pair, Row, RowCounts
from mvsqlite_py._schema import fold

CHANGED = "changed since"
DELETED = "deleted since"
EXISTS = "a row with that key exists again"
CONSTRAINT = "constraint"
ALREADY = "already as it was before"

COMPOSED: dict[tuple[Kind, Kind], Kind | None] = {
    ("added", "changed"): "added",
    ("added", "removed"): None,
    ("changed", "changed"): "changed",
    ("changed", "removed"): "removed",
    ("removed", "added"): "changed",
}
"""What two steps did to one row, taken together."""


@dataclass(frozen=True, slots=True)
class Untouched:
    """A row (or with an empty key a whole table or object) that was left as it is, and why."""

    table: str
    key: dict[str, Any]
    reason: str
    """``changed since``, ``deleted since``, ``a row with that key exists again``, ``constraint``,
    or of a whole table or object what happened to it."""
    detail: str | None = None
    before: dict[str, Any] | None = None
    """The row before what was to be taken back; None if there was none."""
    after: dict[str, Any] | None = None
    """The row after it."""
    now: dict[str, Any] | None = None
    """The row in the newest state."""


def named(pair: Pair, row: Row | None) -> dict[str, Any] | None:
    """A row by the names of its columns."""
    return None if row is None else dict(zip(pair.columns, row[1:], strict=True))


def same_value(a: Any, b: Any) -> bool:
    return type(a) is type(b) and bool(a == b)


def _alike(a: dict[str, Any] | None, b: dict[str, Any] | None) -> bool:
    if a is None or b is None:
        return a is b
    return a.keys() == b.keys() and all(same_value(value, b[name]) for name, value in a.items())


@dataclass(slots=True)
class _Left:
    """A row left as it is. Of several steps that meet it the newest says what it was after."""

    table: str
    key: dict[str, Any]
    reason: str
    detail: str | None
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    now: dict[str, Any] | None


@dataclass
class Outcome:
    """What happened to the newest state."""

    tables: dict[str, RowCounts]
    untouched: list[Untouched]
    already: dict[str, int]
    """Rows found as they were before, by table: nothing had to be done."""


@dataclass
class Ledger:
    """Keeps account of rows over one step, or over ``several``.

    A row that one step left alone is left alone by the steps that follow, which take back older
    commits: what others made of it must not be mistaken for the work of those. With ``force`` that
    does not matter: the oldest step's state wins.
    """

    several: bool
    force: bool
    moved: dict[str, dict[int, int]] = field(default_factory=dict)
    """By table the rowids of rows without a key that were put back under another one."""
    _counts: dict[str, dict[Kind, int]] = field(default_factory=dict)
    _already: dict[str, int] = field(default_factory=dict)
    _left: dict[str, dict[Any, _Left]] = field(default_factory=dict)
    _net: dict[str, dict[Row, Kind]] = field(default_factory=dict)

    def did(self, pair: Pair, change: Change, kind: Kind) -> None:
        """Counts one row that was taken back, by what that did to the newest state."""
        if not self.several:
            self._count(pair.name, kind, 1)
            return
        row = change.after or change.before
        assert row is not None
        net, key = self._net.setdefault(pair.name, {}), pair.match_of(row)
        earlier = net.pop(key, None)
        composed = COMPOSED.get((earlier, kind), kind) if earlier else kind
        if composed:
            net[key] = composed

    def _count(self, table: str, kind: Kind, rows: int) -> None:
        counts = self._counts.setdefault(table, {"added": 0, "removed": 0, "changed": 0})
        counts[kind] += rows

    def removed(self, table: str, rows: int) -> None:
        """Counts the rows of a table that was dropped."""
        self._net.pop(table, None)
        self._count(table, "removed", rows)

    def renamed(self, old: str, new: str) -> None:
        """Goes on with a table under another name."""
        books: list[tuple[dict[str, Any], str, str]] = [
            (self.moved, fold(old), fold(new)),
            (self._left, fold(old), fold(new)),
            (self._net, old, new),
        ]
        for book, one, other in books:
            if one in book:
                book[other] = book.pop(one)

    def touched(self) -> set[str]:
        """The tables of which a row was taken back."""
        return {name for name, net in self._net.items() if net} | set(self._counts)

    def leave(
        self, pair: Pair, change: Change, reason: str, detail: str | None = None, now: Row | None = None
    ) -> None:
        """Notes a row that is left as it is."""
        if reason == ALREADY and not self.several:
            self._already[pair.name] = self._already.get(pair.name, 0) + 1
            return
        row = change.after or change.before
        assert row is not None
        left = self._left.setdefault(fold(pair.name), {})
        key = pair.match_of(row) if self.several else len(left)
        states = (named(pair, change.before), named(pair, change.after), named(pair, now))
        left[key] = _Left(pair.name, pair.told_key(row), reason, detail, *states)

    def met(self, pair: Pair, change: Change) -> bool:
        """Whether a newer step left the row of this change alone; then this one does too."""
        if not self.several or not (left := self._left.get(fold(pair.name))):
            return False
        row = change.after or change.before
        assert row is not None
        found = left.get(pair.match_of(row))
        if found is None:
            return False
        if self.force and found.reason == ALREADY:
            del left[pair.match_of(row)]
            return False
        found.before = named(pair, change.before)
        if found.reason == ALREADY and not _alike(found.before, found.now):
            found.reason = CHANGED if found.now is not None else DELETED
        return True

    def outcome(self) -> Outcome:
        for table, net in self._net.items():
            for kind in net.values():
                self._count(table, kind, 1)
        untouched = []
        for table_left in self._left.values():
            for one in table_left.values():
                if one.reason == ALREADY:
                    self._already[one.table] = self._already.get(one.table, 0) + 1
                elif not _alike(one.before, one.after) or one.reason == CONSTRAINT:
                    told = (one.table, one.key, one.reason, one.detail, one.before, one.after, one.now)
                    untouched.append(Untouched(*told))
        self._net.clear()
        tables = {name: RowCounts(**counts) for name, counts in self._counts.items()}
        return Outcome({n: c for n, c in tables.items() if c}, untouched, self._already)
