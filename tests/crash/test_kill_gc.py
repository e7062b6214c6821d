"""kill -9 of a gc, while one process writes and another reads old versions."""

import random
import signal
import subprocess
import sys
import time

import pytest

import gc_worker
import mvsqlite_py
from mvsqlite_py import _retention

SHORT_SECONDS = 10
LONGEST_LIFE = 0.4
VERSIONS_AT_FIRST = 60


def start(what: str, url: str) -> subprocess.Popen[str]:
    arguments = [sys.executable, gc_worker.__file__, what, url]
    return subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True)


def kill(process: subprocess.Popen[str]) -> None:
    """It must have lived until then."""
    process.kill()
    errors = process.communicate()[1]
    assert process.returncode == -signal.SIGKILL, errors


def live(process: subprocess.Popen[str], seconds: float) -> None:
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return
    raise AssertionError(process.communicate()[1])


def check_tagged(database: mvsqlite_py.Database, rows: dict[str, int]) -> None:
    for tag, version in database.tags().items():
        connection = database.connect(version=version)
        assert gc_worker.check(connection) == rows[tag]
        connection.close()


def tag_one(database: mvsqlite_py.Database, rows: dict[str, int]) -> None:
    version = random.choice([entry.version for entry in database.versions(limit=20)])
    name = f"tag{len(rows)}"
    try:
        database.tag(name, version=version)
    except mvsqlite_py.VersionNotFoundError:
        return  # forgotten meanwhile
    connection = database.connect(version=version)
    rows[name] = gc_worker.check(connection)
    connection.close()


@pytest.mark.soak
def test_a_gc_killed_at_random_moments(
    store_url: str, soak_seconds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What has a tag reads as before, readers find whole versions, nothing is wrong in the end."""
    gc_worker.prepare(store_url)
    monkeypatch.setattr(_retention, "clock_ms", lambda: int(time.time() * 1000) + 10**9)
    rows: dict[str, int] = {}
    kills = 0
    connection = mvsqlite_py.connect(gc_worker.NAME, store_url)
    for _ in range(VERSIONS_AT_FIRST):
        gc_worker.write_one(connection)
    connection.close()
    others = [start(what, store_url) for what in ("write", "read", "read")]
    with mvsqlite_py.open_store(store_url) as store:
        database = store.database(gc_worker.NAME)
        until = time.monotonic() + (soak_seconds or SHORT_SECONDS)
        while time.monotonic() < until:
            forgetting = start("forget", store_url)
            live(forgetting, LONGEST_LIFE + random.random() * LONGEST_LIFE)
            tag_one(database, rows)
            kill(forgetting)
            kills += 1
            check_tagged(database, rows)
        for process in others:
            kill(process)
        assert database.verify().problems == []
        database.gc()
        check_tagged(database, rows)
        assert database.verify().problems == []
        wanted = {database.newest.version, *database.tags().values()} if database.newest else set()
        assert {entry.version for entry in database.versions()} == wanted, "a dead reader holds nothing"
    assert kills >= 3
