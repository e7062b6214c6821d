"""A single statement in autocommit that loses a race is run again; a transaction is told."""

import subprocess
import textwrap
from pathlib import Path

from preloaded import Preloaded, program

RACE = """
    import ctypes
    uri = "file:a.db?concurrency=optimistic"
    mine = sqlite3.connect(uri, uri=True, isolation_level=None, timeout={timeout})
    other = sqlite3.connect(uri, uri=True, isolation_level=None)
    mine.execute("CREATE TABLE IF NOT EXISTS t(a)")
    calls = []
    def disturb():
        calls.append(1)
        if len(calls) <= {losses}:
            other.execute("INSERT INTO t VALUES ('other')")
        return "mine"
    mine.create_function("disturb", 0, disturb)
    def attempt(what):
        try:
            what()
            return "done"
        except sqlite3.Error as error:
            return error.sqlite_errorname
"""


def race(preloaded: Preloaded, code: str, *, timeout: float = 5, losses: int = 1) -> list[str]:
    """What the code prints; ``disturb()`` in a statement makes it lose so many races."""
    text = textwrap.dedent(RACE).format(timeout=timeout, losses=losses) + textwrap.dedent(code)
    return preloaded.python(text).stdout.split()


def test_a_statement_in_autocommit_runs_again(preloaded: Preloaded) -> None:
    code = """print(attempt(lambda: mine.execute("INSERT INTO t SELECT disturb()")), len(calls))"""
    assert race(preloaded, code, losses=3) == ["done", "4"]
    counts = preloaded.rows("a", "SELECT a, count(*) FROM t GROUP BY a ORDER BY a")
    assert counts == [("mine", 1), ("other", 3)]


def test_not_without_a_busy_timeout(preloaded: Preloaded) -> None:
    code = """print(attempt(lambda: mine.execute("INSERT INTO t SELECT disturb()")), len(calls))"""
    assert race(preloaded, code, timeout=0) == ["SQLITE_BUSY_SNAPSHOT", "1"]


def test_not_for_longer_than_the_timeout(preloaded: Preloaded) -> None:
    code = """print(attempt(lambda: mine.execute("INSERT INTO t SELECT disturb()")), len(calls) > 1)"""
    assert race(preloaded, code, timeout=0.2, losses=1 << 30) == ["SQLITE_BUSY_SNAPSHOT", "True"]


def test_an_explicit_transaction_is_told_at_its_commit(preloaded: Preloaded) -> None:
    code = """
        mine.execute("BEGIN")
        mine.execute("INSERT INTO t SELECT disturb()")
        print(attempt(lambda: mine.execute("COMMIT")), mine.in_transaction, len(calls))
    """
    assert race(preloaded, code) == ["SQLITE_BUSY_SNAPSHOT", "False", "1"]


def test_an_explicit_transaction_is_told_when_it_begins_to_write(preloaded: Preloaded) -> None:
    code = """
        mine.execute("BEGIN")
        mine.execute("SELECT * FROM t").fetchall()
        other.execute("INSERT INTO t VALUES ('other')")
        print(attempt(lambda: mine.execute("INSERT INTO t VALUES ('mine')")), mine.in_transaction)
    """
    assert race(preloaded, code.replace("?concurrency=optimistic", "")) == ["SQLITE_BUSY_SNAPSHOT", "True"]


def test_rows_that_were_told_are_not_told_again(preloaded: Preloaded) -> None:
    code = """
        sql = "INSERT INTO t SELECT disturb() RETURNING a"
        print(attempt(lambda: mine.execute(sql).fetchall()), len(calls))
    """
    assert race(preloaded, code) == ["SQLITE_BUSY_SNAPSHOT", "1"]


def test_not_while_another_statement_reads_at_the_old_version(preloaded: Preloaded) -> None:
    code = """
        mine.executescript("INSERT INTO t VALUES (1); INSERT INTO t VALUES (2); INSERT INTO t VALUES (3)")
        reading = mine.execute("SELECT a FROM t")
        reading.fetchone()
        print(attempt(lambda: mine.execute("INSERT INTO t SELECT disturb()")), len(calls))
    """
    assert race(preloaded, code) == ["SQLITE_BUSY_SNAPSHOT", "1"]


def test_a_failure_of_another_kind_stays(preloaded: Preloaded) -> None:
    code = """
        mine.execute("CREATE UNIQUE INDEX u ON t(a)")
        mine.execute("INSERT INTO t VALUES ('mine')")
        print(attempt(lambda: mine.execute("INSERT INTO t SELECT disturb()")), len(calls))
    """
    assert race(preloaded, code, losses=0) == ["SQLITE_CONSTRAINT_UNIQUE", "1"]


def test_statements_of_the_old_interface(preloaded: Preloaded, client: Path) -> None:
    preloaded.make("a.db")
    done = preloaded.run(client, "race", f"file:{preloaded.data}/a.db?concurrency=optimistic")
    assert done.stdout.splitlines() == [
        "timeout 5000: 101 after 2, reset 0",
        "timeout 0: 1 after 1, reset 5",
    ]


def test_programs_side_by_side_lose_nothing(preloaded: Preloaded) -> None:
    """Statements that read and write the same row, by processes that keep no lock."""
    preloaded.shell("a.db", "CREATE TABLE t(n); INSERT INTO t VALUES (0)")
    code = """
        import sqlite3
        c = sqlite3.connect("file:a.db?concurrency=optimistic", uri=True, isolation_level=None, timeout=30)
        for _ in range(30):
            c.execute("UPDATE t SET n = n + 1")
    """
    programs = [
        subprocess.Popen(
            [program("python3"), "-c", textwrap.dedent(code)], cwd=preloaded.data, env=preloaded.environment
        )
        for _ in range(3)
    ]
    assert [one.wait(60) for one in programs] == [0, 0, 0]
    assert preloaded.rows("a", "SELECT n FROM t") == [(90,)]
