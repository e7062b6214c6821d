"""The standard library's ``sqlite3`` over a store: what ``mvsqlite_py.dbapi`` has of its own."""

import os
import sqlite3
import weakref
from collections import deque
from collections.abc import Iterable
from typing import Any, Literal, Self, SupportsFloat, cast
from urllib.parse import parse_qsl, quote

from mvsqlite_py import _binding, _races
from mvsqlite_py._connections import VFS_NAME, load_into_sqlite3
from mvsqlite_py._connections import uri as _address
from mvsqlite_py._errors import Error

POSITIONAL = (
    "timeout",
    "detect_types",
    "isolation_level",
    "check_same_thread",
    "factory",
    "cached_statements",
    "uri",
)
"""The arguments that ``sqlite3.connect`` takes by position too, after the database."""

TOLD_IN_WORDS = {
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_MISUSE,
    sqlite3.SQLITE_READONLY_DBMOVED,
}
"""SQLite's codes of failures of which the native library knows more than SQLite says."""


def _is_lost(error: Exception) -> bool:
    return getattr(error, "sqlite_errorcode", None) == _races.BUSY_SNAPSHOT


def in_words(error: sqlite3.Error) -> sqlite3.Error:
    """The exception of this package for a failure below SQLite, else the same."""
    code = getattr(error, "sqlite_errorcode", None)
    if code not in TOLD_IN_WORDS or isinstance(error, Error):
        return error
    native = _binding.last_error()
    return error if native is None or native.sqlite_errorcode != code else cast(sqlite3.Error, native)


class RunsAgain:
    """What a cursor is besides where a race can be lost: it runs a single statement again that did.

    Of ``INSERT``, ``UPDATE`` and ``DELETE`` with ``RETURNING`` outside a transaction the rows are
    fetched at once, for the commit comes after the last of them.
    """

    __slots__ = ()

    def execute(self: Any, *args: Any) -> Any:
        free = not self.connection.in_transaction
        try:
            super().execute(*args)  # type: ignore[misc]
            if free:
                self._hold_returned()
        except sqlite3.Error as error:
            if not (free and self._lost(error)):
                raise in_words(error) from error.__cause__
            execute = super().execute  # type: ignore[misc]

            def again() -> None:
                execute(*args)
                self._hold_returned()

            _races.run_again(again, self._ask, error, _is_lost)
        return self

    def executemany(self: Any, sql: str, parameters: Iterable[Any], /) -> Any:
        free = not self.connection.in_transaction
        changed = self.connection.total_changes
        items = _races.InFlight(parameters)
        try:
            super().executemany(sql, items)  # type: ignore[misc]
        except sqlite3.Error as error:
            if not (free and self._lost(error)):
                raise in_words(error) from error.__cause__
            self._go_on(sql, items, error)
            _hold(self, [], self.connection.total_changes - changed)
        return self

    def _go_on(self: Any, sql: str, items: _races.InFlight, lost: sqlite3.Error) -> None:
        step = super().executemany  # type: ignore[misc]
        while True:
            _races.run_again(lambda: step(sql, [items.last]), self._ask, lost, _is_lost)
            try:
                step(sql, items)
                return
            except sqlite3.Error as error:
                if not self._lost(error):
                    raise
                lost = error

    def _hold_returned(self: Any) -> None:
        if self.rowcount != -1 and self.description is not None and not self.connection.in_transaction:
            rows = self.fetchall()
            _hold(self, rows, self.rowcount)

    def _lost(self: Any, error: sqlite3.Error) -> bool:
        return _is_lost(error) and not self.connection.in_transaction

    def _ask(self: Any, question: str) -> Any:
        return sqlite3.Cursor(self.connection).execute(question).fetchone()[0]


class Holds:
    """What a cursor is besides while it has the result of a statement that is over."""

    __slots__ = ()
    _rows: "deque[Any]"
    _rowcount: int
    arraysize: int

    def _release(self: Any) -> Any:
        self.__class__ = type(self).__mro__[2]
        self._rows.clear()
        return self

    @property
    def rowcount(self) -> int:
        return self._rowcount

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        if not self._rows:
            raise StopIteration
        return self._rows.popleft()

    def fetchone(self) -> Any:
        return self._rows.popleft() if self._rows else None

    def fetchmany(self, size: int | None = None) -> list[Any]:
        wanted = self.arraysize if size is None else size
        return [self._rows.popleft() for _ in range(min(wanted, len(self._rows)))]

    def fetchall(self) -> list[Any]:
        rows = list(self._rows)
        self._rows.clear()
        return rows

    def execute(self, *args: Any) -> Any:
        return self._release().execute(*args)

    def executemany(self, *args: Any) -> Any:
        return self._release().executemany(*args)

    def executescript(self, *args: Any) -> Any:
        return self._release().executescript(*args)

    def close(self) -> None:
        self._release().close()


class Races:
    """What a connection is besides where a race can be lost: its cursors run statements again."""

    __slots__ = ()

    def cursor(self: Any, factory: Any = sqlite3.Cursor) -> Any:
        if isinstance(factory, type) and not issubclass(factory, RunsAgain):
            factory = _with(RunsAgain, factory)
        return super().cursor(factory)  # type: ignore[misc]

    def execute(self, *args: Any) -> Any:
        return self.cursor().execute(*args)

    def executemany(self, *args: Any) -> Any:
        return self.cursor().executemany(*args)


_mixed: dict[tuple[type, type], Any] = {}


def _with(mixin: type, kind: type) -> Any:
    """The class of objects of a kind that are something besides; always the same one."""
    if (mixin, kind) not in _mixed:
        body: dict[str, Any] = {"__module__": kind.__module__, "__doc__": kind.__doc__}
        if kind.__dictoffset__:
            body["__slots__"] = ()  # objects of the one can become the other's
        _mixed[mixin, kind] = type(kind.__name__, (mixin, kind), body)
    return _mixed[mixin, kind]


def _hold(cursor: Any, rows: Iterable[Any], rowcount: int) -> None:
    """Gives the cursor rows of its own to be fetched, until it executes something else."""
    vars(cursor).update(_rows=deque(rows), _rowcount=rowcount)
    cursor.__class__ = _with(Holds, type(cursor))


class Connection(sqlite3.Connection):
    """A ``sqlite3.Connection`` to a database of a store; see :func:`connect`."""

    def __init__(self, database: Any, *args: Any, **options: Any) -> None:
        address, options = opening(database, args, options)
        _binding.clear_error()
        try:
            super().__init__(address, **options)
        except sqlite3.Error as error:
            raise (_binding.last_error() or error) from error
        if _races.may_be_lost(address):
            self.__class__ = _with(Races, type(self))
        if _said(address).get("vfs") == VFS_NAME:
            _kept_from_children.add(self)

    def commit(self) -> None:
        try:
            super().commit()
        except sqlite3.Error as error:
            raise in_words(error) from error.__cause__

    def __exit__(self, *args: Any) -> Literal[False]:
        try:
            return super().__exit__(*args)
        except sqlite3.Error as error:
            raise in_words(error) from error.__cause__


_kept_from_children: "weakref.WeakSet[Connection]" = weakref.WeakSet()


def _refuse(*_: Any, **__: Any) -> Any:
    raise _binding.failure(
        "MV_FORKED", "the connection was opened before fork: open one in the child process"
    )


def _after_fork() -> None:
    """SQLite's own words for a connection that a child inherited would be of no help."""
    for connection in list(_kept_from_children):
        for name in ("cursor", "execute", "executemany", "executescript", "commit", "blobopen", "backup"):
            setattr(connection, name, _refuse)


os.register_at_fork(after_in_child=_after_fork)


def connect(database: Any, *args: Any, factory: Any = None, **options: Any) -> sqlite3.Connection:
    """Connects to a database of a store with the standard library's ``sqlite3``.

    database: the database's name, as str, bytes or a path object; ``:memory:`` and ``""`` are plain
    SQLite. With ``uri=True`` a ``file:`` URI, of which everything stays; without ``vfs=`` it gets ours.
    The other arguments of ``sqlite3.connect``, by position or by name, mean what they mean there:
    timeout (seconds), detect_types, isolation_level, check_same_thread, factory, cached_statements,
    uri, and whatever this Python has besides. In the place of timeout a store may stand.

    store: a Store, its address, or None for the default one. at, version: open that past state,
    read-only. create: create the database if there is none (True). concurrency, lease: how writers
    keep apart; max_staleness: seconds that what is read may be behind, the connection then only
    reads; as for :func:`mvsqlite_py.uri`.

    A single statement outside a transaction that loses a race for its commit is run again within the
    timeout; in a transaction it fails with ``SQLITE_BUSY_SNAPSHOT``. A factory that is not derived
    from this module's ``Connection`` does without that.
    Raises exceptions of ``sqlite3``; those that are this package's own are of its kinds too.
    """
    if factory is None:
        place = POSITIONAL.index("factory")
        factory = args[place] if len(args) > place else Connection
    if isinstance(factory, type) and issubclass(factory, Connection):
        connection: sqlite3.Connection = factory(database, *args, **options)
        return connection
    database, options = opening(database, args, options)
    _binding.clear_error()
    try:
        return cast(sqlite3.Connection, sqlite3.connect(database, **{**options, "factory": factory}))
    except sqlite3.Error as error:
        raise (_binding.last_error() or error) from error


ADDRESSED = ("store", "at", "version", "concurrency", "lease", "max_staleness")
OURS = {*ADDRESSED, "create"}
"""The arguments of ``connect`` that ``sqlite3.connect`` does not have; most become part of the URI."""


def opening(database: Any, args: tuple[Any, ...], options: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """What ``sqlite3.connect`` is to be called with: the database, and the rest by name."""
    options = dict(options)
    given = {key: value for key in ADDRESSED if (value := options.pop(key, None)) is not None}
    create = options.pop("create", True)
    if args and not isinstance(args[0], SupportsFloat | None):
        given["store"], args = args[0], args[1:]
    if len(args) > len(POSITIONAL):
        raise TypeError(f"connect takes at most {len(POSITIONAL)} arguments by position after the database")
    for key, value in zip(POSITIONAL, args, strict=False):
        if key in options:
            raise TypeError(f"connect got {key} twice")
        options[key] = value
    if isinstance(database, os.PathLike | bytes):
        database = os.fsdecode(database)
    if not isinstance(database, str):
        raise TypeError(f"a database is named by text, bytes or a path, not by {type(database).__name__}")
    if options.get("uri") and database.startswith("file:"):
        address = _completed(database, given, create)
    elif database in ("", ":memory:") and not given:
        address = None
    else:
        address = _address(database, **given) + f"&mode={_mode(given, create)}"
    if address is None:
        return database, options
    load_into_sqlite3()
    return address, {**options, "uri": True}


def _said(uri: str) -> dict[str, str]:
    return dict(parse_qsl(uri.partition("#")[0].partition("?")[2], keep_blank_values=True))


def _mode(given: dict[str, Any], create: bool) -> str:
    if not given.keys().isdisjoint(("at", "version", "max_staleness")):
        return "ro"
    return "rwc" if create else "rw"


def _completed(uri: str, given: dict[str, Any], create: bool) -> str | None:
    """A URI that leads to a store; None: it is SQLite's own affair."""
    path, _, query = uri.partition("#")[0].partition("?")
    said = _said(uri)
    if twice := sorted(said.keys() & given.keys()):
        raise TypeError(f"{twice[0]} is said twice: in the URI {uri!r} and as an argument")
    plain = said.get("mode") == "memory" or path in ("file:", "file::memory:")
    if (plain or said.get("vfs", VFS_NAME) != VFS_NAME) and not given:
        return None
    if plain:
        raise _binding.failure("MV_NAME", f"{uri!r} is a database that SQLite never keeps")
    ours = dict(parse_qsl(_address("x", **given).partition("?")[2]))
    if "mode" not in said:
        ours["mode"] = _mode({**said, **given}, create)
    added = [f"{key}={quote(value, safe='')}" for key, value in ours.items() if key not in said]
    return f"{path}?{'&'.join([*filter(None, [query]), *added])}"
