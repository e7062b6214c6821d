"""``mvrevert undo``: take back what one commit did, or several, and keep all other work."""

from functools import partial
from typing import Any

import click

from mvsqlite_py._cli._common import Session, common, example, local_time
from mvsqlite_py._cli._reports import destructive, go
from mvsqlite_py._cli._versions import resolve, short
from mvsqlite_py._database import Database, Version
from mvsqlite_py._errors import UndoError
from mvsqlite_py._selection import Selection
from mvsqlite_py._undo import Conflicts
from mvsqlite_py._words import plural

LEFT = 3
"""The exit status when rows or objects were left as they are and nobody had said they may be."""
VERSIONS_TOLD = 20
REASON_CHARACTERS = 60


def selecting(function: Any) -> Any:
    """Gives a command the options that choose versions; it gets a Selection as ``selection``."""
    options = [
        ("--program", {"metavar": "TEXT", "help": "Made by this program."}),
        ("--host", {"metavar": "NAME", "help": "Made on this host: its name, or a pattern with *."}),
        ("--pid", {"type": int, "help": "Made by the process of this number."}),
        ("--statement", {"metavar": "TEXT", "help": "With a statement like this: 'DELETE FROM note*'."}),
        ("--message", {"metavar": "TEXT", "help": "With a message like this."}),
        ("--since", {"metavar": "TIME", "help": "Only after the state of this time: '-2h'."}),
        ("--until", {"metavar": "TIME", "help": "Only up to this time."}),
    ]

    def run(*arguments: Any, **given: Any) -> Any:
        chosen = {name: given.pop(name) for name in Selection.__dataclass_fields__}
        return function(*arguments, selection=Selection(**chosen), **given)

    run.__doc__, run.__name__ = function.__doc__, function.__name__
    run.__dict__.update(function.__dict__)
    for name, settings in reversed(options):
        run = click.option(name, **settings)(run)  # type: ignore[arg-type]
    return run


@click.command(
    "undo",
    epilog=example(
        "mvrevert undo notes.db 1f --dry-run",
        "mvrevert undo notes.db 1a..1f",
        "mvrevert undo notes.db --program import.py --since -2h",
        "mvrevert undo notes.db --statement 'DELETE FROM note*' --table note --where 'author = 7'",
    ),
)
@click.argument("name")
@click.argument("versions", nargs=-1, metavar="[VERSION|V1..V2]...")
@selecting
@click.option("--table", "tables", multiple=True, metavar="TABLE", help="Only this table; repeatable.")
@click.option("--where", metavar="SQL", help="Only rows that met this condition before or after: 'id > 7'.")
@click.option("--keep-mine", is_flag=True, help="Rows changed since stay as they are now: exit with 0.")
@click.option(
    "--keep-theirs", is_flag=True, help="Rows changed since are set back too: later changes are lost."
)
@click.option("--note", "-m", metavar="TEXT", help="What the log will say.")
@destructive
@common
def undo(
    session: Session,
    name: str,
    versions: tuple[str, ...],
    selection: Selection,
    tables: tuple[str, ...],
    where: str | None,
    keep_mine: bool,
    keep_theirs: bool,
    note: str | None,
    yes: bool,
    dry_run: bool,
) -> int:
    """Take back what commits did, row by row, and keep all other work.

    VERSIONS: one, several, or a range with both ends included; without any, all that the
    options choose. Of TEXT a part will do, whatever the case of its letters; with * in it, it
    is a pattern of the whole (for --statement: of one whole statement). Several commits are
    taken back as one, newest first.

    A row changed since by a commit that stays is a conflict. It is told with what it was before
    and after, and is now, and left alone. "Mine" is the row as it is now, "theirs" the row as it
    was before the commits taken back: --keep-mine says that leaving it is right, --keep-theirs
    sets it back all the same. No option overrides a constraint or a foreign key.

    The exit status is 0 if all was taken back (or would be: --dry-run), 3 if something was left
    as it is without --keep-mine, 1 for an error; then nothing was done.
    """
    if keep_mine and keep_theirs:
        raise click.UsageError("give either --keep-mine or --keep-theirs")
    if not versions and selection.all:
        raise click.UsageError("which versions? Give some, or choose: --program, --statement, --since")
    database = session.store.database(name)
    chosen = _chosen(database, versions, selection)
    conflicts: Conflicts = "mine" if keep_mine else "theirs" if keep_theirs else "leave"
    act = partial(
        database.undo,
        [version.version for version in chosen],
        tables=tables or None,
        where=where,
        conflicts=conflicts,
        message=note,
    )
    report = go(session, database, _headline(database, chosen), act, yes, dry_run)
    return LEFT if report.untouched and not keep_mine else 0


def _chosen(database: Database, words: tuple[str, ...], selection: Selection) -> list[Version]:
    """The versions meant, newest first. Raises UndoError if there is none."""
    named = {one.version: one for word in words for one in _named(database, word)}
    if words and selection.all:
        found = list(named.values())
    else:
        fitting = selection.among(database)
        found = [one for one in fitting if not words or one.version in named]
    if not found:
        raise UndoError(f'"{database.name}" has no such version: mvrevert log lists those there are')
    return sorted(found, key=lambda one: one.version, reverse=True)


def _named(database: Database, word: str) -> list[Version]:
    if ".." not in word:
        return [resolve(database, word)]
    old, _, new = word.partition("..")
    first, last = resolve(database, old or "?"), resolve(database, new or "HEAD")
    if first.version > last.version:
        raise click.UsageError(f"{word}: the older version comes first: {new}..{old}")
    return list(database.versions(after=first.previous, until=last.version))


def _headline(database: Database, versions: list[Version]) -> list[str]:
    if len(versions) == 1:
        (only,) = versions
        when = f"made {local_time(only.time)}, and keeps all later work:"
        return [f'This takes back version {short(only.version)} of "{database.name}", {when}']
    lines = [f'This takes back {plural(len(versions), "version")} of "{database.name}":']
    lines += map(_told, versions[:VERSIONS_TOLD])
    if len(versions) > VERSIONS_TOLD:
        lines.append(f"  … and {len(versions) - VERSIONS_TOLD:,} more")
    return [*lines, "and keeps all other work:"]


def _told(version: Version) -> str:
    why = " ".join((version.message or version.statements or "").split())
    why = why if len(why) <= REASON_CHARACTERS else why[: REASON_CHARACTERS - 1] + "…"
    return f"  {short(version.version)}  {local_time(version.time)}  {version.origin}  {why}"
