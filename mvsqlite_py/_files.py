"""Import from and export to ordinary SQLite files."""

import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import apsw

from mvsqlite_py._binding import failure
from mvsqlite_py._connections import connect
from mvsqlite_py._database import Database
from mvsqlite_py._errors import DatabaseNotFoundError, NotADatabaseError

if TYPE_CHECKING:
    from mvsqlite_py._store import Store

PAGES_A_STEP = 2000


def copy(
    source: apsw.Connection, target: apsw.Connection, progress: Callable[[int, int], None] | None
) -> None:
    """Copies a whole database, in one transaction of the target."""
    with target.backup("main", source, "main") as backup:
        while not backup.done:
            backup.step(PAGES_A_STEP)
            if progress:
                progress(backup.page_count - backup.remaining, backup.page_count)


def open_source(path: Path) -> apsw.Connection:
    """Opens an ordinary SQLite file to be read; raises for what is none."""
    if not path.exists():
        raise FileNotFoundError(f"there is no file {path}")
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a directory, not a SQLite file")
    try:
        connection = apsw.Connection(
            f"{path.resolve().as_uri()}?mode=ro", flags=apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
        )
        connection.set_busy_timeout(10_000)
        connection.execute("SELECT count(*) FROM sqlite_schema").fetchall()
    except apsw.NotADBError as error:
        raise NotADatabaseError(f"{path} is no SQLite database (or an encrypted one)") from error
    except apsw.CorruptError as error:
        raise NotADatabaseError(f"{path} is a damaged SQLite database: {error}") from error
    if path.stat().st_size == 0:
        connection.close()
        raise NotADatabaseError(f"{path} is empty: there is nothing to import")
    return connection


def import_file(
    store: "Store", path: Path, name: str, progress: Callable[[int, int], None] | None
) -> Database:
    from mvsqlite_py._store import IMPORTING

    source = open_source(path)
    try:
        _must_be_free(store, name)
        store.discard_unfinished()
        temporary = f"{IMPORTING}{secrets.token_hex(8)}"
        try:
            _copy_in(store, source, temporary, name, f"imported from {path.name}", progress)
        except BaseException:
            store.discard_unfinished(name=temporary)
            raise
    finally:
        source.close()
    return store.database(name)


def _must_be_free(store: "Store", name: str) -> None:
    try:
        store.database(name)
    except DatabaseNotFoundError:
        return
    raise failure(
        "MV_EXISTS",
        f'store {store.url} has a database "{name}" already: choose another name, or delete that one',
    )


def _copy_in(
    store: "Store",
    source: apsw.Connection,
    temporary: str,
    name: str,
    message: str,
    progress: Callable[[int, int], None] | None,
) -> None:
    """Copies under a hidden name, then gives the real one while still holding the write lock."""
    store.create(temporary)
    target = connect(temporary, store)
    try:
        target.execute("PRAGMA locking_mode=EXCLUSIVE").fetchall()
        target.execute("SELECT mv_message(?)", (message,)).fetchall()
        copy(source, target, progress)
        store.rename(temporary, name)
    finally:
        target.close()


def export(
    store: "Store",
    name: str,
    path: Path,
    at: str | None,
    version: str | None,
    overwrite: bool,
    progress: Callable[[int, int], None] | None,
) -> None:
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists already: remove it, or ask for it to be overwritten")
    source = connect(name, store, at=at, version=version, create=False)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        target = apsw.Connection(str(temporary))
        try:
            copy(source, target, progress)
        finally:
            target.close()
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        source.close()
        temporary.unlink(missing_ok=True)
