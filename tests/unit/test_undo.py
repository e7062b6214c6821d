"""Taking one commit back, row by row, and keeping later work."""

from pathlib import Path
from typing import Any

import apsw
import pytest

import mvsqlite_py
from bench import Bench
from mvsqlite_py import RowCounts, UndoError
from mvsqlite_py._ledger import CHANGED, CONSTRAINT, DELETED, EXISTS
from mvsqlite_py._undo import revert_table, undo


def reasons(report: mvsqlite_py.UndoReport) -> list[tuple[str, dict[str, Any], str]]:
    return [(one.table, one.key, one.reason) for one in report.untouched]


def test_deleted_rows_come_back_and_later_work_stays(notes: Bench) -> None:
    bad = notes.commit("DELETE FROM notes")
    notes.commit("INSERT INTO notes VALUES (10, 'later', 0)")
    report = undo(notes.database, bad)
    assert report.tables == {"notes": RowCounts(added=4)}
    assert report.untouched == []
    assert notes.rows("SELECT id, title FROM notes") == [
        (1, "one"), (2, "two"), (3, "three"), (4, "four"), (10, "later")
    ]  # fmt: skip
    newest = notes.database.newest
    assert newest
    assert (newest.version, newest.message) == (report.made, f"undo of {bad}")
    assert notes.database.diff(newest.previous, newest.version).rows == report.tables


def test_rows_that_moved_on_are_left_alone_and_reported(notes: Bench) -> None:
    bad = notes.commit(
        "UPDATE notes SET title = 'bad' WHERE id IN (1, 2);"
        "DELETE FROM notes WHERE id = 3; INSERT INTO notes VALUES (5, 'five', 5), (6, 'six', 6)"
    )
    notes.commit("UPDATE notes SET title = 'mine' WHERE id = 1; DELETE FROM notes WHERE id IN (2, 6)")
    notes.commit("INSERT INTO notes VALUES (3, 'again', 0); UPDATE notes SET stars = 9 WHERE id = 5")
    report = undo(notes.database, bad)
    assert reasons(report) == [
        ("notes", {"id": 1}, CHANGED),
        ("notes", {"id": 2}, DELETED),
        ("notes", {"id": 5}, CHANGED),
        ("notes", {"id": 3}, EXISTS),
    ]
    assert report.already == {"notes": 1}
    told = report.untouched[0]
    assert told.before == {"id": 1, "title": "one", "stars": 1}
    assert told.after == {"id": 1, "title": "bad", "stars": 1}
    assert told.now == {"id": 1, "title": "mine", "stars": 1}
    assert report.made is None
    assert report.nothing


def test_only_the_columns_changed_are_set_back(notes: Bench) -> None:
    bad = notes.commit("UPDATE notes SET title = 'bad'")
    notes.commit("UPDATE notes SET stars = 100 WHERE id = 1")
    assert undo(notes.database, bad).tables == {"notes": RowCounts(changed=4)}
    assert notes.rows("SELECT title, stars FROM notes LIMIT 1") == [("one", 100)]


def test_a_plan_does_what_undo_would_do_and_leaves_nothing(notes: Bench) -> None:
    bad = notes.commit("DELETE FROM notes WHERE id < 3")
    plan = undo(notes.database, bad, dry_run=True)
    assert plan.tables == {"notes": RowCounts(added=2)}
    assert plan.made is None
    assert notes.rows("SELECT count(*) FROM notes") == [(2,)]
    assert undo(notes.database, bad).tables == plan.tables


def test_an_undo_can_be_undone(notes: Bench) -> None:
    bad = notes.commit("DELETE FROM notes WHERE id < 3")
    first = undo(notes.database, bad)
    assert first.made
    second = undo(notes.database, first.made)
    assert second.tables == {"notes": RowCounts(removed=2)}
    assert notes.rows("SELECT id FROM notes") == [(3,), (4,)]


def test_a_revert_can_be_undone(notes: Bench) -> None:
    before = notes.connection.pragma("mv_version")
    notes.commit("UPDATE notes SET title = 'work'")
    made = notes.database.revert(version=before)
    assert undo(notes.database, made).tables == {"notes": RowCounts(changed=4)}
    assert notes.rows("SELECT DISTINCT title FROM notes") == [("work",)]


def test_undoing_twice_finds_nothing_to_do(notes: Bench) -> None:
    bad = notes.commit("INSERT INTO notes VALUES (5, 'five', 5)")
    undo(notes.database, bad)
    again = undo(notes.database, bad)
    assert again.nothing
    assert again.untouched == []
    assert again.already == {"notes": 1}


def test_triggers_do_not_fire_again(bench: Bench) -> None:
    """What a trigger wrote is part of the commit and taken back with it, once."""
    bench.commit(
        "CREATE TABLE a(id INTEGER PRIMARY KEY); CREATE TABLE log(what);"
        "CREATE TRIGGER a_d AFTER DELETE ON a BEGIN INSERT INTO log VALUES ('d' || old.id); END;"
        "CREATE TRIGGER a_i AFTER INSERT ON a BEGIN INSERT INTO log VALUES ('i' || new.id); END"
    )
    bench.commit("INSERT INTO a VALUES (1), (2)")
    bad = bench.commit("DELETE FROM a WHERE id = 1")
    assert undo(bench.database, bad).tables == {"a": RowCounts(added=1), "log": RowCounts(removed=1)}
    assert bench.rows("SELECT what FROM log") == [("i1",), ("i2",)]


def test_rows_without_a_key_come_back_beside_those_that_took_their_rowids(bench: Bench) -> None:
    bench.commit("CREATE TABLE a(x); INSERT INTO a VALUES ('old 1'), ('old 2')")
    bad = bench.commit("DELETE FROM a")
    bench.commit("INSERT INTO a VALUES ('new')")
    assert undo(bench.database, bad).tables == {"a": RowCounts(added=2)}
    assert sorted(bench.rows("SELECT x FROM a")) == [("new",), ("old 1",), ("old 2",)]


@pytest.mark.parametrize(
    "declaration",
    [
        "k TEXT PRIMARY KEY, x",
        "k TEXT PRIMARY KEY, x) WITHOUT ROWID, STRICT --",
        "j DEFAULT 1, k, x, g AS (x || '!') STORED, PRIMARY KEY(k, j)",
        "k INTEGER PRIMARY KEY DESC, x",
        "k PRIMARY KEY, x, rowid AS (1), _rowid_ AS (2), oid AS (3)",
    ],
)
def test_every_kind_of_key(bench: Bench, declaration: str) -> None:
    declaration = (
        declaration.replace("x)", "x ANY)").replace("x,", "x ANY,")
        if "STRICT" in declaration
        else declaration
    )
    body = declaration if declaration.endswith("--") else declaration + ")"
    bench.commit(f"CREATE TABLE a({body}\n")
    bench.commit("INSERT INTO a(k, x) VALUES (1, 'a'), (2, NULL), (3, x'00'), (4, 4.5)")
    before = bench.rows("SELECT * FROM a")
    bad = bench.commit(
        "DELETE FROM a WHERE k = 1; UPDATE a SET x = 7 WHERE k = 2; UPDATE a SET k = 33 WHERE k = 3;"
        "INSERT INTO a(k, x) VALUES (5, 5)"
    )
    report = undo(bench.database, bad)
    assert report.untouched == []
    assert sorted(bench.rows("SELECT * FROM a"), key=repr) == sorted(before, key=repr)


def test_unique_values_that_changed_places(bench: Bench) -> None:
    bench.commit(
        "CREATE TABLE a(id INTEGER PRIMARY KEY, u UNIQUE); INSERT INTO a VALUES (1, 'x'), (2, 'y'), (3, 'z')"
    )
    bad = bench.commit(
        "UPDATE a SET u = 't' WHERE id = 1; UPDATE a SET u = 'x' WHERE id = 2;"
        "UPDATE a SET u = 'y' WHERE id = 1"
    )
    report = undo(bench.database, bad)
    assert report.untouched == []
    assert bench.rows("SELECT u FROM a ORDER BY id") == [("x",), ("y",), ("z",)]


def test_a_unique_value_taken_since_stops_that_row_only(bench: Bench) -> None:
    """Also where the table would resolve the conflict by replacing: no later row is lost."""
    bench.commit("CREATE TABLE a(id INTEGER PRIMARY KEY, u UNIQUE ON CONFLICT REPLACE)")
    bench.commit("INSERT INTO a VALUES (1, 'x'), (2, 'y')")
    bad = bench.commit("DELETE FROM a")
    bench.commit("INSERT INTO a VALUES (9, 'x')")
    report = undo(bench.database, bad)
    assert reasons(report) == [("a", {"id": 1}, CONSTRAINT)]
    assert "a.u" in (report.untouched[0].detail or "")
    assert bench.rows("SELECT * FROM a ORDER BY id") == [(2, "y"), (9, "x")]


FAMILY = (
    "CREATE TABLE p(id INTEGER PRIMARY KEY, x);"
    "CREATE TABLE c(id INTEGER PRIMARY KEY, p REFERENCES p ON DELETE CASCADE);"
)


def test_a_cascade_is_taken_back_whole(bench: Bench) -> None:
    bench.connection.execute("PRAGMA foreign_keys = ON")
    bench.commit(
        FAMILY + "INSERT INTO p VALUES (1, 'a'), (2, 'b'); INSERT INTO c VALUES (1, 1), (2, 1), (3, 2)"
    )
    bad = bench.commit("DELETE FROM p WHERE id = 1")
    assert undo(bench.database, bad).tables == {"c": RowCounts(added=2), "p": RowCounts(added=1)}
    assert bench.rows("PRAGMA foreign_key_check") == []


def test_a_row_referred_to_since_is_kept(bench: Bench) -> None:
    bench.commit(FAMILY)
    bad = bench.commit("INSERT INTO p VALUES (1, 'a'), (2, 'b')")
    bench.commit("INSERT INTO c VALUES (7, 1)")
    report = undo(bench.database, bad)
    assert reasons(report) == [("p", {"id": 1}, CONSTRAINT)]
    assert report.untouched[0].detail == 'rows of "c" refer to it'
    assert bench.rows("SELECT id FROM p") == [(1,)]
    assert bench.rows("SELECT id FROM c") == [(7,)]


def test_a_row_whose_parent_is_gone_is_not_put_back(bench: Bench) -> None:
    bench.commit(FAMILY + "INSERT INTO p VALUES (1, 'a'), (2, 'b'); INSERT INTO c VALUES (1, 1), (2, 2)")
    bad = bench.commit("DELETE FROM c")
    bench.commit("DELETE FROM p WHERE id = 1")
    report = undo(bench.database, bad)
    assert reasons(report) == [("c", {"id": 1}, CONSTRAINT)]
    assert bench.rows("SELECT id FROM c") == [(2,)]


def test_references_broken_before_are_not_held_against_the_undo(bench: Bench) -> None:
    bench.commit(FAMILY + "INSERT INTO c VALUES (1, 99), (2, 98)")
    bad = bench.commit("INSERT INTO c VALUES (3, 97)")
    assert undo(bench.database, bad).tables == {"c": RowCounts(removed=1)}


def test_references_without_a_way_out_leave_everything_as_it_was(bench: Bench) -> None:
    bench.commit(
        "CREATE TABLE p(id PRIMARY KEY); CREATE TABLE c(k PRIMARY KEY, p REFERENCES p) WITHOUT ROWID"
    )
    bad = bench.commit("INSERT INTO p VALUES (1), (2)")
    bench.commit("INSERT INTO c VALUES (1, 1)")
    newest = bench.database.newest
    with pytest.raises(UndoError, match="foreign keys would break"):
        undo(bench.database, bad)
    assert bench.database.newest == newest


def test_full_text_rows_come_back_and_are_found(bench: Bench) -> None:
    bench.commit("CREATE VIRTUAL TABLE f USING fts5(t, u UNINDEXED); CREATE VIRTUAL TABLE g USING fts4(t)")
    bench.commit("INSERT INTO f VALUES ('red apple', 1), ('green pear', 2); INSERT INTO g VALUES ('blue')")
    bad = bench.commit(
        "DELETE FROM f WHERE rowid = 1; UPDATE f SET t = 'none' WHERE rowid = 2; DELETE FROM g"
    )
    bench.commit("INSERT INTO f(rowid, t) VALUES (50, 'late apple')")
    report = undo(bench.database, bad)
    assert report.tables == {"f": RowCounts(added=1, changed=1), "g": RowCounts(added=1)}
    assert bench.rows("SELECT rowid FROM f('apple')") == [(1,), (50,)]
    assert bench.rows("SELECT rowid FROM f('pear')") == [(2,)]
    assert bench.rows("SELECT rowid FROM g WHERE g MATCH 'blue'") == [(1,)]
    bench.check()


def test_an_index_over_another_table_follows_it(bench: Bench) -> None:
    bench.commit(
        "CREATE TABLE n(id INTEGER PRIMARY KEY, t);"
        "CREATE VIRTUAL TABLE f USING fts5(t, content = 'n', content_rowid=id);"
        "CREATE TRIGGER n_i AFTER INSERT ON n BEGIN INSERT INTO f(rowid, t) VALUES (new.id, new.t); END;"
        "CREATE TRIGGER n_d AFTER DELETE ON n BEGIN"
        " INSERT INTO f(f, rowid, t) VALUES ('delete', old.id, old.t); END"
    )
    bench.commit("INSERT INTO n VALUES (1, 'apple'), (2, 'pear')")
    bad = bench.commit("DELETE FROM n")
    bench.commit("INSERT INTO n VALUES (3, 'apple pie')")
    assert undo(bench.database, bad).tables == {"n": RowCounts(added=2)}
    assert bench.rows("SELECT rowid FROM f('apple') ORDER BY 1") == [(1,), (3,)]
    bench.connection.execute("INSERT INTO f(f, rank) VALUES ('integrity-check', 1)")
    bench.check()


def test_an_index_that_keeps_no_rows_is_reported(bench: Bench) -> None:
    bench.commit("CREATE VIRTUAL TABLE f USING fts5(t, content=''); CREATE TABLE a(x)")
    bad = bench.commit("INSERT INTO f(rowid, t) VALUES (1, 'x'); INSERT INTO a VALUES (1)")
    report = undo(bench.database, bad)
    assert report.tables == {"a": RowCounts(removed=1)}
    assert [(one.table, one.detail) for one in report.untouched] == [("f", "1 row")]


def test_spatial_rows_come_back(bench: Bench) -> None:
    bench.commit("CREATE VIRTUAL TABLE r USING rtree(id, x0, x1, +label)")
    bench.commit("INSERT INTO r VALUES (1, 0.1, 1.7, 'a'), (2, 3, 4, 'b'), (3, 5, 6, 'c')")
    before = bench.rows("SELECT * FROM r")
    bad = bench.commit("DELETE FROM r WHERE id = 1; UPDATE r SET x1 = 99, label = 'q' WHERE id = 2")
    assert undo(bench.database, bad).untouched == []
    assert sorted(bench.rows("SELECT * FROM r")) == sorted(before)
    assert bench.rows("SELECT rtreecheck('r')") == [("ok",)]


def test_a_dropped_table_is_made_again_with_all_that_hung_on_it(bench: Bench) -> None:
    bench.commit(
        "CREATE TABLE a(id INTEGER PRIMARY KEY AUTOINCREMENT, x UNIQUE);"
        "CREATE INDEX a_x ON a(x) WHERE x > 1;"
        "CREATE TABLE log(x); CREATE TRIGGER a_i AFTER INSERT ON a BEGIN INSERT INTO log VALUES (new.x); END"
    )
    bench.commit("INSERT INTO a(x) VALUES (1), (2), (3)")
    bench.commit("DELETE FROM a WHERE id = 3")
    schema = bench.rows("SELECT type, name, sql FROM sqlite_schema ORDER BY 1, 2")
    bad = bench.commit("DROP TABLE a")
    bench.commit("INSERT INTO log VALUES ('kept')")
    report = undo(bench.database, bad)
    assert report.tables == {"a": RowCounts(added=2)}
    assert [(o.action, o.name) for o in report.objects] == [
        ("created", "a"),
        ("created", "a_x"),
        ("created", "a_i"),
    ]
    assert bench.rows("SELECT type, name, sql FROM sqlite_schema ORDER BY 1, 2") == schema
    assert bench.rows("SELECT x FROM log") == [(1,), (2,), (3,), ("kept",)]
    bench.connection.execute("INSERT INTO a(x) VALUES (9)")
    assert bench.rows("SELECT max(id) FROM a") == [(4,)]
    bench.check()


def test_a_dropped_full_text_table_is_made_again(bench: Bench) -> None:
    bench.commit("CREATE VIRTUAL TABLE f USING fts5(t); INSERT INTO f VALUES ('apple')")
    bad = bench.commit("DROP TABLE f")
    assert undo(bench.database, bad).tables == {"f": RowCounts(added=1)}
    assert bench.rows("SELECT rowid FROM f('apple')") == [(1,)]


def test_a_table_dropped_and_named_anew_is_refused(bench: Bench) -> None:
    bench.commit("CREATE TABLE a(x); INSERT INTO a VALUES (1)")
    bad = bench.commit("DROP TABLE a")
    bench.commit("CREATE VIEW A AS SELECT 1")
    with pytest.raises(UndoError, match="another of that name now"):
        undo(bench.database, bad)


def test_a_version_that_never_was(notes: Bench) -> None:
    with pytest.raises(mvsqlite_py.VersionNotFoundError):
        undo(notes.database, "f" * 20)


def test_indexes_views_and_triggers_are_taken_back(notes: Bench) -> None:
    made = notes.commit("CREATE INDEX i ON notes(title); CREATE VIEW v AS SELECT 1")
    dropped = notes.commit("DROP INDEX i")
    report = undo(notes.database, dropped)
    assert [(o.action, o.type, o.name) for o in report.objects] == [("created", "index", "i")]
    undo(notes.database, made)
    assert notes.rows("SELECT name FROM sqlite_schema") == [("notes",)]


def test_an_index_made_anew_since_is_left_alone(notes: Bench) -> None:
    bad = notes.commit("CREATE INDEX i ON notes(title)")
    notes.commit("DROP INDEX i; CREATE INDEX i ON notes(stars)")
    report = undo(notes.database, bad)
    assert reasons(report) == [("i", {}, "the index was changed since")]


def test_a_column_added_since_keeps_its_values(notes: Bench) -> None:
    bad = notes.commit("UPDATE notes SET title = 'bad'; DELETE FROM notes WHERE id = 4")
    notes.commit(
        "ALTER TABLE notes ADD COLUMN colour DEFAULT 'none'; UPDATE notes SET colour = 'red' WHERE id = 1"
    )
    assert undo(notes.database, bad).untouched == []
    assert notes.rows("SELECT title, colour FROM notes WHERE id IN (1, 4)") == [
        ("one", "red"),
        ("four", "none"),
    ]


def test_a_table_that_lost_a_column_or_is_gone_is_reported(notes: Bench) -> None:
    notes.commit("CREATE TABLE other(x)")
    bad = notes.commit("UPDATE notes SET title = 'bad'; INSERT INTO other VALUES (1)")
    notes.commit("ALTER TABLE notes DROP COLUMN title; DROP TABLE other")
    report = undo(notes.database, bad)
    assert [(one.table, one.reason, one.detail) for one in report.untouched] == [
        ("notes", "the table's columns were altered since", "4 rows"),
    ]


def test_text_that_is_no_utf8_is_refused(bench: Bench) -> None:
    bench.commit("CREATE TABLE a(id INTEGER PRIMARY KEY, x); INSERT INTO a VALUES (1, CAST(x'ff' AS TEXT))")
    bad = bench.commit("DELETE FROM a")
    with pytest.raises(UndoError, match="no UTF-8"):
        undo(bench.database, bad)


def test_a_writer_in_the_way_is_waited_for_and_named(notes: Bench) -> None:
    bad = notes.commit("DELETE FROM notes")
    notes.connection.execute("BEGIN IMMEDIATE")
    with pytest.raises(apsw.BusyError):
        undo(notes.database, bad, timeout=0.01)


# ---- one table back to a past state -------------------------------------------------


def test_one_table_goes_back_and_the_others_stay(notes: Bench) -> None:
    notes.commit("CREATE TABLE other(x)")
    then = notes.commit("UPDATE notes SET stars = 0")
    notes.commit("DELETE FROM notes WHERE id = 1; UPDATE notes SET title = 'x' WHERE id = 2")
    notes.commit("INSERT INTO notes VALUES (9, 'nine', 9); INSERT INTO other VALUES (1)")
    plan = revert_table(notes.database, "NOTES", then, dry_run=True)
    report = revert_table(notes.database, "NOTES", then)
    assert plan.tables == report.tables == {"notes": RowCounts(added=1, removed=1, changed=1)}
    assert notes.rows("SELECT * FROM notes") == [
        (1, "one", 0),
        (2, "two", 0),
        (3, "three", 0),
        (4, "four", 0),
    ]
    assert notes.rows("SELECT * FROM other") == [(1,)]
    assert plan.made is None
    assert report.made


def test_a_table_dropped_since_goes_back(notes: Bench) -> None:
    then = notes.commit("CREATE INDEX i ON notes(title)")
    notes.commit("DROP TABLE notes; CREATE TABLE other(x)")
    assert revert_table(notes.database, "notes", then).tables == {"notes": RowCounts(added=4)}
    assert notes.rows("SELECT name FROM sqlite_schema ORDER BY 1") == [("i",), ("notes",), ("other",)]


def test_a_table_altered_since_is_refused(notes: Bench) -> None:
    then = notes.connection.pragma("mv_version")
    notes.commit("ALTER TABLE notes ADD COLUMN y")
    with pytest.raises(UndoError, match="was altered since"):
        revert_table(notes.database, "notes", then)


def test_a_table_that_was_not_there_is_refused_by_naming_those_that_were(notes: Bench) -> None:
    with pytest.raises(UndoError, match=r'no table "note" .* there were: notes'):
        revert_table(notes.database, "note", notes.connection.pragma("mv_version"))


def test_a_table_whose_references_would_break_stays(bench: Bench) -> None:
    then = bench.commit(FAMILY)
    bench.commit("INSERT INTO p VALUES (1, 'a'); INSERT INTO c VALUES (1, 1)")
    with pytest.raises(UndoError, match='rows of "c" refer to it'):
        revert_table(bench.database, "p", then)
    assert bench.rows("SELECT count(*) FROM p") == [(1,)]


def test_rows_lost_in_real_databases_come_back(store: mvsqlite_py.Store, real_databases: list[Path]) -> None:
    """Every table of every file: delete all, undo, compare with what was."""
    tried = 0
    for path in real_databases:
        database = store.import_file(path, path.name)
        connection = database.connect()
        tables = connection.execute(
            "SELECT name FROM pragma_table_list"
            " WHERE schema = 'main' AND type = 'table' AND name NOT LIKE 'sqlite_%'"
        ).fetchall()
        for (name,) in tables:
            before = connection.execute(f'SELECT * FROM "{name}"').fetchall()
            connection.config(apsw.SQLITE_DBCONFIG_ENABLE_TRIGGER, 0)
            connection.execute(f'DELETE FROM "{name}"')
            bad: str = connection.pragma("mv_version")
            if before:
                assert undo(database, bad).tables == {name: RowCounts(added=len(before))}
            assert sorted(connection.execute(f'SELECT * FROM "{name}"').fetchall(), key=repr) == sorted(
                before, key=repr
            )
            tried += 1
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        connection.close()
    assert tried > 20


def test_the_library_offers_all_of_it(notes: Bench) -> None:
    then = notes.connection.pragma("mv_version")
    bad = notes.commit("DELETE FROM notes WHERE id = 1")
    assert [change.key for change in notes.database.row_changes(then, bad, table="notes")] == [{"id": 1}]
    assert notes.database.undo(bad, dry_run=True).made is None
    assert notes.database.undo(bad).tables == {"notes": RowCounts(added=1)}
    notes.commit("DELETE FROM notes")
    assert notes.database.revert_table("notes", version=then, dry_run=True).made is None
    assert notes.database.revert_table("notes", version=then).tables == {"notes": RowCounts(added=4)}
