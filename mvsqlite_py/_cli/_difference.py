"""Differences of two versions, shown: rows for people, JSON for programs, SQL that replays them."""

import json
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import click
from rich.text import Text

from mvsqlite_py._cli._common import (
    Session,
    console,
    counts_text,
    encode_json,
    iso,
    local_time,
    rows_json,
    show_facts,
)
from mvsqlite_py._cli._history import LIMIT, entry_json, one_line, schema_json
from mvsqlite_py._cli._versions import short
from mvsqlite_py._database import Database, Version
from mvsqlite_py._replay import replay
from mvsqlite_py._rows import Comparison, Pair, RowChange, RowCounts, compare, tell
from mvsqlite_py._words import plural

VALUE_CHARACTERS = 40
SIGNS = {"added": ("+", "green"), "removed": ("-", "red"), "changed": ("~", "yellow")}


def difference_options(function: Any) -> Any:
    """Gives a command ``--limit``, ``--all``, ``--sql`` and ``--reverse``."""
    for option in (
        click.option("--reverse", is_flag=True, help="From the later state to the earlier one."),
        click.option("--sql", "as_sql", is_flag=True, help="SQL that does the same to the earlier state."),
        click.option("--all", "every", is_flag=True, help="All rows."),
        click.option(
            "--limit",
            type=click.IntRange(min=1),
            help=f"How many rows of each table. Default: {LIMIT}, with --json all.",
        ),
    ):
        function = option(function)
    return function


def how_many(session: Session, limit: int | None, every: bool) -> int | None:
    """Of the rows of each table; None for all."""
    return None if every else limit if limit or session.json else LIMIT


def show_version(
    session: Session, database: Database, version: Version, limit: int | None, as_sql: bool, reverse: bool
) -> None:
    """All about one version, its rows included."""
    before, after = version.previous, version.version
    if as_sql:
        show_sql(session, database, before, after, reverse)
        return
    with _compare(database, before, after, reverse) as comparison:
        if session.json:
            stream_json(entry_json(version, None), comparison, limit)
            return
        show_facts(facts(version))
        console().print()
        _show(session, comparison, limit)


def facts(version: Version) -> Iterator[tuple[str, str]]:
    """What a version's record says, for people."""
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


def show_difference(
    session: Session,
    database: Database,
    before: Version,
    after: Version,
    only: str | None,
    limit: int | None,
    as_sql: bool,
    reverse: bool,
    other: Database | None = None,
) -> None:
    """What differs between two versions; other: the database of ``after``, if that is another branch."""
    if as_sql:
        if only:
            raise click.UsageError("--sql replays whole differences: give it without --table")
        show_sql(session, database, before.version, after.version, reverse, other)
        return
    with _compare(database, before.version, after.version, reverse, other) as comparison:
        if session.json:
            ends = [before.version, after.version]
            head = dict(zip(("from", "to"), ends[::-1] if reverse else ends, strict=True))
            stream_json(head, comparison, limit, only)
        else:
            _show(session, comparison, limit, only)


def _compare(
    database: Database, before: str | None, after: str | None, reverse: bool, other: Database | None = None
) -> Any:
    if reverse:
        return compare(other or database, after, before, database)
    return compare(database, before, after, other)


# ---- for programs --------------------------------------------------------------------


def stream_json(
    head: dict[str, Any], comparison: Comparison, limit: int | None, only: str | None = None
) -> None:
    """Prints one object, a line for each row that differs while it is read.

    ``rows``, ``skipped`` and ``pages`` (how many were read to find the rows, of how many) are known
    when the rows were read, so they come last.
    """
    members = {name: value for name, value in head.items() if name not in ("rows", "schema")}
    members["schema"] = [schema_json(change) for change in comparison.schema_changes()]
    first = json.dumps(members, indent=2, ensure_ascii=False, default=encode_json)
    click.echo(first.removesuffix("\n}") + ',\n  "changes": [', nl=False)
    rows: dict[str, RowCounts] = {}
    separator = "\n"
    for change in _rows(comparison, limit, only, lambda pair, counts: rows.update({pair.name: counts})):
        click.echo(f"{separator}    {_dumps(change_json(change))}", nl=False)
        separator = ",\n"
    last = {"rows": rows_json(rows), "skipped": comparison.skipped, "pages": _pages_json(comparison)}
    click.echo(
        "\n  ],\n" + ",\n".join(f'  "{name}": {_dumps(value)}' for name, value in last.items()) + "\n}"
    )


def _pages_json(comparison: Comparison) -> dict[str, int] | None:
    """What finding the rows has cost; None where there were no pages to compare."""
    cost = comparison.pages.cost if comparison.pages else None
    return {"changed": cost.changed, "read": cost.read, "all": cost.whole} if cost else None


def _dumps(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=encode_json)


def change_json(change: RowChange) -> dict[str, Any]:
    names = "table", "kind", "key", "before", "after"
    return {name: getattr(change, name) for name in names}


def _rows(
    comparison: Comparison,
    limit: int | None,
    only: str | None,
    begins: Callable[[Pair, RowCounts], None],
) -> Iterator[RowChange]:
    for pair, counts in comparison.told(only):
        begins(pair, counts)
        yield from (tell(pair, change) for change in islice(comparison.changes(pair), limit))


# ---- SQL -------------------------------------------------------------------------------


def show_sql(
    session: Session,
    database: Database,
    before: str | None,
    after: str | None,
    reverse: bool,
    other: Database | None = None,
) -> None:
    """Statements that replay the difference on the earlier state."""
    if session.json:
        raise click.UsageError("give either --sql or --json")
    ends = (after, before) if reverse else (before, after)
    with _compare(database, before, after, reverse, other) as comparison:
        statements = replay(comparison)
        first = next(statements, None)
        names = [f"version {short(end)}" if end else "the empty database" for end in ends]
        click.echo(one_line(f'-- "{database.name}" from {names[0]} to {names[1]}', None))
        for name, why in comparison.skipped.items():
            click.echo(one_line(f"-- left as it is: {name} ({why})", None))
        if first is None:
            click.echo("-- nothing differs")
            return
        click.echo(first)
        for statement in statements:
            click.echo(statement)


# ---- for people ------------------------------------------------------------------------


def _show(session: Session, comparison: Comparison, limit: int | None, only: str | None = None) -> None:
    shown = False
    for line in difference_lines(comparison, limit, only):
        console().print(line, no_wrap=True, overflow="ellipsis", crop=True)
        shown = True
    if not shown:
        session.tell("no row differs")
    cost = comparison.pages.cost if comparison.pages else None
    if cost and cost.read < cost.whole:  # a small database is soon read
        told = f"(found by reading {cost.read:,} of the {cost.whole:,} pages of both versions)"
        console(stderr=True).print(told, style="dim")


def difference_lines(
    comparison: Comparison,
    limit: int | None,
    only: str | None = None,
    hint: str = "--limit or --all shows more",
) -> Iterator[Text]:
    """What differs, a line at a time, while it is read."""
    for one in comparison.schema_changes():
        yield Text(f"{one.action} {one.type} {one.name}", "magenta")
    for pair, counts in comparison.told(only):
        yield Text.assemble((pair.name, "bold"), "  ", counts_text(counts))
        shown = 0
        for change in islice(comparison.changes(pair), limit):
            yield change_text(tell(pair, change))
            shown += 1
        left = sum((counts.added, counts.removed, counts.changed)) - shown
        if left:
            yield Text(f"  … and {plural(left, 'more row')} ({hint})", "dim")
    for name, why in comparison.skipped.items():
        yield Text(f"not told: {name} ({why})", "dim")


def change_text(change: RowChange) -> Text:
    """One row: its key, and its values or what became of those that changed."""
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
        return "'" + one_line(value, VALUE_CHARACTERS).replace("'", "''") + "'"
    return str(value)
