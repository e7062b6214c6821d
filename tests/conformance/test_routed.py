"""Through the router, by a path: an application's pragmas and calls beside the same on an ordinary file."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import mvsqlite_py
from mvsqlite_py import _binding
from sides import Entry, allowed, statements

pytestmark = pytest.mark.lmdb_only("the routes lie above the store")

APPS = Path(__file__).parent / "corpus/apps.sql"
CALLS = """
import ctypes, json, os, sys
import apsw

if "EXTENSION" in os.environ:
    loader = apsw.Connection(":memory:")
    loader.enable_load_extension(True)
    loader.load_extension(os.environ["EXTENSION"])
    loader.close()
path, told = sys.argv[1], []

def note(asked, work):
    columns = ""
    try:
        answer = work()
        if isinstance(answer, apsw.Cursor):
            columns = answer.description_full and str([c[0] for c in answer.description])
            answer = [[v.hex() if isinstance(v, bytes) else v for v in row] for row in answer]
        answer = repr(answer)
    except apsw.Error as error:
        answer = f"{type(error).__name__}: {error}"
    told.append([asked, answer, columns or ""])

def flag(connection, op, value):
    number = ctypes.c_int(value)
    return connection.file_control("main", op, ctypes.addressof(number)) and number.value

def calls(connection):
    note("db_filename", lambda: connection.db_filename("main") == path)
    note("database_list", lambda: connection.execute("PRAGMA database_list"))
    for mode in (apsw.SQLITE_CHECKPOINT_PASSIVE, apsw.SQLITE_CHECKPOINT_TRUNCATE):
        note(f"wal_checkpoint_v2 {mode}", lambda: connection.wal_checkpoint(mode=mode))
    note("wal_autocheckpoint", lambda: connection.wal_autocheckpoint(100))
    note("readonly", lambda: connection.readonly("main"))
    for op in (apsw.SQLITE_FCNTL_PERSIST_WAL, apsw.SQLITE_FCNTL_POWERSAFE_OVERWRITE):
        for value in (-1, 0, -1, 1, -1):
            note(f"file control {op} {value}", lambda: flag(connection, op, value))

connection = apsw.Connection(path)
for statement in json.load(sys.stdin):
    if statement == "reopen":
        connection.close()
        connection = apsw.Connection(path)
    else:
        note(statement, lambda: connection.execute(statement))
calls(connection)
connection.execute("PRAGMA journal_mode = WAL")
connection.execute("INSERT INTO notes(title) VALUES ('late')")
calls(connection)
connection.close()
reader = apsw.Connection(path, flags=apsw.SQLITE_OPEN_READONLY)
note("read-only", lambda: reader.execute("INSERT INTO notes(title) VALUES ('no')"))
note("read-only, readonly", lambda: reader.readonly("main"))
note("read-only, title", lambda: reader.execute("SELECT title FROM notes ORDER BY id"))
json.dump(told, sys.stdout)
"""
"""Its standard output is read as JSON: a word of ours there would end the test."""

OF_STOCK_WAL = {
    "wal_checkpoint_v2 0": "(-1, -1)",
    "wal_checkpoint_v2 3": "(-1, -1)",
}
"""Calls answered as by a file that is not in WAL mode, for there is no log."""


def script() -> list[str]:
    """The corpus of one connection: statements, and where it is opened anew."""
    found: list[str] = []
    for part in APPS.read_text().split("\n--@ "):
        directive, _, sql = part.partition("\n")
        if directive == "use reader":
            continue
        if directive == "reopen":
            found.append("reopen")
        found.extend(statements(sql))
    return found


def told(path: Path, **variables: str) -> list[Entry]:
    done = subprocess.run(
        [sys.executable, "-c", CALLS, str(path)],
        input=json.dumps(script()),
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    answers: list[Any] = json.loads(done.stdout)
    return [Entry(asked, answer.replace(str(path), "PATH"), columns) for asked, answer, columns in answers]


def test_an_application_is_answered_by_its_path_as_on_a_file(
    tmp_path: Path, store: mvsqlite_py.Store
) -> None:
    for place in ("stock", "routed"):
        (tmp_path / place).mkdir()
    routes = {"MVSQLITE_MAP": f"{tmp_path}/routed/*.db={{name}}", "MVSQLITE_STORE": store.url}
    ours = told(tmp_path / "routed" / "app.db", EXTENSION=str(_binding.LIBRARY), **routes)
    stock = told(tmp_path / "stock" / "app.db")
    assert len(ours) == len(stock) > 100
    differ = {a.asked: a.answer for a, b in zip(ours, stock, strict=True) if a != b and not allowed(a, b)}
    assert differ == OF_STOCK_WAL
    assert store.database("app.db").verify().problems == []
