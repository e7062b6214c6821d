"""Seconds by minute, hour and day: they add up, whatever comes; and how they are drawn and worded."""

import itertools
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mvsqlite_stack.status import drawing
from mvsqlite_stack.status.tally import (
    DAY,
    DAYS_SHOWN,
    HOUR,
    KEEP,
    MINUTE,
    NOTHING,
    SPANS,
    Kind,
    Tallies,
    Tally,
    last_days,
    periods,
    total,
    uptime,
)
from status_kit import START

moments = st.integers(START - 200 * DAY, START + 200 * DAY)
lengths = st.integers(0, 3 * DAY)
short = st.integers(0, 3 * HOUR)
pieces = st.lists(st.tuples(moments, short, st.sampled_from(Kind), st.sampled_from("ab")), max_size=5)
quick = settings(max_examples=40, deadline=None)
tallies = st.builds(Tally, *[st.integers(0, DAY)] * 4)


def added(found: list[tuple[int, int, Kind, str]]) -> Tallies:
    made = Tallies()
    for start, length, kind, part in found:
        made.add(part, start, start + length, kind)
    return made


@quick
@given(moments, lengths, st.sampled_from(SPANS))
def test_periods_cover_a_time_without_gap_or_overlap(start: int, length: int, span: int) -> None:
    found = list(periods(start, start + length, span))
    assert sum(seconds for _, seconds in found) == length
    assert all(begin % span == 0 and 0 < seconds <= span for begin, seconds in found)
    assert [begin for begin, _ in found] == sorted({begin for begin, _ in found})


@quick
@given(pieces)
def test_minutes_hours_and_days_say_the_same(found: list[tuple[int, int, Kind, str]]) -> None:
    made = added(found)
    for part in "ab":
        sums = {
            span: total(t for (s, _, p), t in made.of.items() if (s, p) == (span, part)) for span in SPANS
        }
        assert sums[MINUTE] == sums[HOUR] == sums[DAY]
        assert sums[DAY].measured == sum(length for _, length, _, name in found if name == part)


@quick
@given(pieces, pieces)
def test_what_is_merged_is_what_was_added_together(
    one: list[tuple[int, int, Kind, str]], other: list[tuple[int, int, Kind, str]]
) -> None:
    merged = added(one)
    merged.merge(added(other))
    assert merged.of == added(one + other).of


@quick
@given(pieces, moments)
def test_what_nobody_keeps_is_forgotten_and_no_more(
    found: list[tuple[int, int, Kind, str]], now: int
) -> None:
    made, whole = added(found), added(found)
    made.forget(now)
    for key, tally in whole.of.items():
        span, begin, _ = key
        assert (key in made.of) == (begin + span > now - KEEP[span])
        assert made.of.get(key, tally) == tally


@quick
@given(st.lists(tallies, max_size=5))
def test_uptime_is_a_share_and_counts_no_maintenance(found: list[Tally]) -> None:
    whole = total(found)
    share = uptime(whole)
    if whole.up + whole.slow + whole.down == 0:
        assert share is None
        return
    assert share is not None
    assert 0 <= share <= 1
    assert (share == 1) == (whole.down == 0)
    more = whole + Tally(maintenance=DAY)
    assert uptime(more) == share


@quick
@given(tallies)
def test_only_a_perfect_share_is_called_so(found: Tally) -> None:
    share, said = uptime(found), drawing.percent(uptime(found))
    assert (said == "100 %") == (share is not None and found.down == 0)


@pytest.mark.parametrize(
    ("share", "said"),
    [
        (None, "not measured yet"),
        (1.0, "100 %"),
        (0.999999, "99.99 %"),
        (0.9995, "99.95 %"),
        (0.5, "50.0 %"),
        (0.0, "0.0 %"),
    ],
)
def test_shares_are_rounded_down(share: float | None, said: str) -> None:
    assert drawing.percent(share) == said


def test_a_day_is_one_of_utc_whatever_the_clocks_of_people_do() -> None:
    days = last_days(START + 5)
    assert (len(days), days[-1]) == (DAYS_SHOWN, START)
    assert {after - before for before, after in itertools.pairwise(days)} == {DAY}


@quick
@given(st.lists(tallies, min_size=DAYS_SHOWN, max_size=DAYS_SHOWN), st.integers(0, DAY - 1))
def test_every_day_is_drawn_once_and_unmeasured_time_is_ground(found: list[Tally], second: int) -> None:
    now = START + second
    drawn = drawing.bars(found, now)
    colours = [drawn.up, drawn.work, *(one.path for one in drawn.troubles)]
    places = [int(x) for path in colours for x in re.findall(r"M(\d+) ", path)]
    assert sorted(places) == [i * drawing.STEP for i, one in enumerate(found) if one.measured]
    ground = {int(x) // drawing.STEP for x in re.findall(r"M(\d+) ", drawn.ground)}
    assert {i for i, one in enumerate(found) if not one.measured} <= ground
    for i, one in enumerate(found[:-1]):
        assert (i in ground) == (one.measured < drawing.WHOLE * DAY)


@pytest.mark.parametrize(
    ("tally", "level"),
    [
        (Tally(up=DAY), "up"),
        (Tally(up=DAY - 60, down=60), "slow"),
        (Tally(up=DAY - 7200, down=7200), "down"),
        (Tally(up=60, down=60), "down"),
        (Tally(up=DAY // 2, slow=DAY // 2), "slow"),
        (Tally(maintenance=DAY), "work"),
        (Tally(up=DAY, slow=1), "up"),
    ],
)
def test_the_colour_of_a_day(tally: Tally, level: str) -> None:
    assert drawing.level(tally) == level


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"),
        (99, "99 s"),
        (840, "14 min"),
        (7200, "2 h"),
        (7500, "2 h 5 min"),
        (40 * HOUR, "40 h"),
        (9 * DAY, "9 days"),
    ],
)
def test_durations(seconds: int, words: str) -> None:
    assert drawing.duration(seconds) == words


def test_nothing_is_nothing() -> None:
    assert NOTHING.measured == 0
    assert not Tallies()
