"""From checks to states, incidents and days, with a clock of our own and no store."""

import pytest

from mvsqlite_stack.status.board import KEPT_MAX, Board
from mvsqlite_stack.status.history import Read
from mvsqlite_stack.status.incidents import Incident, Note, Sort
from mvsqlite_stack.status.parts import DETAILS, WORDS, Outcome, Part, Reason, State, Tracker
from mvsqlite_stack.status.tally import DAY, MINUTE, Tally, total
from status_kit import START, Clock

STEP = 30
GOOD, BAD, SLOW = Outcome(Reason.GOOD), Outcome(Reason.ERROR), Outcome(Reason.SLOW)
EMPTY = Read({}, ())


class Bench:
    """A board with one part, checked every 30 seconds."""

    def __init__(self, failures: int = 2) -> None:
        self.clock = Clock()
        self.board = Board([Part("a", "Notebook"), Part("b", "Wiki")], failures, STEP)
        self.changes = 0
        self.board.on_change = self._count

    def _count(self) -> None:
        self.changes += 1

    def take(self, *outcomes: Outcome, part: str = "a") -> "Bench":
        for outcome in outcomes:
            self.board.take(part, outcome, self.clock.go(STEP))
        return self

    @property
    def now(self) -> int:
        return int(self.clock())

    def state(self) -> State:
        return self.board.picture(self.now).parts[0].state

    def today(self) -> Tally:
        return self.board.picture(self.now).parts[0].days[-1]

    def incidents(self) -> tuple[Incident, ...]:
        return self.board.picture(self.now).incidents


def states(outcomes: list[Outcome], failures: int = 2) -> list[State]:
    tracker = Tracker(failures)
    found = []
    for i, outcome in enumerate(outcomes):
        tracker.take(outcome, START + i * STEP)
        found.append(tracker.state)
    return found


UNKNOWN, UP, DOWN, LATE = State.UNKNOWN, State.UP, State.DOWN, State.SLOW


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [
        ([GOOD, GOOD], [UP, UP]),
        ([BAD, BAD], [UNKNOWN, DOWN]),
        ([GOOD, BAD, GOOD, BAD, GOOD], [UP] * 5),
        ([GOOD, BAD, BAD, GOOD], [UP, UP, DOWN, UP]),
        ([GOOD, SLOW, SLOW, SLOW, GOOD], [UP, UP, LATE, LATE, UP]),
        ([GOOD, SLOW, BAD, GOOD], [UP, UP, DOWN, UP]),
        ([GOOD, BAD, BAD, SLOW], [UP, UP, DOWN, LATE]),
        ([GOOD, Outcome(Reason.OPEN)], [UP, DOWN]),
        ([GOOD, Outcome(Reason.EXPIRED)], [UP, DOWN]),
        ([Outcome(Reason.ABSENT), GOOD, Outcome(Reason.ABSENT)], [State.ABSENT, UP, State.ABSENT]),
    ],
)
def test_states(outcomes: list[Outcome], expected: list[State]) -> None:
    assert states(outcomes) == expected


def test_how_many_failures_it_takes_is_a_setting() -> None:
    assert states([GOOD, BAD], failures=1) == [UP, DOWN]
    assert states([GOOD, BAD, BAD, BAD], failures=3) == [UP, UP, UP, DOWN]


def test_every_reason_has_public_words() -> None:
    assert WORDS.keys() == set(Reason)
    assert all(Outcome(reason).state in State for reason in Reason)


def test_what_strangers_are_told_does_not_say_where_to_try() -> None:
    bench = Bench().take(GOOD, Outcome(Reason.OPEN))
    (incident,) = bench.incidents()
    assert "open" not in incident.title
    assert incident.detail == DETAILS[Reason.OPEN]


def test_an_outage_begins_with_the_first_failure_and_ends_with_the_first_success() -> None:
    bench = Bench().take(GOOD, GOOD)
    first = bench.now + STEP
    bench.take(BAD, BAD, BAD)
    (open_one,) = bench.incidents()
    assert (open_one.begins, open_one.ends, open_one.parts) == (first, None, ("a",))
    assert open_one.title == "Notebook: answers with an error"
    bench.take(GOOD)
    (over,) = bench.incidents()
    assert (over.id, over.ends) == (open_one.id, bench.now)
    bench.take(BAD, BAD)
    assert len(bench.incidents()) == 2


def test_a_failure_that_was_none_is_no_downtime_and_a_real_one_counts_from_its_beginning() -> None:
    bench = Bench().take(GOOD, BAD, GOOD)
    assert bench.today() == Tally(up=2 * STEP)
    bench = Bench().take(GOOD, GOOD, BAD)
    assert bench.today() == Tally(up=STEP)  # not clear yet
    bench.take(BAD)
    assert bench.today() == Tally(up=STEP, down=2 * STEP)


def test_time_without_checks_is_not_measured() -> None:
    bench = Bench().take(GOOD, GOOD)
    bench.clock.go(6 * 3600)
    bench.take(GOOD)
    assert bench.today() == Tally(up=2 * STEP)


def test_a_clock_that_goes_back_takes_nothing_away() -> None:
    bench = Bench().take(GOOD, GOOD)
    bench.clock.go(-3600)
    bench.take(GOOD, GOOD)
    measured = total(bench.board.picture(START).parts[0].days)
    assert measured == Tally(up=2 * STEP)


def test_what_is_unknown_or_absent_counts_as_nothing() -> None:
    bench = Bench().take(BAD, Outcome(Reason.ABSENT), Outcome(Reason.ABSENT))
    assert bench.today().measured == 0


def test_maintenance_is_no_outage_and_one_that_lasts_longer_is() -> None:
    bench = Bench().take(GOOD)
    plan = Incident("m", Sort.MAINTENANCE, ("a",), "A larger disk", bench.now, bench.now + 5 * STEP)
    bench.board.batches(bench.now)
    bench.board.written(Read({}, (plan,)), bench.now)
    bench.take(BAD, BAD, BAD)
    assert [one.id for one in bench.incidents()] == ["m"]
    assert bench.today() == Tally(maintenance=3 * STEP)
    picture = bench.board.picture(bench.now)
    assert (picture.state, picture.words()) == (State.UNKNOWN, "Being checked for the first time")
    bench.take(BAD, BAD, BAD)
    assert [one.sort for one in bench.incidents()] == [Sort.OUTAGE, Sort.MAINTENANCE]


def test_the_sentence_at_the_top() -> None:
    bench = Bench()
    assert bench.board.picture(START).words() == "Being checked for the first time"
    bench.take(GOOD).take(GOOD, part="b")
    assert bench.board.picture(START).words() == "Everything works"
    bench.take(SLOW, SLOW)
    assert bench.board.picture(START).words().startswith("Everything works, not all")
    bench.take(BAD, BAD)
    assert bench.board.picture(START).words() == "One thing does not work"
    bench.take(BAD, BAD, part="b")
    assert bench.board.picture(START).words() == "2 things do not work"


# ---- the history ------------------------------------------------------------------------


def test_without_the_store_all_is_kept_and_written_afterwards() -> None:
    bench = Bench().take(GOOD, GOOD)
    first = bench.board.batches(bench.now)
    bench.board.unwritten()
    assert bench.board.picture(bench.now).history is False
    bench.take(BAD, BAD, GOOD)
    again = bench.board.batches(bench.now)
    assert [one.id for one in again] == [one.id for one in first], "the same, for it may have come through"
    assert bench.today() == Tally(up=2 * STEP, down=2 * STEP)
    bench.board.written(Read(dict(first[0].tallies.of), ()), bench.now)
    assert bench.board.picture(bench.now).history is True
    (rest,) = bench.board.batches(bench.now)
    assert rest.id != first[0].id
    assert rest.tallies.days("a") == {START: Tally(up=STEP, down=2 * STEP)}
    assert [one.ends for one in rest.outages] == [bench.now]
    assert bench.today().measured == 4 * STEP, "what is on its way is shown once"


def test_what_waits_for_the_store_is_bounded_and_days_are_kept() -> None:
    bench = Bench().take(GOOD)
    bench.board.batches(bench.now)
    bench.board.unwritten()
    many = KEPT_MAX + 10
    for i in range(many):
        bench.board._fresh.of[MINUTE, START + i * MINUTE, "b"] = Tally(up=MINUTE)
    bench.board._fresh.of[DAY, START, "b"] = Tally(up=many)
    bench.board.batches(START)
    assert bench.board._fresh.of == {(DAY, START, "b"): Tally(up=many)}


def outage(id: str, begins: int, ends: int | None = None) -> Incident:
    return Incident(id, Sort.OUTAGE, ("a",), "Notebook: answers with an error", begins, ends)


def test_a_new_process_goes_on_with_the_outage_of_the_one_before() -> None:
    bench = Bench()
    bench.board.batches(bench.now)
    bench.board.written(Read({}, (outage("old", START - 600),)), bench.now)
    bench.take(BAD, BAD)
    assert [(one.id, one.ends) for one in bench.incidents()] == [("old", None)]
    bench.take(GOOD)
    assert [(one.id, one.ends) for one in bench.incidents()] == [("old", bench.now)]


def test_a_store_that_comes_late_has_the_older_outage() -> None:
    bench = Bench()
    bench.board.unwritten()
    bench.take(BAD, BAD)
    bench.board.batches(bench.now)
    own = bench.incidents()[0]
    both = (outage("old", START - 600), own)
    bench.board.written(Read({}, both), bench.now)
    assert [one.id for one in bench.incidents() if one.ends is None] in (["old"], [own.id])
    bench.take(GOOD)
    assert [one.id for one in bench.incidents() if one.ends is None] == []


def test_an_outage_of_another_life_is_closed_when_all_is_well() -> None:
    bench = Bench().take(GOOD, GOOD)
    bench.board.batches(bench.now)
    bench.board.written(Read({}, (outage("old", START - 600),)), bench.now)
    assert bench.incidents()[0].ends == bench.now
    (batch,) = bench.board.batches(bench.now)
    assert [one.id for one in batch.outages] == ["old"]


def test_an_outage_closed_by_hand_stays_closed_until_the_part_is_well() -> None:
    bench = Bench().take(GOOD, BAD, BAD)
    (batch,) = bench.board.batches(bench.now)
    closed = batch.outages[0].closed(bench.now)
    bench.board.written(Read({}, (closed,)), bench.now)
    bench.take(BAD, BAD)
    assert [one.ends is None for one in bench.incidents()] == [False]
    bench.take(GOOD, BAD, BAD)
    assert [one.ends is None for one in bench.incidents()] == [True, False]


def test_changes_are_told_once() -> None:
    bench = Bench().take(GOOD)
    bench.board.batches(bench.now)
    bench.board.written(EMPTY, bench.now)
    before = bench.changes
    bench.take(GOOD, GOOD, BAD, GOOD)
    assert bench.changes == before
    bench.take(BAD, BAD, BAD)
    assert bench.changes == before + 1
    (batch,) = bench.board.batches(bench.now)
    told = Incident("n", Sort.NOTICE, (), "Told by hand", START, notes=(Note(START, "a line"),))
    bench.board.written(Read({}, (told, *batch.outages)), bench.now)
    assert bench.changes == before + 2
