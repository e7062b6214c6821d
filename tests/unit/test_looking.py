"""The commands that look at history: diff, show, log."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import CliRunner, Result

import mvsqlite_py
from mvsqlite_py import _database
from mvsqlite_py._cli import _common, _history
from mvsqlite_py._cli._versions import short
from mvsqlite_py._cli.mvrevert import mvrevert
from mvsqlite_py._cli.mvsqlite import mvsqlite

Run = Callable[..., Result]


@pytest.fixture
def run(store_url: str) -> Run:
    """Runs a command on the store; the exit status must be the one expected."""

    def runner(program: str, *words: str, status: int = 0, stdin: str | None = None) -> Result:
        group = {"mvsqlite": mvsqlite, "mvrevert": mvrevert}[program]
        result = CliRunner(env={"MVSQLITE_STORE": store_url, "COLUMNS": None}).invoke(
            group, words, input=stdin
        )
        assert result.exit_code == status, result.output + repr(result.exception)
        return result

    return runner


@pytest.fixture
def database(store: mvsqlite_py.Store) -> mvsqlite_py.Database:
    """Three versions: two tables, thirty rows of one and one of the other, changes of both."""
    database = store.create("notes.db")
    connection = database.connect()
    connection.execute(
        "BEGIN; CREATE TABLE notes(id INTEGER PRIMARY KEY, title); CREATE TABLE tags(t PRIMARY KEY); COMMIT"
    )
    numbers = "WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 30) SELECT i, 'note ' || i FROM n"
    connection.execute(f"BEGIN; INSERT INTO notes {numbers}; INSERT INTO tags VALUES ('red'); COMMIT")
    connection.execute("BEGIN; UPDATE notes SET title = x'00ff' WHERE id = 3; DELETE FROM tags; COMMIT")
    connection.close()
    return database


def rows(connection: Any, table: str) -> list[Any]:
    return connection.execute(f"SELECT * FROM {table} ORDER BY 1").fetchall()


# ---- diff and show -------------------------------------------------------------------------


def test_json_is_one_object_with_a_line_for_each_row(run: Run, database: mvsqlite_py.Database) -> None:
    """Without a limit all rows are told; what is known last comes last."""
    said = run("mvrevert", "diff", database.name, "HEAD~2", "--json").stdout
    found = json.loads(said)
    assert len(found["changes"]) == 30
    assert found["rows"] == {"notes": {"added": 30, "removed": 0, "changed": 0}}
    assert found["skipped"] == {}
    lines = [line for line in said.splitlines() if line.startswith("    {")]
    assert [json.loads(line.rstrip(",")) for line in lines] == found["changes"]
    assert found["changes"][2] == {
        "table": "notes", "kind": "added", "key": {"id": 3}, "before": None,
        "after": {"id": 3, "title": {"blob": "00ff"}},
    }  # fmt: skip
    limited = json.loads(run("mvrevert", "diff", database.name, "HEAD~2", "--json", "--limit", "2").stdout)
    assert len(limited["changes"]) == 2
    assert limited["rows"] == found["rows"]


def test_nothing_that_differs_is_valid_json_too(run: Run, database: mvsqlite_py.Database) -> None:
    found = json.loads(run("mvrevert", "diff", database.name, "HEAD", "--json").stdout)
    assert (found["changes"], found["rows"], found["schema"]) == ([], {}, [])


def test_the_ends_may_be_moments(run: Run, database: mvsqlite_py.Database) -> None:
    newest, first = database.newest, list(database.versions())[-1]
    assert newest
    for end in ("now", "HEAD", newest.time.isoformat(), "0s ago"):
        found = json.loads(run("mvrevert", "diff", database.name, "HEAD~2", end, "--json").stdout)
        assert (found["from"], found["to"]) == (first.version, newest.version)
    assert "MV_NOVERSION" in run("mvrevert", "diff", database.name, "-1h", "--json", status=1).stdout
    assert "MV_TIME" in run("mvrevert", "diff", database.name, "--json", "-5x", status=1).stdout


def test_reverse_tells_the_way_back(run: Run, database: mvsqlite_py.Database) -> None:
    there = json.loads(run("mvrevert", "show", database.name, "HEAD", "--json").stdout)
    back = json.loads(run("mvrevert", "show", database.name, "HEAD", "--json", "--reverse").stdout)
    assert [(one["before"], one["after"]) for one in back["changes"]] == [
        (one["after"], one["before"]) for one in there["changes"]
    ]
    assert "+ t='red'" in run("mvrevert", "show", database.name, "HEAD", "--reverse").output
    assert "- t='red'" in run("mvrevert", "diff", database.name, "HEAD~1").output


def test_sql_is_replayed_by_the_shell(
    run: Run, database: mvsqlite_py.Database, store: mvsqlite_py.Store
) -> None:
    first = list(database.versions())[-1]
    sql = run("mvrevert", "diff", database.name, "HEAD~2", "--sql").stdout
    assert sql.startswith(f'-- "notes.db" from version {short(first.version)} to version ')
    old = store.create("old.db")
    target = old.connect()
    for source in database.connect(version=first.version).execute(
        "SELECT sql FROM sqlite_schema WHERE sql NOT NULL"
    ):
        target.execute(*source)
    run("mvsqlite", "shell", "old.db", stdin=sql)
    for table in ("notes", "tags"):
        assert rows(target, table) == rows(database.connect(), table)
    back = run("mvrevert", "diff", database.name, "HEAD~2", "--sql", "--reverse").stdout
    run("mvsqlite", "shell", "old.db", stdin=back)
    assert rows(target, "notes") == []


def test_sql_of_the_first_version_makes_it_of_nothing(run: Run, database: mvsqlite_py.Database) -> None:
    first = list(database.versions())[-1].version
    said = run("mvrevert", "show", database.name, first, "--sql").stdout
    assert said.startswith('-- "notes.db" from the empty database to version ')
    assert "CREATE TABLE tags(t PRIMARY KEY);" in said
    assert "-- nothing differs" in run("mvrevert", "diff", database.name, "HEAD", "--sql").stdout


@pytest.mark.parametrize("more", [["--json"], ["--table", "notes"]])
def test_sql_is_for_whole_differences_and_no_json(
    run: Run, database: mvsqlite_py.Database, more: list[str]
) -> None:
    said = run("mvrevert", "diff", database.name, "HEAD~1", "--sql", *more, status=2)
    assert "--sql" in said.output


def test_what_cannot_be_told_is_said(run: Run, database: mvsqlite_py.Database) -> None:
    connection = database.connect()
    connection.execute("CREATE VIRTUAL TABLE f USING fts5(t, content='')")
    connection.execute("INSERT INTO f(rowid, t) VALUES (1, 'x')")
    why = "a full-text index that keeps no rows"
    assert f"not told: f ({why})" in run("mvrevert", "diff", database.name, "HEAD~1").output
    assert f"-- left as it is: f ({why})" in run("mvrevert", "diff", database.name, "HEAD~1", "--sql").output
    assert json.loads(run("mvrevert", "show", database.name, "HEAD", "--json").stdout)["skipped"] == {
        "f": why
    }


@pytest.mark.parametrize(
    ("variables", "coloured"),
    [({"FORCE_COLOR": "1"}, True), ({}, False), ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, False)],
)
def test_colour_is_for_terminals(
    database: mvsqlite_py.Database, store_url: str, variables: dict[str, str], coloured: bool
) -> None:
    environment = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR")} | variables
    program = "from mvsqlite_py._cli.mvrevert import main; main()"
    command = [sys.executable, "-c", program, "diff", database.name, "HEAD~1", "--store", store_url]
    said = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    assert bool(re.search(r"\x1b\[[0-9;]*3[0-9]m", said)) == coloured
    assert "- t='red'" in re.sub(r"\x1b\[[0-9;]*m", "", said)


# ---- the log ---------------------------------------------------------------------------------


def logged(run: Run, *words: str) -> list[str]:
    return [
        entry["version"] for entry in json.loads(run("mvsqlite", "log", "notes.db", *words, "--json").stdout)
    ]


def test_the_log_by_time_text_and_table(run: Run, database: mvsqlite_py.Database) -> None:
    connection = database.connect()
    connection.execute("SELECT mv_message('Tidying up')").fetchall()
    connection.execute("CREATE INDEX i ON notes(title)")
    connection.execute("ALTER TABLE tags ADD COLUMN colour")
    versions = list(database.versions())
    altered, tidied, changed, filled, made = (version.version for version in versions)
    assert logged(run) == [altered, tidied, changed, filled, made]
    assert logged(run, "--grep", "tidying UP") == [tidied]
    assert logged(run, "--grep", "update notes") == [changed]
    assert logged(run, "--grep", versions[0].program) == [altered, tidied, changed, filled, made]
    assert logged(run, "--table", "TAGS") == [altered, changed, filled, made]
    assert logged(run, "--table", "notes", "--no-rows", "--limit", "2") == [changed, filled]
    assert logged(run, "--since", "-1h", "--until", "now") == [altered, tidied, changed, filled, made]
    assert logged(run, "--until", "2001-01-01") == []
    for index, version in enumerate(versions):
        moment = version.time.isoformat(timespec="milliseconds")
        since = [one.version for one in versions if one.time >= version.time]
        assert logged(run, "--since", moment) == since
        until = [one.version for one in versions if one.time <= version.time]
        assert logged(run, "--until", moment) == until
        assert version.version in until[: index + 1]
    assert "no version of notes.db is like that" in run("mvsqlite", "log", "notes.db", "--grep", "zzz").output
    assert "MV_TIME" in run("mvsqlite", "log", "notes.db", "--since", "soon", "--json", status=1).stdout


def test_the_log_prints_each_line_when_it_is_found(
    run: Run, database: mvsqlite_py.Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A version that cannot be read does not keep those before it from being shown."""
    shown = iter([True, False])
    tell = _history.what_of

    def fails(*of: Any) -> Any:
        if next(shown):
            return tell(*of)
        raise ValueError("this one cannot be read")

    monkeypatch.setattr(_history, "what_of", fails)
    said = run("mvsqlite", "log", database.name, status=1)
    assert "UPDATE notes" in said.stdout
    assert "this one cannot be read" in said.stderr


def test_the_log_reads_no_more_versions_than_it_shows(
    run: Run, database: mvsqlite_py.Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = database.connect()
    for _ in range(200):
        connection.execute("UPDATE notes SET title = title || '.' WHERE id = 1")
    made: list[Any] = []
    version = _database._version
    monkeypatch.setattr(_database, "_version", lambda native: made.append(native) or version(native))
    assert len(logged(run, "--limit", "20")) == 20
    assert len(made) <= 21


def test_the_log_on_a_terminal_fits_its_width(
    run: Run, database: mvsqlite_py.Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    wide = _common.Console
    monkeypatch.setattr(_common, "Console", lambda **options: wide(**(options | {"width": 80})))
    lines = run("mvsqlite", "log", database.name).stdout.splitlines()
    assert lines[0].split() == ["Version", "Time", "Rows", "What"]
    assert all(len(line.rstrip()) <= 80 for line in lines)
    assert any("notes ~1" in line for line in lines)
