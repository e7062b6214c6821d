"""What happened, for people: outages that were seen, notices and maintenance that are told."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum


class Sort(StrEnum):
    """What kind of thing happened."""

    OUTAGE = "outage"
    """Opened and closed by the checks."""
    NOTICE = "notice"
    """Written by hand."""
    MAINTENANCE = "maintenance"
    """Announced: what its parts do in that time is no outage."""


@dataclass(frozen=True, slots=True)
class Note:
    """A line about an incident."""

    at: int
    text: str


@dataclass(frozen=True, slots=True)
class Incident:
    """One of them. Times are Unix times."""

    id: str
    sort: Sort
    parts: tuple[str, ...]
    title: str
    begins: int
    ends: int | None = None
    detail: str = ""
    """Not for the public."""
    notes: tuple[Note, ...] = ()

    def is_on(self, now: int) -> bool:
        return self.begins <= now and (self.ends is None or now < self.ends)

    def closed(self, at: int) -> "Incident":
        return replace(self, ends=max(at, self.begins))


def new_id(word: str, at: int) -> str:
    """Unique for a part and a second, and readable: ``app-notes-20261129-0815-30``."""
    return f"{word}-{datetime.fromtimestamp(at, UTC):%Y%m%d-%H%M-%S}"


def maintained(incidents: Iterable[Incident], part: str, now: int) -> bool:
    """Whether work on a part was announced for this moment; no parts: all of them."""
    return any(
        one.sort is Sort.MAINTENANCE and one.is_on(now) and (not one.parts or part in one.parts)
        for one in incidents
    )
