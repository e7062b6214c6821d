"""A bad DELETE, undone: ``python -m mvsqlite_py._demo`` tells the whole story in a temporary store.

Everything is real: the database is made here as an ordinary SQLite file, the app's part is plain
SQL, and the commands are run as they are printed. It exits with 1 if any proof fails.
"""

import os
import random
import shlex
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import apsw
from rich.console import Console
from rich.padding import Padding
from rich.rule import Rule
from rich.syntax import Syntax
from rich.text import Text

import mvsqlite_py

NOTES = 3000
WIDTH = 80
SEED = 20
Rows = list[tuple[Any, ...]]

SCHEMA = """
CREATE TABLE notes(
    id INTEGER PRIMARY KEY AUTOINCREMENT, title TEXT NOT NULL, body TEXT NOT NULL,
    starred INT NOT NULL DEFAULT 0, edited TEXT NOT NULL
);
CREATE TABLE tags(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE note_tags(
    note INT NOT NULL REFERENCES notes ON DELETE CASCADE,
    tag INT NOT NULL REFERENCES tags ON DELETE CASCADE,
    PRIMARY KEY(note, tag)
) WITHOUT ROWID;
CREATE INDEX note_tags_tag ON note_tags(tag);
CREATE VIRTUAL TABLE search USING fts5(title, body, content='notes', content_rowid='id');
CREATE TRIGGER notes_insert AFTER INSERT ON notes BEGIN
    INSERT INTO search(rowid, title, body) VALUES (new.id, new.title, new.body);
END;
CREATE TRIGGER notes_delete AFTER DELETE ON notes BEGIN
    INSERT INTO search(search, rowid, title, body) VALUES ('delete', old.id, old.title, old.body);
END;
CREATE TRIGGER notes_update AFTER UPDATE ON notes BEGIN
    INSERT INTO search(search, rowid, title, body) VALUES ('delete', old.id, old.title, old.body);
    INSERT INTO search(rowid, title, body) VALUES (new.id, new.title, new.body);
END;
"""
TAGS = ("work", "home", "garden", "recipes", "travel", "books", "music", "health", "money", "letters")
WORDS = (
    *("apple", "bread", "river", "lamp", "winter", "paper", "train", "cousin", "bicycle", "kettle", "soup"),
    *("meeting", "invoice", "forest", "dentist", "harbour", "ladder", "orchard", "window", "pencil", "map"),
    *("market", "storm", "blanket", "garden", "engine", "letter", "candle", "bridge", "stairs", "button"),
)


class ProofFailedError(Exception):
    """Something promised did not come true."""


# ---- telling -------------------------------------------------------------------------


class Story:
    """Prints what happens, runs commands, and checks what they promise."""

    def __init__(self, directory: Path) -> None:
        self.console = Console(width=min(WIDTH, Console().width), highlight=False)
        self.directory = directory
        self.url = f"lmdb:{directory / 'store'}"
        self._chapter = 0

    def chapter(self, title: str, text: str) -> None:
        self._chapter += 1
        self.console.print()
        self.console.print(Rule(Text(f"{self._chapter}. {title}", "bold"), align="left", style="dim"))
        self.console.print(text)

    def sql(self, text: str) -> None:
        """Shows SQL that is about to run."""
        self.console.print()
        self.console.print(
            Padding(Syntax(text, "sql", theme="ansi_dark", background_color="default"), (0, 2))
        )

    def run(self, command: str) -> None:
        """Shows a command, runs it, and shows what it says."""
        program, *words = shlex.split(command)
        self.console.print()
        self.console.print(Text.assemble(("$ ", "dim"), (command, "bold cyan")))
        colour = {"FORCE_COLOR": "1"} if self.console.is_terminal else {}
        environment = os.environ | {"COLUMNS": str(self.console.width)} | colour
        done = subprocess.run(
            [*script(program), *words],
            env=environment,
            cwd=self.directory,
            text=True,
            capture_output=True,
            check=False,
        )
        self.console.print(Text.from_ansi(done.stdout.rstrip()), soft_wrap=True)
        if done.returncode:
            raise ProofFailedError(f"{command}: exit status {done.returncode}: {done.stderr.strip()}")

    def prove(self, what: str, holds: bool) -> None:
        """Shows whether a statement is true. Raises ProofFailedError if not."""
        sign = ("  ✓ ", "bold green") if holds else ("  ✗ ", "bold red")
        self.console.print(Text.assemble(sign, what))
        if not holds:
            raise ProofFailedError(what)


def script(program: str) -> list[str]:
    """How to run one of our commands: the installed script, or its function."""
    installed = Path(sys.executable).with_name(program)
    if installed.exists():
        return [str(installed)]
    return [sys.executable, "-c", f"from mvsqlite_py._cli.{program} import main; main()"]


# ---- the app ---------------------------------------------------------------------------


def sentence(rng: random.Random, words: int) -> str:
    return " ".join(rng.choice(WORDS) for _ in range(words)).capitalize()


def make_file(path: Path) -> None:
    """An ordinary SQLite file with a few years of notes."""
    rng = random.Random(SEED)
    connection = sqlite3.connect(path)
    connection.executescript(SCHEMA)
    connection.executemany("INSERT INTO tags(name) VALUES (?)", [(name,) for name in TAGS])
    for number in range(1, NOTES + 1):
        day = f"{2023 + number % 3}-{1 + number % 12:02}-{1 + number % 28:02}"
        title = "Violin lesson" if number % 40 == 0 else sentence(rng, 3)
        note = title, ". ".join(sentence(rng, 9) for _ in range(3)), number % 9 == 0, day
        connection.execute("INSERT INTO notes(title, body, starred, edited) VALUES (?, ?, ?, ?)", note)
        tags = rng.sample(range(1, len(TAGS) + 1), rng.randint(1, 3))
        connection.executemany("INSERT INTO note_tags VALUES (?, ?)", [(number, tag) for tag in tags])
    connection.commit()
    connection.close()


MORNING = """\
INSERT INTO notes(title, body, edited)
  VALUES ('Talk on Friday', 'Slides, adapter, water.', '2026-11-24');
INSERT INTO note_tags SELECT max(id), 1 FROM notes;
UPDATE notes SET starred = 1 WHERE id IN (12, 170, 2048);"""

BAD = "DELETE FROM notes;   -- meant: WHERE title = 'Talk on Friday'"

AFTERNOON = """\
INSERT INTO notes(title, body, edited)
  VALUES ('Strange', 'All my notes are gone?', '2026-11-24');
INSERT INTO tags(name) VALUES ('urgent');
INSERT INTO note_tags SELECT max(notes.id), max(tags.id) FROM notes, tags;
UPDATE notes SET starred = 1 WHERE title = 'Strange';"""


def state(connection: apsw.Connection, schema: str = "main") -> dict[str, Rows]:
    """All rows of the app's tables."""
    return {
        table: connection.execute(f"SELECT * FROM {schema}.{table} ORDER BY 1, 2").fetchall()
        for table in ("notes", "tags", "note_tags")
    }


def number(connection: apsw.Connection, sql: str) -> int:
    row: Any = connection.execute(sql).fetchone()
    return int(row[0])


# ---- the story -------------------------------------------------------------------------


def tell(story: Story) -> None:
    file = story.directory / "notes.sqlite"
    make_file(file)
    story.console.print(Rule(Text("A bad DELETE, undone", "bold"), characters="═"))
    story.chapter(
        "An ordinary SQLite file",
        f"notes.sqlite is the database of a notes app: {NOTES:,} notes with tags, foreign keys, "
        f"triggers and a full-text index, {file.stat().st_size / 1e6:.1f} MB. It goes into a store "
        "where every commit is kept. The app opens notes.db instead of notes.sqlite; its SQL stays as it is.",
    )
    story.run("mvsqlite import notes.sqlite notes.db")
    with mvsqlite_py.open_store(story.url) as store:
        app = store.database("notes.db").connect()
        app.execute("PRAGMA foreign_keys = ON")
        work(story, store.database("notes.db"), app)
        app.close()


def work(story: Story, database: mvsqlite_py.Database, app: apsw.Connection) -> None:
    story.chapter("A working day", "In the morning the app writes:")
    story.sql(MORNING)
    app.execute(MORNING)
    before, good = state(app), newest(database)
    total = len(before["notes"])
    story.chapter("The accident", "Then somebody runs, with half of it commented out:")
    story.sql(BAD)
    app.execute(BAD)
    bad = newest(database)
    story.console.print(
        f"\nAll {total:,} notes are gone, and the foreign keys took "
        f"{len(before['note_tags']):,} rows of note_tags along. "
        "Nobody notices for a while; the app keeps working:"
    )
    story.sql(AFTERNOON)
    app.execute(AFTERNOON)
    later = state(app)
    story.chapter("What happened?", "The log tells what each commit did, row by row:")
    story.run("mvrevert log notes.db")
    take_back(story, bad)
    prove(story, app, before, later)
    compare_states(story, app, good, bad)
    try_on_a_branch(story, database, app)


def newest(database: mvsqlite_py.Database) -> str:
    found = database.newest
    assert found
    return found.version


def take_back(story: Story, bad: str) -> None:
    from mvsqlite_py._cli._versions import short

    story.chapter(
        "Undo that one commit",
        "Restoring this morning's backup would lose the afternoon's work. Undo takes back that "
        "one commit only:",
    )
    story.run(f"mvrevert undo notes.db {short(bad)} --yes")


def prove(story: Story, app: apsw.Connection, before: dict[str, Rows], later: dict[str, Rows]) -> None:
    story.chapter(
        "Is everything back?", "Compared with what the tables held before the DELETE, and before the undo:"
    )
    story.console.print()
    now = state(app)
    for table in now:
        story.prove(
            f"{table}: all {len(before[table]):,} rows are back, equal in every column",
            set(before[table]) <= set(now[table]),
        )
    new = sum(len(set(later[table]) - set(before[table])) for table in now)
    story.prove(
        f"the {new} rows written after the accident are still there",
        new == 3 and all(set(now[t]) == set(before[t]) | set(later[t]) for t in now),
    )
    words = number(app, "SELECT count(*) FROM search('violin')")
    like = number(app, "SELECT count(*) FROM notes WHERE title || ' ' || body LIKE '%violin%'")
    story.prove(f"full-text search finds the {words:,} violin lessons again", 0 < words == like)
    app.execute("INSERT INTO search(search, rank) VALUES ('integrity-check', 1)")
    broken = app.execute("PRAGMA foreign_key_check").fetchall()
    story.prove("no foreign key is broken", broken == [])
    checked = app.execute("PRAGMA integrity_check").fetchall()
    story.prove("SQLite's integrity check says ok, for the full-text index too", checked == [("ok",)])


COMPARE = """\
SELECT (SELECT count(*) FROM good.notes) AS before,
       (SELECT count(*) FROM bad.notes)  AS after_the_delete,
       (SELECT count(*) FROM main.notes) AS now,
       (SELECT group_concat(title) FROM main.notes
         WHERE id NOT IN (SELECT id FROM good.notes)) AS new_since;"""


def compare_states(story: Story, app: apsw.Connection, good: str, bad: str) -> None:
    story.chapter(
        "Past and present in one statement",
        "Any version is a read-only database. ATTACH opens it beside the present one:",
    )
    attach = [
        f"ATTACH 'file:notes.db?vfs=mvsqlite&version={version}' AS {name};"
        for version, name in ((good, "good"), (bad, "bad"))
    ]
    story.sql("\n".join([*attach, COMPARE]))
    app.execute("".join(attach))
    cursor = app.execute(COMPARE)
    names = [column[0] for column in cursor.get_description()]
    row: Any = cursor.fetchone()
    story.console.print()
    for name, value in zip(names, row, strict=True):
        story.console.print(Text.assemble((f"  {name:<18}", "bold"), str(value)))
    story.console.print()
    total = NOTES + 1
    story.prove("as it should be", row == (total, 0, total + 1, "Strange"))


TRIAL = "UPDATE notes SET starred = NOT starred;"
ROW = "SELECT kind, time, ended_time FROM mv_history('notes', 'id = 12');"


def try_on_a_branch(story: Story, database: mvsqlite_py.Database, app: apsw.Connection) -> None:
    story.chapter(
        "Try it on a branch",
        "A branch begins as the database is, takes no time and no space, and is written without it:",
    )
    before = state(app)
    story.run("mvsqlite branch notes.db trial.db")
    trial = database.store.database("trial.db").connect()
    story.sql(TRIAL)
    trial.execute(TRIAL)
    story.run("mvrevert diff notes.db now --with trial.db --limit 2")
    story.prove("the database itself is as it was", state(app) == before)
    story.run("mvsqlite promote notes.db trial.db --keep before.db --yes")
    story.prove("the app, which had it open all the time, sees the branch's rows", state(app) == state(trial))
    kept = database.store.database("before.db").connect()
    story.prove("what was there before is a branch now", state(kept) == before)
    kept.close()
    trial.close()
    story.sql(ROW)
    rows = app.execute(ROW).fetchall()
    for row in rows:
        story.console.print("  " + "  ".join(str(value) for value in row))
    story.prove("each state that row had is there, newest first", len(rows) == 4 and rows[0][2] is None)
    story.chapter(
        "And the store itself?", "Every page of every version is read and checked, by us and by SQLite:"
    )
    story.run("mvsqlite verify notes.db --all-versions")


def main() -> int:
    """Tells the story; 0 if all of it came true."""
    with tempfile.TemporaryDirectory(prefix="mvsqlite-demo-") as directory:
        story = Story(Path(directory))
        os.environ["MVSQLITE_STORE"] = story.url  # of this process and the commands it runs
        try:
            tell(story)
        except (ProofFailedError, mvsqlite_py.Error, apsw.Error) as error:
            story.console.print(Text(f"\nThe demo failed: {error}", "bold red"))
            return 1
        story.console.print(Text("\nNothing was lost.", "bold green"))
        return 0


if __name__ == "__main__":
    sys.exit(main())
