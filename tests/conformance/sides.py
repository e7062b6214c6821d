"""The same work on two sides: databases of our VFS, and ordinary files of stock SQLite.

A side writes down what every statement answered; two sides that did the same work are compared
entry by entry. In SQL, ``{db:NAME}`` stands for a database of the side, ``{file:NAME}`` for an
ordinary file beside it, on both sides.
"""

import hashlib
import re
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apsw

import mvsqlite_py
from differences import difference_of
from mvsqlite_py import dbapi

PLACE = re.compile(r"\{(db|file):([\w.-]+)\}")
LONG = 4000
FAILURES = (apsw.Error, sqlite3.Error, ValueError, OverflowError)


@dataclass(frozen=True)
class Entry:
    """What was asked and what was answered."""

    asked: str
    answer: str
    columns: str = ""


def plain(value: Any) -> Any:
    """A value that tells types apart, is short, and is equal on both sides if the value is."""
    if isinstance(value, bytes) and len(value) > LONG:
        return ("blob", len(value), hashlib.sha256(value).hexdigest())
    if isinstance(value, str) and len(value) > LONG:
        return ("text", len(value), hashlib.sha256(value.encode()).hexdigest())
    if isinstance(value, tuple | list):
        return tuple(plain(part) for part in value)
    return value


def column_names(cursor: Any) -> list[str]:
    """The names of the columns; apsw does not tell them once there are no more rows."""
    try:
        return [column[0] for column in cursor.description or ()]
    except apsw.ExecutionCompleteError:
        return []


class Session:
    """A connection of a side."""

    def __init__(self, side: "Side", raw: Any, label: str) -> None:
        self.side = side
        self.raw = raw
        self.label = label

    def __call__(self, sql: str, *parameters: Any) -> None:
        """Runs one statement and writes its rows or its error down."""
        self.side.note(f"{self.label}: {sql}", lambda: self.rows(sql, *parameters))

    def rows(self, sql: str, *parameters: Any) -> list[Any]:
        """Runs one statement, without writing anything down; errors are raised."""
        cursor = self.raw.execute(self.side.render(sql), parameters)
        self.side.columns = self.side.unrender(str(column_names(cursor)))
        return [tuple(row) for row in cursor.fetchall()]

    def script(self, text: str) -> None:
        for statement in statements(text):
            self(statement)

    def close(self) -> None:
        self.raw.close()


class Side:
    """Databases of one kind, reached by one driver, and the record of what happened."""

    def __init__(self, driver: str, directory: Path, store: mvsqlite_py.Store | None) -> None:
        self.driver = driver
        self.directory = directory
        self.store = store
        self.entries: list[Entry] = []
        self.sessions: list[Session] = []
        self.places: dict[str, str] = {}
        self.names: set[str] = set()
        self.columns = ""

    # ---- where things are -------------------------------------------------------

    def address(self, name: str) -> str:
        """The URI of a database of this side."""
        self.names.add(name)
        if self.store is None:
            return self._keep(f"file:{self.directory / name}?vfs=unix", f"{{db:{name}}}")
        return self._keep(mvsqlite_py.uri(name, store=self.store), f"{{db:{name}}}")

    def file(self, name: str) -> str:
        """The URI of an ordinary file, on either side."""
        return self._keep(f"file:{self.directory / 'files' / name}?vfs=unix", f"{{file:{name}}}")

    def _keep(self, address: str, placeholder: str) -> str:
        self.places[address] = placeholder
        return address

    def render(self, sql: str) -> str:
        return PLACE.sub(lambda m: self.address(m[2]) if m[1] == "db" else self.file(m[2]), sql)

    def unrender(self, text: str) -> str:
        for address, placeholder in self.places.items():
            text = text.replace(address, placeholder).replace(address.removeprefix("file:"), placeholder)
        return text

    # ---- doing and writing down -------------------------------------------------------

    def open(
        self, name: str = "main.db", label: str = "", address: str | None = None, **options: Any
    ) -> Session:
        """A session on a database of this side, created if need be."""
        target = address or self.address(name)
        mode = options.pop("mode", "rwc")
        timeout = options.pop("timeout", 0)
        if self.driver == "apsw":
            raw = self._open_apsw(target, mode)
            raw.set_busy_timeout(int(timeout * 1000))
        else:
            where = target if ":memory:" in target else f"{target}&mode={mode}"
            raw = sqlite3.connect(where, uri=True, timeout=timeout, isolation_level=None, **options)
        session = Session(self, raw, label or name)
        self.sessions.append(session)
        return session

    @staticmethod
    def _open_apsw(target: str, mode: str) -> apsw.Connection:
        flags = {
            "rwc": apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE,
            "rw": apsw.SQLITE_OPEN_READWRITE,
            "ro": apsw.SQLITE_OPEN_READONLY,
        }[mode]
        return apsw.Connection(target, flags=flags | apsw.SQLITE_OPEN_URI)

    def note(self, asked: str, work: Callable[[], Any]) -> None:
        """Does the work and writes its answer or its error down."""
        self.columns = ""
        try:
            answer = repr(plain(work()))
        except FAILURES as error:
            kind = type(error)
            answer = f"{kind.__module__}.{kind.__qualname__}: {error}"
        self.entries.append(Entry(asked, self.unrender(answer), self.columns))

    def close(self) -> None:
        for session in self.sessions:
            session.close()
        self.sessions.clear()

    # ---- afterwards -------------------------------------------------------

    def content(self, name: str) -> bytes:
        """The bytes of a database as a file, but for what changes with every commit."""
        if self.store is None:
            path = self.directory / name
            data = bytearray(path.read_bytes() if path.exists() else b"")
        else:
            newest = self.store.database(name).newest
            data = bytearray(self.store.database(name).at(version=newest.version).read() if newest else b"")
        if data:
            data[18:20] = b"\1\1"
            data[24:28] = data[92:96] = data[96:100] = bytes(4)
        return bytes(data)


def ours(driver: str, directory: Path, store: mvsqlite_py.Store) -> Side:
    """A side of our VFS, whose driver has met it."""
    (directory / "files").mkdir(parents=True, exist_ok=True)
    (mvsqlite_py.connect if driver == "apsw" else dbapi.connect)("warm-up", store).close()
    store.delete("warm-up")
    return Side(driver, directory, store)


def stock(driver: str, directory: Path) -> Side:
    (directory / "files").mkdir(parents=True, exist_ok=True)
    return Side(driver, directory, None)


def statements(text: str) -> Iterator[str]:
    """The statements of a script, one at a time; triggers hold semicolons of their own."""
    pending: list[str] = []
    for line in text.splitlines():
        if not pending and (not line.strip() or line.lstrip().startswith("--")):
            continue
        pending.append(line)
        if line.rstrip().endswith(";") and sqlite3.complete_statement("\n".join(pending)):
            yield "\n".join(pending).rstrip().removesuffix(";")
            pending = []
    if pending:
        raise ValueError(f"a statement of the script does not end: {pending[0]!r}")


def compare(mine: Side, theirs: Side) -> None:
    """Every answer is equal, but for the differences that are meant."""
    assert [e.asked for e in mine.entries] == [e.asked for e in theirs.entries]
    for i, (a, b) in enumerate(zip(mine.entries, theirs.entries, strict=True)):
        if a == b or allowed(a, b):
            continue
        text = f"entry {i}: {a.asked}\n  ours:  {a.answer[:2000]}\n  stock: {b.answer[:2000]}"
        raise AssertionError(f"{text}\n  columns: {a.columns[:500]} and {b.columns[:500]}")


def allowed(a: Entry, b: Entry) -> bool:
    difference = difference_of(a.asked)
    return difference is not None and (a.answer == b.answer or not difference.only_columns)
