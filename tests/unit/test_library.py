"""The public API: what is there, what it is documented as, and what it does."""

import datetime
import inspect
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import apsw
import pytest

import mvsqlite_py
from mvsqlite_py import _errors, dbapi

NAMES = sorted(mvsqlite_py.__all__)
ERRORS = sorted(n for n in NAMES if n.endswith("Error"))


@pytest.fixture
def notes(store: mvsqlite_py.Store) -> mvsqlite_py.Database:
    """A database whose table t has 0, 1, 2, 3 rows in its versions."""
    with closing(mvsqlite_py.connect("notes.db", store)) as connection:
        connection.execute("CREATE TABLE t(a)")
        for n in range(3):
            connection.execute("INSERT INTO t VALUES (?)", (n,))
    return store.database("notes.db")


# ---- what is there ---------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_every_public_name_has_a_docstring(name: str) -> None:
    thing = getattr(mvsqlite_py, name)
    assert inspect.getdoc(thing), name
    if inspect.isclass(thing):
        assert thing.__doc__, f"{name} only inherits one"


@pytest.mark.parametrize("name", NAMES)
def test_every_public_method_has_a_docstring(name: str) -> None:
    thing = getattr(mvsqlite_py, name)
    if not inspect.isclass(thing):
        pytest.skip("no class")
    own = {n: m for n, m in vars(thing).items() if not n.startswith("_")}
    methods = {n: m for n, m in own.items() if inspect.isfunction(m) or isinstance(m, property)}
    bare = [n for n, m in methods.items() if not inspect.getdoc(m)]
    assert bare in ([], ["pointer"], ["total_bytes"]), bare


def test_nothing_public_is_left_out() -> None:
    public = {
        n for n, thing in vars(mvsqlite_py).items() if not n.startswith("_") and not inspect.ismodule(thing)
    }
    assert public == set(mvsqlite_py.__all__)


FRAMEWORKS = {"aio", "datasette", "django", "sqlalchemy"}


def test_modules_are_private_but_those_named_after_what_they_are_for() -> None:
    package = Path(mvsqlite_py.__file__).parent
    modules = {path.stem for path in package.glob("*.py")} | {
        p.parent.name for p in package.glob("*/__init__.py")
    }
    public = {name for name in modules if not name.startswith("_")}
    assert public == {"dbapi"} | FRAMEWORKS


def test_frameworks_are_not_imported_with_the_package() -> None:
    code = "import sys, mvsqlite_py.dbapi; print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"aiosqlite", "datasette", "django", "sqlalchemy", "sqlite_utils", "asyncio"}
    assert not heavy & set(ran.stdout.split())


def test_the_package_says_that_it_is_typed() -> None:
    assert Path(mvsqlite_py.__file__).with_name("py.typed").exists()


# ---- exceptions --------------------------------------------------------------------


@pytest.mark.parametrize("name", ERRORS)
def test_an_exception_fits_all_three_trees(name: str) -> None:
    kind = getattr(mvsqlite_py, name)
    assert issubclass(kind, mvsqlite_py.Error)
    if kind not in (mvsqlite_py.Error, mvsqlite_py.UndoError):
        assert issubclass(kind, apsw.Error)
        assert issubclass(kind, sqlite3.Error)


def test_every_native_code_has_an_exception() -> None:
    from mvsqlite_py._binding import lib, text

    codes = [text(lib.mv_error_name(code)) for code in range(1, 64)]
    known = [code for code in codes if code != "MV_?"]
    assert set(known) == set(_errors.BY_CODE)
    assert set(_errors.BY_CODE.values()) <= {getattr(mvsqlite_py, name) for name in ERRORS}


def test_an_exception_is_what_sqlite_would_raise_for_the_same_code() -> None:
    """apsw's class for the SQLite code that a connection would get."""
    from mvsqlite_py._binding import lib, text

    for code in range(1, 64):
        name = text(lib.mv_error_name(code))
        if name != "MV_?":
            expected = apsw.exception_for(lib.mv_error_sqlite(code) & 0xFF).__class__
            assert issubclass(_errors.BY_CODE[name], expected), name


def test_an_exception_knows_its_native_code(store: mvsqlite_py.Store) -> None:
    with pytest.raises(mvsqlite_py.Error) as caught:
        store.database("gone.db")
    assert caught.value.code == "MV_NOTFOUND"


# ---- stores ----------------------------------------------------------------------------


def test_a_store_is_opened_by_address_or_by_default(
    store_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MVSQLITE_STORE", store_url)
    assert mvsqlite_py.default_url() == store_url
    with mvsqlite_py.open_store() as store:
        assert store.url == store_url
    monkeypatch.delenv("MVSQLITE_STORE")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert mvsqlite_py.default_url() == f"lmdb:{tmp_path}/mvsqlite/store"
    monkeypatch.delenv("XDG_DATA_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert mvsqlite_py.default_url() == f"lmdb:{tmp_path}/.local/share/mvsqlite/store"
    monkeypatch.delenv("HOME")
    with pytest.raises(mvsqlite_py.StoreError, match="MVSQLITE_STORE"):
        mvsqlite_py.default_url()


def test_a_name_has_a_life(store: mvsqlite_py.Store) -> None:
    assert store.list() == []
    created = store.create("a.db")
    assert created.name == "a.db"
    (info,) = store.list()
    assert (info.name, info.version, info.changed, info.size, info.deleted) == ("a.db", None, None, 0, None)
    store.rename("a.db", "b.db")
    with closing(mvsqlite_py.connect("b.db", store)) as connection:
        connection.execute("CREATE TABLE t(a)")
    store.delete("b.db")
    assert store.list() == []
    (gone,) = store.list(deleted=True)
    assert gone.name == "b.db"
    assert gone.deleted
    assert gone.created <= gone.deleted <= datetime.datetime.now(datetime.UTC)
    back = store.undelete("b.db", "c.db")
    assert [info.name for info in store.list()] == ["c.db"]
    assert len(list(back.versions())) == 1


def test_the_latest_of_a_name_is_undeleted_first(store: mvsqlite_py.Store) -> None:
    for table in ("first", "second"):
        with closing(mvsqlite_py.connect("a.db", store)) as connection:
            connection.execute(f"CREATE TABLE {table}(a)")
        store.delete("a.db")
    with closing(store.undelete("a.db").connect()) as connection:
        assert connection.execute("SELECT name FROM sqlite_schema").fetchall() == [("second",)]
    with closing(store.undelete("a.db", "older.db").connect()) as connection:
        assert connection.execute("SELECT name FROM sqlite_schema").fetchall() == [("first",)]


# ---- databases and versions ----------------------------------------------------------------


def test_versions_are_listed_newest_first_and_within_bounds(notes: mvsqlite_py.Database) -> None:
    versions = list(notes.versions())
    names = [version.version for version in versions]
    assert names == sorted(names, reverse=True)
    assert len(names) == 4
    assert notes.newest == versions[0] == notes.version(names[0])
    assert [version.version for version in notes.versions(limit=2)] == names[:2]
    assert list(notes.versions(limit=0)) == []
    between = [version.version for version in notes.versions(after=names[3], until=names[1])]
    assert between == names[1:3]
    assert versions[0].previous == names[1]
    assert str(versions[0].pid) in versions[0].origin


def test_a_listing_can_be_left_early(notes: mvsqlite_py.Database) -> None:
    for version in notes.versions():
        assert version == notes.newest
        break
    notes.revert(version=next(notes.versions()).version)


def test_a_snapshot_reads_and_connects(notes: mvsqlite_py.Database) -> None:
    for rows, version in enumerate(reversed(list(notes.versions()))):
        snapshot = notes.at(version=version.version)
        assert snapshot.version == version
        with closing(snapshot.connect()) as connection:
            assert connection.execute("SELECT count(*) FROM t").fetchall() == [(rows,)]
        with closing(sqlite3.connect(":memory:")) as memory:
            memory.deserialize(snapshot.read())
            assert memory.execute("SELECT count(*) FROM t").fetchall() == [(rows,)]


def test_a_revert_is_a_commit_that_can_be_reverted(notes: mvsqlite_py.Database) -> None:
    *_, second, first = [version.version for version in notes.versions()]
    newest = notes.newest
    assert newest
    made = notes.revert(version=first, message="start again")
    revert = notes.version(made)
    assert (revert.kind, revert.target, revert.message) == ("revert", first, "start again")
    with closing(notes.connect()) as connection:
        assert connection.execute("SELECT count(*) FROM t").fetchall() == [(0,)]
    notes.revert(version=newest.version)
    with closing(notes.connect()) as connection:
        assert connection.execute("SELECT count(*) FROM t").fetchall() == [(3,)]
    assert notes.verify().problems == []
    assert notes.find(version=second) == second


def test_a_revert_waits_for_a_writer_and_gives_up(notes: mvsqlite_py.Database) -> None:
    with closing(notes.connect()) as connection:
        connection.execute("BEGIN IMMEDIATE")
        with pytest.raises(mvsqlite_py.BusyError):
            notes.revert(version=next(notes.versions()).version, timeout=0)
        connection.execute("ROLLBACK")


def test_moments_are_taken_in_every_form(notes: mvsqlite_py.Database) -> None:
    newest = notes.newest
    assert newest
    later = newest.time + datetime.timedelta(milliseconds=1)
    local = later.astimezone().replace(tzinfo=None)
    for at in ("now", "0s ago", "-0s", later, later.isoformat(), local, local.isoformat()):
        if later <= datetime.datetime.now(datetime.UTC):
            assert notes.find(at=at) == newest.version, at
    assert notes.find(at=newest.time.timestamp()) == newest.version


def test_stat_and_verify(notes: mvsqlite_py.Database) -> None:
    usage = notes.stat()
    assert usage.versions == 4
    assert usage.pages == 2
    assert usage.total_bytes >= usage.page_bytes + usage.history_bytes > 0
    steps: list[tuple[int, int]] = []
    found = notes.verify(progress=lambda done, of: steps.append((done, of)))
    assert found.problems == []
    assert found.images >= usage.pages + usage.history_pages
    assert all(done <= of for done, of in steps)


def test_changed_pages(notes: mvsqlite_py.Database) -> None:
    *_, second, first = [version.version for version in notes.versions()]
    assert notes.changed_pages(first, second) == [2]
    assert notes.changed_pages(first, first) == []


# ---- connections ---------------------------------------------------------------------------


def test_uri_opens_the_same_database_in_any_driver(notes: mvsqlite_py.Database) -> None:
    address = mvsqlite_py.uri("notes.db", store=notes.store)
    assert address == mvsqlite_py.uri("notes.db", store=notes.store.url)
    dbapi.connect("notes.db", notes.store).close()
    for connection in (sqlite3.connect(address, uri=True), notes.connect()):
        assert connection.execute("SELECT count(*) FROM t").fetchall() == [(3,)]
        connection.close()


def test_dbapi_gives_a_connection_of_sqlite3(store: mvsqlite_py.Store) -> None:
    with closing(dbapi.connect("a.db", store, detect_types=sqlite3.PARSE_DECLTYPES)) as connection:
        assert isinstance(connection, sqlite3.Connection)
        with connection:
            connection.execute("CREATE TABLE t(a)")
            connection.execute("INSERT INTO t VALUES (?)", (1,))
        assert connection.execute("SELECT a FROM t").fetchall() == [(1,)]


def test_connect_gives_a_connection_of_apsw(store: mvsqlite_py.Store) -> None:
    with closing(mvsqlite_py.connect("a.db", store, statementcachesize=5)) as connection:
        assert type(connection) is apsw.Connection
        assert connection.filename == "a.db"


def test_a_connection_outlives_its_store(store_url: str) -> None:
    with mvsqlite_py.open_store(store_url) as store:
        connection = mvsqlite_py.connect("a.db", store)
    connection.execute("CREATE TABLE t(a)")
    connection.close()
    with mvsqlite_py.open_store(store_url) as store:
        assert len(list(store.database("a.db").versions())) == 1


# ---- files ---------------------------------------------------------------------------------------


def test_a_file_goes_in_and_comes_out(store: mvsqlite_py.Store, tmp_path: Path) -> None:
    plain = tmp_path / "plain.db"
    with closing(sqlite3.connect(plain)) as connection:
        connection.execute("CREATE TABLE t(a)")
        connection.executemany("INSERT INTO t VALUES (?)", [("x" * 3000,)] * 3000)
        connection.commit()
    before = plain.read_bytes()
    steps: list[tuple[int, int]] = []
    database = store.import_file(plain, "in.db", progress=lambda done, of: steps.append((done, of)))
    assert plain.read_bytes() == before
    assert steps[-1][0] == steps[-1][1] > 2000
    assert [version.message for version in database.versions()] == ["imported from plain.db"]
    store.export("in.db", tmp_path / "out.db", progress=lambda done, of: steps.append((done, of)))
    with closing(sqlite3.connect(tmp_path / "out.db")) as connection:
        assert connection.execute("SELECT count(*), sum(length(a)) FROM t").fetchall() == [(3000, 9000000)]
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_an_export_of_the_past(notes: mvsqlite_py.Database, tmp_path: Path) -> None:
    oldest = list(notes.versions())[-1]
    notes.store.export("notes.db", tmp_path / "old.db", version=oldest.version)
    with closing(sqlite3.connect(tmp_path / "old.db")) as connection:
        assert connection.execute("SELECT count(*) FROM t").fetchall() == [(0,)]


def test_real_databases_go_in_and_come_out(
    store: mvsqlite_py.Store, real_databases: list[Path], tmp_path: Path
) -> None:
    for path in real_databases:
        store.import_file(path, path.name)
        store.export(path.name, tmp_path / path.name)
        with closing(sqlite3.connect(f"{path.as_uri()}?immutable=1", uri=True)) as stock:
            wanted = list(stock.iterdump())
        with closing(dbapi.connect(path.name, store)) as ours:
            assert list(ours.iterdump()) == wanted
            assert ours.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        with closing(sqlite3.connect(tmp_path / path.name)) as back:
            assert list(back.iterdump()) == wanted
        assert store.database(path.name).verify().problems == []
