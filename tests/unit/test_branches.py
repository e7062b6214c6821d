"""Branches through SQLite: both sides written, read, verified, promoted, listed."""

import json

import pytest
from click.testing import CliRunner

import mvsqlite_py
from mvsqlite_py._cli.mvrevert import mvrevert
from mvsqlite_py._cli.mvsqlite import mvsqlite


@pytest.fixture
def notes(store):
    db = mvsqlite_py.connect("notes.db", store=store)
    db.execute("CREATE TABLE note(id INTEGER PRIMARY KEY, text)")
    db.execute("INSERT INTO note(text) VALUES ('one'), ('two'), ('three')")
    yield db
    db.close()


NUMBERS = "WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?) "


def texts(db):
    return [text for (text,) in db.execute("SELECT text FROM note ORDER BY id")]


def test_both_sides_are_written_without_the_other(store, notes):
    branch = store.branch("notes.db", "trial.db").connect()
    branch.execute("UPDATE note SET text = upper(text)")
    notes.execute("INSERT INTO note(text) VALUES ('four')")
    assert texts(branch) == ["ONE", "TWO", "THREE"]
    assert texts(notes) == ["one", "two", "three", "four"]
    for name in ("notes.db", "trial.db"):
        assert store.database(name).verify().problems == []
        assert store.database(name).connect().execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_a_branch_may_begin_in_the_past_and_has_that_history(store, notes):
    notes_db = store.database("notes.db")
    then = notes_db.newest.version
    notes.execute("DELETE FROM note")
    trial = store.branch("notes.db", "trial.db", version=then)
    branch = trial.connect()
    assert texts(branch) == ["one", "two", "three"]
    branch.execute("DELETE FROM note WHERE id = 1")
    versions = list(trial.versions())
    assert [v.version for v in versions[1:]] == [v.version for v in notes_db.versions(until=then)]
    assert versions[0].previous == then
    assert trial.diff(then, versions[0].version).rows == {"note": mvsqlite_py.RowCounts(removed=1)}
    trial.undo(versions[0].version)
    assert texts(branch) == ["one", "two", "three"]
    trial.revert(version=versions[-1].version)
    assert branch.execute("SELECT count(*) FROM note").fetchall() == [(0,)]


def test_a_branch_can_shrink_and_grow_and_change_its_page_size(store, notes):
    notes.execute("CREATE TABLE big(x)")
    notes.execute(NUMBERS + "INSERT INTO big SELECT zeroblob(3000) FROM n", (400,))
    branch = store.branch("notes.db", "trial.db").connect()
    branch.execute("DROP TABLE big")
    branch.execute("VACUUM")
    assert branch.pragma("page_count") < 10
    branch.execute("PRAGMA page_size = 1024")
    branch.execute("VACUUM")
    branch.execute("CREATE TABLE big(x)")
    branch.execute(NUMBERS + "INSERT INTO big SELECT i || hex(randomblob(400)) FROM n", (900,))
    assert branch.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert store.database("trial.db").verify().problems == []
    assert notes.execute("SELECT count(*) FROM big").fetchall() == [(400,)]
    for version in store.database("trial.db").versions():
        past = store.database("trial.db").connect(version=version.version)
        assert past.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_promoting_is_a_commit_that_open_connections_see(store, notes):
    branch = store.branch("notes.db", "trial.db").connect()
    branch.execute("CREATE TABLE tag(name)")
    branch.execute("INSERT INTO tag VALUES ('good')")
    notes.execute("INSERT INTO note(text) VALUES ('four')")
    before = store.database("notes.db").newest.version
    made = store.database("notes.db").promote("trial.db", keep="before.db")
    assert notes.execute("SELECT name FROM tag").fetchall() == [("good",)]
    assert texts(notes) == ["one", "two", "three"]
    kept = store.database("before.db")
    assert texts(kept.connect()) == ["one", "two", "three", "four"]
    version = store.database("notes.db").version(made)
    assert (version.kind, version.message) == ("promote", "promote trial.db")
    assert store.database("notes.db").revert(version=before)
    assert texts(notes) == ["one", "two", "three", "four"]


def test_only_a_relative_is_promoted(store, notes):
    store.create("other.db")
    with pytest.raises(mvsqlite_py.MisuseError, match="not branches of one database"):
        store.database("notes.db").promote("other.db")
    with pytest.raises(mvsqlite_py.DatabaseNotFoundError):
        store.database("notes.db").promote("none.db")
    store.branch("notes.db", "trial.db").connect().execute("DELETE FROM note")
    with pytest.raises(mvsqlite_py.DatabaseExistsError):
        store.database("notes.db").promote("trial.db", keep="other.db")
    assert texts(notes) == ["one", "two", "three"]


@pytest.mark.usefixtures("notes")
def test_a_branch_outlives_its_parent(store):
    branch = store.branch("notes.db", "trial.db").connect()
    store.delete("notes.db")
    branch.execute("INSERT INTO note(text) VALUES ('later')")
    assert texts(branch) == ["one", "two", "three", "later"]


@pytest.mark.parametrize("raised", [False, True])
def test_a_copy_of_the_store_has_the_branches(store, notes, url_in, tmp_path, raised):
    trial = store.branch("notes.db", "trial.db")
    trial.connect().execute("UPDATE note SET text = upper(text)")
    store.branch("trial.db", "deeper.db").connect().execute("DELETE FROM note WHERE id = 2")
    store.branch("notes.db", "bare.db")
    notes.execute("DELETE FROM note")
    with mvsqlite_py.open_store(url_in(tmp_path / "copy")) as target:
        if raised:  # versions cannot keep their names
            first = target.create("first.db").connect()
            for i in range(40):
                first.execute(f"PRAGMA user_version = {i + 1}")
        store.copy_to(target)
        for name, wanted in {
            "notes.db": [],
            "trial.db": ["ONE", "TWO", "THREE"],
            "deeper.db": ["ONE", "THREE"],
            "bare.db": ["one", "two", "three"],
        }.items():
            copy = target.database(name)
            assert texts(copy.connect()) == wanted
            assert copy.verify().problems == []
            assert len(list(copy.versions())) == len(list(store.database(name).versions()))
        assert {entry.name: entry.parent for entry in target.list() if entry.parent} == {
            "trial.db": "notes.db",
            "deeper.db": "trial.db",
            "bare.db": "notes.db",
        }
        assert all(copied.already for copied in store.copy_to(target))
        target.database("trial.db").connect().execute("DELETE FROM note WHERE id = 1")
        assert texts(target.database("deeper.db").connect()) == ["ONE", "THREE"]


@pytest.mark.usefixtures("notes")
def test_a_branch_is_copied_after_its_parent(store, url_in, tmp_path):
    store.branch("notes.db", "trial.db")
    with mvsqlite_py.open_store(url_in(tmp_path / "copy")) as target:
        with pytest.raises(mvsqlite_py.DatabaseNotFoundError, match="copy that one first"):
            store.copy_to(target, "trial.db")
        store.copy_to(target, "notes.db")
        store.copy_to(target, "trial.db")
        assert target.list()[1].parent == "notes.db"


def test_branches_are_compared(store, notes):
    trial = store.branch("notes.db", "trial.db")
    trial.connect().execute("UPDATE note SET text = 'zwei' WHERE id = 2")
    notes.execute("DELETE FROM note WHERE id = 1")
    mine = store.database("notes.db")
    found = mine.diff(mine.newest.version, trial.newest.version, other=trial)
    assert found.rows == {"note": mvsqlite_py.RowCounts(added=1, changed=1)}
    assert {row.kind for row in found.row_changes()} == {"added", "changed"}
    back = trial.diff(trial.newest.version, mine.newest.version, other=mine)
    assert back.rows == {"note": mvsqlite_py.RowCounts(removed=1, changed=1)}
    other = store.create("other.db")
    other.connect().execute("CREATE TABLE note(id INTEGER PRIMARY KEY, text)")
    with pytest.raises(mvsqlite_py.MisuseError, match="not branches of one database"):
        mine.diff(mine.newest.version, other.newest.version, other=other)


def run(store_url, *words):
    done = CliRunner().invoke(mvsqlite, [*words, "--store", store_url], standalone_mode=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_the_commands(store_url, store, notes):
    assert "begins as" in run(store_url, "branch", "notes.db", "trial.db")
    run(store_url, "branch", "trial.db", "deeper.db", "--version", "HEAD~1")
    listed = json.loads(run(store_url, "branches", "--json"))
    assert [(one["name"], one["parent"]) for one in listed] == [
        ("trial.db", "notes.db"),
        ("deeper.db", "notes.db"),
    ]
    assert "trial.db" in run(store_url, "branches", "notes.db")
    store.database("trial.db").connect().execute("DELETE FROM note WHERE id > 1")
    with_branch = ["diff", "notes.db", "now", "--with", "trial.db", "--store", store_url]
    shown = CliRunner().invoke(mvrevert, with_branch, standalone_mode=False).output
    assert "note" in shown
    assert "-2" in shown
    done = json.loads(
        run(store_url, "promote", "notes.db", "trial.db", "--keep", "old.db", "--yes", "--json")
    )
    assert texts(notes) == ["one"]
    assert done["kept"] == "old.db"
    assert done["take_back"].startswith("mvrevert to notes.db")
