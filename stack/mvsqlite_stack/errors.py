"""What can be wrong with a declaration, and the way out."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong."""

    file: Path
    what: str
    remedy: str
    line: int | None = None
    """From 1; None if it concerns no line, as with a file that is not there."""
    key: str = ""
    """Dotted, as ``apps.notes.port``."""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else str(self.file)
        key = f" {self.key}:" if self.key else ""
        return f"{place}:{key} {self.what}. {self.remedy}."


class StackError(Exception):
    """Something prevents a command; ``problems`` has all that was found, in the order of lines."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(sorted(problems, key=lambda one: (str(one.file), one.line or 0)))
        super().__init__("\n".join(map(str, self.problems)))

    def facts(self) -> list[dict[str, Any]]:
        """The problems, for JSON."""
        return [
            {"file": str(one.file), "line": one.line, "key": one.key, "what": one.what, "remedy": one.remedy}
            for one in self.problems
        ]


def fail(file: Path, what: str, remedy: str) -> StackError:
    """A StackError of one problem."""
    return StackError([Problem(file, what, remedy)])
