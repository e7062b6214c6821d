"""kill -9: every acknowledged commit is there, none is half there, the next writer works at once."""

import itertools
import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import apsw
import pytest

import mvsqlite_py

TORTURE = Path(__file__).with_name("torture.py")
DIE_AFTER = Path(__file__).with_name("die_after.c")
SHORT_SECONDS = 12
embedded = pytest.mark.lmdb_only("the files its processes share")

INSERT = """
import ctypes
import sys
import mvsqlite_py
connection = mvsqlite_py.connect("a.db", sys.argv[1])
connection.execute("SELECT * FROM t").fetchall()
ctypes.CDLL(None).die_after(int(sys.argv[2]))
connection.execute("INSERT INTO t VALUES (?)", (int(sys.argv[2]),))
"""

OPEN_LMDB = """
import ctypes, ctypes.util, sys
lmdb = ctypes.CDLL(ctypes.util.find_library("lmdb"))
environment = ctypes.c_void_p()
assert lmdb.mdb_env_create(ctypes.byref(environment)) == 0
assert lmdb.mdb_env_open(environment, sys.argv[1].encode(), 0, 0o600) == 0
print("!", end="", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def die_after(tmp_path: Path) -> dict[str, str]:
    """The environment of a process that can die after a system call."""
    library = str(tmp_path / "die_after.so")
    compiler = os.environ.get("CC", "cc")
    subprocess.run([compiler, "-shared", "-fPIC", "-O2", "-o", library, str(DIE_AFTER)], check=True)
    return {**os.environ, "LD_PRELOAD": library}


def torture(
    mode: str, url: str, directory: Path, seconds: int, environment: dict[str, str] | None = None
) -> dict[str, int]:
    """What was done; what was wrong fails the test, with the seed that led there."""
    seed = str(random.randrange(1 << 30))
    arguments = [sys.executable, str(TORTURE), mode, url, str(directory), str(seconds), seed]
    answer = subprocess.run(arguments, capture_output=True, text=True, check=False, env=environment)
    assert answer.returncode == 0, f"seed {seed}: {answer.stderr}"
    tally: dict[str, int] = json.loads(answer.stdout)
    print(f"{mode}, seed {seed}: {tally}")
    return tally


def insert_and_die(url: str, nth: int, environment: dict[str, str]) -> bool:
    """Whether the process got so far as to be killed."""
    worker = subprocess.run([sys.executable, "-c", INSERT, url, str(nth)], check=False, env=environment)
    assert worker.returncode in (0, -signal.SIGKILL)
    return worker.returncode != 0


def kept_by_next_writer(connection: apsw.Connection, nth: int) -> bool:
    """Whether the killed commit is there: for a reader and a writer alike, who succeeds at once."""
    rows = "SELECT a FROM t WHERE a > 0"
    before = connection.execute(rows).fetchall()
    connection.execute("BEGIN IMMEDIATE")
    assert connection.execute(rows).fetchall() == before
    connection.execute("INSERT INTO t VALUES (?)", (-nth,))
    connection.execute("COMMIT")
    assert connection.execute(rows).fetchall() == before
    return (nth,) in before


@embedded
def test_a_commit_whose_writer_died_is_seen_at_once_or_never(
    tmp_path: Path, die_after: dict[str, str]
) -> None:
    """Killed after the n-th system call of a commit, for every n, while others have the store open."""
    url = f"lmdb:{tmp_path / 'store'}"
    connection = mvsqlite_py.connect("a.db", url, timeout=0)
    connection.execute("CREATE TABLE t(a)")
    kept = []
    for nth in itertools.count(1):
        if not insert_and_die(url, nth, die_after):
            break
        kept.append(kept_by_next_writer(connection, nth))
    connection.close()
    assert kept == sorted(kept), "what was on disk after one call is there after the next"
    assert set(kept) == {False, True}, "killed before its commit was on disk, and after it"


@embedded
def test_a_commit_whose_writer_died_is_seen_by_one_who_opens_the_store(
    tmp_path: Path, die_after: dict[str, str]
) -> None:
    """Nobody of ours had the store open, but a tool of LMDB's that keeps its lock file as it was."""
    url = f"lmdb:{tmp_path / 'store'}"
    create = "import mvsqlite_py, sys; mvsqlite_py.connect('a.db', sys.argv[1]).execute('CREATE TABLE t(a)')"
    subprocess.run([sys.executable, "-c", create, url], check=True)
    tool = [sys.executable, "-c", OPEN_LMDB, str(tmp_path / "store")]
    kept = []
    with subprocess.Popen(tool, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as bystander:
        assert bystander.stdout is not None
        assert bystander.stdout.read(1) == b"!"
        for nth in itertools.count(1):
            if not insert_and_die(url, nth, die_after):
                break
            connection = mvsqlite_py.connect("a.db", url, timeout=0)
            kept.append(kept_by_next_writer(connection, nth))
            connection.close()
        bystander.communicate()
    assert bystander.returncode == 0
    assert True in kept


@pytest.mark.soak
def test_writers_killed_at_random_moments(store_url: str, tmp_path: Path, soak_seconds: int) -> None:
    """Several at a time, on one database and on several, in commits small, large and over two."""
    tally = torture("random", store_url, tmp_path / "random", soak_seconds or SHORT_SECONDS)
    assert tally["kills"] >= 10
    assert tally["commits acknowledged"] >= 10


@pytest.mark.soak
def test_writers_killed_at_every_call_to_the_engine(
    store_url: str, tmp_path: Path, soak_seconds: int
) -> None:
    """A small commit, a large one, one over two databases, a revert, a VACUUM, a rollback."""
    tally = torture("steps", store_url, tmp_path / "steps", soak_seconds)
    assert tally["kills"] >= (20 if "fdb:" in store_url else 100)


@embedded
@pytest.mark.soak
def test_writers_killed_after_every_system_call_of_the_engine(
    tmp_path: Path, die_after: dict[str, str], soak_seconds: int
) -> None:
    """Between two of them the data file and what LMDB's processes share do not agree."""
    tally = torture("calls", f"lmdb:{tmp_path / 'store'}", tmp_path / "calls", soak_seconds, die_after)
    assert tally["kills"] >= 20
