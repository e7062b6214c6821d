"""How changes are told to people and to programs."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from rich.text import Text

from mvsqlite_stack.apply.decide import Change, Decision
from mvsqlite_stack.commands.common import console

STYLES = {"+": "green", "-": "red", "@": "cyan"}
DONE = {
    "add": "added",
    "change": "changed",
    "remove": "removed",
    "enable": "enabled",
    "start": "started",
    "restart": "restarted",
    "reload": "reloaded",
    "stop": "stopped",
}
KINDS = {"user": "system user", "account": "account of", "secret": "secret", "program": "programs in"}


def difference(lines: Iterable[str]) -> None:
    """Lines of a unified difference, in colours where there are any."""
    out = console()
    for line in lines:
        out.print(Text(line, STYLES.get(line[:1], "")))


def facts(decisions: Sequence[Decision]) -> list[dict[str, Any]]:
    """The changes, for JSON."""
    return [
        {
            "host": decision.host,
            "kind": one.kind,
            "name": one.name,
            "action": one.action,
            "difference": one.difference(),
        }
        for decision in decisions
        for one in decision.changes
    ]


def tell(decisions: Sequence[Decision], *, short: bool = False) -> None:
    """What is to be done: files with their differences unless it is to be short, all else in a line each."""
    out = console()
    for decision in decisions:
        for one in () if short else decision.of("file"):
            difference(one.difference())
        for one in decision.changes:
            if short or one.kind != "file" or not one.difference():
                out.print(Text(_line(decision.host, one)))
    count = Counter(one.action for decision in decisions for one in decision.changes)
    kept = sum(decision.kept for decision in decisions)
    if not count:
        out.print(Text("Everything is as declared.", "bold"))
        return
    said = ", ".join(f"{count[one]} to be {done}" for one, done in DONE.items() if count[one])
    out.print(Text(f"{said}; {kept} files as declared.", "bold"))


def _line(host: str, one: Change) -> str:
    kind = KINDS.get(one.kind, one.kind)
    what = f"{one.name} and its key, our own until one is fetched" if one.kind == "certificate" else one.name
    return f"{host}: {kind} {what}: to be {DONE[one.action]}"
