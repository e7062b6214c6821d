"""``mvsqlite``: databases by name, in and out, looked at and checked."""

import io
import sys
from datetime import datetime
from pathlib import Path
from typing import Any, TextIO

import apsw
import apsw.shell
import click
from rich.text import Text

from mvsqlite_py._cli._common import (
    Commands,
    Session,
    common,
    confirm,
    example,
    iso,
    local_time,
    print_json,
    progress,
    show_table,
)
from mvsqlite_py._cli._history import log_command
from mvsqlite_py._cli._versions import resolve, short
from mvsqlite_py._cli.branch import branch_commands
from mvsqlite_py._cli.copy import copy_command
from mvsqlite_py._cli.doctor import doctor_command
from mvsqlite_py._cli.history import history_command
from mvsqlite_py._cli.retention import retention_commands
from mvsqlite_py._cli.run import run_command
from mvsqlite_py._cli.settings import settings_command
from mvsqlite_py._cli.stat import stat_command
from mvsqlite_py._database import Database
from mvsqlite_py._store import DatabaseInfo
from mvsqlite_py._words import bytes_text, plural


@click.group(
    "mvsqlite",
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=example(
        "mvsqlite import notes.sqlite notes.db", "mvsqlite shell notes.db", "mvsqlite log notes.db"
    ),
)
@click.version_option(package_name="mvsqlite-py", message="%(prog)s %(version)s")
def mvsqlite() -> None:
    """SQLite databases whose every commit is kept.

    The store is named by --store or MVSQLITE_STORE. To look at changes and take them back: mvrevert.
    """


past_options = [
    click.option("--at", metavar="TIME", help="As of a time: '2026-11-24 10:15', '-5m', '2 hours ago'."),
    click.option("--version", "-V", metavar="VERSION", help="As of a version of the log, or HEAD~1."),
]


def past(function: Any) -> Any:
    """Gives a command ``--at`` and ``--version``."""
    for option in reversed(past_options):
        function = option(function)
    return function


def find_past(database: Database, at: str | None, version: str | None) -> str | None:
    """The version that the options mean; None for the newest state, followed."""
    if at is not None and version is not None:
        raise click.UsageError("give either --at or --version")
    if at is not None:
        return database.find(at=at)
    return resolve(database, version).version if version is not None else None


# ---- names ----------------------------------------------------------------------------


@mvsqlite.command(epilog=example("mvsqlite create notes.db"))
@click.argument("name")
@common
def create(session: Session, name: str) -> None:
    """Create an empty database."""
    session.store.create(name)
    session.tell(f'Created "{name}". To open it:', session.command("mvsqlite", "shell", name), name=name)


@mvsqlite.command(epilog=example("mvsqlite ls", "mvsqlite ls --deleted"))
@click.option("--deleted", is_flag=True, help="Those that can be undeleted instead.")
@common
def ls(session: Session, deleted: bool) -> None:
    """List the databases of the store."""
    found = session.store.list(deleted=deleted)
    if session.json:
        print_json([_info_json(entry) for entry in found])
        return
    if not found:
        session.tell(
            f"no deleted databases in {session.store.url}"
            if deleted
            else f"no databases in {session.store.url}"
        )
        return
    rows = []
    for entry in found:
        version = short(entry.version) if entry.version else "-"
        when = entry.deleted if deleted else entry.changed
        rows.append(
            [entry.name, bytes_text(entry.size), Text(version, "cyan"), local_time(when) if when else "-"]
        )
    columns = ["Name", "Size", "Version", "Deleted" if deleted else "Changed"]
    show_table(columns, rows, right=["Size", "Version"])


def _info_json(entry: DatabaseInfo) -> dict[str, Any]:
    def moment(value: datetime | None) -> str | None:
        return iso(value) if value else None

    return {
        "name": entry.name,
        "size": entry.size,
        "version": entry.version,
        "created": moment(entry.created),
        "changed": moment(entry.changed),
        "deleted": moment(entry.deleted),
    }


@mvsqlite.command(epilog=example("mvsqlite rm notes.db", "mvsqlite undelete notes.db"))
@click.argument("name")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@common
def rm(session: Session, name: str, yes: bool) -> None:
    """Take a database out of sight. It can be undeleted with all its versions."""
    session.store.database(name)
    way_back = session.command("mvsqlite", "undelete", name)
    if not session.json:
        session.tell(f'This takes the database "{name}" out of sight; its data and versions are kept.')
    confirm(session, "Go ahead?", yes)
    session.store.delete(name)
    session.tell(f'Removed "{name}". To take this back:', way_back, name=name, take_back=way_back)


@mvsqlite.command(epilog=example("mvsqlite undelete notes.db --as old-notes.db"))
@click.argument("name")
@click.option("--as", "new_name", metavar="NEW", help="Bring it back under another name.")
@common
def undelete(session: Session, name: str, new_name: str | None) -> None:
    """Bring the database of that name back that was removed last."""
    session.store.undelete(name, new_name)
    session.tell(f'"{new_name or name}" is back, with all its versions', name=new_name or name)


@mvsqlite.command(epilog=example("mvsqlite rename notes.db diary.db"))
@click.argument("old")
@click.argument("new")
@common
def rename(session: Session, old: str, new: str) -> None:
    """Give a database another name. Its versions stay with it."""
    session.store.rename(old, new)
    session.tell(f'"{old}" is now "{new}"', name=new, old=old)


# ---- files ----------------------------------------------------------------------------


@mvsqlite.command("import", epilog=example("mvsqlite import ~/app/data.sqlite app.db"))
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("name")
@common
def import_(session: Session, file: Path, name: str) -> None:
    """Copy an ordinary SQLite file into a new database.

    The file is only read. WAL files are included. The name appears when the copy is complete.
    """
    with progress(f"importing {file.name}") as bar:
        database = session.store.import_file(file, name, progress=bar)
    newest = database.newest
    assert newest
    session.tell(
        f'Imported {file} as "{name}": {bytes_text(newest.size)}, version {short(newest.version)}',
        name=name,
        version=newest.version,
        size=newest.size,
    )


@mvsqlite.command(epilog=example("mvsqlite export notes.db yesterday.sqlite --at '1 day ago'"))
@click.argument("name")
@click.argument("file", type=click.Path(path_type=Path))
@past
@click.option("--overwrite", is_flag=True, help="Replace the file if it exists.")
@common
def export(
    session: Session, name: str, file: Path, at: str | None, version: str | None, overwrite: bool
) -> None:
    """Copy a database, now or in the past, to an ordinary SQLite file."""
    found = find_past(session.store.database(name), at, version)
    with progress(f"exporting {name}") as bar:
        session.store.export(name, file, version=found, overwrite=overwrite, progress=bar)
    size = file.stat().st_size
    of = f"version {short(found)} of " if found else ""
    session.tell(
        f'Exported {of}"{name}" to {file}: {bytes_text(size)}',
        name=name,
        file=str(file),
        version=found,
        size=size,
    )


copy_command(mvsqlite)
branch_commands(mvsqlite)

# ---- SQL ------------------------------------------------------------------------------


@mvsqlite.command(
    epilog=example(
        "mvsqlite shell notes.db",
        "mvsqlite shell notes.db 'SELECT count(*) FROM notes'",
        "mvsqlite shell notes.db --at -1h < query.sql",
    )
)
@click.argument("name")
@click.argument("sql", nargs=-1)
@past
@common
def shell(session: Session, name: str, sql: tuple[str, ...], at: str | None, version: str | None) -> int:
    """Run SQL: the statements given, those on stdin, or a shell for them.

    With --at or --version the database is as it was then, and read-only. --json prints rows as JSON.
    """
    found = find_past(session.store.database(name), at, version)
    connection = session.store.database(name).connect(create=False, **({"version": found} if found else {}))
    try:
        return run_shell(connection, name, found, sql, session.json)
    finally:
        connection.close(True)


def run_shell(
    connection: apsw.Connection, name: str, version: str | None, sql: tuple[str, ...], as_json: bool
) -> int:
    """0, or 1 if a statement failed where nobody could type another."""
    ours: Any = apsw.shell.Shell(stdin=_typed(sql), stdout=sys.stdout, stderr=sys.stderr, db=connection)
    ours.dbfilename = name
    ours.prompt = f"{name}{f' at {short(version)}' if version else ''}> "
    ours.moreprompt = "...> ".rjust(len(ours.prompt))
    ours.bail = not ours.interactive
    if as_json:
        ours.process_command(".mode json")
    past = f"version {short(version)}, read-only" if version else "every commit is kept"
    try:
        ours.cmdloop(f'"{name}": {past}. ".help" for commands, ".exit" to leave\n')
    except apsw.Error:
        if as_json:
            raise
        return 1  # the shell has said what and where
    except apsw.shell.Shell.Error:
        return 1
    except SystemExit as left:
        return left.code if isinstance(left.code, int) else 0
    return 0


def _typed(sql: tuple[str, ...]) -> TextIO:
    """What the shell reads: a terminal, or text whose last statement needs no semicolon."""
    if sql:
        return io.StringIO("".join(f"{text}\n" if text.startswith(".") else f"{text}\n;\n" for text in sql))
    return sys.stdin if sys.stdin.isatty() else io.StringIO(sys.stdin.read() + "\n;\n")


# ---- looking and checking ----------------------------------------------------------------

log_command(mvsqlite)
history_command(mvsqlite)


stat_command(mvsqlite)


@mvsqlite.command(epilog=example("mvsqlite verify", "mvsqlite verify notes.db --all-versions"))
@click.argument("name", required=False)
@click.option("--version", "-V", metavar="VERSION", help="Also run SQLite's integrity check on this version.")
@click.option("--all-versions", is_flag=True, help="Also run SQLite's integrity check on every version.")
@common
def verify(session: Session, name: str | None, version: str | None, all_versions: bool) -> int:
    """Read every page of every version and check it; exit with 1 if anything is wrong.

    Checksums, chains of differences, and that records and pages agree. Without NAME, of all databases.
    """
    if version is not None and name is None:
        raise click.UsageError("--version needs the NAME of the database it is of")
    names = [name] if name else [entry.name for entry in session.store.list()]
    results = [_verify_one(session.store.database(one), version, all_versions) for one in names]
    if session.json:
        print_json(results)
    else:
        for result in results:
            _tell_verified(session, result)
        if not results:
            session.tell(f"no databases in {session.store.url}: nothing to verify")
    return 1 if any(result["problems"] for result in results) else 0


def _verify_one(database: Database, version: str | None, all_versions: bool) -> dict[str, Any]:
    versions = [resolve(database, version).version] if version else []
    if all_versions:
        versions = [entry.version for entry in database.versions()]
    with progress(f"reading {database.name}") as bar:
        found = database.verify(progress=bar)
    problems = list(found.problems)
    with progress(f"checking {database.name}") as bar:
        for done, one in enumerate(versions, 1):
            problems += _integrity(database, one)
            if bar:
                bar(done, len(versions))
    return {"name": database.name, "images": found.images, "checked": versions, "problems": problems}


def _integrity(database: Database, version: str) -> list[str]:
    connection = database.connect(version=version)
    try:
        answers = [str(row[0]) for row in connection.execute("PRAGMA integrity_check")]
    except apsw.Error as error:
        answers = [str(error)]
    finally:
        connection.close(True)
    return [] if answers == ["ok"] else [f"version {short(version)}: {answer}" for answer in answers]


def _tell_verified(session: Session, result: dict[str, Any]) -> None:
    checked = f"; SQLite checked {plural(len(result['checked']), 'version')}" if result["checked"] else ""
    for problem in result["problems"]:
        session.tell(Text(f"{result['name']}: {problem}", "red"))
    verdict = f"{plural(len(result['problems']), 'problem')}!" if result["problems"] else "ok"
    session.tell(f"{result['name']}: {plural(result['images'], 'page image')} read{checked}: {verdict}")


settings_command(mvsqlite)
retention_commands(mvsqlite)
doctor_command(mvsqlite)
run_command(mvsqlite)


def main() -> None:
    """The ``mvsqlite`` command."""
    mvsqlite.main(prog_name="mvsqlite")
