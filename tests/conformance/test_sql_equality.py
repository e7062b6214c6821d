"""The same SQL gives equal rows and equal errors on our VFS and on stock SQLite."""

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import mvsqlite_py
from corpus.scenarios import SCENARIOS
from differences import DIFFERENCES, Difference
from mvsqlite_py import dbapi
from sides import Side, compare, ours, statements, stock

SCRIPTS = sorted((Path(__file__).parent / "corpus").glob("*.sql"))
VERSIONS_CHECKED = 12


@pytest.fixture(params=["apsw", "sqlite3"])
def driver(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["whole", "staged"])
def sides(
    request: pytest.FixtureRequest, driver: str, tmp_path: Path, store: mvsqlite_py.Store
) -> Iterator[tuple[Side, Side]]:
    """Ours and stock; "staged" forces every larger commit through staging."""
    if request.param == "staged":
        store.configure(
            stage_bytes=262_144 if "fdb:" in store.url else 65_536
        )  # a step takes a cluster longer
    pair = ours(driver, tmp_path / "ours", store), stock(driver, tmp_path / "stock")
    yield pair
    for side in pair:
        side.close()


def play(side: Side, script: str) -> None:
    """Runs a script; a line "--@" opens and chooses connections."""
    sessions = {"main": side.open(label="main")}
    current = sessions["main"]
    parts = script.split("\n--@ ")
    for part in [f"start\n{parts[0]}", *parts[1:]]:
        directive, _, sql = part.partition("\n")
        if directive == "reopen":
            side.close()
            sessions = {"main": side.open(label="main")}
            current = sessions["main"]
        elif directive.startswith("use "):
            label = directive.removeprefix("use ")
            current = sessions.get(label) or sessions.setdefault(label, side.open(label=label))
        for statement in statements(sql):
            current(statement)


def check_result(mine: Side, theirs: Side) -> None:
    """Both sides end with the same bytes; ours is sound at every version looked at."""
    compare(mine, theirs)
    mine.close()
    theirs.close()
    for name in sorted(mine.names & theirs.names):
        if not name.startswith(("none", "missing")):
            assert mine.content(name) == theirs.content(name), f"the bytes of {name} differ"
    assert mine.store is not None
    for info in mine.store.list():
        check_history(mine.store.database(info.name), mine.driver)


def check_history(database: mvsqlite_py.Database, driver: str) -> None:
    """The store's own check, and SQLite's at versions spread over the history.

    By the SQLite that wrote: another release may write a REAL with other digits, and then finds
    rows missing from an index over its text.
    """
    assert database.verify().problems == []
    connect = mvsqlite_py.connect if driver == "apsw" else dbapi.connect
    versions = [version.version for version in database.versions()]
    for version in versions[:: max(1, len(versions) // VERSIONS_CHECKED)]:
        connection = connect(database.name, database.store, version=version)
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)], version
        connection.close()


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_answers_alike(sides: tuple[Side, Side], script: Path) -> None:
    text = script.read_text()
    for side in sides:
        play(side, text)
    check_result(*sides)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_a_scenario_answers_alike(sides: tuple[Side, Side], scenario: Callable[[Side], None]) -> None:
    for side in sides:
        scenario(side)
    check_result(*sides)


@pytest.mark.parametrize("difference", DIFFERENCES, ids=lambda difference: difference.example[-1][:50])
def test_a_listed_difference_is_still_one(
    driver: str, tmp_path: Path, store: mvsqlite_py.Store, difference: Difference
) -> None:
    pair = ours(driver, tmp_path / "ours", store), stock(driver, tmp_path / "stock")
    for side in pair:
        play(side, "\n".join(line if line.startswith("--@") else line + ";" for line in difference.example))
    answers = [side.entries[-1] for side in pair]
    for side in pair:
        side.close()
    assert answers[0] != answers[1], "drop it from the list"


def test_every_script_can_be_split_into_statements() -> None:
    for script in SCRIPTS:
        for statement in statements(script.read_text()):
            assert sqlite3.complete_statement(statement + ";")
