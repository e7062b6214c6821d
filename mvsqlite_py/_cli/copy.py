"""``mvsqlite copy``: databases with all their versions, from one store into another."""

from pathlib import Path
from typing import Any

import click

from mvsqlite_py import _binding
from mvsqlite_py._cli._common import Session, example, print_json, progress
from mvsqlite_py._cli._versions import short
from mvsqlite_py._copy import Copied, copy_database, find_databases
from mvsqlite_py._store import DatabaseInfo, Store, open_store
from mvsqlite_py._words import bytes_text, plural


def copy_command(group: click.Group) -> None:
    """Adds ``copy`` to a group."""

    @group.command(
        epilog=example(
            "mvsqlite copy lmdb:/var/lib/notes fdb:/etc/foundationdb/fdb.cluster",
            "mvsqlite copy lmdb:/var/lib/notes lmdb:/backup/notes notes.db",
            "mvsqlite copy lmdb:/var/lib/notes lmdb:/var/lib/notes notes.db --as trial.db",
        )
    )
    @click.argument("source", metavar="SRC")
    @click.argument("target", metavar="DST")
    @click.argument("names", metavar="[NAME]...", nargs=-1)
    @click.option("--as", "new_name", metavar="NEW", help="The copy's name, if one NAME is given.")
    @click.option("--no-deleted", is_flag=True, help="Leave out databases that were removed.")
    @click.option("--restart", is_flag=True, help="Drop what an interrupted copy has left, and begin anew.")
    @click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
    @click.pass_context
    def copy(
        context: click.Context,
        source: str,
        target: str,
        names: tuple[str, ...],
        new_name: str | None,
        no_deleted: bool,
        restart: bool,
        as_json: bool,
    ) -> None:
        """Copy databases with all their versions into another store.

        SRC and DST are addresses of stores, which may be of different engines. Without NAME, all
        databases are copied; removed ones are removed in the copy too, and can be undeleted.

        SRC may be written meanwhile: what is copied ends with the newest version at the beginning.
        A copy appears when it is whole and verified. After an interruption the same command goes on.
        """
        if new_name is not None and len(names) != 1:
            raise click.UsageError("--as needs the one NAME of the database it is for")
        _must_exist(source)
        with open_store(source) as there, open_store(target) as here:
            entries = find_databases(there, names, not no_deleted)
            session = Session(context.find_root().info_name or "mvsqlite", here, as_json, target)
            done = _copy_all(session, there, entries, new_name, restart)
            if as_json:
                print_json([_json(one) for one in done])
            else:
                _tell_all(session, there, done)


def _must_exist(url: str) -> None:
    """Opening a store makes it, and a mistyped source would be an empty one."""
    scheme, _, place = url.removeprefix("fault:").partition(":")
    directory = Path(place.partition("?")[0])
    if scheme == "lmdb" and place and not (directory / "data.mdb").exists():
        raise _binding.failure("MV_URL", f"there is no store in {directory} to copy from")


def _copy_all(
    session: Session, source: Store, entries: list[DatabaseInfo], new_name: str | None, restart: bool
) -> list[Copied]:
    done = []
    try:
        for entry in entries:
            done.append(_copy_one(session, source, entry, new_name, restart))
            if not session.json:
                _tell(session, done[-1])
    except KeyboardInterrupt:
        click.echo("what was copied is kept: the same command goes on from there", err=True)
        raise
    return done


def _copy_one(
    session: Session, source: Store, entry: DatabaseInfo, new_name: str | None, restart: bool
) -> Copied:
    with progress(f"copying {entry.name}") as bar:

        def show(_name: str, verifying: bool, done: int, of: int) -> None:
            if bar and of:
                bar(of + done if verifying else done, 2 * of)

        return copy_database(source, entry, session.store, new_name, restart, show)


def _tell(session: Session, one: Copied) -> None:
    removed = "removed " if one.deleted else ""
    name = f'{removed}"{one.name}"' + (f' as "{one.new_name}"' if one.new_name != one.name else "")
    version = short(one.version) if one.version else "none"
    if one.already:
        session.tell(f"{name} was copied before, up to version {version}")
    else:
        images = plural(one.pages + one.history_pages, "page image")
        went_on = "; went on with an interrupted copy" if one.resumed else ""
        session.tell(
            f"Copied {name}: {plural(one.versions, 'version')}, {images}, {bytes_text(one.bytes)}, "
            f"verified{went_on}"
        )
    if one.renamed:
        newest = short(one.new_version) if one.new_version else "none"
        session.tell(
            f"  its {plural(one.renamed, 'version')} have new names here, for later ones here would not be "
            f"greater than the old: the newest, {version}, is {newest}"
        )
    if one.newer:
        session.tell(
            f"  {plural(one.newer, 'newer version')} of the source came since and are not in the copy"
        )


def _tell_all(session: Session, source: Store, done: list[Copied]) -> None:
    if not done:
        session.tell(f"no databases in {source.url}: nothing to copy")
        return
    copied = sum(not one.already for one in done)
    before = f", {len(done) - copied} copied before" if copied < len(done) else ""
    session.tell(
        f"{plural(copied, 'database')} copied from {source.url} to {session.store.url}, all verified{before}"
        if copied
        else f"All {plural(len(done), 'database')} had been copied before; nothing was done"
    )


def _json(one: Copied) -> dict[str, Any]:
    fields = ["name", "new_name", "deleted", "version", "new_version", "versions", "pages", "history_pages"]
    counts = ["bytes", "renamed", "newer", "resumed", "already"]
    return {field: getattr(one, field) for field in [*fields, *counts]} | {"verified": not one.already}
