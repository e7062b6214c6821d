"""Unmodified programs of several languages meet the router, whatever way they open their database."""

import sqlite3
import subprocess
from pathlib import Path

import pytest

from preloaded import Preloaded, program

PROGRAMS = {
    "sqlite3": "{0} a.db \"CREATE TABLE t(a); INSERT INTO t VALUES ('x'), ('y'); SELECT count(*) FROM t\"",
    "python3": """{0} -c "
import sqlite3
c = sqlite3.connect('a.db')
c.execute('CREATE TABLE t(a)')
c.executemany('INSERT INTO t VALUES (?)', ['x', 'y'])
c.commit()
print(c.execute('SELECT count(*) FROM t').fetchone()[0])" """,
    "php": """{0} -r '
$d = new PDO("sqlite:a.db");
$d->setAttribute(PDO::ATTR_ERRMODE, PDO::ERRMODE_EXCEPTION);
$d->exec("CREATE TABLE t(a)");
$d->prepare("INSERT INTO t VALUES (?), (?)")->execute(["x", "y"]);
$e = new SQLite3("a.db");
echo $e->querySingle("SELECT count(*) FROM t");' """,
    "ruby": """{0} -e '
require "sqlite3"
d = SQLite3::Database.new("a.db")
d.execute("CREATE TABLE t(a)")
d.execute("INSERT INTO t VALUES (?), (?)", ["x", "y"])
puts d.get_first_value("SELECT count(*) FROM t")' """,
    "perl": """{0} -MDBI -e '
my $d = DBI->connect("dbi:SQLite:dbname=a.db", "", "", {{RaiseError => 1}});
$d->do("CREATE TABLE t(a)");
$d->do("INSERT INTO t VALUES (?), (?)", undef, "x", "y");
print $d->selectrow_array("SELECT count(*) FROM t");' """,
}
LIBRARIES = {"php": "php-sqlite3", "ruby": "ruby-sqlite3", "perl": "libdbd-sqlite3-perl"}
CHECKS = {
    "php": ["-r", "exit(extension_loaded('pdo_sqlite') ? 0 : 1);"],
    "ruby": ["-e", "require 'sqlite3'"],
    "perl": ["-MDBD::SQLite", "-e", "1"],
}


def has_sqlite(name: str) -> None:
    if (
        name in CHECKS
        and subprocess.run([program(name), *CHECKS[name]], capture_output=True, check=False).returncode
    ):
        pytest.skip(f"{LIBRARIES[name]} is not installed (make test installs it)")


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_keeps_its_database_in_the_store(preloaded: Preloaded, name: str) -> None:
    has_sqlite(name)
    done = preloaded.run("/bin/sh", "-c", PROGRAMS[name].format(program(name)))
    assert (done.stdout.strip(), done.stderr) == ("2", "")
    assert preloaded.is_stub("a.db")
    assert preloaded.rows("a", "SELECT a FROM t ORDER BY a") == [("x",), ("y",)]


def test_a_program_finds_its_functions_by_dlsym(preloaded: Preloaded) -> None:
    preloaded.python("""
        import ctypes
        library = ctypes.CDLL("libsqlite3.so.0")
        db = ctypes.c_void_p()
        assert library.sqlite3_open_v2(b"a.db", ctypes.byref(db), 6, None) == 0
        sql = b"CREATE TABLE t(a); INSERT INTO t VALUES ('x')"
        assert library.sqlite3_exec(db, sql, None, None, None) == 0
    """)
    assert preloaded.rows("a", "SELECT a FROM t") == [("x",)]


@pytest.mark.parametrize("how", ["open", "v2", "uri", "16"])
def test_every_way_to_open(preloaded: Preloaded, client: Path, how: str) -> None:
    path = f"file:{preloaded.data}/a.db?mode=rwc" if how == "uri" else "a.db"
    done = preloaded.run(
        client, how, path, "CREATE TABLE t(a)", "INSERT INTO t VALUES ('x')", "SELECT a FROM t"
    )
    assert done.stdout == "x\n"
    assert preloaded.rows("a", "SELECT a FROM t") == [("x",)]


def test_a_connection_that_only_reads(preloaded: Preloaded, client: Path) -> None:
    assert "cannot open: 14" in preloaded.run(client, "ro", "a.db", status=1).stdout
    preloaded.make("a.db", "x")
    assert preloaded.run(client, "ro", "a.db", "SELECT a FROM t").stdout == "x\n"
    assert "error 8" in preloaded.run(client, "ro", "a.db", "DELETE FROM t", status=1).stdout


@pytest.mark.parametrize("first", [":memory:", "plain.sqlite"])
def test_attach_from_a_connection_that_is_not_routed(preloaded: Preloaded, client: Path, first: str) -> None:
    preloaded.run(
        client, "open", first, "ATTACH 'a.db' AS a", "CREATE TABLE a.t(a)", "INSERT INTO a.t VALUES ('x')",
        "CREATE TABLE mine(b)",
    )  # fmt: skip
    assert preloaded.rows("a", "SELECT a FROM t") == [("x",)]
    if first != ":memory:":
        plain = sqlite3.connect(preloaded.data / first)
        assert plain.execute("SELECT name FROM sqlite_schema").fetchall() == [("mine",)]
        plain.close()


def test_paths_that_are_not_routed_are_ordinary_files(preloaded: Preloaded, client: Path) -> None:
    preloaded.run(client, "open", "a.sqlite", "PRAGMA journal_mode=WAL", "CREATE TABLE t(a)")
    assert (preloaded.data / "a.sqlite").read_bytes()[:15] == b"SQLite format 3"
    assert preloaded.names() == set()


def test_what_a_careful_program_does_before_it_opens(preloaded: Preloaded) -> None:
    """Laravel's manner: touch, realpath, a look into the directory, and a 0-byte file at the beginning."""
    preloaded.python("""
        open("a.db", "w").close()
        path = os.path.realpath("a.db")
        assert os.access(path, os.W_OK) and os.listdir() == ["a.db"]
        c = sqlite3.connect(path)
        c.execute("CREATE TABLE t(a)")
        os.utime(path)
        assert os.path.isfile(path) and os.stat(path).st_size > 0
        c.execute("INSERT INTO t VALUES ('x')")
        c.commit()
        assert not [name for name in os.listdir() if name != "a.db"]
    """)
    assert preloaded.rows("a", "SELECT a FROM t") == [("x",)]


def test_a_program_that_shuts_sqlite_down_in_between(preloaded: Preloaded, client: Path) -> None:
    """Its own VFS would be the default again."""
    preloaded.run(client, "shutdown", "a.db", "b.db")
    assert preloaded.names() == {"a", "b"}
    preloaded.python("""
        import ctypes
        library = ctypes.CDLL("libsqlite3.so.0")
        db = ctypes.c_void_p()
        for name in (b"c.db", b"d.db"):
            assert library.sqlite3_open(name, ctypes.byref(db)) == 0
            assert library.sqlite3_exec(db, b"CREATE TABLE t(a)", None, None, None) == 0
            assert library.sqlite3_close(db) == 0
            assert library.sqlite3_shutdown() == 0
    """)
    assert preloaded.names() == {"a", "b", "c", "d"}


def test_threads_share_a_database(preloaded: Preloaded, client: Path) -> None:
    preloaded.make("a.db")
    preloaded.run(client, "threads", "a.db", "8", "10")
    assert preloaded.rows("a", "SELECT count(*) FROM t") == [(80,)]


def test_children_by_fork_and_by_exec(preloaded: Preloaded, client: Path) -> None:
    preloaded.make("a.db")
    preloaded.run(client, "fork", "a.db")
    counts = preloaded.rows("a", "SELECT a, count(*) FROM t GROUP BY a ORDER BY a")
    assert counts == [("before", 1), ("child", 2), ("executed", 1), ("parent", 1)]


def test_a_program_that_clears_its_environment(preloaded: Preloaded) -> None:
    """php-fpm does in its workers, before they open anything."""
    preloaded.python("""
        import ctypes
        ctypes.CDLL(None).clearenv()
        c = sqlite3.connect("a.db")
        c.execute("CREATE TABLE t(a)")
    """)
    assert preloaded.is_stub("a.db")
    assert preloaded.names() == {"a"}


def test_copies_of_the_database_by_sqlite_are_ordinary_files(preloaded: Preloaded) -> None:
    preloaded.make("a.db", "x")
    preloaded.python("""
        c = sqlite3.connect("a.db")
        c.execute("VACUUM INTO 'vacuumed.sqlite'")
        with sqlite3.connect("backed-up.sqlite") as copy:
            c.backup(copy)
    """)
    for name in ("vacuumed.sqlite", "backed-up.sqlite"):
        plain = sqlite3.connect(preloaded.data / name)
        assert plain.execute("SELECT a FROM t").fetchall() == [("x",)]
        plain.close()


def test_a_map_that_cannot_be_read_refuses_every_file(preloaded: Preloaded, client: Path) -> None:
    preloaded.routes = [f"{preloaded.data}/*.db=same"]
    done = preloaded.run(client, "open", "other.sqlite", "CREATE TABLE t(a)", status=1)
    assert "cannot open: 14" in done.stdout
    assert "would make one database of several files" in done.stderr
    assert list(preloaded.data.iterdir()) == []
    assert preloaded.run(client, "open", ":memory:", "SELECT 1").stdout == "1\n"


def test_without_the_core_a_routed_path_is_refused(preloaded: Preloaded, client: Path) -> None:
    """The preload library lies alone somewhere: no second life of the database begins."""
    from shutil import copy

    from mvsqlite_py._run.plan import LIBRARY

    alone = copy(LIBRARY, preloaded.place)
    done = preloaded.run(client, "open", "a.db", "CREATE TABLE t(a)", status=1, LD_PRELOAD=alone)
    assert "cannot open: 14" in done.stdout
    assert "no route works in this process" in done.stderr
    done = preloaded.run(client, "uri", "file:./a%2edb?mode=rwc", "SELECT 1", status=1, LD_PRELOAD=alone)
    assert "cannot open: 14" in done.stdout
    assert list(preloaded.data.iterdir()) == []
    preloaded.run(client, "open", "a.sqlite", "CREATE TABLE t(a)", LD_PRELOAD=alone)


def test_a_program_without_sqlite_loads_nothing(preloaded: Preloaded, client: Path) -> None:
    done = preloaded.python("""
        open("scratch", "w+").close()
        os.rename("scratch", "other")
        os.unlink("other")
        print(open("/proc/self/maps").read())
    """)
    assert "libmvsqlite_preload.so" in done.stdout
    assert "libmvsqlite.so" not in done.stdout
    preloaded.run(client, "many", "100")


def test_without_routes_nothing_is_done(preloaded: Preloaded, client: Path) -> None:
    preloaded.run(client, "open", "a.db", "CREATE TABLE t(a)", MVSQLITE_MAP="")
    assert (preloaded.data / "a.db").read_bytes()[:15] == b"SQLite format 3"
    assert not preloaded.is_stub("a.db")
