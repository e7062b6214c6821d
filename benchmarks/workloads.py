"""What three applications write, as plain SQL: a notes app, a feed reader, a counter.

Made the same each time from a seed. A workload prepares its database (one commit or a few) and then
commits for ever; it yields after every commit, so that whoever runs it can look at what that left.
The tables, indexes and statements are those of the applications named, less what they seldom write.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import apsw

Steps = Iterator[None]


@dataclass(frozen=True, slots=True)
class Workload:
    """One application. ``key`` names it for good."""

    key: str
    label: str
    prepare: Callable[[apsw.Connection, int], None]
    """Fills an empty database; the number says how much, about the rows of its main table."""
    commits: Callable[[apsw.Connection], Steps]
    """Goes on for ever; yields after each commit."""
    rows: int
    """What ``prepare`` is given for an ordinary database."""


# ---- text, ids, times ----------------------------------------------------------------

_SYLLABLES = "an ber co den er fal gra hin is jo kel lo men nor os pel qua ri sta tor un ver wil xi yar zu"
SYLLABLES = tuple(_SYLLABLES.split())


class Pen:
    """Writes text with the word frequencies of prose: a few words often, most seldom."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self._words = [
            "".join(self.random.choices(SYLLABLES, k=self.random.randint(1, 4))) for _ in range(3000)
        ]
        self._weights = [1 / (rank + 3) for rank in range(len(self._words))]
        self._ms = 1_790_000_000_000

    def words(self, n: int) -> str:
        return " ".join(self.random.choices(self._words, self._weights, k=n))

    def sentence(self) -> str:
        return self.words(self.random.randint(5, 20)).capitalize() + "."

    def paragraphs(self, n: int) -> list[str]:
        return [" ".join(self.sentence() for _ in range(self.random.randint(1, 6))) for _ in range(n)]

    def identity(self, n: int = 12) -> str:
        return "".join(
            self.random.choices("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", k=n)
        )

    def now(self) -> str:
        """A time as applications write it; some seconds later at each call."""
        self._ms += self.random.randint(500, 20_000)
        moment = datetime.fromtimestamp(self._ms / 1000, UTC)
        return moment.isoformat(" ", "milliseconds").replace("+00:00", "Z")


# ---- a notes app, as Trilium is --------------------------------------------------------

NOTES_SCHEMA = """
CREATE TABLE notes(noteId TEXT NOT NULL PRIMARY KEY, title TEXT NOT NULL DEFAULT 'note', isProtected INT
  NOT NULL DEFAULT 0, type TEXT NOT NULL DEFAULT 'text', mime TEXT NOT NULL DEFAULT 'text/html', blobId
  TEXT, isDeleted INT NOT NULL DEFAULT 0, deleteId TEXT, dateCreated TEXT NOT NULL, dateModified TEXT NOT
  NULL, utcDateCreated TEXT NOT NULL, utcDateModified TEXT NOT NULL);
CREATE INDEX notes_title ON notes(title);
CREATE INDEX notes_type ON notes(type);
CREATE INDEX notes_created ON notes(dateCreated);
CREATE INDEX notes_modified ON notes(dateModified);
CREATE INDEX notes_utc ON notes(utcDateModified);
CREATE INDEX notes_blob ON notes(blobId);
CREATE TABLE blobs(blobId TEXT NOT NULL PRIMARY KEY, content TEXT, dateModified TEXT NOT NULL,
  utcDateModified TEXT NOT NULL);
CREATE TABLE revisions(revisionId TEXT NOT NULL PRIMARY KEY, noteId TEXT NOT NULL, type TEXT NOT NULL,
  mime TEXT NOT NULL, title TEXT NOT NULL, blobId TEXT, dateCreated TEXT NOT NULL, utcDateCreated TEXT
  NOT NULL);
CREATE INDEX revisions_note ON revisions(noteId);
CREATE INDEX revisions_utc ON revisions(utcDateCreated);
CREATE INDEX revisions_blob ON revisions(blobId);
CREATE TABLE options(name TEXT NOT NULL PRIMARY KEY, value TEXT NOT NULL, isSynced INT NOT NULL,
  utcDateModified TEXT NOT NULL);
CREATE TABLE entity_changes(id INTEGER PRIMARY KEY AUTOINCREMENT, entityName TEXT NOT NULL, entityId TEXT
  NOT NULL, hash TEXT NOT NULL, isErased INT NOT NULL, changeId TEXT NOT NULL, componentId TEXT NOT NULL,
  instanceId TEXT NOT NULL, isSynced INT NOT NULL, utcDateChanged TEXT NOT NULL);
CREATE UNIQUE INDEX changes_entity ON entity_changes(entityName, entityId);
CREATE INDEX changes_change ON entity_changes(changeId);
"""


class Notes:
    """The statements of the notes app."""

    def __init__(self, connection: apsw.Connection) -> None:
        self.db = connection
        self.pen = Pen(1)

    def changed(self, entity: str, identity: str) -> None:
        pen = self.pen
        row = (entity, identity, pen.identity(10), pen.identity(), "client4711", pen.now())
        self.db.execute(
            "REPLACE INTO entity_changes(entityName, entityId, hash, isErased, changeId, componentId,"
            " instanceId, isSynced, utcDateChanged) VALUES (?, ?, ?, 0, ?, ?, 'instance0815', 1, ?)",
            row,
        )

    def blob(self, content: str) -> str:
        """The id of a blob is that of its content, so each save makes another one."""
        identity, now = self.pen.identity(20), self.pen.now()
        self.db.execute("INSERT INTO blobs VALUES (?, ?, ?, ?)", (identity, content, now, now))
        self.changed("blobs", identity)
        return identity

    def create(self, paragraphs: int) -> None:
        pen = self.pen
        note, now = pen.identity(), pen.now()
        blob = self.blob("".join(f"<p>{text}</p>" for text in pen.paragraphs(paragraphs)))
        self.db.execute(
            "INSERT INTO notes(noteId, title, blobId, dateCreated, dateModified, utcDateCreated,"
            " utcDateModified) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (note, pen.words(4), blob, now, now, now, now),
        )
        self.changed("notes", note)

    def save(self, note: str) -> None:
        """What was typed since the last save: a sentence more, or another one, in some paragraph."""
        pen = self.pen
        blob, content = next(
            self.db.execute(
                "SELECT blobId, content FROM notes JOIN blobs USING (blobId) WHERE noteId = ?", (note,)
            )
        )
        parts = content.split(". ")
        place = pen.random.randrange(len(parts))
        parts[place : place + pen.random.randint(0, 1)] = [pen.words(pen.random.randint(2, 12))]
        made, now = self.blob(". ".join(parts)), pen.now()
        self.db.execute(
            "UPDATE notes SET blobId = ?, dateModified = ?, utcDateModified = ? WHERE noteId = ?",
            (made, now, now, note),
        )
        self.changed("notes", note)
        used = self.db.execute("SELECT 1 FROM revisions WHERE blobId = ?", (blob,)).fetchone()
        if not used:
            self.db.execute("DELETE FROM blobs WHERE blobId = ?", (blob,))
            self.db.execute("DELETE FROM entity_changes WHERE entityName = 'blobs' AND entityId = ?", (blob,))

    def revise(self, note: str) -> None:
        """Keeps the note's present content as a revision."""
        identity, now = self.pen.identity(), self.pen.now()
        self.db.execute(
            "INSERT INTO revisions SELECT ?, noteId, type, mime, title, blobId, ?, ? FROM notes"
            " WHERE noteId = ?",
            (identity, now, now, note),
        )
        self.changed("revisions", identity)

    def option(self, name: str, value: str) -> None:
        self.db.execute("REPLACE INTO options VALUES (?, ?, 1, ?)", (name, value, self.pen.now()))
        self.changed("options", name)


def notes_prepare(connection: apsw.Connection, rows: int) -> None:
    notes = Notes(connection)
    with connection:
        connection.execute(NOTES_SCHEMA)
        for i in range(60):
            notes.option(f"option{i}", notes.pen.words(2))
        for i in range(rows):
            notes.create(1 + i * i % 23)


def notes_commits(connection: apsw.Connection) -> Steps:
    """Somebody opens a note, types in it for a while (a save each few seconds), and goes to another."""
    notes = Notes(connection)
    pen = notes.pen
    pen.random.seed(2)
    ids = [row[0] for row in connection.execute("SELECT noteId FROM notes ORDER BY noteId")]
    while True:
        note = pen.random.choice(ids)
        with connection:
            notes.option("openNoteContexts", f'[{{"notePath":"root/{note}","active":true}}]')
        yield
        with connection:
            notes.revise(note)
        yield
        for _ in range(pen.random.randint(3, 25)):
            with connection:
                notes.save(note)
            yield
        if pen.random.random() < 0.1:
            with connection:
                notes.create(1)
            yield


# ---- a feed reader, as yarr is ----------------------------------------------------------

FEEDS_SCHEMA = """
CREATE TABLE feeds(id INTEGER PRIMARY KEY AUTOINCREMENT, title TEXT NOT NULL, description TEXT, link
  TEXT, feed_link TEXT NOT NULL, icon BLOB);
CREATE UNIQUE INDEX feeds_link ON feeds(feed_link);
CREATE TABLE items(id INTEGER PRIMARY KEY AUTOINCREMENT, guid TEXT NOT NULL, feed_id INTEGER REFERENCES
  feeds(id) ON DELETE CASCADE, title TEXT, link TEXT, content TEXT, date DATETIME, date_arrived DATETIME,
  status INTEGER, media_links JSON);
CREATE INDEX items_feed ON items(feed_id);
CREATE INDEX items_status ON items(status);
CREATE INDEX items_date ON items(date);
CREATE UNIQUE INDEX items_guid ON items(feed_id, guid);
CREATE TABLE http_states(feed_id INTEGER UNIQUE REFERENCES feeds(id) ON DELETE CASCADE, last_refreshed
  DATETIME NOT NULL, last_modified TEXT NOT NULL, etag TEXT NOT NULL);
CREATE TABLE feed_sizes(feed_id INTEGER UNIQUE REFERENCES feeds(id) ON DELETE CASCADE, size INTEGER NOT
  NULL DEFAULT 0);
CREATE VIRTUAL TABLE search USING fts5(title, content, content='items', content_rowid='id');
CREATE TRIGGER items_added AFTER INSERT ON items BEGIN INSERT INTO search(rowid, title, content) VALUES
  (new.id, new.title, new.content); END;
CREATE TRIGGER items_removed AFTER DELETE ON items BEGIN INSERT INTO search(search, rowid, title,
  content) VALUES ('delete', old.id, old.title, old.content); END;
"""


class Feeds:
    """The statements of the feed reader."""

    def __init__(self, connection: apsw.Connection) -> None:
        self.db = connection
        self.pen = Pen(3)

    def arrive(self, feed: int, n: int) -> None:
        """Items of one feed, in one transaction."""
        pen = self.pen
        with self.db:
            for _ in range(n):
                guid, now = pen.identity(24), pen.now()
                text = "".join(f"<p>{text}</p>" for text in pen.paragraphs(pen.random.randint(1, 8)))
                self.db.execute(
                    "INSERT INTO items(guid, feed_id, title, link, content, date, date_arrived, status,"
                    " media_links) VALUES (?, ?, ?, ?, ?, ?, ?, 0, '[]')"
                    " ON CONFLICT (feed_id, guid) DO NOTHING",
                    (guid, feed, pen.words(7), f"https://feed{feed}.example/{guid}", text, now, now),
                )

    def fetched(self, feed: int) -> None:
        self.db.execute(
            "INSERT INTO http_states VALUES (?, ?, ?, ?) ON CONFLICT (feed_id) DO UPDATE SET last_refreshed ="
            " excluded.last_refreshed, last_modified = excluded.last_modified, etag = excluded.etag",
            (feed, self.pen.now(), self.pen.now(), self.pen.identity(32)),
        )


def feeds_prepare(connection: apsw.Connection, rows: int) -> None:
    feeds = Feeds(connection)
    connection.execute(FEEDS_SCHEMA)
    with connection:
        for i in range(1, 41):
            icon = feeds.pen.random.randbytes(900)
            row = (i, feeds.pen.words(3), f"https://feed{i}.example/", f"https://feed{i}.example/rss", icon)
            connection.execute(
                "INSERT INTO feeds(id, title, link, feed_link, icon) VALUES (?, ?, ?, ?, ?)", row
            )
    for i in range(1, 41):
        feeds.arrive(i, rows // 40)


def feeds_commits(connection: apsw.Connection) -> Steps:
    """A round of fetching, where a few feeds have something new; then somebody reads."""
    feeds = Feeds(connection)
    pen = feeds.pen
    pen.random.seed(4)
    while True:
        for feed in range(1, 41):
            if pen.random.random() < 0.15:
                feeds.arrive(feed, pen.random.randint(1, 5))
                yield
                connection.execute(
                    "INSERT INTO feed_sizes SELECT ?1, count(*) FROM items WHERE feed_id = ?1"
                    " ON CONFLICT (feed_id) DO UPDATE SET size = excluded.size",
                    (feed,),
                )
                yield
            feeds.fetched(feed)
            yield
        unread = connection.execute(
            "SELECT id FROM items WHERE status = 0 ORDER BY date DESC LIMIT 60"
        ).fetchall()
        for (item,) in unread:
            if pen.random.random() < 0.7:
                connection.execute("UPDATE items SET status = 1 WHERE id = ?", (item,))
                yield


# ---- a counter ---------------------------------------------------------------------------


def counter_prepare(connection: apsw.Connection, rows: int) -> None:
    with connection:
        connection.execute(
            "CREATE TABLE counter(name TEXT PRIMARY KEY, hits INTEGER NOT NULL, last TEXT NOT NULL)"
        )
        for i in range(rows):
            connection.execute("INSERT INTO counter VALUES (?, 0, '')", (f"/page/{i}",))


def counter_commits(connection: apsw.Connection) -> Steps:
    pen = Pen(5)
    while True:
        connection.execute(
            "UPDATE counter SET hits = hits + 1, last = ? WHERE name = '/page/7'", (pen.now(),)
        )
        yield


WORKLOADS = (
    Workload("notes", "notes app", notes_prepare, notes_commits, 400),
    Workload("feeds", "feed reader", feeds_prepare, feeds_commits, 1200),
    Workload("counter", "counter", counter_prepare, counter_commits, 50),
)
