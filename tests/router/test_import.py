"""An ordinary file at a routed path is taken in when it is first opened, once and whole."""

import sqlite3
from pathlib import Path

import apsw
import pytest

import mvsqlite_py
from routed import Routed

ROWS = 500
ASIDE = "notes.db.before-mvsqlite"


@pytest.fixture
def routed(tmp_path: Path, store_url: str) -> Routed:
    return Routed(tmp_path, store_url, extra={"MVSQLITE_IMPORT": "1"})


def make_file(routed: Routed, *pragmas: str, name: str = "notes.db") -> Path:
    path = routed.data / name
    connection = sqlite3.connect(path)
    for pragma in pragmas:
        connection.execute(f"PRAGMA {pragma}")
    connection.execute("CREATE TABLE t(a INTEGER PRIMARY KEY, b)")
    connection.executemany("INSERT INTO t(b) VALUES (?)", [(f"row {i}" * 20,) for i in range(ROWS)])
    connection.commit()
    connection.close()
    return path


def count(routed: Routed) -> int:
    found: int = routed.sql("notes.db", "SELECT count(*) FROM t WHERE b LIKE 'row %'")[0][0]
    return found


@pytest.mark.parametrize(
    "pragmas",
    [
        (),
        ("journal_mode=WAL",),
        ("page_size=512", "auto_vacuum=FULL"),
        ("page_size=65536", "journal_mode=WAL"),
        ("encoding='UTF-16le'", "user_version=77"),
    ],
    ids=" ".join,
)
def test_a_file_is_taken_in_and_kept_aside(routed: Routed, pragmas: tuple[str, ...]) -> None:
    path = make_file(routed, *pragmas)
    path.chmod(0o640)
    wanted = dict(zip(("user_version", "page_size", "encoding", "auto_vacuum"), settings(path), strict=True))
    done = routed.run(f"""
        c = sqlite3.connect("notes.db")
        tell(rows(c, "SELECT count(*) FROM t"))
        tell({{name: rows(c, f"PRAGMA {{name}}")[0][0] for name in {list(wanted)}}})
        tell(rows(c, "PRAGMA integrity_check"))
    """)
    assert done.told == [[[ROWS]], wanted, [["ok"]]]
    assert sorted(p.name for p in routed.data.iterdir()) == ["notes.db", ASIDE]
    assert path.stat().st_size == 17 * 1024
    assert path.stat().st_mode & 0o777 == 0o640
    aside = sqlite3.connect(routed.data / ASIDE)
    assert aside.execute("SELECT count(*) FROM t").fetchone() == (ROWS,)
    with routed.store as store:
        newest = store.database("notes").newest
    assert newest
    assert newest.message == "taken in from a file"


def settings(path: Path) -> list[object]:
    connection = sqlite3.connect(path)
    names = ("user_version", "page_size", "encoding", "auto_vacuum")
    found = [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in names]
    connection.close()
    return found


def test_commits_left_in_a_log_by_a_killed_program_are_taken_in(routed: Routed) -> None:
    program = routed.start("""
        c = sqlite3.connect("../outside")
        c.execute("PRAGMA journal_mode=WAL")
        c.execute("CREATE TABLE t(a, b)")
        c.execute("INSERT INTO t VALUES (1, 'row in the log')")
        c.commit()
        os.kill(os.getpid(), 9)
    """)
    program.communicate()
    for suffix in ("", "-wal"):
        (routed.place / f"outside{suffix}").rename(routed.data / f"notes.db{suffix}")
    assert (routed.data / "notes.db-wal").stat().st_size
    assert count(routed) == 1
    assert sorted(p.name for p in routed.data.iterdir()) == ["notes.db", ASIDE]


def test_what_is_no_database_stays_where_it_is(routed: Routed) -> None:
    path = routed.data / "notes.db"
    path.write_bytes(b"not a database at all" * 100)
    done = routed.run("tell(failure(lambda: sqlite3.connect('notes.db')))")
    assert done.told == ["unable to open database file"]
    assert "is no SQLite database" in done.messages
    assert path.read_bytes() == b"not a database at all" * 100
    with routed.store as store:
        assert store.list() == []


def test_a_damaged_file_stays_where_it_is(routed: Routed) -> None:
    path = make_file(routed)
    damaged = bytearray(path.read_bytes())
    damaged[4096 * 3 : 4096 * 3 + 2000] = b"\xff" * 2000
    path.write_bytes(damaged)
    done = routed.run("tell(failure(lambda: sqlite3.connect('notes.db')))")
    assert done.told == ["unable to open database file"]
    assert "is damaged" in done.messages
    assert path.read_bytes() == bytes(damaged)
    with routed.store as store:
        assert [entry.name for entry in store._list_all()] == []


@pytest.mark.parametrize("journal", ["wal", "delete"])
def test_a_file_in_use_is_not_taken_in(routed: Routed, journal: str) -> None:
    path = make_file(routed, f"journal_mode={journal}")
    user = sqlite3.connect(path, isolation_level=None)
    user.execute("BEGIN IMMEDIATE")
    routed.extra["MVSQLITE_LOG"] = "warn"
    done = routed.run("tell(failure(lambda: sqlite3.connect('notes.db')))")
    assert done.told == ["database is locked"]
    assert "another process has it open" in done.messages
    user.execute("ROLLBACK")
    user.close()
    assert count(routed) == ROWS


@pytest.mark.parametrize("journal", ["delete", "truncate"])
def test_a_file_that_somebody_has_open_and_idle_is_not_taken_in(routed: Routed, journal: str) -> None:
    """It holds no lock, and would go on writing to a file that is no longer the database."""
    path = make_file(routed, f"journal_mode={journal}")
    user = sqlite3.connect(path, isolation_level=None)
    user.execute("INSERT INTO t(b) VALUES ('row of the idle one')")
    routed.extra["MVSQLITE_LOG"] = "warn"
    done = routed.run("tell(failure(lambda: sqlite3.connect('notes.db')))")
    assert done.told == ["database is locked"]
    assert "another process has it open" in done.messages
    user.execute("INSERT INTO t(b) VALUES ('row that it writes later')")
    user.close()
    assert count(routed) == ROWS + 2


def test_a_file_that_this_program_has_open_is_not_taken_in(routed: Routed) -> None:
    make_file(routed)
    done = routed.run("""
        plain = sqlite3.connect("file:notes.db?vfs=unix", uri=True)
        rows(plain, "SELECT count(*) FROM t")
        tell(failure(lambda: sqlite3.connect("notes.db")))
        plain.close()
        tell(rows(sqlite3.connect("notes.db"), "SELECT count(*) FROM t"))
    """)
    assert done.told == ["database is locked", [[ROWS]]]


def test_a_file_that_is_only_read_is_taken_in(routed: Routed) -> None:
    path = make_file(routed)
    with path.open("rb"):
        assert count(routed) == ROWS


def test_a_database_of_that_name_with_other_contents_is_not_overwritten(routed: Routed) -> None:
    path = make_file(routed)
    with routed.store as store:
        store.create("notes").connect().execute("CREATE TABLE other(a)")
    before = path.read_bytes()
    done = routed.run("tell(failure(lambda: sqlite3.connect('notes.db')))")
    assert done.told == ["unable to open database file"]
    assert "with other contents" in done.messages
    assert path.read_bytes() == before
    with routed.store as store:
        assert [entry.name for entry in store._list_all()] == ["notes"]


def test_an_import_cut_off_before_the_file_was_moved_goes_on(routed: Routed) -> None:
    path = make_file(routed)
    with routed.store as store:
        store.import_file(path, "notes")  # as far as the import had come
        before = store.database("notes").newest
    assert count(routed) == ROWS
    assert (routed.data / ASIDE).exists()
    with routed.store as store:
        assert store.database("notes").newest == before
        assert [entry.name for entry in store._list_all()] == ["notes"]


def test_an_import_cut_off_before_the_stub_was_put_goes_on(routed: Routed) -> None:
    path = make_file(routed)
    assert count(routed) == ROWS
    path.unlink()
    assert count(routed) == ROWS


def test_earlier_files_kept_aside_stay(routed: Routed) -> None:
    (routed.data / ASIDE).write_text("an earlier one")
    make_file(routed)
    assert count(routed) == ROWS
    assert (routed.data / ASIDE).read_text() == "an earlier one"
    assert (routed.data / f"{ASIDE}-2").exists()


def test_many_processes_at_once_take_it_in_once(routed: Routed) -> None:
    make_file(routed, "journal_mode=WAL")
    code = """
        for _ in range(200):
            why = failure(lambda: sqlite3.connect("notes.db"))
            if why is None:
                break
            threading.Event().wait(0.02)
        tell(why)
        tell(rows(sqlite3.connect("notes.db"), "SELECT count(*) FROM t"))
    """
    programs = [routed.start(code) for _ in range(4)]
    for program in programs:
        out, messages = program.communicate()
        assert out == f"null\n[[{ROWS}]]\n", messages
    assert sorted(p.name for p in routed.data.iterdir()) == ["notes.db", ASIDE]
    with routed.store as store:
        assert [entry.name for entry in store._list_all()] == ["notes"]
        assert len(list(store.database("notes").versions())) == 1


def test_kill_at_any_moment_of_an_import_loses_nothing(routed: Routed) -> None:
    """The import of a larger file is killed later and later, until it ends by itself."""
    path = routed.data / "notes.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE t(a, b)")
    connection.execute(
        "WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000) "
        "INSERT INTO t SELECT i, 'row ' || hex(randomblob(100)) FROM n"
    )
    connection.commit()
    connection.close()
    delay = 0.0
    while True:
        routed.extra["KILL"] = str(delay)
        program = routed.start("""
            threading.Timer(float(os.environ["KILL"]), lambda: os.kill(os.getpid(), 9)).start()
            rows(sqlite3.connect("notes.db"), "SELECT 1 FROM t")
            os._exit(0)
        """)
        program.communicate()
        if program.returncode == 0:
            break
        delay += 0.04
    assert count(routed) == 20000
    assert apsw.Connection(str(routed.data / ASIDE)).execute("SELECT count(*) FROM t").fetchone() == (20000,)
    with routed.store as store:
        store.discard_unfinished(older_than=0)
        assert [entry.name for entry in store._list_all()] == ["notes"]
        assert isinstance(store.database("notes"), mvsqlite_py.Database)
        assert not store.database("notes").verify().problems
