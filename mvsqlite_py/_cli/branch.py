"""``mvsqlite branch``, ``branches``, ``promote``: a second life of a database beside the first."""

from typing import Any

import click
from rich.text import Text

from mvsqlite_py._cli._common import (
    Session,
    common,
    confirm,
    example,
    local_time,
    print_json,
    show_table,
    working,
)
from mvsqlite_py._cli._reports import tell_changes
from mvsqlite_py._cli._versions import resolve, short
from mvsqlite_py._store import DatabaseInfo
from mvsqlite_py._words import bytes_text


@click.command(
    epilog=example(
        "mvsqlite branch notes.db trial.db",
        "mvsqlite branch notes.db yesterday.db --at '1 day ago'",
    )
)
@click.argument("name")
@click.argument("new")
@click.option("--at", metavar="TIME", help="Begin as of a time: '2026-11-24 10:15', '-5m'.")
@click.option("--version", "-V", metavar="VERSION", help="Begin as of a version of the log, or HEAD~1.")
@common
def branch(session: Session, name: str, new: str, at: str | None, version: str | None) -> None:
    """Make a database NEW that begins as NAME is now, or was, and is written without it.

    It takes no time and no space: what neither has changed since, they share. NEW has the history
    of NAME up to where it begins.
    """
    if at is not None and version is not None:
        raise click.UsageError("give either --at or --version")
    database = session.store.database(name)
    found = resolve(database, version).version if version is not None else None
    session.store.branch(name, new, at=at, version=found)
    session.tell(
        f'"{new}" begins as "{name}". To open it, and to make it the database in the end:',
        session.command("mvsqlite", "shell", new),
        session.command("mvsqlite", "promote", name, new),
        name=new,
        parent=name,
    )


@click.command(epilog=example("mvsqlite branches", "mvsqlite branches notes.db"))
@click.argument("name", required=False)
@common
def branches(session: Session, name: str | None) -> None:
    """List branches: of NAME and of its branches, or all there are."""
    if name is not None:
        session.store.database(name)
    found = _family(session.store.list(), name)
    if session.json:
        print_json([_json(entry) for entry in found])
    elif not found:
        session.tell(f'"{name}" has no branches' if name else f"no branches in {session.store.url}")
    else:
        show_table(
            ["Name", "Of", "From", "Size", "Version", "Changed"],
            [_cells(entry) for entry in found],
            right=["From", "Size", "Version"],
        )


@click.command(epilog=example("mvsqlite promote notes.db trial.db --keep before-trial.db"))
@click.argument("name")
@click.argument("new")
@click.option("--keep", metavar="OLD", help="Keep the state before as a branch of this name.")
@click.option("--message", "-m", metavar="TEXT", help="What the log will say.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@common
def promote(session: Session, name: str, new: str, keep: str | None, message: str | None, yes: bool) -> None:
    """Make the state of the branch NEW the state of NAME, as one commit of NAME.

    Programs that have NAME open go on, and see it. The branch stays as it is.
    """
    database = session.store.database(name)
    before = database.newest
    after = session.store.database(new).newest
    if not session.json and after:
        session.tell(f'This sets "{name}" to the newest state of its branch "{new}":')
        with working("looking what would be done"):
            difference = database.diff(
                before.version if before else None, after.version, other=session.store.database(new)
            )
        tell_changes(session, difference.rows, difference.schema)
    confirm(session, "Go ahead?", yes)
    made = database.promote(new, keep=keep, message=message)
    way_back = before and session.command("mvrevert", "to", name, "--version", short(before.version))
    kept = f'; the state before is "{keep}"' if keep else ""
    session.tell(
        Text.assemble(("Done", "green"), f": version {short(made)}{kept}. To take this back:"),
        *([way_back] if way_back else []),
        name=name,
        branch=new,
        kept=keep,
        made=made,
        take_back=way_back,
    )


def branch_commands(group: click.Group) -> None:
    """Adds the commands to a group."""
    for command in (branch, branches, promote):
        group.add_command(command)


def _family(entries: list[DatabaseInfo], name: str | None) -> list[DatabaseInfo]:
    """The branches among them, of that database and of its branches if one is named; parents first."""
    known = {entry.id for entry in entries if name in (None, entry.name)}
    found = []
    for entry in sorted(entries, key=lambda entry: entry.id):
        if entry.parent_id is not None and (name is None or entry.parent_id in known):
            known.add(entry.id)
            found.append(entry)
    return found


def _cells(entry: DatabaseInfo) -> list[Any]:
    return [
        entry.name,
        entry.parent,
        Text(short(entry.base) if entry.base else "-", "cyan"),
        bytes_text(entry.size),
        Text(short(entry.version) if entry.version else "-", "cyan"),
        local_time(entry.changed) if entry.changed else "-",
    ]


def _json(entry: DatabaseInfo) -> dict[str, Any]:
    return {
        "name": entry.name,
        "parent": entry.parent,
        "base": entry.base,
        "version": entry.version,
        "size": entry.size,
    }
