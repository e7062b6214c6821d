"""What ``mvsqlite history`` lays over the list: questions, answers, one version in full, help."""

from collections.abc import Sequence
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Input, Static

HELP = """\
↑ ↓ k j    one version newer, older
PgUp PgDn  a page newer, older
Home End   the newest, the oldest that is loaded
Tab        to what the version changed: arrow keys scroll it
Enter d    all about the version, on the whole screen
u          undo: take back what it did, and keep later work
r          revert: set the whole database to this version
b          branch: a database that begins as this version
t          tag: a name for this version, which is kept for ever
/          only versions with a text: in message, SQL, program
Esc        all versions again
F5         look for new versions
q          leave

You are told what will change, and asked, before it does.
Undoing and reverting make versions too: these can be taken
back like any other."""


class Box(ModalScreen[bool]):
    """Lines to read, in a frame: a question if it has a title for yes."""

    DEFAULT_CSS = """
    Box { align: center middle; }
    Box > Vertical { width: 100%; max-width: 90; height: auto; max-height: 90%; border: round $primary;
        background: $surface; padding: 0 1; }
    Box.wide > Vertical { width: 100%; max-width: 100%; height: 100%; max-height: 100%; }
    Box VerticalScroll { height: auto; max-height: 100%; }
    Box.wide VerticalScroll { height: 1fr; }
    Box .keys { text-style: bold; margin-top: 1; height: 1; dock: bottom; }
    Box.failed > Vertical { border: round $error; }
    Box #inner { height: auto; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", "Yes", show=False),
        Binding("n,escape,q", "answer(False)", "No", show=False),
        Binding("enter,d", "close", "Close", show=False),
    ]

    def __init__(
        self, title: str, lines: Sequence[Text | str], *, ask: bool = False, classes: str = ""
    ) -> None:
        super().__init__(classes=classes)
        self.heading = title
        self.lines = lines
        self.ask = ask

    def compose(self) -> ComposeResult:
        keys = "y: yes, go ahead    n or Esc: no" if self.ask else "Esc: close"
        with Vertical() as frame:
            frame.border_title = self.heading
            with VerticalScroll():
                yield Static(self.text(), id="inner")
            yield Static(Text(keys), classes="keys")

    def text(self) -> Text:
        return Text("\n").join(line if isinstance(line, Text) else Text(line) for line in self.lines)

    def show(self, lines: Sequence[Text | str]) -> None:
        """Other lines, in the same frame."""
        self.lines = lines
        self.query_one("#inner", Static).update(self.text())

    def on_mount(self) -> None:
        self.query_one(VerticalScroll).focus()

    def action_answer(self, yes: bool) -> None:
        if not yes or self.ask:
            self.dismiss(yes)

    def action_close(self) -> None:
        if not self.ask:
            self.dismiss(False)


class Ask(ModalScreen[str | None]):
    """One line to type; None if it was left."""

    DEFAULT_CSS = """
    Ask { align: center bottom; }
    Ask > Vertical { width: 100%; height: 3; border: round $primary; background: $surface; }
    Ask Input, Ask Input:focus { border: none; height: 1; padding: 0; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "leave", "Leave", show=False)]

    def __init__(self, title: str, value: str = "") -> None:
        super().__init__()
        self.heading = title
        self._value = value

    def compose(self) -> ComposeResult:
        with Vertical() as frame:
            frame.border_title = f"{self.heading} (Esc: leave)"
            yield Input(self._value)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        self.dismiss(event.value.strip() or None)

    def action_leave(self) -> None:
        self.dismiss(None)
