"""The view of ``mvsqlite history``, driven by its keys."""

import asyncio
import sys
from collections.abc import Callable, Coroutine
from typing import Any

import apsw
import pytest
from click.testing import CliRunner
from textual.pilot import Pilot
from textual.widgets import Input, Static

import mvsqlite_py
from mvsqlite_py._cli import _tui, history
from mvsqlite_py._cli._common import Session
from mvsqlite_py._cli._tui import HistoryApp, VersionList
from mvsqlite_py._cli._tui_dialogs import HELP, Ask, Box
from mvsqlite_py._cli._versions import short
from mvsqlite_py._cli.mvsqlite import mvsqlite

View = Callable[..., Any]


@pytest.fixture
def database(store: mvsqlite_py.Store) -> mvsqlite_py.Database:
    database = store.create("notes.db")
    connection = database.connect()
    connection.execute("CREATE TABLE notes(id INTEGER PRIMARY KEY, title)")
    connection.execute("INSERT INTO notes VALUES (1, 'one'), (2, 'two'), (3, 'three')")
    connection.execute("DELETE FROM notes WHERE id < 3")
    connection.execute("SELECT mv_message('the last, with a message longer than the screen is wide')")
    connection.execute("INSERT INTO notes VALUES (4, 'four')")
    connection.close()
    return database


async def settle(pilot: Pilot[None]) -> None:
    """Waits until nothing is under way any more."""
    app = pilot.app
    assert isinstance(app, HistoryApp)
    await pilot.pause()
    while app._pause is not None or list(app.workers):
        await app.workers.wait_for_complete()
        await pilot.pause()
    await pilot.pause()


@pytest.fixture
def view(database: mvsqlite_py.Database) -> View:
    """Runs a scenario in the view; each of its keys is pressed when the one before has had its effect."""

    def run(
        scenario: Callable[["Keys"], Coroutine[Any, Any, None]], size: tuple[int, int] = (80, 24)
    ) -> None:
        async def main() -> None:
            app = HistoryApp(Session("mvsqlite", database.store, False, None), database)
            async with app.run_test(size=size) as pilot:
                await settle(pilot)
                await scenario(Keys(app, pilot))

        asyncio.run(main())

    return run


class Keys:
    def __init__(self, app: HistoryApp, pilot: Pilot[None]) -> None:
        self.app, self.pilot = app, pilot

    async def press(self, *keys: str) -> None:
        for key in keys:
            await self.pilot.press(key)
            await settle(self.pilot)

    def screen(self) -> str:
        """What is on the screen, as text."""
        lines = self.app.screen._compositor.render_strips()
        return "\n".join("".join(segment.text for segment in strip).rstrip() for strip in lines)

    @property
    def chosen(self) -> str:
        entry = self.app.versions.chosen
        assert entry
        return entry.version.version

    @property
    def box(self) -> Box:
        assert isinstance(self.app.screen, Box)
        return self.app.screen

    @property
    def pane(self) -> str:
        return str(self.app.screen_stack[0].query_one("#difference", Static).content)


def titles(database: mvsqlite_py.Database) -> list[Any]:
    return [row[0] for row in database.connect().execute("SELECT title FROM notes ORDER BY id")]


def newest(database: mvsqlite_py.Database) -> mvsqlite_py.Version:
    version = database.newest
    assert version
    return version


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
def test_versions_are_walked_and_their_differences_shown(
    view: View, database: mvsqlite_py.Database, size: tuple[int, int]
) -> None:
    versions = [version.version for version in database.versions()]

    async def scenario(keys: Keys) -> None:
        assert "notes.db: 4 versions" in keys.screen()
        assert "+ id=4  title='four'" in keys.screen()
        lines = keys.screen().splitlines()
        assert lines[1].startswith("▸ ")
        assert "notes +1" in lines[1]
        assert "…" in lines[1]  # cut where it does not fit
        assert all(len(line) <= size[0] for line in lines)
        for version in versions[1:]:
            await keys.press("down")
            assert keys.chosen == version
        assert "created table notes" in keys.screen()
        await keys.press("down", "up")
        assert keys.chosen == versions[2]
        assert "+ id=1  title='one'" in keys.pane
        await keys.press("home")
        assert keys.chosen == versions[0]
        await keys.press("end")
        assert keys.chosen == versions[-1]

    view(scenario, size)


def test_details_and_help_fill_the_screen_and_close(view: View, database: mvsqlite_py.Database) -> None:
    async def scenario(keys: Keys) -> None:
        await keys.press("down", "enter")
        said = keys.screen()
        assert "DELETE FROM notes WHERE id < 3" in said
        assert newest(database).origin in said
        assert "- id=2  title='two'" in said
        await keys.press("escape", "question_mark")
        said = keys.screen()
        assert all(line.strip() in said for line in HELP.splitlines())
        assert all(f"\n{word}" in f"\n{HELP}" for word in ("u ", "r ", "b ", "t ", "/ ", "q "))
        await keys.press("escape")
        assert not isinstance(keys.app.screen, Box)

    view(scenario)


def test_undo_tells_asks_does_and_tells_the_way_back(view: View, database: mvsqlite_py.Database) -> None:
    async def scenario(keys: Keys) -> None:
        await keys.press("down")
        deleted = keys.chosen
        await keys.press("u")
        assert "notes: 2 rows put back" in keys.screen()
        await keys.press("enter")  # no answer
        assert keys.box.ask
        await keys.press("n")
        assert titles(database) == ["three", "four"]
        await keys.press("u", "y")
        assert titles(database) == ["one", "two", "three", "four"]
        assert f"mvrevert undo notes.db {short(newest(database).version)}" in keys.screen()
        await keys.press("escape")
        assert keys.chosen == newest(database).version
        assert f"undo of {short(deleted)}" in keys.screen()
        await keys.press("u", "y", "escape")
        assert titles(database) == ["three", "four"]

    view(scenario)


def test_revert_tells_asks_does_and_tells_the_way_back(view: View, database: mvsqlite_py.Database) -> None:
    before = newest(database).version

    async def scenario(keys: Keys) -> None:
        await keys.press("r")
        assert "is at that version already" in keys.screen()
        await keys.press("escape", "down", "down", "r")
        assert "2 commits back" in " ".join(keys.screen().replace("│", " ").split())
        assert "notes: 2 rows put back, 1 row taken out" in keys.screen()
        await keys.press("y")
        assert titles(database) == ["one", "two", "three"]
        assert f"mvrevert to notes.db --version {short(before)}" in keys.screen()
        await keys.press("escape", "u", "y")
        assert titles(database) == ["three", "four"]

    view(scenario)


def test_rows_that_moved_on_are_told_before_undoing(view: View, database: mvsqlite_py.Database) -> None:
    database.connect().execute("UPDATE notes SET title = 'FOUR' WHERE id = 4")

    async def scenario(keys: Keys) -> None:
        await keys.press("down", "u")
        assert "id=4: changed since" in keys.screen()
        assert "Nothing to do." in keys.screen()
        assert not keys.box.ask

    view(scenario)


def test_an_error_is_told_in_a_dialog(view: View, database: mvsqlite_py.Database) -> None:
    """Here the database is gone."""

    async def scenario(keys: Keys) -> None:
        database.store.delete(database.name)
        for key in ("u", "r"):
            await keys.press(key)
            assert "failed" in keys.box.classes
            assert "nothing was done" in keys.screen()
            assert 'no database "notes.db"' in keys.screen()
            await keys.press("escape")
        await keys.press("f5")
        assert "The versions cannot be read" in keys.screen()

    view(scenario)


def test_a_difference_that_cannot_be_read_is_told_in_its_place(
    view: View, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any, **__: Any) -> Any:
        raise mvsqlite_py.CorruptError("page 7 is not what was written")

    async def scenario(keys: Keys) -> None:
        monkeypatch.setattr(_tui, "compare", fails)
        await keys.press("down")
        assert "page 7 is not what was written" in keys.screen()
        await keys.press("d")
        assert "page 7 is not what was written" in keys.screen()

    view(scenario)


def test_search_and_back(view: View) -> None:
    async def scenario(keys: Keys) -> None:
        await keys.press("slash", *"delete", "enter")
        assert 'notes.db: 1 version with "delete"' in keys.screen()
        assert "- id=1  title='one'" in keys.pane
        await keys.press("escape")
        assert "notes.db: 4 versions" in keys.screen()
        await keys.press("slash", *"zzz", "enter")
        assert "no version is like that" in keys.screen()
        await keys.press("u", "r", "b", "d")  # of nothing
        await keys.press("slash")
        assert keys.app.screen.query_one(Input).value == "zzz"
        await keys.press("escape")
        assert not isinstance(keys.app.screen, Ask)

    view(scenario)


def test_a_branch_begins_at_the_version(view: View, database: mvsqlite_py.Database) -> None:
    async def scenario(keys: Keys) -> None:
        await keys.press("down", "down", "b", *"trial.db", "enter")
        assert "mvsqlite history trial.db" in keys.screen()
        assert titles(database.store.database("trial.db")) == ["one", "two", "three"]
        await keys.press("escape", "b", *"trial.db", "enter")
        assert "failed" in keys.box.classes

    view(scenario)


def test_a_tag_names_the_version(view: View, database: mvsqlite_py.Database) -> None:
    async def scenario(keys: Keys) -> None:
        await keys.press("down", "t", *"good", "enter")
        assert "mvsqlite untag notes.db good" in keys.screen()
        assert database.tags() == {"good": keys.chosen}
        await keys.press("escape", "down", "t", *"good", "enter")
        assert "failed" in keys.box.classes

    view(scenario)


def test_the_view_follows_the_size_of_the_terminal(view: View) -> None:
    async def scenario(keys: Keys) -> None:
        for width, height in ((120, 40), (80, 24), (40, 10), (200, 60), (20, 6), (80, 24)):
            await keys.pilot.resize_terminal(width, height)
            await settle(keys.pilot)
            lines = keys.screen().splitlines()
            assert all(len(line) <= width for line in lines)
            beside = keys.app.query_one("#pane").region.x > 0
            assert beside == (width >= _tui.WIDE)
        await keys.press("question_mark")
        await keys.pilot.resize_terminal(60, 15)
        await settle(keys.pilot)
        assert "Esc: close" in keys.screen()

    view(scenario)


def test_versions_are_loaded_while_they_are_walked(view: View, database: mvsqlite_py.Database) -> None:
    connection = database.connect()
    for _ in range(2 * _tui.BATCH):
        connection.execute("UPDATE notes SET title = title || '.' WHERE id = 4")
    every = [version.version for version in database.versions()]

    async def scenario(keys: Keys) -> None:
        versions = keys.app.query_one(VersionList)
        assert len(versions.entries) == _tui.BATCH
        assert f"{_tui.BATCH:,} versions and more" in keys.screen()
        await keys.press("end", "end", "end")
        assert [entry.version.version for entry in versions.entries] == every
        assert keys.chosen == every[-1]
        assert f"{len(every):,} versions" in keys.screen()
        assert "and more" not in keys.screen()

    view(scenario)


def test_new_versions_are_found_when_asked_for(view: View, database: mvsqlite_py.Database) -> None:
    async def scenario(keys: Keys) -> None:
        database.connect().execute("DELETE FROM notes")
        await keys.press("f5")
        assert keys.chosen == newest(database).version

    view(scenario)


def test_an_empty_database_has_nothing_to_walk(store: mvsqlite_py.Store) -> None:
    empty = store.create("empty.db")

    async def scenario() -> None:
        app = HistoryApp(Session("mvsqlite", empty.store, False, None), empty)
        async with app.run_test(size=(80, 24)) as pilot:
            await settle(pilot)
            keys = Keys(app, pilot)
            assert "nothing was committed yet" in keys.screen()
            await keys.press("up", "down", "u", "d")

    asyncio.run(scenario())


def test_what_is_looked_for_is_given_up_for_another_version(
    database: mvsqlite_py.Database,
) -> None:
    """Also in the middle of a statement: SQLite is interrupted."""
    looker = _tui.Looker(database)
    turn = looker.stop()

    def read(comparison: Any) -> None:
        looker.stop()
        comparison.value("WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n")

    with pytest.raises(_tui.Stopped):
        looker.look(turn, newest(database), lambda comparison: interrupted_soon(looker, comparison))
    with pytest.raises(_tui.Stopped):
        looker.look(turn, newest(database), read)
    assert looker.look(looker.stop(), newest(database), lambda comparison: comparison.counts())


def interrupted_soon(looker: Any, comparison: Any) -> None:
    """Runs what never ends, and interrupts it from its first row on."""

    def stop() -> int:
        looker.stop()
        return 1

    connection: apsw.Connection = comparison.connection
    connection.create_scalar_function("stop", stop, 0)
    comparison.query("WITH n(i) AS (SELECT stop() UNION ALL SELECT i + 1 FROM n) SELECT i FROM n")


def test_without_the_package_the_command_tells_how_to_get_it(
    database: mvsqlite_py.Database, store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "textual", None)
    for name in [name for name in sys.modules if name.startswith(("textual.", "mvsqlite_py._cli._tui"))]:
        monkeypatch.delitem(sys.modules, name)
    result = CliRunner(env={"MVSQLITE_STORE": store_url}).invoke(mvsqlite, ["history", database.name])
    assert result.exit_code == 1
    assert history.INSTALL in result.stderr
    assert "pip install 'mvsqlite-py[tui]'" in history.INSTALL


def test_without_a_terminal_the_command_names_the_log(database: mvsqlite_py.Database, store_url: str) -> None:
    result = CliRunner(env={"MVSQLITE_STORE": store_url}).invoke(mvsqlite, ["history", database.name])
    assert result.exit_code == 1
    assert "mvsqlite log NAME" in result.stderr
    json = CliRunner(env={"MVSQLITE_STORE": store_url}).invoke(mvsqlite, ["history", database.name, "--json"])
    assert json.exit_code == 2
    assert "mvsqlite log NAME --json" in json.output
