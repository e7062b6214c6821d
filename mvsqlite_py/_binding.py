"""The only module that touches the native library."""

import re
from pathlib import Path
from typing import Any

from mvsqlite_py import _native  # type: ignore[attr-defined]
from mvsqlite_py._errors import BY_CODE, Error

ffi: Any = _native.ffi
lib: Any = _native.lib

LIBRARY = Path(_native.__file__).with_name("libmvsqlite.so")
"""The shared library: SQLite loads it as an extension."""

STAMP_SIZE = 10
VERSION = re.compile(f"[0-9a-fA-F]{{{2 * STAMP_SIZE}}}")
CREATE = 1
STAGE_BYTES, CACHE_BYTES, FULL_EVERY = 0, 1, 2
NOT_FOUND = 4


def text(pointer: Any) -> str:
    """A C string as str; bytes that are no UTF-8 (a cut statement) are replaced."""
    raw: bytes = ffi.string(pointer)
    return raw.decode("utf-8", "replace")


def error(code: int) -> Error:
    """The exception for a native code, with the message its function left."""
    name = text(lib.mv_error_name(code))
    exception = BY_CODE.get(name, Error)(text(lib.mv_error_text()) or text(lib.mv_error_meaning(code)))
    exception.code = name
    return exception


def check(code: int) -> None:
    """Raises the exception for a native code other than success."""
    if code != 0:
        raise error(code)


def failure(name: str, message: str) -> Error:
    """The exception for a native code by its name, for what Python notices first."""
    exception = BY_CODE[name](message)
    exception.code = name
    return exception


def last_error() -> Error | None:
    """The exception for the calling thread's last failure since ``clear_error``."""
    code = lib.mv_error_code()
    return error(code) if code else None


def clear_error() -> None:
    lib.mv_error_clear()


def encode(value: str, what: str, code: str = "MV_NAME") -> bytes:
    """A string for C; raises the exception of ``code`` for a NUL character or lone surrogates."""
    if "\0" in value:
        raise failure(code, f"{what} may not hold a NUL character: {value!r}")
    try:
        return value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise failure(code, f"{what} is UTF-8, which cannot write {value!r}") from None


def stamp_from_hex(version: str) -> Any:
    """A native stamp from 20 hexadecimal digits; raises VersionNotFoundError for anything else."""
    if not VERSION.fullmatch(version):
        raise failure("MV_NOVERSION", f"{version!r} is no version: one is 20 hexadecimal digits")
    stamp = ffi.new("mv_stamp *")
    ffi.memmove(stamp.bytes, bytes.fromhex(version), STAMP_SIZE)
    return stamp


def stamp_to_hex(stamp: Any) -> str:
    return bytes(ffi.buffer(stamp.bytes, STAMP_SIZE)).hex()


@ffi.def_extern()  # type: ignore[untyped-decorator]
def each_database(ctx: Any, info: Any) -> int:
    ffi.from_handle(ctx)(info)
    return 0


@ffi.def_extern()  # type: ignore[untyped-decorator]
def each_tag(ctx: Any, tag: Any, stamp: Any) -> int:
    ffi.from_handle(ctx)[text(tag)] = stamp_to_hex(stamp[0])
    return 0


@ffi.def_extern(error=1)  # type: ignore[untyped-decorator]
def gc_progress(ctx: Any, done: int, of: int) -> int:
    stop: int = ffi.from_handle(ctx)(done, of)
    return stop


@ffi.def_extern(error=1)  # type: ignore[untyped-decorator]
def copy_progress(ctx: Any, verifying: int, done: int, of: int) -> int:
    stop: int = ffi.from_handle(ctx)(bool(verifying), done, of)
    return stop


@ffi.def_extern()  # type: ignore[untyped-decorator]
def verify_problem(ctx: Any, what: Any) -> None:
    ffi.from_handle(ctx).problem(text(what))


@ffi.def_extern()  # type: ignore[untyped-decorator]
def verify_progress(ctx: Any, done: int, of: int) -> None:
    ffi.from_handle(ctx).progress(done, of)
