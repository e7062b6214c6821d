"""Recipes: what it takes to run an app, as a TOML file with a page beside it."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from mvsqlite_stack.errors import fail

FOLDER = "recipes"
HEAD = ("summary", "home", "version")
OF_THE_HOUSEHOLD = ("on", "allow", "public", "recipe", "upgrades", "version")
"""Keys of an app that its recipe cannot know."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """One recipe."""

    name: str
    summary: str
    home: str
    """Where the app comes from."""
    version: str | None
    """The one it was written for; None: whoever adds it has to say one."""
    app: Mapping[str, Any]
    """What goes into ``[apps.NAME]``; its ``bucket`` only if there is one to use."""
    page: str
    """For people."""

    @property
    def route(self) -> str:
        return str(self.app.get("database", {}).get("route", "none"))


def names() -> list[str]:
    """Of the recipes that come with mvstack."""
    folder = files("mvsqlite_stack") / FOLDER
    return sorted(one.name.removesuffix(".toml") for one in folder.iterdir() if one.name.endswith(".toml"))


def load(name_or_file: str) -> Recipe:
    """A recipe that comes with mvstack, or one in a file. Raises StackError."""
    if "/" in name_or_file or name_or_file.endswith(".toml"):
        file = Path(name_or_file)
        page = file.with_suffix(".md")
        return _read(file.stem, file, _text(file), page.read_text() if page.is_file() else "")
    if name_or_file not in names():
        remedy = f"Use one of: {', '.join(names())}; or name a file"
        raise fail(Path(name_or_file), "there is no such recipe", remedy)
    folder = files("mvsqlite_stack") / FOLDER
    text, page_text = ((folder / f"{name_or_file}.{kind}").read_text() for kind in ("toml", "md"))
    return _read(name_or_file, Path(f"{name_or_file}.toml"), text, page_text)


def _text(file: Path) -> str:
    try:
        return file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise fail(file, "it cannot be read", "Name a recipe, or a TOML file with one") from error


def _read(name: str, file: Path, text: str, page: str) -> Recipe:
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise fail(file, str(error), "Correct the TOML syntax there") from error
    if set(data) - {"recipe", "app"} or not isinstance(data.get("app"), dict):
        raise fail(file, "it is no recipe", "Give it two tables: [recipe] with a version, and [app]")
    head, app = data.get("recipe", {}), data["app"]
    unknown = sorted(key for key in head if key not in HEAD or not isinstance(head[key], str))
    if unknown:
        raise fail(file, f"recipe.{unknown[0]} is not known", f"There are texts: {', '.join(HEAD)}")
    if "port" not in app:
        raise fail(file, "app.port is missing", "Say where it listens")
    said = sorted(set(app) & set(OF_THE_HOUSEHOLD))
    if said:
        raise fail(file, f"app.{said[0]} is the household's to say", "Remove it from the recipe")
    return Recipe(name, head.get("summary", ""), head.get("home", ""), head.get("version"), app, page)
