"""Where a key of a TOML document stands, for errors that name a line."""

import re
import tomllib
from collections.abc import Iterator
from typing import Any

Path = tuple[str | int, ...]

_HEADER = re.compile(r"\s*\[\[?(?P<key>[^\[\]]+)\]\]?\s*(?:#.*)?")
_KEY = r"""(?:[A-Za-z0-9_-]+|"(?:[^"\\]|\\.)*"|'[^']*')"""
_ENTRY = re.compile(rf"\s*(?P<key>{_KEY}(?:\s*\.\s*{_KEY})*)\s*=(?P<value>.*)", re.DOTALL)
_FENCES = ('"' * 3, "'" * 3)
_AT_LINE = re.compile(r"\(at line (\d+)")


def line_of(text: str, path: Path) -> int | None:
    """The line, from 1, of the key at this path, or of the nearest table around it; None without one."""
    lines = dict(_keys(text))
    for length in range(len(path), 0, -1):
        names = tuple(part for part in path[:length] if isinstance(part, str))
        if names in lines:
            return lines[names]
    return None


def table_lines(text: str) -> list[tuple[tuple[str, ...], int, int]]:
    """Each table's name, the line of its header from 0, and the line after its last one."""
    headers = [(names, number - 1) for names, number, is_table in _lines(text) if is_table]
    ends = [first for _, first in headers[1:]] + [len(text.splitlines())]
    return [(names, first, end) for (names, first), end in zip(headers, ends, strict=True)]


def line_of_syntax_error(error: tomllib.TOMLDecodeError, text: str) -> int:
    """The line that tomllib complains about; the last one if it met the end of the file."""
    found = _AT_LINE.search(str(error))
    return int(found[1]) if found else max(1, len(text.splitlines()))


def _keys(text: str) -> Iterator[tuple[tuple[str, ...], int]]:
    """Every key and table with its line; where one is named twice (a table, its parts), the last."""
    return ((names, number) for names, number, _ in _lines(text))


def _lines(text: str) -> Iterator[tuple[tuple[str, ...], int, bool]]:
    """Every key and table with its line, and whether it is a table's."""
    table: tuple[str, ...] = ()
    fence = ""
    depth = 0
    for number, line in enumerate(text.splitlines(), 1):
        if fence:
            if line.count(fence) % 2:
                fence = ""
            continue
        if depth > 0:
            depth += _opened(line)
            continue
        if header := _HEADER.fullmatch(line):
            table = _parts(header["key"])
            yield table, number, True
        elif entry := _ENTRY.fullmatch(line):
            yield (*table, *_parts(entry["key"])), number, False
            fence = next((mark for mark in _FENCES if entry["value"].count(mark) % 2), "")
            depth = 0 if fence else max(0, _opened(entry["value"]))


def _opened(value: str) -> int:
    """How many more brackets a line opens than it closes, outside strings and comments."""
    bare = re.sub(r"""("(?:[^"\\]|\\.)*"|'[^']*')|#.*""", "", value)
    return bare.count("[") + bare.count("{") - bare.count("]") - bare.count("}")


def _parts(key: str) -> tuple[str, ...]:
    """The names of a dotted key."""
    found: Any = tomllib.loads(f"{key} = 0")
    names = []
    while isinstance(found, dict):
        name, found = next(iter(found.items()))
        names.append(name)
    return tuple(names)
