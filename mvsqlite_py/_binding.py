"""The only module that touches the native library."""

import re
from pathlib import Path
from typing import Any

import apsw

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


CODES = {text(lib.mv_error_name(code)): code for code in range(len(BY_CODE) + 1)}


def error(code: int) -> Error:
    """The exception for a native code, with the message its function left."""
    name = text(lib.mv_error_name(code))
    return _exception(name, code, text(lib.mv_error_text()) or text(lib.mv_error_meaning(code)))


def _exception(name: str, code: int, message: str) -> Error:
    """With the attributes that exceptions of apsw and sqlite3 have."""
    exception = BY_CODE.get(name, Error)(message)
    sqlite = int(lib.mv_error_sqlite(code))
    names = apsw.mapping_result_codes if sqlite < 256 else apsw.mapping_extended_result_codes
    exception.code = name
    exception.sqlite_errorcode, exception.sqlite_errorname = sqlite, str(names[sqlite])
    vars(exception).update(result=sqlite & 0xFF, extendedresult=sqlite)
    return exception


def check(code: int) -> None:
    """Raises the exception for a native code other than success."""
    if code != 0:
        raise error(code)


def failure(name: str, message: str) -> Error:
    """The exception for a native code by its name, for what Python notices first."""
    return _exception(name, CODES[name], message)


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


def default_url() -> str:
    """The address of the store used when none is named."""
    room = 4096
    url = ffi.new("char[]", room)
    check(lib.mv_default_url(url, room))
    return text(url)


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
