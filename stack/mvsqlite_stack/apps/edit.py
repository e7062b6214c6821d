"""Changes of stack.toml that leave every other byte of it as it is.

Each is checked before it is written: the new text must say what the old one said, but for what was to be
changed, and the whole must be a good declaration.
"""

import copy
import os
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tomlkit

from mvsqlite_stack import config
from mvsqlite_stack.errors import Problem, StackError, fail
from mvsqlite_stack.places import table_lines

INLINE_WIDTH = 100
"""Lists and small tables that are not longer stand in one line."""


def add_app(file: Path, name: str, values: dict[str, Any]) -> None:
    """Appends ``[apps.NAME]``. Raises StackError."""

    def expected(data: dict[str, Any]) -> None:
        data.setdefault("apps", {})[name] = values

    _change(file, lambda text: f"{text.rstrip()}\n\n{app_text(name, values)}", expected)


def remove_app(file: Path, name: str) -> None:
    """Takes ``[apps.NAME]`` out with all tables below it. Raises StackError."""

    def expected(data: dict[str, Any]) -> None:
        del data["apps"][name]
        if not data["apps"]:
            del data["apps"]

    _change(file, lambda text: _without(text, ("apps", name)), expected)


def set_version(file: Path, name: str, version: str, tag: str | None, before: str) -> None:
    """Writes an app's version; tag: what its databases had been tagged with while ``before`` ran.

    Raises StackError.
    """

    def expected(data: dict[str, Any]) -> None:
        app = data["apps"][name]
        app["version"] = version
        if tag is not None:
            app.setdefault("upgrades", {})[tag] = before

    def changed(text: str) -> str:
        document = tomlkit.parse(text)
        document["apps"][name]["version"] = version
        return _with_upgrade(tomlkit.dumps(document), name, tag, before) if tag else tomlkit.dumps(document)

    _change(file, changed, expected)


def app_text(name: str, values: dict[str, Any]) -> str:
    """The tables of an app."""
    return _tables(("apps", name), values)


def _tables(place: tuple[str, ...], values: dict[str, Any]) -> str:
    lines, below = [f"[{'.'.join(map(_key, place))}]"], []
    for key, value in values.items():
        if isinstance(value, dict) and (any(isinstance(one, dict) for one in value.values()) or _long(value)):
            below.append((key, value))
        else:
            lines.append(f"{_key(key)} = {_value(value)}")
    parts = ["\n".join(lines) + "\n", *(_tables((*place, key), value) for key, value in below)]
    return "\n".join(parts)


def _long(value: Any) -> bool:
    return len(_inline(value)) > INLINE_WIDTH or (isinstance(value, dict) and len(value) > 2)


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _inline(key)


def _value(value: Any) -> str:
    if isinstance(value, list) and _long(value):
        return "[\n" + "".join(f"    {_inline(one)},\n" for one in value) + "]"
    return _inline(value)


def _inline(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_key(key)} = {_inline(one)}" for key, one in value.items()) + " }"
    if isinstance(value, list):
        return f"[{', '.join(map(_inline, value))}]"
    return str(tomlkit.item(value).as_string())


def _without(text: str, table: tuple[str, ...]) -> str:
    """Without a table and those below it; comments right before the next table stay."""
    lines = text.splitlines(keepends=True)
    doomed: set[int] = set()
    for names, first, after in table_lines(text):
        if names[: len(table)] != table:
            continue
        last = after
        while last > first + 1 and after < len(lines) and lines[last - 1].lstrip().startswith("#"):
            last -= 1
        doomed |= set(range(first, last))
    kept = "".join(line for i, line in enumerate(lines) if i not in doomed)
    return kept.rstrip("\n") + "\n" if kept.endswith("\n\n") else kept


def _with_upgrade(text: str, name: str, tag: str, before: str) -> str:
    lines = text.splitlines(keepends=True)
    entry = f"{_key(tag)} = {_inline(before)}\n"
    tables = {names: (first, after) for names, first, after in table_lines(text)}
    if found := tables.get(("apps", name, "upgrades")):
        at = _after_content(lines, *found)
        return "".join([*lines[:at], entry, *lines[at:]])
    own = [place for names, place in tables.items() if names[:2] == ("apps", name)]
    at = _after_content(lines, *max(own))
    table = f"\n[apps.{_key(name)}.upgrades]\n{entry}"
    if lines[at - 1 : at] and not lines[at - 1].endswith("\n"):
        table = f"\n{table}"
    return "".join([*lines[:at], table, *lines[at:]])


def _after_content(lines: list[str], first: int, after: int) -> int:
    """The place behind a table's last key."""
    while after > first + 1 and (not lines[after - 1].strip() or lines[after - 1].lstrip().startswith("#")):
        after -= 1
    return after


def _change(file: Path, changed: Callable[[str], str], expected: Callable[[dict[str, Any]], None]) -> None:
    text = file.read_text()
    wanted = copy.deepcopy(tomllib.loads(text))
    expected(wanted)
    new = changed(text)
    try:
        same = _bare(tomllib.loads(new)) == _bare(wanted)
    except tomllib.TOMLDecodeError:
        same = False
    if not same:
        remedy = "Change it by hand, or write each app as a table of its own: [apps.NAME]"
        raise fail(file, "it is written in a way in which this cannot be changed", remedy)
    write_checked(file, new)


def _bare(data: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in data.items() if key != "apps" or value}


def write_checked(file: Path, text: str) -> None:
    """Replaces a declaration by one that is good; else nothing happens. Raises StackError."""
    part = file.with_name(f".{file.name}.{os.getpid()}")
    part.write_text(text)
    try:
        part.chmod(file.stat().st_mode & 0o777)
        config.read(part)
        part.replace(file)
    except StackError as error:
        told = [
            Problem(file, f"not changed: {one.what}", one.remedy, None, one.key) for one in error.problems
        ]
        raise StackError(told) from error
    finally:
        part.unlink(missing_ok=True)
