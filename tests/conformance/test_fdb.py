"""The cluster engine on a real FoundationDB server."""

import multiprocessing
import secrets
import shutil
import subprocess
from contextlib import closing
from multiprocessing.connection import Connection
from pathlib import Path

import apsw
import pytest

import mvsqlite_py
from mvsqlite_py import EngineError, StoreError

NATIVE = Path(__file__).parents[1] / "native"


@pytest.fixture
def url(fdb_cluster: Path) -> str:
    return f"fdb:{fdb_cluster}?prefix={secrets.token_hex(8)}/"


def test_the_engine_keeps_the_seams_promises(url: str, tmp_path: Path) -> None:
    if not shutil.which("gcc"):
        pytest.skip("no gcc here to build the native tests with")
    make = ["make", "-C", str(NATIVE), f"OBJ={tmp_path}", "CC=gcc", "SANITIZE=address,undefined", "test_kv"]
    subprocess.run(make, check=True, capture_output=True)
    # the client library keeps what it holds until the process ends, and fault: wraps it as any engine
    told = subprocess.run(
        [tmp_path / "test_kv", url, f"fault:{url}"],
        capture_output=True,
        text=True,
        check=False,
        env={"ASAN_OPTIONS": "detect_leaks=0"},
    )
    assert told.returncode == 0, told.stdout + told.stderr


def test_a_database_in_the_cluster(url: str) -> None:
    store = mvsqlite_py.open_store(url)
    with store, closing(mvsqlite_py.connect("a.db", store)) as connection:
        connection.execute("CREATE TABLE t(a INTEGER PRIMARY KEY, b)")
        connection.execute("INSERT INTO t(b) VALUES ('one'), ('two')")
        before = connection.execute("SELECT mv_version()").fetchall()[0][0]
        connection.execute("DELETE FROM t")
        database = store.database("a.db")
        with closing(mvsqlite_py.connect("a.db", store, version=before)) as past:
            assert past.execute("SELECT b FROM t").fetchall() == [("one",), ("two",)]
        database.revert(version=before)
        assert connection.execute("SELECT count(*) FROM t").fetchall() == [(2,)]
        assert database.verify().problems == []


def test_a_transaction_larger_than_the_cluster_takes_at_once(url: str) -> None:
    store = mvsqlite_py.open_store(url)
    with store, closing(mvsqlite_py.connect("large.db", store)) as connection:
        connection.execute("CREATE TABLE t(b)")
        connection.execute(
            "INSERT INTO t WITH RECURSIVE g(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM g WHERE x < 12000) "
            "SELECT randomblob(1000) FROM g"
        )
        assert store.database("large.db").stat().staged_bytes == 0
        assert store.database("large.db").verify().problems == []
        with closing(mvsqlite_py.connect("large.db", store)) as other:
            assert other.execute("SELECT count(*), sum(length(b)) FROM t").fetchall() == [(12000, 12000000)]
            assert other.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def in_child(url: str, answers: Connection) -> None:
    with closing(mvsqlite_py.connect("forked.db", url)) as connection:
        connection.execute("INSERT INTO t VALUES ('child')")
        answers.send(connection.execute("SELECT count(*) FROM t").fetchall())


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_child_opens_its_own(url: str) -> None:
    with closing(mvsqlite_py.connect("forked.db", url)) as connection:
        connection.execute("CREATE TABLE t(a)")
        connection.execute("INSERT INTO t VALUES ('parent')")
        here, there = multiprocessing.Pipe()
        child = multiprocessing.get_context("fork").Process(target=in_child, args=(url, there))
        child.start()
        assert here.poll(60), "the child answers"
        assert here.recv() == [(2,)]
        child.join()
        assert child.exitcode == 0
        assert connection.execute("SELECT a FROM t").fetchall() == [("parent",), ("child",)]


def test_a_cluster_that_does_not_answer_is_an_error_after_a_bounded_wait(
    fdb_cluster: Path, tmp_path: Path
) -> None:
    assert fdb_cluster.exists()  # the client library is here
    nowhere = tmp_path / "fdb.cluster"
    nowhere.write_text("gone:gone@127.0.0.1:1\n")
    with pytest.raises((EngineError, apsw.Error), match="did not manage"):
        mvsqlite_py.open_store(f"fdb:{nowhere}?wait_ms=300")


@pytest.mark.parametrize("address", ["fdb:/no/such/file", "fdb:?what=1"])
def test_addresses_that_name_no_cluster(address: str) -> None:
    with pytest.raises(StoreError):
        mvsqlite_py.open_store(address)
