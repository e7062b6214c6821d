"""A long series of random commits beside a plain SQLite, compared version by version."""

import hashlib
import random
from collections import Counter

import apsw

import mvsqlite_py
from conformance.random_sql import Generator

NAME = "day.db"
TROUBLE = (apsw.BusyError, apsw.IOError, apsw.CantOpenError)
KEEP = 250
"""Rows a table may have after a commit: the comparison reads every row of every version."""


def digest(connection: apsw.Connection) -> str:
    """Of everything a database holds. VACUUM drops tables of SQLite's own that have no rows left."""
    found = hashlib.sha256()
    schema = "SELECT name, type, sql FROM sqlite_schema ORDER BY name"
    for name, kind, sql in connection.execute(schema).fetchall():
        rows = []
        if kind == "table":
            rows = connection.execute(f'SELECT * FROM "{name}" ORDER BY rowid').fetchall()
        if rows or not name.startswith("sqlite_"):
            found.update(repr((name, sql, rows)).encode())
    return found.hexdigest()


class Day:
    """Units of work, each one commit on both sides, whose id is its message and a row of its own."""

    def __init__(self, store: mvsqlite_py.Store, seed: int) -> None:
        self.generator = Generator(seed)
        self.random = random.Random(seed)
        self.store = store
        self.ours, self.plain = mvsqlite_py.connect(NAME, store), apsw.Connection(":memory:")
        self.errors: Counter[str] = Counter()
        self.digests: dict[str, str] = {}
        self.units = 0
        self.plain.execute("CREATE TABLE unit(id TEXT)")
        self.until_done("CREATE TABLE IF NOT EXISTS unit(id TEXT)")
        self.empty = digest(self.plain)
        self.unit([self.generator.create_table() for _ in range(2)])

    def close(self) -> None:
        self.ours.close()
        self.plain.close()

    def work(self) -> None:
        """One commit: small or large, sometimes of the schema; now and then a VACUUM."""
        chance = self.random.random()
        self.store.configure(stage_bytes=65_536 if chance < 0.5 else 64 << 20)
        steps = [self.generator.schema_change() if chance > 0.9 else self.generator.change()]
        steps += [self.generator.change() for _ in range(self.random.randrange(4))]
        limit = 'DELETE FROM "{0}" WHERE rowid <= (SELECT max(rowid) - {1} FROM "{0}")'
        self.unit(steps + [limit.format(table, KEEP) for table in self.generator.tables])
        if chance < 0.02:
            self.until_done("VACUUM")
            self.plain.execute("VACUUM")  # it may number rows anew

    def unit(self, statements: list[str]) -> None:
        self.units += 1
        identity = f"unit {self.units}"
        told = self.on_ours(identity, statements)
        expected = self.play(self.plain, identity, statements)
        assert told in (None, expected), f"{identity}: {told} is not {expected}"
        self.digests[identity] = digest(self.plain)

    def on_ours(self, identity: str, statements: list[str]) -> list[str] | None:
        """What the statements answered; None if the last answer, to COMMIT, was lost on the way."""
        while True:
            try:
                return self.play(self.ours, identity, statements)
            except TROUBLE as error:
                self.errors[type(error).__name__] += 1
            if self.happened(identity):
                return None

    def happened(self, identity: str) -> bool:
        while True:
            try:
                if not self.ours.get_autocommit():
                    self.ours.execute("ROLLBACK")
                return bool(self.ours.execute("SELECT 1 FROM unit WHERE id = ?", (identity,)).fetchall())
            except TROUBLE as error:
                self.errors[type(error).__name__] += 1

    @staticmethod
    def play(connection: apsw.Connection, identity: str, statements: list[str]) -> list[str]:
        """The unit on one side: what each statement answered, a refusal included."""
        answers = []
        connection.execute("BEGIN IMMEDIATE")
        for sql in statements:
            try:
                answers.append(repr(connection.execute(sql).fetchall()))
            except TROUBLE:
                raise
            except apsw.Error as error:
                answers.append(repr(error))
                if connection.get_autocommit():  # OR ROLLBACK
                    connection.execute("BEGIN IMMEDIATE")
        connection.execute("INSERT INTO unit VALUES (?)", (identity,))
        if connection.db_filename("main"):
            connection.execute("SELECT mv_message(?)", (identity,)).fetchall()
        connection.execute("COMMIT")
        return answers

    def until_done(self, sql: str) -> None:
        """On our side alone: the rows stay as they are, and a second time does no harm."""
        while True:
            try:
                self.ours.execute(sql)
                return
            except TROUBLE as error:
                self.errors[type(error).__name__] += 1

    def compare_all(self) -> int:
        """Every version against what the plain side was then; how many there are."""
        database = self.store.database(NAME)
        versions = list(database.versions())[::-1]
        messages = [version.message for version in versions if version.message]
        assert messages == list(self.digests), "each unit once, in its order"
        expected = self.empty
        for version in versions:
            expected = self.digests.get(version.message or "", expected)
            past = mvsqlite_py.connect(NAME, self.store, version=version.version)
            assert digest(past) == expected, f"{version.version}, {version.message}"
            past.close()
        assert digest(self.ours) == expected
        assert self.ours.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert database.verify().problems == []
        return len(versions)
