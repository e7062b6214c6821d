"""Each driver runs on us with the lines that drivers.md gives for it, and says so when it cannot."""

import fcntl
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

import mvsqlite_py
from node_programs import CACHE, digest, installed

pytestmark = pytest.mark.lmdb_only("the routes lie above the store")

HERE = Path(__file__).parent / "drivers"
LIBRARY = Path(mvsqlite_py.__file__).parent
PAGE = (LIBRARY / "drivers.md").read_text()
GO_MODULE = "module notes\n\ngo 1.21\n\nrequire github.com/mattn/go-sqlite3 v1.14.32\n"
JARS = ("org.xerial:sqlite-jdbc:3.46.1.3", "org.slf4j:slf4j-api:1.7.36")

Start = Callable[..., subprocess.CompletedProcess[str]]


def lines(section: str, language: str) -> str:
    """The page's block of that language under that heading."""
    body = PAGE.split(f"\n## {section}\n", 1)[1].split("\n## ", 1)[0]
    match = re.search(rf"```{language}\n(.*?)```", body, re.DOTALL)
    assert match, f"no {language} under {section}"
    return match[1]


def needs(*programs: str) -> None:
    for program in programs:
        if not shutil.which(program):
            pytest.skip(f"there is no {program}")


def needs_success(reason: str, *command: str) -> None:
    needs(command[0])
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip(reason)


def replace_once(text: str, old: str, new: str) -> str:
    assert text.count(old) == 1
    return text.replace(old, new)


class Program:
    """A program with a driver: the directory it is started in, and a shell's line that starts it on $FILE."""

    def __init__(self, directory: Path, command: str = "") -> None:
        self.directory = directory
        self.command = command


class Driver(Program):
    """One that is started as the page says; its files go into the directory."""

    def __init__(self, name: str, directory: Path) -> None:
        super().__init__(directory)
        self.command = getattr(self, f"_{name}")()

    def _shell(self) -> str:
        needs("sqlite3")
        self._copy("app.sql")
        line = replace_once(lines("The sqlite3 shell", "sh"), "/srv/notes/notes.db", "$FILE")
        line = replace_once(line, "'.open $FILE'", '".open $FILE"')
        return replace_once(line, "SELECT count(*) FROM note", ".read app.sql")

    def _copy(self, name: str) -> None:
        shutil.copy(HERE / name, self.directory)

    def _node(self) -> str:
        program = Path(installed("better-sqlite3 13", soak=False).program)
        self._copy("app.js")
        return f'PATH="{program.parent}:$PATH"; {lines("Node", "sh").strip()} "$FILE"'

    def _php(self) -> str:
        needs_success(
            "PHP lacks sqlite3 or pdo_sqlite", "php", "-r", "new SQLite3(':memory:'); new PDO('sqlite:');"
        )
        self._copy("app.php")
        return lines("PHP", "sh").strip() + ' "$FILE"'

    def _ruby(self) -> str:
        needs_success("Ruby lacks the gem sqlite3", "ruby", "-e", "require 'sqlite3'")
        self._copy("app.rb")
        (self.directory / "mvsqlite.rb").write_text(lines("Ruby", "ruby"))
        return lines("Ruby", "sh").strip() + ' "$FILE"'

    def _perl(self) -> str:
        needs_success("Perl lacks DBD::SQLite", "perl", "-MDBD::SQLite", "-e1")
        self._copy("app.pl")
        (self.directory / "Mvsqlite.pm").write_text(lines("Perl", "perl"))
        return lines("Perl", "sh").strip() + ' "$FILE"'

    def _apsw(self) -> str:
        source = lines("Python", "python") + (HERE / "app.py").read_text()
        (self.directory / "app.py").write_text(source)
        return f'{sys.executable} app.py "$FILE"'

    def _sqlite3(self) -> str:
        """By a Python that loads extensions; many are built without."""
        self._apsw()
        app = self.directory / "app.py"
        text = (
            app.read_text()
            .replace("import apsw", "import sqlite3")
            .replace("apsw.Connection", "sqlite3.connect")
        )
        app.write_text(text.replace('db.execute("CREATE', 'db.executescript("CREATE'))
        able = "import sqlite3; sqlite3.Connection.load_extension"
        for python in filter(shutil.which, (sys.executable, "/usr/bin/python3")):
            if not subprocess.run([python, "-c", able], capture_output=True, check=False).returncode:
                return f'{python} app.py "$FILE"'
        pytest.skip("no Python here loads extensions")


@pytest.fixture
def start(data: Path, store: mvsqlite_py.Store) -> Start:
    def starter(driver: Program, **variables: str) -> subprocess.CompletedProcess[str]:
        file = str(data / "notes.db")
        own = {"DIR": str(LIBRARY), "FILE": file, "MVSQLITE_STORE": store.url, "NODE_NO_WARNINGS": "1"}
        return subprocess.run(
            ["sh", "-ec", driver.command],
            cwd=driver.directory,
            env={**os.environ, **own, "MVSQLITE_MAP": f"{data}/*.db={{name}}", **variables},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    return starter


DRIVERS = {
    "shell": "shell",
    "node": "node",
    "php": "pdo sqlite3",
    "ruby": "ruby",
    "perl": "perl",
    "apsw": "python",
    "sqlite3": "python",
}
"""What each program writes into the database."""


@pytest.fixture(params=DRIVERS)
def driver(request: pytest.FixtureRequest, tmp_path: Path) -> Driver:
    return Driver(request.param, tmp_path)


@pytest.fixture
def writes(request: pytest.FixtureRequest) -> str:
    return DRIVERS[request.node.callspec.params["driver"]]


def test_a_driver_writes_to_the_store_and_nothing_else(
    driver: Driver, writes: str, start: Start, data: Path, store: mvsqlite_py.Store
) -> None:
    for expected in (writes, f"{writes} {writes}"):
        done = start(driver)
        assert (done.returncode, done.stdout, done.stderr) == (0, expected + "\n", "")
    connection = mvsqlite_py.connect("notes.db", store)
    assert [row[0] for row in connection.execute("SELECT text FROM note")] == expected.split()
    connection.close()
    assert [path.name for path in data.iterdir()] == ["notes.db"], "the stub alone stands there"


def test_messages_are_json_in_a_file(driver: Driver, writes: str, start: Start, tmp_path: Path) -> None:
    log = tmp_path / "log"
    done = start(driver, MVSQLITE_LOG="debug", MVSQLITE_LOG_FILE=str(log), MVSQLITE_LOG_FORMAT="json")
    assert (done.stdout, done.stderr) == (writes + "\n", "")
    told = [json.loads(line) for line in log.read_text().splitlines()]
    assert told
    assert all(set(one) == {"time", "level", "pid", "message"} for one in told)
    assert any('is the database "notes.db"' in one["message"] and one["level"] == "info" for one in told)
    assert log.stat().st_mode & 0o777 == 0o600


def test_an_error_goes_to_the_log_and_to_the_driver(
    driver: Driver, start: Start, data: Path, tmp_path: Path
) -> None:
    (data / "file").write_text("no store")
    log = tmp_path / "log"
    done = start(
        driver, MVSQLITE_STORE=f"lmdb:{data}/file", MVSQLITE_LOG_FILE=str(log), MVSQLITE_LOG_FORMAT="json"
    )
    assert "unable to open database" in done.stdout + done.stderr
    assert "mvsqlite:" not in done.stdout + done.stderr
    told = [json.loads(line) for line in log.read_text().splitlines()]
    assert {one["level"] for one in told} == {"error"}
    assert any(f"{data}/file" in one["message"] for one in told)
    assert not (data / "notes.db").exists()


def test_a_map_that_cannot_be_read_opens_nothing(driver: Driver, start: Start, data: Path) -> None:
    done = start(driver, MVSQLITE_MAP="no route")
    assert "unable to open database" in done.stdout + done.stderr
    assert 'mvsqlite: error: MVSQLITE_MAP: "no route" is no route: write PATTERN=NAME\n' in done.stderr
    assert "mvsqlite" not in done.stdout.lower()
    assert list(data.iterdir()) == [], "nothing begins anew"


def test_a_library_that_is_missing_stops_the_program(driver: Driver, start: Start, data: Path) -> None:
    for part in ("node", "php"):
        shutil.copytree(LIBRARY / part, data / "lib" / part)
    done = start(driver, DIR=str(data / "lib"))
    assert done.returncode
    assert "load_extension" in done.stderr or "libmvsqlite" in done.stderr
    assert not (data / "notes.db").exists(), "nothing begins anew"


# ---- what is built first --------------------------------------------------------------------


def kept(name: str, soak: bool, build: Callable[[Path], None]) -> Path:
    """A directory kept between runs, in which something that takes long was built."""
    directory = CACHE / name
    if not soak and not (directory / "done").exists():
        pytest.skip(f"{name} takes long to build: with --soak it is, and kept in {CACHE}")
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (directory / "done").exists():
            build(directory)
            (directory / "done").touch()
    return directory


def build(reason: str, directory: Path, *command: str) -> None:
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"{reason}: {(done.stdout + done.stderr)[-300:]}")


def build_go(directory: Path) -> None:
    source = (HERE / "app.go").read_text()
    (directory / "main.go").write_text(replace_once(source, "// LOAD\n", lines("Go", "go")))
    (directory / "go.mod").write_text(GO_MODULE)
    build("go cannot fetch mattn/go-sqlite3", directory, "go", "mod", "tidy")
    build("go cannot build", directory, "go", "build", "-o", "app", ".")


def fetch_jars(directory: Path) -> None:
    for jar in JARS:
        copy = ("dependency:copy", f"-Dartifact={jar}", f"-DoutputDirectory={directory}")
        build("mvn cannot fetch sqlite-jdbc", directory, "mvn", "-q", *copy)


def test_go(soak_seconds: int, start: Start, tmp_path: Path) -> None:
    needs("go", "gcc")
    built = kept(f"go-{digest(lines('Go', 'go') + GO_MODULE)}", bool(soak_seconds), build_go)
    program = Program(tmp_path, f'{built}/app "$FILE"')
    assert start(program).stdout == "go\n"
    assert start(program).stdout == "go go\n"
    assert "is no route" in start(program, MVSQLITE_MAP="no route").stderr


def test_java(soak_seconds: int, start: Start, tmp_path: Path) -> None:
    needs("java", "mvn")
    jars = kept("java-" + JARS[0].rsplit(":", 1)[1], bool(soak_seconds), fetch_jars)
    source = (HERE / "App.java").read_text()
    (tmp_path / "App.java").write_text(replace_once(source, "// LOAD\n", lines("Java", "java")))
    program = Program(tmp_path, f'java -cp "{jars}/*" App.java "$FILE"')
    assert start(program).stdout == "java\n"
    assert "is no route" in start(program, MVSQLITE_MAP="no route").stderr


# ---- PHP as a server ----------------------------------------------------------------------------


def page(data: Path, extension_dir: Path = LIBRARY, **variables: str) -> tuple[int, str, str]:
    """One page of app.php from PHP's own server: its status, its text, and the server's messages."""
    needs("php")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    site = data / "site"
    site.mkdir(exist_ok=True)
    (site / "index.php").write_text(f"<?php $argv = ['', '{data}/notes.db']; require '{HERE}/app.php';")
    settings = [f"sqlite3.extension_dir={extension_dir}", f"auto_prepend_file={LIBRARY}/php/prepend.php"]
    command = [
        "php",
        *(word for setting in settings for word in ("-d", setting)),
        "-S",
        address,
        "-t",
        str(site),
    ]
    server = subprocess.Popen(
        command, env={**os.environ, **variables}, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    )
    with server:
        assert server.stderr
        started = server.stderr.readline()
        assert "Development Server" in started, started
        answer = httpx.get(f"http://{address}/")
        server.terminate()
        return answer.status_code, answer.text, server.stderr.read()


def test_a_page_of_php(data: Path, store: mvsqlite_py.Store) -> None:
    routes = {"MVSQLITE_MAP": f"{data}/*.db={{name}}", "MVSQLITE_STORE": store.url}
    assert page(data, **routes)[:2] == (200, "pdo sqlite3\n")
    assert page(data, **routes)[:2] == (200, "pdo sqlite3 pdo sqlite3\n")
    assert [info.name for info in store.list()] == ["notes.db"]


def test_a_page_of_php_that_cannot_be_routed_is_empty(data: Path) -> None:
    routes = {"MVSQLITE_MAP": f"{data}/*.db={{name}}"}
    status, text, messages = page(data, extension_dir=data, **routes)
    assert (status, text) == (503, "")
    assert "mvsqlite: error: PHP: the extension could not be loaded (SQLite3::loadExtension()" in messages
    assert not (data / "notes.db").exists()
    log = data / "log"
    to_file = {"MVSQLITE_LOG_FILE": str(log), "MVSQLITE_LOG_FORMAT": "json"}
    status, text, messages = page(data, extension_dir=data, **routes, **to_file)
    assert (status, text) == (503, "")
    assert "could not be loaded" not in messages
    assert set(json.loads(log.read_text())) == {"time", "level", "pid", "message"}
    assert log.stat().st_mode & 0o777 == 0o600
