"""Versions as people write them: short, by a part, or counted back from the newest."""

import re
from itertools import islice

import click

from mvsqlite_py._database import Database, Version
from mvsqlite_py._errors import Error, VersionNotFoundError

DIGITS, ORDER_DIGITS = 16, 4
"""A version is a commit's number and its order among commits of the same number."""
PART_MIN = 4
"""Fewer characters are no part of a version, only a whole one: a mistyped digit must not match."""

MOMENT = re.compile(r"now|-\d.*|.*\bago|\d{4}-.*|\d+:.*", re.IGNORECASE | re.DOTALL)
"""What is no version and is read as a moment."""


class Ages(click.Command):
    """A command with arguments that may be ages, such as -5m: these are no options."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, [f"{one[1:]} ago" if re.match(r"-\d", one) else one for one in args])


def short(version: str) -> str:
    """A version without its zeros: ``9`` for 00000000000000090000, ``1f.2`` for 000000000000001f0002."""
    number, order = int(version[:DIGITS], 16), int(version[DIGITS:], 16)
    return f"{number:x}.{order:x}" if order else f"{number:x}"


def _not_found(message: str) -> Error:
    error = VersionNotFoundError(message)
    error.code = "MV_NOVERSION"
    return error


def resolve(database: Database, text: str) -> Version:
    """The version meant by ``HEAD``, ``HEAD~2``, 20 digits, a tag, the short form, a part only one
    has, or a moment.

    Raises VersionNotFoundError, MomentError.
    """
    word = text.strip().lower()
    if MOMENT.fullmatch(word):
        return database.version(database.find(at=text.strip()))
    if found := re.fullmatch(r"head(?:~(\d*))?", word):
        back = 0 if "~" not in word else int(found.group(1) or 1)
        return _back(database, back)
    if not reads_as_version(word) and (tagged := database.tags().get(text.strip())):
        return database.version(tagged)
    for candidate in _spellings(word):
        try:
            return database.version(candidate)
        except VersionNotFoundError:
            continue
    return _by_part(database, text, word)


def reads_as_version(word: str) -> bool:
    """Whether a tag of that name would be taken for a version or a moment."""
    word = word.strip().lower()
    whole = re.fullmatch(rf"head(~\d*)?|[0-9a-f]{{{DIGITS + ORDER_DIGITS}}}", word)
    return bool(whole or MOMENT.fullmatch(word))


def _back(database: Database, back: int) -> Version:
    versions = list(islice(database.versions(limit=back + 1), back, None))
    if not versions:
        raise _not_found(f'"{database.name}" has no version {back} commits before its newest one')
    return versions[0]


def _spellings(word: str) -> list[str]:
    """Whole versions that a word may spell."""
    width = DIGITS + ORDER_DIGITS
    found = re.fullmatch(r"([0-9a-f]{1,16})(?:\.([0-9a-f]{1,4}))?", word)
    spellings = [word] if re.fullmatch(rf"[0-9a-f]{{{width}}}", word) else []
    if found:
        spellings.append(found.group(1).zfill(DIGITS) + (found.group(2) or "").zfill(ORDER_DIGITS))
    if re.fullmatch(rf"[0-9a-f]{{1,{width}}}", word):
        spellings.append(word.zfill(width))
    return spellings


def _by_part(database: Database, text: str, word: str) -> Version:
    found = []
    if len(word) >= PART_MIN and re.fullmatch(r"[0-9a-f.]+", word):
        for version in database.versions():
            forms = version.version, short(version.version)
            if any(word in form for form in forms):
                found.append(version)
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(short(version.version) for version in found[:5])
        raise _not_found(f'{text!r} may be any of {len(found)} versions of "{database.name}": {names}')
    raise _not_found(f'"{database.name}" has no version {text!r}: mvrevert log lists those there are')
