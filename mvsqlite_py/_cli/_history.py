"""The log, shown: shared by both commands."""

import re
from itertools import islice
from typing import Any

import apsw
import click
from rich.text import Text

from mvsqlite_py._cli._common import (
    PIPE_WIDTH,
    Session,
    common,
    console,
    counts_text,
    example,
    iso,
    local_time,
    print_json,
    rows_json,
    show_table,
)
from mvsqlite_py._cli._versions import short
from mvsqlite_py._database import Database, Version
from mvsqlite_py._rows import RowCounts, SchemaChange
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
        epilog=example(f"{name} log notes.db", f"{name} log notes.db --all --json | jq '.[].message'")
    )
    @click.argument("name")
    @click.option("--limit", type=click.IntRange(min=1), default=LIMIT, show_default=True, help="How many.")
    @click.option("--all", "every", is_flag=True, help="All versions.")
    @click.option("--no-rows", is_flag=True, help="Do not look which rows changed: quicker.")
    @common
    def log(session: Session, name: str, limit: int, every: bool, no_rows: bool) -> None:
        """List the versions of a database, newest first.

        Of each commit: when, how many rows of which tables it added (+), removed (-) and
        changed (~), and its message, or else its statements.
        """
        show_log(session, session.store.database(name), None if every else limit, not no_rows)


def show_log(session: Session, database: Database, limit: int | None, rows: bool) -> None:
    entries = (
        (version, _what(database, version) if rows else None) for version in database.versions(limit=limit)
    )
    if session.json:
        print_json([entry_json(version, what) for version, what in entries])
        return
    shown: list[list[Any]] = []
    for version, what in entries:
        cells = [_what_text(what)] if rows else []
        shown.append(
            [Text(short(version.version), "cyan"), local_time(version.time), *cells, _reason(version)]
        )
    if not shown:
        session.tell(f"{database.name} has no versions yet: nothing was committed")
        return
    show_table(["Version", "Time", *(["Rows"] if rows else []), "What"], shown, right=["Version"])
    if limit is not None and len(shown) == limit and next(islice(database.versions(), limit, None), None):
        console(stderr=True).print(f"(the newest {limit}; --limit or --all shows more)", style="dim")


What = tuple[dict[str, RowCounts], list[SchemaChange]]


def _what(database: Database, version: Version) -> What | None:
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


def _what_text(what: What | None) -> Text:
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


def _reason(version: Version) -> Text:
    """A version's message, or what its statements say, in a few lines."""
    most = STATEMENT_CHARACTERS_NARROW if console().width < NARROW else STATEMENT_CHARACTERS
    if version.message:
        message = re.sub(r"\b[0-9a-f]{20}\b", lambda found: short(found.group()), version.message)
        return Text(one_line(message, most))
    return Text(one_line(version.statements or "", most), "dim")


def one_line(text: str, most: int | None) -> str:
    """Text in one line, cut where it is longer than ``most``."""
    line = " ".join(text.split())
    return line if most is None or len(line) <= most else line[: most - 1] + "…"
