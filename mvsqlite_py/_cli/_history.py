"""The log and differences, shown: shared by both commands."""

import re
from collections.abc import Iterator
from itertools import groupby, islice
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
    show_facts,
    show_table,
)
from mvsqlite_py._cli._versions import short
from mvsqlite_py._database import Database, Version
from mvsqlite_py._rows import Comparison, RowChange, RowCounts, SchemaChange, compare
from mvsqlite_py._words import plural

STATEMENT_CHARACTERS = 120
STATEMENT_CHARACTERS_NARROW = 64
"""Of a version's statements in the log; ``mvrevert show`` tells all."""
NARROW = 100
VALUE_CHARACTERS = 40
SIGNS = {"added": ("+", "green"), "removed": ("-", "red"), "changed": ("~", "yellow")}
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
        print_json([_entry_json(version, what) for version, what in entries])
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


def _entry_json(version: Version, what: What | None) -> dict[str, Any]:
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
        "schema": [_schema_json(change) for change in what[1]] if what else None,
        "origin": version.origin,
        "host": version.host,
        "program": version.program,
        "pid": version.pid,
        "message": version.message,
        "statements": version.statements,
    }


def _schema_json(change: SchemaChange) -> dict[str, Any]:
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
        return Text(_one_line(message, most))
    return Text(_one_line(version.statements or "", most), "dim")


def _one_line(text: str, most: int) -> str:
    line = " ".join(text.split())
    return line if len(line) <= most else line[: most - 1] + "…"


# ---- one version --------------------------------------------------------------------


def show_version(session: Session, database: Database, version: Version, limit: int | None) -> None:
    """All about one version, its rows included."""
    with compare(database, version.previous, version.version) as comparison:
        if session.json:
            rows, schema = comparison.counts(), comparison.schema_changes()
            print_json(_entry_json(version, (rows, schema)) | {"changes": _changes_json(comparison, limit)})
            return
        show_facts(_facts(version))
        console().print()
        _show_difference(session, comparison, limit)


def _facts(version: Version) -> Iterator[tuple[str, str]]:
    yield "Version", f"{short(version.version)}  ({version.version})"
    yield "Previous", short(version.previous) if version.previous else "none: the first one"
    yield "Time", f"{local_time(version.time)}  ({iso(version.time)})"
    if version.target:
        yield "Went back to", short(version.target)
    yield "Made by", version.origin
    yield "Pages", f"{version.pages:,}"
    if version.message:
        yield "Message", version.message
    if version.statements:
        yield "Statements", version.statements


# ---- differences ---------------------------------------------------------------------


def show_difference(
    session: Session, database: Database, before: Version, after: Version, only: str | None, limit: int | None
) -> None:
    """What differs between two versions."""
    with compare(database, before.version, after.version) as comparison:
        if not session.json:
            _show_difference(session, comparison, limit, only)
            return
        rows = comparison.counts()
        if only:
            rows = {name: counts for name, counts in rows.items() if name.lower() == only.lower()}
        print_json(
            {
                "from": before.version,
                "to": after.version,
                "schema": [_schema_json(change) for change in comparison.schema_changes()],
                "rows": rows_json(rows),
                "changes": _changes_json(comparison, limit, only),
            }
        )


def _changes_json(comparison: Comparison, limit: int | None, only: str | None = None) -> list[dict[str, Any]]:
    return [
        {"table": one.table, "kind": one.kind, "key": one.key, "before": one.before, "after": one.after}
        for group in _by_table(comparison, limit, only)
        for one in group[1]
    ]


def _by_table(
    comparison: Comparison, limit: int | None, only: str | None
) -> Iterator[tuple[str, Iterator[RowChange]]]:
    for name, changes in groupby(comparison.row_changes(only), key=lambda change: change.table):
        yield name, islice(changes, limit)


def _show_difference(
    session: Session, comparison: Comparison, limit: int | None, only: str | None = None
) -> None:
    counts = comparison.counts()
    schema = comparison.schema_changes()
    for one in schema:
        session.tell(Text(f"{one.action} {one.type} {one.name}", "magenta"))
    for name, changes in _by_table(comparison, limit, only):
        session.tell(Text.assemble((name, "bold"), "  ", counts_text(counts[name])))
        shown = 0
        for change in changes:
            console().print(_change_text(change), no_wrap=True, overflow="ellipsis", crop=True)
            shown += 1
        left = sum((counts[name].added, counts[name].removed, counts[name].changed)) - shown
        if left:
            session.tell(Text(f"  … and {plural(left, 'more row')} (--limit or --all shows more)", "dim"))
    if not counts and not schema:
        session.tell("no row differs")


def _change_text(change: RowChange) -> Text:
    sign, style = SIGNS[change.kind]
    key = " ".join(f"{name}={value_text(value)}" for name, value in change.key.items())
    text = Text.assemble((f"  {sign} ", style), (key, "bold"))
    before, after = change.before or {}, change.after or {}
    for name in before | after:
        if name in change.key and change.kind != "changed":
            continue
        if change.kind != "changed":
            text.append(f"  {name}={value_text((after or before)[name])}")
        elif type(before[name]) is not type(after[name]) or before[name] != after[name]:
            text.append(f"  {name}: {value_text(before[name])} → {value_text(after[name])}")
    return text


def value_text(value: Any) -> str:
    """A value as SQL writes it, cut where it is long."""
    if value is None:
        return "NULL"
    if isinstance(value, bytes):
        shown = f"x'{value[:8].hex()}"
        return f"{shown}'" if len(value) <= 8 else f"{shown}…' ({len(value):,} bytes)"
    if isinstance(value, str):
        return "'" + _one_line(value, VALUE_CHARACTERS).replace("'", "''") + "'"
    return str(value)
