"""``mvsqlite doctor``: what is wrong with a store, and the way out."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import click
from click.core import ParameterSource
from rich.table import Table
from rich.text import Text

from mvsqlite_py._cli._common import (
    PIPE_WIDTH,
    console,
    example,
    json_option,
    print_json,
    store_option,
    working,
)
from mvsqlite_py._doctor import Finding, examine
from mvsqlite_py._store import default_url
from mvsqlite_py._words import plural

MARKS = {"ok": ("✓", "green"), "warning": ("!", "yellow"), "wrong": ("✗", "bold red")}
PLAIN_MARKS = {"ok": "+", "warning": "!", "wrong": "X"}
"""For terminals that cannot show the others."""


def doctor_command(group: click.Group) -> None:
    """Adds the command to a group."""

    @group.command(
        "doctor",
        epilog=example("mvsqlite doctor", "mvsqlite doctor 'fdb:/etc/foundationdb/fdb.cluster?prefix=me/'"),
    )
    @click.argument("url", metavar="[STORE-URL]", required=False)
    @store_option
    @json_option
    @click.pass_context
    def doctor(context: click.Context, url: str | None, store_url: str | None, as_json: bool) -> int:
        """Tell what is wrong with a store or its cluster, and the way out; exit with 1 if anything is.

        It makes and changes nothing, and looks even at what cannot be opened. Warnings alone exit with 0.
        """
        typed = context.get_parameter_source("store_url") is ParameterSource.COMMANDLINE
        if url is not None and typed:
            raise click.UsageError("give either STORE-URL or --store")
        chosen, why = choose(url, store_url, typed)
        with working("looking at the store"):
            found = examine(chosen, why)
        if as_json:
            print_json([dataclasses.asdict(one) for one in found])
        else:
            tell(found)
        return 1 if any(one.level == "wrong" for one in found) else 0


def choose(url: str | None, store_url: str | None, typed: bool) -> tuple[str, str]:
    """The address to look at, and why that one."""
    if url is not None:
        return url, "as given"
    if store_url:
        return store_url, "as --store says" if typed else "as MVSQLITE_STORE says"
    return default_url(), "your default store, for no other was named"


def tell(found: Sequence[Finding]) -> None:
    """One mark and sentence for each finding, the way out on the line below."""
    out = console()
    unicode = (out.encoding or "").lower().startswith("utf")
    for one in found:
        mark, style = MARKS[one.level]
        shown = Text(mark if unicode else PLAIN_MARKS[one.level], style)
        sentence = Text.assemble((one.about, "bold"), ": ", one.what)
        if out.width == PIPE_WIDTH:
            out.print(Text.assemble(shown, " ", sentence), soft_wrap=True)
        else:
            grid = Table.grid(padding=(0, 1))
            grid.add_column(no_wrap=True)
            grid.add_column(overflow="fold")
            grid.add_row(shown, sentence)
            out.print(grid)
        if one.remedy:  # not cut into lines, for it may hold a command to be copied
            out.print(Text(f"  {'→' if unicode else '->'} {one.remedy}", "cyan"), soft_wrap=True)
    out.print(Text(verdict(found), "bold"))


def verdict(found: Sequence[Finding]) -> str:
    count: dict[Any, int] = {level: sum(one.level == level for one in found) for level in MARKS}
    if not count["wrong"] and not count["warning"]:
        return "All is well."
    parts = []
    if count["wrong"]:
        parts.append(f"{plural(count['wrong'], 'thing')} {'is' if count['wrong'] == 1 else 'are'} wrong")
    if count["warning"]:
        parts.append(plural(count["warning"], "warning"))
    return f"{', '.join(parts)}."
