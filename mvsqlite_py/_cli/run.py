"""``mvsqlite run``: starts a program so that its databases are those of a store."""

import os
import shutil
from pathlib import Path
from typing import Any

import click

from mvsqlite_py import _routes
from mvsqlite_py._cli._common import example, print_json, store_option
from mvsqlite_py._run.plan import LEVELS, LIBRARY, Plan, environment_of, make_plan, settled_url
from mvsqlite_py._run.program import Program, examine, follow, hidden_from_others
from mvsqlite_py._run.watcher import is_ordinary, start
from mvsqlite_py._store import default_url, open_store


class RefusedError(click.ClickException):
    """The program was not started, for its databases would not be those of the store."""

    exit_code = 2


def run_command(group: click.Group) -> None:
    """Adds the command to a group."""

    @group.command(
        context_settings={"allow_interspersed_args": False},
        epilog=example(
            "mvsqlite run --map '/var/lib/app/*.db={stem}' -- php -S localhost:8000",
            "mvsqlite run --config app.toml --import -- ./start.sh",
            "mvsqlite run --map app.db=app --check -- ./app",
        ),
    )
    @click.argument(
        "words", metavar="-- COMMAND [ARGUMENT]...", nargs=-1, type=click.UNPROCESSED, required=True
    )
    @click.option(
        "--map",
        "entries",
        metavar="PATTERN=NAME",
        multiple=True,
        help="Files that match become databases of that name. In patterns * ? [a-z], and ** across "
        "directories; in names {stem} {name} {parent} {path} {1}... The first that matches counts.",
    )
    @click.option(
        "--config",
        type=click.Path(path_type=Path, exists=True, dir_okay=False),
        help="A TOML file with store, import, log, log_file and a table [map] of patterns and names.",
    )
    @click.option(
        "--import", "import_files", is_flag=True, help="Take ordinary SQLite files in when they are opened."
    )
    @click.option("--log", type=click.Choice(LEVELS), help="What is told on the program's standard error.")
    @click.option("--check", is_flag=True, help="Only say whether it would work, and what would be set.")
    @click.option("--force", is_flag=True, help="Start the program even if it would not work.")
    @click.option("--json", "as_json", is_flag=True, help="With --check: print JSON, for programs.")
    @store_option
    def run(words: tuple[str, ...], **options: Any) -> int:
        """Start a program whose database files are databases of the store.

        The program runs in this process and knows nothing of it. At each routed path stands a small file
        that plain SQLite refuses, so that the program cannot go on without the store by mistake.
        """
        return _run(words, **options)


def _run(
    words: tuple[str, ...],
    entries: tuple[str, ...],
    config: Path | None,
    import_files: bool,
    log: str | None,
    check: bool,
    force: bool,
    as_json: bool,
    store_url: str | None,
) -> int:
    plan = make_plan(entries, config, os.environ, store=store_url, import_files=import_files, log=log)
    url = settled_url(plan.store or default_url())
    added = environment_of(plan, url, os.environ)
    program = examine(words[0], os.environ)
    problems = [*program.problems, *_in_the_way(plan)]
    if check:
        return _report(program, problems, added, as_json)
    if problems and not force:
        raise RefusedError(f"{'; '.join(problems)}. To start it all the same: --force")
    _make_ready(plan, url)
    witness = start(plan, words[0])
    environment = {**os.environ, **added, **({"MVSQLITE_WITNESS": str(witness)} if witness else {})}
    first = follow(words[0], os.environ)[0]
    return _become(first, words, environment)


def _become(file: Path, words: tuple[str, ...], environment: dict[str, str]) -> int:
    """The program takes the place of this one; it comes back only as an error."""
    found = words[0] if "/" in words[0] else str(_on_path(words[0], environment) or file)
    os.execve(found, list(words), environment)
    return 1


def _on_path(word: str, environment: dict[str, str]) -> str | None:
    """As the shell finds it: a program may look at the name it was called by."""
    return shutil.which(word, path=environment.get("PATH", os.defpath))


def _in_the_way(plan: Plan) -> list[str]:
    """Ordinary databases at paths that a route names outright, if they are not to be taken in."""
    if plan.import_files:
        return []
    return [
        f"{path} is an ordinary SQLite file, which the program could not open: take it in with --import, or "
        "move it away"
        for path in plan.literals
        if path.exists() and is_ordinary(path)
    ]


def _make_ready(plan: Plan, url: str) -> None:
    """Opens the store, so that errors come now, and puts stubs where a program may look for its file."""
    with open_store(url) as store:
        names = {entry.name for entry in store.list()}
    for path, name in plan.literals.items():
        if name in names and not path.exists() and path.parent.is_dir() and os.access(path.parent, os.W_OK):
            _routes.put_stub(path, name)


def _report(program: Program, problems: list[str], added: dict[str, str], as_json: bool) -> int:
    note = hidden_from_others(LIBRARY)
    if as_json:
        print_json(
            {
                "command": program.command,
                "programs": [str(file) for file in program.chain],
                "problems": problems,
                "notes": [note] if note else [],
                "environment": added,
            }
        )
        return 1 if problems else 0
    click.echo(f"Program: {' -> '.join(map(str, program.chain))}")
    click.echo("Environment, for a unit of systemd or a container:")
    for name, value in added.items():
        quoted = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("%", "%%")
        click.echo(f'  Environment="{name}={quoted}"')
    if note:
        click.echo(f"Note: {note}")
    for problem in problems:
        click.echo(f"Problem: {problem}")
    click.echo("It would be refused." if problems else "Nothing stands against it.")
    return 1 if problems else 0
