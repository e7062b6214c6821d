"""SQLAlchemy over a store: ``create_engine("mvsqlite:///notes.db?store=lmdb:/srv/store")``.

Wants ``pip install 'mvsqlite-py[sqlalchemy]'``. The dialect is SQLAlchemy's own for SQLite, under the same
name, so types, ``insert().on_conflict_...`` and migrations work as with ``sqlite://``. In the URL the
database is named; ``:memory:`` or nothing is plain SQLite. The query takes the arguments of
``mvsqlite_py.dbapi.connect``: ``store``, ``at``, ``version``, ``create``, ``concurrency``, ``lease``,
``max_staleness``, ``timeout`` and ``sqlite3``'s others; escape ``?`` and ``&`` in a store's address as
``%3F`` and ``%26``. ``mvsqlite+aiosqlite://`` is the asynchronous one.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from sqlalchemy import Connection, Engine, util
from sqlalchemy.dialects.sqlite.aiosqlite import AsyncAdapt_aiosqlite_dbapi, SQLiteDialect_aiosqlite
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.engine.url import URL
from sqlalchemy.exc import ArgumentError
from sqlalchemy.orm import Session, scoped_session

from mvsqlite_py import _binding, _past, dbapi
from mvsqlite_py._database import Moment
from mvsqlite_py._errors import MisuseError

__all__ = ["MvsqliteDialect", "MvsqliteDialectAsync", "at"]

ARGUMENTS: dict[str, Callable[[Any], Any]] = {
    "store": str,
    "at": str,
    "version": str,
    "create": util.asbool,
    "concurrency": str,
    "lease": float,
    "max_staleness": float,
    "uri": util.asbool,
    "timeout": float,
    "isolation_level": str,
    "detect_types": int,
    "check_same_thread": util.asbool,
    "cached_statements": int,
}
"""Of ``connect``, that a URL's query takes, and as what."""


class _Over:
    """What both dialects have of their own."""

    driver = "mvsqlite"
    supports_statement_cache = True

    def create_connect_args(self: Any, url: URL) -> tuple[list[str], dict[str, Any]]:
        if url.host or url.port or url.username or url.password:
            raise ArgumentError(
                f"{url} names a host or user: write mvsqlite:///NAME?store=URL, or mvsqlite:////NAME for a "
                "name that begins with a slash"
            )
        options: dict[str, Any] = {"check_same_thread": not self._is_url_file_db(url)}
        for key in url.query.keys() & ARGUMENTS.keys():
            options[key] = ARGUMENTS[key](url.query[key])
        rest = sorted(url.query.keys() - ARGUMENTS.keys())
        name = url.database or ":memory:"
        if options.get("uri"):
            separator = "&" if "?" in name else "?"
            name += separator * bool(rest) + "&".join(f"{key}={url.query[key]}" for key in rest)
        elif rest:
            raise ArgumentError(f"{rest[0]}= in {url} is not known; known are: {', '.join(ARGUMENTS)}")
        return [name], options

    def is_disconnect(self, error: Any, connection: Any, cursor: Any) -> bool:
        if isinstance(error, MisuseError) and error.code == "MV_FORKED":
            return True
        return bool(super().is_disconnect(error, connection, cursor))  # type: ignore[misc]


class MvsqliteDialect(_Over, SQLiteDialect_pysqlite):
    """``mvsqlite://``: SQLAlchemy's dialect of SQLite with ``mvsqlite_py.dbapi`` below."""

    driver = "mvsqlite"
    supports_statement_cache = True

    @classmethod
    def import_dbapi(cls) -> Any:
        return dbapi


class MvsqliteDialectAsync(_Over, SQLiteDialect_aiosqlite):
    """``mvsqlite+aiosqlite://``: the same for asyncio, with ``mvsqlite_py.aio`` below."""

    driver = "aiosqlite"
    supports_statement_cache = True

    @classmethod
    def import_dbapi(cls) -> Any:
        from mvsqlite_py import aio

        return AsyncAdapt_aiosqlite_dbapi(aio, dbapi)


@contextlib.contextmanager
def at(
    target: Engine | Connection | Session | scoped_session[Any],
    moment: Moment | None = None,
    /,
    *,
    version: str | None = None,
) -> Iterator[Any]:
    """``with at(engine, "-1h") as past:`` reads of ``past`` are of that moment; they cannot write.

    target: an Engine: ``past`` is a Connection of its pool; a Connection: ``past`` is that one; a Session:
    ``past`` is another Session on a connection of its own, so that objects of the past and of the present do
    not meet in one identity map.
    moment, version: as for :func:`mvsqlite_py.at`. A transaction begun inside is rolled back at the end.
    Of an asynchronous engine, use it inside ``run_sync``.
    Raises MisuseError where a transaction is open, or the database is in no store.
    """
    if isinstance(target, scoped_session):
        with at(target(), moment, version=version) as past:
            yield past
    elif isinstance(target, Session):
        with (
            _connection_at(target.get_bind(), moment, version) as connection,
            type(target)(bind=connection) as session,
        ):
            yield session
    else:
        with _connection_at(target, moment, version) as connection:
            yield connection


@contextlib.contextmanager
def _connection_at(
    bind: Engine | Connection, moment: Moment | None, version: str | None
) -> Iterator[Connection]:
    if isinstance(bind, Engine):
        with bind.connect() as connection, _pinned(connection, moment, version):
            yield connection
    else:
        with _pinned(bind, moment, version):
            yield bind


@contextlib.contextmanager
def _pinned(connection: Connection, moment: Moment | None, version: str | None) -> Iterator[None]:
    if connection.in_transaction():
        raise _binding.failure(
            "MV_MISUSE", "a transaction is open on this connection: commit or roll back before looking back"
        )
    run = _runner(connection)
    outer = run(_past.pin, moment, version)
    try:
        yield
    finally:
        try:
            if not connection.closed and not connection.invalidated:
                connection.rollback()
                run(_past.unpin, outer)
        except BaseException:
            connection.invalidate()  # it must not go back to the pool as it is
            raise


def _runner(connection: Connection) -> Callable[..., Any]:
    """Calls a function with the ``sqlite3`` connection, on its thread."""
    driver: Any = connection.connection.driver_connection
    if not connection.dialect.is_async:
        return lambda work, *args: work(driver, *args)
    from mvsqlite_py import aio

    return lambda work, *args: util.await_only(aio._on_its_thread(driver, work, *args))
