"""Kills processes that write to a store, and checks it: ``torture.py MODE URL DIRECTORY SECONDS SEED``.

``random`` kills several writers at random moments, alone and all at once. ``steps`` kills one
at each call it makes to the engine, ``calls`` after each system call by which the engine
writes (with die_after.c preloaded), while a bystander has the store open: what the processes
share must outlive the one that dies. This process opens no store, so that the processes it
forks start clean; it prints what it did as JSON, and ends with 1 if something was wrong.
"""

import json
import os
import random
import select
import signal
import sys
import time
from collections import Counter
from functools import partial
from pathlib import Path

import checker
import mvsqlite_py
from writer import CALL, Writer, die_at, in_child, prepare

WRITERS = 4
ROUNDS = 25
"""Kills of one store before another one is taken: the longer its history, the longer a check."""
WORK_SECONDS = 3
ANY, UNKNOWN_DONE = 0, 7
STEPS = [
    ("small", ANY), ("small", UNKNOWN_DONE), ("two", ANY), ("two", UNKNOWN_DONE), ("revert", ANY),
    ("rolled_back", ANY), ("vacuum", ANY), ("large", ANY), ("large", UNKNOWN_DONE), ("two_large", ANY),
]  # fmt: skip
CALLS = [(step, CALL) for step in ("small", "two", "revert", "large", "two_large")]
LONG = {"large", "two_large", "rolled_back", "vacuum"}


class Campaign:
    """One store, its acknowledgements, and what became of it."""

    def __init__(self, url: str, directory: Path, tally: Counter[str]) -> None:
        self.url, self.directory, self.tally = url, directory, tally
        self.acknowledged = directory / "acknowledged"
        self.acknowledged.mkdir(parents=True)
        self.errors = directory / "errors"
        self.errors.mkdir()
        self.turn = self.bystander = 0
        self.must_end_well(in_child(lambda: prepare(self.url), self.errors / "prepare"), "prepare")

    def start_bystander(self) -> None:
        """A process that keeps the store open until the campaign is over or this process ends."""
        end, self.bystander_end = os.pipe()
        ready, is_ready = os.pipe()
        stay = lambda: keep_open(self.url, is_ready, end, self.bystander_end)  # noqa: E731
        self.bystander = in_child(stay, self.errors / "bystander")
        os.close(end)
        os.close(is_ready)
        os.read(ready, 1)
        os.close(ready)

    def must_end_well(self, child: int, what: str) -> None:
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if code != 0:
            file = self.errors / what
            self.fail(f"{what} ended with {code}: {file.read_text() if file.exists() else ''}")

    def fail(self, why: str) -> None:
        print(f"{self.directory}, turn {self.turn}: {why}", file=sys.stderr)
        raise SystemExit(1)

    def check(self) -> None:
        seen, problems = self.directory / "seen", self.directory / "problems"
        what = f"check-{self.turn}"
        self.must_end_well(
            in_child(
                lambda: checker.check(self.url, self.acknowledged, seen, problems, self.turn),
                self.errors / what,
            ),
            what,
        )
        self.tally["rounds"] += 1
        if problems.read_text():
            self.fail(problems.read_text())

    def close(self) -> None:
        if self.bystander:
            os.close(self.bystander_end)
            self.must_end_well(self.bystander, "bystander")
        seen = json.loads((self.directory / "seen").read_text())
        self.tally["versions checked"] += seen["versions"]
        self.tally["commits acknowledged"] += seen["acknowledged"]

    # ---- random moments ------------------------------------------------------------

    def start(self, number: int) -> int:
        mark = f"{self.turn}-{number}"
        writer = lambda: Writer(self.url, self.acknowledged / mark, mark).forever()  # noqa: E731
        return in_child(writer, self.errors / mark)

    def wait_for_work(self, children: int) -> None:
        """Until each has committed something, or for as long as that takes on a slow machine at most."""
        files = [self.acknowledged / f"{self.turn}-{number}" for number in range(children)]
        until = time.monotonic() + WORK_SECONDS
        while time.monotonic() < until and not all(f.exists() and f.stat().st_size for f in files):
            pause(0.005)

    def kill(self, child: int) -> None:
        os.kill(child, signal.SIGKILL)
        self.tally["kills"] += 1

    def random_kills(self, chance: random.Random) -> None:
        """All at once, or one after the other while the rest goes on."""
        self.turn += 1
        children = [self.start(i) for i in range(chance.randrange(1, WRITERS + 1))]
        if chance.random() < 0.8:
            self.wait_for_work(len(children))
        pause(chance.uniform(0.01, 0.12))
        together = chance.random() < 0.5
        for child in children:
            self.kill(child)
            if not together:
                pause(chance.uniform(0, 0.04))
        for number, child in enumerate(children):
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            if code != -signal.SIGKILL:
                file = self.errors / f"{self.turn}-{number}"
                self.fail(f"a writer ended with {code}: {file.read_text() if file.exists() else ''}")
        self.check()

    # ---- each step --------------------------------------------------------------------

    def kill_at(self, step: str, kind: int, nth: int) -> bool:
        """Whether the process got so far as to be killed."""
        self.turn += 1
        mark = f"{step}-{self.turn}"
        work = lambda: die_at(  # noqa: E731
            f"fault:{self.url}", self.acknowledged / mark, mark, step, kind, nth
        )
        child = in_child(work, self.errors / mark)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if code not in (0, -signal.SIGKILL):
            self.fail(f"{mark} ended with {code}: {(self.errors / mark).read_text()}")
        self.tally["kills"] += code != 0
        self.check()
        return code != 0


def keep_open(url: str, is_ready: int, end: int, other: int) -> None:
    """Keeps the store open until all have closed the other end of the pipe."""
    os.close(other)
    with mvsqlite_py.open_store(url):
        os.write(is_ready, b"!")
        os.read(end, 1)


def pause(seconds: float) -> None:
    select.select([], [], [], seconds)


def run_random(url: str, directory: Path, until: float, seed: str, tally: Counter[str]) -> None:
    chance = random.Random(seed)
    for number in range(1 << 30):
        campaign = Campaign(f"{url}-{number}-", directory / str(number), tally)
        for _ in range(ROUNDS):
            campaign.random_kills(chance)
            if time.monotonic() > until:
                campaign.close()
                return
        campaign.close()


def run_steps(
    steps: list[tuple[str, int]], url: str, directory: Path, until: float, seed: str, tally: Counter[str]
) -> None:
    """Every call of the short operations; of the long ones as many as there is time for, spread out."""
    chance = random.Random(seed)

    def begin(name: str) -> Campaign:
        campaign = Campaign(f"{url}-{name}-", directory / name, tally)
        campaign.start_bystander()
        return campaign

    for number, (step, kind) in enumerate(steps):
        left = max(until - time.monotonic(), 0) / (len(steps) - number)
        stride = 1 if step not in LONG else chance.randrange(1, 8) if left > 30 else 11
        if "fdb:" in url and left < 30:
            stride *= 4  # a process that opens a cluster takes a while
        campaign = begin(str(number))
        nth = chance.randrange(1, stride + 1)
        while campaign.kill_at(step, kind, nth):
            nth += stride
            if campaign.turn % (4 * ROUNDS) == 0:
                campaign.close()
                campaign = begin(f"{number}-{nth}")
        campaign.close()


def main(mode: str, url: str, directory: str, seconds: str, seed: str) -> None:
    tally: Counter[str] = Counter()
    run = {"random": run_random, "steps": partial(run_steps, STEPS), "calls": partial(run_steps, CALLS)}[mode]
    run(url, Path(directory), time.monotonic() + float(seconds), seed, tally)
    print(json.dumps(tally))


if __name__ == "__main__":
    main(*sys.argv[1:])
