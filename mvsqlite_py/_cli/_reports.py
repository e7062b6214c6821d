"""What taking back does, told before and after: shared by the commands that do it."""

from collections.abc import Callable, Iterator
from typing import Any

import click
from rich.text import Text

from mvsqlite_py._cli._common import Session, Typed, confirm, counts_text, print_json, rows_json, working
from mvsqlite_py._cli._difference import value_text
from mvsqlite_py._cli._versions import short
from mvsqlite_py._database import Database
from mvsqlite_py._ledger import Untouched
from mvsqlite_py._rows import RowCounts, SchemaChange
from mvsqlite_py._undo import UndoReport
from mvsqlite_py._words import plural

UNTOUCHED_SHOWN = 20


def destructive(function: Any) -> Any:
    """Gives a command ``--yes`` and ``--dry-run``."""
    function = click.option("--dry-run", is_flag=True, help="Only tell what would be done.")(function)
    return click.option("--yes", "-y", is_flag=True, help="Do not ask.")(function)


def go(
    session: Session,
    database: Database,
    headline: str | list[str],
    act: Callable[..., UndoReport],
    yes: bool,
    dry_run: bool,
) -> UndoReport:
    """Tells what would be done, asks, acts, and tells the way back; with --yes it acts at once."""
    plan = None
    if not yes or dry_run:
        with working("looking what would be done"):
            plan = act(dry_run=True)
        _tell_report(session, headline, plan)
        if dry_run or plan.nothing:
            tell_end(session, database, plan, dry_run, None)
            return plan
        confirm(session, "Go ahead?", yes)
    with working("taking back"):
        done = act()
    if plan is None:
        _tell_report(session, headline, done)
    elif (done.tables, done.untouched, done.objects) != (plan.tables, plan.untouched, plan.objects):
        _tell_report(session, "Others changed the database meanwhile; this is what was done:", done)
    way_back = session.command("mvrevert", "undo", database.name, short(done.made)) if done.made else None
    tell_end(session, database, done, False, way_back)
    return done


def _tell_report(session: Session, headline: str | list[str], report: UndoReport) -> None:
    if not session.json:
        session.tell(*([headline] if isinstance(headline, str) else headline), *report_lines(report))


def report_lines(report: UndoReport) -> Iterator[Text]:
    """What taking back does, or would do."""
    yield from change_lines(report.tables, report.objects)
    for name, rows in report.already.items():
        yield Text(f"  {name}: {plural(rows, 'row')} already as before")
    yield from _untouched_lines(report)


def change_lines(rows: dict[str, RowCounts], objects: list[SchemaChange]) -> Iterator[Text]:
    """What happens to objects and rows."""
    for one in objects:
        yield Text(f"  {one.type} {one.name}: {one.action}")
    for name, counts in rows.items():
        words = [("put back", counts.added), ("taken out", counts.removed), ("set back", counts.changed)]
        done = ", ".join(f"{plural(count, 'row')} {what}" for what, count in words if count)
        yield Text.assemble(f"  {name}: {done}  ", counts_text(counts))


def tell_changes(session: Session, rows: dict[str, RowCounts], objects: list[SchemaChange]) -> None:
    session.tell(*change_lines(rows, objects))


def _untouched_lines(report: UndoReport) -> Iterator[Text]:
    if not report.untouched:
        return
    rows = sum(1 for one in report.untouched if one.key)
    others = len(report.untouched) - rows
    what = [plural(rows, "row")] if rows else []
    what += [plural(others, "table or object", "tables or objects")] if others else []
    yield Text(f"Left as it is: {', '.join(what)}", "yellow")
    for one in report.untouched[:UNTOUCHED_SHOWN]:
        key = " ".join(f"{name}={value_text(value)}" for name, value in one.key.items())
        detail = f" ({one.detail})" if one.detail else ""
        yield Text("  " + " ".join(filter(None, [one.table, key])) + f": {one.reason}{detail}")
        yield from map(Text, _states(one) if one.key else [])
    if len(report.untouched) > UNTOUCHED_SHOWN:
        more = plural(len(report.untouched) - UNTOUCHED_SHOWN, "more")
        yield Text(f"  … and {more} (--json tells all)")


def _states(one: Untouched) -> list[str]:
    """What a row was before, after and is now, in the columns in which these differ."""
    states = {"before": one.before, "after": one.after, "now": one.now}
    there = [state for state in states.values() if state is not None]
    names = [name for name in (there[0] if there else {}) if name not in one.key]
    differing = [name for name in names if len({repr(state.get(name)) for state in there}) > 1] or names
    lines = []
    for word, state in states.items():
        values = [f"{name}={value_text(state.get(name))}" for name in differing] if state else ["no row"]
        lines.append(f"    {word + ':':<8}{' '.join(values)}")
    return lines


def tell_end(
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
        "versions": list(report.versions),
        "made": report.made,
        "dry_run": dry_run,
        "rows": rows_json(report.tables),
        "already": report.already,
        "untouched": [
            {
                "table": one.table,
                "key": one.key,
                "reason": one.reason,
                "detail": one.detail,
                "before": one.before,
                "after": one.after,
                "now": one.now,
            }
            for one in report.untouched
        ],
        "schema": [{"action": one.action, "type": one.type, "name": one.name} for one in report.objects],
        "take_back": way_back,
    }
