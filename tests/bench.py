"""A database, and commits made one by one: for the tests of what looks at or takes back commits."""

from typing import Any

import mvsqlite_py


class Bench:
    """A database, a connection, and a way to make commits."""

    def __init__(self, store: mvsqlite_py.Store) -> None:
        self.database = store.create("undo.db")
        self.connection = self.database.connect()

    def commit(self, sql: str, *bindings: Any) -> str:
        """Runs statements as one commit and returns its version."""
        self.connection.execute("BEGIN")
        self.connection.execute(sql, *bindings)
        self.connection.execute("COMMIT")
        version: str = self.connection.pragma("mv_version")
        return version

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        return self.connection.execute(sql).fetchall()

    def check(self) -> None:
        """SQLite finds nothing wrong, full-text indexes included."""
        assert self.rows("PRAGMA integrity_check") == [("ok",)]
