"""``mvsqlite history``: versions walked with the keys, what each changed, undo and revert from there.

Whatever asks the database runs in a thread of its own, so that keys never wait; what is not
wanted any more is interrupted.
"""

import threading
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, ClassVar

import apsw
from rich.text import Text
from textual import events, work
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.widgets import Footer, Static

from mvsqlite_py._cli._common import Session, Typed, describe, local_time
from mvsqlite_py._cli._difference import difference_lines, facts
from mvsqlite_py._cli._history import Wanted, What, what_text
from mvsqlite_py._cli._reports import change_lines, report_lines
from mvsqlite_py._cli._tui_dialogs import HELP, Ask, Box
from mvsqlite_py._cli._tui_list import Entry, VersionList
from mvsqlite_py._cli._versions import short
from mvsqlite_py._database import Database, Version
from mvsqlite_py._errors import Error
from mvsqlite_py._rows import Comparison, compare
from mvsqlite_py._undo import UndoReport
from mvsqlite_py._words import plural

BATCH = 200
"""Versions loaded at a time."""
WIDE = 110
"""Columns from which on the difference is beside the list, not below it."""
PANE_ROWS, FULL_ROWS = 50, 5000
"""Of each table, beside the list and on the whole screen."""
PAUSE = 0.08
"""Seconds a version is chosen before its difference is looked for: a held key passes many."""
FAILURES = (Error, apsw.Error, OSError, ValueError)


class Stopped(Exception):
    """What was being looked for is not wanted any more."""


class Looker:
    """Compares versions one after the other; the one under way can be interrupted."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._busy = threading.Lock()
        self._state = threading.Lock()
        self._under_way: Comparison | None = None
        self._turn = 0

    def stop(self) -> int:
        """Interrupts what is under way; returns the next one's turn."""
        with self._state:
            self._turn += 1
            if self._under_way:
                self._under_way.connection.interrupt()
            return self._turn

    def look(self, turn: int, version: Version, read: Callable[[Comparison], Any]) -> Any:
        """What ``read`` makes of a version's difference. Raises Stopped if it is not its turn any more."""
        with self._busy:
            self.check(turn)
            with compare(self._database, version.previous, version.version) as comparison:
                with self._state:
                    self._under_way = comparison
                try:
                    self.check(turn)
                    return read(comparison)
                except apsw.InterruptError as error:
                    raise Stopped from error
                finally:
                    with self._state:
                        self._under_way = None

    def check(self, turn: int) -> None:
        if turn != self._turn:
            raise Stopped


def _what(comparison: Comparison) -> What:
    return comparison.counts(), comparison.schema_changes()


class HistoryApp(App[None]):
    """The versions of one database."""

    CSS = """
    #title { height: 1; background: $primary-background; text-style: bold; padding: 0 1; }
    #main { layout: vertical; height: 1fr; }
    VersionList { height: 3fr; width: 100%; scrollbar-size-vertical: 1; }
    #pane { height: 2fr; width: 100%; border-top: solid $primary; padding: 0 1; scrollbar-size-vertical: 1; }
    #pane:focus { border-top: heavy $accent; }
    .wide #main { layout: horizontal; }
    .wide VersionList { width: 3fr; height: 100%; }
    .wide #pane { width: 2fr; height: 100%; border-top: none; border-left: solid $primary; }
    .wide #pane:focus { border-top: none; border-left: heavy $accent; }
    #difference { height: auto; width: auto; }
    """
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("d,enter", "details", "Details", key_display="d"),
        Binding("u", "undo", "Undo"),
        Binding("r", "revert", "Revert to"),
        Binding("b", "branch", "Branch"),
        Binding("t", "tag", "Tag"),
        Binding("slash", "search", "Search", key_display="/"),
        Binding("escape", "search_none", "All", show=False),
        Binding("f5", "reload", "New versions", show=False),
        Binding("question_mark", "help", "Help", key_display="?"),
        Binding("q", "quit", "Quit"),
    ]

    def __init__(self, session: Session, database: Database) -> None:
        super().__init__()
        self._session = session
        self._database = database
        self._lookers = {"pane": Looker(database), "rows": Looker(database), "full": Looker(database)}
        self._grep: str | None = None
        self._found: Iterator[tuple[Version, Any]] = iter(())
        self._loading = self._ended = False
        self._round = 0
        self._pause: Any = None

    def compose(self) -> ComposeResult:
        yield Static(id="title")
        with Horizontal(id="main"):
            yield VersionList()
            with VerticalScroll(id="pane"):
                yield Static(id="difference")
        yield Footer()

    @property
    def versions(self) -> VersionList:
        return self.screen_stack[0].query_one(VersionList)

    def on_mount(self) -> None:
        self.versions.focus()
        self.reload()

    def on_resize(self, event: events.Resize) -> None:
        self.screen_stack[0].set_class(event.size.width >= WIDE, "wide")

    def on_unmount(self) -> None:
        for looker in self._lookers.values():
            looker.stop()

    # ---- the list ------------------------------------------------------------------

    def reload(self) -> None:
        """Begins anew with the newest version."""
        self._round += 1
        self._ended = self._loading = False
        self._found = Wanted(grep=self._grep).versions(self._database, rows=False)
        self.versions.clear()
        self._show("")
        self._load_more()
        self._tell_title()

    def _tell_title(self) -> None:
        loaded = len(self.versions.entries)
        count = plural(loaded, "version") if self._ended else f"{loaded:,} versions and more"
        searched = f' with "{self._grep}" (Esc: all)' if self._grep else ""
        waiting = ", loading" if self._loading else ""
        title = f"{self._database.name}: {count}{searched}{waiting}"
        self.screen_stack[0].query_one("#title", Static).update(Text(title, no_wrap=True))

    def on_version_list_wanted(self) -> None:
        self._load_more()

    def _load_more(self) -> None:
        if not self._loading and not self._ended:
            self._loading = True
            self._load(self._round, self._found)

    @work(thread=True)
    def _load(self, number: int, found: Iterator[tuple[Version, Any]]) -> None:
        try:
            batch = [version for version, _ in islice(found, BATCH)]
        except FAILURES as error:
            self.call_from_thread(self._loaded, number, [], error)
        else:
            self.call_from_thread(self._loaded, number, batch, None)

    def _loaded(self, number: int, batch: list[Version], error: Exception | None) -> None:
        if number != self._round:
            return
        self._loading, self._ended = False, len(batch) < BATCH
        self.versions.extend(batch)
        self._tell_title()
        if error:
            self.tell_failure("The versions cannot be read", error)
        elif not self.versions.entries:
            self._show("no version is like that" if self._grep else "nothing was committed yet")

    # ---- what a version changed -----------------------------------------------------------

    def on_version_list_chosen(self) -> None:
        if self._pause:
            self._pause.stop()
        for name in ("pane", "rows"):
            self._lookers[name].stop()
        self._pause = self.set_timer(PAUSE, self._look)

    def _look(self) -> None:
        self._pause = None
        entry = self.versions.chosen
        if entry:
            self._show(Text("…", "dim"))
            self._look_pane(self._lookers["pane"].stop(), entry.version)
            waiting = [one for one in self.versions.on_screen() if one.rows is None]
            self._look_rows(self._lookers["rows"].stop(), waiting)

    def _show(self, lines: Text | str) -> None:
        self.screen_stack[0].query_one("#difference", Static).update(lines)
        self.screen_stack[0].query_one("#pane").scroll_home(animate=False)

    @work(thread=True)
    def _look_pane(self, turn: int, version: Version) -> None:
        looker = self._lookers["pane"]
        try:
            lines = looker.look(turn, version, lambda found: self._lines(looker, turn, found, PANE_ROWS))
        except Stopped:
            return
        except FAILURES as error:
            lines = [Text(describe(error))]
        self.call_from_thread(self._show_if, looker, turn, lines)

    def _show_if(self, looker: Looker, turn: int, lines: list[Text]) -> None:
        try:
            looker.check(turn)
        except Stopped:
            return
        self._show(Text("\n").join(lines))

    @staticmethod
    def _lines(looker: Looker, turn: int, comparison: Comparison, limit: int) -> list[Text]:
        lines = []
        for line in difference_lines(comparison, limit, hint="d shows more"):
            looker.check(turn)
            lines.append(line)
        return lines or [Text("no row differs")]

    @work(thread=True)
    def _look_rows(self, turn: int, entries: list[Entry]) -> None:
        """Fills in how many rows the versions on the screen changed."""
        looker = self._lookers["rows"]
        for entry in entries:
            try:
                what = looker.look(
                    turn, entry.version, lambda found: (found.counts(), found.schema_changes())
                )
                rows = Text(", ").join(what_text(what).split("\n"))
            except Stopped:
                return
            except FAILURES:
                rows = Text("?", "dim")
            self.call_from_thread(self._fill, entry, rows)

    def _fill(self, entry: Entry, rows: Text) -> None:
        entry.rows = rows
        self.versions.refresh()

    # ---- looking closer ----------------------------------------------------------------

    def action_details(self) -> None:
        entry = self.versions.chosen
        if entry:
            about = [Text.assemble((f"{name:<13}", "bold"), value) for name, value in facts(entry.version)]
            box = Box(f"Version {short(entry.version.version)}", [*about, "", "…"], classes="wide")
            looker = self._lookers["full"]
            turn = looker.stop()
            self.push_screen(box, lambda _: self._stop(looker))
            self._look_full(turn, entry.version, box, about)

    @staticmethod
    def _stop(looker: Looker) -> None:
        looker.stop()

    @work(thread=True)
    def _look_full(self, turn: int, version: Version, box: Box, about: list[Text]) -> None:
        looker = self._lookers["full"]
        try:
            lines = looker.look(turn, version, lambda found: self._lines(looker, turn, found, FULL_ROWS))
        except Stopped:
            return
        except FAILURES as error:
            lines = [Text(describe(error))]
        self.call_from_thread(lambda: box.show([*about, "", *lines]) if box.is_attached else None)

    def action_help(self) -> None:
        self.push_screen(Box("Keys", HELP.splitlines()))

    # ---- searching ---------------------------------------------------------------------

    def action_search(self) -> None:
        def search(text: str | None) -> None:
            if text is not None and text != self._grep:
                self._grep = text
                self.reload()

        self.push_screen(Ask("Only versions with this text", self._grep or ""), search)

    def action_search_none(self) -> None:
        if self._grep is not None:
            self._grep = None
            self.reload()

    def action_reload(self) -> None:
        self.reload()

    # ---- going back ----------------------------------------------------------------------

    def tell_failure(self, what: str, error: Exception) -> None:
        self.push_screen(Box(what, [describe(error)], classes="failed"))

    @work(thread=True, exclusive=True, group="acting")
    def _act(self, what: str, act: Callable[[], Callable[[], None]]) -> None:
        """Does something in a thread; what it returns is called by the view."""
        try:
            then = act()
        except FAILURES as error:
            self.call_from_thread(self.tell_failure, f"{what}: nothing was done", error)
        else:
            self.call_from_thread(then)

    def _ask(self, title: str, lines: list[Text | str], act: Callable[[], Callable[[], None]]) -> None:
        def answered(yes: bool | None) -> None:
            if yes:
                self._act(title, act)

        self.push_screen(Box(title, lines, ask=True), answered)

    def _done(self, made: str, lines: list[Text | str], way_back: Typed) -> None:
        """Tells what was done and the way back; the list begins anew with the version it made."""
        self._grep = None
        self.reload()
        end = [f"Made version {short(made)}. To take this back: u or r here, or", f"  {way_back}"]
        self.push_screen(Box("Done", [*lines, "", *end]))

    def action_undo(self) -> None:
        entry = self.versions.chosen
        if not entry:
            return
        version = entry.version
        title = f"Undo version {short(version.version)}"

        def plan() -> Callable[[], None]:
            report = self._database.undo(version.version, dry_run=True)
            lines = self._report("This takes back what the version did, and keeps all later work:", report)
            if report.nothing:
                return lambda: self._tell(title, [*lines, "Nothing to do."])
            return lambda: self._ask(title, [*lines, "", "Go ahead?"], go)

        def go() -> Callable[[], None]:
            report = self._database.undo(version.version)
            made = report.made
            lines = self._report(f"Version {short(version.version)} is taken back:", report)
            if made is None:
                return lambda: self._tell(title, [*lines, "Nothing to do."])
            way_back = self._session.command("mvrevert", "undo", self._database.name, short(made))
            return lambda: self._done(made, lines, way_back)

        self._act(title, plan)

    def _report(self, headline: str, report: UndoReport) -> list[Text | str]:
        return [headline, *report_lines(report)]

    def _tell(self, title: str, lines: list[Text | str]) -> None:
        self.push_screen(Box(title, lines))

    def action_revert(self) -> None:
        entry = self.versions.chosen
        if not entry:
            return
        target = entry.version
        title = f"Revert to version {short(target.version)}"

        def plan() -> Callable[[], None]:
            newest = self._database.newest
            assert newest
            later = sum(1 for _ in self._database.versions(after=target.version))
            if not later:
                return lambda: self._tell(title, [f'"{self._database.name}" is at that version already.'])
            found = self._database.diff(newest.version, target.version)
            lines: list[Text | str] = [
                f'This sets "{self._database.name}" to its state of {local_time(target.time)}, '
                f"{plural(later, 'commit')} back. Later work is out of sight then, and kept as versions:",
                *(list(change_lines(found.rows, found.schema)) or [Text("  no row differs from now")]),
                "",
                "Go ahead?",
            ]
            return lambda: self._ask(title, lines, lambda: go(newest))

        def go(newest: Version) -> Callable[[], None]:
            made = self._database.revert(version=target.version)
            words = ["mvrevert", "to", self._database.name, "--version", short(newest.version)]
            lines: list[Text | str] = [f"The database is as at version {short(target.version)}."]
            return lambda: self._done(made, lines, self._session.command(*words))

        self._act(title, plan)

    def action_branch(self) -> None:
        entry = self.versions.chosen
        if not entry:
            return
        version, name = entry.version, self._database.name
        title = f"Branch from version {short(version.version)}"

        def named(new: str | None) -> None:
            if new is not None:
                self._act(title, lambda: branch(new))

        def branch(new: str) -> Callable[[], None]:
            self._session.store.branch(name, new, version=version.version)
            lines = [f'"{new}" begins as "{name}" was at version {short(version.version)}. To walk it:']
            command = self._session.command("mvsqlite", "history", new)
            return lambda: self._tell(title, [*lines, f"  {command}"])

        self.push_screen(Ask(f"{title}: its name"), named)

    def action_tag(self) -> None:
        entry = self.versions.chosen
        if not entry:
            return
        version, name = entry.version.version, self._database.name
        title = f"Tag version {short(version)}"

        def named(tag: str | None) -> None:
            if tag is not None:
                self._act(title, lambda: give(tag))

        def give(tag: str) -> Callable[[], None]:
            self._database.tag(tag, version=version)
            lines = [f'Version {short(version)} is "{tag}" and kept for ever. To take this back:']
            command = self._session.command("mvsqlite", "untag", name, tag)
            return lambda: self._tell(title, [*lines, f"  {command}"])

        self.push_screen(Ask(f"{title}: a name for it"), named)
