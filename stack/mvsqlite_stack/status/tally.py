"""How long a part was well: seconds by minute, hour and day (UTC), which add up."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

MINUTE, HOUR, DAY = 60, 3600, 86400
SPANS = (MINUTE, HOUR, DAY)
KEEP = {MINUTE: 2 * DAY, HOUR: 14 * DAY, DAY: 400 * DAY}
"""Seconds for which periods of a length are kept."""
DAYS_SHOWN = 90


class Kind(StrEnum):
    """What a second was."""

    UP = "up"
    SLOW = "slow"
    DOWN = "down"
    MAINTENANCE = "maintenance"


@dataclass(frozen=True, slots=True)
class Tally:
    """Seconds of each kind; what is in none was not measured."""

    up: int = 0
    slow: int = 0
    down: int = 0
    maintenance: int = 0

    @property
    def measured(self) -> int:
        return self.up + self.slow + self.down + self.maintenance

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(
            self.up + other.up,
            self.slow + other.slow,
            self.down + other.down,
            self.maintenance + other.maintenance,
        )


NOTHING = Tally()
Key = tuple[int, int, str]
"""Span, begin of the period as Unix time, part."""


def periods(start: int, end: int, span: int) -> Iterator[tuple[int, int]]:
    """The begin of each period that [start, end) touches, and how many seconds of it."""
    while start < end:
        begin = start - start % span
        until = min(end, begin + span)
        yield begin, until - start
        start = until


class Tallies:
    """Tallies by span, period and part."""

    def __init__(self, found: Mapping[Key, Tally] | None = None) -> None:
        self.of: dict[Key, Tally] = dict(found or {})

    def add(self, part: str, start: int, end: int, kind: Kind) -> None:
        """Seconds [start, end) of one kind."""
        for span in SPANS:
            for begin, seconds in periods(start, end, span):
                key = (span, begin, part)
                self.of[key] = self.of.get(key, NOTHING) + Tally(**{kind.value: seconds})

    def merge(self, other: "Tallies") -> None:
        for key, tally in other.of.items():
            self.of[key] = self.of.get(key, NOTHING) + tally

    def forget(self, now: int) -> None:
        """Periods that are over for so long that nobody keeps them."""
        for key in [key for key in self.of if key[1] + key[0] <= now - KEEP[key[0]]]:
            del self.of[key]

    def days(self, part: str) -> dict[int, Tally]:
        return {begin: tally for (span, begin, name), tally in self.of.items() if (span, name) == (DAY, part)}

    def __bool__(self) -> bool:
        return bool(self.of)


def total(tallies: Iterable[Tally]) -> Tally:
    return sum(tallies, NOTHING)


def uptime(tally: Tally) -> float | None:
    """The share of the measured time in which it worked; announced maintenance does not count."""
    counted = tally.up + tally.slow + tally.down
    return (tally.up + tally.slow) / counted if counted else None


def last_days(now: int, count: int = DAYS_SHOWN) -> list[int]:
    """The begin of each of the last days, today's last."""
    today = now - now % DAY
    return [today - DAY * back for back in range(count - 1, -1, -1)]
