"""Which versions are meant: those given, or by who made them, with what statements, and when."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from mvsqlite_py._database import Database, Moment, Version
from mvsqlite_py._errors import VersionNotFoundError


def matches(pattern: str, text: str | None) -> bool:
    """Whether a text contains a pattern, or with ``*`` in it is wholly like it; letters' case and
    the width of white space do not matter."""
    wanted, found = (" ".join(one.casefold().split()) for one in (pattern, text or ""))
    if "*" not in wanted:
        return wanted in found
    return re.fullmatch(".*".join(map(re.escape, wanted.split("*"))), found, re.DOTALL) is not None


def statements_of(version: Version) -> Iterator[str]:
    """The statements that a version records, each by itself."""
    yield from (version.statements or "").split(";\n")


@dataclass(frozen=True, slots=True)
class Selection:
    """What versions must be like; None does not matter. Texts are compared by :func:`matches`."""

    program: str | None = None
    host: str | None = None
    """The whole name, unless it has a ``*``."""
    pid: int | None = None
    statement: str | None = None
    """Of one of the statements, or of all of them together."""
    message: str | None = None
    since: Moment | None = None
    """Only commits after the state of this moment."""
    until: Moment | None = None
    """Only commits up to this moment."""

    @property
    def all(self) -> bool:
        """Whether every version is meant."""
        return self == Selection()

    def fits(self, version: Version) -> bool:
        """Whether a version is like that, whenever it was made."""
        texts = ((self.program, version.program), (self.message, version.message))
        return (
            all(wanted is None or matches(wanted, text) for wanted, text in texts)
            and (self.host is None or self._on_host(version.host))
            and (self.pid is None or self.pid == version.pid)
            and (self.statement is None or self._states(version))
        )

    def _on_host(self, host: str) -> bool:
        assert self.host is not None
        return matches(self.host, host) if "*" in self.host else self.host.casefold() == host.casefold()

    def _states(self, version: Version) -> bool:
        assert self.statement is not None
        each = [*statements_of(version), version.statements or ""]
        return any(matches(self.statement, text) for text in each if text)

    def among(self, database: Database) -> Iterator[Version]:
        """The versions of a database that fit, newest first."""
        after = until = None
        if self.since is not None:
            try:
                after = database.find(at=self.since)
            except VersionNotFoundError:
                after = None  # before the first commit: from the beginning
        if self.until is not None:
            try:
                until = database.find(at=self.until)
            except VersionNotFoundError:
                return
        yield from filter(self.fits, database.versions(after=after, until=until))


@dataclass(frozen=True, slots=True)
class Run:
    """Versions that follow each other: taken back as one difference of two states."""

    before: str | None
    after: str


def runs(versions: Iterable[Version]) -> list[Run]:
    """Puts versions together, newest first, as far as no other lies between."""
    found: list[Run] = []
    for version in sorted(versions, key=lambda one: one.version, reverse=True):
        if found and found[-1].before == version.version:
            found[-1] = Run(version.previous, found[-1].after)
        else:
            found.append(Run(version.previous, version.version))
    return found
