"""Several commits taken back as one; only some tables or rows; rows that others changed since."""

import pytest

import mvsqlite_py
from bench import Bench
from mvsqlite_py import RowCounts, UndoError
from mvsqlite_py._ledger import CHANGED, CONSTRAINT, DELETED, EXISTS
from mvsqlite_py._selection import matches, runs


def state(bench: Bench) -> list[tuple[object, ...]]:
    return bench.rows("SELECT * FROM notes ORDER BY id")


# ---- several versions ----------------------------------------------------------------


def test_versions_that_follow_each_other_are_one_difference(notes: Bench) -> None:
    before = state(notes)
    first = notes.commit("UPDATE notes SET title = 'x'; INSERT INTO notes VALUES (5, 'five', 5)")
    second = notes.commit("UPDATE notes SET title = 'y', stars = 0")
    third = notes.commit("DELETE FROM notes WHERE id IN (1, 5)")
    database = notes.database
    assert len(runs(map(database.version, [second, first, third]))) == 1
    report = database.undo([second, third, first])
    assert report.versions == (third, second, first)
    assert report.tables == {"notes": RowCounts(added=1, changed=3)}
    assert state(notes) == before
    newest = database.newest
    assert newest
    assert newest.message == f"undo of {first}..{third}"
    assert newest.previous == third


def test_commits_between_stay(notes: Bench) -> None:
    bad = [notes.commit("UPDATE notes SET title = 'bad' WHERE id < 3; INSERT INTO notes VALUES (5, 'a', 0)")]
    notes.commit("UPDATE notes SET title = 'mine' WHERE id = 2; INSERT INTO notes VALUES (6, 'mine', 0)")
    bad += [notes.commit("UPDATE notes SET title = 'worse' WHERE id < 3")]
    bad += [notes.commit("UPDATE notes SET stars = 7 WHERE id = 5")]
    report = notes.database.undo(bad)
    assert report.tables == {"notes": RowCounts(removed=1, changed=2)}
    assert state(notes) == [(1, "one", 1), (2, "mine", 2), (3, "three", 3), (4, "four", 4), (6, "mine", 0)]
    assert [(one.key, one.reason) for one in report.untouched] == [({"id": 2}, CHANGED)]
    left = report.untouched[0]
    states = (left.before, left.after, left.now)
    assert [one and one["title"] for one in states] == ["two", "bad", "mine"]


def test_a_row_left_alone_by_the_newer_step_is_left_alone_by_the_older(notes: Bench) -> None:
    """Else what another made of it would be taken for the older commit's work."""
    bad = [notes.commit("INSERT INTO notes VALUES (7, 'seven', 7)")]
    notes.commit("UPDATE notes SET stars = 0 WHERE id = 1")
    bad += [notes.commit("DELETE FROM notes WHERE id = 7")]
    notes.commit("INSERT INTO notes VALUES (7, 'seven', 7)")
    report = notes.database.undo(bad)
    assert report.nothing
    assert report.untouched == []
    assert state(notes)[-1] == (7, "seven", 7)


def test_a_row_added_changed_and_deleted_by_undone_commits_is_told_once(notes: Bench) -> None:
    bad = [notes.commit("UPDATE notes SET title = 'a' WHERE id = 1")]
    notes.commit("UPDATE notes SET stars = 0 WHERE id = 4")
    bad += [notes.commit("UPDATE notes SET title = 'b' WHERE id = 1")]
    notes.commit("UPDATE notes SET title = 'mine' WHERE id = 1")
    (left,) = notes.database.undo(bad).untouched
    states = (left.before, left.after, left.now)
    assert [one and one["title"] for one in states] == ["one", "b", "mine"]


def test_rows_without_a_key_that_moved_are_found_by_the_older_step(bench: Bench) -> None:
    bench.commit("CREATE TABLE a(x)")
    bad = [bench.commit("INSERT INTO a VALUES ('bad')")]
    bench.commit("CREATE TABLE other(x)")
    bad += [bench.commit("DELETE FROM a")]
    bench.commit("INSERT INTO a VALUES ('mine')")
    report = bench.database.undo(bad)
    assert bench.rows("SELECT x FROM a") == [("mine",)]
    assert report.tables == {}


def test_every_version_from_the_first_on(notes: Bench) -> None:
    """The state before the first version is an empty database."""
    notes.commit("UPDATE notes SET stars = 9")
    report = notes.database.undo(version.version for version in notes.database.versions())
    assert report.tables == {"notes": RowCounts(removed=4)}
    assert notes.rows("SELECT * FROM sqlite_schema") == []
    assert report.made
    notes.database.undo(report.made)
    assert notes.rows("SELECT count(*), min(stars) FROM notes") == [(4, 9)]


def test_no_version_is_refused(notes: Bench) -> None:
    with pytest.raises(ValueError, match="no version"):
        notes.database.undo([])


def test_a_version_whose_state_before_is_not_kept_is_refused(
    notes: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = notes.connection.pragma("mv_version")
    bad = notes.commit("UPDATE notes SET stars = 0")
    later = notes.commit("DELETE FROM notes")
    version = mvsqlite_py.Database.version

    def kept(self: mvsqlite_py.Database, text: str) -> mvsqlite_py.Version:
        if text == gone:
            raise mvsqlite_py.VersionNotFoundError(text)
        return version(self, text)

    monkeypatch.setattr(mvsqlite_py.Database, "version", kept)
    with pytest.raises(UndoError, match=f"before version {later} .* not kept any more"):
        notes.database.undo([later, bad])
    assert notes.database.undo(later).tables == {"notes": RowCounts(added=4)}


# ---- which versions ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "text", "fits"),
    [
        ("delete", "DELETE FROM note", True),
        ("from   note", "DELETE FROM\n note", True),
        ("DELETE FROM note*", "DELETE FROM notes WHERE id = ?", True),
        ("FROM note*", "DELETE FROM notes", False),
        ("*note", "DELETE FROM notes", False),
        ("id = ?", "DELETE FROM notes WHERE id = ?", True),
        ("n[ao]*", "notes", False),
        ("x", None, False),
    ],
)
def test_a_text_is_matched_by_a_part_or_a_pattern(pattern: str, text: str | None, fits: bool) -> None:
    assert matches(pattern, text) is fits


def test_versions_by_statement_message_and_origin(notes: Bench) -> None:
    first = notes.database.newest
    assert first
    notes.connection.execute("SELECT mv_message('Tidying up')").fetchall()
    deleted = notes.commit("UPDATE notes SET stars = 0;\nDELETE FROM notes WHERE id = 1")
    other = notes.commit("INSERT INTO notes VALUES (8, 'DELETE FROM', 0)")
    select = notes.database.select

    def found(**wanted: object) -> list[str]:
        return [version.version for version in select(**wanted)]  # type: ignore[arg-type]

    assert found(statement="delete from notes*") == [deleted]
    assert found(statement="DELETE FROM") == [other, deleted]
    assert found(statement="update * stars = 0; delete*") == [deleted]
    assert found(message="tidying") == [deleted]
    assert found(message="tidying*", pid=first.pid + 1) == []
    assert found(program="*", pid=first.pid) == [other, deleted, first.version]
    assert found(host=first.host.upper()) == [other, deleted, first.version]
    assert found(host=first.host[:-1]) == []
    assert found(host=first.host[:-1] + "*", statement="INSERT INTO notes VALUES (8*") == [other]


def test_versions_by_time(notes: Bench) -> None:
    first, second = notes.database.newest, None
    assert first
    while second is None or second.time <= first.time:
        notes.commit("UPDATE notes SET stars = stars + 1")
        second = notes.database.newest
        assert second
    select = notes.database.select
    assert next(select(since=first.time), None) == second
    assert first not in list(select(since=first.time))
    assert next(select(until=first.time)) == first
    assert len(list(select(since="2001-01-01"))) == len(list(notes.database.versions()))
    assert list(select(until="2001-01-01")) == []


# ---- only some tables and rows -------------------------------------------------------


def test_only_the_tables_named(notes: Bench) -> None:
    notes.commit("CREATE TABLE tag(t)")
    bad = notes.commit("DELETE FROM notes; INSERT INTO tag VALUES (1); CREATE VIEW v AS SELECT 1")
    assert notes.database.undo(bad, tables=["NOTES"]).tables == {"notes": RowCounts(added=4)}
    assert notes.rows("SELECT * FROM tag") == [(1,)]
    report = notes.database.undo(bad)
    assert report.tables == {"tag": RowCounts(removed=1)}
    assert report.already == {"notes": 4}
    with pytest.raises(UndoError, match=r'no table "nots" .* there are: notes, tag'):
        notes.database.undo(bad, tables=["nots"])


def test_only_rows_that_met_a_condition_before_or_after(notes: Bench) -> None:
    bad = notes.commit("UPDATE notes SET stars = 10 WHERE id = 1; DELETE FROM notes WHERE id IN (2, 3)")
    notes.database.undo(bad, where="title = 'three'")
    assert state(notes) == [(1, "one", 10), (3, "three", 3), (4, "four", 4)]
    notes.database.undo(bad, where="stars > 9")  # after; before it was 1
    assert state(notes) == [(1, "one", 1), (3, "three", 3), (4, "four", 4)]


def test_a_condition_reads_the_past_with_its_collations_and_other_tables(bench: Bench) -> None:
    bench.commit(
        "CREATE TABLE n(k TEXT COLLATE NOCASE PRIMARY KEY, g AS (k || '!')) WITHOUT ROWID;"
        "CREATE TABLE tag(n, t); INSERT INTO n(k) VALUES ('a'), ('b'), ('c'), ('d');"
        "INSERT INTO tag VALUES ('b', 'keep')"
    )
    bad = bench.commit("DELETE FROM n; DELETE FROM tag")
    undo = bench.database.undo
    undo(bad, tables=["n"], where="k = 'A' -- a comment")
    undo(bad, tables=["n"], where="k IN (SELECT n FROM tag)")
    undo(bad, tables=["n"], where="g = 'c!'")
    assert bench.rows("SELECT k FROM n") == [("a",), ("b",), ("c",)]


@pytest.mark.parametrize(
    ("where", "says"),
    [
        ("colour = 1", "no such column: colour"),
        ("\"titel\" = 'x'", "no such column"),
        ("id = ?", "does not fit"),
        ("id =", "does not fit"),
        ("1); DELETE FROM notes; SELECT (1", "may only read|does not fit"),
        ("id IN (SELECT 1 FROM pragma_table_info('notes'))", "may only read"),
    ],
)
def test_a_condition_that_cannot_be_asked_is_refused(notes: Bench, where: str, says: str) -> None:
    bad = notes.commit("DELETE FROM notes")
    newest = notes.database.newest
    with pytest.raises(UndoError, match=says):
        notes.database.undo(bad, where=where)
    assert notes.database.newest == newest


def test_a_condition_leaves_the_schema_but_for_dropped_tables(notes: Bench) -> None:
    bad = notes.commit("DROP TABLE notes; CREATE TABLE tag(id); INSERT INTO tag VALUES (1), (2)")
    report = notes.database.undo(bad, where="id > 1")
    assert report.tables == {"notes": RowCounts(added=3), "tag": RowCounts(removed=1)}
    assert notes.rows("SELECT id FROM tag") == [(1,)]


# ---- rows that others changed since --------------------------------------------------


def damage(notes: Bench) -> str:
    """A commit, and others that changed each of its rows since."""
    bad = notes.commit(
        "UPDATE notes SET title = 'bad' WHERE id IN (1, 2);"
        "DELETE FROM notes WHERE id = 3; INSERT INTO notes VALUES (5, 'five', 5)"
    )
    notes.commit("UPDATE notes SET title = 'mine', stars = 50 WHERE id = 1; DELETE FROM notes WHERE id = 2")
    notes.commit("INSERT INTO notes VALUES (3, 'again', 0); UPDATE notes SET stars = 9 WHERE id = 5")
    return bad


def test_mine_is_the_row_as_it_is_now(notes: Bench) -> None:
    bad = damage(notes)
    before = state(notes)
    report = notes.database.undo(bad, conflicts="mine")
    assert [one.reason for one in report.untouched] == [CHANGED, DELETED, CHANGED, EXISTS]
    assert report == notes.database.undo(bad)
    assert state(notes) == before


def test_theirs_is_the_row_as_it_was_before(notes: Bench) -> None:
    """Of a changed row only what the commit changed; the rest keeps later work."""
    bad = damage(notes)
    report = notes.database.undo(bad, conflicts="theirs")
    assert report.untouched == []
    assert report.tables == {"notes": RowCounts(added=1, removed=1, changed=2)}
    newest = notes.database.newest
    assert newest
    assert notes.database.diff(newest.previous, newest.version).rows == report.tables
    assert state(notes) == [(1, "one", 50), (2, "two", 2), (3, "three", 3), (4, "four", 4)]


def test_theirs_over_several_versions_is_the_oldest_state(notes: Bench) -> None:
    bad = [notes.commit("UPDATE notes SET title = 'a' WHERE id = 1")]
    notes.commit("UPDATE notes SET title = 'mine' WHERE id = 1")
    bad += [notes.commit("UPDATE notes SET title = 'b' WHERE id = 1")]
    notes.commit("DELETE FROM notes WHERE id = 1")
    notes.database.undo(bad, conflicts="theirs")
    assert state(notes)[0] == (1, "one", 1)


def test_theirs_never_breaks_a_constraint_or_takes_another_row(bench: Bench) -> None:
    bench.commit("CREATE TABLE a(id INTEGER PRIMARY KEY, u UNIQUE); INSERT INTO a VALUES (1, 'x'), (2, 'y')")
    bad = bench.commit("DELETE FROM a WHERE id = 1")
    bench.commit("INSERT INTO a VALUES (9, 'x')")
    report = bench.database.undo(bad, conflicts="theirs")
    assert [one.reason for one in report.untouched] == [CONSTRAINT]
    assert bench.rows("SELECT * FROM a") == [(2, "y"), (9, "x")]


def test_theirs_where_unique_values_moved_in_a_circle(bench: Bench) -> None:
    bench.commit("CREATE TABLE a(id INTEGER PRIMARY KEY, u UNIQUE); INSERT INTO a VALUES (1, 'x'), (2, 'y')")
    bad = bench.commit("DELETE FROM a WHERE id = 2; UPDATE a SET u = 'y' WHERE id = 1")
    bench.commit("INSERT INTO a VALUES (2, 'x')")
    report = bench.database.undo(bad, conflicts="theirs")
    assert report.untouched == []
    assert report.tables == {"a": RowCounts(changed=2)}
    assert bench.rows("SELECT * FROM a") == [(1, "x"), (2, "y")]


def test_triggers_and_cascades_of_several_commits(bench: Bench) -> None:
    bench.connection.execute("PRAGMA foreign_keys = ON")
    bench.commit(
        "CREATE TABLE p(id INTEGER PRIMARY KEY, x);"
        "CREATE TABLE c(id INTEGER PRIMARY KEY, p REFERENCES p ON DELETE CASCADE DEFERRABLE);"
        "CREATE TABLE log(what);"
        "CREATE TRIGGER p_d AFTER DELETE ON p BEGIN INSERT INTO log VALUES ('p' || old.id); END;"
        "CREATE TRIGGER c_d AFTER DELETE ON c BEGIN INSERT INTO log VALUES ('c' || old.id); END;"
        "INSERT INTO p VALUES (1, 'a'), (2, 'b'), (3, 'c'); INSERT INTO c VALUES (1, 1), (2, 2), (3, 3)"
    )
    bad = [bench.commit("DELETE FROM p WHERE id = 1")]
    bench.commit("DELETE FROM p WHERE id = 2")
    bad += [bench.commit("DELETE FROM p WHERE id = 3")]
    report = bench.database.undo(bad)
    assert report.tables == {
        "c": RowCounts(added=2), "log": RowCounts(removed=4), "p": RowCounts(added=2)
    }  # fmt: skip
    assert bench.rows("SELECT what FROM log ORDER BY 1") == [("c2",), ("p2",)]
    assert bench.rows("SELECT id, p FROM c") == [(1, 1), (3, 3)]
    assert bench.rows("PRAGMA foreign_key_check") == []


def test_a_child_is_not_put_back_without_its_parent_whichever_step_it_is_of(bench: Bench) -> None:
    bench.commit(
        "CREATE TABLE p(id INTEGER PRIMARY KEY); CREATE TABLE c(id INTEGER PRIMARY KEY, p REFERENCES p)"
    )
    bench.commit("INSERT INTO p VALUES (1), (2); INSERT INTO c VALUES (1, 1), (2, 2), (3, 2)")
    bad = [bench.commit("DELETE FROM c WHERE id < 3")]
    bench.commit("DELETE FROM p WHERE id = 1")
    bad += [bench.commit("DELETE FROM c WHERE id = 3")]
    report = bench.database.undo(bad, conflicts="theirs")
    assert [(one.table, one.key, one.reason) for one in report.untouched] == [("c", {"id": 1}, CONSTRAINT)]
    assert bench.rows("SELECT id FROM c") == [(2,), (3,)]


def test_the_report_of_one_version_names_it(notes: Bench) -> None:
    bad = notes.commit("DELETE FROM notes")
    report = notes.database.undo([bad], message="sorry")
    assert (report.version, report.versions) == (bad, (bad,))
    newest = notes.database.newest
    assert newest
    assert newest.message == "sorry"
    assert isinstance(report, mvsqlite_py.UndoReport)
