"""Copies of databases with all their versions, into a store of the engine under test."""

import json
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner

import mvsqlite_py
from mvsqlite_py import Copied, DatabaseExistsError, DatabaseNotFoundError, MisuseError, NameNotUsableError
from mvsqlite_py._binding import check, encode, lib
from mvsqlite_py._cli import copy as copy_cli
from mvsqlite_py._cli._common import Session
from mvsqlite_py._cli.mvsqlite import mvsqlite

STAGE_BYTES = 65_536
KILLS = 12
SERIES = "WITH RECURSIVE g(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM g WHERE x < 150)"


@pytest.fixture
def source(tmp_path: Path) -> Iterator[mvsqlite_py.Store]:
    with mvsqlite_py.open_store(f"lmdb:{tmp_path / 'source'}") as opened:
        opened.configure(stage_bytes=STAGE_BYTES, full_every=5)
        yield opened


def fill(store: mvsqlite_py.Store, name: str) -> mvsqlite_py.Database:
    """All that makes a history: small and large commits, pages cut off, other page sizes, reverts."""
    with closing(mvsqlite_py.connect(name, store)) as connection:
        connection.execute("CREATE TABLE notes(id INTEGER PRIMARY KEY, text)")
        for i in range(40):
            connection.execute("INSERT INTO notes(text) VALUES (?)", (f"note {i} " * 20,))
        connection.execute("CREATE TABLE large(b)")
        connection.execute(f"INSERT INTO large {SERIES} SELECT randomblob(900) FROM g")
        before = connection.execute("SELECT mv_version()").fetchall()[0][0]
        connection.execute("DELETE FROM notes WHERE id % 2")
        connection.execute("DROP TABLE large")
        connection.execute("VACUUM")
        connection.execute("SELECT mv_message('half of them')").fetchall()
        connection.execute("UPDATE notes SET text = 'changed' WHERE id % 3")
        connection.execute("PRAGMA page_size = 1024")
        connection.execute("VACUUM")
        connection.execute("INSERT INTO notes(text) VALUES ('small pages')")
    database = store.database(name)
    database.revert(version=before)
    with closing(mvsqlite_py.connect(name, store)) as connection:
        connection.execute("INSERT INTO notes(text) VALUES ('the last')")
    return database


def same(there: mvsqlite_py.Database, here: mvsqlite_py.Database, versions: int | None = None) -> None:
    """Every version has the same record and the same bytes; names may differ."""
    old, new = list(there.versions())[::-1], list(here.versions())[::-1]
    old = old[:versions]
    assert len(old) == len(new)
    names = {one.version: two.version for one, two in zip(old, new, strict=True)}
    for one, two in zip(old, new, strict=True):
        assert (one.time, one.pages, one.size, one.kind, one.origin) == (
            two.time,
            two.pages,
            two.size,
            two.kind,
            two.origin,
        )
        assert (one.message, one.statements) == (two.message, two.statements)
        assert [names.get(str(one.previous)), names.get(str(one.target))] == [two.previous, two.target]
        assert there.at(version=one.version).read() == here.at(version=two.version).read()
    assert here.verify().problems == []


def hidden(store: mvsqlite_py.Store) -> list[str]:
    return [entry.name for entry in store._list_all() if entry.name.startswith(".")]


def test_every_version_is_copied(source: mvsqlite_py.Store, store: mvsqlite_py.Store, tmp_path: Path) -> None:
    store.configure(stage_bytes=STAGE_BYTES)
    database = fill(source, "a.db")
    seen: list[tuple[str, bool]] = []
    (copied,) = source.copy_to(
        store, "a.db", progress=lambda name, check, _done, _of: seen.append((name, check))
    )
    newest = database.newest
    assert newest
    assert copied.version == copied.new_version == newest.version
    assert copied.versions == len(list(database.versions()))
    assert (copied.renamed, copied.newer, copied.resumed, copied.already) == (0, 0, False, False)
    assert {("a.db", False), ("a.db", True)} == set(seen)
    here = store.database("a.db")
    same(database, here)
    assert [one.version for one in database.versions()] == [one.version for one in here.versions()]
    assert copied.pages + copied.history_pages == here.verify().images == database.verify().images
    for number, one in enumerate(list(database.versions())[::9]):
        files = [tmp_path / f"{number}-{place}.sqlite" for place in ("there", "here")]
        source.export("a.db", files[0], version=one.version)
        store.export("a.db", files[1], version=one.version)
        assert files[0].read_bytes() == files[1].read_bytes()


def test_a_copy_goes_on_with_greater_versions(source: mvsqlite_py.Store, store: mvsqlite_py.Store) -> None:
    database = fill(source, "a.db")
    source.copy_to(store)
    here, newest = store.database("a.db"), database.newest
    assert newest
    with closing(mvsqlite_py.connect("a.db", store)) as connection:
        connection.execute("DELETE FROM notes")
    made = here.newest
    assert made
    assert made.version > newest.version
    assert made.previous == newest.version
    here.undo(made.version)
    assert here.verify().problems == []
    with closing(mvsqlite_py.connect("a.db", store)) as connection:
        assert connection.execute("SELECT text FROM notes ORDER BY id DESC").fetchall()[0] == ("the last",)
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_all_databases_deleted_ones_too(source: mvsqlite_py.Store, store: mvsqlite_py.Store) -> None:
    for i in range(3):
        with closing(mvsqlite_py.connect("again.db", source)) as connection:
            connection.execute(f"CREATE TABLE t{i}(a)")
        if i < 2:
            source.delete("again.db")
    source.create("empty.db")
    copied = source.copy_to(store)
    assert [(one.name, one.deleted) for one in copied] == [
        ("again.db", False),
        ("empty.db", False),
        ("again.db", True),
        ("again.db", True),
    ]
    for deleted in (False, True):
        there, here = source.list(deleted=deleted), store.list(deleted=deleted)
        assert [(one.name, one.created, one.deleted) for one in there] == [
            (one.name, one.created, one.deleted) for one in here
        ]
    for i in (1, 0):  # the last one that was deleted comes back first
        back = store.undelete("again.db", f"back{i}.db")
        with closing(back.connect()) as connection:
            assert connection.execute("SELECT name FROM sqlite_schema").fetchall() == [(f"t{i}",)]
        assert back.verify().problems == []
    assert hidden(store) == []


def test_deleted_ones_can_be_left_out(source: mvsqlite_py.Store, store: mvsqlite_py.Store) -> None:
    source.create("gone.db")
    source.delete("gone.db")
    source.create("here.db")
    assert [one.name for one in source.copy_to(store, deleted=False)] == ["here.db"]
    assert store.list(deleted=True) == []
    with pytest.raises(DatabaseNotFoundError, match=r'no database "gone.db"'):
        source.copy_to(store, "gone.db", deleted=False)


def test_what_was_copied_before_is_left_alone(source: mvsqlite_py.Store, store: mvsqlite_py.Store) -> None:
    database = fill(source, "a.db")
    source.create("gone.db")
    source.delete("gone.db")
    source.copy_to(store)
    assert [one.already for one in source.copy_to(store)] == [True, True]
    with closing(mvsqlite_py.connect("a.db", source)) as connection:
        connection.execute("DELETE FROM notes WHERE id = 1")
    (one,) = source.copy_to(store, "a.db")
    assert (one.already, one.newer) == (True, 1)
    assert [entry.name for entry in store.list()] == ["a.db"]
    with closing(mvsqlite_py.connect("a.db", store)) as connection:
        connection.execute("DELETE FROM notes WHERE id = 2")
    with pytest.raises(DatabaseExistsError, match=r'"a.db" already'):
        source.copy_to(store, "a.db")
    (other,) = source.copy_to(store, "a.db", new_name="b.db")
    assert not other.already
    same(database, store.database("b.db"))


def test_the_same_store_under_another_name(store: mvsqlite_py.Store) -> None:
    database = fill(store, "a.db")
    (copied,) = store.copy_to(store, "a.db", new_name="b.db")
    assert copied.renamed == 0
    same(database, store.database("b.db"))
    with pytest.raises(DatabaseExistsError):
        store.copy_to(store, "a.db")


def test_the_source_may_be_written_meanwhile(source: mvsqlite_py.Store, store: mvsqlite_py.Store) -> None:
    """Another thread makes one commit each time the copy tells how far it is."""
    store.configure(stage_bytes=STAGE_BYTES)
    database = fill(source, "a.db")
    at_first = len(list(database.versions()))
    turn, done, end = threading.Semaphore(0), threading.Semaphore(0), threading.Event()

    def write() -> None:
        with closing(mvsqlite_py.connect("a.db", source)) as connection:
            for i in range(1000):
                turn.acquire()
                if end.is_set():
                    return
                connection.execute("DROP TABLE IF EXISTS large")
                connection.execute("UPDATE notes SET text = ? WHERE id % 7 = ?", (f"meanwhile {i}", i % 7))
                if i % 3 == 0:
                    connection.execute("VACUUM")
                if i % 3 == 1:
                    connection.execute("CREATE TABLE large(b)")
                    connection.execute(f"INSERT INTO large {SERIES} SELECT randomblob(900) FROM g")
                done.release()

    def between(_name: str, _verifying: bool, _done: int, _of: int) -> None:
        turn.release()
        assert done.acquire(timeout=60)

    writer = threading.Thread(target=write)
    writer.start()
    (copied,) = source.copy_to(store, progress=between)
    end.set()
    turn.release()
    writer.join()
    assert at_first <= copied.versions < len(list(database.versions()))
    assert copied.newer > 0
    same(database, store.database("a.db"), copied.versions)


# ---- interruptions -----------------------------------------------------------------------

COPY = """
import sys, mvsqlite_py
from mvsqlite_py._binding import lib
source, target, nth = mvsqlite_py.open_store(sys.argv[1]), mvsqlite_py.open_store(sys.argv[2]), sys.argv[3]
target.configure(stage_bytes=65536)
lib.mv_fault_reset()
lib.mv_fault_arm(0, int(nth), 0, -9)
print(source.copy_to(target)[0].resumed)
"""


@pytest.mark.parametrize("place", ["source", "target"])
def test_killed_at_any_moment_it_goes_on(
    source: mvsqlite_py.Store, store: mvsqlite_py.Store, place: str, soak_seconds: int
) -> None:
    """The process kills itself at a call to the source or the destination, chosen at random."""
    database = fill(source, "a.db")
    seed = random.randrange(1 << 30)
    chance = random.Random(seed)
    urls = [f"fault:{source.url}" if place == "source" else source.url]
    urls.append(f"fault:{store.url}" if place == "target" else store.url)
    moments = [str(int(2 ** chance.uniform(2, 8))) for _ in range(KILLS + soak_seconds)]
    kills = 0
    for nth in [*moments, "0"]:  # the last one is not killed
        run_copy = subprocess.run([sys.executable, "-c", COPY, *urls, nth], capture_output=True, check=False)
        if run_copy.returncode == 0:
            break  # there was so little left that it was done before
        assert run_copy.returncode == -signal.SIGKILL, f"seed {seed}: {run_copy.stderr.decode()}"
        assert store.list() == []
        kills += 1
    assert run_copy.stdout == b"True\n", f"seed {seed}"
    assert kills >= KILLS // 2, f"seed {seed}"
    same(database, store.database("a.db"))
    assert hidden(store) == []


class EnoughError(Exception):
    pass


@pytest.mark.parametrize("error", [EnoughError, KeyboardInterrupt])
def test_stopped_it_goes_on_or_begins_anew(
    source: mvsqlite_py.Store, store: mvsqlite_py.Store, error: type[BaseException]
) -> None:
    store.configure(stage_bytes=STAGE_BYTES)
    database = fill(source, "a.db")

    def stop(_name: str, verifying: bool, _done: int, _of: int) -> None:
        if verifying:
            raise error

    for restart in (False, False, True):
        with pytest.raises(error):
            source.copy_to(store, restart=restart, progress=stop)
        assert store.list() == []
        assert len(hidden(store)) == 1
        with closing(mvsqlite_py.connect("a.db", source)) as connection:
            connection.execute("INSERT INTO notes(text) VALUES ('in between')")
    (copied,) = source.copy_to(store)
    assert (copied.resumed, copied.newer) == (True, 1)  # as it was when it began anew
    same(database, store.database("a.db"), copied.versions)
    assert hidden(store) == []


def test_what_was_left_of_another_source_is_not_gone_on_with(
    source: mvsqlite_py.Store, store: mvsqlite_py.Store, tmp_path: Path
) -> None:
    """A store put in the place of another, where a database of the same number and moment was made."""

    def stop(*_arguments: object) -> None:
        raise EnoughError

    fill(source, "a.db")
    with pytest.raises(EnoughError):
        source.copy_to(store, progress=stop)
    (left,) = hidden(store)
    with mvsqlite_py.open_store(f"lmdb:{tmp_path / 'other'}") as other:
        fill(other, "a.db")
        (entry,) = other._list_all()
        name = f".copying-{entry.id:08x}{int(entry.created.timestamp() * 1000):016x}"
        check(lib.mv_rename(store.pointer, encode(left, ""), encode(name, "")))
        with pytest.raises(MisuseError, match="--restart"):
            other.copy_to(store)
        (copied,) = other.copy_to(store, restart=True)
        assert not copied.resumed
        same(other.database("a.db"), store.database("a.db"))


# ---- the command ----------------------------------------------------------------------------


def run(*words: str, status: int = 0) -> str:
    result = CliRunner().invoke(mvsqlite, ["copy", *words])
    assert result.exit_code == status, result.output + repr(result.exception)
    assert "Traceback" not in result.output
    return result.output


def test_the_command_tells_what_it_did(source: mvsqlite_py.Store, store: mvsqlite_py.Store) -> None:
    database = fill(source, "a.db")
    source.create("gone.db")
    source.delete("gone.db")
    count = len(list(database.versions()))
    said = run(source.url, store.url)
    assert f'Copied "a.db": {count} versions, ' in said
    assert ", verified\n" in said
    assert 'Copied removed "gone.db"' in said
    assert "2 databases copied" in said
    said = run(source.url, store.url, "a.db", "--no-deleted")
    assert '"a.db" was copied before' in said
    assert "nothing was done" in said
    (told,) = json.loads(run(source.url, store.url, "a.db", "--as", "b.db", "--json"))
    newest = database.newest
    assert newest
    assert told | {"bytes": 0, "pages": 0, "history_pages": 0} == {
        "name": "a.db",
        "new_name": "b.db",
        "deleted": False,
        "version": newest.version,
        "new_version": newest.version,
        "versions": count,
        "pages": 0,
        "history_pages": 0,
        "bytes": 0,
        "renamed": 0,
        "newer": 0,
        "resumed": False,
        "already": False,
        "verified": True,
    }
    same(database, store.database("b.db"))


def test_new_names_are_told(store: mvsqlite_py.Store, capsys: pytest.CaptureFixture[str]) -> None:
    figures = {"versions": 5, "pages": 2, "history_pages": 7, "bytes": 900, "renamed": 5, "newer": 2}
    names = {"version": "00000000000012340000", "new_version": "00000000000000050000"}
    one = Copied("a.db", "b.db", False, **names, **figures, resumed=True, already=False)  # type: ignore[arg-type]
    copy_cli._tell(Session("mvsqlite", store, False, None), one)
    said = capsys.readouterr().out
    assert 'Copied "a.db" as "b.db": 5 versions, 9 page images, 900 bytes, verified; went on' in said
    assert "its 5 versions have new names here" in said
    assert "the newest, 1234, is 5" in said
    assert "2 newer versions of the source" in said


@pytest.mark.parametrize(
    ("words", "status", "code"),
    [
        (["lmdb:{tmp}/nowhere", "{url}"], 1, "MV_URL"),
        (["odd:{tmp}", "{url}"], 1, "MV_URL"),
        (["lmdb:{tmp}/source", "odd:thing"], 1, "MV_URL"),
        (["lmdb:{tmp}/source", "{url}", "none.db"], 1, "MV_NOTFOUND"),
        (["lmdb:{tmp}/source", "{url}", "a.db", "--as", "taken.db"], 1, "MV_EXISTS"),
        (["lmdb:{tmp}/source", "{url}", "a.db", "--as", "a.db-wal"], 1, "MV_NAME"),
        (["lmdb:{tmp}/source", "{url}", "a.db", "--as", ".copying-a"], 1, "MV_NAME"),
        (["lmdb:{tmp}/source", "lmdb:{tmp}/source", "a.db"], 1, "MV_EXISTS"),
        (["lmdb:{tmp}/source", "{url}", "--as", "b.db"], 2, "USAGE"),
        (["lmdb:{tmp}/source", "{url}", "a.db", "a.db", "--as", "b.db"], 2, "USAGE"),
        (["lmdb:{tmp}/source"], 2, "USAGE"),
    ],
)
def test_what_cannot_be_copied(
    source: mvsqlite_py.Store,
    store: mvsqlite_py.Store,
    tmp_path: Path,
    words: list[str],
    status: int,
    code: str,
) -> None:
    fill(source, "a.db")
    store.create("taken.db")
    filled = [word.format(tmp=tmp_path, url=store.url) for word in words]
    result = CliRunner().invoke(mvsqlite, ["copy", *filled, "--json"])
    assert result.exit_code == status
    assert json.loads(result.stdout)["error"]["code"] == code
    assert result.stderr.count("\n") == 1
    assert [entry.name for entry in store.list()] == ["taken.db"]
    assert not (tmp_path / "nowhere").exists()


def test_names_in_the_library(source: mvsqlite_py.Store, store: mvsqlite_py.Store) -> None:
    source.create("a.db")
    with pytest.raises(ValueError, match="one database"):
        source.copy_to(store, new_name="b.db")
    with pytest.raises(NameNotUsableError):
        source.copy_to(store, "a.db", new_name=".importing-x")
    source.create(".importing-x")
    assert [one.name for one in source.copy_to(store)] == ["a.db"]
