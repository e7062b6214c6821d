"""Programs that know nothing of us, started with the preload library, and what became of their files."""

import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import mvsqlite_py
from mvsqlite_py import _routes
from mvsqlite_py._database import Database
from mvsqlite_py._run.plan import LIBRARY
from routed import RoutedDirectory

DEBIAN = "/usr/bin:/bin"
"""Where the programs are that the tests are about: with the system's libsqlite3."""


def program(name: str) -> str:
    """A program of the system; the test is skipped where it is not installed."""
    found = shutil.which(name, path=DEBIAN)
    if found is None:
        pytest.skip(f"{name} is not installed (make test installs it)")
    return found


def compiled(source: Path, place: Path, *options: str, compiler: str = "gcc") -> Path:
    """A C program, built once for each place and set of options."""
    made = place / source.stem
    if not made.exists():
        subprocess.run(
            [
                program(compiler),
                "-std=c11",
                "-D_GNU_SOURCE",
                "-Wall",
                "-g",
                str(source),
                "-o",
                made,
                *options,
            ],
            check=True,
        )
    return made


class Preloaded(RoutedDirectory):
    """Its programs are any, and start with the preload library."""

    @property
    def environment(self) -> dict[str, str]:
        return {"MVSQLITE_LOG": "warn", "LD_PRELOAD": str(LIBRARY)} | super().environment | self.extra

    def run(self, *words: str | Path, status: int = 0, **options: str) -> subprocess.CompletedProcess[str]:
        """Runs a program in the data directory; the exit status must be the one expected."""
        done = subprocess.run(
            [str(word) for word in words],
            cwd=self.data,
            env=self.environment | options,
            text=True,
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == status, f"{words}\n{done.stdout}\n{done.stderr}"
        return done

    def shell(self, path: str | Path, sql: str, **options: str) -> str:
        """What the sqlite3 shell prints."""
        return self.run(program("sqlite3"), path, sql, **options).stdout.strip()

    def python(self, code: str, status: int = 0, **options: str) -> subprocess.CompletedProcess[str]:
        """Runs code in the system's Python, which has ``os`` and ``sqlite3``."""
        text = "import os, sqlite3, sys\n" + textwrap.dedent(code)
        return self.run(program("python3"), "-c", text, status=status, **options)

    # ---- what became of it ----

    @property
    def store(self) -> mvsqlite_py.Store:
        return mvsqlite_py.open_store(self.url)

    def names(self, *, deleted: bool = False) -> set[str]:
        with self.store as store:
            return {entry.name for entry in store.list(deleted=deleted)}

    def database(self, name: str) -> Database:
        return self.store.database(name)

    def rows(self, name: str, sql: str) -> list[tuple[object, ...]]:
        """Rows of a database, read from the store."""
        connection = self.database(name).connect(create=False)
        try:
            return list(connection.execute(sql))
        finally:
            connection.close(True)

    def is_stub(self, path: str | Path) -> bool:
        return _routes.is_stub(self.data / path)

    def make(self, path: str | Path, *values: str) -> Path:
        """A routed database with a table ``t`` of texts."""
        rows = "".join(f"INSERT INTO t VALUES ('{value}');" for value in values)
        self.shell(path, f"CREATE TABLE t(a TEXT); {rows}")
        return self.data / path


def command(*words: str) -> list[str]:
    """``mvsqlite`` as a process of its own."""
    return [sys.executable, "-c", "from mvsqlite_py._cli.mvsqlite import main; main()", *words]
