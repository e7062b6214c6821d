"""The page itself, made on the server from a picture."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from mvsqlite_stack.status.board import PartNow, Picture
from mvsqlite_stack.status.drawing import Bars, bars, duration, percent
from mvsqlite_stack.status.incidents import Incident, Sort
from mvsqlite_stack.status.parts import Reason, State
from mvsqlite_stack.status.settings import Settings
from mvsqlite_stack.status.tally import DAY, DAYS_SHOWN

HERE = Path(__file__).parent
INCIDENTS_SHOWN = 25
TICKS = {State.UP: "up", State.SLOW: "slow", State.DOWN: "down"}


def colours() -> str:
    """Those of the sign-in pages, light and dark: the beginning of their style sheet."""
    text = files("mvsqlite_stack.signin.web").joinpath("static/style.css").read_text()
    return text[: text.index("\n* {")]


def static_files() -> dict[str, tuple[str, bytes]]:
    """Type and content by name."""
    return {
        "style.css": ("text/css", (colours() + (HERE / "static/style.css").read_text()).encode()),
        "live.js": ("text/javascript", (HERE / "static/live.js").read_bytes()),
        "icon.svg": ("image/svg+xml", (HERE / "static/icon.svg").read_bytes()),
    }


def clock(at: int) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%H:%M} UTC"


def when(at: int) -> str:
    found = datetime.fromtimestamp(at, UTC)
    return f"{found.day} {found:%b %Y, %H:%M} UTC"


def machine(at: int) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%MZ}"


@dataclass(frozen=True, slots=True)
class Row:
    """A part as the template wants it."""

    id: str
    title: str
    kind: str
    """The class for colour and sign."""
    words: str
    uptime: str
    bars: Bars | None


def row(one: PartNow, now: int) -> Row:
    kind = "work" if one.maintenance else TICKS.get(one.state, "none")
    words = "Being worked on" if one.maintenance else _words(one)
    drawn = bars(one.days, now) if one.part.group == "services" or one.part.id == "store" else None
    return Row(one.part.id, one.part.title, kind, words, percent(one.uptime), drawn)


def _words(one: PartNow) -> str:
    value, reason = one.outcome.value, one.outcome.reason
    if value is None or reason in (Reason.ABSENT, Reason.UNKNOWN):
        return one.words
    said = {
        "certificates": f"{max(0, int(value))} days left",
        "backup": f"{duration(value)} old",
        "restore-drill": f"{duration(value)} ago" if value < 2 * DAY else f"{round(value / DAY)} days ago",
        "replica": f"{duration(value)} behind",
    }.get(one.part.id, "")
    good = "Passed" if one.part.id == "restore-drill" else ""
    verdict = good if reason is Reason.GOOD else one.words
    return ", ".join(word for word in (verdict, said) if word)


def span_words(one: Incident, now: int) -> str:
    """How long it was, or since when it is."""
    if one.begins > now:
        until = f" to {when(one.ends)}" if one.ends else ""
        return f"Announced for {when(one.begins)}{until}"
    if one.is_on(now):
        until = f", until {when(one.ends)}" if one.ends else ""
        return f"Since {when(one.begins)}{until}"
    assert one.ends is not None
    return f"{when(one.begins)}, for {duration(one.ends - one.begins)}"


class Page:
    """Renders pages."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._environment = Environment(
            loader=FileSystemLoader(HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        marks = {name: hashlib.sha256(data).hexdigest()[:10] for name, (_, data) in static_files().items()}
        static: Callable[[str], str] = lambda name: f"/static/{name}?{marks[name]}"  # noqa: E731
        self._environment.globals.update(static=static, settings=settings, days=DAYS_SHOWN)
        self._environment.filters.update(when=when, clock=clock, machine=machine)

    def index(self, picture: Picture, event: str) -> str:
        """event: the id of the newest event that the picture contains."""
        now = picture.at
        shown = [one for one in picture.incidents if one.begins <= now or one.sort is Sort.MAINTENANCE]
        current = [one for one in shown if one.is_on(now) or one.begins > now]
        current.sort(key=lambda one: (one.begins > now, one.sort is not Sort.OUTAGE))
        past = [one for one in shown if one not in current][:INCIDENTS_SHOWN]
        groups = [
            (title, [row(one, now) for one in picture.parts if one.part.group == group])
            for group, title in (("services", "Services"), ("data", "Data"))
        ]
        kind = TICKS.get(picture.state, "none")
        return self._environment.get_template("index.html").render(
            picture=picture,
            kind="work" if kind == "up" and picture.maintenance else kind,
            groups=groups,
            current=current,
            past=past,
            span=lambda one: span_words(one, now),
            event=event,
        )

    def plain(self, title: str, text: str) -> str:
        return self._environment.get_template("plain.html").render(title=title, text=text)
