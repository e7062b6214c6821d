"""A process that is stopped in the middle of a commit does not hang the others for ever."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import apsw
import pytest

import mvsqlite_py

COMMIT, STOP = 6, -19  # MV_FAULT_COMMIT, MV_FAULT_STOP

WORKER = f"""
import sys
import mvsqlite_py
from mvsqlite_py._binding import lib
connection = mvsqlite_py.connect("held.db", "fault:" + sys.argv[1])
connection.execute("SELECT * FROM t").fetchall()
lib.mv_fault_arm({COMMIT}, 1, 0, {STOP})
connection.execute("INSERT INTO t VALUES (1)")
"""


@pytest.mark.lmdb_only("processes share its write lock")
def test_a_stopped_writer_is_waited_for_a_bounded_time(tmp_path: Path) -> None:
    url = f"lmdb:{tmp_path / 'store'}?wait_ms=200"
    held, other = mvsqlite_py.connect("held.db", url), mvsqlite_py.connect("other.db", url)
    for connection in (held, other):
        connection.execute("CREATE TABLE t(a)")
    with subprocess.Popen([sys.executable, "-c", WORKER, url]) as worker:
        _, status = os.waitpid(worker.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        try:
            assert held.execute("SELECT count(*) FROM t").fetchall() == [(0,)], "readers go on"
            with pytest.raises(apsw.IOError):
                other.execute("INSERT INTO t VALUES (2)")
            told = other.execute("SELECT mv_error()").fetchall()[0][0]
            assert str(worker.pid) in told
        finally:
            os.kill(worker.pid, signal.SIGCONT)
        assert worker.wait() == 0
    other.execute("INSERT INTO t VALUES (2)")
    assert held.execute("SELECT a FROM t").fetchall() == [(1,)]
    assert other.execute("SELECT a FROM t").fetchall() == [(2,)]
