"""What does the preload library cost a program?

At its start, in a program that never opens a database, one that opens an ordinary one, and one that
opens a routed one; and while it runs, a file that is made, renamed and deleted, and a row of a statement.
The other side is the same program, linked to the same libsqlite3, without it; there the routed
database is an ordinary file.
"""

import subprocess
from dataclasses import dataclass
from pathlib import Path

from benchmarks.common import OURS, Figure, Question, Settings, main
from mvsqlite_py._run.plan import LIBRARY

QUESTIONS = [
    Question("preload.nothing", "start, no database", "ms", more_is_better=False),
    Question("preload.other", "start, opens an ordinary database", "ms", more_is_better=False),
    Question("preload.routed", "start, opens a routed database", "ms", more_is_better=False),
    Question("preload.files", "a file made, renamed, deleted", "µs", more_is_better=False),
    Question("preload.steps", "a row of a statement", "ns", more_is_better=False),
]


@dataclass(frozen=True, slots=True)
class Side:
    """With the library or without."""

    name: str


WITH, WITHOUT = Side(OURS.name), Side("no preload")
COLUMNS = (WITH, WITHOUT)


def build(directory: Path) -> Path:
    """The programs, in one file."""
    source = Path(__file__).with_suffix(".c")
    made = directory / "program"
    command = ["gcc", "-std=c11", "-D_GNU_SOURCE", "-O2", str(source), "-o", str(made), "-lsqlite3"]
    subprocess.run(command, check=True)
    return made


def ask(program: Path, side: Side, times: int, *words: str) -> float:
    """What one run of the program prints, or milliseconds of each of several runs."""
    place = program.parent
    settings = [
        f"MVSQLITE_MAP={place}/*.db={{stem}}",
        f"MVSQLITE_STORE=lmdb:{place}/store",
        f"LD_PRELOAD={LIBRARY}",
    ]
    given = settings if side is WITH else [f"HOME={place}"]
    launch = [str(program), "launch", str(times), *given, "--", str(program), *words]
    done = subprocess.run(launch, cwd=place, capture_output=True, text=True, check=True)
    return float(done.stdout.split()[0])


def run(settings: Settings) -> list[Figure]:
    figures = {question.key: Figure(question) for question in QUESTIONS}
    starts = settings.pick(200, 50, 2)
    many = settings.pick(20_000, 5_000, 10)
    with settings.scratch() as place:
        program = build(place)
        for side in COLUMNS:  # both databases are there before they are measured
            ask(program, side, 1, "open", "a.db" if side is WITH else "a.sqlite")
        for round_ in range(settings.rounds):
            for side in COLUMNS[:: 1 if round_ % 2 else -1]:
                database = "a.db" if side is WITH else "a.sqlite"
                values = {
                    "nothing": ask(program, side, starts, "nothing"),
                    "other": ask(program, side, starts, "open", "other.sqlite"),
                    "routed": ask(program, side, starts, "open", database),
                    "files": ask(program, side, 1, "files", str(many)),
                    "steps": ask(program, side, 1, "steps", str(many * 50)),
                }
                for key, value in values.items():
                    figures[f"preload.{key}"].add(side, value)
    return list(figures.values())


if __name__ == "__main__":
    assert __doc__
    main(run, __doc__, COLUMNS)
