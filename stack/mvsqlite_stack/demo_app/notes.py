"""The notes in their SQLite file."""

import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass

SCHEMA = """
CREATE TABLE IF NOT EXISTS note(
  id INTEGER PRIMARY KEY, text TEXT NOT NULL, author TEXT NOT NULL,
  written TEXT NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M', 'now')), share TEXT UNIQUE
)
"""
WAIT_SECONDS = 10.0
"""For another writer."""


@dataclass(frozen=True, slots=True)
class Note:
    """One note."""

    id: int
    text: str
    author: str
    written: str
    """UTC."""
    share: str | None
    """What its public address ends in; None: nobody else sees it."""


class Notes:
    """All notes; each call opens the file, as programs of this size do."""

    def __init__(self, path: str) -> None:
        self._path = path
        with self._connection() as db:
            db.execute(SCHEMA)

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self._path, timeout=WAIT_SECONDS)) as db, db:
            yield db

    def all(self) -> list[Note]:
        """Newest first."""
        with self._connection() as db:
            return [Note(*row) for row in db.execute(f"{_SELECT} ORDER BY id DESC")]

    def add(self, text: str, author: str) -> None:
        with self._connection() as db:
            db.execute("INSERT INTO note(text, author) VALUES (?, ?)", (text, author))

    def delete(self, note: int) -> None:
        with self._connection() as db:
            db.execute("DELETE FROM note WHERE id = ?", (note,))

    def delete_all(self) -> None:
        with self._connection() as db:
            db.execute("DELETE FROM note")

    def set_shared(self, note: int, shared: bool) -> None:
        with self._connection() as db:
            db.execute(
                "UPDATE note SET share = ? WHERE id = ?",
                (secrets.token_urlsafe(12) if shared else None, note),
            )

    def shared(self, share: str) -> Note | None:
        with self._connection() as db:
            row = db.execute(f"{_SELECT} WHERE share = ?", (share,)).fetchone()
        return Note(*row) if row else None


_SELECT = "SELECT id, text, author, written, share FROM note"
