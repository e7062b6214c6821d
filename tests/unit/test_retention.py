"""Tags, policies and gc through Python and the command line."""

import json
import re
import time
from datetime import timedelta

import pytest
from click.testing import CliRunner

import mvsqlite_py
from mvsqlite_py import GcReport, Policy, _retention
from mvsqlite_py._cli.mvrevert import mvrevert
from mvsqlite_py._cli.mvsqlite import mvsqlite

DAY = 24 * 3600


@pytest.fixture
def tomorrow(monkeypatch):
    """gc takes it to be a day later."""
    monkeypatch.setattr(_retention, "clock_ms", lambda: int((time.time() + DAY) * 1000))


@pytest.fixture
def notes(store):
    db = mvsqlite_py.connect("notes.db", store=store)
    db.execute("CREATE TABLE note(id INTEGER PRIMARY KEY, text)")
    for word in ("one", "two", "three", "four", "five", "six"):
        db.execute("INSERT INTO note(text) VALUES (?)", (word,))
    db.close()
    return store.database("notes.db")


def run(store, *args, command=mvsqlite, **options):
    return CliRunner().invoke(command, [*args, "--store", store.url], **options)


def rows(database, version):
    connection = database.connect(version=version)
    try:
        return connection.execute("SELECT count(*) FROM note").fetchall()[0][0]
    finally:
        connection.close()


def test_a_policy_is_what_was_set(notes):
    assert notes.policy() == Policy()
    policy = Policy(keep_all=timedelta(days=7), hourly=48, daily=30, weekly=52, least=60, deleted=DAY)
    notes.set_policy(policy)
    assert notes.policy() == policy
    assert policy.least == timedelta(minutes=1)


@pytest.mark.parametrize(
    "given", [{"hourly": -1}, {"daily": 2**32}, {"least": -1.0}, {"statements": "none"}, {"keep_all": -5}]
)
def test_a_policy_that_cannot_be_is_refused(given):
    with pytest.raises(ValueError):
        Policy(**given)


@pytest.mark.usefixtures("tomorrow")
def test_a_tag_is_kept_and_understood(notes):
    versions = [entry.version for entry in notes.versions()][::-1]
    assert notes.tag("two", version=versions[2]) == versions[2]
    assert notes.tag("now") == versions[-1]
    with pytest.raises(mvsqlite_py.DatabaseExistsError, match="take it back first"):
        notes.tag("two")
    notes.set_policy(Policy(keep_all=0, least=0))
    plan = notes.gc(dry_run=True)
    assert plan == GcReport(5, 2, plan.images, plan.bytes, 1, 0, 0, True)
    assert plan.bytes > 0
    before = notes.stat().total_bytes
    done = notes.gc()
    assert (done.removed, done.bytes) == (5, plan.bytes)
    assert notes.stat().total_bytes == before - done.bytes
    assert notes.tags() == {"two": versions[2], "now": versions[-1]}
    assert [rows(notes, versions[2]), rows(notes, versions[-1])] == [2, 6]
    with pytest.raises(mvsqlite_py.VersionNotFoundError):
        notes.connect(version=versions[3]).execute("SELECT * FROM note").fetchall()
    assert [entry.merged for entry in notes.versions()] == [3, 2]
    assert notes.verify().problems == []
    notes.untag("now")
    with pytest.raises(mvsqlite_py.VersionNotFoundError, match="no tag"):
        notes.untag("now")


@pytest.mark.usefixtures("tomorrow")
def test_what_stands_for_forgotten_versions_is_not_undone_alone(notes):
    notes.set_policy(Policy(keep_all=0, least=0))
    notes.gc()
    with pytest.raises(mvsqlite_py.UndoError, match="stands for 6"):
        notes.undo(notes.newest.version)


@pytest.mark.usefixtures("tomorrow")
def test_an_open_connection_keeps_what_it_reads(notes):
    versions = [entry.version for entry in notes.versions()][::-1]
    notes.set_policy(Policy(keep_all=0, least=0))
    past = notes.connect(version=versions[3])
    follower = notes.connect()
    follower.execute("BEGIN")
    assert follower.execute("SELECT count(*) FROM note").fetchall() == [(6,)]
    writer = notes.connect()
    writer.execute("DELETE FROM note")
    done = notes.gc()
    assert (done.removed, done.for_snapshots) == (5, 2)
    assert past.execute("SELECT max(text) FROM note").fetchall() == [("two",)]
    assert follower.execute("SELECT max(id), sum(length(text)) FROM note").fetchall() == [(6, 22)]
    for connection in (past, follower, writer):
        connection.close()
    assert notes.gc().removed == 2


@pytest.mark.usefixtures("tomorrow")
def test_progress_may_stop_it_and_the_next_goes_on(notes):
    class StopError(Exception):
        pass

    def stop(done, of):
        assert (done, of) == (6, 6)
        raise StopError

    notes.set_policy(Policy(keep_all=0, least=0))
    with pytest.raises(StopError):
        notes.gc(progress=stop)
    assert notes.verify().problems == []
    assert notes.gc().removed == 0
    assert len(list(notes.versions())) == 1


@pytest.mark.usefixtures("tomorrow")
def test_a_deleted_database_goes_when_its_time_is_over(store, notes):
    notes.set_policy(Policy(deleted=DAY / 2))
    branch = store.branch("notes.db", "trial.db")
    branch.set_policy(Policy(deleted=2 * DAY))
    store.delete("notes.db")
    (stays,) = store.gc_deleted()
    assert stays.report is None
    assert "a branch of it" in stays.why_not
    branch.set_policy(Policy(deleted=DAY / 2))
    store.delete("trial.db")
    assert [one.database.name for one in store.gc_deleted()] == ["trial.db", "notes.db"]
    assert store.list(deleted=True) == []
    with pytest.raises(mvsqlite_py.DatabaseNotFoundError):
        store.undelete("notes.db")


# ---- the command line -------------------------------------------------------------


def test_tags_on_the_command_line(store, notes):
    version = list(notes.versions())[4].version
    told = run(store, "tag", "notes.db", "early", "--version", "HEAD~4", "--json")
    assert json.loads(told.output) == {"name": "notes.db", "tag": "early", "version": version}
    assert run(store, "tag", "notes.db", "head").exit_code == 2
    assert "early" in run(store, "tags", "notes.db").output
    listed = json.loads(run(store, "tags", "notes.db", "--json").output)
    assert [(one["tag"], one["version"]) for one in listed] == [("early", version)]
    shown = run(store, "show", "notes.db", "early", "--json", command=mvrevert)
    assert json.loads(shown.output)["version"] == version
    output = run(store, "shell", "notes.db", "SELECT count(*) FROM note", "--version", "early").output
    assert output.strip() == "2"
    assert run(store, "untag", "notes.db", "early").exit_code == 0
    assert run(store, "untag", "notes.db", "early").exit_code == 1
    assert "has no tags" in run(store, "tags", "notes.db").output


def test_retention_on_the_command_line(store, notes):
    told = run(store, "retention", "notes.db", "--all", "7d", "--hourly", "48", "--weekly", "52", "--json")
    assert json.loads(told.output) == {
        "name": "notes.db",
        "all": 7 * DAY,
        "least": 3600,
        "deleted": None,
        "hourly": 48,
        "daily": 0,
        "weekly": 52,
    }
    assert re.search(r"Every version +7d", run(store, "retention", "notes.db").output)
    run(store, "retention", "notes.db", "--for-ever", "--deleted", "30d", "--least", "90s")
    wanted = Policy(hourly=48, weekly=52, deleted=30 * DAY, least=90)
    assert notes.policy() == wanted
    assert run(store, "retention", "notes.db", "--for-ever", "--all", "1h").exit_code == 2
    assert run(store, "retention", "notes.db", "--all", "soon").exit_code == 2
    assert run(store, "retention", "notes.db", "--least", "for-ever").exit_code == 2
    run(store, "retention", "notes.db", "--daily", "3")
    assert notes.policy() == Policy(keep_all=0, hourly=48, daily=3, weekly=52, deleted=30 * DAY, least=90)


@pytest.mark.usefixtures("tomorrow")
def test_gc_on_the_command_line(store, notes):
    assert "0 versions would go" in run(store, "gc", "--dry-run").output
    run(store, "retention", "notes.db", "--all", "0s", "--least", "0s", "--deleted", "1h")
    assert "6 versions would go" in run(store, "gc", "notes.db", "--dry-run").output
    assert run(store, "gc").exit_code == 2  # nobody can be asked
    assert len(list(notes.versions())) == 7
    done = json.loads(run(store, "gc", "--yes", "--json").output)
    assert [one["removed"] for one in done["databases"]] == [6]
    assert (done["dry_run"], done["deleted"]) == (False, [])
    assert len(list(notes.versions())) == 1
    store.delete("notes.db")
    assert "dropped for good" in run(store, "gc", "--yes").output
    assert "no databases" in run(store, "gc", "--yes").output
