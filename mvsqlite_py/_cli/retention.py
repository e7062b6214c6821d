"""``mvsqlite tag``, ``tags``, ``untag``, ``retention``, ``gc``: what is kept, and forgetting the rest."""

import re
from dataclasses import asdict, replace
from datetime import timedelta
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
    progress,
    show_facts,
    show_table,
)
from mvsqlite_py._cli._versions import reads_as_version, resolve, short
from mvsqlite_py._database import Database
from mvsqlite_py._errors import BusyError
from mvsqlite_py._retention import Dropped, GcReport, Policy
from mvsqlite_py._words import bytes_text, plural

SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
UNITS = (("d", 86400), ("h", 3600), ("m", 60), ("s", 1))


class Span(click.ParamType):  # type: ignore[type-arg]
    """A time such as 90s, 30m, 12h, 7d or 2w; None for ``for-ever``."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, timedelta):
            return value
        if re.fullmatch(r"for[- ]?ever", str(value).strip().lower()):
            return FOR_EVER
        found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhdw])", str(value).strip().lower())
        if not found:
            self.fail(f"{value!r} is no time: write 90s, 30m, 12h, 7d, 2w or for-ever", param, ctx)
        try:
            return timedelta(seconds=float(found.group(1)) * SECONDS[found.group(2)])
        except OverflowError:
            self.fail(f"{value!r} is too long: write for-ever", param, ctx)


FOR_EVER = timedelta.max


def span_text(span: Any) -> str:
    """A time in its largest whole unit: 7d, 90s."""
    if span is None or span == timedelta.max:
        return "for-ever"
    seconds = span.total_seconds()
    for unit, size in UNITS:
        if seconds and seconds % size == 0:
            return f"{int(seconds // size)}{unit}"
    return f"{seconds:g}s"


# ---- tags -------------------------------------------------------------------------------


@click.command(epilog=example("mvsqlite tag notes.db before-import", "mvsqlite tag notes.db monday --at -3d"))
@click.argument("name")
@click.argument("tag")
@click.option("--at", metavar="TIME", help="The version of a time: '2026-11-24 10:15', '-5m'.")
@click.option("--version", "-V", metavar="VERSION", help="A version of the log, or HEAD~1.")
@common
def tag(session: Session, name: str, tag: str, at: str | None, version: str | None) -> None:
    """Give a version of NAME, the newest without an option, the name TAG: it is kept for ever.

    A tag is understood wherever a version is.
    """
    if at is not None and version is not None:
        raise click.UsageError("give either --at or --version")
    if reads_as_version(tag):
        raise click.UsageError(f"{tag!r} reads as a version: choose another name")
    database = session.store.database(name)
    found = resolve(database, version).version if version is not None else None
    made = database.tag(tag, at=at, version=found)
    session.tell(f'"{tag}" is version {short(made)} of "{name}"', name=name, tag=tag, version=made)


@click.command(epilog=example("mvsqlite untag notes.db before-import"))
@click.argument("name")
@click.argument("tag")
@common
def untag(session: Session, name: str, tag: str) -> None:
    """Take the tag TAG away. The version itself stays until a gc finds nothing that keeps it."""
    database = session.store.database(name)
    version = database.tags().get(tag)
    database.untag(tag)
    session.tell(f'"{tag}" is no tag of "{name}" any more', name=name, tag=tag, version=version)


@click.command(epilog=example("mvsqlite tags notes.db"))
@click.argument("name")
@common
def tags(session: Session, name: str) -> None:
    """List the tags of NAME."""
    database = session.store.database(name)
    found = [(one, database.version(version)) for one, version in sorted(database.tags().items())]
    if session.json:
        print_json([{"tag": one, "version": version.version, "time": version.time} for one, version in found])
    elif not found:
        session.tell(f'"{name}" has no tags')
    else:
        rows = [
            (one, Text(short(v.version), "cyan"), local_time(v.time), v.message or "") for one, v in found
        ]
        show_table(["Tag", "Version", "Time", "Message"], rows, right=["Version"])


# ---- retention -----------------------------------------------------------------------------


@click.command(
    epilog=example(
        "mvsqlite retention notes.db",
        "mvsqlite retention notes.db --all 7d --hourly 48 --daily 30 --weekly 52",
        "mvsqlite retention notes.db --for-ever",
    )
)
@click.argument("name")
@click.option("--all", "keep_all", type=Span(), help="Keep every version for so long, or for-ever.")
@click.option(
    "--hourly", type=click.IntRange(0, 2**32 - 1), metavar="N", help="Keep the last one of N hours."
)
@click.option("--daily", type=click.IntRange(0, 2**32 - 1), metavar="N", help="Keep the last one of N days.")
@click.option(
    "--weekly", type=click.IntRange(0, 2**32 - 1), metavar="N", help="Keep the last one of N weeks."
)
@click.option("--least", type=Span(), help="Keep what is younger, whatever else is said. At first 1h.")
@click.option("--deleted", type=Span(), help="Keep a deleted database for so long. At first for-ever.")
@click.option("--for-ever", is_flag=True, help="Keep every version, as at first.")
@common
def retention(session: Session, name: str, for_ever: bool, **given: Any) -> None:
    """Tell, or set, how long versions of NAME are kept.

    A version is kept if any line says so. What is not given stays as it is, but that naming hours,
    days or weeks alone keeps no others: --all is 0s then. Nothing is forgotten before mvsqlite gc.
    """
    database = session.store.database(name)
    before = database.policy()
    if for_ever and given["keep_all"] is not None:
        raise click.UsageError("give either --for-ever or --all")
    changes: dict[str, Any] = {
        key: None if value == FOR_EVER else value for key, value in given.items() if value is not None
    }
    if {"hourly", "daily", "weekly"} & changes.keys() and before.keep_all is None and not for_ever:
        changes.setdefault("keep_all", timedelta(0))
    if for_ever:
        changes["keep_all"] = None
    if changes.get("least", before.least) is None:
        raise click.UsageError("--least for-ever would keep everything: that is --for-ever")
    policy = replace(before, **changes)
    if policy != before:
        database.set_policy(policy)
    _tell_policy(session, name, policy)


def _tell_policy(session: Session, name: str, policy: Policy) -> None:
    spans = {
        key: None if span is None else span.total_seconds()
        for key, span in (("all", policy.keep_all), ("least", policy.least), ("deleted", policy.deleted))
        if span is None or isinstance(span, timedelta)
    }
    if session.json:
        counts = {"hourly": policy.hourly, "daily": policy.daily, "weekly": policy.weekly}
        print_json({"name": name} | spans | counts)
        return
    counted = [(policy.hourly, "hour"), (policy.daily, "day"), (policy.weekly, "week")]
    last = ", ".join(plural(n, noun) for n, noun in counted if n) or "none"
    show_facts(
        [
            ("Every version", span_text(policy.keep_all)),
            ("The last one of", last),
            ("At least", span_text(policy.least)),
            ("After deletion", span_text(policy.deleted)),
            ("Besides", "the newest one, those with a tag, where a branch begins, and what is being read"),
        ]
    )


# ---- gc ----------------------------------------------------------------------------------------


@click.command(epilog=example("mvsqlite gc --dry-run", "mvsqlite gc notes.db --yes"))
@click.argument("name", required=False)
@click.option("--dry-run", is_flag=True, help="Only tell what would be forgotten.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@common
def gc(session: Session, name: str | None, dry_run: bool, yes: bool) -> int:
    """Forget the versions of NAME that its retention does not keep; without NAME, of all databases.

    Then deleted databases go whose time is over. Programs go on reading and writing meanwhile. It
    may be stopped at any moment: what is left reads as before, and the next gc goes on.
    """
    databases = [session.store.database(one) for one in ([name] if name else _names(session))]
    planned = [(database, _gc(database, dry_run=True)) for database in databases]
    dropped = () if name else session.store.gc_deleted(dry_run=True)
    busy = any(isinstance(found, str) for _, found in planned)
    if not dry_run and _something(planned, dropped):
        if not session.json and not yes:
            _tell(session, planned, dropped)
        confirm(session, "Forget them for good?", yes)
        planned = [(database, _gc(database, dry_run=False)) for database in databases]
        dropped = () if name else session.store.gc_deleted()
        busy = any(isinstance(found, str) for _, found in planned)
    if session.json:
        print_json(
            {
                "dry_run": dry_run,
                "databases": [_json(database.name, found) for database, found in planned],
                "deleted": [_dropped_json(one) for one in dropped],
            }
        )
    else:
        _tell(session, planned, dropped)
    return 1 if busy else 0


def _names(session: Session) -> list[str]:
    """Branches after what they began in: what they need of it is then known."""
    return [entry.name for entry in sorted(session.store.list(), key=lambda entry: -entry.id)]


def _gc(database: Database, *, dry_run: bool) -> GcReport | str:
    """What was done, or why it was not."""
    with progress(f"{'looking at' if dry_run else 'forgetting of'} {database.name}") as bar:
        try:
            return database.gc(dry_run=dry_run, progress=bar)
        except BusyError as error:
            return str(error)


def _something(planned: list[tuple[Database, GcReport | str]], dropped: tuple[Dropped, ...]) -> bool:
    """Whether anything would be forgotten, or might."""
    return any(isinstance(found, str) or found.removed for _, found in planned) or any(
        one.report for one in dropped
    )


def _tell(
    session: Session, planned: list[tuple[Database, GcReport | str]], dropped: tuple[Dropped, ...]
) -> None:
    for database, found in planned:
        session.tell(Text(f"{database.name}: {found if isinstance(found, str) else _sentence(found)}"))
    for one in dropped:
        name = one.database.name
        if one.report:
            verb = "would be" if one.report.dry_run else "was"
            session.tell(f"{name}, deleted: {verb} dropped for good, {bytes_text(one.report.bytes)}")
        else:
            session.tell(f"{name}, deleted: {one.why_not}")
    if not planned and not dropped:
        session.tell(f"no databases in {session.store.url}: nothing to forget")


def _sentence(found: GcReport) -> str:
    verb = "would go" if found.dry_run else "gone"
    why = [
        plural(found.for_tags, "version") + " for a tag" if found.for_tags else "",
        plural(found.for_branches, "version") + " for a branch" if found.for_branches else "",
        plural(found.for_snapshots, "version") + " for a reader" if found.for_snapshots else "",
    ]
    besides = "; beyond the retention " + ", ".join(filter(None, why)) if any(why) else ""
    freed = f", {bytes_text(found.bytes)} in {plural(found.images, 'page image')}" if found.removed else ""
    return f"{plural(found.removed, 'version')} {verb}{freed}; {found.kept:,} kept{besides}"


def _json(name: str, found: GcReport | str) -> dict[str, Any]:
    return {"name": name} | ({"busy": found} if isinstance(found, str) else asdict(found))


def _dropped_json(one: Dropped) -> dict[str, Any]:
    report = asdict(one.report) if one.report else {"why_not": one.why_not}
    return {"name": one.database.name, "id": one.database.id} | report


def retention_commands(group: click.Group) -> None:
    """Adds the commands to a group."""
    for command in (tag, untag, tags, retention, gc):
        group.add_command(command)
