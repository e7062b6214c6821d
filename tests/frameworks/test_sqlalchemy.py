"""The SQLAlchemy dialects: addresses, pools, transactions, the past."""

import asyncio
import contextlib
import os
import threading
from collections.abc import Callable, Iterator

import pytest

import mvsqlite_py

sqlalchemy = pytest.importorskip("sqlalchemy")

from sqlalchemy import Engine, ForeignKey, create_engine, func, pool, select, text  # noqa: E402
from sqlalchemy.dialects.sqlite import insert  # noqa: E402
from sqlalchemy.exc import ArgumentError, OperationalError  # noqa: E402
from sqlalchemy.orm import (  # noqa: E402
    DeclarativeBase,
    Mapped,
    Session,
    mapped_column,
    relationship,
    scoped_session,
    sessionmaker,
)

from mvsqlite_py import dbapi  # noqa: E402
from mvsqlite_py.sqlalchemy import MvsqliteDialect, at  # noqa: E402

MakeEngine = Callable[..., Engine]


class Base(DeclarativeBase):
    pass


class Author(Base):
    __tablename__ = "author"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    books: Mapped[list["Book"]] = relationship(back_populates="author", cascade="all, delete-orphan")


class Book(Base):
    __tablename__ = "book"
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str]
    author_id: Mapped[int] = mapped_column(ForeignKey("author.id"))
    author: Mapped[Author] = relationship(back_populates="books")


def url(store_url: str, query: str = "") -> str:
    return f"mvsqlite:///books.db?store={store_url.replace('?', '%3F').replace('&', '%26')}{query}"


@pytest.fixture
def make(store_url: str) -> Iterator[MakeEngine]:
    made: list[Engine] = []

    def make(query: str = "", **options: object) -> Engine:
        made.append(create_engine(url(store_url, query), **options))
        return made[-1]

    yield make
    for engine in made:
        engine.dispose()


@pytest.fixture
def engine(make: MakeEngine) -> Engine:
    """Two authors with five books, made in one commit after the tables."""
    engine = make()
    Base.metadata.create_all(engine)
    with Session(engine) as session, session.begin():
        session.add(Author(name="Le Guin", books=[Book(title=f"Earthsea {n}") for n in range(3)]))
        session.add(Author(name="Lem", books=[Book(title="Solaris"), Book(title="Fiasco")]))
    return engine


def books(engine: Engine) -> int:
    with engine.connect() as connection:
        return connection.scalar(select(func.count()).select_from(Book)) or 0


@pytest.fixture
def database(engine: Engine, store: mvsqlite_py.Store) -> mvsqlite_py.Database:  # noqa: ARG001
    return store.database("books.db")


# ---- addresses ------------------------------------------------------------------------------------


def test_the_dialect_is_that_of_sqlite(engine: Engine) -> None:
    assert isinstance(engine.dialect, MvsqliteDialect)
    assert (engine.dialect.name, engine.dialect.driver) == ("sqlite", "mvsqlite")
    assert isinstance(engine.pool, pool.QueuePool)
    with engine.begin() as connection:
        taken = insert(Author).values(name="Lem").on_conflict_do_nothing().returning(Author.id)
        assert connection.execute(taken).all() == []
        assert isinstance(connection.connection.dbapi_connection, dbapi.Connection)


def test_arguments_in_the_query(make: MakeEngine, engine: Engine, store: mvsqlite_py.Store) -> None:  # noqa: ARG001
    with make("&timeout=1.5&concurrency=optimistic&create=false").connect() as connection:
        assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar() == 1500
    version = store.database("books.db").newest.version
    for query in (f"&version={version}", "&at=now", "&max_staleness=2"):
        with make(query).connect() as connection, pytest.raises(OperationalError, match="readonly"):
            connection.execute(text("DELETE FROM book"))
    with pytest.raises(ArgumentError, match=r"tiemout= .* is not known"):
        make("&tiemout=1").connect()
    with pytest.raises(ArgumentError, match="names a host"):
        create_engine("mvsqlite://books.db").connect()
    with pytest.raises(OperationalError, match="no database"):
        create_engine(url(store.url, "&create=false").replace("books", "films")).connect()


def test_uris_and_databases_in_memory(engine: Engine, store_url: str) -> None:  # noqa: ARG001
    for address in ("mvsqlite://", "mvsqlite:///:memory:"):
        memory = create_engine(address)
        assert isinstance(memory.pool, pool.SingletonThreadPool)
        Base.metadata.create_all(memory)
        assert books(memory) == 0
        memory.dispose()
    address = url(store_url).replace("/books.db?", "/file:books.db?uri=true&mode=ro&")
    by_uri = create_engine(address)
    assert books(by_uri) == 5
    by_uri.dispose()


# ---- transactions -----------------------------------------------------------------------------------


def test_isolation_levels(engine: Engine) -> None:
    with engine.connect() as connection:
        assert connection.get_isolation_level() == "SERIALIZABLE"
        connection.execute(text("DELETE FROM book"))
        connection.rollback()
    assert books(engine) == 5
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("DELETE FROM book WHERE title = 'Solaris'"))
    assert books(engine) == 4


def test_autocommit_runs_again_what_lost_a_race(make: MakeEngine, engine: Engine) -> None:
    optimistic = make("&concurrency=optimistic&timeout=30", isolation_level="AUTOCOMMIT")

    def write(name: str) -> None:
        with optimistic.connect() as connection:
            for n in range(20):
                insert_one = insert(Author).values(name=f"{name} {n}").returning(Author.id)
                assert connection.execute(insert_one).scalar_one() > 0

    threads = [threading.Thread(target=write, args=(name,)) for name in ("a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with engine.connect() as connection:
        assert connection.scalar(select(func.count()).select_from(Author)) == 42


def test_a_child_throws_away_what_it_inherited(engine: Engine, database: mvsqlite_py.Database) -> None:
    """With pool_pre_ping nobody notices; without, the first use says why."""
    assert books(engine) == 5
    child = os.fork()
    if child == 0:
        try:
            with pytest.raises(sqlalchemy.exc.DBAPIError, match="before fork") as caught:
                books(engine)
            assert caught.value.connection_invalidated
            assert books(engine) == 5
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    assert books(engine) == 5
    assert database.verify().problems == []


# ---- a bad delete, and the past ----------------------------------------------------------------------


def test_a_bad_delete_through_the_orm_is_undone_while_the_session_lives(
    engine: Engine, database: mvsqlite_py.Database, mvrevert: Callable[..., str]
) -> None:
    with Session(engine) as session:
        session.delete(session.scalars(select(Author).where(Author.name == "Le Guin")).one())
        session.commit()
        assert session.scalar(select(func.count()).select_from(Book)) == 2
        session.rollback()
        mvrevert("undo", "books.db", database.newest.version, "--yes")
        author = session.scalars(select(Author).where(Author.name == "Le Guin")).one()
        assert [book.title for book in author.books] == ["Earthsea 0", "Earthsea 1", "Earthsea 2"]


@pytest.fixture
def before(engine: Engine, database: mvsqlite_py.Database) -> str:
    """The version before all books went."""
    version = database.newest.version
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM book"))
    return version


def test_the_past_of_an_engine_and_of_a_connection(engine: Engine, before: str) -> None:
    with at(engine, version=before) as past:
        assert past.scalar(select(func.count()).select_from(Book)) == 5
        with pytest.raises(OperationalError, match="readonly"):
            past.execute(text("DELETE FROM author"))
    with engine.connect() as connection:
        with at(connection, version=before) as past:
            assert past is connection
            assert connection.scalar(select(func.count()).select_from(Book)) == 5
        assert connection.scalar(select(func.count()).select_from(Book)) == 0
        with (
            pytest.raises(mvsqlite_py.MisuseError, match="commit or roll back"),
            at(connection, version=before),
        ):
            pass
    assert books(engine) == 0
    assert engine.pool.checkedout() == 0


def test_the_past_of_a_session(engine: Engine, before: str) -> None:
    maker = sessionmaker(engine)
    for session in (maker(), scoped_session(maker)):
        session.add(Author(name=f"pending in a {type(session).__name__}"))
        with at(session, version=before) as past:
            authors = past.scalars(select(Author).order_by(Author.id)).all()
            assert [len(author.books) for author in authors] == [3, 2]
        assert session.scalar(select(func.count()).select_from(Book)) == 0
        session.commit()
        session.close()
    assert books(engine) == 0


def test_an_error_leaves_no_connection_in_the_past(engine: Engine, before: str) -> None:
    with contextlib.suppress(ZeroDivisionError), at(engine, version=before) as past:
        past.execute(text("SELECT 1"))
        _ = 1 / 0
    with pytest.raises(mvsqlite_py.MomentError), at(engine, "nonsense"):
        pass
    assert books(engine) == 0
    plain = create_engine("sqlite://")
    with pytest.raises(mvsqlite_py.MisuseError, match="in no store"), at(plain, "-1h"):
        pass
    plain.dispose()


# ---- asyncio ---------------------------------------------------------------------------------------------


def test_asyncio(engine: Engine, before: str, store_url: str) -> None:  # noqa: ARG001
    pytest.importorskip("aiosqlite")
    pytest.importorskip("greenlet")
    from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

    async def work() -> None:
        asynchronous = create_async_engine(url(store_url).replace("mvsqlite:", "mvsqlite+aiosqlite:"))
        async with AsyncSession(asynchronous) as session, session.begin():
            session.add(Author(name="Strugatsky", books=[Book(title="Roadside Picnic")]))

        def look(connection: sqlalchemy.Connection) -> int | None:
            with at(connection, version=before):
                return connection.scalar(select(func.count()).select_from(Book))

        async with asynchronous.connect() as connection:
            assert await connection.run_sync(look) == 5
            assert await connection.scalar(select(func.count()).select_from(Book)) == 1
        await asynchronous.dispose()

    asyncio.run(work())
