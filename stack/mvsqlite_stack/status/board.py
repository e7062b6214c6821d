"""What is known now, in memory: states, days, incidents, and what the history does not have yet."""

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from mvsqlite_stack.status.history import Batch, Read
from mvsqlite_stack.status.incidents import Incident, Sort, maintained, new_id
from mvsqlite_stack.status.parts import DETAILS, WORDS, Outcome, Part, State, Tracker
from mvsqlite_stack.status.tally import HOUR, MINUTE, NOTHING, Kind, Tallies, Tally, last_days, total, uptime

log = logging.getLogger("mvsqlite_stack.status")

KEPT_MAX = 20_000
"""Tallies that wait for the store; beyond, minutes are given up, then hours, so that the days stay."""

_KINDS = {State.UP: Kind.UP, State.SLOW: Kind.SLOW, State.DOWN: Kind.DOWN}


@dataclass(frozen=True, slots=True)
class PartNow:
    """One part as it is shown."""

    part: Part
    state: State
    words: str
    maintenance: bool
    since: int | None
    checked: int | None
    outcome: Outcome
    days: tuple[Tally, ...]
    """Of the days shown, today's last."""

    @property
    def uptime(self) -> float | None:
        return uptime(total(self.days))


@dataclass(frozen=True, slots=True)
class Picture:
    """Everything that is shown, at one moment."""

    at: int
    parts: tuple[PartNow, ...]
    incidents: tuple[Incident, ...]
    """Newest first."""
    history: bool
    """Whether it can be read."""

    @property
    def state(self) -> State:
        """The worst of all parts but those that are worked on."""
        states = {one.state for one in self.parts if not one.maintenance} or {State.UNKNOWN}
        order = (State.DOWN, State.SLOW, State.UNKNOWN, State.UP)
        return next((state for state in order if state in states), State.UP)

    @property
    def maintenance(self) -> bool:
        return any(one.sort is Sort.MAINTENANCE and one.is_on(self.at) for one in self.incidents)

    def words(self) -> str:
        """The sentence at the top."""
        down = sum(one.state is State.DOWN and not one.maintenance for one in self.parts)
        if down:
            return "One thing does not work" if down == 1 else f"{down} things do not work"
        said = {
            State.SLOW: "Everything works, not all as well as it should",
            State.UNKNOWN: "Being checked for the first time",
        }
        return said.get(self.state, "Maintenance is under way" if self.maintenance else "Everything works")


class Board:
    """Takes the outcomes of checks; gives pictures, and batches for the history."""

    def __init__(self, parts: Sequence[Part], failures: int, interval: int) -> None:
        self.parts = {part.id: part for part in parts}
        self._gap = interval * 2
        """Seconds without a check that are still taken for measured."""
        self._interval = interval
        self._trackers = {part.id: Tracker(failures) for part in parts}
        self._held: dict[str, list[tuple[int, int]]] = {part.id: [] for part in parts}
        """Times before failed checks, until it is clear whether the part is down."""
        self._fresh = Tallies()
        self._sent: Batch | None = None
        self._days: dict[str, dict[int, Tally]] = {}
        self._incidents: dict[str, Incident] = {}
        self._outages: dict[str, str] = {}
        """The open outage of each part that is down."""
        self._dismissed: set[str] = set()
        """Parts whose outage somebody closed while they were down: not opened again until they are well."""
        self._unwritten: set[str] = set()
        self.history: bool | None = None
        """Whether it can be read; None: not tried yet."""
        self.on_change: Callable[[], None] = lambda: None

    # ---- checks -----------------------------------------------------------------------

    def take(self, part: str, outcome: Outcome, now: int) -> None:
        tracker = self._trackers[part]
        before, was = tracker.checked, tracker.state
        changed = tracker.take(outcome, now)
        if before is not None and before < now:
            start = before if now - before <= self._gap else now - self._interval
            self._held[part].append((start, now))
        if not tracker.in_doubt:
            self._settle(part, tracker)
        if tracker.state is State.DOWN:
            self._open_outage(part, tracker, (tracker.since or now) if changed else now)
        elif tracker.state is not State.UNKNOWN:
            self._close_outage(part, now)
        if changed:
            news = was in (State.SLOW, State.DOWN) or tracker.state in (State.SLOW, State.DOWN)
            said = DETAILS.get(tracker.shown.reason, tracker.shown.reason)
            log.log(logging.WARNING if news else logging.INFO, "%s: %s", part, said)
            self.on_change()

    def _settle(self, part: str, tracker: Tracker) -> None:
        kind = _KINDS.get(tracker.state)
        held, self._held[part] = self._held[part], []
        for start, end in held if kind else ():
            works = maintained(self._incidents.values(), part, end)
            self._fresh.add(part, start, end, Kind.MAINTENANCE if works else kind or Kind.UP)

    def _open_outage(self, part: str, tracker: Tracker, begins: int) -> None:
        known = part in self._outages or part in self._dismissed
        if known or maintained(self._incidents.values(), part, tracker.checked or begins):
            return
        reason = tracker.shown.reason
        title = f"{self.parts[part].title}: {WORDS[reason][:1].lower()}{WORDS[reason][1:]}"
        one = Incident(
            new_id(part, begins), Sort.OUTAGE, (part,), title, begins, detail=DETAILS.get(reason, "")
        )
        self._incidents[one.id] = one
        self._outages[part] = one.id
        self._unwritten.add(one.id)

    def _close_outage(self, part: str, now: int) -> None:
        self._dismissed.discard(part)
        if id := self._outages.pop(part, None):
            self._incidents[id] = self._incidents[id].closed(now)
            self._unwritten.add(id)

    # ---- the history --------------------------------------------------------------------

    def batches(self, now: int) -> list[Batch]:
        """What is to be written. One whose writing was not confirmed is offered again as it was."""
        self._shrink(now)
        if self._sent is None:
            outages = tuple(self._incidents[id] for id in sorted(self._unwritten))
            self._sent = Batch(self._fresh, outages)
            self._fresh, self._unwritten = Tallies(), set()
        return [self._sent]

    def _shrink(self, now: int) -> None:
        self._fresh.forget(now)
        for span in (MINUTE, HOUR):
            if len(self._fresh.of) > KEPT_MAX:
                self._fresh.of = {key: one for key, one in self._fresh.of.items() if key[0] != span}

    def written(self, read: Read, now: int) -> None:
        """The batch is in the history, which says this."""
        self._sent = None
        days: dict[str, dict[int, Tally]] = {}
        for (_, begin, part), tally in read.days.items():
            days.setdefault(part, {})[begin] = tally
        shown = self._shown()
        self._days = days
        self._take_incidents(read.incidents, now)
        if not self.history or shown != self._shown():
            self.history = True
            self.on_change()

    def _take_incidents(self, read: Iterable[Incident], now: int) -> None:
        """Those by hand are as the history says; outages that are not written yet are as we know them."""
        ours = {id: self._incidents[id] for id in self._unwritten}
        self._incidents = {one.id: one for one in read} | ours
        for one in list(self._incidents.values()):
            if one.sort is not Sort.OUTAGE or one.ends is not None or not one.parts:
                continue
            part = one.parts[0]
            tracker = self._trackers.get(part)
            if tracker is None or (tracker.state in (State.UP, State.SLOW) and part not in self._outages):
                self._incidents[one.id] = one.closed(now)  # of another life, or of a part that is gone
                self._unwritten.add(one.id)
            elif self._outages.setdefault(part, one.id) != one.id:
                self._same_outage(one, now)
        for part, id in list(self._outages.items()):
            if id not in self._incidents or self._incidents[id].ends is not None:
                del self._outages[part]
                self._dismissed.add(part)

    def _same_outage(self, older: Incident, now: int) -> None:
        """A part that was down when this process began: one outage, the older."""
        part = older.parts[0]
        ours = self._outages[part]
        if ours in self._incidents and ours in self._unwritten:
            self._unwritten.discard(ours)
            del self._incidents[ours]
            self._outages[part] = older.id
        else:
            self._incidents[older.id] = older.closed(now)
            self._unwritten.add(older.id)

    def unwritten(self) -> None:
        """The history cannot be had."""
        if self.history is not False:
            self.history = False
            self.on_change()

    def _shown(self) -> object:
        return [replace(one, detail="") for one in self._incidents.values()]

    # ---- pictures -----------------------------------------------------------------------

    def picture(self, now: int) -> Picture:
        parts = tuple(self._part_now(part, now) for part in self.parts.values())
        shown = [one for one in self._incidents.values() if not one.parts or set(one.parts) & set(self.parts)]
        newest_first = sorted(shown, key=lambda one: (-one.begins, one.id))
        return Picture(now, parts, tuple(newest_first), self.history is not False)

    def _part_now(self, part: Part, now: int) -> PartNow:
        tracker = self._trackers[part.id]
        return PartNow(
            part,
            tracker.state,
            WORDS[tracker.shown.reason],
            maintained(self._incidents.values(), part.id, now),
            tracker.since,
            tracker.checked,
            tracker.shown,
            self._days_of(part.id, now),
        )

    def _days_of(self, part: str, now: int) -> tuple[Tally, ...]:
        ours = Tallies()
        for one in (self._fresh, *([self._sent.tallies] if self._sent else [])):
            ours.merge(one)
        fresh = ours.days(part)
        known = self._days.get(part, {})
        return tuple(known.get(day, NOTHING) + fresh.get(day, NOTHING) for day in last_days(now))
