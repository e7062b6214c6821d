"""Which commit last touched each row."""

import random
from itertools import islice

import pytest

import mvsqlite_py
from bench import Bench


def blamed(bench: Bench, table: str = "notes", where: str | None = None) -> list[tuple[object, str | None]]:
    found = bench.database.blame(table, where=where)
    return [(tuple(one.key.values()), one.version and one.version.version) for one in found]


def test_each_row_is_told_once_with_the_newest_commit_that_touched_it(notes: Bench) -> None:
    first: str = notes.connection.pragma("mv_version")
    changed = notes.commit("UPDATE notes SET stars = 9 WHERE id < 3")
    notes.commit("INSERT INTO notes VALUES (9, 'gone', 0); DELETE FROM notes WHERE id = 4")
    notes.commit("DELETE FROM notes WHERE id = 9")
    again = notes.commit("UPDATE notes SET stars = 10 WHERE id = 2; CREATE TABLE other(x)")
    assert blamed(notes) == [((2,), again), ((1,), changed), ((3,), first)]
    (one,) = notes.database.blame("NOTES", where="id = 2")
    assert one.row == {"id": 2, "title": "two", "stars": 10}
    assert one.version == notes.database.newest


def test_rows_are_followed_through_other_names_and_columns(notes: Bench) -> None:
    first: str = notes.connection.pragma("mv_version")
    notes.commit("ALTER TABLE notes RENAME TO n")
    notes.commit("ALTER TABLE n RENAME COLUMN title TO name")
    notes.commit("ALTER TABLE n RENAME TO m")
    notes.commit("ALTER TABLE m ADD COLUMN colour DEFAULT 'red'")
    changed = notes.commit("UPDATE m SET colour = 'blue' WHERE id = 3")
    assert blamed(notes, "m") == [((3,), changed), ((1,), first), ((2,), first), ((4,), first)]


@pytest.mark.parametrize(
    "table",
    ["t(k, x)", "t(k TEXT COLLATE NOCASE PRIMARY KEY, x) WITHOUT ROWID", "t(k, x, PRIMARY KEY(k))"],
)
def test_every_kind_of_key_beside_a_model(bench: Bench, table: str) -> None:
    rng = random.Random(table)
    last: dict[str, str] = {}
    bench.commit(f"CREATE TABLE {table}")
    for step in range(30):
        key = f"k{rng.randrange(8)}"
        if key in last and rng.random() < 0.3:
            bench.commit("DELETE FROM t WHERE k = ?", (key,))
            del last[key]
        elif key in last:
            last[key] = bench.commit("UPDATE t SET x = ? WHERE k = ?", (step, key))
        else:
            last[key] = bench.commit("INSERT INTO t VALUES (?, ?)", (key, step))
    found = [(one.row["k"], one.version and one.version.version) for one in bench.database.blame("t")]
    assert dict(found) == last
    assert len(found) == len(last)
    assert [version for _, version in found] == sorted(last.values(), reverse=True)


def test_only_as_many_versions_are_looked_at_as_rows_are_asked_for(
    notes: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    for i in range(5):
        notes.commit("UPDATE notes SET stars = ? WHERE id = 1", (i,))
    looked: list[str] = []

    def spy(database: mvsqlite_py.Database, before: str | None, after: str) -> object:
        looked.append(after)
        return compare(database, before, after)

    from mvsqlite_py import _blame

    compare = _blame.compare
    monkeypatch.setattr(_blame, "compare", spy)
    assert len(list(islice(notes.database.blame("notes"), 1))) == 1
    assert len(looked) == 1
    assert [one.key for one in notes.database.blame("notes", where="id = 1")] == [{"id": 1}]
    assert len(looked) == 2


def test_history_that_is_not_kept_is_told_as_such(notes: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    oldest = notes.commit("UPDATE notes SET stars = 8 WHERE id = 1")
    changed = notes.commit("UPDATE notes SET stars = 9 WHERE id = 2")
    versions = mvsqlite_py.Database.versions

    def kept(self: mvsqlite_py.Database, **bounds: str) -> object:
        return (one for one in versions(self, **bounds) if one.version >= oldest)  # type: ignore[arg-type]

    monkeypatch.setattr(mvsqlite_py.Database, "versions", kept)
    assert blamed(notes) == [((2,), changed), ((1,), None), ((3,), None), ((4,), None)]
    assert blamed(notes, where="id IN (2, 3)") == [((2,), changed), ((3,), None)]


def test_what_cannot_be_blamed_is_refused(notes: Bench, store: mvsqlite_py.Store) -> None:
    notes.commit("CREATE VIRTUAL TABLE f USING fts5(title, content='notes')")
    blame = notes.database.blame
    with pytest.raises(ValueError, match=r'no table "n" .* there are: f, notes'):
        list(blame("n"))
    with pytest.raises(ValueError, match="full-text index"):
        list(blame("f"))
    with pytest.raises(ValueError, match="no such column: colour"):
        list(blame("notes", where="colour = 1"))
    with pytest.raises(ValueError, match="may only read"):
        list(blame("notes", where="1); DELETE FROM notes; SELECT (1"))
    notes.commit("CREATE TABLE a(x); INSERT INTO a VALUES (CAST(x'ff' AS TEXT)), ('fine')")
    with pytest.raises(ValueError, match="no UTF-8"):
        list(blame("a"))
    assert len(list(blame("a", where="x = 'fine'"))) == 1
    with pytest.raises(ValueError, match="no versions yet"):
        list(store.create("empty.db").blame("x"))
