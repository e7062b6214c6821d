"""A directory whose databases are routed, and Python programs that open them by path."""

import json
import os
import subprocess
import sys
import textwrap
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mvsqlite_py
from mvsqlite_py import _binding

PRELUDE = """
import json, os, sqlite3, sys, threading
from pathlib import Path
from mvsqlite_py._connections import load_into_sqlite3
load_into_sqlite3()
def tell(value):
    print(json.dumps(value))
def rows(connection, sql, *values):
    return connection.execute(sql, values).fetchall()
def failure(what):
    try:
        what()
    except sqlite3.Error as error:
        return str(error)
    return None
"""


@dataclass
class Done:
    """A program that ended: what it told, and what it wrote on standard error."""

    told: list[Any]
    messages: str
    code: int


@dataclass
class RoutedDirectory:
    """A directory ``data`` whose files ``*.db`` are databases ``{stem}`` of a store, and a place outside."""

    place: Path
    url: str
    routes: list[str] = field(default_factory=list)
    extra: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.place = self.place.resolve()
        self.data = self.place / "data"
        self.data.mkdir(exist_ok=True)
        self.routes = self.routes or [f"{self.data}/*.db={{stem}}"]

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("MVSQLITE_LOG")}
        mine = {"MVSQLITE_STORE": self.url, "MVSQLITE_MAP": "\n".join(self.routes)}
        return kept | mine | self.extra


class Routed(RoutedDirectory):
    """Its programs are Python's, and load the extension."""

    def start(self, code: str, **options: Any) -> "subprocess.Popen[str]":
        """Starts a program that has ``sqlite3`` with the router, ``tell``, ``rows`` and ``failure``."""
        script = PRELUDE + textwrap.dedent(code)
        return subprocess.Popen(
            [sys.executable, "-c", script],
            cwd=self.data,
            env=self.environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            **options,
        )

    def run(self, code: str, **options: Any) -> Done:
        program = self.start(code, **options)
        out, messages = program.communicate()
        assert not program.returncode or program.returncode < 0 or "Traceback" not in messages, messages
        return Done([json.loads(line) for line in out.splitlines()], messages, program.returncode)

    def sql(self, path: str, sql: str) -> list[list[Any]]:
        """The rows of one statement in a routed database."""
        done = self.run(f"c = sqlite3.connect({path!r}); tell(rows(c, {sql!r})); c.commit()")
        found: list[list[Any]] = done.told[0]
        return found

    @property
    def store(self) -> mvsqlite_py.Store:
        return mvsqlite_py.open_store(self.url)


EXTENSION = _binding.LIBRARY
