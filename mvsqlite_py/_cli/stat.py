"""``mvsqlite stat``: what databases take, in all and by day."""

from typing import Any

import click
from rich.text import Text

from mvsqlite_py._cli._common import (
    Session,
    common,
    example,
    iso,
    local_time,
    print_json,
    show_facts,
    show_table,
)
from mvsqlite_py._database import Database, DayUsage, Usage
from mvsqlite_py._words import bytes_text

FIGURES = (
    "versions",
    "pages",
    "page_bytes",
    "history_pages",
    "history_bytes",
    "record_bytes",
    "staged_bytes",
    "total_bytes",
)
DAY_FIGURES = ("versions", "history_pages", "history_bytes", "record_bytes", "total_bytes")


def figures(usage: Usage) -> dict[str, int]:
    return {name: getattr(usage, name) for name in FIGURES}


def stat_command(group: click.Group) -> None:
    """Adds ``stat`` to a group."""

    @group.command(epilog=example("mvsqlite stat", "mvsqlite stat notes.db", "mvsqlite stat notes.db --days"))
    @click.argument("name", required=False)
    @click.option("--days", is_flag=True, help="By day, in the local time zone.")
    @common
    def stat(session: Session, name: str | None, days: bool) -> None:
        """Tell what databases and their versions take in the store.

        Without NAME, all databases, also those that were removed. In bytes of keys and values, which the
        store's file holds with some room to spare. A day's bytes are those that its versions left behind.
        """
        if name is not None:
            _one(session, session.store.database(name), days)
        elif days:
            raise click.UsageError("--days needs the NAME of the database it is of")
        else:
            _all(session)


def _all(session: Session) -> None:
    found = session.store.stat()
    if session.json:
        print_json(
            [
                {"name": entry.name, "size": entry.size, "deleted": entry.deleted and iso(entry.deleted)}
                | figures(usage)
                for entry, usage in found
            ]
        )
        return
    if not found:
        session.tell(f"no databases in {session.store.url}")
        return
    rows: list[list[Any]] = []
    for entry, usage in found:
        taken = [usage.page_bytes, usage.history_bytes, usage.record_bytes, usage.total_bytes]
        deleted = Text(local_time(entry.deleted), "dim") if entry.deleted else ""
        rows.append([entry.name, f"{usage.versions:,}", *map(bytes_text, taken), deleted])
    if len(found) > 1:
        total = sum(usage.total_bytes for _, usage in found)
        rows.append([Text("all", "bold"), "", "", "", "", bytes_text(total), ""])
    right = ["Versions", "Now", "History", "Records", "In the store"]
    show_table(["Name", *right, "Deleted"], rows, right=right)


def _one(session: Session, database: Database, days: bool) -> None:
    usage, newest = database.stat(), database.newest
    by_day = database.usage_by_day() if days else []
    size = newest.size if newest else 0
    if session.json:
        told: dict[str, Any] = {"name": database.name, "size": size}
        told["version"] = newest.version if newest else None
        told |= figures(usage)
        if days:
            told["days"] = [_day_json(day) for day in by_day]
        print_json(told)
        return
    if days:
        _show_days(session, database, by_day)
        return
    show_facts(
        [
            ("Size", f"{bytes_text(size)} as a SQLite file"),
            ("Versions", f"{usage.versions:,}, with {bytes_text(usage.record_bytes)} of records"),
            ("Pages now", f"{usage.pages:,} in {bytes_text(usage.page_bytes)}"),
            ("Past pages", f"{usage.history_pages:,} in {bytes_text(usage.history_bytes)}"),
            ("Staged", f"{bytes_text(usage.staged_bytes)} of large commits on their way"),
            ("In the store", f"{bytes_text(usage.total_bytes)} of keys and values"),
        ]
    )


def _day_json(day: DayUsage) -> dict[str, Any]:
    return {"day": day.day.isoformat()} | {name: getattr(day, name) for name in DAY_FIGURES}


def _show_days(session: Session, database: Database, days: list[DayUsage]) -> None:
    if not days:
        session.tell(f'no versions of "{database.name}" yet')
        return
    rows = []
    for day in days:
        taken = [day.history_bytes, day.record_bytes, day.total_bytes]
        each = bytes_text(day.total_bytes // day.versions) if day.versions else "-"
        rows.append([day.day.isoformat(), f"{day.versions:,}", *map(bytes_text, taken), each])
    right = ["Versions", "History", "Records", "In the store", "A version"]
    show_table(["Day", *right], rows, right=right)
