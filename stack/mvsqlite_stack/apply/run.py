"""The way of a deployment: all hosts are looked at and checked before any is changed."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from mvsqlite_stack.apply import found as looking
from mvsqlite_stack.apply import perform
from mvsqlite_stack.apply.decide import Checks, Decision, decide, demand
from mvsqlite_stack.apply.machines import Reached, ScriptError, reach
from mvsqlite_stack.apply.wanted import Wanted
from mvsqlite_stack.errors import Problem, StackError, fail
from mvsqlite_stack.model import Stack

REMEDY = "Mend that, and say mvstack apply again"


@dataclass
class Target:
    """One host: what it is to be, how it is reached, what is to be done."""

    wanted: Wanted
    reached: Reached
    decision: Decision


@dataclass
class Outcome:
    """What came of a host."""

    host: str
    failed: list[str] = field(default_factory=list)
    """Lines that say what does not work now."""
    invitations: dict[str, str] = field(default_factory=dict)
    """Links by user."""
    missing: list[str] = field(default_factory=list)
    """Accounts that are declared no longer."""


@contextmanager
def looked_at(
    stack: Stack, wanted: Sequence[Wanted], file: Path, *, replace_service_secret: bool = False
) -> Iterator[list[Target]]:
    """Connects to hosts and decides for each. Raises StackError with everything that stands in the way."""
    text = file.read_text()
    checks = Checks(file, text, replace_service_secret=replace_service_secret)
    targets, problems = [], []
    with ExitStack() as open_:
        for one in wanted:
            try:
                reached = reach(one.host, stack.hosts[one.host], file, text)
                open_.callback(reached.close)
                found = looking.parse(_script(reached, looking.script(one), "looked at"))
                problems += checks.problems(one, found)
                targets.append(Target(one, reached, decide(one, found)))
            except StackError as error:
                problems += error.problems
        demand(problems)
        yield targets


def _script(reached: Reached, script: str, done: str) -> list[str]:
    try:
        return reached.run(script)
    except ScriptError as error:
        raise fail(Path(reached.name), f"it cannot be {done}: {error}", REMEDY) from error


def carry_out(target: Target, told: Callable[[str], None]) -> None:
    """Does what was decided for a host. Raises StackError; what ran before then runs still, unless units
    were being started."""
    wanted, decision, reached = target.wanted, target.decision, target.reached
    if not decision.changes:
        return
    parcel = perform.Parcel()
    first = perform.prepare(wanted, decision, parcel)
    second = perform.install(wanted, decision, parcel)
    try:
        with reached.staging() as place:
            reached.send(parcel.packed(), f"{place}/{perform.PARCEL}")
            told(f"{wanted.host}: packages, users, programs")
            reached.run(f"cd {place}\n{first}")
            told(f"{wanted.host}: files, units")
            reached.run(f"cd {place}\n{second}")
    except ScriptError as error:
        problem = Problem(Path(wanted.host), f"it was not set up: {error}", REMEDY)
        raise StackError([problem]) from error


def see(target: Target, stack: Stack) -> Outcome:
    """Whether everything runs, and the household's users can sign in."""
    wanted, reached = target.wanted, target.reached
    outcome = Outcome(wanted.host)
    if wanted.units:
        done, out, err = reached.tell(perform.look(wanted, target.decision))
        if not done:
            outcome.failed += [line.removeprefix(perform.FAILED) for line in out or err]
            return outcome
    if wanted.gateway is None:
        return outcome
    address = {"0.0.0.0": "127.0.0.1", "[::]": "::1"}.get(stack.ports.listen[0], stack.ports.listen[0])
    asked = perform.answer(wanted, address.strip("[]"), stack.ports.https, stack.sign_in_host)
    done, out, err = reached.tell(asked)
    if not done:
        outcome.failed += err or out
        units = f"mvstack-{wanted.gateway}.service mvstack-signin.service"
        outcome.failed += reached.tell(perform.journal(units))[1]
        return outcome
    if target.decision.of("account"):
        _sync(target, outcome)
    return outcome


def _sync(target: Target, outcome: Outcome) -> None:
    done, out, err = target.reached.tell(perform.sync(target.wanted))
    if not done:
        outcome.failed += err or out
        return
    said = json.loads("\n".join(out))
    outcome.invitations = said["invitations"]
    outcome.missing = said["missing"]
