"""The cluster engine on a real FoundationDB server."""

import shutil
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import apsw
import pytest

import mvsqlite_py
from cluster import Cluster, find_client
from mvsqlite_py import EngineError, StoreError


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


def test_a_cluster_that_does_not_answer_is_an_error_after_a_bounded_wait(
    fdb_cluster: Cluster, tmp_path: Path
) -> None:
    assert fdb_cluster.file.exists()  # the client library is here
    nowhere = tmp_path / "fdb.cluster"
    nowhere.write_text("gone:gone@127.0.0.1:1\n")
    with pytest.raises((EngineError, apsw.Error), match="did not answer within 300 ms"):
        mvsqlite_py.open_store(f"fdb:{nowhere}?wait_ms=300")


@pytest.mark.parametrize("address", ["fdb:/no/such/file", "fdb:?what=1"])
def test_addresses_that_name_no_cluster(address: str) -> None:
    with pytest.raises(StoreError):
        mvsqlite_py.open_store(address)


LIVE = """
import sys, mvsqlite_py
connection = mvsqlite_py.connect("a.db", sys.argv[1])
connection.execute("CREATE TABLE t(x); INSERT INTO t VALUES (1)")
print(connection.execute("SELECT x FROM t").fetchall())
"""


@pytest.mark.parametrize("option", ["trace", "clients"])
def test_options_of_the_client_library(fdb_cluster: Cluster, tmp_path: Path, option: str) -> None:
    """Trace files; client libraries for other servers. The process ends as it should."""
    library = find_client()
    if option == "clients":
        assert library
        shutil.copy(library, tmp_path / "libfdb_c_copy.so")
    url = fdb_cluster.url(**{option: str(tmp_path)})
    done = subprocess.run([sys.executable, "-c", LIVE, url], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "[(1,)]\n"), done.stderr
    assert option != "trace" or list(tmp_path.glob("trace.*"))
