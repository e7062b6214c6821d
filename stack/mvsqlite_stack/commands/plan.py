"""``mvstack render`` and ``mvstack plan``: what a declaration takes."""

from collections import Counter
from pathlib import Path

import click
from rich.text import Text

from mvsqlite_stack import config
from mvsqlite_stack import render as rendering
from mvsqlite_stack.commands.common import (
    console,
    file_option,
    json_option,
    print_json,
    secrets_of,
    secrets_option,
)
from mvsqlite_stack.errors import fail
from mvsqlite_stack.model import Stack
from mvsqlite_stack.plan import Action, Step, compare, files_in, perform
from mvsqlite_stack.render.layout import QUADLETS, SYSTEM, UNITS

STYLES = {"+": "green", "-": "red", "@": "cyan"}
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
    help="A directory that render wrote. Default: the files of one host on this machine.",
)
@click.option("--host", "name", help="The host that this machine is; needed if there are several.")
@click.option("--exit-code", is_flag=True, help="Exit with 1 if anything would change.")
@file_option
@secrets_option
@json_option
def plan(
    against: Path | None,
    name: str | None,
    exit_code: bool,
    file: Path,
    secrets_directory: Path | None,
    as_json: bool,
) -> int:
    """Tell the difference between what is declared and what is there. It changes nothing."""
    stack, declared = _declared(file, secrets_directory)
    if against is not None:
        directory = against
        steps = compare(declared, lambda path: directory / path, files_in(directory))
    else:
        steps = _on_this_machine(stack, declared, name, file)
    if as_json:
        print_json([_json(step) for step in steps])
    else:
        _tell(steps)
    return int(exit_code and any(step.action is not Action.KEEP for step in steps))


def _on_this_machine(stack: Stack, declared: dict[str, str], name: str | None, file: Path) -> list[Step]:
    if name is None and len(stack.hosts) > 1:
        raise fail(
            file, "it declares several hosts", f"Say which this machine is: --host {' or '.join(stack.hosts)}"
        )
    host = name or next(iter(stack.hosts))
    if host not in stack.hosts:
        raise fail(file, f"there is no host {host!r}", f"Use one of: {', '.join(stack.hosts)}")
    own = {path: text for path, text in declared.items() if path.startswith(f"{host}/")}
    there = [f"{host}/{path}" for path in files_in(Path(SYSTEM.settings)) if not path.startswith("secrets/")]
    there += [f"{host}/systemd/{unit.name}" for unit in Path(UNITS).glob("mvstack-*")]
    there += [f"{host}/containers/{quadlet.name}" for quadlet in Path(QUADLETS).glob("mvstack-*")]
    return compare(own, lambda path: Path(SYSTEM.place(path)), there)


def _json(step: Step) -> dict[str, object]:
    return {"path": step.path, "action": step.action.value, "difference": step.difference()}


def _tell(steps: list[Step]) -> None:
    out = console()
    for step in steps:
        for line in step.difference():
            out.print(Text(line, STYLES.get(line[:1], "")))
    count = Counter(step.action for step in steps)
    if set(count) <= {Action.KEEP}:
        out.print(Text("Everything is as declared.", "bold"))
        return
    said = ", ".join(
        f"{count[one]} to be {VERBS[one]}" for one in Action if count[one] and one is not Action.KEEP
    )
    out.print(Text(f"{said}; {count[Action.KEEP]} as declared.", "bold"))
