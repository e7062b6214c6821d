"""Commits that created, dropped or altered tables, taken back."""

import pytest

import mvsqlite_py
from bench import Bench
from mvsqlite_py import RowCounts, UndoError


def schema(bench: Bench) -> list[tuple[object, ...]]:
    return bench.rows("SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY 1, 2")


def told(report: mvsqlite_py.UndoReport) -> list[tuple[str, str, str]]:
    return [(one.action, one.type, one.name) for one in report.objects]


def left(report: mvsqlite_py.UndoReport) -> list[tuple[str, str, str | None]]:
    return [(one.table, one.reason, one.detail) for one in report.untouched]


def there_and_back(bench: Bench, bad: str) -> mvsqlite_py.UndoReport:
    """Undoes, undoes that, and undoes that again: an undo of an undo is the identity."""
    rows = "SELECT * FROM notes ORDER BY 1"
    after, after_schema = bench.rows(rows), {row[:3] for row in schema(bench)}
    first = bench.database.undo(bad)
    assert first.untouched == []
    assert first.made
    before, before_schema = bench.rows(rows), schema(bench)
    second = bench.database.undo(first.made)
    assert second.untouched == []
    assert second.made
    assert bench.rows(rows) == after
    assert {row[:3] for row in schema(bench)} == after_schema
    bench.database.undo(second.made)
    assert bench.rows(rows) == before
    assert [row[:3] for row in schema(bench)] == [row[:3] for row in before_schema]
    bench.check()
    return first


# ---- tables created ------------------------------------------------------------------


def test_a_table_created_is_dropped_again_with_all_that_hangs_on_it(notes: Bench) -> None:
    before = schema(notes)
    bad = notes.commit(
        "CREATE TABLE tag(id INTEGER PRIMARY KEY AUTOINCREMENT, t UNIQUE); CREATE INDEX i ON tag(t);"
        "CREATE TRIGGER tr AFTER INSERT ON tag BEGIN SELECT 1; END; CREATE VIEW v AS SELECT t FROM tag;"
        "INSERT INTO tag(t) VALUES ('a'), ('b'); UPDATE notes SET stars = 0"
    )
    report = there_and_back(notes, bad)
    assert report.tables == {"notes": RowCounts(changed=4), "tag": RowCounts(removed=2)}
    assert ("dropped", "table", "tag") in told(report)
    assert [row for row in schema(notes) if row[1] != "sqlite_sequence"] == before


def test_keys_of_an_empty_table_are_not_given_twice(bench: Bench) -> None:
    bench.commit("CREATE TABLE a(id INTEGER PRIMARY KEY AUTOINCREMENT); INSERT INTO a VALUES (41)")
    bench.commit("DELETE FROM a")
    bad = bench.commit("DROP TABLE a")
    bench.database.undo(bad)
    bench.commit("INSERT INTO a VALUES (NULL)")
    assert bench.rows("SELECT id FROM a") == [(42,)]


@pytest.mark.parametrize(
    ("since", "reason"),
    [
        ("INSERT INTO tag VALUES (3)", "its rows were changed since"),
        ("UPDATE tag SET t = 1.0 WHERE t = 1", "its rows were changed since"),
        ("ALTER TABLE tag ADD COLUMN x", "the table was altered since"),
        ("CREATE INDEX i ON tag(t)", 'the index "i" on it was made since'),
        ("CREATE TABLE c(t REFERENCES tag)", 'the table "c" refers to it'),
    ],
)
def test_a_table_used_since_stays(notes: Bench, since: str, reason: str) -> None:
    bad = notes.commit("CREATE TABLE tag(t); INSERT INTO tag VALUES (1), (2)")
    notes.commit(since)
    report = notes.database.undo(bad)
    assert [(table, why) for table, why, _ in left(report)] == [("tag", reason)]
    assert report.made is None
    forced = notes.database.undo(bad, conflicts="theirs")
    assert bool(forced.made) == ("refers" not in reason)


def test_a_table_created_and_filled_by_undone_commits_only(notes: Bench) -> None:
    bad = [notes.commit("CREATE TABLE tag(t)")]
    notes.commit("UPDATE notes SET stars = 0 WHERE id = 1")
    bad += [notes.commit("INSERT INTO tag VALUES (1), (2)")]
    report = notes.database.undo(bad)
    assert report.untouched == []
    assert told(report) == [("dropped", "table", "tag")]
    assert notes.rows("SELECT name FROM sqlite_schema") == [("notes",)]


def test_a_full_text_table_created_is_dropped_again(notes: Bench) -> None:
    bad = notes.commit(
        "CREATE VIRTUAL TABLE f USING fts5(title, content='notes', content_rowid='id');"
        "INSERT INTO f(f) VALUES ('rebuild'); CREATE VIRTUAL TABLE g USING fts5(x);"
        "INSERT INTO g VALUES ('apple'); CREATE VIRTUAL TABLE r USING rtree(id, a, b)"
    )
    report = there_and_back(notes, bad)
    assert report.tables == {"g": RowCounts(removed=1)}
    assert notes.rows("SELECT name FROM sqlite_schema") == [("notes",)]


# ---- tables altered ------------------------------------------------------------------


def test_a_column_added_is_dropped_again(notes: Bench) -> None:
    bad = notes.commit(
        "ALTER TABLE notes ADD COLUMN colour TEXT DEFAULT 'red'; CREATE INDEX i ON notes(colour);"
        "UPDATE notes SET colour = 'blue', stars = 0 WHERE id = 1; INSERT INTO notes VALUES (5, 'e', 5, 'x')"
    )
    notes.commit("INSERT INTO notes(id, title) VALUES (6, 'mine'); UPDATE notes SET title = 'm' WHERE id = 2")
    report = there_and_back(notes, bad)
    assert report.tables == {"notes": RowCounts(removed=1, changed=1)}
    assert notes.rows("SELECT * FROM notes") == [
        (1, "one", 1), (2, "m", 2), (3, "three", 3), (4, "four", 4), (6, "mine", None)
    ]  # fmt: skip
    assert notes.rows("SELECT sql FROM sqlite_schema") == [
        ("CREATE TABLE notes(id INTEGER PRIMARY KEY, title TEXT, stars INT)",)
    ]


@pytest.mark.parametrize(
    "since", ["UPDATE notes SET colour = 'x' WHERE id = 1", "INSERT INTO notes VALUES (9, 'n', 0, 'x')"]
)
def test_a_column_written_since_stays(notes: Bench, since: str) -> None:
    bad = notes.commit(
        "ALTER TABLE notes ADD COLUMN colour; UPDATE notes SET colour = 1, stars = 0 WHERE id = 2"
    )
    notes.commit(since)
    report = notes.database.undo(bad)
    assert left(report) == [("notes", 'the column "colour" was written since', "1 row")]
    assert report.tables == {"notes": RowCounts(changed=1)}
    assert notes.rows("SELECT stars, colour FROM notes WHERE id = 2") == [(2, 1)]
    notes.database.undo(bad, conflicts="theirs")
    assert len(notes.rows("SELECT * FROM notes LIMIT 1")[0]) == 3


def test_names_of_columns_go_back_where_they_were(notes: Bench) -> None:
    bad = notes.commit(
        "ALTER TABLE notes RENAME COLUMN title TO t; ALTER TABLE notes RENAME COLUMN stars TO title;"
        "ALTER TABLE notes RENAME COLUMN t TO stars"
    )
    notes.commit("UPDATE notes SET stars = 'mine' WHERE id = 1")
    report = there_and_back(notes, bad)
    assert told(report) == [("altered", "table", "notes")]
    assert notes.rows("SELECT title, stars FROM notes LIMIT 1") == [("mine", 1)]


def test_a_renamed_table_gets_its_name_back_and_its_rows(bench: Bench) -> None:
    bench.commit(
        "CREATE TABLE p(id INTEGER PRIMARY KEY, x); CREATE TABLE c(p REFERENCES p); CREATE INDEX i ON p(x)"
    )
    bench.commit(
        "CREATE VIEW v AS SELECT x FROM p; INSERT INTO p VALUES (1, 'a'), (2, 'b'); INSERT INTO c VALUES (1)"
    )
    older = bench.commit("UPDATE p SET x = 'c' WHERE id = 2")
    bad = bench.commit("ALTER TABLE p RENAME TO q; UPDATE q SET x = 'bad' WHERE id = 1")
    bench.commit("INSERT INTO q VALUES (3, 'mine')")
    report = bench.database.undo([older, bad])
    assert report.untouched == []
    assert bench.rows("SELECT * FROM p") == [(1, "a"), (2, "b"), (3, "mine")]
    assert bench.rows("SELECT x FROM v") == [("a",), ("b",), ("mine",)]
    assert bench.rows("SELECT \"table\" FROM pragma_foreign_key_list('c')") == [("p",)]
    bench.check()
    bench.commit("CREATE TABLE q(x)")
    assert left(bench.database.undo(bad)) == [("q", "the table was altered since", None)]


def test_a_dropped_column_comes_back_in_its_place(notes: Bench) -> None:
    """With its values, its constraint, and rows added since at the default."""
    notes.commit(
        "CREATE TABLE tag(id INTEGER PRIMARY KEY AUTOINCREMENT, n NOT NULL DEFAULT 7, t,"
        " FOREIGN KEY(t) REFERENCES notes); CREATE INDEX i ON tag(t); CREATE VIEW v AS SELECT t FROM tag;"
        "INSERT INTO tag VALUES (1, 10, 1), (2, 20, 2)"
    )
    before = schema(notes)
    bad = notes.commit("ALTER TABLE tag DROP COLUMN n; DELETE FROM tag WHERE id = 1")
    notes.commit("INSERT INTO tag VALUES (9, 3); UPDATE tag SET t = 4 WHERE id = 2")
    report = there_and_back(notes, bad)
    assert report.tables == {"tag": RowCounts(added=1)}
    assert notes.rows("SELECT * FROM tag ORDER BY id") == [(1, 10, 1), (2, 20, 4), (9, 7, 3)]
    assert schema(notes) == before
    notes.commit("DELETE FROM tag; INSERT INTO tag(t) VALUES (1)")
    assert notes.rows("SELECT id FROM tag") == [(10,)]


@pytest.mark.parametrize(
    "form", ["k TEXT PRIMARY KEY, a, b", "k, a, b, PRIMARY KEY(k)) WITHOUT ROWID --", "k, a, b"]
)
def test_a_table_made_anew_in_another_form_gets_its_old_one(bench: Bench, form: str) -> None:
    """As programs do that cannot alter: create, copy, drop, rename."""
    bench.commit(
        f"CREATE TABLE notes({form}\n)" if not form.endswith("--") else f"CREATE TABLE notes({form}\n"
    )
    bench.commit("INSERT INTO notes VALUES ('x', 1, 10), ('y', 2, 20)")
    new = form.replace("a, b", "b CHECK (b > 0), c DEFAULT 5")
    bad = bench.commit(
        f"CREATE TABLE other({new}\n" + ("" if new.endswith("--") else ")") + ";"
        "INSERT INTO other(k, b) SELECT k, b FROM notes; DROP TABLE notes; ALTER TABLE other RENAME TO notes"
    )
    bench.commit("INSERT INTO notes(k, b) VALUES ('z', 30)")
    report = bench.database.undo(bad)
    assert report.untouched == []
    assert bench.rows("SELECT k, a, b FROM notes ORDER BY k") == [("x", 1, 10), ("y", 2, 20), ("z", None, 30)]
    bench.check()


def test_a_row_that_the_old_form_forbids_keeps_the_new_one(notes: Bench) -> None:
    notes.commit("CREATE TABLE tag(t CHECK (t > 0), u)")
    bad = notes.commit("CREATE TABLE x(t); DROP TABLE tag; ALTER TABLE x RENAME TO tag")
    notes.commit("INSERT INTO tag VALUES (-1)")
    report = notes.database.undo(bad)
    assert left(report) == [("tag", "constraint", "CHECK constraint failed: t > 0")]
    assert report.made is None


def test_another_key_is_refused_with_the_way_out(bench: Bench) -> None:
    first = bench.commit("CREATE TABLE a(x PRIMARY KEY, y); INSERT INTO a VALUES (1, 2)")
    bad = bench.commit("CREATE TABLE b(x, y PRIMARY KEY); DROP TABLE a; ALTER TABLE b RENAME TO a")
    with pytest.raises(UndoError, match='altered the table "a"') as caught:
        bench.database.undo(bad)
    assert f"mvrevert to undo.db --version {first}" in str(caught.value)


def test_a_table_altered_twice_is_told_and_left(notes: Bench) -> None:
    bad = notes.commit("ALTER TABLE notes ADD COLUMN a")
    notes.commit("ALTER TABLE notes ADD COLUMN b")
    assert left(notes.database.undo(bad)) == [("notes", "the table was altered since", None)]
    both = [version.version for version in notes.database.versions(limit=2)]
    assert notes.database.undo(both).untouched == []
    assert len(notes.rows("SELECT * FROM notes LIMIT 1")[0]) == 3


def test_a_unique_index_that_later_rows_forbid_is_told(notes: Bench) -> None:
    notes.commit("CREATE UNIQUE INDEX i ON notes(title)")
    bad = notes.commit("DROP INDEX i; UPDATE notes SET stars = 0")
    notes.commit("INSERT INTO notes VALUES (9, 'one', 0)")
    report = notes.database.undo(bad)
    assert left(report) == [("i", "constraint", "UNIQUE constraint failed: notes.title")]
    assert report.tables == {"notes": RowCounts(changed=4)}


def test_an_index_over_a_table_follows_its_columns(notes: Bench) -> None:
    """Where that is possible; an index over a column that is gone again is told."""
    notes.commit("CREATE VIRTUAL TABLE f USING fts5(title, content='notes', content_rowid='id')")
    notes.commit("INSERT INTO f(f) VALUES ('rebuild')")
    bad = notes.commit("CREATE TABLE x(id INTEGER PRIMARY KEY, title TEXT DEFAULT 'lost');"
                       "INSERT INTO x(id) SELECT id FROM notes; DROP TABLE notes;"
                       "ALTER TABLE x RENAME TO notes; INSERT INTO f(f) VALUES ('rebuild')")  # fmt: skip
    assert notes.database.undo(bad).untouched == []
    assert notes.rows("SELECT rowid FROM f('one')") == [(1,)]
    assert notes.rows("SELECT rowid FROM f('lost')") == []
    added = notes.commit("ALTER TABLE notes ADD COLUMN colour")
    notes.commit("CREATE VIRTUAL TABLE g USING fts5(colour, content='notes', content_rowid='id')")
    report = notes.database.undo(added)
    assert [(table, reason) for table, reason, _ in left(report)] == [("g", "constraint")]


def test_a_created_table_with_text_that_is_no_utf8_is_refused(notes: Bench) -> None:
    bad = notes.commit("CREATE TABLE a(x); INSERT INTO a VALUES (CAST(x'ff' AS TEXT))")
    with pytest.raises(UndoError, match="no UTF-8"):
        notes.database.undo(bad)
