"""Unmodified ways of having many processes: multiprocessing, gunicorn with --preload."""

import multiprocessing
import textwrap
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

import mvsqlite_py
from mvsqlite_py import dbapi
from serving import Serve


def add(url: str, worker: int) -> int:
    """Five notes, each a commit of its own."""
    with closing(dbapi.connect("notes.db", store=url, timeout=60)) as connection:
        for n in range(5):
            with connection:
                connection.execute("INSERT INTO note(title) VALUES (?)", (f"{worker}.{n}",))
        return int(connection.execute("SELECT count(*) FROM note").fetchone()[0])


@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_multiprocessing(notes: mvsqlite_py.Database, method: str, mvrevert: Callable[..., str]) -> None:
    context = multiprocessing.get_context(method)
    with (
        closing(dbapi.connect("notes.db", notes.store)) as connection,
        ProcessPoolExecutor(3, mp_context=context) as pool,
    ):
        assert connection.execute("SELECT count(*) FROM note").fetchone() == (4,)
        seen = list(pool.map(add, [notes.store.url] * 3, range(3)))
        assert max(seen) == 19
        with connection:
            connection.execute("DELETE FROM note")
        mvrevert("undo", "notes.db", notes.newest.version, "--yes")
        assert connection.execute("SELECT count(*) FROM note").fetchone() == (19,)
    assert notes.verify().problems == []


APPLICATION = '''
    """Opens a connection before the fork, as an application that was never told of forks does."""
    import json, os
    from mvsqlite_py import dbapi as sqlite3

    opened_early = sqlite3.connect("notes.db", check_same_thread=False)
    assert opened_early.execute("SELECT count(*) FROM note").fetchone() == (4,)
    own = {}

    def connection():
        if os.getpid() not in own:
            own[os.getpid()] = sqlite3.connect("notes.db", timeout=30, isolation_level=None)
        return own[os.getpid()]

    def early():
        try:
            return opened_early.execute("SELECT 1").fetchall()
        except sqlite3.ProgrammingError as error:
            return str(error)

    def application(environ, start_response):
        path, answer = environ["PATH_INFO"], None
        if path == "/early":
            answer = early()
        elif path == "/add":
            connection().execute("INSERT INTO note(title) VALUES (?)", (environ["QUERY_STRING"],))
        elif path == "/delete":
            connection().execute("DELETE FROM note")
        else:
            answer = [title for title, in connection().execute("SELECT title FROM note ORDER BY id")]
        start_response("200 OK", [("Content-Type", "application/json")])
        return [json.dumps({"pid": os.getpid(), "answer": answer}).encode()]
'''


def test_gunicorn_with_preload(
    notes: mvsqlite_py.Database, serve: Serve, tmp_path: Path, mvrevert: Callable[..., str]
) -> None:
    (tmp_path / "notes_wsgi.py").write_text(textwrap.dedent(APPLICATION))
    command = ["gunicorn", "--preload", "--workers", "3", "--bind", "unix:{socket}", "--no-control-socket"]
    with serve(*command, "notes_wsgi:application", env={"MVSQLITE_STORE": notes.store.url}) as client:
        pids, titles = set(), ["one", "two", "three", "four"]
        for n in range(30):
            pids.add(client.get(f"/add?{n}").json()["pid"])
            titles.append(str(n))
            assert client.get("/").json()["answer"] == titles
        assert "before fork" in client.get("/early").json()["answer"]
        client.get("/delete")
        assert client.get("/").json()["answer"] == []
        mvrevert("undo", "notes.db", notes.newest.version, "--yes")
        for _ in range(6):
            assert client.get("/").json()["answer"] == titles
    origins = {version.pid for version in notes.versions()}
    assert pids <= origins
    assert notes.verify().problems == []
