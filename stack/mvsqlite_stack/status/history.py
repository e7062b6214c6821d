"""The history in a database of the store: days, hours and minutes of every part, and incidents.

It is written once in a while in one transaction, and bounded in both directions: periods that are over for
long are deleted, and so are the versions of the database that a policy does not keep.
"""

import json
import os
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import apsw

import mvsqlite_py
from mvsqlite_stack.signin.database import Database
from mvsqlite_stack.status.incidents import Incident, Note, Sort
from mvsqlite_stack.status.tally import DAY, DAYS_SHOWN, KEEP, Key, Tallies, Tally

SCHEMA = """
CREATE TABLE tally(
  span INTEGER NOT NULL, begins INTEGER NOT NULL, part TEXT NOT NULL,
  up INTEGER NOT NULL, slow INTEGER NOT NULL, down INTEGER NOT NULL, maintenance INTEGER NOT NULL,
  PRIMARY KEY(span, begins, part)
) STRICT, WITHOUT ROWID;
CREATE TABLE incident(
  id TEXT PRIMARY KEY, sort TEXT NOT NULL, parts TEXT NOT NULL, title TEXT NOT NULL,
  begins INTEGER NOT NULL, ends INTEGER, detail TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX incident_begins ON incident(begins);
CREATE TABLE note(
  id INTEGER PRIMARY KEY, incident TEXT NOT NULL REFERENCES incident ON DELETE CASCADE,
  at INTEGER NOT NULL, text TEXT NOT NULL
) STRICT;
CREATE INDEX note_incident ON note(incident);
CREATE TABLE written(writer TEXT PRIMARY KEY, batch TEXT NOT NULL, at INTEGER NOT NULL) STRICT;
"""

POLICY = mvsqlite_py.Policy(keep_all=timedelta(hours=2), hourly=48, daily=90)
"""A commit a minute would be half a million versions a year."""
GC_SECONDS = 3600
INCIDENT_DAYS = 400

_ADD = """
INSERT INTO tally VALUES(?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET
  up = up + excluded.up, slow = slow + excluded.slow, down = down + excluded.down,
  maintenance = maintenance + excluded.maintenance
"""
_PUT = """
INSERT INTO incident VALUES(?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET
  title = excluded.title, ends = coalesce(incident.ends, excluded.ends), detail = excluded.detail
"""


class GoneError(Exception):
    """The store was there, and is not any more: a new one in its place would hide that."""


@dataclass(frozen=True, slots=True)
class Batch:
    """What one transaction adds. Adding it again does nothing, for whether a commit came through is not
    always known."""

    tallies: Tallies
    outages: tuple[Incident, ...] = ()
    id: str = field(default_factory=lambda: uuid.uuid4().hex)


@dataclass(frozen=True, slots=True)
class Read:
    """What the database says."""

    days: dict[Key, Tally]
    incidents: tuple[Incident, ...]


class History:
    """Not for two threads at once."""

    def __init__(self, store: str | None, database: str) -> None:
        self._store, self._name = store, database
        self._database = Database(database, store, SCHEMA, POLICY)
        self._writer = uuid.uuid4().hex
        self._place: tuple[int, int] | None = None
        self._collected = 0

    # ---- by the service -----------------------------------------------------------

    def exchange(self, batches: Iterable[Batch], now: int) -> Read:
        """Writes what is new and reads what is shown. Raises what apsw, mvsqlite_py and the system raise."""
        self._demand_store()
        for batch in batches:
            self._write(batch, now)
        self._place = self._look()
        if now - self._collected >= GC_SECONDS:
            self._collected = now
            self._forget(now)
        return self._database.read(lambda db: Read(_days(db, now), _incidents(db, now)))

    def _write(self, batch: Batch, now: int) -> None:
        def work(db: apsw.Connection) -> None:
            known = db.execute("SELECT batch FROM written WHERE writer = ?", (self._writer,)).get
            if known == batch.id:
                return
            for (span, begins, part), one in sorted(batch.tallies.of.items()):
                db.execute(_ADD, (span, begins, part, one.up, one.slow, one.down, one.maintenance))
            for incident in batch.outages:
                put(db, incident)
            db.execute("INSERT OR REPLACE INTO written VALUES(?, ?, ?)", (self._writer, batch.id, now))

        self._database.write("status: checks", work)

    def _forget(self, now: int) -> None:
        def work(db: apsw.Connection) -> None:
            for span, seconds in KEEP.items():
                db.execute("DELETE FROM tally WHERE span = ? AND begins + span <= ?", (span, now - seconds))
            db.execute("DELETE FROM incident WHERE ends < ?", (now - INCIDENT_DAYS * DAY,))
            db.execute("DELETE FROM written WHERE writer <> ? AND at < ?", (self._writer, now - DAY))

        self._database.write("status: old periods deleted", work)
        with mvsqlite_py.open_store(self._store) as store:
            store.database(self._name).gc()

    def _look(self) -> tuple[int, int] | None:
        """What identifies an embedded store, if it is there."""
        if self._store is None or not self._store.startswith("lmdb:"):
            return None
        try:
            found = (Path(self._store.removeprefix("lmdb:").partition("?")[0]) / "data.mdb").stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        return found.st_dev, found.st_ino

    def _demand_store(self) -> None:
        """An open connection would go on with files that nobody will see again."""
        found = self._look()
        if self._place is None or found == self._place:
            return
        self._database.close()
        if found is None:
            raise GoneError("the store is not there any more")

    def close(self) -> None:
        self._database.close()

    # ---- by hand -------------------------------------------------------------------

    def incidents(self, now: int) -> tuple[Incident, ...]:
        """Those of the last 90 days, that are open, and that are announced; newest first."""
        return self._database.read(lambda db: _incidents(db, now))

    def change(self, message: str, incident: Incident) -> None:
        """Writes an incident as it shall be; of its notes those that are new."""

        def work(db: apsw.Connection) -> None:
            put(db, incident)
            db.execute("UPDATE incident SET ends = ? WHERE id = ?", (incident.ends, incident.id))
            count = db.execute("SELECT count(*) FROM note WHERE incident = ?", (incident.id,)).get
            for note in incident.notes[count:]:
                db.execute(
                    "INSERT INTO note(incident, at, text) VALUES(?, ?, ?)", (incident.id, note.at, note.text)
                )

        self._database.write(message, work)

    def remove(self, message: str, id: str) -> None:
        self._database.write(message, lambda db: db.execute("DELETE FROM incident WHERE id = ?", (id,)).get)


def put(db: apsw.Connection, one: Incident) -> None:
    """An end that somebody wrote stays."""
    parts = json.dumps(list(one.parts))
    db.execute(_PUT, (one.id, one.sort, parts, one.title, one.begins, one.ends, one.detail))


def _days(db: apsw.Connection, now: int) -> dict[Key, Tally]:
    rows = db.execute(
        "SELECT span, begins, part, up, slow, down, maintenance FROM tally WHERE span = ? AND begins > ?",
        (DAY, now - (DAYS_SHOWN + 1) * DAY),
    )
    return {(row[0], row[1], row[2]): Tally(*row[3:]) for row in rows}


def _incidents(db: apsw.Connection, now: int) -> tuple[Incident, ...]:
    notes: dict[str, list[Note]] = {}
    for incident, at, text in db.execute("SELECT incident, at, text FROM note ORDER BY id"):
        notes.setdefault(incident, []).append(Note(at, text))
    rows = db.execute(
        "SELECT id, sort, parts, title, begins, ends, detail FROM incident"
        " WHERE ends IS NULL OR ends > ? ORDER BY begins DESC, id",
        (now - DAYS_SHOWN * DAY,),
    )
    return tuple(
        Incident(
            id, Sort(sort), tuple(json.loads(parts)), title, begins, ends, detail, tuple(notes.get(id, ()))
        )
        for id, sort, parts, title, begins, ends, detail in rows
    )


def directory_owner(store: str | None) -> tuple[int, int] | None:
    """User and group to whom an embedded store belongs; None: there is none yet, or it is no directory."""
    if store is None or not store.startswith("lmdb:"):
        return None
    try:
        found = os.stat(store.removeprefix("lmdb:").partition("?")[0])  # noqa: PTH116
    except OSError:
        return None
    return found.st_uid, found.st_gid
