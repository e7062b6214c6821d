"""Taking commits back beside a model: as if they had never been, and exactly as a dry run told."""

from dataclasses import dataclass, replace

import apsw
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import mvsqlite_py

KEYS = 5
Rows = dict[int, int]
"""Values by key. Every write has a value of its own, so that each one is seen."""


@dataclass(frozen=True)
class Commit:
    """Some keys written, some deleted; ``bad`` ones are taken back."""

    bad: bool
    written: frozenset[int]
    deleted: frozenset[int]


keys = st.frozensets(st.integers(1, KEYS), max_size=3)
commits = st.lists(st.builds(Commit, st.booleans(), keys, keys), min_size=1, max_size=9)
TABLES = [
    "CREATE TABLE t(k INTEGER PRIMARY KEY, v)",
    "CREATE TABLE t(k TEXT COLLATE NOCASE PRIMARY KEY, v UNIQUE) WITHOUT ROWID",
    "CREATE TABLE t(k UNIQUE, v, PRIMARY KEY(k))",
]


@dataclass
class History:
    """What was committed, and what the rows were after each commit."""

    database: mvsqlite_py.Database
    connection: apsw.Connection
    versions: list[tuple[str, Commit]]
    states: list[Rows]

    @property
    def rows(self) -> Rows:
        found: dict[object, int] = dict(self.connection.execute("SELECT k, v FROM t"))
        return {int(str(key)): value for key, value in found.items()}

    @property
    def bad(self) -> list[str]:
        return [version for version, commit in self.versions if commit.bad]


def made(store: mvsqlite_py.Store, table: str, plan: list[Commit]) -> History:
    """Runs the plan; what would change nothing is left out, as no version tells of it."""
    database = store.create("model.db")
    connection = database.connect()
    connection.execute(table)
    history = History(database, connection, [], [{}])
    value = 0
    for commit in plan:
        now = dict(history.states[-1])
        deleted = frozenset(key for key in commit.deleted - commit.written if key in now)
        if not deleted and not commit.written:
            continue
        with connection:
            for key in sorted(deleted):
                connection.execute("DELETE FROM t WHERE k = ?", (key,))
                del now[key]
            for key in sorted(commit.written):
                value += 1
                connection.execute("INSERT OR REPLACE INTO t VALUES (?, ?)", (key, value))
                now[key] = value
        history.versions.append((connection.pragma("mv_version"), replace(commit, deleted=deleted)))
        history.states.append(now)
    return history


def without_the_bad(history: History) -> Rows:
    """Only what the good commits wrote and deleted."""
    rows: Rows = {}
    for (_, commit), after in zip(history.versions, history.states[1:], strict=True):
        if not commit.bad:
            rows.update({key: after[key] for key in commit.written})
            for key in commit.deleted:
                rows.pop(key, None)
    return rows


def state_by_state(history: History, *, force: bool = False) -> Rows:
    """Each run of bad commits, newest first: what is still as it was after it becomes as before it.

    A row that good commits made again and deleted is as after a bad commit that deleted it, so that
    it comes back; only where good commits delete nothing is this :func:`without_the_bad`.
    force: whatever it is now.
    """
    rows, left = history.rows, set[int]()
    bad = [commit.bad for _, commit in history.versions]
    end = len(bad)
    while end:
        begin = end - 1
        while bad[end - 1] and begin and bad[begin - 1]:
            begin -= 1
        before, after = history.states[begin], history.states[end]
        for key in before.keys() | after.keys() if bad[end - 1] else ():
            if before.get(key) == after.get(key) or key in left:
                continue
            if rows.get(key) != after.get(key) and not force:
                left.add(key)
                continue
            rows.pop(key, None)
            if key in before:
                rows[key] = before[key]
        end = begin
    return rows


def examples(count: int) -> settings:
    return settings(
        max_examples=count, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
    )


@examples(40)
@given(plan=commits, table=st.sampled_from(TABLES))
def test_it_is_as_if_the_commits_had_never_been(
    store: mvsqlite_py.Store, plan: list[Commit], table: str
) -> None:
    history = made(store, table, plan)
    try:
        if not history.bad:
            return
        before, wanted = history.rows, state_by_state(history)
        if not any(commit.deleted for _, commit in history.versions if not commit.bad):
            assert wanted == without_the_bad(history)
        planned = history.database.undo(history.bad, dry_run=True)
        assert history.rows == before
        done = history.database.undo(history.bad)
        assert replace(done, made=None) == planned
        assert history.rows == wanted
        newest = history.database.newest
        assert newest
        if done.made:
            assert history.database.diff(newest.previous, newest.version).rows == done.tables
            history.database.undo(done.made)
        assert history.rows == before
    finally:
        history.connection.close()
        store.delete("model.db")


GONE_AGAIN = [
    Commit(False, frozenset([4]), frozenset()),
    Commit(True, frozenset(), frozenset([4])),
    Commit(False, frozenset([1]), frozenset()),
    Commit(True, frozenset([4]), frozenset()),
    Commit(False, frozenset(), frozenset([4])),
]
"""A row that bad commits deleted and made again, and a good one deleted: theirs brings it back."""


@examples(25)
@given(plan=commits, table=st.sampled_from(TABLES))
@example(plan=GONE_AGAIN, table=TABLES[0])
def test_theirs_is_the_state_before_the_first_of_them(
    store: mvsqlite_py.Store, plan: list[Commit], table: str
) -> None:
    history = made(store, table, plan)
    try:
        if not history.bad:
            return
        before, wanted = history.rows, state_by_state(history, force=True)
        planned = history.database.undo(history.bad, conflicts="theirs", dry_run=True)
        done = history.database.undo(history.bad, conflicts="theirs")
        assert replace(done, made=None) == planned
        assert done.untouched == []
        assert history.rows == wanted
        if done.made:
            history.database.undo(done.made)
        assert history.rows == before
    finally:
        history.connection.close()
        store.delete("model.db")
