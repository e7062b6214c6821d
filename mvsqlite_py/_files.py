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
from mvsqlite_py._errors import DatabaseNotFoundError, Error, NotADatabaseError

if TYPE_CHECKING:
    from mvsqlite_py._store import Store

PAGES_A_STEP = 2000
SMALLEST_PAGE = 512
BUSY_MS = 10_000
"""How long an import waits for a writer of the file."""


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
    _check_kind(path)
    try:
        return _open_readonly(path, "mode=ro")
    except apsw.NotADBError as error:
        raise NotADatabaseError(f"{path} is no SQLite database (or an encrypted one)") from error
    except apsw.CorruptError as error:
        raise NotADatabaseError(f"{path} is a damaged SQLite database: {error}") from error
    except apsw.BusyError as error:
        raise _locked(path) from error
    except (apsw.ReadOnlyError, apsw.CantOpenError) as error:
        return _open_beside_nothing(path, error)


def _check_kind(path: Path) -> None:
    """What can be said without opening: closing a file drops the process's locks on it."""
    if not path.exists():
        raise FileNotFoundError(f"there is no file {path}")
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a directory, not a SQLite file")
    if not os.access(path, os.R_OK):
        raise PermissionError(f"{path} may not be read by this user")
    size = path.stat().st_size
    if size == 0:
        raise NotADatabaseError(f"{path} is empty: there is nothing to import")
    if size < SMALLEST_PAGE:
        raise NotADatabaseError(f"{path} is no SQLite database: it has {size} bytes")


def _open_readonly(path: Path, how: str) -> apsw.Connection:
    connection = apsw.Connection(
        f"{path.resolve().as_uri()}?{how}", flags=apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
    )
    try:
        connection.set_busy_timeout(BUSY_MS)
        connection.execute("SELECT count(*) FROM sqlite_schema").fetchall()
    except BaseException:
        connection.close()
        raise
    return connection


def _open_beside_nothing(path: Path, error: apsw.Error) -> apsw.Connection:
    """SQLite wants to write beside the file and may not: fine if nothing is there to be read."""
    for suffix, what in (("-wal", "commits in its log"), ("-journal", "a transaction that was cut off")):
        beside = path.with_name(path.name + suffix)
        if beside.exists() and beside.stat().st_size:
            raise PermissionError(
                f"{path} has {what} ({beside.name}), which only a user who may write there can read: "
                f"open it once with SQLite, or copy both files elsewhere and import the copy"
            ) from error
    return _open_readonly(path, "immutable=1")


def _locked(path: Path) -> Error:
    return failure("MV_BUSY", f"{path} is locked by another process that writes to it: try again")


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
        except BaseException as error:
            store.discard_unfinished(name=temporary)
            if isinstance(error, apsw.BusyError) and not isinstance(error, Error):
                raise _locked(path) from error
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
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a directory: name a file in it")
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists already: remove it, or ask for it to be overwritten")
    source = connect(name, store, at=at, version=version, create=False)
    try:
        temporary = _make_beside(path)
        try:
            _copy_out(source, temporary, progress)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    finally:
        source.close()


def _make_beside(path: Path) -> Path:
    """An empty file in the same directory; its errors name the file that was asked for."""
    temporary = path.with_name(f".mvsqlite-{secrets.token_hex(8)}")
    try:
        temporary.touch(exist_ok=False)
    except OSError as error:
        raise OSError(error.errno, f"cannot write there: {error.strerror}", str(path)) from error
    return temporary


def _copy_out(source: apsw.Connection, path: Path, progress: Callable[[int, int], None] | None) -> None:
    target = apsw.Connection(str(path))
    try:
        copy(source, target, progress)
    finally:
        target.close()
    with path.open("rb") as file:
        os.fsync(file.fileno())
