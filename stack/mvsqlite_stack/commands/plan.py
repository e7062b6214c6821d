"""``mvstack render`` and ``mvstack plan``: what a declaration takes."""

from collections import Counter
from pathlib import Path

import click
from rich.text import Text

from mvsqlite_stack import config
from mvsqlite_stack import render as rendering
from mvsqlite_stack.apply.run import looked_at
from mvsqlite_stack.commands.apply import hosts_option, replace_option, wanted_of, wheel_option
from mvsqlite_stack.commands.common import (
    console,
    file_option,
    json_option,
    print_json,
    secrets_of,
    secrets_option,
)
from mvsqlite_stack.commands.telling import difference, facts, tell
from mvsqlite_stack.model import Stack
from mvsqlite_stack.plan import Action, Step, compare, files_in, perform

VERBS = {Action.ADD: "added", Action.CHANGE: "changed", Action.REMOVE: "removed", Action.KEEP: "as declared"}


def _declared(file: Path, secrets_directory: Path | None) -> tuple[Stack, dict[str, str]]:
    stack = config.read(file)
    keys = secrets_of(file, secrets_directory).public_keys()
    return stack, rendering.files(stack, keys, file.name)


@click.command()
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False))
@file_option
@secrets_option
@json_option
def render(directory: Path, file: Path, secrets_directory: Path | None, as_json: bool) -> None:
    """Write every file that would be deployed, host by host, into DIRECTORY and nowhere else.

    The same declaration and keys give the same bytes. No secret is among them. Files there that an earlier
    declaration took are removed; those that mvstack did not write are never touched.
    """
    _, declared = _declared(file, secrets_directory)
    steps = compare(declared, lambda path: directory / path, files_in(directory))
    perform(steps)
    if as_json:
        print_json([{"path": step.path, "action": step.action.value} for step in steps])
        return
    for step in steps:
        console().print(Text(f"{VERBS[step.action]:12} {step.place}"))


@click.command()
@click.option(
    "--against",
    type=click.Path(path_type=Path, file_okay=False),
    help="A directory that render wrote, instead of the hosts.",
)
@click.option("--exit-code", is_flag=True, help="Exit with 1 if anything would change.")
@hosts_option
@wheel_option
@replace_option
@file_option
@secrets_option
@json_option
def plan(
    against: Path | None,
    exit_code: bool,
    names: tuple[str, ...],
    wheel: Path | None,
    replace_service_secret: bool,
    file: Path,
    secrets_directory: Path | None,
    as_json: bool,
) -> int:
    """Tell the difference between what is declared and what is on the hosts. It changes nothing.

    It connects to the hosts, as 'mvstack apply' does, and tells exactly what that would do.
    """
    if against is not None:
        return _plan_against(against, exit_code, file, secrets_directory, as_json)
    stack = config.read(file)
    wanted = wanted_of(stack, names, file, secrets_directory, wheel)
    with looked_at(stack, wanted, file, replace_service_secret=replace_service_secret) as targets:
        decisions = [one.decision for one in targets]
    if as_json:
        print_json(facts(decisions))
    else:
        tell(decisions)
    return int(exit_code and any(one.changes for one in decisions))


def _plan_against(
    directory: Path, exit_code: bool, file: Path, secrets_directory: Path | None, as_json: bool
) -> int:
    _, declared = _declared(file, secrets_directory)
    steps = compare(declared, lambda path: directory / path, files_in(directory))
    if as_json:
        print_json([_json(step) for step in steps])
    else:
        _tell(steps)
    return int(exit_code and any(step.action is not Action.KEEP for step in steps))


def _json(step: Step) -> dict[str, object]:
    return {"path": step.path, "action": step.action.value, "difference": step.difference()}


def _tell(steps: list[Step]) -> None:
    out = console()
    for step in steps:
        difference(step.difference())
    count = Counter(step.action for step in steps)
    if set(count) <= {Action.KEEP}:
        out.print(Text("Everything is as declared.", "bold"))
        return
    said = ", ".join(
        f"{count[one]} to be {VERBS[one]}" for one in Action if count[one] and one is not Action.KEEP
    )
    out.print(Text(f"{said}; {count[Action.KEEP]} as declared.", "bold"))
