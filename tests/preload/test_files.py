"""Deleting and renaming the file of a database deletes, renames or replaces it, and can be undone."""

import sqlite3
from pathlib import Path

import pytest

from preloaded import Preloaded, program

DELETES = {
    "unlink": "os.unlink('a.db')",
    "unlinkat": "os.unlink('a.db', dir_fd=os.open('.', os.O_RDONLY))",
    "remove": "import ctypes; assert ctypes.CDLL(None).remove(b'a.db') == 0",
}
RENAMES = {
    "rename": "os.rename('a.db', 'b.db')",
    "renameat": "d = os.open('.', os.O_RDONLY); os.rename('a.db', 'b.db', src_dir_fd=d, dst_dir_fd=d)",
    "renameat2": "import ctypes; assert ctypes.CDLL(None).renameat2(-100, b'a.db', -100, b'b.db', 0) == 0",
}


def values(preloaded: Preloaded, name: str) -> list[object]:
    return [value for (value,) in preloaded.rows(name, "SELECT a FROM t ORDER BY a")]


def plain(path: Path, *texts: str, mode: str = "delete") -> Path:
    """An ordinary SQLite file, as a backup program leaves one."""
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA journal_mode={mode}").fetchall()
    connection.execute("CREATE TABLE t(a TEXT)")
    connection.executemany("INSERT INTO t VALUES (?)", [(text,) for text in texts])
    connection.commit()
    connection.close()
    return path


@pytest.mark.parametrize("how", DELETES)
def test_a_deleted_file_is_a_deleted_database(preloaded: Preloaded, how: str) -> None:
    preloaded.make("a.db", "x")
    preloaded.python(f"{DELETES[how]}\nassert os.listdir() == []")
    assert preloaded.names() == set()
    assert preloaded.names(deleted=True) == {"a"}
    with preloaded.store as store:
        store.undelete("a")
    assert values(preloaded, "a") == ["x"]


def test_delete_and_create_again(preloaded: Preloaded) -> None:
    preloaded.make("a.db", "old")
    preloaded.python("""
        c = sqlite3.connect("a.db")
        assert c.execute("SELECT count(*) FROM t").fetchone() == (1,)
        c.close()
        os.unlink("a.db")
        c = sqlite3.connect("a.db")
        assert c.execute("SELECT count(*) FROM sqlite_schema").fetchone() == (0,)
        c.execute("CREATE TABLE t(a)")
        c.execute("INSERT INTO t VALUES ('new')")
        c.commit()
    """)
    assert values(preloaded, "a") == ["new"]
    with preloaded.store as store:
        store.undelete("a", "before")
    assert values(preloaded, "before") == ["old"]


def test_a_deleted_file_whose_database_is_gone(preloaded: Preloaded) -> None:
    preloaded.make("a.db", "x")
    with preloaded.store as store:
        store.delete("a")
    preloaded.python("os.unlink('a.db')\nassert os.listdir() == []")


def test_errors_are_those_of_libc(preloaded: Preloaded) -> None:
    preloaded.make("a.db", "x")
    done = preloaded.python("""
        import errno
        os.mkdir("d")
        for attempt in (
            lambda: os.unlink("no.db"),
            lambda: os.rename("no.db", "a.db"),
            lambda: os.rename("a.db", "no/where.db"),
            lambda: os.rename("a.db", "d"),
        ):
            try:
                attempt()
                print("done")
            except OSError as error:
                print(errno.errorcode[error.errno])
    """)
    assert done.stdout.split() == ["ENOENT", "ENOENT", "ENOENT", "EISDIR"]
    assert values(preloaded, "a") == ["x"]
    assert preloaded.is_stub("a.db")


@pytest.mark.parametrize("how", RENAMES)
def test_a_renamed_file_is_a_renamed_database(preloaded: Preloaded, how: str) -> None:
    preloaded.make("a.db", "x")
    preloaded.python(f"{RENAMES[how]}\nassert os.listdir() == ['b.db']")
    assert preloaded.names() == {"b"}
    assert values(preloaded, "b") == ["x"]
    assert preloaded.shell("b.db", "SELECT a FROM t") == "x"


def test_renamed_to_a_path_without_a_route(preloaded: Preloaded) -> None:
    preloaded.make("a.db", "x")
    preloaded.python(f"os.rename('a.db', {str(preloaded.place / 'out')!r})")
    assert preloaded.names() == {str(preloaded.place / "out")[1:]}
    assert preloaded.shell(preloaded.place / "out", "SELECT a FROM t") == "x"
    preloaded.python(f"os.rename({str(preloaded.place / 'out')!r}, 'back.db')")
    assert values(preloaded, "back") == ["x"]


def test_renamed_while_it_is_open(preloaded: Preloaded) -> None:
    preloaded.python("""
        c = sqlite3.connect("a.db")
        c.execute("CREATE TABLE t(a)")
        os.rename("a.db", "b.db")
        c.execute("INSERT INTO t VALUES ('x')")
        c.commit()
    """)
    assert values(preloaded, "b") == ["x"]


def test_renamed_over_another_database(preloaded: Preloaded) -> None:
    """A program makes a better copy and puts it in the place of its database."""
    preloaded.make("a.db", "old")
    preloaded.python("""
        reader = sqlite3.connect("a.db")
        assert reader.execute("SELECT a FROM t").fetchall() == [("old",)]
        new = sqlite3.connect("new.db")
        new.execute("CREATE TABLE u(b)")
        new.execute("CREATE TABLE t(z, a)")
        new.execute("INSERT INTO t VALUES (1, 'new')")
        new.commit()
        new.close()
        os.replace("new.db", "a.db")
        assert reader.execute("SELECT a FROM t").fetchall() == [("new",)]
        assert reader.execute("SELECT count(*) FROM u").fetchall() == [(0,)]
        assert os.listdir() == ["a.db"]
    """)
    database = preloaded.database("a")
    assert database.newest is not None
    assert database.newest.message == "replaced by the database new"
    assert preloaded.names(deleted=True) == {"new"}
    assert not database.verify().problems
    database.revert(version=list(database.versions())[1].version)
    assert values(preloaded, "a") == ["old"]


@pytest.mark.parametrize("size", [1024, 65536])
def test_renamed_over_one_with_another_page_size(preloaded: Preloaded, size: int) -> None:
    preloaded.make("a.db", "old")
    preloaded.shell("b.db", f"PRAGMA page_size={size}; CREATE TABLE t(a); INSERT INTO t VALUES ('new')")
    preloaded.python("os.replace('b.db', 'a.db')")
    assert values(preloaded, "a") == ["new"]
    assert preloaded.rows("a", "PRAGMA page_size") == [(size,)]
    assert preloaded.rows("a", "PRAGMA integrity_check") == [("ok",)]
    assert not preloaded.database("a").verify().problems


def test_renamed_over_while_another_one_writes(preloaded: Preloaded) -> None:
    preloaded.make("a.db", "old")
    preloaded.make("b.db", "new")
    preloaded.python("""
        import threading
        writer = sqlite3.connect("a.db", check_same_thread=False)
        writer.execute("INSERT INTO t VALUES ('between')")
        timer = threading.Timer(0.2, writer.commit)
        timer.start()
        os.replace("b.db", "a.db")
        timer.join()
    """)
    assert values(preloaded, "a") == ["new"]


def test_renamed_over_an_ordinary_file(preloaded: Preloaded) -> None:
    preloaded.make("a.db", "x")
    (preloaded.data / "b.db").write_text("of no interest")
    preloaded.python("os.replace('a.db', 'b.db')\nassert os.listdir() == ['b.db']")
    assert values(preloaded, "b") == ["x"]


def test_renamed_without_replacing(preloaded: Preloaded) -> None:
    preloaded.make("a.db", "x")
    preloaded.make("b.db", "y")
    preloaded.python("""
        import ctypes, errno
        libc = ctypes.CDLL(None, use_errno=True)
        assert libc.renameat2(-100, b"a.db", -100, b"b.db", 1) == -1 and ctypes.get_errno() == errno.EEXIST
        assert libc.renameat2(-100, b"a.db", -100, b"b.db", 2) == -1 and ctypes.get_errno() == errno.EINVAL
        assert libc.renameat2(-100, b"a.db", -100, b"c.db", 1) == 0
    """)
    assert preloaded.names() == {"b", "c"}


@pytest.mark.parametrize("mode", ["delete", "wal"])
def test_a_backup_file_is_put_back(preloaded: Preloaded, mode: str) -> None:
    preloaded.make("a.db", "bad")
    plain(preloaded.data / "backup", "good", mode=mode)
    done = preloaded.run(program("mv"), "backup", "a.db", status=1)
    assert "Device or resource busy" in done.stderr
    assert "MVSQLITE_IMPORT=1" in done.stderr
    assert values(preloaded, "a") == ["bad"]
    preloaded.python(
        """
        reader = sqlite3.connect("a.db")
        assert reader.execute("SELECT a FROM t").fetchall() == [("bad",)]
        os.replace("backup", "a.db")
        assert reader.execute("SELECT a FROM t").fetchall() == [("good",)]
        assert sorted(os.listdir()) == ["a.db", "a.db.before-mvsqlite"]
        """,
        MVSQLITE_IMPORT="1",
    )
    assert preloaded.is_stub("a.db")
    newest = preloaded.database("a").newest
    assert newest is not None
    assert newest.message.startswith("replaced by the file ")
    assert not preloaded.database("a").verify().problems
    plain(preloaded.data / "backup", "better")
    preloaded.python("os.replace('backup', 'a.db')", MVSQLITE_IMPORT="1")
    assert values(preloaded, "a") == ["better"]
    kept = {path.name for path in preloaded.data.iterdir()}
    assert kept == {"a.db", "a.db.before-mvsqlite", "a.db.before-mvsqlite-2"}


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b"no database at all"),
        lambda path: path.write_bytes(path.read_bytes()[:4096]),
        lambda path: path.with_name("backup-wal").write_bytes(b"something not in the file yet"),
        lambda path: path.rename(path.with_name("real")) and path.symlink_to("real"),
    ],
    ids=["no database", "cut", "log", "link"],
)
def test_a_file_that_cannot_be_put_back(preloaded: Preloaded, damage: object) -> None:
    preloaded.make("a.db", "mine")
    damage(plain(preloaded.data / "backup", "good"))  # type: ignore[operator]
    preloaded.run(program("mv"), "backup", "a.db", status=1, MVSQLITE_IMPORT="1")
    assert values(preloaded, "a") == ["mine"]
    assert preloaded.is_stub("a.db")
    assert preloaded.database("a").newest == next(iter(preloaded.database("a").versions()))


def test_a_copied_stub_is_only_a_file(preloaded: Preloaded) -> None:
    """A program that copies its file and tidies the copies up later does not delete its database."""
    preloaded.make("a.db", "x")
    preloaded.python("""
        import shutil
        for name in ("copy", "copy.db", "second"):
            shutil.copy("a.db", name)
        os.unlink("copy")
        os.rename("copy.db", "moved.db")
        os.unlink("moved.db")
        os.rename("second", "a.db")
        os.link("a.db", "link.db")
        os.unlink("link.db")
        assert os.listdir() == ["a.db"]
    """)
    assert values(preloaded, "a") == ["x"]
    assert preloaded.shell("a.db", "SELECT a FROM t") == "x"
    assert preloaded.names(deleted=True) == set()


def test_a_copied_stub_replaces_no_other_database(preloaded: Preloaded) -> None:
    preloaded.make("a.db", "x")
    preloaded.make("b.db", "y")
    preloaded.python("import shutil; shutil.copy('a.db', 'copy')")
    done = preloaded.run(program("mv"), "copy", "b.db", status=1)
    assert "holds no data" in done.stderr
    assert values(preloaded, "b") == ["y"]


def test_a_moved_directory_still_deletes(preloaded: Preloaded) -> None:
    preloaded.make("a.db", "x")
    preloaded.python("""
        os.rename("../data", "../moved")
        os.unlink("../moved/a.db")
        os.rename("../moved", "../data")
    """)
    assert preloaded.names(deleted=True) == {"a"}


def test_a_whole_directory_is_removed(preloaded: Preloaded) -> None:
    preloaded.make("a.db", "x")
    preloaded.make("b.db", "y")
    preloaded.run(program("rm"), "-r", preloaded.data)
    assert not preloaded.data.exists()
    assert preloaded.names(deleted=True) == {"a", "b"}


def test_a_store_that_does_not_answer_keeps_the_file(preloaded: Preloaded) -> None:
    preloaded.make("a.db", "x")
    (preloaded.place / "no-store").write_text("")
    done = preloaded.run(
        program("rm"), "a.db", status=1, MVSQLITE_STORE=f"lmdb:{preloaded.place / 'no-store'}"
    )
    assert "cannot delete the database of" in done.stderr
    assert preloaded.is_stub("a.db")


def test_other_files_are_deleted_and_renamed_as_ever(preloaded: Preloaded) -> None:
    preloaded.python("""
        from pathlib import Path
        Path("a").write_bytes(b"x" * 17 * 1024)  # of a stub's size
        os.rename("a", "b")
        os.mkdir("d")
        os.rename("b", "d/c")
        import ctypes
        assert ctypes.CDLL(None).remove(b"d") == -1
        os.unlink("d/c")
        assert ctypes.CDLL(None).remove(b"d") == 0
        os.symlink("nowhere", "link")
        os.unlink("link")
        assert os.listdir() == []
    """)


def test_killed_in_the_middle_of_a_replacement(preloaded: Preloaded) -> None:
    """The program finds its old state or its new one, and can do it over."""
    code = """
        c = sqlite3.connect("{0}")
        c.execute("CREATE TABLE t(a)")
        c.execute("CREATE TABLE fill(b)")
        c.executemany("INSERT INTO fill VALUES (randomblob(4000))", [()] * 500)
        c.execute("INSERT INTO t VALUES ('{1}')")
        c.commit()
    """
    preloaded.python(code.format("a.db", "old"))
    for milliseconds in (1, 3, 5, 8, 12, 17, 23, 30, 60):
        if not (preloaded.data / "b.db").exists():
            preloaded.python(code.format("b.db", f"new {milliseconds}"))
        before = values(preloaded, "a")
        preloaded.python(
            f"""
            import signal
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.setitimer(signal.ITIMER_REAL, {milliseconds / 1000})
            os.replace("b.db", "a.db")
            os.kill(os.getpid(), signal.SIGALRM)
            """,
            status=-14,
        )
        found = values(preloaded, "a")
        assert found == before or str(found[0]).startswith("new")
        assert preloaded.rows("a", "PRAGMA integrity_check") == [("ok",)]
    preloaded.python("if os.path.exists('b.db'): os.replace('b.db', 'a.db')")
    assert preloaded.shell("a.db", "SELECT a FROM t").startswith("new")
    assert not preloaded.database("a").verify().problems
