"""Connections: apsw's with our VFS, and the standard library's.

The two may carry different copies of SQLite; the shared library is loaded into each.
"""

import _sqlite3
import ctypes
import sqlite3
import threading
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

import apsw

from mvsqlite_py import _binding, _races
from mvsqlite_py._database import Moment, moment_text

if TYPE_CHECKING:
    from mvsqlite_py._store import Store

VFS_NAME = "mvsqlite"

Concurrency = Literal["host", "optimistic", "lease"]
"""How writers keep apart. ``host``: one at a time on a host, and between hosts the first commit wins;
``optimistic``: no lock, the first commit wins; ``lease``: one at a time among all hosts."""

_lock = threading.Lock()
_loaded: set[str] = set()


def load_into_apsw() -> None:
    """Registers the VFS in apsw's SQLite. Doing it again does nothing."""
    with _lock:
        if "apsw" not in _loaded:
            connection = apsw.Connection(":memory:")
            connection.enable_load_extension(True)
            connection.load_extension(str(_binding.LIBRARY))
            connection.close()
            _loaded.add("apsw")


def register_alias(name: str) -> None:
    """Registers the native VFS under one more name, for as long as the process lives."""
    if _binding.lib.mv_vfs_alias(_binding.encode(name, "the name of a VFS")) != 0:
        raise MemoryError(f"not enough memory to register the VFS {name!r}")


def load_into_sqlite3() -> None:
    """Registers the VFS in the SQLite that the ``sqlite3`` module uses.

    Python's binding may be built without extension loading; SQLite itself rarely is. So the
    functions are looked up in the module's own shared object and what it is linked with.
    Raises NotImplementedError if this SQLite cannot load extensions at all.
    """
    with _lock:
        if "sqlite3" not in _loaded:
            _load_with_ctypes(ctypes.CDLL(getattr(_sqlite3, "__file__", None)))
            _loaded.add("sqlite3")


def _load_with_ctypes(sqlite: ctypes.CDLL) -> None:
    if not hasattr(sqlite, "sqlite3_load_extension"):
        raise NotImplementedError(
            "the SQLite of this Python's sqlite3 module was built without extension loading: "
            "use mvsqlite_py.connect, which brings its own"
        )
    handle, message = ctypes.c_void_p(), ctypes.c_char_p()
    if sqlite.sqlite3_open_v2(b":memory:", ctypes.byref(handle), 0x02, None) != 0:
        raise sqlite3.OperationalError("cannot open an in-memory database to load the extension into")
    try:
        sqlite.sqlite3_enable_load_extension(handle, 1)
        path = str(_binding.LIBRARY).encode()
        if sqlite.sqlite3_load_extension(handle, path, None, ctypes.byref(message)) != 0:
            raise sqlite3.OperationalError(f"cannot load {path.decode()}: {(message.value or b'?').decode()}")
    finally:
        sqlite.sqlite3_close_v2(handle)


def uri(
    name: str,
    *,
    store: "Store | str | None" = None,
    at: Moment | None = None,
    version: str | None = None,
    concurrency: Concurrency | None = None,
    lease: float | None = None,
    max_staleness: float | None = None,
    vfs: str = VFS_NAME,
) -> str:
    """The URI under which SQLite opens a database: for ``ATTACH``, or for any driver that takes URIs.

    name: the database's; store: None for the default one; at, version: a past state.
    concurrency: how writers keep apart (None: ``host``); lease: seconds after which the lease of a
    writer that gives no sign of life ends (10).
    max_staleness: seconds that what is read may be behind, for a connection that only reads: add
    ``&mode=ro``. Saves a cluster the question for its newest version.
    """
    if at is not None and version is not None:
        raise ValueError("give either at= or version=")
    path = quote(_binding.encode(name, "a database name"), safe="")
    if name in ("", ":memory:"):  # SQLite would not even ask the VFS
        raise _binding.failure("MV_NAME", f"{name!r} is SQLite's own name for a database that is never kept")
    address = store if isinstance(store, str) or store is None else store.url
    moment = None if at is None else moment_text(at)
    parameters = {
        "vfs": (vfs, "a VFS name", "MV_MISUSE"),
        "store": (address, "a store address", "MV_URL"),
        "at": (moment, "a moment", "MV_TIME"),
        "version": (version, "a version", "MV_NOVERSION"),
        "concurrency": (concurrency, "a manner of locking", "MV_MISUSE"),
        "lease": (_seconds(lease), "a duration", "MV_MISUSE"),
        "max_staleness": (_seconds(max_staleness), "a duration", "MV_MISUSE"),
    }
    query = "&".join(
        f"{key}={quote(_binding.encode(value, what, code), safe='')}"
        for key, (value, what, code) in parameters.items()
        if value is not None
    )
    return f"file:{path}?{query}"


def _seconds(duration: float | None) -> str | None:
    return None if duration is None else f"{duration:.3f}s"


def connect(
    name: str,
    store: "Store | str | None" = None,
    *,
    at: Moment | None = None,
    version: str | None = None,
    create: bool = True,
    timeout: float = 5.0,
    concurrency: Concurrency | None = None,
    lease: float | None = None,
    max_staleness: float | None = None,
    vfs: str = VFS_NAME,
    **options: Any,
) -> apsw.Connection:
    """Connects to a database of a store with apsw.

    name: the database's; store: a Store, its address, or None for the default one.
    at, version: open that past state, read-only.
    create: create the database if there is none. timeout: seconds to wait for other writers.
    concurrency, lease: how writers keep apart, as for :func:`uri`.
    max_staleness: seconds that what is read may be behind; the connection then only reads.
    Other options go to ``apsw.Connection``. A single statement outside a transaction that loses a
    race for its commit is run again, within the timeout.
    Raises the exceptions of this package, which are apsw's too.
    """
    load_into_apsw()
    reads = at is not None or version is not None or max_staleness is not None
    flags = apsw.SQLITE_OPEN_URI | (apsw.SQLITE_OPEN_READONLY if reads else apsw.SQLITE_OPEN_READWRITE)
    if create and not reads:
        flags |= apsw.SQLITE_OPEN_CREATE
    manners: dict[str, Any] = {"concurrency": concurrency, "lease": lease, "max_staleness": max_staleness}
    address = uri(name, store=store, at=at, version=version, vfs=vfs, **manners)
    _binding.clear_error()
    try:
        connection = apsw.Connection(address, flags=flags, **options)
    except apsw.Error as error:
        raise (_binding.last_error() or error) from error
    connection.set_busy_timeout(int(timeout * 1000))
    if at is None and version is None and _races.may_be_lost(address):
        connection.cursor_factory = _races.Cursor
    return connection
