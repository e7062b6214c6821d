"""Imports and exports of files that are not as they should be, or are in use."""

import contextlib
import multiprocessing
import os
import sqlite3
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import mvsqlite_py
from child import NOBODY, in_child

ROWS = 3000


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    """An ordinary SQLite file of some hundred pages."""
    path = tmp_path / "plain.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE t(a INTEGER PRIMARY KEY, b)")
        connection.executemany("INSERT INTO t VALUES (?, ?)", [(n, "x" * 300) for n in range(ROWS)])
        connection.commit()
    return path


def check_nothing_left(store: mvsqlite_py.Store) -> None:
    assert store.list() == []
    assert store.list(deleted=True) == []


def count(store: mvsqlite_py.Store, name: str) -> Any:
    with closing(mvsqlite_py.connect(name, store, create=False)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return connection.execute("SELECT count(*) FROM t").fetchall()[0][0]


# ---- what is no database -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"", "empty"),
        (b"hello, this is text\n" * 100, "no SQLite database"),
        (os.urandom(8192), "encrypted"),
        (b"\0" * 8192, "no SQLite database"),
        (b"SQLite format 3\0", "SQLite database"),
        (b"SQLite format 3\0" + os.urandom(4080), "SQLite database"),
        (b"S", "no SQLite database"),
        (b"S" * 511, "no SQLite database"),
    ],
    ids=["empty", "text", "encrypted", "zeros", "header", "damaged", "one byte", "511 bytes"],
)
def test_a_file_that_is_no_database(
    store: mvsqlite_py.Store, tmp_path: Path, content: bytes, match: str
) -> None:
    path = tmp_path / "odd.db"
    path.write_bytes(content)
    with pytest.raises(mvsqlite_py.NotADatabaseError, match=match) as caught:
        store.import_file(path, "odd.db")
    assert str(path) in str(caught.value)
    assert path.read_bytes() == content
    assert [entry.name for entry in tmp_path.iterdir() if entry.name.startswith("odd")] == ["odd.db"]
    check_nothing_left(store)


def test_a_file_cut_short(store: mvsqlite_py.Store, plain: Path) -> None:
    """Copied as far as SQLite reads it, or refused: never half of it without a word."""
    os.truncate(plain, plain.stat().st_size // 2)
    with pytest.raises(mvsqlite_py.NotADatabaseError, match=r"plain\.db"):
        store.import_file(plain, "in.db")
    check_nothing_left(store)


def test_no_file_and_a_directory(store: mvsqlite_py.Store, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"gone\.db"):
        store.import_file(tmp_path / "gone.db", "in.db")
    with pytest.raises(IsADirectoryError, match=str(tmp_path)):
        store.import_file(tmp_path, "in.db")
    check_nothing_left(store)


@pytest.mark.parametrize("name", ["odd name ?&%#'\".db", "é.db", "a;b", "file:x"])
def test_a_file_with_an_odd_name(store: mvsqlite_py.Store, plain: Path, name: str) -> None:
    odd = plain.rename(plain.with_name(name))
    assert count(store, store.import_file(odd, "in.db").name) == ROWS
    store.export("in.db", odd.with_name("out " + name))
    with closing(sqlite3.connect(odd.with_name("out " + name))) as connection:
        assert connection.execute("SELECT count(*) FROM t").fetchall() == [(ROWS,)]


def test_a_name_that_is_taken_is_not_touched(store: mvsqlite_py.Store, plain: Path) -> None:
    store.create("in.db")
    with pytest.raises(mvsqlite_py.DatabaseExistsError, match=r"in\.db"):
        store.import_file(plain, "in.db")
    assert store.database("in.db").newest is None
    assert [info.name for info in store.list()] == ["in.db"]


# ---- WAL mode --------------------------------------------------------------------------------


def test_a_file_in_wal_mode_with_commits_in_its_log(store: mvsqlite_py.Store, plain: Path) -> None:
    with closing(sqlite3.connect(plain)) as writer:
        writer.execute("PRAGMA journal_mode = WAL")
        writer.execute("PRAGMA wal_autocheckpoint = 0")
        writer.execute("DELETE FROM t WHERE a >= 100")
        writer.commit()
        assert plain.with_name("plain.db-wal").stat().st_size > 0
        store.import_file(plain, "in.db")
        writer.execute("INSERT INTO t VALUES (100, 'still writable')")
        writer.commit()
    assert count(store, "in.db") == 100
    newest = store.database("in.db").at(at="now")
    assert newest.read()[18:20] == b"\1\1"


def test_a_file_in_wal_mode_left_by_a_crash(store: mvsqlite_py.Store, plain: Path, tmp_path: Path) -> None:
    with closing(sqlite3.connect(plain)) as writer:
        writer.execute("PRAGMA journal_mode = WAL")
        writer.execute("DELETE FROM t WHERE a >= 100")
        writer.commit()
        for suffix in ("", "-wal"):
            (tmp_path / f"left.db{suffix}").write_bytes((tmp_path / f"plain.db{suffix}").read_bytes())
    store.import_file(tmp_path / "left.db", "in.db")
    assert count(store, "in.db") == 100


def test_a_rollback_journal_left_by_a_crash_is_not_ignored(
    store: mvsqlite_py.Store, plain: Path, tmp_path: Path
) -> None:
    """Half of a transaction is in the file: importing that would lose data without a word."""
    with closing(sqlite3.connect(plain, isolation_level=None)) as writer:
        writer.execute("PRAGMA cache_size = 5")
        writer.execute("BEGIN")
        writer.execute("DELETE FROM t WHERE a % 2")
        writer.execute("UPDATE t SET b = 'half done'")
        for suffix in ("", "-journal"):
            (tmp_path / f"left.db{suffix}").write_bytes((tmp_path / f"plain.db{suffix}").read_bytes())
        writer.execute("ROLLBACK")
    assert (tmp_path / "left.db-journal").stat().st_size > 512
    with pytest.raises(PermissionError, match=r"left\.db.*cut off.*left\.db-journal"):
        store.import_file(tmp_path / "left.db", "in.db")
    check_nothing_left(store)
    with closing(sqlite3.connect(tmp_path / "left.db")) as connection:
        connection.execute("SELECT count(*) FROM t").fetchall()
    assert count(store, store.import_file(tmp_path / "left.db", "in.db").name) == ROWS


@pytest.fixture
def anyones() -> Iterator[Path]:
    """A directory below which another user has a directory, and may read all."""
    if os.getuid() != 0:
        pytest.skip("only root can become another user")
    with tempfile.TemporaryDirectory(prefix="mvsqlite-") as directory:
        place = Path(directory)
        place.chmod(0o755)
        (place / "own").mkdir()
        os.chown(place / "own", NOBODY, NOBODY)
        yield place


def import_as_nobody(anyones: Path, file: Path) -> str:
    def work() -> object:
        with mvsqlite_py.open_store(f"lmdb:{anyones / 'own/store'}") as store:
            store.import_file(file, "in.db")
            return count(store, "in.db")

    return in_child(work, NOBODY)


others = pytest.mark.lmdb_only("in another user's directory")


@others
@pytest.mark.parametrize("mode", ["WAL", "DELETE"])
def test_a_file_in_a_directory_that_cannot_be_written(plain: Path, anyones: Path, mode: str) -> None:
    """Also in WAL mode, where SQLite would like to make files beside it."""
    with closing(sqlite3.connect(plain)) as connection:
        connection.execute(f"PRAGMA journal_mode = {mode}")
    (anyones / "read").mkdir()
    copy = anyones / "read/plain.db"
    copy.write_bytes(plain.read_bytes())
    copy.chmod(0o644)
    assert import_as_nobody(anyones, copy) == str(ROWS)


@others
def test_a_file_that_may_not_be_read(plain: Path, anyones: Path) -> None:
    secret = anyones / "secret.db"
    secret.write_bytes(plain.read_bytes())
    secret.chmod(0o600)
    said = import_as_nobody(anyones, secret)
    assert "secret.db" in said, said
    assert "Error:" in said.splitlines()[0], said


# ---- in use --------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["WAL", "DELETE"])
def test_a_file_another_process_is_writing(store: mvsqlite_py.Store, plain: Path, mode: str) -> None:
    """Whatever is imported is one state between two of its transactions."""
    script = """if True:
        import sqlite3, sys
        connection = sqlite3.connect(sys.argv[1], timeout=60, isolation_level=None)
        connection.execute("PRAGMA journal_mode = " + sys.argv[2])
        n = 0
        print("ready", flush=True)
        while n < 40:
            n += 1
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("UPDATE t SET b = ?", (str(n) * 10,))
            connection.execute("COMMIT")
    """
    command = [sys.executable, "-c", script, str(plain), mode]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        for n in range(3):
            store.import_file(plain, f"in-{n}.db")
    assert writer.returncode == 0
    for n in range(3):
        assert count(store, f"in-{n}.db") == ROWS
        with closing(mvsqlite_py.connect(f"in-{n}.db", store)) as connection:
            assert connection.execute("SELECT count(DISTINCT b) FROM t").fetchall() == [(1,)]


def test_a_file_whose_writer_holds_it_locked(
    store: mvsqlite_py.Store, plain: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mvsqlite_py import _files

    monkeypatch.setattr(_files, "BUSY_MS", 50)
    script = """if True:
        import sqlite3, sys
        connection = sqlite3.connect(sys.argv[1], isolation_level=None)
        connection.execute("BEGIN EXCLUSIVE")
        print("locked", flush=True)
        sys.stdin.readline()
    """
    command = [sys.executable, "-c", script, str(plain)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        with pytest.raises(mvsqlite_py.BusyError, match=r"plain\.db"):
            store.import_file(plain, "in.db")
        writer.communicate("\n")
    check_nothing_left(store)
    assert count(store, store.import_file(plain, "in.db").name) == ROWS


def import_in_process(url: str, path: str, start: Any, results: Any) -> None:
    with mvsqlite_py.open_store(url) as store:
        start.wait()
        try:
            store.import_file(path, "in.db")
            results.put("imported")
        except mvsqlite_py.DatabaseExistsError as error:
            results.put(str(error))


def test_processes_that_import_one_name(store: mvsqlite_py.Store, plain: Path) -> None:
    context: Any = multiprocessing.get_context("fork")
    start, results = context.Barrier(4), context.Queue()
    workers = [
        context.Process(target=import_in_process, args=(store.url, str(plain), start, results))
        for _ in range(4)
    ]
    for worker in workers:
        worker.start()
    said = sorted(results.get(timeout=60) for _ in workers)
    for worker in workers:
        worker.join()
    assert said.count("imported") == 1
    assert all("in.db" in text for text in said if text != "imported")
    assert [info.name for info in store.list()] == ["in.db"]
    assert store.list(deleted=True) == []
    assert count(store, "in.db") == ROWS
    assert len(list(store.database("in.db").versions())) == 1


class StopError(Exception):
    """Raised by a progress callback."""


@pytest.mark.parametrize("stop_at", [1, 2])
def test_an_import_given_up_leaves_nothing(
    store: mvsqlite_py.Store, plain: Path, monkeypatch: pytest.MonkeyPatch, stop_at: int
) -> None:
    monkeypatch.setattr("mvsqlite_py._files.PAGES_A_STEP", 50)
    calls: list[int] = []

    def progress(done: int, _: int) -> None:
        calls.append(done)
        if len(calls) == stop_at:
            raise StopError

    with pytest.raises(StopError):
        store.import_file(plain, "in.db", progress=progress)
    check_nothing_left(store)
    assert count(store, store.import_file(plain, "in.db").name) == ROWS


# ---- exports -----------------------------------------------------------------------------------------


@pytest.fixture
def notes(store: mvsqlite_py.Store, plain: Path) -> mvsqlite_py.Store:
    store.import_file(plain, "notes.db")
    return store


def test_an_export_does_not_overwrite_unasked(notes: mvsqlite_py.Store, tmp_path: Path) -> None:
    target = tmp_path / "out.db"
    target.write_text("precious")
    with pytest.raises(FileExistsError, match=r"out\.db"):
        notes.export("notes.db", target)
    assert target.read_text() == "precious"
    notes.export("notes.db", target, overwrite=True)
    with closing(sqlite3.connect(target)) as connection:
        assert connection.execute("SELECT count(*) FROM t").fetchall() == [(ROWS,)]


def test_an_export_over_a_directory_or_below_a_file(notes: mvsqlite_py.Store, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("precious")
    (tmp_path / "directory").mkdir()
    for target in (tmp_path / "directory", tmp_path / "file/out.db", tmp_path / "none/out.db"):
        for overwrite in (False, True):
            with pytest.raises((OSError, mvsqlite_py.Error)) as caught:
                notes.export("notes.db", target, overwrite=overwrite)
            assert target.name in str(caught.value), caught.value
    assert (tmp_path / "file").read_text() == "precious"
    assert list((tmp_path / "directory").iterdir()) == []


def test_an_export_given_up_leaves_nothing(
    notes: mvsqlite_py.Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mvsqlite_py._files.PAGES_A_STEP", 50)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/out.db").write_text("precious")

    def progress(*_: int) -> None:
        raise StopError

    with pytest.raises(StopError):
        notes.export("notes.db", tmp_path / "out/out.db", overwrite=True, progress=progress)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["out.db"]
    assert (tmp_path / "out/out.db").read_text() == "precious"


@others
def test_an_export_to_a_directory_that_cannot_be_written(plain: Path, anyones: Path) -> None:
    (anyones / "plain.db").write_bytes(plain.read_bytes())

    def work() -> object:
        with mvsqlite_py.open_store(f"lmdb:{anyones / 'own/store'}") as store:
            store.import_file(anyones / "plain.db", "in.db")
            with contextlib.suppress(FileExistsError):
                store.export("in.db", anyones / "plain.db")
            store.export("in.db", anyones / "out.db")
        return "exported"

    said = in_child(work, NOBODY)
    assert "out.db" in said, said
    assert said.startswith("PermissionError:"), said
    assert sorted(path.name for path in anyones.iterdir()) == ["own", "plain.db"]
    assert stat.S_IMODE(anyones.stat().st_mode) == 0o755
