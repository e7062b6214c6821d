"""What the tests of frameworks share: a database of notes, commands, servers."""

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner

import mvsqlite_py
from commands import GROUPS
from mvsqlite_py import dbapi
from serving import Serve, serving

collect_ignore = ["sqlalchemy_suite", "django_site"]
"""They are run by themselves, by tests here."""

NOTES = ["one", "two", "three", "four"]


@pytest.fixture
def notes(store: mvsqlite_py.Store) -> mvsqlite_py.Database:
    """A database with four notes, made in one commit."""
    with closing(dbapi.connect("notes.db", store)) as connection, connection:
        connection.execute("CREATE TABLE note(id INTEGER PRIMARY KEY, title TEXT)")
        connection.executemany("INSERT INTO note(title) VALUES (?)", [(title,) for title in NOTES])
    return store.database("notes.db")


@pytest.fixture
def mvrevert(store: mvsqlite_py.Store) -> Callable[..., str]:
    """Runs ``mvrevert`` on the store; it must succeed."""

    def run(*words: str) -> str:
        result = CliRunner(env={"MVSQLITE_STORE": store.url}).invoke(GROUPS["mvrevert"], words)
        assert result.exit_code == 0, result.output + repr(result.exception)
        return result.output

    return run


@pytest.fixture
def serve(tmp_path: Path) -> Serve:
    """Runs a server for the length of a block; see serving.py."""
    return lambda *command, **options: serving(tmp_path, command, **options)
