"""Ninety days as a drawing: a bar for each, as high as the day was measured, coloured by its worst."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from mvsqlite_stack.status.tally import DAY, HOUR, MINUTE, Tally, last_days

STEP, WIDTH, HEIGHT = 4, 3, 30
WHOLE = 0.97
"""A day that was measured so far is drawn whole: a restart is no gap to look at."""
DOWN_SECONDS = HOUR
"""A day with so much down is drawn as bad, whatever the rest was."""
DOWN_SHARE = 0.05
SLOW_SHARE = 0.02


@dataclass(frozen=True, slots=True)
class Trouble:
    """A day that was not well."""

    path: str
    level: str
    words: str


@dataclass(frozen=True, slots=True)
class Bars:
    """Paths of an SVG."""

    width: int
    height: int
    ground: str
    """The days behind, for what was not measured."""
    up: str
    work: str
    troubles: tuple[Trouble, ...]


def level(tally: Tally) -> str:
    """The class of a day in which something was measured."""
    if tally.down:
        bad = tally.down >= DOWN_SECONDS or tally.down >= DOWN_SHARE * tally.measured
        return "down" if bad else "slow"
    if tally.slow > SLOW_SHARE * tally.measured:
        return "slow"
    return "work" if tally.maintenance * 2 > tally.measured else "up"


def duration(seconds: float) -> str:
    """As ``2 h 5 min``, ``3 days``."""
    minutes = round(seconds / MINUTE)
    if seconds < 100:
        return f"{round(seconds)} s"
    if minutes < 100:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return (
            f"{minutes // 60} h {minutes % 60} min"
            if minutes % 60 and minutes < 600
            else f"{minutes // 60} h"
        )
    return f"{round(seconds / DAY)} days"


def short_day(at: int) -> str:
    found = datetime.fromtimestamp(at, UTC)
    return f"{found.day} {found:%b}"


def bars(days: Sequence[Tally], now: int) -> Bars:
    paths: dict[str, list[str]] = {"ground": [], "up": [], "work": []}
    troubles = []
    for i, (at, tally) in enumerate(zip(last_days(now, len(days)), days, strict=True)):
        share = tally.measured / max(1, min(DAY, now - at)) if tally.measured else 0.0
        if share < WHOLE:
            paths["ground"].append(_bar(i, HEIGHT))
        if not tally.measured:
            continue
        path, kind = _bar(i, max(2, round(HEIGHT * min(1.0, share / WHOLE)))), level(tally)
        if kind in paths:
            paths[kind].append(path)
        else:
            troubles.append(Trouble(path, kind, f"{short_day(at)}: {_words(tally)}"))
    drawn = {name: "".join(path) for name, path in paths.items()}
    width = STEP * len(days) - (STEP - WIDTH)
    return Bars(width, HEIGHT, drawn["ground"], drawn["up"], drawn["work"], tuple(troubles))


def _bar(i: int, height: int) -> str:
    return f"M{i * STEP} {HEIGHT - height}h{WIDTH}v{height}h-{WIDTH}z"


def _words(tally: Tally) -> str:
    said = [("down", tally.down), ("slow", tally.slow), ("maintenance", tally.maintenance)]
    return ", ".join(f"{duration(seconds)} {word}" for word, seconds in said if seconds)


def percent(share: float | None) -> str:
    """Never 100 % unless nothing at all was amiss."""
    if share is None:
        return "not measured yet"
    if share >= 1:
        return "100 %"
    return f"{int(share * 10_000) / 100:.2f} %" if share > 0.99 else f"{int(share * 1000) / 10:.1f} %"
