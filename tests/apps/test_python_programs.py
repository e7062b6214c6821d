"""Python programs on the standard library's sqlite3, by their own names for their files."""

import importlib.util
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from ways import ABOVE, STUB_SAYS, Play, Way, client, end, free_port, wait_until

HERE = Path(__file__).parent
BIN = Path(sys.executable).parent
DATABASE = "notes"
ROUTES = [f"notes.db={DATABASE}"]


def need_module(*names: str) -> pytest.MarkDecorator:
    absent = [name for name in names if not importlib.util.find_spec(name)]
    return pytest.mark.skipif(bool(absent), reason=f"not installed here: {', '.join(absent)}")


# ---- multiprocessing ----------------------------------------------------------


@contextmanager
def crowd(way: Way, method: str) -> Iterator[Callable[[str], int]]:
    """crowd.py, and a function that gives it a command."""
    program = subprocess.Popen(
        way.words(sys.executable, HERE / "crowd.py", way.home / "notes.db", method),
        env=way.environment({}),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
        bufsize=0,
    )
    assert program.stdin
    assert program.stdout

    def tell(command: str) -> int:
        assert program.stdin
        assert program.stdout
        program.stdin.write(f"{command}\n".encode())
        return int(program.stdout.readline())

    try:
        yield tell
        program.stdin.close()
        assert program.stdout.read() == b""
        assert program.wait(timeout=60) == 0
    finally:
        end(program)
        program.stdin.close()
        program.stdout.close()


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_processes_of_one_program(play: Play, method: str) -> None:
    def scenario(way: Way) -> object:
        with crowd(way, method) as tell:
            told = [tell("write"), tell("count"), tell("delete"), tell("count")]
            if way.routed:
                way.undo(DATABASE, *way.versions(DATABASE, "DELETE FROM row"))
                assert tell("count") == told[1]
                assert tell("delete") == told[2]
        return told

    play(scenario, ROUTES)


# ---- gunicorn -------------------------------------------------------------------


@ABOVE
@need_module("gunicorn")
def test_gunicorn_that_loads_the_application_before_it_forks(play: Play) -> None:
    def scenario(way: Way) -> object:
        port = free_port()
        command = [BIN / "gunicorn", "--preload", "--workers", "3", "--bind", f"127.0.0.1:{port}"]
        command += ["--pythonpath", HERE, "--worker-tmp-dir", way.home, "notes_wsgi:application"]
        with way.serve(*command, port=port, NOTES_DATABASE=str(way.home / "notes.db")):
            http = client(port)

            def ask(method: str, text: str = "") -> list[str]:
                return list(http.request(method, f"/{text}").raise_for_status().json()["notes"])

            told = [ask("POST", f"{i}") for i in range(12)]
            told += [ask("DELETE"), ask("POST", "later")]
            workers: set[int] = set()
            wait_until(
                lambda: workers.add(http.get("/").json()["worker"]) or len(workers) > 1, "two workers answer"
            )
            if way.routed:
                way.undo(DATABASE, *way.versions(DATABASE, "DELETE FROM note"))
                for _ in range(8):
                    assert ask("GET") == sorted([f"/{i}" for i in range(12)] + ["/later"])
                assert "/and on" in ask("POST", "and on")
        return told

    play(scenario, ROUTES)


# ---- Django ---------------------------------------------------------------------


class Site:
    """manage.py, and the site it runs."""

    def __init__(self, way: Way) -> None:
        self.way = way
        self.variables = {"SITE_DATABASE": str(way.home / "notes.db"), "PYTHONWARNINGS": "ignore"}

    def manage(self, *words: str, status: int = 0, alone: bool = False) -> str:
        manage = HERE / "site" / "manage.py"
        return self.way.run(sys.executable, manage, *words, status=status, alone=alone, **self.variables)

    @contextmanager
    def server(self) -> Iterator[httpx.Client]:
        port = free_port()
        command = [
            sys.executable,
            HERE / "site" / "manage.py",
            "runserver",
            "--noreload",
            f"127.0.0.1:{port}",
        ]
        with self.way.serve(*command, port=port, **self.variables):
            yield client(port)


@need_module("django")
def test_a_django_site_on_the_stock_backend(play: Play) -> None:
    def scenario(way: Way) -> object:
        site = Site(way)
        told: list[object] = [site.manage("migrate", "notes", "0001"), site.manage("migrate")]
        told += [site.manage("migrate", "notes", "0001"), site.manage("migrate")]
        told += [site.manage("makemigrations", "--check", "--dry-run")]
        with site.server() as http:

            def ask(method: str, url: str) -> Any:
                return http.request(method, url).raise_for_status().json()

            told += [ask("POST", f"/{author}/?text=a,b,c") for author in ("ann", "ben")]
            told += [ask("DELETE", "/ann/"), ask("POST", "/ben/?text=later"), ask("GET", "/ann/")]
            if way.routed:
                (deletion, *_) = way.versions(DATABASE, 'DELETE FROM "notes_author"')
                way.undo(DATABASE, deletion)
                assert ask("GET", "/ann/")["notes"] == ["a", "b", "c"]
                assert ask("GET", "/ben/")["notes"] == ["a", "b", "c", "later"]
                assert ask("POST", "/ann/?text=d")["notes"] == ["a", "b", "c", "d"]
        return told

    play(scenario, ROUTES)


@ABOVE
@need_module("django")
def test_a_django_site_started_without_us_is_not_migrated_anew(routed: Callable[..., Way]) -> None:
    way = routed(*ROUTES)
    site = Site(way)
    site.manage("migrate")
    assert STUB_SAYS in site.manage("migrate", status=1, alone=True)
    assert "No migrations to apply" in site.manage("migrate")
    way.verify()


# ---- Datasette --------------------------------------------------------------------

WRITER = """
import itertools, sqlite3, sys, threading
connection = sqlite3.connect(sys.argv[1], timeout=60)
for number in itertools.count():
    with connection:
        connection.execute("INSERT INTO note(author, text) VALUES ('writer', ?)", (number,))
    threading.Event().wait(0.005)
"""
PREPARE = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
connection.execute("PRAGMA journal_mode = WAL")
connection.executescript("CREATE TABLE note(id INTEGER PRIMARY KEY, author, text)")
connection.executemany("INSERT INTO note(author, text) VALUES ('ann', ?)", [(i,) for i in range(40)])
connection.commit()
"""


@ABOVE
@need_module("datasette", "sqlite_utils")
def test_datasette_serves_what_is_being_written(play: Play) -> None:
    def scenario(way: Way) -> object:
        path, port = way.home / "notes.db", free_port()
        way.run(sys.executable, "-c", PREPARE, path)
        with way.serve(BIN / "datasette", "serve", path, "--port", str(port), port=port):
            http = client(port)

            def rows(author: str) -> int:
                told = http.get("/notes/note.json", params={"author": author, "_size": 1}).raise_for_status()
                return int(told.json()["filtered_table_rows_count"])

            with way.serve(sys.executable, "-c", WRITER, path):
                told = [rows("ann")]
                wait_until(lambda: rows("writer") > 20, "what is written is served")
                told += [
                    way.run(BIN / "sqlite-utils", path, "delete from note where author = 'ann'"),
                    rows("ann"),
                ]
                if way.routed:
                    way.undo(DATABASE, *way.versions(DATABASE, "delete from note"))
                    assert rows("ann") == told[0]
                    written = rows("writer")
                    wait_until(lambda: rows("writer") > written, "the writer goes on")
            schema = http.get("/notes.json").raise_for_status().json()
            told += [[table["name"] for table in schema["tables"]]]
        return [re.sub(r"\d+ms", "#", each) if isinstance(each, str) else each for each in told]

    play(scenario, ROUTES)


@ABOVE
@need_module("datasette")
def test_datasette_started_without_us_says_what_it_met(routed: Callable[..., Way]) -> None:
    way = routed(*ROUTES)
    way.run(sys.executable, "-c", PREPARE, way.home / "notes.db")
    told = way.run(
        BIN / "datasette", "serve", way.home / "notes.db", "--get", "/notes.json", status=-1, alone=True
    )
    assert STUB_SAYS in told
    way.verify()
