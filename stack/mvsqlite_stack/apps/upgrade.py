"""Another version of an app, and the way back: its databases' versions are named before."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from mvsqlite_py import Store
from mvsqlite_stack import config
from mvsqlite_stack.apps.edit import set_version
from mvsqlite_stack.apps.place import store_of
from mvsqlite_stack.errors import fail
from mvsqlite_stack.model import App, Stack
from mvsqlite_stack.render.layout import SYSTEM, Layout

UPGRADE, REVERT = "before-upgrade-", "before-revert-"
"""How the tags begin."""


@dataclass(frozen=True, slots=True)
class Step:
    """What becomes of one database."""

    database: str
    version: str | None
    """Where it is now; None: before its first commit."""
    target: str | None = None
    """Of a revert: the version it goes back to; None: it has no such tag, and stays."""
    commits: int = 0
    """Of a revert: how many come after that."""


@dataclass(frozen=True, slots=True)
class Change:
    """What an upgrade or a revert does, or has done."""

    app: str
    before: str
    after: str
    tag: str
    """Names the state before it."""
    steps: list[Step] = field(default_factory=list)
    back_to: str | None = None
    """Of a revert: the tag that its databases go back to."""


def app_of(file: Path, name: str) -> tuple[Stack, App]:
    """Raises StackError if there is none of that name."""
    stack = config.read(file)
    if name not in stack.apps:
        known = ", ".join(stack.apps) or "none yet"
        raise fail(file, f"there is no app {name!r}", f"There are: {known}")
    return stack, stack.apps[name]


def plan_upgrade(file: Path, name: str, to: str, today: date, layout: Layout = SYSTEM) -> Change:
    """Changes nothing. Raises StackError."""
    stack, app = app_of(file, name)
    version = _pinned(file, name, app)
    if to == version:
        raise fail(file, f"{name} is declared with version {to} already", "Nothing has to be done")
    with store_of(stack, name, layout, file) as store:
        steps = [Step(one.name, one.version) for one in store.list()] if store else []
        tag = _new_tag(store, app, f"{UPGRADE}{_short(to)}-{today}")
    return Change(name, version, to, tag, steps)


def plan_revert(file: Path, name: str, to: str | None, today: date, layout: Layout = SYSTEM) -> Change:
    """Changes nothing. to: a tag; None: that of the upgrade which was done last. Raises StackError."""
    stack, app = app_of(file, name)
    version = _pinned(file, name, app)
    if not app.upgrades:
        url = stack.store_of(name, layout.state)
        remedy = f"Go back in time instead, database by database: mvrevert to DATABASE --store {url}"
        raise fail(file, f"{name} was never upgraded with mvstack", remedy)
    tag = to or list(app.upgrades)[-1]
    known = f"Say --to with one of: {', '.join(app.upgrades)}"
    if tag not in app.upgrades:
        raise fail(file, f"{name} has no upgrade {tag!r}", known)
    if to is None and not tag.startswith(UPGRADE):
        raise fail(file, f"what was done last with {name} was no upgrade", known)
    with store_of(stack, name, layout, file) as store:
        steps = [_back(store, one.name, one.version, tag) for one in store.list()] if store else []
        new = _new_tag(store, app, f"{REVERT}{_short(app.upgrades[tag])}-{today}")
    return Change(name, version, app.upgrades[tag], new, steps, tag)


def perform(file: Path, change: Change, layout: Layout = SYSTEM) -> None:
    """Names the databases' versions, takes them back if that was planned, and writes the declaration.

    In this order, so that whatever ends it half way, each state has its name. Raises StackError and the
    store's errors.
    """
    stack, _ = app_of(file, change.app)
    with store_of(stack, change.app, layout, file) as store:
        for step in change.steps:
            assert store is not None
            store.database(step.database).tag(change.tag)
        for step in change.steps:
            if store is not None and step.target is not None:
                _go_back(store, step, f"{change.app}: back to {change.after} ({change.back_to})")
    set_version(file, change.app, change.after, change.tag, change.before)


def _go_back(store: Store, step: Step, message: str) -> None:
    database = store.database(step.database)
    newest = database.newest
    if newest is not None and newest.version != step.target:
        database.revert(version=step.target, message=message)


def _pinned(file: Path, name: str, app: App) -> str:
    named = [app.image or "", app.program or "", *app.command, *app.install]
    if app.version is None or not any("{version}" in text for text in named):
        remedy = 'Say version = "...", and {version} in its image, or in its command and what installs it'
        raise fail(file, f"{name} does not say which version of it runs", remedy)
    return app.version


def _short(version: str) -> str:
    """As part of a tag: without the v of releases; of a digest, its beginning."""
    return version.removeprefix("v") if len(version) < 40 else version[:12]


def _new_tag(store: Store | None, app: App, wished: str) -> str:
    """That name, or with a number behind it if it is taken."""
    taken = set(app.upgrades)
    if store is not None:
        taken |= {tag for one in store.list() for tag in store.database(one.name).tags()}
    return next(tag for tag in _numbered(wished) if tag not in taken)


def _numbered(name: str) -> Iterable[str]:
    yield name
    number = 2
    while True:
        yield f"{name}-{number}"
        number += 1


def _back(store: Store, name: str, version: str | None, tag: str) -> Step:
    database = store.database(name)
    target = database.tags().get(tag)
    if target is None:
        return Step(name, version)
    later = sum(1 for one in database.versions() if one.version > target)
    return Step(name, version, target, later)
