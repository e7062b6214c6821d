"""Programs open their own paths and get databases of a store; all other files are left alone."""

import os
import sqlite3
import tempfile
from pathlib import Path

import apsw
import pytest

from routed import Routed

NOBODY = 65534


@pytest.fixture
def routed(tmp_path: Path, store_url: str) -> Routed:
    return Routed(tmp_path, store_url)


def make(routed: Routed, path: str = "notes.db") -> None:
    routed.run(
        f"c = sqlite3.connect({path!r}); c.executescript('CREATE TABLE t(a); INSERT INTO t VALUES (1)')"
    )


def names(routed: Routed) -> list[str]:
    with routed.store as store:
        return [entry.name for entry in store.list()]


# ---- routed paths -------------------------------------------------------------------


def test_a_routed_path_is_a_database_of_the_store(routed: Routed) -> None:
    make(routed)
    done = routed.run("""
        c = sqlite3.connect("notes.db")
        tell(rows(c, "SELECT a, length(mv_version()) FROM t"))
        tell(rows(c, "PRAGMA database_list"))
        tell(sorted(os.listdir(".")))
    """)
    assert done.told == [[[1, 20]], [[0, "main", str(routed.data / "notes.db")]], ["notes.db"]]
    assert done.messages == ""
    with routed.store as store:
        assert store.database("notes").connect().execute("SELECT a FROM t").fetchall() == [(1,)]


def test_relative_paths_links_and_uris_name_the_same_database(routed: Routed) -> None:
    make(routed)
    (routed.place / "link.db").symlink_to(routed.data / "notes.db")
    done = routed.run("""
        names = ["../link.db", "../data/./notes.db", "file:notes.db?mode=ro", f"file://{os.getcwd()}/notes.db"]
        for name in names:
            tell(rows(sqlite3.connect(name, uri=name.startswith("file:")), "SELECT a FROM t"))
    """)
    assert done.told == [[[1]]] * 4
    assert names(routed) == ["notes"]


def test_a_past_state_opens_by_its_path(routed: Routed) -> None:
    make(routed)
    with routed.store as store:
        version = store.database("notes").newest
    assert version
    routed.run("c = sqlite3.connect('notes.db'); c.execute('DELETE FROM t'); c.commit()")
    done = routed.run(f"""
        past = sqlite3.connect("file:notes.db?version={version.version}", uri=True)
        tell(rows(past, "SELECT a FROM t"))
        tell(failure(lambda: past.execute("INSERT INTO t VALUES (2)")))
        now = sqlite3.connect("file:notes.db", uri=True)
        now.execute("ATTACH 'file:notes.db?version={version.version}' AS past")
        tell(rows(now, "SELECT a FROM past.t EXCEPT SELECT a FROM main.t"))
    """)
    assert done.told == [[[1]], "attempt to write a readonly database", [[1]]]


def test_attach_from_any_connection_is_routed(routed: Routed) -> None:
    make(routed)
    done = routed.run("""
        for main in (":memory:", "../plain.db", "", "other.db"):
            c = sqlite3.connect(main)
            c.execute("ATTACH 'notes.db' AS n")
            tell(rows(c, "SELECT a FROM n.t"))
    """)
    assert done.told == [[[1]]] * 4


def test_a_commit_over_several_routed_databases_is_one(routed: Routed) -> None:
    make(routed, "one.db")
    make(routed, "two.db")
    routed.run("""
        c = sqlite3.connect("one.db")
        c.execute("ATTACH 'two.db' AS two")
        c.execute("ATTACH '../plain.db' AS plain")
        c.execute("CREATE TABLE plain.t(a)")
        c.execute("INSERT INTO main.t VALUES (2)")
        c.execute("INSERT INTO two.t VALUES (3)")
        c.execute("INSERT INTO plain.t VALUES (4)")
        c.commit()
    """)
    assert routed.sql("one.db", "SELECT a FROM t") == [[1], [2]]
    assert routed.sql("two.db", "SELECT a FROM t") == [[1], [3]]
    assert sqlite3.connect(routed.place / "plain.db").execute("SELECT a FROM t").fetchall() == [(4,)]
    with routed.store as store:
        one, two = store.database("one").newest, store.database("two").newest
    assert one
    assert two
    assert one.version == two.version
    assert sorted(p.name for p in routed.place.iterdir() if p.suffix != "") == ["plain.db"]


def test_threads_open_and_close_the_same_path(routed: Routed) -> None:
    make(routed)
    done = routed.run("""
        def work():
            for i in range(20):
                c = sqlite3.connect("notes.db", timeout=30)
                c.execute("INSERT INTO t VALUES (?)", (i,))
                c.commit()
                c.close()
        threads = [threading.Thread(target=work) for _ in range(4)]
        for t in threads: t.start()
        for t in threads: t.join()
        tell(rows(sqlite3.connect("notes.db"), "SELECT count(*) FROM t"))
    """)
    assert done.told == [[[81]]]


# ---- all other files ------------------------------------------------------------------


def test_other_files_are_left_alone(routed: Routed) -> None:
    done = routed.run("""
        c = sqlite3.connect("../plain.db")
        tell(rows(c, "PRAGMA journal_mode=WAL"))
        c.executescript("CREATE TABLE t(a); INSERT INTO t VALUES (1)")
        tell(sorted(p.name for p in Path("..").iterdir() if p.is_file()))
        other = sqlite3.connect("../plain.db")
        tell(rows(other, "SELECT a FROM t"))
        tell(failure(lambda: rows(c, "SELECT mv_version()")) is not None)
        other.close()
        c.execute("VACUUM INTO '../copy.db'")
        c.close()
        t = sqlite3.connect("")
        t.executescript("CREATE TABLE big(a); INSERT INTO big VALUES (zeroblob(300000))")
        tell(sorted(p.name for p in Path("..").iterdir() if p.is_file()))
    """)
    assert done.told == [
        [["wal"]],
        ["plain.db", "plain.db-shm", "plain.db-wal"],
        [[1]],
        True,
        ["copy.db", "plain.db"],
    ]
    assert (routed.place / "copy.db").read_bytes().startswith(b"SQLite format 3\0")
    assert names(routed) == []


def test_a_file_named_like_a_journal_of_nothing_is_a_file(routed: Routed) -> None:
    make(routed)
    done = routed.run("""
        c = sqlite3.connect("notes.db-wal")
        c.execute("CREATE TABLE t(a)")
        tell(os.path.getsize("notes.db-wal") > 0)
    """)
    assert done.told == [True]


def test_copies_leave_the_store_by_backup_and_vacuum_into(routed: Routed) -> None:
    make(routed)
    routed.run("""
        c = sqlite3.connect("notes.db")
        c.execute("VACUUM INTO '../vacuumed.db'")
        with sqlite3.connect("../backup.db") as out:
            c.backup(out)
        c.execute("VACUUM INTO 'inside.db'")
    """)
    for name in ("vacuumed.db", "backup.db"):
        assert sqlite3.connect(routed.place / name).execute("SELECT a FROM t").fetchall() == [(1,)]
    assert routed.sql("inside.db", "SELECT a FROM t") == [[1]]
    assert names(routed) == ["inside", "notes"]


# ---- stubs ------------------------------------------------------------------------------


def test_plain_sqlite_refuses_a_stub_and_says_what_it_is(routed: Routed) -> None:
    make(routed)
    before = (routed.data / "notes.db").read_bytes()
    for connect in (sqlite3.connect, apsw.Connection):
        connection = connect(str(routed.data / "notes.db"))
        for sql in ("SELECT * FROM t", "CREATE TABLE t(a)", "PRAGMA journal_mode=WAL"):
            with pytest.raises((sqlite3.Error, apsw.Error), match=r"not the data.*\"notes\".*mvsqlite"):
                connection.execute(sql)
        with pytest.raises((sqlite3.Error, apsw.Error), match="readonly"):
            connection.execute("PRAGMA user_version = 7")
        with pytest.raises((sqlite3.Error, apsw.Error)):
            connection.execute("VACUUM")
        connection.close()
    assert (routed.data / "notes.db").read_bytes() == before


def test_an_empty_file_becomes_a_stub_with_its_mode(routed: Routed) -> None:
    path = routed.data / "notes.db"
    path.touch(0o600)
    path.chmod(0o604)
    make(routed)
    assert path.stat().st_mode & 0o777 == 0o604
    assert path.stat().st_size == 17 * 1024
    assert names(routed) == ["notes"]


def test_a_missing_file_is_made_only_if_that_was_asked(routed: Routed) -> None:
    done = routed.run("""
        tell(failure(lambda: sqlite3.connect("file:notes.db?mode=rw", uri=True)))
        tell(failure(lambda: sqlite3.connect("file:notes.db?mode=ro", uri=True)))
        tell(os.listdir("."))
    """)
    assert done.told == ["unable to open database file"] * 2 + [[]]
    assert done.messages == ""
    assert names(routed) == []


def test_a_missing_directory_is_an_error_as_with_files(routed: Routed) -> None:
    routed.routes = [f"{routed.data}/**.db={{path}}"]
    done = routed.run("tell(failure(lambda: sqlite3.connect('none/notes.db')))")
    assert done.told == ["unable to open database file"]
    assert "none/notes.db" in done.messages
    assert names(routed) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
@pytest.mark.lmdb_only("another user must be able to open the store")
def test_who_may_not_write_the_stub_may_not_write_the_database() -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as place:  # pytest's own is not for others
        Path(place).chmod(0o755)
        check_permissions(Routed(Path(place), f"lmdb:{place}/store"))


def check_permissions(routed: Routed) -> None:
    make(routed)
    for path in [Path(routed.url.removeprefix("lmdb:")), *Path(routed.url.removeprefix("lmdb:")).iterdir()]:
        os.chown(path, NOBODY, NOBODY)
    as_nobody = f"os.chdir('/'); os.setgid({NOBODY}); os.setuid({NOBODY}); c = {{}}\n"
    done = routed.run(
        as_nobody
        + f"""
c = sqlite3.connect({str(routed.data / "notes.db")!r})
tell(rows(c, "SELECT a FROM t"))
tell(failure(lambda: c.execute("INSERT INTO t VALUES (2)")))
tell(failure(lambda: sqlite3.connect({str(routed.data / "new.db")!r})))
"""
    )
    assert done.told == [[[1]], "attempt to write a readonly database", "unable to open database file"]
    (routed.data / "notes.db").chmod(0o600)
    done = routed.run(
        as_nobody + f"tell(failure(lambda: sqlite3.connect({str(routed.data / 'notes.db')!r})))\n"
    )
    assert done.told == ["unable to open database file"]
    assert f"cannot read {routed.data / 'notes.db'}" in done.messages


def test_a_copied_stub_is_refused(routed: Routed) -> None:
    make(routed)
    (routed.data / "copy.db").write_bytes((routed.data / "notes.db").read_bytes())
    (routed.place / "copy.txt").write_bytes((routed.data / "notes.db").read_bytes())
    for path in ("copy.db", "../copy.txt"):
        done = routed.run(f"tell(failure(lambda: sqlite3.connect({path!r})))")
        assert done.told == ["unable to open database file"]
        assert "holds no data" in done.messages
        assert "mvsqlite export" in done.messages
    assert names(routed) == ["notes"]


def test_a_moved_directory_goes_on_with_its_database(routed: Routed) -> None:
    make(routed)
    moved = routed.place / "moved"
    routed.data.rename(moved)
    routed.data.mkdir()
    routed.routes = [f"{moved}/notes.db=notes"]
    assert routed.sql(str(moved / "notes.db"), "SELECT a FROM t") == [[1]]
    routed.routes = [f"{routed.data}/nothing=nothing"]  # the stub alone says it from now on
    assert routed.sql(str(moved / "notes.db"), "SELECT a FROM t") == [[1]]


def test_a_database_renamed_in_the_store_is_found_by_the_new_route(routed: Routed) -> None:
    make(routed)
    with routed.store as store:
        store.rename("notes", "diary")
    routed.routes = [f"{routed.data}/notes.db=diary"]
    assert routed.sql("notes.db", "SELECT a FROM t") == [[1]]
    assert b"name=diary" in (routed.data / "notes.db").read_bytes()


def test_a_route_renamed_alone_does_not_begin_anew(routed: Routed) -> None:
    make(routed)
    routed.routes = [f"{routed.data}/notes.db=diary"]
    done = routed.run("tell(rows(sqlite3.connect('notes.db'), 'SELECT a FROM t'))")
    assert done.told == [[[1]]]
    routed.extra["MVSQLITE_LOG"] = "warn"
    assert 'stays the database "notes"' in routed.run("sqlite3.connect('notes.db')").messages
    with routed.store as store:
        store.create("diary")
    done = routed.run("tell(failure(lambda: sqlite3.connect('notes.db')))")
    assert done.told == ["unable to open database file"]
    assert "the store has both" in done.messages


def test_a_stub_whose_database_is_not_there_does_not_begin_anew(routed: Routed, tmp_path: Path) -> None:
    make(routed)
    with routed.store as store:
        store.delete("notes")
    done = routed.run("tell(failure(lambda: sqlite3.connect('notes.db')))")
    assert done.told == ["unable to open database file"]
    assert "mvsqlite undelete" in done.messages
    with routed.store as store:
        store.undelete("notes")
    routed.url = f"lmdb:{tmp_path / 'another'}"
    done = routed.run("tell(failure(lambda: sqlite3.connect('notes.db')))")
    assert done.told == ["unable to open database file"]
    assert str(tmp_path / "another") in done.messages


def test_a_new_machine_finds_its_databases_in_the_store(routed: Routed) -> None:
    make(routed)
    (routed.data / "notes.db").unlink()
    assert routed.sql("notes.db", "SELECT a FROM t") == [[1]]


def test_an_ordinary_file_is_refused_until_it_may_be_taken_in(routed: Routed) -> None:
    sqlite3.connect(routed.data / "notes.db").executescript("CREATE TABLE t(a); INSERT INTO t VALUES (5)")
    before = (routed.data / "notes.db").read_bytes()
    done = routed.run("tell(failure(lambda: sqlite3.connect('notes.db')))")
    assert done.told == ["unable to open database file"]
    assert "--import" in done.messages
    assert (routed.data / "notes.db").read_bytes() == before
    assert names(routed) == []


def test_a_name_the_store_cannot_have_is_told(routed: Routed) -> None:
    routed.routes = [f"{routed.data}/*.db={{stem}}-journal"]
    done = routed.run("tell(failure(lambda: sqlite3.connect('notes.db')))")
    assert done.told == ["unable to open database file"]
    assert "notes-journal" in done.messages
    assert list(routed.data.iterdir()) == []


def test_bad_routes_open_nothing(routed: Routed) -> None:
    """Whoever goes on in spite of an error begins nothing anew."""
    routed.routes = ["nonsense"]
    done = routed.run("""
        tell(rows(sqlite3.connect(":memory:"), "SELECT 1"))
        for path in ("notes.db", "other.sqlite"):
            tell(failure(lambda: sqlite3.connect(path)))
    """)
    assert done.told == [[[1]], "unable to open database file", "unable to open database file"]
    assert done.messages.count('"nonsense" is no route: write PATTERN=NAME') == 2
    assert list(routed.data.iterdir()) == []


# ---- messages -----------------------------------------------------------------------------


def test_messages_go_where_the_environment_says(routed: Routed, tmp_path: Path) -> None:
    import json

    log = tmp_path / "log.json"
    routed.extra = {"MVSQLITE_LOG": "info", "MVSQLITE_LOG_FILE": str(log), "MVSQLITE_LOG_FORMAT": "json"}
    done = routed.run("sqlite3.connect('notes.db'); sqlite3.connect('no\"ne.db'); tell(os.getpid())")
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert done.messages == ""
    assert [line["level"] for line in lines] == ["info", "info"]
    assert {line["pid"] for line in lines} == {done.told[0]}
    assert 'no"ne.db is the database "no"ne"' in lines[1]["message"]
    assert all(line["time"].endswith("Z") for line in lines)
    routed.extra = {"MVSQLITE_LOG": "off"}
    (routed.data / "copy.db").write_bytes((routed.data / "notes.db").read_bytes())
    assert routed.run("failure(lambda: sqlite3.connect('copy.db'))").messages == ""


def test_a_file_in_the_place_of_standard_error_is_not_written(routed: Routed) -> None:
    done = routed.run("""
        os.close(2)
        victim = os.open("../victim", os.O_RDWR | os.O_CREAT)
        tell(victim)
        tell(failure(lambda: sqlite3.connect("file:none/x.db", uri=True)))
        Path("copy.db").write_bytes(b"x" * 600)
        tell(failure(lambda: sqlite3.connect("copy.db")))
    """)
    assert done.told == [2, "unable to open database file", "unable to open database file"]
    assert (routed.place / "victim").read_bytes() == b""
