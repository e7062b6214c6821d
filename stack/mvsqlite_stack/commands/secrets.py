"""``mvstack secrets``: keys and tokens beside the declaration."""

import sys
from pathlib import Path

import click
from rich.table import Table

from mvsqlite_stack import archive, config
from mvsqlite_stack.commands.common import (
    console,
    file_option,
    json_option,
    print_json,
    secrets_of,
    secrets_option,
)
from mvsqlite_stack.errors import fail
from mvsqlite_stack.secrets import Kind, find, needed

passphrase_option = click.option(
    "--passphrase-file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Read the passphrase from there instead of asking.",
)


@click.group()
def secrets() -> None:
    """What only the stack may know: a directory beside stack.toml, of files that only you can read."""


@secrets.command()
@file_option
@secrets_option
@json_option
def create(file: Path, secrets_directory: Path | None, as_json: bool) -> None:
    """Make the secrets that are missing; what is there stays."""
    store = secrets_of(file, secrets_directory)
    made, wanted = store.create(config.read(file))
    if as_json:
        print_json({"made": [one.name for one in made], "wanted": [one.name for one in wanted]})
        return
    for one in made:
        click.echo(f"made    {one.name}: {one.kind.value}")
    for one in wanted:
        click.echo(f"wanted  {one.name}: give it with: mvstack secrets rotate {one.name}")
    if not made and not wanted:
        click.echo("All secrets are there.")


@secrets.command("list")
@file_option
@secrets_option
@json_option
def list_(file: Path, secrets_directory: Path | None, as_json: bool) -> None:
    """Tell which secrets there are and which are missing. Values are not shown."""
    stack, store = config.read(file), secrets_of(file, secrets_directory)
    store.check()
    rows = [(one.name, one.kind.value, store.exists(one)) for one in needed(stack)]
    keys = store.public_keys() if rows[0][2] else []
    if as_json:
        found = [{"name": name, "kind": kind, "exists": exists} for name, kind, exists in rows]
        print_json({"secrets": found, "keys": [{"id": key.id, "role": key.role} for key in keys]})
        return
    table = Table("Name", "What", "State", box=None, pad_edge=False)
    for name, kind, exists in rows:
        table.add_row(name, kind, "there" if exists else "missing")
    for key in keys:
        table.add_row(f"  {key.id}", "ES256", key.role)
    console().print(table)


@secrets.command()
@click.argument("name")
@file_option
@secrets_option
def show(name: str, file: Path, secrets_directory: Path | None) -> None:
    """Print a secret. Of signing keys the public halves are printed, never the private ones."""
    stack, store = config.read(file), secrets_of(file, secrets_directory)
    secret = find(stack, name, file)
    if secret.kind is Kind.SIGNING:
        for key in store.public_keys():
            click.echo(f"# {key.id}: {key.role}\n{key.pem}", nl=False)
        return
    value = store.read(secret.name)
    click.echo(value.hex() if secret.kind is Kind.BYTES else value.decode())


@secrets.command()
@click.argument("name")
@file_option
@secrets_option
def rotate(name: str, file: Path, secrets_directory: Path | None) -> None:
    """Make a secret anew, or take one that was given to you from standard input.

    ``signing``: the next key, which gateways know already, begins to sign; the previous one stays until the
    tokens signed with it have ended. Deploy between two rotations, so that gateways know the new next key.
    """
    stack, store = config.read(file), secrets_of(file, secrets_directory)
    secret = find(stack, name, file)
    value = _given(name) if secret.kind is Kind.GIVEN else None
    store.rotate(secret, stack.limits.token_seconds, value)
    if secret.kind is Kind.SIGNING:
        click.echo(f"{store.signing_id()} signs now.")
    else:
        click.echo(f"{name}: made anew." if value is None else f"{name}: kept.")


def _given(name: str) -> bytes:
    if sys.stdin.isatty():
        return str(click.prompt(name, hide_input=True)).encode()
    return sys.stdin.buffer.read().strip()


@secrets.command()
@click.argument("target", type=click.Path(path_type=Path))
@click.option("--plain", is_flag=True, help="A tar file that is not encrypted.")
@passphrase_option
@file_option
@secrets_option
def backup(
    target: Path, plain: bool, passphrase_file: Path | None, file: Path, secrets_directory: Path | None
) -> None:
    """Write all secrets into one new file, encrypted with a passphrase, that only you can read."""
    passphrase = None if plain else _passphrase(passphrase_file, target, twice=True)
    archive.back_up(secrets_of(file, secrets_directory), target, passphrase)
    click.echo(
        f"{target}: written. Keep it, and its passphrase, elsewhere." if passphrase else f"{target}: written."
    )


@secrets.command()
@click.argument("source", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@passphrase_option
@file_option
@secrets_option
def restore(source: Path, passphrase_file: Path | None, file: Path, secrets_directory: Path | None) -> None:
    """Make the secrets directory from a backup; there must be none yet."""
    encrypted = source.read_bytes().startswith(archive.MAGIC)
    passphrase = _passphrase(passphrase_file, source, twice=False) if encrypted else None
    target = secrets_of(file, secrets_directory).directory
    archive.restore(target, source, passphrase)
    click.echo(f"{target}: restored.")


def _passphrase(file: Path | None, about: Path, twice: bool) -> str:
    if file is not None:
        return file.read_text().rstrip("\n")
    if not sys.stdin.isatty():
        raise fail(
            about, "there is nobody to ask for a passphrase", "Give --passphrase-file, or --plain for none"
        )
    return str(click.prompt("Passphrase", hide_input=True, confirmation_prompt=twice, err=True))
