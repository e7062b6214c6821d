"""``mvrevert undo`` and ``mvrevert blame``, as people and programs use them."""

from collections.abc import Callable
from typing import Any

import pytest

from bench import Bench
from commands import Run
from mvsqlite_py._cli._versions import short

Answer = Callable[..., Any]


@pytest.fixture
def damaged(notes: Bench) -> Bench:
    """Three bad commits with good ones between and after."""
    say = notes.connection.execute
    say("SELECT mv_message('bad one')").fetchall()
    notes.commit("DELETE FROM notes WHERE id = 1")
    notes.commit("INSERT INTO notes VALUES (5, 'good', 0)")
    say("SELECT mv_message('bad two')").fetchall()
    notes.commit("UPDATE notes SET title = 'bad' WHERE id = 2")
    say("SELECT mv_message('bad three')").fetchall()
    notes.commit("UPDATE notes SET title = 'bad' WHERE id = 3")
    notes.commit("UPDATE notes SET title = 'mine' WHERE id = 3")
    return notes


def titles(bench: Bench) -> list[Any]:
    return [row[0] for row in bench.rows("SELECT title FROM notes ORDER BY id")]


def test_a_range_has_both_ends(damaged: Bench, run: Run) -> None:
    said = run("mvrevert", "undo", "undo.db", "HEAD~4..HEAD~2", "--yes").output
    assert "3 versions" in said
    assert "bad one" in said
    assert titles(damaged) == ["one", "two", "mine", "four"]
    run(*said.splitlines()[-1].split(), "--yes")
    assert titles(damaged) == ["bad", "mine", "four", "good"]


@pytest.mark.usefixtures("damaged")
def test_a_range_to_the_newest_and_one_the_wrong_way_round(answer: Answer, run: Run) -> None:
    assert len(answer("mvrevert", "undo", "undo.db", "HEAD~1..", "--dry-run")["versions"]) == 2
    said = run("mvrevert", "undo", "undo.db", "HEAD..HEAD~1", "--dry-run", status=2).output
    assert "the older version comes first: HEAD~1..HEAD" in said


def test_versions_chosen_by_what_they_say(damaged: Bench, run: Run, answer: Answer) -> None:
    found = answer("mvrevert", "undo", "undo.db", "--message", "BAD", "--dry-run", status=3)
    assert len(found["versions"]) == 3
    one = answer("mvrevert", "undo", "undo.db", "HEAD~2..HEAD", "--message", "bad t*", "--dry-run", status=3)
    assert one["versions"] == found["versions"][:2]
    by_text = answer("mvrevert", "undo", "undo.db", "--statement", "DELETE FROM note*", "--dry-run")
    assert by_text["versions"] == found["versions"][2:]
    newest = damaged.database.newest
    assert newest
    origin = ["--program", newest.program, "--host", newest.host, "--pid", str(newest.pid)]
    assert len(answer("mvrevert", "undo", "undo.db", *origin, "--dry-run")["versions"]) == 6
    said = run("mvrevert", "undo", "undo.db", "--host", "nowhere", status=1).output
    assert "no such version" in said


def test_versions_chosen_by_time(damaged: Bench, answer: Answer, run: Run) -> None:
    every = [version.version for version in damaged.database.versions()]
    since = ["--since", "2001-01-01", "--until", "now"]
    assert answer("mvrevert", "undo", "undo.db", *since, "--dry-run")["versions"] == every
    assert answer("mvrevert", "undo", "undo.db", *since, "HEAD~1", "--dry-run", status=3)["versions"] == [
        every[1]
    ]
    assert "no such version" in run("mvrevert", "undo", "undo.db", "--until", "2001-01-01", status=1).output


def test_conflicts_are_told_with_their_states_and_a_status(damaged: Bench, run: Run, answer: Answer) -> None:
    said = run("mvrevert", "undo", "undo.db", "HEAD~1", "--yes", status=3).output
    assert "notes id=3: changed since" in said
    lines = [" ".join(line.split()) for line in said.splitlines()]
    assert lines[lines.index("before: title='three'") :][:3] == [
        "before: title='three'", "after: title='bad'", "now: title='mine'"
    ]  # fmt: skip
    (left,) = answer("mvrevert", "undo", "undo.db", "HEAD~1", "--dry-run", status=3)["untouched"]
    assert [left[state]["title"] for state in ("before", "after", "now")] == ["three", "bad", "mine"]
    assert titles(damaged) == ["bad", "mine", "four", "good"]


def test_mine_and_theirs(damaged: Bench, run: Run) -> None:
    run("mvrevert", "undo", "undo.db", "HEAD~1", "--yes", "--keep-mine")
    assert titles(damaged) == ["bad", "mine", "four", "good"]
    run("mvrevert", "undo", "undo.db", "HEAD~1", "--yes", "--keep-theirs")
    assert titles(damaged) == ["bad", "three", "four", "good"]
    both = ["--keep-mine", "--keep-theirs"]
    assert "either" in run("mvrevert", "undo", "undo.db", "HEAD", "--yes", *both, status=2).output


def test_only_a_table_and_only_some_rows(damaged: Bench, run: Run, answer: Answer) -> None:
    damaged.commit("CREATE TABLE tag(t); INSERT INTO tag VALUES (1)")
    damaged.commit("DELETE FROM notes; DELETE FROM tag")
    words = ["mvrevert", "undo", "undo.db", "HEAD", "--table", "notes", "--where", "id > 3"]
    assert "does not fit" in run(*words, "--table", "tag", "--yes", status=1).output
    found = answer(*words, "--yes", "--note", "sorry")
    assert found["rows"] == {"notes": {"added": 2, "removed": 0, "changed": 0}}
    newest = damaged.database.newest
    assert newest
    assert newest.message == "sorry"


def test_without_versions_something_must_choose(damaged: Bench, run: Run) -> None:
    said = run("mvrevert", "undo", "undo.db", "--table", "notes", status=2).output
    assert "which versions?" in said
    assert damaged.database.newest


def test_blame_tells_the_commit_of_each_row(damaged: Bench, run: Run, answer: Answer) -> None:
    lines = run("mvrevert", "blame", "undo.db", "notes").output.splitlines()
    assert [line.split("\t")[2] for line in lines] == ["id=3", "id=2", "id=5", "id=4"]
    assert lines[1].split("\t")[-1] == "bad two"
    newest = damaged.database.newest
    assert newest
    assert lines[0].split("\t")[0] == short(newest.version)
    (one,) = answer("mvrevert", "blame", "undo.db", "notes", "--where", "id = 3")
    assert (one["key"], one["row"]["title"], one["version"]) == ({"id": 3}, "mine", newest.version)
    said = run("mvrevert", "blame", "undo.db", "notes", "--limit", "1")
    assert len(said.stdout.splitlines()) == 1
    assert "--limit or --all" in said.stderr
    assert "no row" in run("mvrevert", "blame", "undo.db", "notes", "--where", "id > 99", "--all").output
    assert "there are: notes" in run("mvrevert", "blame", "undo.db", "none", status=1).output
