"""``mvrevert``: what changed, and how to take it back."""

from collections.abc import Callable
from functools import partial
from typing import Any

import click
from rich.text import Text

from mvsqlite_py._cli._common import (
    Commands,
    Session,
    Typed,
    common,
    confirm,
    counts_text,
    example,
    local_time,
    print_json,
    rows_json,
    working,
)
from mvsqlite_py._cli._difference import (
    difference_options,
    how_many,
    show_difference,
    show_version,
    value_text,
)
from mvsqlite_py._cli._history import log_command
from mvsqlite_py._cli._versions import Ages, resolve, short
from mvsqlite_py._database import Database, Version
from mvsqlite_py._rows import RowCounts, SchemaChange
from mvsqlite_py._undo import UndoReport
from mvsqlite_py._words import plural

UNTOUCHED_SHOWN = 20


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
    ),
)
@click.argument("name")
@click.argument("v1")
@click.argument("v2", default="now")
@click.option("--table", "only", metavar="TABLE", help="Only this table.")
@difference_options
@common
def diff(
    session: Session,
    name: str,
    v1: str,
    v2: str,
    only: str | None,
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
    before, after = resolve(database, v1), resolve(database, v2)
    most = how_many(session, limit, every)
    show_difference(session, database, before, after, only, most, as_sql, reverse)


# ---- going back ----------------------------------------------------------------------


def destructive(function: Any) -> Any:
    """Gives a command ``--yes`` and ``--dry-run``."""
    function = click.option("--dry-run", is_flag=True, help="Only tell what would be done.")(function)
    return click.option("--yes", "-y", is_flag=True, help="Do not ask.")(function)


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
    report = UndoReport(target.version, rows, [], schema, None)
    if not session.json:
        session.tell(
            f'This sets "{database.name}" to version {short(target.version)} of {local_time(target.time)}, '
            f"{plural(later, 'commit')} back:" if later else f'"{database.name}" is at that version already.'
        )  # fmt: skip
        _tell_changes(session, rows, schema)
    if dry_run or not later:
        _tell_end(session, database, report, dry_run, None)
        return
    confirm(session, "Go ahead?", yes)
    made = database.revert(version=target.version, message=message)
    way_back = session.command("mvrevert", "to", database.name, "--version", short(newest.version))
    _tell_end(session, database, UndoReport(target.version, rows, [], schema, made), False, way_back)


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
    _go(session, database, headline, act, yes, dry_run)


@mvrevert.command("undo", epilog=example("mvrevert undo notes.db 1f --dry-run", "mvrevert undo notes.db 1f"))
@click.argument("name")
@click.argument("version")
@destructive
@common
def undo_(session: Session, name: str, version: str, yes: bool, dry_run: bool) -> None:
    """Take back what one version did, row by row, and keep later work.

    Rows that changed since are left as they are and told.
    """
    database = session.store.database(name)
    target = resolve(database, version)
    headline = (
        f'This takes back version {short(target.version)} of "{database.name}", '
        f"made {local_time(target.time)}, and keeps all later work:"
    )
    _go(session, database, headline, partial(database.undo, target.version), yes, dry_run)


def _go(
    session: Session,
    database: Database,
    headline: str,
    act: Callable[..., UndoReport],
    yes: bool,
    dry_run: bool,
) -> None:
    """Tells what would be done, asks, acts, and tells the way back; with --yes it acts at once."""
    plan = None
    if not yes or dry_run:
        with working("looking what would be done"):
            plan = act(dry_run=True)
        _tell_report(session, headline, plan)
        if dry_run or plan.nothing:
            _tell_end(session, database, plan, dry_run, None)
            return
        confirm(session, "Go ahead?", yes)
    with working("taking back"):
        done = act()
    if plan is None:
        _tell_report(session, headline, done)
    elif (done.tables, done.untouched) != (plan.tables, plan.untouched):
        _tell_report(session, "Others changed the database meanwhile; this is what was done:", done)
    way_back = session.command("mvrevert", "undo", database.name, short(done.made)) if done.made else None
    _tell_end(session, database, done, False, way_back)


# ---- telling ---------------------------------------------------------------------------


def _tell_report(session: Session, headline: str, report: UndoReport) -> None:
    if not session.json:
        session.tell(headline)
        _tell_changes(session, report.tables, report.objects)
        _tell_untouched(session, report)


def _tell_changes(session: Session, rows: dict[str, RowCounts], objects: list[SchemaChange]) -> None:
    for one in objects:
        session.tell(f"  {one.type} {one.name}: {one.action}")
    for name, counts in rows.items():
        words = [("put back", counts.added), ("taken out", counts.removed), ("set back", counts.changed)]
        done = ", ".join(f"{plural(count, 'row')} {what}" for what, count in words if count)
        session.tell(Text.assemble(f"  {name}: {done}  ", counts_text(counts)))


def _tell_untouched(session: Session, report: UndoReport) -> None:
    if not report.untouched:
        return
    session.tell(Text(f"Left as it is: {plural(len(report.untouched), 'row')}", "yellow"))
    for one in report.untouched[:UNTOUCHED_SHOWN]:
        key = " ".join(f"{name}={value_text(value)}" for name, value in one.key.items())
        detail = f" ({one.detail})" if one.detail else ""
        session.tell("  " + " ".join(filter(None, [one.table, key])) + f": {one.reason}{detail}")
    if len(report.untouched) > UNTOUCHED_SHOWN:
        more = plural(len(report.untouched) - UNTOUCHED_SHOWN, "more row")
        session.tell(f"  … and {more} (--json tells all)")


def _tell_end(
    session: Session, database: Database, report: UndoReport, dry_run: bool, way_back: Typed | None
) -> None:
    if session.json:
        print_json(_report_json(database, report, dry_run, way_back))
    elif dry_run:
        session.tell("Nothing was done: a dry run.")
    elif report.made is None or way_back is None:
        session.tell("Nothing to do.")
    else:
        done = f": version {short(report.made)}. To take this back:"
        session.tell(Text.assemble(("Done", "green"), done), way_back)


def _report_json(
    database: Database, report: UndoReport, dry_run: bool, way_back: Typed | None
) -> dict[str, Any]:
    return {
        "name": database.name,
        "version": report.version,
        "made": report.made,
        "dry_run": dry_run,
        "rows": rows_json(report.tables),
        "untouched": [
            {"table": one.table, "key": one.key, "reason": one.reason, "detail": one.detail}
            for one in report.untouched
        ],
        "schema": [{"action": one.action, "type": one.type, "name": one.name} for one in report.objects],
        "take_back": way_back,
    }


def main() -> None:
    """The ``mvrevert`` command."""
    mvrevert.main(prog_name="mvrevert")
