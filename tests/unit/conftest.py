"""A database to make commits in, and ways to run commands."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import CliRunner, Result

import mvsqlite_py
from bench import Bench
from commands import GROUPS, Run


@pytest.fixture
def bench(store: mvsqlite_py.Store) -> Bench:
    return Bench(store)


@pytest.fixture
def notes(bench: Bench) -> Bench:
    bench.commit(
        "CREATE TABLE notes(id INTEGER PRIMARY KEY, title TEXT, stars INT);"
        "INSERT INTO notes VALUES (1, 'one', 1), (2, 'two', 2), (3, 'three', 3), (4, 'four', 4)"
    )
    return bench


@pytest.fixture
def run(store_url: str) -> Run:
    """Runs a command on the store; the exit status must be the one expected."""

    def runner(*words: str, status: int = 0, stdin: str | None = None) -> Result:
        program, *rest = words
        result = CliRunner(env={"MVSQLITE_STORE": store_url, "COLUMNS": None}).invoke(
            GROUPS[program], rest, input=stdin
        )
        assert result.exit_code == status, result.output + repr(result.exception)
        assert "Traceback" not in result.output
        return result

    return runner


@pytest.fixture
def answer(run: Run) -> Callable[..., Any]:
    """Runs a command with --json and reads what it prints."""

    def runner(*words: str, status: int = 0) -> Any:
        return json.loads(run(*words, "--json", status=status).stdout)

    return runner
