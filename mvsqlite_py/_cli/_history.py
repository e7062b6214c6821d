"""The log, shown: shared by both commands."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

import apsw
import click
from rich.text import Text

from mvsqlite_py._cli._common import (
    PIPE_WIDTH,
    Lines,
    Session,
    common,
    console,
    counts_text,
    example,
    iso,
    local_time,
    rows_json,
    stream_json_list,
)
from mvsqlite_py._cli._versions import short
from mvsqlite_py._database import Database, Version, moment_time
from mvsqlite_py._errors import VersionNotFoundError
from mvsqlite_py._rows import RowCounts, SchemaChange
from mvsqlite_py._schema import fold
from mvsqlite_py._words import plural

STATEMENT_CHARACTERS = 120
STATEMENT_CHARACTERS_NARROW = 64
"""Of a version's statements in the log; ``mvrevert show`` tells all."""
NARROW = 100
LIMIT = 20
LINES = 4
"""Of tables and of objects told for one version in the log."""


# ---- the log -----------------------------------------------------------------------


def log_command(group: click.Group) -> None:
    """Adds ``log`` to a group."""
    name = group.name or "mvsqlite"

    @group.command(
        epilog=example(
            f"{name} log notes.db",
            f"{name} log notes.db --since '2 hours ago' --table tags",
            f"{name} log notes.db --all --json | jq '.[].message'",
        )
    )
    @click.argument("name")
    @click.option("--limit", type=click.IntRange(min=1), default=LIMIT, show_default=True, help="How many.")
    @click.option("--all", "every", is_flag=True, help="All versions.")
    @click.option("--since", metavar="TIME", help="Made at this time or later: '2026-11-24 10:15', '-5m'.")
    @click.option("--until", metavar="TIME", help="Made at this time or earlier.")
    @click.option("--grep", metavar="TEXT", help="With TEXT in the message, the statements or the program.")
    @click.option("--table", metavar="TABLE", help="That changed this table: its rows or how it is made.")
    @click.option("--no-rows", is_flag=True, help="Do not look which rows changed: quicker.")
    @common
    def log(session: Session, name: str, limit: int, every: bool, no_rows: bool, **only: str | None) -> None:
        """List the versions of a database, newest first.

        Of each commit: when, how many rows of which tables it added (+), removed (-) and
        changed (~), and its message, or else its statements. Lines are printed while they are found.
        """
        database = session.store.database(name)
        show_log(session, database, None if every else limit, not no_rows, Wanted(**only))


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which versions the log tells; None: whatever."""

    since: str | None = None
    until: str | None = None
    grep: str | None = None
    table: str | None = None

    def versions(self, database: Database, rows: bool) -> "Iterator[tuple[Version, What | None]]":
        """Those of a database, newest first, with what each did if ``rows``."""
        since = moment_time(self.since) if self.since is not None else None
        try:
            until = database.find(at=self.until) if self.until is not None else None
        except VersionNotFoundError:
            return  # all are later
        for version in database.versions(until=until):
            if since is not None and version.time < since:
                return  # times never go back
            if self.grep is not None and not self._says(version):
                continue
            what = what_of(database, version) if rows or self.table is not None else None
            if self.table is None or (what is not None and self._touches(what)):
                yield version, what if rows else None

    def _says(self, version: Version) -> bool:
        texts = version.message, version.statements, version.program
        return any((self.grep or "").casefold() in (text or "").casefold() for text in texts)

    def _touches(self, what: "What") -> bool:
        wanted = fold(self.table or "")
        tables = [*what[0], *(change.name for change in what[1] if change.type == "table")]
        return wanted in map(fold, tables)


def show_log(session: Session, database: Database, limit: int | None, rows: bool, wanted: Wanted) -> None:
    found = wanted.versions(database, rows)
    entries = islice(found, limit)
    if session.json:
        stream_json_list(entry_json(version, what) for version, what in entries)
        return
    shown = 0
    for cells in _lines(entries, rows):
        shown += bool(cells)
    if shown:
        if limit is not None and shown == limit and next(found, None):
            message = f"(the newest {limit}; --limit or --all shows more)"
            console(stderr=True).print(message, style="dim")
    elif wanted == Wanted():
        session.tell(f"{database.name} has no versions yet: nothing was committed")
    else:
        session.tell(f"no version of {database.name} is like that")


def _lines(entries: "Iterator[tuple[Version, What | None]]", rows: bool) -> Iterator[list[Any]]:
    """Prints and yields the cells of each version."""
    first = next(entries, None)
    if first is None:
        return
    width = len(short(first[0].version))  # of the newest: none is longer, but for orders of a batch
    columns = {"Version": max(7, width), "Time": 19, **({"Rows": None} if rows else {}), "What": None}
    table = Lines(columns, right=["Version"])
    for version, what in chain([first], entries):
        cells = [what_text(what)] if rows else []
        line = [Text(short(version.version), "cyan"), local_time(version.time), *cells, reason(version)]
        table.add(line)
        yield line


What = tuple[dict[str, RowCounts], list[SchemaChange]]


def what_of(database: Database, version: Version) -> What | None:
    """What a version did; None if that cannot be told."""
    try:
        found = database.diff(version.previous, version.version)
    except apsw.SQLError:
        return None  # e.g. a collation or a virtual table that only the application has
    return found.rows, found.schema


def entry_json(version: Version, what: What | None) -> dict[str, Any]:
    return {
        "version": version.version,
        "short": short(version.version),
        "previous": version.previous,
        "time": iso(version.time),
        "kind": version.kind,
        "target": version.target,
        "pages": version.pages,
        "size": version.size,
        "rows": rows_json(what[0]) if what else None,
        "schema": [schema_json(change) for change in what[1]] if what else None,
        "origin": version.origin,
        "host": version.host,
        "program": version.program,
        "pid": version.pid,
        "message": version.message,
        "statements": version.statements,
    }


def schema_json(change: SchemaChange) -> dict[str, Any]:
    return {
        "action": change.action,
        "type": change.type,
        "name": change.name,
        "before": change.before,
        "after": change.after,
    }


def what_text(what: What | None) -> Text:
    if what is None:
        return Text("?", "dim")
    rows, schema = what
    tables = {change.name: change.action for change in schema if change.type == "table"}
    lines = []
    for name, counts in rows.items():
        made = f" {tables.pop(name)}" if name in tables else ""
        lines.append(Text.assemble(f"{name} ", counts_text(counts), (made, "magenta")))
    lines = _some(lines, "table")
    others = [change for change in schema if change.type != "table" and len(schema) <= LINES]
    named = [("table", name, action) for name, action in tables.items()]
    named += [(change.type, change.name, change.action) for change in others]
    lines += _some([Text(f"{action} {kind} {name}", "magenta") for kind, name, action in named], "object")
    return Text(", " if console().width == PIPE_WIDTH else "\n").join(lines)


def _some(lines: list[Text], noun: str) -> list[Text]:
    """The first lines, and how many more there are."""
    more = len(lines) - LINES
    return lines if more <= 0 else [*lines[:LINES], Text(f"and {plural(more, f'more {noun}')}", "dim")]


def reason(version: Version) -> Text:
    """A version's message, or what its statements say, in a few lines."""
    most = STATEMENT_CHARACTERS_NARROW if console().width < NARROW else STATEMENT_CHARACTERS
    return Text(one_line(reason_line(version), most), "" if version.message else "dim")


def reason_line(version: Version) -> str:
    """The same in one line, however long; versions it names are short."""
    if version.message:
        return one_line(
            re.sub(r"\b[0-9a-f]{20}\b", lambda found: short(found.group()), version.message), None
        )
    return one_line(version.statements or "", None)


def one_line(text: str, most: int | None) -> str:
    """Text in one line, cut where it is longer than ``most``."""
    line = " ".join(text.split())
    return line if most is None or len(line) <= most else line[: most - 1] + "…"
