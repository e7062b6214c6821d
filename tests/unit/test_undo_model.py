"""Taking commits back beside a model: as if they had never been, and exactly as a dry run told."""

from dataclasses import dataclass, replace

import apsw
import pytest
from hypothesis import HealthCheck, given, settings
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


def before_the_bad(history: History) -> Rows:
    """Of keys that bad commits changed, the state before the first of those."""
    rows, seen = history.rows, set[int]()
    for before, (_, commit) in zip(history.states, history.versions, strict=False):
        for key in (commit.written | commit.deleted) - seen if commit.bad else ():
            seen.add(key)
            rows.pop(key, None)
            if key in before:
                rows[key] = before[key]
    return rows


@pytest.fixture
def fresh(store: mvsqlite_py.Store) -> mvsqlite_py.Store:
    """A store in which each example makes its database anew."""
    return store


def examples(count: int) -> settings:
    return settings(
        max_examples=count, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
    )


@examples(40)
@given(plan=commits, table=st.sampled_from(TABLES))
def test_it_is_as_if_the_commits_had_never_been(
    fresh: mvsqlite_py.Store, plan: list[Commit], table: str
) -> None:
    history = made(fresh, table, plan)
    try:
        if not history.bad:
            return
        before, wanted = history.rows, without_the_bad(history)
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
        fresh.delete("model.db")


@examples(25)
@given(plan=commits, table=st.sampled_from(TABLES))
def test_theirs_is_the_state_before_the_first_of_them(
    fresh: mvsqlite_py.Store, plan: list[Commit], table: str
) -> None:
    history = made(fresh, table, plan)
    try:
        if not history.bad:
            return
        before, wanted = history.rows, before_the_bad(history)
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
        fresh.delete("model.db")
