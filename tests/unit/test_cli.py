"""The commands, as people and programs use them."""

import json
import os
import shlex
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest

import mvsqlite_py
from commands import GROUPS, Run
from mvsqlite_py._cli import _common
from mvsqlite_py._cli._versions import resolve, short
from mvsqlite_py._cli.mvrevert import mvrevert
from mvsqlite_py._cli.mvsqlite import mvsqlite


@pytest.fixture
def database(store: mvsqlite_py.Store, answer: Callable[..., Any]) -> mvsqlite_py.Database:
    """Three versions: a table, three rows, two of them deleted."""
    assert answer("mvsqlite", "create", "notes.db") == {"name": "notes.db"}
    database = store.database("notes.db")
    connection = database.connect()
    connection.execute("CREATE TABLE notes(id INTEGER PRIMARY KEY, title TEXT)")
    connection.execute("INSERT INTO notes VALUES (1, 'one'), (2, 'two'), (3, 'three')")
    connection.execute("SELECT mv_message('tidying up')").fetchall()
    connection.execute("DELETE FROM notes WHERE id < 3")
    connection.close()
    return database


def titles(database: mvsqlite_py.Database) -> list[Any]:
    return [row[0] for row in database.connect().execute("SELECT title FROM notes ORDER BY id")]


def versions(database: mvsqlite_py.Database) -> list[str]:
    """Oldest first."""
    return [version.version for version in database.versions()][::-1]


# ---- help and errors ----------------------------------------------------------------

COMMANDS = [
    (program, name, command)
    for program, group in GROUPS.items()
    for name, command in sorted(group.commands.items())
]


@pytest.mark.parametrize(("program", "name", "command"), COMMANDS, ids=[f"{p} {n}" for p, n, _ in COMMANDS])
def test_every_command_has_help_an_example_a_store_and_json(
    run: Run, program: str, name: str, command: click.Command
) -> None:
    said = run(program, name, "--help").output
    assert "Example:" in said
    assert f"  {program} {name} " in said or f"  {program} {name}\n" in said
    if name == "copy":  # between two stores
        assert " SRC DST " in said
    else:
        assert "--store" in said
        assert "MVSQLITE_STORE" in said
    assert "--json" in said
    assert command.help


def test_the_commands_are_those_promised() -> None:
    promised = (
        "branch branches copy create doctor export gc history import log ls promote rename retention "
        "rm run settings shell stat tag tags undelete untag verify"
    )
    assert " ".join(sorted(mvsqlite.commands)) == promised
    assert sorted(mvrevert.commands) == ["blame", "diff", "log", "show", "to", "undo"]


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["mvsqlite", "log", "none.db"], "MV_NOTFOUND", "none.db"),
        (["mvsqlite", "create", "notes.db"], "MV_EXISTS", "already"),
        (["mvsqlite", "create", "a\nb"], "MV_NAME", "control characters"),
        (["mvsqlite", "rename", "notes.db", "notes.db-wal"], "MV_NAME", "notes.db-wal"),
        (["mvsqlite", "undelete", "notes.db"], "MV_NOTFOUND", "notes.db"),
        (["mvsqlite", "import", "none.sqlite", "x.db"], "FILE_NOT_FOUND", "none.sqlite"),
        (["mvsqlite", "export", "notes.db", "x.sqlite", "--at", "1999-01-01"], "MV_NOVERSION", "1999-01-01"),
        (["mvsqlite", "export", "notes.db", "x.sqlite", "--at", "some day"], "MV_TIME", "some day"),
        (["mvsqlite", "shell", "none.db", "SELECT 1"], "MV_NOTFOUND", "none.db"),
        (["mvsqlite", "shell", "notes.db", "SELEC 1"], "SQLITE_ERROR", "SELEC"),
        (["mvsqlite", "stat", "none.db"], "MV_NOTFOUND", "none.db"),
        (["mvsqlite", "verify", "none.db"], "MV_NOTFOUND", "none.db"),
        (["mvsqlite", "ls", "--store", "odd:thing"], "MV_URL", "odd:thing"),
        (["mvrevert", "show", "notes.db", "zzz"], "MV_NOVERSION", "'zzz'"),
        (["mvrevert", "show", "notes.db", "HEAD~9"], "MV_NOVERSION", "9 commits before"),
        (["mvrevert", "diff", "notes.db", "1234567890"], "MV_NOVERSION", "1234567890"),
        (["mvrevert", "undo", "notes.db", "--message", "none", "--yes"], "MV_UNDO", "no such version"),
        (
            ["mvrevert", "to", "notes.db", "--version", "HEAD", "--table", "x", "--yes"],
            "MV_UNDO",
            "there were: notes",
        ),
    ],
    ids=lambda value: " ".join(value[:2]) if isinstance(value, list) else "",
)
@pytest.mark.usefixtures("database")
def test_errors_are_one_line_and_in_json_an_object(run: Run, words: list[str], code: str, says: str) -> None:
    if "shell" not in words or "none.db" in words:  # the shell points at the place in the statement
        result = run(*words, status=1)
        assert result.stdout == ""
        assert result.stderr.startswith(f"{words[0]}: ")
        assert result.stderr.count("\n") == 1
        assert says in result.stderr
    result = run(*words, "--json", status=1)
    assert json.loads(result.stdout)["error"]["code"] == code
    assert says in json.loads(result.stdout)["error"]["message"]


@pytest.mark.parametrize(
    "words",
    [
        ["mvsqlite", "nonsense"],
        ["mvsqlite", "create"],
        ["mvsqlite", "log", "notes.db", "--limit", "0"],
        ["mvsqlite", "export", "notes.db", "x", "--at", "now", "--version", "HEAD"],
        ["mvsqlite", "verify", "--version", "HEAD"],
        ["mvrevert", "to", "notes.db", "--yes"],
        ["mvrevert", "to", "notes.db", "--yes", "--at", "now", "--version", "HEAD"],
    ],
    ids=" ".join,
)
@pytest.mark.usefixtures("database")
def test_wrong_usage_has_status_2(run: Run, words: list[str]) -> None:
    run(*words, status=2)
    assert json.loads(run(*words, "--json", status=2).stdout)["error"]["code"] == "USAGE"


# ---- names --------------------------------------------------------------------------


@pytest.mark.usefixtures("database")
def test_a_database_is_listed_renamed_removed_and_brought_back(run: Run, answer: Callable[..., Any]) -> None:
    assert [entry["name"] for entry in answer("mvsqlite", "ls")] == ["notes.db"]
    run("mvsqlite", "rename", "notes.db", "diary.db")
    said = run("mvsqlite", "rm", "diary.db", "--yes").output
    assert "mvsqlite undelete diary.db" in said
    assert answer("mvsqlite", "ls") == []
    assert "no databases" in run("mvsqlite", "ls").output
    assert [entry["name"] for entry in answer("mvsqlite", "ls", "--deleted")] == ["diary.db"]
    run("mvsqlite", "undelete", "diary.db", "--as", "back.db")
    assert [entry["name"] for entry in answer("mvsqlite", "ls")] == ["back.db"]
    assert len(answer("mvsqlite", "log", "back.db")) == 3


def test_a_command_to_take_back_names_the_store_if_one_was_given(run: Run, store_url: str) -> None:
    run("mvsqlite", "create", "a.db")
    told = run("mvsqlite", "rm", "a.db", "-y", "--store", store_url).output
    assert shlex.join(["mvsqlite", "undelete", "a.db", "--store", store_url]) in told


# ---- the log ------------------------------------------------------------------------


def test_the_log_as_json(database: mvsqlite_py.Database, answer: Callable[..., Any]) -> None:
    for program in GROUPS:
        entries = answer(program, "log", "notes.db")
        assert [entry["version"] for entry in entries] == versions(database)[::-1]
        assert [entry["rows"] for entry in entries] == [
            {"notes": {"added": 0, "removed": 2, "changed": 0}},
            {"notes": {"added": 3, "removed": 0, "changed": 0}},
            {},
        ]
        assert [entry["message"] for entry in entries] == ["tidying up", None, None]
        assert entries[0]["statements"] == "DELETE FROM notes WHERE id < 3"
        assert entries[2]["schema"][0]["name"] == "notes"
        assert entries[2]["previous"] is None
        assert {"time", "pages", "size", "origin", "kind"} <= entries[0].keys()


@pytest.mark.usefixtures("database")
def test_the_log_for_people_and_pipes(run: Run) -> None:
    lines = run("mvsqlite", "log", "notes.db").stdout.splitlines()
    assert lines[0].split("\t") == ["Version", "Time", "Rows", "What"]
    assert [line.split("\t")[2:] for line in lines[1:]] == [
        ["notes -2", "tidying up"],
        ["notes +3", "INSERT INTO notes VALUES (1, 'one'), (2, 'two'), (3, 'three')"],
        ["created table notes", "CREATE TABLE notes(id INTEGER PRIMARY KEY, title TEXT)"],
    ]
    limited = run("mvsqlite", "log", "notes.db", "--limit", "2", "--no-rows")
    assert len(limited.stdout.splitlines()) == 3
    assert "--limit or --all" in limited.stderr
    assert len(run("mvsqlite", "log", "notes.db", "--limit", "1", "--all").stdout.splitlines()) == 4


def test_a_database_without_versions_has_an_empty_log(run: Run, answer: Callable[..., Any]) -> None:
    run("mvsqlite", "create", "empty.db")
    assert "no versions yet" in run("mvsqlite", "log", "empty.db").output
    assert answer("mvsqlite", "log", "empty.db") == []


# ---- versions as words -----------------------------------------------------------------


def test_versions_have_a_short_form() -> None:
    assert short("00000000000000090000") == "9"
    assert short("000000000000001f0002") == "1f.2"


def test_a_version_may_be_named_in_many_ways(database: mvsqlite_py.Database) -> None:
    oldest, middle, newest = versions(database)
    ways = {
        newest: ["HEAD", "head", "HEAD~0", newest, newest.upper(), short(newest), newest.lstrip("0")],
        middle: ["HEAD~", "HEAD~1", middle, short(middle), newest and short(middle).zfill(10)],
        oldest: ["HEAD~2", oldest, f" {short(oldest)} "],
    }
    for version, words in ways.items():
        assert [resolve(database, word).version for word in words] == [version] * len(words)


def test_a_part_must_be_of_one_version_only(
    database: mvsqlite_py.Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a cluster versions are long: any part of four characters or more will do."""
    known = list(database.versions())
    one, other = (_renamed(known[i], f"0000{i}abcd12{i}ef450001") for i in (0, 1))
    monkeypatch.setattr(type(database), "versions", lambda *_, **__: iter([one, other]))
    assert resolve(database, "bcd120").version == one.version
    assert resolve(database, "1ef45.1").version == other.version
    with pytest.raises(mvsqlite_py.VersionNotFoundError, match="any of 2 versions"):
        resolve(database, "ef45.1")
    with pytest.raises(mvsqlite_py.VersionNotFoundError, match=r"no version '5\.1'"):
        resolve(database, "5.1")


def _renamed(version: mvsqlite_py.Version, to: str) -> mvsqlite_py.Version:
    import dataclasses

    return dataclasses.replace(version, version=to)


# ---- looking at rows --------------------------------------------------------------------


@pytest.mark.usefixtures("database")
def test_show_tells_who_how_and_which_rows(run: Run, answer: Callable[..., Any]) -> None:
    said = run("mvrevert", "show", "notes.db", "HEAD").output
    for what in ("tidying up", "DELETE FROM notes", "notes  -2", "- id=1  title='one'"):
        assert what in said
    entry = answer("mvrevert", "show", "notes.db", "HEAD")
    assert [change["key"] for change in entry["changes"]] == [{"id": 1}, {"id": 2}]


def test_diff_tells_rows_between_any_two_versions(
    database: mvsqlite_py.Database, run: Run, answer: Callable[..., Any]
) -> None:
    connection = database.connect()
    connection.execute(
        "UPDATE notes SET title = x'00ff' WHERE id = 3; CREATE TABLE other(x); INSERT INTO other VALUES (1)"
    )
    found = answer("mvrevert", "diff", "notes.db", "HEAD~4", "--table", "NOTES")
    assert found["rows"] == {"notes": {"added": 0, "removed": 2, "changed": 1}}
    assert found["changes"][-1]["after"] == {"id": 3, "title": {"blob": "00ff"}}
    said = run("mvrevert", "diff", "notes.db", "HEAD~4", "HEAD", "--limit", "1").output
    assert "created table other" in said
    assert "and 2 more rows" in said
    assert "no row differs" in run("mvrevert", "diff", "notes.db", "HEAD", "HEAD").output
    assert "~ id=3  title: 'three' → x'00ff'" in run("mvrevert", "diff", "notes.db", "HEAD~4").output


# ---- taking back --------------------------------------------------------------------------


def test_undo_tells_acts_and_prints_the_way_back(database: mvsqlite_py.Database, run: Run) -> None:
    said = run("mvrevert", "undo", "notes.db", "HEAD", "--yes").output
    assert "notes: 2 rows put back" in said
    assert titles(database) == ["one", "two", "three"]
    way_back = said.splitlines()[-1].split()
    assert way_back[:3] == ["mvrevert", "undo", "notes.db"]
    run(*way_back, "--yes")
    assert titles(database) == ["three"]


def test_undo_reports_rows_that_moved_on(
    database: mvsqlite_py.Database, run: Run, answer: Callable[..., Any]
) -> None:
    connection = database.connect()
    connection.execute("INSERT INTO notes VALUES (2, 'mine')")
    said = run("mvrevert", "undo", "notes.db", "HEAD~1", "--dry-run", status=3).output
    assert "Left as it is: 1 row" in said
    assert "notes id=2: a row with that key exists again" in said
    found = answer("mvrevert", "undo", "notes.db", "HEAD~1", "--yes", status=3)
    assert found["rows"] == {"notes": {"added": 1, "removed": 0, "changed": 0}}
    assert found["untouched"][0]["key"] == {"id": 2}
    assert found["made"] == versions(database)[-1]
    said = run("mvrevert", "undo", "notes.db", "HEAD~2", "--yes", "--keep-mine").output
    assert "Nothing to do" in said
    assert "notes: 1 row already as before" in said


def test_to_sets_the_whole_database_back_and_can_be_taken_back(
    database: mvsqlite_py.Database, run: Run
) -> None:
    said = run("mvrevert", "to", "notes.db", "--version", "HEAD~1", "--yes", "-m", "oops").output
    assert "1 commit back" in said
    assert titles(database) == ["one", "two", "three"]
    newest = database.newest
    assert newest
    assert newest.message == "oops"
    run(*said.splitlines()[-1].split(), "--yes")
    assert titles(database) == ["three"]


def test_to_a_time_and_to_the_present(
    database: mvsqlite_py.Database, run: Run, answer: Callable[..., Any]
) -> None:
    moment = _common.iso(database.version(versions(database)[1]).time)
    found = answer("mvrevert", "to", "notes.db", "--at", moment, "--dry-run")
    assert found["version"] == database.find(at=moment)
    assert "is at that version already" in run("mvrevert", "to", "notes.db", "--at", "now", "--yes").output


def test_to_one_table(database: mvsqlite_py.Database, run: Run, answer: Callable[..., Any]) -> None:
    database.connect().execute("CREATE TABLE other(x)")
    assert (
        answer("mvrevert", "to", "notes.db", "-V", "HEAD~2", "--table", "notes", "--dry-run")["made"] is None
    )
    said = run("mvrevert", "to", "notes.db", "-V", "HEAD~2", "--table", "notes", "--yes").output
    assert "2 rows put back" in said
    assert titles(database) == ["one", "two", "three"]
    assert database.connect().execute("SELECT count(*) FROM other").fetchone() == (0,)


@pytest.mark.parametrize(
    "words",
    [
        ["mvsqlite", "rm", "notes.db"],
        ["mvrevert", "undo", "notes.db", "HEAD"],
        ["mvrevert", "to", "notes.db", "--version", "HEAD~1"],
        ["mvrevert", "to", "notes.db", "--version", "HEAD~1", "--table", "notes"],
    ],
    ids=" ".join,
)
def test_what_takes_away_asks_first(
    database: mvsqlite_py.Database, run: Run, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    before = versions(database)
    refused = run(*words, status=2)
    assert "--yes" in refused.stderr
    assert json.loads(run(*words, "--json", status=2).stdout)["error"]["code"] == "NEEDS_YES"
    monkeypatch.setattr(_common, "has_terminal", lambda: True)
    run(*words, status=130, stdin="n\n")
    assert versions(database) == before
    run(*words, stdin="y\n")
    assert (words[1] == "rm") or len(versions(database)) == 4


# ---- files and SQL ---------------------------------------------------------------------------


def test_import_and_export(run: Run, answer: Callable[..., Any], tmp_path: Path) -> None:
    source, target = tmp_path / "in.sqlite", tmp_path / "out.sqlite"
    with sqlite3.connect(source) as connection:
        connection.execute("CREATE TABLE a(x)")
        connection.execute("INSERT INTO a VALUES (1)")
    connection.close()
    answer("mvsqlite", "import", str(source), "a.db")
    run("mvsqlite", "shell", "a.db", "INSERT INTO a VALUES (2)")
    run("mvsqlite", "export", "a.db", str(target), "--version", "HEAD~1")
    assert _count(target) == 1
    run("mvsqlite", "export", "a.db", str(target), status=1)
    run("mvsqlite", "export", "a.db", str(target), "--overwrite")
    assert _count(target) == 2


def _count(path: Path) -> int:
    connection = sqlite3.connect(path)
    (count,) = connection.execute("SELECT count(*) FROM a").fetchone()
    connection.close()
    return int(count)


def test_real_files_come_back_as_they_went_in(run: Run, real_databases: list[Path], tmp_path: Path) -> None:
    for path in real_databases:
        out = tmp_path / "out.sqlite"
        run("mvsqlite", "import", str(path), path.name)
        run("mvsqlite", "verify", path.name, "--all-versions")
        run("mvsqlite", "export", path.name, str(out), "--overwrite")
        assert _dump(out) == _dump(path)


def _dump(path: Path) -> list[Any]:
    connection = sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)
    tables = connection.execute(
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND rootpage > 0"
    ).fetchall()
    rows = [(name, connection.execute(f'SELECT * FROM "{name}"').fetchall()) for (name,) in tables]
    connection.close()
    return rows


@pytest.mark.usefixtures("database")
def test_sql_from_arguments_and_from_a_pipe(run: Run) -> None:
    assert run("mvsqlite", "shell", "notes.db", "SELECT 1; SELECT 2", "SELECT 3").output == "1\n2\n3\n"
    assert run("mvsqlite", "shell", "notes.db", stdin="SELECT title\nFROM notes").output == "three\n"
    past = run(
        "mvsqlite", "shell", "notes.db", "SELECT count(*) AS n FROM notes", "--version", "HEAD~1", "--json"
    )
    assert json.loads(past.output) == [{"n": 3}]


def test_a_past_state_is_read_only(database: mvsqlite_py.Database, run: Run) -> None:
    result = run("mvsqlite", "shell", "notes.db", "--version", "HEAD~1", "DELETE FROM notes", status=1)
    assert "readonly" in result.stderr
    assert len(versions(database)) == 3


@pytest.mark.usefixtures("database")
def test_a_statement_that_fails_stops_the_rest(run: Run) -> None:
    result = run("mvsqlite", "shell", "notes.db", stdin="SELECT 1;\nSELECT nope;\nSELECT 2;", status=1)
    assert result.stdout == "1\n"
    assert "no such column: nope" in result.stderr


# ---- checking -----------------------------------------------------------------------------------


def test_stat_and_verify(database: mvsqlite_py.Database, run: Run, answer: Callable[..., Any]) -> None:
    assert answer("mvsqlite", "stat", "notes.db")["versions"] == 3
    assert "Versions" in run("mvsqlite", "stat", "notes.db").output
    (found,) = answer("mvsqlite", "verify", "--all-versions")
    assert found["problems"] == []
    assert found["checked"] == versions(database)[::-1]
    assert found["images"] > 0
    assert run("mvsqlite", "verify", "notes.db", "--version", "HEAD~1").output.endswith(
        "SQLite checked 1 version: ok\n"
    )


def test_verify_fails_with_what_it_found(
    database: mvsqlite_py.Database, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = mvsqlite_py.Verification(images=3, problems=["page 2 is not what it was"])
    monkeypatch.setattr(type(database), "verify", lambda *_, **__: broken)
    said = run("mvsqlite", "verify", status=1).output
    assert "notes.db: page 2 is not what it was" in said
    assert "1 problem!" in said


# ---- real processes ---------------------------------------------------------------------------------


def process(store_url: str, program: str, *words: str, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", f"from mvsqlite_py._cli.{program} import main; main()", *words]
    environment = os.environ | {"MVSQLITE_STORE": store_url} | options.pop("env", {})
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, **options)


def test_the_commands_as_processes(store_url: str) -> None:
    assert process(store_url, "mvsqlite", "create", "a.db").returncode == 0
    sql = process(store_url, "mvsqlite", "shell", "a.db", input="CREATE TABLE a(x); INSERT INTO a VALUES (1)")
    assert (sql.returncode, sql.stderr) == (0, "")
    refused = process(store_url, "mvrevert", "undo", "a.db", "HEAD", stdin=subprocess.DEVNULL)
    assert refused.returncode == 2
    assert (
        refused.stderr == "mvrevert: nothing was done, for there is nobody to ask: give --yes to go ahead\n"
    )
    done = process(store_url, "mvrevert", "undo", "a.db", "HEAD", "--yes", "--json")
    assert json.loads(done.stdout)["rows"] == {"a": {"added": 0, "removed": 1, "changed": 0}}
    missing = process(store_url, "mvsqlite", "log", "b.db")
    assert missing.returncode == 1
    assert missing.stderr.startswith("mvsqlite: ")
    assert missing.stderr.count("\n") == 1
    assert process(store_url, "mvsqlite", "--version").stdout.startswith("mvsqlite 0.")


def test_a_narrow_terminal_is_enough(store_url: str) -> None:
    process(store_url, "mvsqlite", "shell", "a.db", "SELECT 1")
    process(store_url, "mvsqlite", "create", "a.db")
    process(
        store_url, "mvsqlite", "shell", "a.db", "CREATE TABLE a_table_with_a_rather_long_name(column_one)"
    )
    log = process(store_url, "mvsqlite", "log", "a.db", env={"COLUMNS": "80"})
    assert max(map(len, log.stdout.splitlines())) <= 80


def test_a_reader_that_leaves_early_is_no_error(store_url: str) -> None:
    process(store_url, "mvsqlite", "create", "a.db")
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-c", "from mvsqlite_py._cli.mvsqlite import main; main()", "ls", "--json"]
    environment = os.environ | {"MVSQLITE_STORE": store_url}
    done = subprocess.run(
        command, env=environment, stdout=writer, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(writer)
    assert done.returncode > 0
    assert done.stderr == ""
