"""``mvsqlite doctor`` and stores in a directory: each sickness is made for real."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import mvsqlite_py
from child import NOBODY, in_child, needs_root, open_to_everyone
from mvsqlite_py import _binding
from mvsqlite_py._cli.mvsqlite import mvsqlite
from mvsqlite_py._doctor import Finding, describe, examine, lmdb, store
from mvsqlite_py._doctor.finding import Process, parse_process

GET, COMMIT, KILL, STOP = 3, 6, -9, -19  # mv_fault_kind, and what the plan does


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A store with one database, closed. Its gate is waited for shortly."""
    made = f"lmdb:{tmp_path / 'store'}?wait_ms=200"
    fill(made)
    return made


@pytest.fixture
def open_to_all() -> Iterator[Path]:
    with open_to_everyone() as directory:
        yield directory


def fill(url: str) -> None:
    with mvsqlite_py.open_store(url) as made, closing(mvsqlite_py.connect("notes.db", made)) as db:
        db.execute("CREATE TABLE t(a)")
        db.execute("INSERT INTO t VALUES (1)")


def directory_of(url: str) -> Path:
    return lmdb.directory_of(url)


def doctor(*words: str, status: int = 0) -> Result:
    result = CliRunner(env={"COLUMNS": None}).invoke(mvsqlite, ["doctor", *words])
    assert result.exit_code == status, result.output + repr(result.exception)
    assert "Traceback" not in result.output
    return result


def sick(found: list[Finding]) -> list[tuple[str, str]]:
    """Level and subject of all that is not well; each must have a way out."""
    assert all(one.remedy for one in found if one.level != "ok")
    return [(one.level, one.about) for one in found if one.level != "ok"]


def only(found: list[Finding], level: str, about: str) -> Finding:
    """The one thing that is not well."""
    assert sick(found) == [(level, about)], found
    return next(one for one in found if one.level != "ok")


# ---- the command ------------------------------------------------------------------------


def test_a_store_that_is_well(url: str) -> None:
    said = doctor(url).output
    assert said.endswith("All is well.\n")
    assert "1 database of 8.19 kB" in said
    found = json.loads(doctor("--json", url).stdout)
    assert {one["level"] for one in found} == {"ok"}
    assert set(found[0]) == {"level", "about", "what", "remedy"}


def test_the_address_comes_from_where_commands_take_it(url: str) -> None:
    assert "as given" in doctor(url).output
    assert "as --store says" in doctor("--store", url).output
    other = CliRunner(env={"MVSQLITE_STORE": url}).invoke(mvsqlite, ["doctor"])
    assert "as MVSQLITE_STORE says" in other.output
    assert "give either" in doctor(url, "--store", url, status=2).output


def test_what_is_wrong_comes_with_its_way_out(tmp_path: Path) -> None:
    lines = doctor(f"lmdb:{tmp_path / 'none'}", status=1).output.splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("✗ directory: there is no store"))
    assert lines[at + 1].startswith("  → check the address")
    assert lines[-1] == "1 thing is wrong."


@pytest.mark.parametrize(
    ("address", "says", "remedy"),
    [
        ("", "no known scheme", "lmdb:/path"),
        ("nothing:/x", 'address "nothing:/x"', "lmdb:/path"),
        ("lmdb:", "names no directory", "lmdb:/path"),
        ("fdb:?x=1", 'there is no option "x"', "fdb:/path"),
        ("fault:nothing:/x", "no known scheme", "lmdb:/path"),
    ],
)
def test_addresses_that_cannot_be(address: str, says: str, remedy: str) -> None:
    one = only(examine(address), "wrong", "address")
    assert says in one.what
    assert remedy in one.remedy


def test_a_path_instead_of_an_address(url: str, tmp_path: Path) -> None:
    one = only(examine(str(directory_of(url))), "wrong", "address")
    assert f"lmdb:{directory_of(url)}" in one.remedy
    (tmp_path / "notes.sqlite").write_bytes(b"SQLite format 3\0")
    one = only(examine(str(tmp_path / "notes.sqlite")), "wrong", "address")
    assert "mvsqlite import" in one.remedy


def test_options_of_the_address_that_cannot_be(url: str) -> None:
    bad = f"lmdb:{directory_of(url)}?map_bytes=few"
    assert "map_bytes" in only(examine(bad), "wrong", "address").what


@pytest.mark.parametrize("wrapper", ["", "fault:"])
def test_an_open_store_is_described_alike(url: str, wrapper: str) -> None:
    pointer = _binding.ffi.new("char **")
    with mvsqlite_py.open_store(wrapper + url) as opened:
        _binding.check(_binding.lib.mv_store_describe(opened.pointer, pointer))
    told = json.loads(_binding.text(pointer[0]))
    _binding.lib.mv_free(pointer[0])
    looked = describe(wrapper + url)
    assert told["store"]["databases"] == looked["store"]["databases"]
    assert told["lmdb"]["pages"] == looked["lmdb"]["pages"]
    assert told["url"] == wrapper + url


def test_names_of_any_kind(url: str) -> None:
    name = 'say "hello" \\ naïve 漢字'
    with mvsqlite_py.open_store(url) as opened:
        opened.create(name)
    assert [one["name"] for one in describe(url)["store"]["databases"]] == ["notes.db", name]


# ---- directories that hold no store ---------------------------------------------------------


def test_nothing_is_made(tmp_path: Path) -> None:
    path = tmp_path / "a" / "store"
    assert "does not exist" in only(examine(f"lmdb:{path}"), "wrong", "directory").what
    assert describe(f"lmdb:{path}")["failed"]["code"] == "MV_NOTFOUND"
    assert list(tmp_path.iterdir()) == []
    path.mkdir(parents=True)
    assert "it is empty" in only(examine(f"lmdb:{path}"), "wrong", "directory").what
    assert describe(f"lmdb:{path}")["failed"]["code"] == "MV_NOTFOUND"
    assert list(path.iterdir()) == []
    (path / "letter.txt").write_text("hello")
    assert "letter.txt" in only(examine(f"lmdb:{path}"), "wrong", "directory").what
    assert [one.name for one in path.iterdir()] == ["letter.txt"]


def test_a_file_and_an_empty_one(tmp_path: Path) -> None:
    (tmp_path / "data.mdb").touch()
    assert "is empty" in only(examine(f"lmdb:{tmp_path}"), "wrong", "directory").what
    assert "is a file" in only(examine(f"lmdb:{tmp_path / 'data.mdb'}"), "wrong", "directory").what


def test_a_copy_without_lock_files_is_looked_at_and_left_alone(url: str, tmp_path: Path) -> None:
    (tmp_path / "copy").mkdir()
    shutil.copy(directory_of(url) / "data.mdb", tmp_path / "copy")
    found = examine(f"lmdb:{tmp_path / 'copy'}")
    assert sick(found) == []
    assert any("1 database" in one.what for one in found)
    assert [one.name for one in (tmp_path / "copy").iterdir()] == ["data.mdb"]


def test_looking_at_a_copy_and_then_using_it(url: str, tmp_path: Path) -> None:
    (tmp_path / "copy").mkdir()
    shutil.copy(directory_of(url) / "data.mdb", tmp_path / "copy")
    copy = f"lmdb:{tmp_path / 'copy'}"
    examine(copy)
    with mvsqlite_py.open_store(copy) as opened, closing(mvsqlite_py.connect("notes.db", opened)) as db:
        db.execute("INSERT INTO t VALUES (2)")
        assert sick(examine(copy)) == []
        assert db.execute("SELECT count(*) FROM t").fetchall() == [(2,)]


# ---- damage -------------------------------------------------------------------------------------


@pytest.mark.parametrize("keep", [4096, 8192, 16384])
def test_a_truncated_store(url: str, keep: int) -> None:
    os.truncate(directory_of(url) / "data.mdb", keep)
    one = only(examine(url), "wrong", "database")
    assert "data.mdb" in one.what
    assert "backup" in one.remedy


@pytest.mark.parametrize("content", [b"garbage" * 4096, b"x", bytes(16384)])
def test_something_else_than_a_store(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "data.mdb").write_bytes(content)
    one = only(examine(f"lmdb:{tmp_path}"), "wrong", "database")
    assert str(tmp_path) in one.what
    assert [path.name for path in tmp_path.iterdir()] == ["data.mdb"]


def test_the_format_of_a_newer_release(url: str) -> None:
    data = directory_of(url) / "data.mdb"
    data.write_bytes(data.read_bytes().replace(b"mv/f\0\0\0\2", b"mv/f\0\0\0\3"))
    one = only(examine(url), "wrong", "format")
    assert "format 3, and this release reads up to 2" in one.what
    assert "pip install" in one.remedy


# ---- users ------------------------------------------------------------------------------------------


@needs_root
@pytest.mark.parametrize(("mode", "says"), [(0o755, "be read but not written"), (0o700, "not even be read")])
def test_a_store_of_another_user(open_to_all: Path, mode: int, says: str) -> None:
    address = f"lmdb:{open_to_all / 'store'}"
    fill(address)
    (open_to_all / "store").chmod(mode)
    said = in_child(lambda: doctor("--json", address, status=1).stdout, NOBODY)
    found = [Finding(**one) for one in json.loads(said)]
    kinds = {one.about for one in found if one.level == "wrong"}
    assert kinds in ({"permissions"}, {"directory"})
    bad = next(one for one in found if one.level == "wrong")
    assert says in bad.what or "Permission denied" in bad.what
    assert bad.remedy


@needs_root
def test_files_of_two_users(url: str) -> None:
    os.chown(directory_of(url) / "gate", NOBODY, NOBODY)
    one = only(examine(url), "warning", "permissions")
    assert "gate" in one.what
    assert f"chown root {directory_of(url)}/gate" in one.remedy


@needs_root
def test_root_at_the_store_of_another_user_makes_no_files_in_it(open_to_all: Path) -> None:
    address = f"lmdb:{open_to_all / 'store'}"
    fill(address)
    for path in [open_to_all / "store", *(open_to_all / "store").iterdir()]:
        os.chown(path, NOBODY, NOBODY)
    one = only(examine(address), "warning", "permissions")
    assert "sudo -u nobody" in one.remedy
    for name in ("gate", "writers.lock", "readers.lock"):
        (open_to_all / "store" / name).unlink()
    examine(address)
    assert sorted(path.name for path in (open_to_all / "store").iterdir()) == ["data.mdb", "lock.mdb"]


def test_a_directory_open_to_all(url: str) -> None:
    directory_of(url).chmod(0o777)
    assert "every user" in only(examine(url), "warning", "permissions").what


# ---- other processes ----------------------------------------------------------------------------------


WORKER = """
import sys
import mvsqlite_py
from mvsqlite_py._binding import lib
connection = mvsqlite_py.connect("notes.db", "fault:" + sys.argv[1])
connection.execute("SELECT * FROM t").fetchall()
lib.mv_fault_arm(int(sys.argv[2]), int(sys.argv[3]), 0, int(sys.argv[4]))
connection.execute(sys.argv[5])
"""


def run_worker(url: str, kind: int, nth: int, action: int, sql: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", WORKER, url, str(kind), str(nth), str(action), sql])


@contextmanager
def stopped_at(url: str, kind: int, sql: str) -> Iterator[int]:
    """A process that is stopped inside a call of the engine."""
    with run_worker(url, kind, 1, STOP, sql) as worker:
        assert os.WIFSTOPPED(os.waitpid(worker.pid, os.WUNTRACED)[1])
        try:
            yield worker.pid
        finally:
            os.kill(worker.pid, signal.SIGCONT)
            worker.wait()


def test_a_process_stopped_in_a_commit(url: str) -> None:
    with stopped_at(url, COMMIT, "INSERT INTO t VALUES (2)") as pid:
        found = examine(url)
        one = next(one for one in found if one.about == "commits")
        assert one.level == "wrong"
        assert f"process {pid} (python" in one.what
        assert f"kill -CONT {pid}" in one.remedy
    assert sick(examine(url)) == []


def test_a_process_that_died_in_a_commit(url: str) -> None:
    with mvsqlite_py.open_store(url):  # so that the lock is not made anew
        with run_worker(url, COMMIT, 1, KILL, "INSERT INTO t VALUES (2)") as worker:
            assert worker.wait() == -signal.SIGKILL
        found = examine(url)
        one = next(one for one in found if one.about == "commits")
        assert one.level == "warning"
        assert f"process {worker.pid} died" in one.what
        assert sick(examine(url)) == []


def test_a_reader_that_died(url: str) -> None:
    with mvsqlite_py.open_store(url):
        with run_worker(url, GET, 1, KILL, "SELECT * FROM t") as worker:
            assert worker.wait() == -signal.SIGKILL
        one = only(examine(url), "warning", "readers")
        assert "processes that died" in one.what
        assert sick(examine(url)) == []


def test_a_reader_that_is_stopped(url: str) -> None:
    with (
        stopped_at(url, GET, "SELECT * FROM t") as pid,
        closing(mvsqlite_py.connect("notes.db", url)) as db,
    ):
        for value in range(3):
            db.execute("INSERT INTO t VALUES (?)", (value,))
        one = only(examine(url), "warning", "readers")
        assert f"process {pid} (python" in one.what
        assert "3 commits ago" in one.what


# ---- commits that are not at their end ------------------------------------------------------------------


LARGE = """
import os, signal, sys
import mvsqlite_py
from mvsqlite_py._binding import lib
store = mvsqlite_py.open_store("fault:" + sys.argv[1])
store.configure(stage_bytes=65536)
connection = mvsqlite_py.connect("notes.db", store)
connection.execute("PRAGMA cache_size = 5; SELECT * FROM t").fetchall()
lib.mv_fault_arm(6, int(sys.argv[2]), 0, -9)
connection.execute("INSERT INTO t SELECT randomblob(3000) FROM json_each('[' || repeat || '1]')".replace(
    "repeat", "replace(hex(zeroblob(100)), '00', '1,')"))
"""


def kill_large(url: str, nth: int) -> bool:
    """Kills a process at its n-th commit of a large transaction; whether there was one."""
    status = subprocess.run([sys.executable, "-c", LARGE, url, str(nth)], check=False).returncode
    assert status in (0, -signal.SIGKILL)
    return status != 0


def settle(url: str) -> None:
    """The way out that both findings name."""
    result = CliRunner().invoke(mvsqlite, ["shell", "notes.db", "BEGIN IMMEDIATE; ROLLBACK", "--store", url])
    assert result.exit_code == 0, result.output


def test_large_transactions_that_were_cut_off(url: str, tmp_path: Path) -> None:
    """Killed at each commit in turn, both kinds come up, and their way out is one."""
    shutil.copytree(directory_of(url), tmp_path / "kept")
    seen, nth = set[tuple[str, str]](), 1
    while kill_large(url, nth):
        found = examine(url)
        for one in found:
            if one.level != "ok":
                assert "BEGIN IMMEDIATE; ROLLBACK" in one.remedy
        seen |= set(sick(found))
        settle(url)
        assert sick(examine(url)) == []
        shutil.rmtree(directory_of(url))
        shutil.copytree(tmp_path / "kept", directory_of(url))
        nth += 1
    assert seen == {("warning", "staging"), ("warning", "large commit")}


def test_a_large_transaction_under_way_is_no_finding(url: str) -> None:
    with mvsqlite_py.open_store(url) as opened:
        opened.configure(stage_bytes=65536)
        with closing(mvsqlite_py.connect("notes.db", opened)) as db:
            db.execute("PRAGMA cache_size = 5; BEGIN IMMEDIATE")
            for _ in range(100):
                db.execute("INSERT INTO t VALUES (randomblob(3000))")
            assert describe(url)["store"]["databases"][0]["staged"]
            assert sick(examine(url)) == []
            db.execute("ROLLBACK")


def test_an_import_that_did_not_end(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with mvsqlite_py.open_store(url) as opened:
        opened.create(f"{store.IMPORTING}0123")
    assert sick(examine(url)) == [], "it may still be under way"
    monkeypatch.setattr(store, "UNFINISHED_MS", -1)
    assert "1 import did not end" in only(examine(url), "warning", "imports").what


def test_deleted_databases_are_counted(url: str) -> None:
    with mvsqlite_py.open_store(url) as opened:
        opened.create("other.db")
        opened.delete("other.db")
    found = examine(url)
    assert sick(found) == []
    assert any("1 database of 8.19 kB, and 1 deleted" in one.what for one in found)


# ---- disks ----------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(open_to_all: Path) -> Iterator[Path]:
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=6m", "mvsqlite-test", str(open_to_all)],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    if mounted.returncode != 0:
        pytest.skip(f"cannot mount a small file system here: {mounted.stderr.strip()}")
    try:
        yield open_to_all
    finally:
        subprocess.run(["umount", "-l", str(open_to_all)], check=True)


def test_a_small_disk_in_memory_and_then_read_only(small_disk: Path) -> None:
    address = f"lmdb:{small_disk / 'store'}"
    fill(address)
    assert sick(examine(address)) == [("warning", "file system"), ("wrong", "disk")]
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    one = only(examine(address), "wrong", "file system")
    assert "read-only" in one.what
    assert f"remount,rw {small_disk}" in one.remedy


MOUNTS = r"""
/dev/sda1 / ext4 rw,relatime 0 0
server:/home /home nfs4 rw,vers=4.2 0 0
/dev/sdb1 /home/me/my\040disk xfs rw 0 0
me@host: /mnt/far fuse.sshfs rw 0 0
share /mnt/share cifs rw 0 0
/dev/sr0 /mnt/cd iso9660 ro,nojoliet 0 0
"""


@pytest.mark.parametrize(
    ("path", "level", "says"),
    [
        ("/var/store", "ok", "/ (ext4)"),
        ("/home/me/store", "warning", "/home (nfs4)"),
        ("/home/me/my disk/store", "ok", "/home/me/my disk (xfs)"),
        ("/mnt/far/store", "warning", "fuse.sshfs"),
        ("/mnt/share", "warning", "cifs"),
        ("/mnt/cd/store", "wrong", "read-only"),
        ("/mnt/cdrom", "ok", "/ (ext4)"),
    ],
)
def test_file_systems(path: str, level: str, says: str) -> None:
    found = lmdb.file_system_finding(Path(path), MOUNTS)
    assert found.level == level
    assert says in found.what


@pytest.mark.parametrize(
    ("free", "files", "used", "level"),
    [
        (10 << 30, 1000, 1 << 20, "ok"),
        (10 << 30, -1, 1 << 20, "ok"),
        (10 << 30, 0, 1 << 20, "wrong"),
        (100 << 20, 1000, 1 << 20, "warning"),
        (10 << 30, 1000, 1 << 40, "warning"),
        (1 << 20, 1000, 1 << 20, "wrong"),
    ],
)
def test_room_on_the_disk(free: int, files: int, used: int, level: str) -> None:
    assert lmdb.room_finding(Path("/s"), lmdb.Room(free, 1 << 41, files), used).level == level


# ---- what the engine says, made up ------------------------------------------------------------------------


WELL = {
    "map_bytes": 1 << 30, "page_bytes": 4096, "pages": 100, "free_pages": 10, "transaction": 500,
    "reader_slots": 4096, "readers": [], "dead_readers": 0, "lock_files": True,
}  # fmt: skip


def engine(process: Process | None = None, space: int | None = None, **changed: object) -> list[Finding]:
    return lmdb.engine_findings(WELL | changed, lambda _: process, me=1, address_space=space)


def test_an_engine_that_is_well() -> None:
    assert sick(engine()) == []
    mine = [{"pid": 1, "transaction": 3}]
    assert sick(engine(readers=mine)) == [], "the doctor's own"
    assert sick(engine(readers=[{"pid": 7}, {"pid": 7, "transaction": 499}], space=4 << 30)) == []


def test_readers_that_stay() -> None:
    slow = engine(Process(7, "app", "S"), readers=[{"pid": 7, "transaction": 100}])
    assert "process 7 (app) has been reading for 400 commits" in only(slow, "warning", "readers").what
    assert (
        "process 7 has been"
        in only(engine(readers=[{"pid": 7, "transaction": 9}]), "warning", "readers").what
    )
    full = engine(readers=[{"pid": pid} for pid in range(2, 4000)])
    assert "places for readers" in only(full, "warning", "readers").what


def test_who_holds_up_commits() -> None:
    assert "another container" in only(engine(gate_held_by=7), "wrong", "commits").what
    slow = engine(Process(7, "app", "D"), gate_held_by=7)
    assert "more than a second" in only(slow, "warning", "commits").what


def test_a_limit_on_address_space() -> None:
    assert "1.07 GB of address space" in only(engine(space=1 << 30), "warning", "map").what


def test_names_of_processes() -> None:
    assert parse_process(7, "7 (a (b) c) T 1 7 7") == Process(7, "a (b) c", "T")


# ---- what the store says, made up -------------------------------------------------------------------------


def database(**changed: object) -> dict[str, object]:
    newest = "00000000000000040000"
    return {
        "id": 1, "name": "a.db", "created_ms": 1, "deleted_ms": 0, "pages": 2, "page_size": 4096,
        "newest": newest, "newest_ms": 1000, "moving": False, "record": newest, "record_ms": 1000,
        "previous_ms": 900, "staged": [],
    } | changed  # fmt: skip


def stored(
    one: dict[str, object], *, now: int = 2000, shared: bool = True, busy: bool = False
) -> list[Finding]:
    content = {"format": 1, "readable_format": 1, "now_ms": now, "databases": [one]}
    return store.findings(content, shared=shared, writing=lambda _: busy)


def test_times() -> None:
    assert sick(stored(database())) == []
    assert sick(stored(database(), now=0)) == [], "clocks are never quite equal"
    one = only(stored(database(newest_ms=100_000_000)), "warning", "clock")
    assert "1 day in the future" in one.what
    back = stored(database(previous_ms=1001))
    assert "earlier time" in only(back, "wrong", "records").what


def test_records_that_contradict() -> None:
    assert "no commit record" in only(stored(database(record="0" * 20)), "wrong", "records").what
    assert "it broke" in only(stored(database(error="it broke")), "wrong", "records").what
    assert sick(stored(database(newest="0" * 20, record=None))) == [], "before the first commit"


@pytest.mark.parametrize(
    ("changed", "shared", "busy", "expected"),
    [
        ({"moving": True}, False, True, []),
        ({"moving": True}, False, False, [("warning", "large commit")]),
        ({"staged": [{"ms": 10, "locked": True}]}, False, False, [("warning", "staging")]),
        ({"staged": [{"ms": 10, "locked": True}]}, False, True, []),
        ({"staged": [{"ms": 10, "locked": False}]}, False, False, []),
        ({"staged": [{"ms": 10, "locked": True}]}, True, False, []),
        ({"staged": [{"ms": 10 - 4_000_000, "locked": True}]}, True, False, [("warning", "staging")]),
        ({"staged": [{"ms": 10 - 4_000_000, "locked": False}]}, True, True, [("warning", "staging")]),
        ({"staged": [{"ms": 10, "locked": True}], "deleted_ms": 5}, False, False, []),
        ({"lease_until_ms": 12_000}, True, False, []),
        ({"lease_until_ms": 900_000}, True, False, [("warning", "lease")]),
    ],
)
def test_commits_under_way(
    changed: dict[str, object], shared: bool, busy: bool, expected: list[tuple[str, str]]
) -> None:
    """Another host's staging is given an hour."""
    assert sick(stored(database(**changed), shared=shared, busy=busy)) == expected
