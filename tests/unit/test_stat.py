"""What databases take: in all, by database and by day."""

import time
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import pytest

import mvsqlite_py
from commands import Run


@pytest.fixture
def database(store: mvsqlite_py.Store) -> mvsqlite_py.Database:
    """Four versions: a table and three of one row."""
    connection = mvsqlite_py.connect("notes.db", store=store.url)
    connection.execute("CREATE TABLE notes(id INTEGER PRIMARY KEY, title TEXT)")
    for title in ("one", "two", "three"):
        connection.execute("REPLACE INTO notes VALUES (1, ?)", (title,))
    connection.close()
    return store.database("notes.db")


@pytest.fixture
def zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Sets the local time zone of this process."""

    def use(name: str) -> None:
        monkeypatch.setenv("TZ", name)
        time.tzset()

    yield use
    monkeypatch.undo()
    time.tzset()


def test_days_add_up_to_what_the_versions_take(database: mvsqlite_py.Database) -> None:
    usage, days = database.stat(), database.usage_by_day()
    assert days
    assert [day.day for day in days] == sorted({day.day for day in days})
    assert sum(day.versions for day in days) == usage.versions == 4
    assert sum(day.history_pages for day in days) == usage.history_pages > 0
    assert sum(day.history_bytes for day in days) == usage.history_bytes > 0
    assert sum(day.record_bytes for day in days) == usage.record_bytes > 0
    assert all(day.total_bytes == day.history_bytes + day.record_bytes for day in days)


def test_days_are_those_of_the_local_time_zone(
    database: mvsqlite_py.Database, zone: Callable[[str], None]
) -> None:
    seen = set()
    for name in ("EAST-14", "WEST+12"):
        zone(name)
        days = {day.day for day in database.usage_by_day()}
        assert days == {version.time.astimezone().date() for version in database.versions()}
        seen |= days
    assert len(seen) > 1  # 26 hours apart it is never one day


def test_an_empty_database_has_no_days(store: mvsqlite_py.Store) -> None:
    assert store.create("empty.db").usage_by_day() == []


def test_a_deleted_database_still_takes_what_it_took(
    store: mvsqlite_py.Store, database: mvsqlite_py.Database
) -> None:
    usage = database.stat()
    store.create("another.db")
    store.delete("notes.db")
    found = store.stat()
    assert [(entry.name, entry.deleted is None) for entry, _ in found] == [
        ("another.db", True),
        ("notes.db", False),
    ]
    assert found[0][1].total_bytes == 0
    assert found[1][1] == usage


# ---- as it is typed ------------------------------------------------------------------


def test_without_a_name_all_databases_are_told(
    store: mvsqlite_py.Store, database: mvsqlite_py.Database, run: Run, answer: Callable[..., Any]
) -> None:
    total = database.stat().total_bytes
    store.create("another.db")
    store.delete("notes.db")
    first, second = answer("mvsqlite", "stat")
    assert (first["name"], first["deleted"], first["total_bytes"]) == ("another.db", None, 0)
    assert (second["name"], second["versions"], second["total_bytes"]) == ("notes.db", 4, total)
    assert datetime.fromisoformat(second["deleted"]).tzinfo is not None
    lines = run("mvsqlite", "stat").output.splitlines()
    assert [line.split("\t")[0] for line in lines] == ["Name", "another.db", "notes.db", "all"]


def test_an_empty_store_has_nothing_to_tell(run: Run, answer: Callable[..., Any]) -> None:
    assert answer("mvsqlite", "stat") == []
    assert "no databases" in run("mvsqlite", "stat").output


def test_days_of_a_database_are_told(
    database: mvsqlite_py.Database, run: Run, answer: Callable[..., Any]
) -> None:
    told = answer("mvsqlite", "stat", "notes.db", "--days")
    assert told["versions"] == sum(day["versions"] for day in told["days"]) == 4
    assert [day["day"] for day in told["days"]] == [str(day.day) for day in database.usage_by_day()]
    assert "days" not in answer("mvsqlite", "stat", "notes.db")
    lines = run("mvsqlite", "stat", "notes.db", "--days").output.splitlines()
    assert len(lines) == 1 + len(told["days"])
    assert lines[1].startswith(told["days"][0]["day"])


@pytest.mark.usefixtures("database")
def test_days_are_of_one_database(run: Run, store: mvsqlite_py.Store) -> None:
    assert "--days needs the NAME" in run("mvsqlite", "stat", "--days", status=2).output
    store.create("empty.db")
    assert "no versions" in run("mvsqlite", "stat", "empty.db", "--days").output
