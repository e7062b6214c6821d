"""Dumps of a database server in a database of this project: each is a version, row by row.

A dump is what ``pg_dump`` prints as SQL. The rows of its tables (between ``COPY`` and ``\\.``) have no order,
so they are kept as a set: a row that was there before is not written again. All else is kept line by line.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import apsw
import click

import mvsqlite_py

END = "\\."
"""After the last row of a table."""
SCHEMA = """
CREATE TABLE IF NOT EXISTS taken(at TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS line(number INTEGER PRIMARY KEY, text TEXT NOT NULL, is_copy INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS content(
    copy TEXT NOT NULL, text TEXT NOT NULL, times INTEGER NOT NULL, PRIMARY KEY(copy, text)
) WITHOUT ROWID;
CREATE TEMP TABLE new_line(number INTEGER PRIMARY KEY, text TEXT NOT NULL, is_copy INTEGER NOT NULL);
CREATE TEMP TABLE new_content(
    copy TEXT NOT NULL, text TEXT NOT NULL, times INTEGER NOT NULL, PRIMARY KEY(copy, text)
) WITHOUT ROWID;
"""
TAKE_OVER = """
DELETE FROM content WHERE NOT EXISTS (
    SELECT 1 FROM new_content AS n WHERE n.copy = content.copy AND n.text = content.text);
INSERT INTO content SELECT copy, text, times FROM new_content WHERE true
    ON CONFLICT(copy, text) DO UPDATE SET times = excluded.times WHERE times <> excluded.times;
DELETE FROM line WHERE number NOT IN (SELECT number FROM new_line);
INSERT INTO line SELECT number, text, is_copy FROM new_line WHERE true
    ON CONFLICT(number) DO UPDATE SET text = excluded.text, is_copy = excluded.is_copy
    WHERE text <> excluded.text OR is_copy <> excluded.is_copy;
DELETE FROM taken;
"""


class DumpError(click.ClickException):
    """The server's program could not make a dump; nothing was taken over."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What a dump held, and what was new."""

    rows: int
    added: int
    removed: int


def take(store: str, database: str, command: Iterable[str]) -> Taken:
    """Runs a command that prints a dump, and makes what it prints the newest version.

    store: an address. Raises DumpError, and the store's errors; then the last dump stays.
    """
    with closing(mvsqlite_py.connect(database, store=store)) as connection:
        with connection:
            for statement in SCHEMA.split(";"):
                connection.execute(statement)
        with connection:
            _read(connection, list(command))
            taken = _take_over(connection, " ".join(command))
    return taken


def _read(connection: apsw.Connection, command: list[str]) -> None:
    with (
        tempfile.TemporaryFile() as said,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said) as program,
    ):
        assert program.stdout is not None
        whole = _take_in(connection, (raw.decode().rstrip("\n") for raw in program.stdout))
        code = program.wait()
        said.seek(0)
        words = said.read().decode(errors="replace").strip()
    if code or not whole:
        raise DumpError(f"{command[0]} ended with {code}: {words or 'what it printed is no whole dump'}")


def _take_in(connection: apsw.Connection, lines: Iterable[str]) -> bool:
    """Whether there was something, and no table was cut off."""
    copy, number = "", 0
    for text in lines:
        if copy and text != END:
            connection.execute(
                "INSERT INTO new_content VALUES (?, ?, 1) ON CONFLICT DO UPDATE SET times = times + 1",
                (copy, text),
            )
            continue
        is_copy = not copy and text.startswith("COPY ") and text.endswith(" FROM stdin;")
        copy = text if is_copy else ""
        number += 1
        connection.execute("INSERT INTO new_line VALUES (?, ?, ?)", (number, text, is_copy))
    return number > 0 and not copy


def _take_over(connection: apsw.Connection, command: str) -> Taken:
    def count(sql: str) -> int:
        return int(next(iter(connection.execute(sql)))[0])

    here, there = "FROM new_content AS a", "FROM content AS a"
    same = "NOT EXISTS (SELECT 1 FROM {} AS b WHERE b.copy = a.copy AND b.text = a.text)"
    taken = Taken(
        rows=count("SELECT coalesce(sum(times), 0) FROM new_content"),
        added=count(f"SELECT count(*) {here} WHERE {same.format('content')}"),
        removed=count(f"SELECT count(*) {there} WHERE {same.format('new_content')}"),
    )
    for statement in TAKE_OVER.split(";"):
        connection.execute(statement)
    connection.execute("INSERT INTO taken VALUES (?)", (datetime.now(UTC).isoformat(timespec="seconds"),))
    connection.execute("SELECT mv_message(?)", (f"dump by {command}",))
    return taken


def lines_of(connection: apsw.Connection) -> Iterator[str]:
    """The dump as SQL, for psql: line by line, without ends of lines."""
    for text, is_copy in connection.execute("SELECT text, is_copy FROM line ORDER BY number"):
        yield text
        if is_copy:
            rows = connection.execute("SELECT text, times FROM content WHERE copy = ?", (text,))
            for row, times in rows:
                yield from [row] * times


def write(store: str, database: str, file: Path, moment: str | None) -> int:
    """Writes a dump into a new file that only its owner can read, and returns how many lines it has.

    moment: a time or a tag; None: the newest. Raises FileExistsError, and the store's errors.
    """
    with mvsqlite_py.open_store(store) as opened:
        tags = opened.database(database).tags()
    version = tags.get(moment or "")
    at = moment if version is None else None
    with closing(
        mvsqlite_py.connect(database, store=store, create=False, at=at, version=version)
    ) as connection:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        count = 0
        with os.fdopen(descriptor, "w") as out:
            for line in lines_of(connection):
                out.write(f"{line}\n")
                count += 1
    return count


def main() -> None:
    """``STORE DATABASE COMMAND...``: for a unit of systemd."""
    store, database, *command = sys.argv[1:]
    try:
        taken = take(store, database, command)
    except (DumpError, mvsqlite_py.Error, OSError) as error:
        sys.exit(f"dump: {error}")
    sys.stdout.write(f"{database}: {taken.rows} rows, {taken.added} new, {taken.removed} gone\n")


if __name__ == "__main__":
    main()
