"""``mvrevert``: what changed, and how to take it back."""

from dataclasses import replace
from functools import partial

import click

from mvsqlite_py._cli._blame import blame
from mvsqlite_py._cli._common import (
    Commands,
    Session,
    common,
    confirm,
    example,
    local_time,
    working,
)
from mvsqlite_py._cli._difference import difference_options, how_many, show_difference, show_version
from mvsqlite_py._cli._history import log_command
from mvsqlite_py._cli._reports import destructive, go, tell_changes, tell_end
from mvsqlite_py._cli._undo import undo
from mvsqlite_py._cli._versions import Ages, resolve, short
from mvsqlite_py._database import Database, Version
from mvsqlite_py._undo import UndoReport
from mvsqlite_py._words import plural


@click.group(
    "mvrevert",
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=example(
        "mvrevert log notes.db",
        "mvrevert show notes.db 1f",
        "mvrevert undo notes.db 1f",
        "mvrevert to notes.db --at -1h",
    ),
)
@click.version_option(package_name="mvsqlite-py", message="%(prog)s %(version)s")
def mvrevert() -> None:
    """Look at what changed in a database, and take it back.

    VERSION is one that log prints, any part of it that no other has, HEAD, HEAD~1 for the one before,
    or a time: '2026-11-24 10:15', -5m, '2 hours ago'.
    Every revert is a version of its own, which can be taken back too.
    """


log_command(mvrevert)
mvrevert.add_command(undo)
mvrevert.add_command(blame)


@mvrevert.command(
    cls=Ages,
    epilog=example(
        "mvrevert show notes.db HEAD",
        "mvrevert show notes.db 1f --all",
        "mvrevert show notes.db 1f --sql --reverse",
    ),
)
@click.argument("name")
@click.argument("version")
@difference_options
@common
def show(
    session: Session, name: str, version: str, limit: int | None, every: bool, as_sql: bool, reverse: bool
) -> None:
    """Show one version: who made it, how, and which rows it changed."""
    database = session.store.database(name)
    most = how_many(session, limit, every)
    show_version(session, database, resolve(database, version), most, as_sql, reverse)


@mvrevert.command(
    cls=Ages,
    epilog=example(
        "mvrevert diff notes.db HEAD~3",
        "mvrevert diff notes.db 1a now --table notes",
        "mvrevert diff notes.db -5m",
        "mvrevert diff notes.db 1a 1f --sql > changes.sql",
        "mvrevert diff notes.db now --with trial.db",
    ),
)
@click.argument("name")
@click.argument("v1")
@click.argument("v2", default="now")
@click.option("--table", "only", metavar="TABLE", help="Only this table.")
@click.option("--with", "branch", metavar="BRANCH", help="V2 is a version of this branch of it.")
@difference_options
@common
def diff(
    session: Session,
    name: str,
    v1: str,
    v2: str,
    only: str | None,
    branch: str | None,
    limit: int | None,
    every: bool,
    as_sql: bool,
    reverse: bool,
) -> None:
    """Show which rows differ between V1 and V2: versions, or times such as now or -5m.

    --json prints one object, each row that differs on a line of its own, while it is read.
    --sql prints statements that make V2 of V1 in any SQLite database that is as V1 was.
    """
    database = session.store.database(name)
    other = session.store.database(branch) if branch else None
    before, after = resolve(database, v1), resolve(other or database, v2)
    most = how_many(session, limit, every)
    show_difference(session, database, before, after, only, most, as_sql, reverse, other)


# ---- going back ----------------------------------------------------------------------


@mvrevert.command(
    epilog=example(
        "mvrevert to notes.db --at '10 minutes ago'", "mvrevert to notes.db --version 1f --table tags"
    )
)
@click.argument("name")
@click.option("--at", metavar="TIME", help="A time: '2026-11-24 10:15', '-5m', '2 hours ago'.")
@click.option("--version", "-V", metavar="VERSION", help="A version of the log, or HEAD~1.")
@click.option("--table", "only", metavar="TABLE", help="Only this table; all others stay as they are.")
@click.option("--message", "-m", metavar="TEXT", help="What the log will say.")
@destructive
@common
def to(
    session: Session,
    name: str,
    at: str | None,
    version: str | None,
    only: str | None,
    message: str | None,
    yes: bool,
    dry_run: bool,
) -> None:
    """Set a database, or one table of it, to a past state.

    Later work is out of sight then, but stays in the log. To keep later work: mvrevert undo.
    """
    if (at is None) == (version is None):
        raise click.UsageError("give either --at or --version")
    database = session.store.database(name)
    target = database.version(database.find(at=at)) if at is not None else resolve(database, version or "")
    if only is not None:
        _table_to(session, database, target, only, message, yes, dry_run)
    else:
        _database_to(session, database, target, message, yes, dry_run)


def _database_to(
    session: Session, database: Database, target: Version, message: str | None, yes: bool, dry_run: bool
) -> None:
    newest = database.newest
    assert newest
    with working("looking what would be done"):
        difference = database.diff(newest.version, target.version)
    rows, schema = difference.rows, difference.schema
    later = sum(1 for _ in database.versions(after=target.version))
    report = UndoReport((target.version,), rows, [], {}, schema, None)
    if not session.json:
        session.tell(
            f'This sets "{database.name}" to version {short(target.version)} of {local_time(target.time)}, '
            f"{plural(later, 'commit')} back:" if later else f'"{database.name}" is at that version already.'
        )  # fmt: skip
        tell_changes(session, rows, schema)
    if dry_run or not later:
        tell_end(session, database, report, dry_run, None)
        return
    confirm(session, "Go ahead?", yes)
    made = database.revert(version=target.version, message=message)
    way_back = session.command("mvrevert", "to", database.name, "--version", short(newest.version))
    tell_end(session, database, replace(report, made=made), False, way_back)


def _table_to(
    session: Session,
    database: Database,
    target: Version,
    only: str,
    message: str | None,
    yes: bool,
    dry_run: bool,
) -> None:
    headline = (
        f'This sets the table "{only}" of "{database.name}" to version {short(target.version)} '
        f"of {local_time(target.time)}; other tables stay as they are:"
    )
    act = partial(database.revert_table, only, version=target.version, message=message)
    go(session, database, headline, act, yes, dry_run)


def main() -> None:
    """The ``mvrevert`` command."""
    mvrevert.main(prog_name="mvrevert")
