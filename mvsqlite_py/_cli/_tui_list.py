"""The list of versions of ``mvsqlite history``: drawn a line at a time, filled while it is walked."""

from dataclasses import dataclass
from typing import ClassVar

from rich.style import Style
from rich.text import Text
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from mvsqlite_py._cli._common import local_time
from mvsqlite_py._cli._history import reason_line
from mvsqlite_py._cli._versions import short
from mvsqlite_py._database import Version

AHEAD = 50
"""So many lines before the end more versions are asked for."""
TIME_WIDTH, ROWS_WIDTH, REASON_WIDTH = 19, 18, 12
MARK = "▸ "


@dataclass
class Entry:
    """One line."""

    version: Version
    rows: Text | None = None
    """What changed; None while that is not known."""


class VersionList(ScrollView, can_focus=True):
    """Versions, newest first, one of them chosen."""

    DEFAULT_CSS = "VersionList { overflow-x: hidden; overflow-y: scroll; }"

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "Newer", show=False),
        Binding("down,j", "move(1)", "Older", show=False),
        Binding("pageup", "page(-1)", "A page up", show=False),
        Binding("pagedown,space", "page(1)", "A page down", show=False),
        Binding("home,g", "move(-1000000000)", "The newest", show=False),
        Binding("end,G", "move(1000000000)", "The oldest loaded", show=False),
    ]

    class Chosen(Message):
        """Another line was chosen."""

    class Wanted(Message):
        """The end is near: more versions are wanted."""

    def __init__(self) -> None:
        super().__init__()
        self.entries: list[Entry] = []
        self.cursor = 0

    @property
    def chosen(self) -> Entry | None:
        return self.entries[self.cursor] if self.cursor < len(self.entries) else None

    def on_screen(self) -> list[Entry]:
        """The lines on the screen, the chosen one first."""
        top = int(self.scroll_offset.y)
        shown = self.entries[top : top + self.size.height]
        return [self.entries[self.cursor], *shown] if self.chosen else shown

    # ---- filling -------------------------------------------------------------------

    def clear(self) -> None:
        self.entries, self.cursor = [], 0
        self._measure()

    def extend(self, versions: list[Version]) -> None:
        first = not self.entries
        self.entries += [Entry(version) for version in versions]
        self._measure()
        if first and self.entries:
            self.post_message(self.Chosen())

    def choose(self, version: str) -> bool:
        """Chooses a version that is in the list."""
        for index, entry in enumerate(self.entries):
            if entry.version.version == version:
                self.action_move(index - self.cursor)
                return True
        return False

    def _measure(self) -> None:
        self.virtual_size = Size(1, len(self.entries))
        self.refresh()

    def on_resize(self) -> None:
        self._measure()
        self._show_cursor()

    # ---- walking -------------------------------------------------------------------

    def action_move(self, by: int) -> None:
        cursor = min(max(self.cursor + by, 0), max(len(self.entries) - 1, 0))
        if cursor + AHEAD >= len(self.entries):
            self.post_message(self.Wanted())
        if cursor != self.cursor:
            self.cursor = cursor
            self._show_cursor()
            self.refresh()
            self.post_message(self.Chosen())

    def action_page(self, by: int) -> None:
        self.action_move(by * max(self.size.height - 1, 1))

    def on_click(self, event: object) -> None:
        y = int(getattr(event, "y", 0) + self.scroll_offset.y)
        self.action_move(y - self.cursor)

    def _show_cursor(self) -> None:
        self.scroll_to_region(Region(0, self.cursor, 1, 1), animate=False)

    # ---- drawing -------------------------------------------------------------------

    def render_line(self, y: int) -> Strip:
        index = y + int(self.scroll_offset.y)
        width = self.scrollable_content_region.width
        if index >= len(self.entries):
            return Strip.blank(width, self.rich_style)
        line = self.line(self.entries[index], index == self.cursor, width)
        return Strip(line.render(self.app.console)).adjust_cell_length(width).apply_style(self.rich_style)

    def line(self, entry: Entry, chosen: bool, width: int) -> Text:
        """One version in so many columns; what does not fit is cut at the end."""
        version = entry.version
        number = max(len(short(self.entries[0].version.version)), 3)
        parts = [
            Text(MARK if chosen else "  "),
            cell(Text(short(version.version), "cyan"), number, right=True),
            cell(Text(local_time(version.time)), TIME_WIDTH),
        ]
        left = width - len(MARK) - number - TIME_WIDTH - 4
        rows = min(ROWS_WIDTH, max(left - REASON_WIDTH, 0))
        if rows:
            parts.append(cell(Text("…", "dim") if entry.rows is None else entry.rows.copy(), rows))
            left -= rows + 2
        parts.append(cell(Text(reason_line(version), "" if version.message else "dim"), max(left, 0)))
        line = Text.assemble(parts[0], Text("  ").join(parts[1:]))
        line.end = ""  # a line of the screen has no newline
        if chosen:  # without colours of its own, so that it stands out as a whole
            line = Text(line.plain, end="")
            line.stylize(Style(reverse=self.has_focus, bold=True))
        return line


def cell(text: Text, width: int, right: bool = False) -> Text:
    """Text in so many columns."""
    text.truncate(width, overflow="ellipsis")
    text.pad_left(width - text.cell_len) if right else text.pad_right(width - text.cell_len)
    return text
