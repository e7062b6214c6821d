"""Stores in bad places and bad states: damaged, foreign, read-only, full."""

import os
import resource
import shutil
import stat
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import apsw
import pytest

import mvsqlite_py
from child import NOBODY, in_child, open_to_everyone

embedded = pytest.mark.lmdb_only("about its directory")


@pytest.fixture
def filled(store_url: str) -> str:
    """The address of a store with one database, closed."""
    with mvsqlite_py.open_store(store_url) as store, closing(mvsqlite_py.connect("notes.db", store)) as db:
        db.execute("CREATE TABLE t(a)")
        db.execute("INSERT INTO t VALUES (1)")
    return store_url


@pytest.fixture
def open_to_all() -> Iterator[Path]:
    with open_to_everyone() as directory:
        yield directory


def directory_of(url: str) -> Path:
    return Path(url.removeprefix("lmdb:"))


def check_nothing_lost(url: str) -> None:
    with mvsqlite_py.open_store(url) as store:
        assert store.database("notes.db").verify().problems == []
        with closing(mvsqlite_py.connect("notes.db", store)) as db:
            assert db.execute("SELECT a FROM t").fetchall() == [(1,)]
            db.execute("INSERT INTO t VALUES (2); DELETE FROM t WHERE a = 2")


# ---- addresses --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "match"),
    [
        ("", "store address"),
        ("lmdb:", "names no directory"),
        ("nothing:/x", "nothing:/x"),
        ("/a/path", "/a/path"),
        ("lmdb:/x?y=1", "map_bytes"),
        ("lmdb:/x?map_bytes=lots", "map_bytes"),
        ("lmdb:/proc/none/store", "/proc/none"),
        ("lmdb:/dev/null", "not a directory"),
        ("lmdb:/dev/null/store", "/dev/null"),
        ("lmdb:/" + "x" * 300, "name too long|File name"),
        ("lmdb:/" + "y/" * 3000, "allows 4095"),
        ("lmdb:a\0b", "NUL"),
        ("fault:", "store address"),
    ],
    ids=range(13),
)
def test_an_address_that_cannot_be(url: str, match: str) -> None:
    with pytest.raises(mvsqlite_py.StoreError, match=f"(?i){match}"):
        mvsqlite_py.open_store(url)
    with pytest.raises(mvsqlite_py.StoreError, match=f"(?i){match}"):
        mvsqlite_py.connect("notes.db", url)


@embedded
def test_a_file_where_the_store_should_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("something")
    with pytest.raises(mvsqlite_py.StoreError, match="file is not a directory"):
        mvsqlite_py.open_store(f"lmdb:{tmp_path / 'file'}")
    assert (tmp_path / "file").read_text() == "something"


# ---- damaged --------------------------------------------------------------------------------


@embedded
@pytest.mark.parametrize(
    "content",
    [b"garbage" * 4096, b"x", b"SQLite format 3\0" + bytes(8176), os.urandom(65536), bytes(16384)],
    ids=["garbage", "one byte", "sqlite", "random", "zeros"],
)
def test_a_directory_with_something_else(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "data.mdb").write_bytes(content)
    said = in_child(lambda: mvsqlite_py.open_store(f"lmdb:{tmp_path}"))
    assert said.startswith(("CorruptError:", "EngineError:")), said
    assert str(tmp_path) in said
    assert (tmp_path / "data.mdb").read_bytes() == content


@embedded
@pytest.mark.parametrize("keep", [0.1, 0.5, 0.9])
def test_a_truncated_store(filled: str, keep: float) -> None:
    data = directory_of(filled) / "data.mdb"
    whole = data.read_bytes()
    os.truncate(data, max(4096, int(len(whole) * keep) & ~4095))
    said = in_child(lambda: mvsqlite_py.open_store(filled))
    assert said.startswith("CorruptError:"), said
    assert str(data) in said
    data.write_bytes(whole)
    check_nothing_lost(filled)


@embedded
@pytest.mark.parametrize("text", [b"SQLite format 3", b"CREATE TABLE t(a)"])
@pytest.mark.parametrize("byte", [0, 7, 14])
def test_damage_to_a_stored_page_is_noticed(filled: str, text: bytes, byte: int) -> None:
    """Never other rows than were written, and verify tells."""
    data = directory_of(filled) / "data.mdb"
    raw = data.read_bytes()
    if text not in raw:
        pytest.skip("stored compressed")
    data.write_bytes(raw.replace(text, text[:byte] + b"#" + text[byte + 1 :]))

    def work() -> object:
        with mvsqlite_py.open_store(filled) as store:
            problems = store.database("notes.db").verify().problems
            try:
                with closing(mvsqlite_py.connect("notes.db", store)) as db:
                    rows = db.execute("SELECT a FROM t").fetchall()
            except (mvsqlite_py.Error, apsw.CorruptError):
                rows = "refused"
            return f"{len(problems) > 0} {rows}"

    assert in_child(work) in ("True [(1,)]", "True refused")
    data.write_bytes(raw)
    check_nothing_lost(filled)


@embedded
def test_a_damaged_page_is_named(filled: str) -> None:
    """The checksum of an image: reading it fails, verify says which page."""
    data = directory_of(filled) / "data.mdb"
    raw = data.read_bytes()
    place = raw.find(b"CREATE TABLE t(a)")
    if place < 0:
        pytest.skip("the page is stored compressed")
    changed = raw.replace(b"CREATE TABLE t(a)", b"CREATE TABLE u(a)")
    data.write_bytes(changed)
    with mvsqlite_py.open_store(filled) as store:
        problems = store.database("notes.db").verify().problems
        assert any("page 1" in problem for problem in problems), problems
        with pytest.raises((mvsqlite_py.CorruptError, apsw.CorruptError)):
            mvsqlite_py.connect("notes.db", store).execute("SELECT * FROM t").fetchall()


@embedded
def test_a_store_of_a_newer_release(filled: str) -> None:
    """The format is under the key mv/f, a number of four bytes."""
    data = directory_of(filled) / "data.mdb"
    old = data.read_bytes()
    assert b"mv/f\0\0\0\2" in old
    data.write_bytes(old.replace(b"mv/f\0\0\0\2", b"mv/f\0\0\0\3"))
    with pytest.raises(mvsqlite_py.FormatError, match="format 3, this release reads up to 2"):
        mvsqlite_py.open_store(filled)
    with pytest.raises(mvsqlite_py.FormatError, match="newer release"):
        mvsqlite_py.connect("notes.db", filled)
    data.write_bytes(old)
    check_nothing_lost(filled)


@embedded
def test_a_store_that_was_moved(filled: str, tmp_path: Path) -> None:
    shutil.copytree(directory_of(filled), tmp_path / "copy")
    shutil.rmtree(directory_of(filled))
    check_nothing_lost(f"lmdb:{tmp_path / 'copy'}")


# ---- not allowed ----------------------------------------------------------------------------


needs_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")


@embedded
@needs_root
def test_a_directory_that_cannot_be_written(open_to_all: Path) -> None:
    said = in_child(lambda: mvsqlite_py.open_store(f"lmdb:{open_to_all / 'store'}"), NOBODY)
    assert said.startswith("StoreError:"), said
    assert str(open_to_all) in said
    assert not (open_to_all / "store").exists()


@embedded
@needs_root
def test_a_store_of_another_user(open_to_all: Path) -> None:
    url = f"lmdb:{open_to_all / 'store'}"
    with mvsqlite_py.open_store(url) as store:
        store.create("notes.db")
    assert stat.S_IMODE((open_to_all / "store").stat().st_mode) == 0o700
    for mode in (0o700, 0o755, 0o777):
        (open_to_all / "store").chmod(mode)
        said = in_child(lambda: mvsqlite_py.open_store(url), NOBODY)
        assert said.startswith("StoreError:"), said
        assert str(open_to_all / "store") in said
    with mvsqlite_py.open_store(url) as store:
        assert [info.name for info in store.list()] == ["notes.db"]


# ---- full ---------------------------------------------------------------------------------------


def fill_up(url: str) -> str:
    """Writes until there is no room, and then looks at what is left."""
    with mvsqlite_py.open_store(url) as store, closing(mvsqlite_py.connect("notes.db", store)) as db:
        db.execute("CREATE TABLE t(a)")
        written = 0
        try:
            for _ in range(1000):
                db.execute("INSERT INTO t VALUES (randomblob(100000))")
                written += 1
        except (apsw.FullError, apsw.IOError) as error:
            kept = db.execute("SELECT count(*) FROM t").fetchall()[0][0]
            ok = db.execute("PRAGMA integrity_check").fetchall()[0][0]
            problems = store.database("notes.db").verify().problems
            reason = mvsqlite_py._binding.last_error()
            return f"{type(error).__name__} {kept == written} {ok} {problems} {reason}"
    return "never full"


@embedded
def test_a_limit_on_the_size_of_files(store_url: str) -> None:
    def work() -> str:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4 << 20, 4 << 20))
        return fill_up(store_url)

    said = in_child(work)
    assert said.startswith(("IOError True ok []", "FullError True ok []")), said
    with mvsqlite_py.open_store(store_url) as store, closing(mvsqlite_py.connect("notes.db", store)) as db:
        before = db.execute("SELECT count(*) FROM t").fetchall()[0][0]
        db.execute("INSERT INTO t VALUES (randomblob(100000))")
        assert db.execute("SELECT count(*) FROM t").fetchall() == [(before + 1,)]


@embedded
@needs_root
def test_a_full_disk(open_to_all: Path) -> None:
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=6m", "mvsqlite-test", str(open_to_all)],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    if mounted.returncode != 0:
        pytest.skip(f"cannot mount a small file system here: {mounted.stderr.strip()}")
    try:
        url = f"lmdb:{open_to_all / 'store'}"
        said = in_child(lambda: fill_up(url))
        assert said.startswith("FullError True ok []"), said
        assert "no space left" in said
        with mvsqlite_py.open_store(url) as store:
            assert store.database("notes.db").verify().problems == []
        (open_to_all / "filler").write_bytes(bytes(os.statvfs(open_to_all).f_bavail * 4096))
        said = in_child(lambda: mvsqlite_py.open_store(f"lmdb:{open_to_all / 'second'}").create("x"))
        assert said.startswith("StoreFullError:"), said
    finally:
        subprocess.run(["umount", "-l", str(open_to_all)], check=True)
