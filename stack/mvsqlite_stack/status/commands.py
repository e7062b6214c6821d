"""``mvstack status``: what is told by hand on the status page."""

import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import wraps
from pathlib import Path
from typing import Any

import apsw
import click

import mvsqlite_py
from mvsqlite_py._cli._common import print_json, show_table
from mvsqlite_stack.service_settings import SettingsError
from mvsqlite_stack.status.history import History, directory_owner
from mvsqlite_stack.status.incidents import Incident, Note, Sort, new_id
from mvsqlite_stack.status.settings import VARIABLE, Settings, read
from mvsqlite_stack.status.watch import parts_of

_SPANS = {"m": 60, "h": 3600, "d": 86400}
LONGEST = 500
"""Characters of a line for the page."""


@dataclass(frozen=True, slots=True)
class Session:
    """One command."""

    settings: Settings
    history: History
    json: bool
    now: int

    def find(self, id: str) -> Incident:
        for one in self.history.incidents(self.now):
            if one.id == id:
                return one
        raise click.ClickException(f"there is no incident {id!r}; mvstack status incident list names them")

    def tell(self, line: str, one: Incident) -> None:
        if self.json:
            print_json(facts(one))
        else:
            click.echo(line)

    def parts(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """Ids of parts; an app may be called by its own name."""
        known = {part.id: part.id for part in parts_of(self.settings)}
        known |= {name: f"app-{name}" for name in self.settings.apps if name not in known}
        for name in names:
            if name not in known:
                raise click.ClickException(f"there is no part {name!r}; there are: {', '.join(known)}")
        return tuple(dict.fromkeys(known[name] for name in names))


def facts(one: Incident) -> dict[str, Any]:
    """An incident for programs of the administrator."""
    return {
        "id": one.id,
        "sort": one.sort,
        "parts": list(one.parts),
        "title": one.title,
        "detail": one.detail,
        "begins": _written(one.begins),
        "ends": _written(one.ends),
        "notes": [{"at": _written(note.at), "text": note.text} for note in one.notes],
    }


def _written(at: int | None) -> str | None:
    return None if at is None else datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC")


def become_owner(settings: Settings) -> None:
    """Root writes as the service that the store belongs to: files of root's would lock that out."""
    owner = directory_owner(settings.store)
    if owner and os.geteuid() == 0 and owner[0] != 0:
        os.setgroups([])
        os.setegid(owner[1])
        os.seteuid(owner[0])


@contextmanager
def _errors() -> Iterator[None]:
    try:
        yield
    except SettingsError as error:
        raise click.ClickException(str(error)) from error
    except (apsw.Error, mvsqlite_py.Error) as error:
        raise click.ClickException(f"the history cannot be used: {error}") from error


def command(function: Callable[..., Any]) -> Callable[..., Any]:
    """Gives a command ``--settings`` and ``--json``; the function gets a Session first."""

    @click.option(
        "--settings",
        "path",
        envvar=VARIABLE,
        show_envvar=True,
        type=click.Path(path_type=Path, dir_okay=False),
        help="The settings file of the status page.",
    )
    @click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
    @wraps(function)
    def run(path: Path | None, as_json: bool, **options: Any) -> Any:
        with _errors():
            settings = read(path)
            become_owner(settings)
            history = History(settings.store, settings.database)
            try:
                return function(Session(settings, history, as_json, int(time.time())), **options)
            finally:
                history.close()

    return run


def line(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    """A line that can stand on the page."""
    if value is None:
        return None
    text = " ".join(value.split())
    if not text or len(text) > LONGEST or not text.isprintable():
        raise click.BadParameter(f"write 1 to {LONGEST} printable characters")
    return text


def moment(_context: click.Context, _parameter: click.Parameter, value: str | None) -> int | None:
    """Unix time of ``2026-12-24 18:00`` (UTC unless it has an offset), ``now``, ``+90m`` or ``+1d``."""
    if value is None:
        return None
    now = int(time.time())
    if value == "now":
        return now
    if found := re.fullmatch(r"\+(\d{1,5})([mhd])", value):
        return now + int(found[1]) * _SPANS[found[2]]
    try:
        at = datetime.fromisoformat(value)
    except ValueError:
        raise click.BadParameter("write it as 2026-12-24T18:00 (UTC), now, or +90m, +2h, +1d") from None
    return int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp())


part_option = click.option("--part", "parts", multiple=True, help="What it is about; again for more.")
note_option = click.option("--note", "text", callback=line, help="A line below the title.")


def _noted(one: Incident, text: str | None, now: int) -> Incident:
    return replace(one, notes=(*one.notes, Note(now, text))) if text else one


@click.group("status")
def status_commands() -> None:
    """What people are told on the status page."""


@status_commands.group("incident")
def incident_commands() -> None:
    """Incidents: those that were seen, and those you tell of."""


@incident_commands.command("open")
@click.argument("title", callback=line)
@part_option
@note_option
@command
def open_incident(session: Session, title: str, parts: tuple[str, ...], text: str | None) -> None:
    """Tell of something that has begun."""
    id = new_id("notice", session.now)
    one = _noted(Incident(id, Sort.NOTICE, session.parts(parts), title, session.now), text, session.now)
    session.history.change(f"status: told of {title}", one)
    session.tell(f"Opened {id}; end it with: mvstack status incident close {id}", one)


@incident_commands.command("note")
@click.argument("id")
@click.argument("text", callback=line)
@command
def note_incident(session: Session, id: str, text: str) -> None:
    """Add a line to one."""
    one = _noted(session.find(id), text, session.now)
    session.history.change(f"status: a note about {one.title}", one)
    session.tell(f"Noted about {one.title}", one)


@incident_commands.command("close")
@click.argument("id")
@note_option
@command
def close_incident(session: Session, id: str, text: str | None) -> None:
    """End one; what was only announced is taken back."""
    one = session.find(id)
    if one.begins > session.now:
        session.history.remove(f"status: took back {one.title}", id)
        session.tell(f"Took back {one.title}", one)
        return
    if not one.is_on(session.now):
        raise click.ClickException(f"{id} is over since {_written(one.ends)}")
    one = _noted(one.closed(session.now), text, session.now)
    session.history.change(f"status: closed {one.title}", one)
    session.tell(f"Closed {one.title}", one)


@incident_commands.command("list")
@command
def list_incidents(session: Session) -> None:
    """Those of the last 90 days, newest first, with what strangers are not told."""
    found = session.history.incidents(session.now)
    if session.json:
        print_json([facts(one) for one in found])
        return
    if not found:
        click.echo("Nothing happened in 90 days.")
        return
    rows = [
        [one.id, one.title, _written(one.begins) or "", _written(one.ends) or "still on", one.detail]
        for one in found
    ]
    show_table(["id", "title", "begins", "ends", "detail"], rows)


@status_commands.command("maintenance")
@click.argument("title", callback=line)
@click.option("--from", "begins", callback=moment, default="now", show_default=True, help="When it begins.")
@click.option("--until", "ends", callback=moment, required=True, help="When it ends: +2h is from now.")
@part_option
@note_option
@command
def plan_maintenance(
    session: Session, title: str, begins: int, ends: int, parts: tuple[str, ...], text: str | None
) -> None:
    """Announce work: what its parts do in that time is no outage. Without --part: all of them."""
    if not max(begins, session.now) < ends:
        raise click.ClickException("it would be over before it begins: give a later --until")
    id = new_id("maintenance", session.now)
    one = _noted(Incident(id, Sort.MAINTENANCE, session.parts(parts), title, begins, ends), text, session.now)
    session.history.change(f"status: announced {title}", one)
    session.tell(f"Announced {id}, {_written(begins)} to {_written(ends)}", one)
