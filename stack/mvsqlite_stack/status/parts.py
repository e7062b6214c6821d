"""What is watched, how a check can end, and how checks become a state."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal


class State(StrEnum):
    """How a part is."""

    UNKNOWN = "unknown"
    """Not known yet."""
    ABSENT = "absent"
    """Not set up."""
    UP = "up"
    SLOW = "slow"
    """It works, and is worse than it should be."""
    DOWN = "down"


class Reason(StrEnum):
    """How a check ended. The words beside it are all that a stranger is told."""

    UNKNOWN = "unknown"
    ABSENT = "absent"
    GOOD = "good"
    SLOW = "slow"
    SOON = "soon"
    LATE = "late"
    LAGS = "lags"
    FAILED = "failed"
    TIMEOUT = "timeout"
    UNREACHABLE = "unreachable"
    ERROR = "error"
    CERTIFICATE = "certificate"
    EXPIRED = "expired"
    FULL = "full"
    OPEN = "open"
    """A private app answers whoever asks."""


WORDS = {
    Reason.UNKNOWN: "Not checked yet",
    Reason.ABSENT: "Not set up",
    Reason.GOOD: "Works",
    Reason.SLOW: "Answers slowly",
    Reason.SOON: "Must be renewed soon",
    Reason.LATE: "Overdue",
    Reason.LAGS: "Lags behind",
    Reason.FAILED: "Failed",
    Reason.TIMEOUT: "Does not answer in time",
    Reason.UNREACHABLE: "Cannot be reached",
    Reason.ERROR: "Answers with an error",
    Reason.CERTIFICATE: "Has a certificate that cannot be trusted",
    Reason.EXPIRED: "Has a certificate that has expired",
    Reason.FULL: "Is full",
    # Whoever could make use of it is not told where to try.
    Reason.OPEN: "Is not as it should be",
}
DETAILS = {Reason.OPEN: "open although private: it answers visitors without a session"}
"""For the administrator alone: the log and ``mvstack status incident list``."""

_STATES = {
    Reason.UNKNOWN: State.UNKNOWN,
    Reason.ABSENT: State.ABSENT,
    Reason.GOOD: State.UP,
    Reason.SLOW: State.SLOW,
    Reason.SOON: State.SLOW,
    Reason.LATE: State.SLOW,
    Reason.LAGS: State.SLOW,
}
AT_ONCE = frozenset({Reason.OPEN, Reason.EXPIRED, Reason.FULL})
"""No accident of one moment: not waited for a second time."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one check ended."""

    reason: Reason
    seconds: float | None = None
    """How long the answer took."""
    value: float | None = None
    """What was measured, in the unit of the part: days left, seconds of age or lag."""

    @property
    def state(self) -> State:
        return _STATES.get(self.reason, State.DOWN)


Group = Literal["services", "data"]


@dataclass(frozen=True, slots=True)
class Part:
    """One line of the page."""

    id: str
    title: str
    group: Group = "services"


@dataclass(slots=True)
class Tracker:
    """The state of one part. It changes for the worse only after several checks in a row."""

    failures: int
    state: State = State.UNKNOWN
    since: int | None = None
    """Unix time; since when the state is what it is."""
    last: Outcome = field(default_factory=lambda: Outcome(Reason.UNKNOWN))
    shown: Outcome = field(default_factory=lambda: Outcome(Reason.UNKNOWN))
    """The newest outcome that agrees with the state."""
    checked: int | None = None
    worse: int = 0
    """Checks in a row that were worse than the state."""
    first_worse: int | None = None

    @property
    def in_doubt(self) -> bool:
        """Whether the newest check was worse than the state says."""
        return self.worse > 0

    def take(self, outcome: Outcome, now: int) -> bool:
        """Notes a check; whether the state changed."""
        self.last, self.checked = outcome, now
        if not self._is_worse(outcome.state):
            self.worse, self.first_worse = 0, None
            return self._become(outcome, now)
        self.worse += 1
        self.first_worse = now if self.first_worse is None else self.first_worse
        if self.worse < self.failures and outcome.reason not in AT_ONCE:
            return False
        began, self.worse, self.first_worse = self.first_worse, 0, None
        return self._become(outcome, began)

    def _is_worse(self, state: State) -> bool:
        if state is State.DOWN:
            return self.state is not State.DOWN
        return state is State.SLOW and self.state in (State.UP, State.ABSENT)

    def _become(self, outcome: Outcome, since: int) -> bool:
        self.shown = outcome
        if outcome.state is self.state:
            return False
        self.state, self.since = outcome.state, since
        return True
