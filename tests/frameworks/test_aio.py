"""``aiosqlite`` over a store."""

import asyncio
import inspect
import sqlite3
from collections.abc import Callable
from typing import Any

import pytest

import mvsqlite_py

aiosqlite = pytest.importorskip("aiosqlite")

from mvsqlite_py import aio  # noqa: E402


def test_everything_of_aiosqlite_is_there() -> None:
    assert set(aiosqlite.__all__) <= set(dir(aio))
    assert aio.Connection is aiosqlite.Connection


def test_it_reads_and_writes(notes: mvsqlite_py.Database) -> None:
    async def work() -> None:
        with pytest.raises(sqlite3.OperationalError, match="no database"):
            await aio.connect("no-such", store=notes.store, create=False)
        async with aio.connect("notes.db", notes.store, iter_chunk_size=2) as db:
            await db.execute("INSERT INTO note(title) VALUES ('five')")
            await db.commit()
            db.row_factory = aio.Row
            async with db.execute("SELECT title FROM note ORDER BY id") as rows:
                assert [row["title"] async for row in rows] == ["one", "two", "three", "four", "five"]
            await db.executemany("INSERT INTO note(title) VALUES (?)", [("six",), ("seven",)])
            await db.rollback()
        awaited = await aio.connect("notes.db", store=notes.store, create=False)
        assert await (await awaited.execute("SELECT count(*) FROM note")).fetchone() == (5,)
        await awaited.close()

    asyncio.run(work())
    assert notes.newest.statements == "INSERT INTO note(title) VALUES ('five')"


def test_many_tasks(notes: mvsqlite_py.Database) -> None:
    async def write(n: int) -> None:
        async with aio.connect("notes.db", notes.store, timeout=30) as db:
            for i in range(5):
                await db.execute("INSERT INTO note(title) VALUES (?)", (f"{n}.{i}",))
                await db.commit()

    async def work() -> int:
        await asyncio.gather(*(write(n) for n in range(5)))
        async with (
            aio.connect("notes.db", notes.store) as db,
            db.execute("SELECT count(*) FROM note") as rows,
        ):
            return int((await rows.fetchone())[0])

    assert asyncio.run(work()) == 29


def test_a_bad_delete_undone_and_looked_back_at(
    notes: mvsqlite_py.Database, mvrevert: Callable[..., str]
) -> None:
    async def count(db: Any) -> int:
        async with db.execute("SELECT count(*) FROM note") as rows:
            return int((await rows.fetchone())[0])

    async def work() -> None:
        before = notes.newest.version
        async with aio.connect("notes.db", notes.store) as db:
            await db.execute("DELETE FROM note")
            await db.commit()
            async with aio.at(db, version=before) as past:
                assert past is db
                assert await count(db) == 4
                with pytest.raises(sqlite3.OperationalError, match="readonly"):
                    await db.execute("DELETE FROM note")
            assert await count(db) == 0
            await asyncio.to_thread(mvrevert, "undo", "notes.db", notes.newest.version, "--yes")
            assert await count(db) == 4

    asyncio.run(work())


def test_it_is_not_imported_with_the_package() -> None:
    assert not {"aio", "sqlalchemy", "django", "datasette"} & {
        name
        for name, thing in vars(mvsqlite_py).items()
        if inspect.ismodule(thing) and name in mvsqlite_py.__all__
    }
