"""``aiosqlite`` over a store; wants ``pip install 'mvsqlite-py[aio]'``.

Whatever ``aiosqlite`` has is here too; ``connect`` takes what ``mvsqlite_py.dbapi.connect`` takes.
"""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import aiosqlite
from aiosqlite import *  # noqa: F403

from mvsqlite_py import _past, dbapi
from mvsqlite_py._database import Moment

__all__ = [*aiosqlite.__all__, "at"]  # noqa: PLE0604


def connect(  # type: ignore[no-redef]
    database: Any, *args: Any, iter_chunk_size: int = 64, **options: Any
) -> aiosqlite.Connection:
    """Connects to a database of a store: ``async with connect("notes.db") as db:``, or awaited.

    iter_chunk_size: rows fetched at once by ``async for``. The other arguments are those of
    ``mvsqlite_py.dbapi.connect``.
    """
    return aiosqlite.Connection(lambda: dbapi.connect(database, *args, **options), iter_chunk_size)


@contextlib.asynccontextmanager
async def at(
    connection: aiosqlite.Connection, moment: Moment | None = None, /, *, version: str | None = None
) -> AsyncIterator[aiosqlite.Connection]:
    """``async with at(db, "-1h"):`` as :func:`mvsqlite_py.at`, on the connection's own thread."""
    outer = await _on_its_thread(connection, _past.pin, moment, version)
    try:
        yield connection
    finally:
        await _on_its_thread(connection, _past.unpin, outer)


async def _on_its_thread(connection: aiosqlite.Connection, work: Any, *args: Any) -> Any:
    return await connection._execute(work, connection._conn, *args)  # type: ignore[no-untyped-call]
