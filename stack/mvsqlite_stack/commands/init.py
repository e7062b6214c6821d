"""``mvstack init``: writes a declaration to begin with."""

import json
import os
import re
from importlib.resources import files
from pathlib import Path

import click

from mvsqlite_stack import config
from mvsqlite_stack.commands.common import file_option, secrets_of, secrets_option
from mvsqlite_stack.errors import Problem, StackError, fail

TEMPLATE = "stack.template.toml"
DEFAULT_CERTIFICATE = (
    'certificate = "/var/lib/mvstack/tls/fullchain.pem"\nkey = "/var/lib/mvstack/tls/privkey.pem"\n'
    '# acme = "you@{domain}"     # fetch and renew it with certbot'
)
GATEWAYS = ("kong", "nginx")
BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


@click.command()
@click.option("--domain", help="The domain that is yours, as example.org.")
@click.option("--gateway", type=click.Choice(GATEWAYS), help="Kong, or nginx from Debian.  [default: kong]")
@click.option("--user", help="The first user.  [default: admin]")
@click.option("--acme", metavar="EMAIL", help="Fetch certificates, with this address for the account.")
@click.option("--yes", is_flag=True, help="Ask nothing.")
@file_option
@secrets_option
def init(
    domain: str | None,
    gateway: str | None,
    user: str | None,
    acme: str | None,
    yes: bool,
    file: Path,
    secrets_directory: Path | None,
) -> None:
    """Write stack.toml with comments, and make the secrets that it needs beside it.

    \b
    Example:
      mvstack init
      mvstack init --domain example.org --yes
    """
    if file.exists():
        raise fail(file, "it exists already", "Change it, or name another with --file")
    if domain is None:
        if yes:
            raise click.UsageError("--yes needs --domain")
        domain = click.prompt("The domain that is yours")
    if not yes:
        gateway = gateway or click.prompt("The gateway", type=click.Choice(GATEWAYS), default=GATEWAYS[0])
        user = user or click.prompt("The first user's name", default="admin")
        acme = acme or click.prompt(
            "E-mail for certificates from an authority (empty: you have one)", default=""
        )
    text = _text(str(domain).strip().lower().rstrip("."), gateway or GATEWAYS[0], user or "admin", acme)
    _write_checked(file, text)
    made, _ = secrets_of(file, secrets_directory).create(config.read(file))
    click.echo(
        f"{file}: written. {len(made)} secrets made in {secrets_of(file, secrets_directory).directory}."
    )
    click.echo("Next: change what is not so there, then look at what it takes: mvstack render DIR")


def _text(domain: str, gateway: str, user: str, acme: str | None) -> str:
    values = {
        "domain": _inside(domain),
        "gateway": gateway,
        "other": next(one for one in GATEWAYS if one != gateway),
        "host": "home",
        "address": "localhost",
        "user": user if BARE_KEY.fullmatch(user) else f'"{_inside(user)}"',
        "tls": f'acme = "{_inside(acme)}"' if acme else DEFAULT_CERTIFICATE.format(domain=_inside(domain)),
    }
    text = files("mvsqlite_stack").joinpath(TEMPLATE).read_text()
    for name, value in values.items():
        text = text.replace(f"@{name}@", value)
    return text


def _inside(answer: str) -> str:
    """Between the quotes of a TOML string, which are JSON's."""
    return json.dumps(answer)[1:-1]


def _write_checked(file: Path, text: str) -> None:
    """Nothing is left behind that does not validate."""
    part = file.with_name(f".{file.name}.{os.getpid()}")
    part.write_text(text)
    try:
        config.read(part)
        part.rename(file)
    except StackError as error:
        raise StackError([_of_answer(file, one.what, one.remedy) for one in error.problems]) from error
    finally:
        part.unlink(missing_ok=True)


def _of_answer(file: Path, what: str, remedy: str) -> Problem:
    return Problem(file, f"not written: {what}", remedy)
