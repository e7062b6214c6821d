"""What all commands share: the declaration, the secrets beside it, output."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.console import Console

from mvsqlite_stack.config import FILE_NAME
from mvsqlite_stack.secrets import DIRECTORY_NAME, Secrets

F = TypeVar("F", bound=Callable[..., Any])

file_option = click.option(
    "-f",
    "--file",
    "file",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path(FILE_NAME),
    envvar="MVSTACK_FILE",
    show_default=True,
    show_envvar=True,
    help="The declaration.",
)
secrets_option = click.option(
    "--secrets",
    "secrets_directory",
    type=click.Path(path_type=Path, file_okay=False),
    envvar="MVSTACK_SECRETS",
    show_envvar=True,
    help=f"The secrets directory. Default: {DIRECTORY_NAME}/ beside the declaration.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")


def secrets_of(file: Path, directory: Path | None) -> Secrets:
    """The secrets directory that belongs to a declaration."""
    return Secrets(directory or file.absolute().parent / DIRECTORY_NAME)


def print_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def console() -> Console:
    """Where people read; a pipe gets plain lines."""
    return Console(highlight=False, soft_wrap=True)
