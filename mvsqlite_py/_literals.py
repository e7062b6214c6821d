"""Values as SQL writes them, so that SQLite reads exactly them again."""

import math
import threading
from typing import Any

import apsw


class Undecoded(bytes):
    """Text that is no UTF-8, by its bytes."""


PLAIN_DIGITS = 15
"""Decimal digits that every SQLite reads exactly; a float has up to 17."""
PLAIN_EXPONENT = 22
"""Powers of ten up to this one are floats themselves, so so many digits times one are rounded once."""
READ_WELL = 100
"""Up to this power of ten all digits are read exactly also by the SQLites before 3.43."""
STEP = 52
"""Powers of two up to this one are written as plain numbers."""

_reader: list[apsw.Connection] = []
_lock = threading.Lock()


def literal(value: Any) -> str:
    """A value as an SQL expression."""
    if value is None:
        return "NULL"
    if isinstance(value, float):
        return _float(value)
    if isinstance(value, Undecoded):
        return f"CAST(x'{value.hex()}' AS TEXT)"
    if isinstance(value, bytes):
        return f"x'{value.hex()}'"
    if isinstance(value, str):
        return _text(value)
    return str(value)


def _text(value: str) -> str:
    """SQL text ends at a NUL character, so that one is made by a function."""
    parts = ["'" + part.replace("'", "''") + "'" for part in value.split("\0")]
    return parts[0] if len(parts) == 1 else f"({'||char(0)||'.join(parts)})"


def _float(value: float) -> str:
    if math.isinf(value):
        return "9e999" if value > 0 else "-9e999"
    text = repr(value)
    digits, _, exponent = text.lstrip("-").partition("e")
    count = len(digits.replace(".", "").strip("0"))
    size = abs(math.log10(abs(value))) if value else 0
    if count <= PLAIN_DIGITS and size + PLAIN_DIGITS <= PLAIN_EXPONENT and not exponent:
        return text
    return text if size < READ_WELL and _reads(text) == value else _exact(value)


def _reads(text: str) -> Any:
    """What SQLite makes of a number."""
    with _lock:
        if not _reader:
            _reader.append(apsw.Connection(":memory:"))
        row: Any = _reader[0].execute(f"SELECT {text}").fetchone()
        return row[0]


def _exact(value: float) -> str:
    """An integer of at most 53 bits times or over powers of two: exact at every step."""
    fraction, exponent = math.frexp(value)
    integer, exponent = int(math.ldexp(fraction, 53)), exponent - 53
    while integer % 2 == 0 and integer:
        integer, exponent = integer // 2, exponent + 1
    sign, left = "*" if exponent > 0 else "/", abs(exponent)
    powers = [STEP] * (left // STEP) + ([left % STEP] if left % STEP else [])
    return f"({integer}.0{''.join(f'{sign}{1 << power}.0' for power in powers)})"
