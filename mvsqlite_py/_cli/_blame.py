"""``mvrevert blame``: which commit last touched each row."""

from itertools import islice
from typing import Any

import click
from rich.text import Text

from mvsqlite_py._blame import Blame
from mvsqlite_py._cli._common import (
    PIPE_WIDTH,
    Session,
    common,
    console,
    example,
    iso,
    local_time,
    print_json,
)
from mvsqlite_py._cli._difference import value_text
from mvsqlite_py._cli._history import LIMIT
from mvsqlite_py._cli._versions import short
from mvsqlite_py._database import Database


@click.command(
    "blame",
    epilog=example("mvrevert blame notes.db note", "mvrevert blame notes.db note --where 'id = 7'"),
)
@click.argument("name")
@click.argument("table")
@click.option("--where", metavar="SQL", help="Only rows that meet this condition now: 'id > 7'.")
@click.option("--limit", type=click.IntRange(min=1), default=LIMIT, show_default=True, help="How many rows.")
@click.option("--all", "every", is_flag=True, help="All rows.")
@common
def blame(session: Session, name: str, table: str, where: str | None, limit: int, every: bool) -> None:
    """Tell which commit last touched each row of a table, newest first.

    Rows that are as they were at the oldest version kept come last.
    """
    database = session.store.database(name)
    found = database.blame(table, where=where)
    shown = found if every else islice(found, limit)
    if session.json:
        print_json([_json(one) for one in shown])
        return
    oldest = ""
    told = 0
    for one in shown:
        oldest = oldest or ("" if one.version else _oldest(database))
        _print(one, oldest)
        told += 1
    if not told:
        session.tell("no row")
    elif next(found, None) is not None:
        console(stderr=True).print(f"(the first {limit} rows; --limit or --all shows more)", style="dim")


def _oldest(database: Database) -> str:
    """Said of a row that no version touched. Walks the whole log."""
    last = None
    for last in database.versions():  # noqa: B007
        pass
    return f"up to {short(last.version)}" if last else "before all versions"


def _print(one: Blame, oldest: str) -> None:
    key = " ".join(f"{name}={value_text(value)}" for name, value in one.key.items())
    version = one.version
    if version is None:
        cells = [oldest, "", key, "", ""]
    else:
        why = " ".join((version.message or version.statements or "").split())
        cells = [short(version.version), local_time(version.time), key, version.origin, why]
    out = console()
    if out.width == PIPE_WIDTH:
        click.echo("\t".join(cells))
        return
    text = Text.assemble((f"{cells[0]:>8}", "cyan"), f"  {cells[1]:<19}  ", (cells[2], "bold"))
    text.append("  ".join(["", *filter(None, cells[3:])]), "dim")
    out.print(text, no_wrap=True, overflow="ellipsis", crop=True)


def _json(one: Blame) -> dict[str, Any]:
    version = one.version
    return {
        "key": one.key,
        "row": one.row,
        "version": version.version if version else None,
        "time": iso(version.time) if version else None,
        "origin": version.origin if version else None,
        "program": version.program if version else None,
        "message": version.message if version else None,
        "statements": version.statements if version else None,
    }
