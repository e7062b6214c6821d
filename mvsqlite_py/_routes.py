"""Routes and stubs: which paths of a program become databases, and what stands there."""

from pathlib import Path

from mvsqlite_py import _binding
from mvsqlite_py._binding import check, encode, ffi, lib

NAME_ROOM = 256


def check_map(text: str) -> None:
    """Raises the error of routes (``PATTERN=NAME``, one a line) that cannot be read."""
    check(lib.mv_route_check(encode(text, "a route", "MV_MISUSE")))


def name_of(text: str, path: Path) -> str | None:
    """The database that routes make of an absolute path; None: it is not routed."""
    name = ffi.new("char[]", NAME_ROOM)
    code = lib.mv_route_name(
        encode(text, "a route", "MV_MISUSE"), encode(str(path), "a path"), name, NAME_ROOM
    )
    if code == _binding.NOT_FOUND:
        return None
    check(code)
    return _binding.text(name)


def put_stub(path: Path, name: str) -> None:
    """Makes the file that stands for a database at its path."""
    check(lib.mv_stub_put(encode(str(path), "a path"), encode(name, "a database name")))


def is_stub(path: Path) -> bool:
    """Whether the file at a path stands for a database."""
    return bool(lib.mv_stub_is_at(encode(str(path), "a path")))
