"""What all commands share: the store, errors, questions, output."""

import contextlib
import json
import os
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from textwrap import indent
from typing import Any, NoReturn

import apsw
import click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from mvsqlite_py._errors import Error, UndoError
from mvsqlite_py._rows import RowCounts
from mvsqlite_py._store import Store, open_store

PIPE_WIDTH = 1000
"""Columns of a pipe: a program that reads lines wants them whole."""
WHOLE = ("Version", "Time", "Changed", "Deleted")
"""Columns of tables that are never broken into lines."""


# ---- the commands' frame ---------------------------------------------------------


class Typed(str):
    """A command to be typed: told on a line of its own, never wrapped."""


class NeedsYesError(click.ClickException):
    """Something would be taken away, and there is nobody to ask."""

    exit_code = 2


@dataclass
class Session:
    """One command's store and manner of output."""

    program: str
    store: Store
    json: bool
    store_option: str | None
    """The store as given on the command line, to be repeated in commands we print."""

    def command(self, *words: str) -> Typed:
        """A command to be typed, for the same store."""
        store = ["--store", self.store_option] if self.store_option else []
        return Typed(shlex.join([*words, *store]))

    def tell(self, *lines: Any, **result: Any) -> None:
        """Prints the result: lines for people, or one JSON object."""
        if self.json:
            print_json(result)
        else:
            for line in lines:
                if isinstance(line, Typed):
                    click.echo(f"  {line}")
                else:
                    console().print(line)


class Commands(click.Group):
    """A group whose commands tell errors in one line, or in JSON, and exit with a status."""

    def main(self, args: Sequence[str] | None = None, prog_name: str | None = None, **extra: Any) -> NoReturn:  # type: ignore[override]
        words = list(sys.argv[1:] if args is None else args)
        name = prog_name or self.name or "mvsqlite"
        extra["standalone_mode"] = False
        sys.exit(self._run(words, name, "--json" in words, extra))

    def _run(self, words: list[str], name: str, as_json: bool, extra: dict[str, Any]) -> int:
        try:
            status = super().main(words, name, **extra)
            sys.stdout.flush()
        except click.UsageError as error:
            if not as_json:
                error.show()
            return _fail(name, error.format_message(), "USAGE", as_json, 2, told=True)
        except click.ClickException as error:
            code = "NEEDS_YES" if isinstance(error, NeedsYesError) else "FAILED"
            return _fail(name, error.format_message(), code, as_json, error.exit_code)
        except (click.Abort, KeyboardInterrupt):
            return _fail(name, "stopped; nothing more was done", "ABORTED", as_json, 130)
        except BrokenPipeError:
            with contextlib.suppress(OSError):  # whoever read our output has gone
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 141
        except (Error, apsw.Error, OSError, ValueError) as error:
            return _fail(name, describe(error), error_code(error), as_json, 1)
        return status if isinstance(status, int) else 0


def _fail(name: str, message: str, code: str, as_json: bool, status: int, told: bool = False) -> int:
    if as_json:
        print_json({"error": {"code": code, "message": message}})
    if as_json or not told:
        click.echo(f"{name}: {' '.join(message.split())}", err=True)
    return status


def describe(error: Exception) -> str:
    """An error in one sentence."""
    if isinstance(error, OSError) and not isinstance(error, Error) and error.strerror:
        place = f"{error.filename}: " if error.filename else ""
        return f"{place}{error.strerror}"
    return str(error) or type(error).__name__


def error_code(error: Exception) -> str:
    """A word for programs."""
    if isinstance(error, UndoError):
        return "MV_UNDO"
    if isinstance(error, Error):
        return error.code
    if isinstance(error, apsw.Error):
        names: Any = apsw.mapping_result_codes
        return str(names.get(getattr(error, "result", -1), "SQLITE_ERROR"))
    known = {FileNotFoundError: "FILE_NOT_FOUND", FileExistsError: "FILE_EXISTS", ValueError: "VALUE"}
    return known.get(type(error), "SYSTEM")


def example(*lines: str) -> str:
    """The end of a command's help."""
    return "\b\n" + "\n".join(["Example:", *(f"  {line}" for line in lines)])


store_option = click.option(
    "--store",
    "store_url",
    metavar="URL",
    envvar="MVSQLITE_STORE",
    show_envvar=True,
    help="Where the store is, e.g. lmdb:/var/lib/notes. Default: in your data directory.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")


def common(function: Callable[..., Any]) -> Callable[..., Any]:
    """Gives a command ``--store`` and ``--json``; the function gets a Session first."""

    @store_option
    @json_option
    @click.pass_context
    def run(context: click.Context, /, store_url: str | None, as_json: bool, **options: Any) -> Any:
        source = context.get_parameter_source("store_url")
        given = store_url if source is click.core.ParameterSource.COMMANDLINE else None
        program = context.find_root().info_name or "mvsqlite"
        with open_store(store_url or None) as store:
            return function(Session(program, store, as_json, given), **options)

    run.__doc__ = function.__doc__
    run.__name__ = function.__name__
    return run


# ---- questions ---------------------------------------------------------------------


def has_terminal() -> bool:
    """Whether there is someone to ask."""
    return sys.stdin is not None and sys.stdin.isatty()


def confirm(session: Session, question: str, yes: bool) -> None:
    """Asks before something is taken away. Raises NeedsYesError if nobody can be asked."""
    if yes:
        return
    if session.json or not has_terminal():
        raise NeedsYesError("nothing was done, for there is nobody to ask: give --yes to go ahead")
    click.confirm(question, abort=True, err=True)


# ---- output --------------------------------------------------------------------------


def console(*, stderr: bool = False) -> Console:
    """Where people read. A pipe gets whole lines without decoration."""
    stream = sys.stderr if stderr else sys.stdout
    wide = not stream.isatty() and "COLUMNS" not in os.environ
    return Console(file=stream, width=PIPE_WIDTH if wide else None, highlight=False)


def show_table(columns: Sequence[str], rows: Iterable[Sequence[Any]], *, right: Sequence[str] = ()) -> None:
    """Prints a table that fits the terminal; in a pipe, lines with tabs."""
    out = console()
    if out.width == PIPE_WIDTH:
        for cells in [columns, *rows]:
            click.echo("\t".join(" ".join(str(cell).split()) for cell in cells))
        return
    made = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), show_edge=False, header_style="bold")
    for name in columns:
        whole = name in right or name in WHOLE
        made.add_column(name, justify="right" if name in right else "left", no_wrap=whole, overflow="fold")
    for cells in rows:
        made.add_row(*(cell if isinstance(cell, Text) else str(cell) for cell in cells))
    out.print(made)


class Lines:
    """A table printed a line at a time, while it grows: the widths of its columns are known before.

    columns: by name; those without a width share what is left. In a pipe, lines with tabs.
    """

    def __init__(self, columns: dict[str, int | None], *, right: Sequence[str] = ()) -> None:
        self._out = console()
        self._right = right
        left = self._out.width - sum(width + 2 for width in columns.values() if width)
        share = left // (sum(width is None for width in columns.values()) or 1) - 2
        self._widths = {name: width or max(share, 8) for name, width in columns.items()}
        self._print([Text(name, "bold") for name in columns])
        if self._out.width != PIPE_WIDTH:
            self._out.print(Text("─" * min(self._out.width, sum(self._widths.values()) + 2 * len(columns))))

    def add(self, cells: Sequence[Any]) -> None:
        self._print(cells)

    def _print(self, cells: Sequence[Any]) -> None:
        if self._out.width == PIPE_WIDTH:
            click.echo("\t".join(" ".join(str(cell).split()) for cell in cells))
            return
        grid = Table.grid(padding=(0, 2, 0, 0))
        for name, width in self._widths.items():
            justify: Any = "right" if name in self._right else "left"
            grid.add_column(width=width, justify=justify, overflow="fold")
        grid.add_row(*(cell if isinstance(cell, Text) else str(cell) for cell in cells))
        self._out.print(grid)


def show_facts(facts: Iterable[tuple[str, str]]) -> None:
    """Prints names and values, one pair a line."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(overflow="fold")
    for fact in facts:
        grid.add_row(*map(Text, fact))
    console().print(grid)


def encode_json(value: Any) -> Any:
    if isinstance(value, bytes):
        return {"blob": value.hex()}
    if isinstance(value, datetime):
        return iso(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


def print_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=2, ensure_ascii=False, default=encode_json))


def stream_json_list(values: Iterable[Any]) -> None:
    """Prints a list, each value as soon as there is one."""
    separator = "["
    for value in values:
        text = json.dumps(value, indent=2, ensure_ascii=False, default=encode_json)
        click.echo(f"{separator}\n{indent(text, '  ')}", nl=False)
        separator = ","
    click.echo("[]" if separator == "[" else "\n]")


def iso(moment: datetime) -> str:
    """UTC, to the millisecond: what ``--at`` takes."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def local_time(moment: datetime) -> str:
    return moment.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def counts_text(counts: RowCounts) -> Text:
    """+3 -1 ~2: added, removed, changed."""
    parts = [("+", counts.added, "green"), ("-", counts.removed, "red"), ("~", counts.changed, "yellow")]
    return Text(" ").join(Text(f"{sign}{count:,}", style) for sign, count, style in parts if count)


def rows_json(rows: dict[str, RowCounts]) -> dict[str, dict[str, int]]:
    return {
        name: {"added": one.added, "removed": one.removed, "changed": one.changed}
        for name, one in rows.items()
    }


@contextlib.contextmanager
def working(what: str) -> Iterator[None]:
    """Tells on stderr, if that is a terminal, that something is going on."""
    out = console(stderr=True)
    with out.status(what) if out.is_terminal else contextlib.nullcontext():
        yield


@contextlib.contextmanager
def progress(what: str) -> Iterator[Callable[[int, int], None] | None]:
    """A bar on stderr if that is a terminal; yields what to call with (done, of)."""
    if not (sys.stderr is not None and sys.stderr.isatty()):
        yield None
        return
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, of: bar.update(task, completed=done, total=of)
