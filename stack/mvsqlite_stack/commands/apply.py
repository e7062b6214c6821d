"""``mvstack apply`` and ``mvstack destroy``: makes hosts be as declared, or takes that back."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from rich.text import Text

from mvsqlite_py._cli._common import NeedsYesError, has_terminal
from mvsqlite_stack import config
from mvsqlite_stack import render as rendering
from mvsqlite_stack.apply import wheel as wheels
from mvsqlite_stack.apply.decide import Decision
from mvsqlite_stack.apply.run import Outcome, Target, carry_out, looked_at, see
from mvsqlite_stack.apply.wanted import Wanted, nothing, of_host
from mvsqlite_stack.commands.common import (
    console,
    file_option,
    json_option,
    print_json,
    secrets_of,
    secrets_option,
)
from mvsqlite_stack.commands.telling import facts, tell
from mvsqlite_stack.errors import fail
from mvsqlite_stack.model import Stack
from mvsqlite_stack.render.layout import SYSTEM

hosts_option = click.option(
    "--host", "names", multiple=True, metavar="NAME", help="Only this one; may be given several times."
)
wheel_option = click.option(
    "--wheel",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="A wheel of this package for the hosts. Default: made of the files that run now.",
)
replace_option = click.option(
    "--replace-service-secret",
    is_flag=True,
    help="Overwrite another secret of the sign-in service: second factors have to be set up anew.",
)
yes_option = click.option("--yes", is_flag=True, help="Do not ask.")


def chosen(stack: Stack, names: Sequence[str], file: Path) -> list[str]:
    """Hosts in the order in which they are set up: what the gateway leads to, then the gateway."""
    for name in names:
        if name not in stack.hosts:
            raise fail(file, f"there is no host {name!r}", f"Use one of: {', '.join(stack.hosts)}")
    return sorted(set(names) or stack.hosts, key=lambda name: (name == stack.gateway_host, name))


def wanted_of(
    stack: Stack, names: Sequence[str], file: Path, secrets_directory: Path | None, wheel: Path | None
) -> list[Wanted]:
    """What hosts are to be. Raises StackError."""
    secrets = secrets_of(file, secrets_directory)
    rendered = rendering.files(stack, secrets.public_keys(), file.name)
    made = wheels.read(wheel) if wheel else wheels.of_this_installation()
    return [of_host(stack, name, rendered, secrets, made) for name in chosen(stack, names, file)]


def _agree(question: str, yes: bool, as_json: bool) -> None:
    if yes:
        return
    if as_json or not has_terminal():
        raise NeedsYesError("nothing was done, for there is nobody to ask: give --yes to go ahead")
    click.confirm(question, abort=True, err=True)


@click.command()
@hosts_option
@wheel_option
@replace_option
@yes_option
@file_option
@secrets_option
@json_option
def apply(
    names: tuple[str, ...],
    wheel: Path | None,
    replace_service_secret: bool,
    yes: bool,
    file: Path,
    secrets_directory: Path | None,
    as_json: bool,
) -> int:
    """Make hosts be as declared: exactly what 'mvstack plan' tells.

    Over SSH, or on this machine where a host's address is localhost. Everything is checked before anything
    is changed; what is as declared is not touched. Hosts need systemd, Debian's packages, Python 3.11, and
    somebody who is root or may use sudo without a password. Each gets this package in /opt/mvstack, the
    secrets that its services need, and no others. New users are printed with a link by which they set
    their password, once.

    \b
    Example:
      mvstack plan
      mvstack apply --yes
    """
    stack = config.read(file)
    wanted = wanted_of(stack, names, file, secrets_directory, wheel)
    with looked_at(stack, wanted, file, replace_service_secret=replace_service_secret) as targets:
        decisions = [one.decision for one in targets]
        if any(one.changes for one in decisions):
            if not as_json:
                tell(decisions)
            _agree("Do this?", yes, as_json)
        outcomes = [_set_up(target, stack, as_json) for target in targets]
    if as_json:
        print_json(_json(decisions, outcomes))
    else:
        _tell_outcomes(decisions, outcomes)
    return int(any(one.failed for one in outcomes))


def _set_up(target: Target, stack: Stack, as_json: bool) -> Outcome:
    carry_out(target, lambda line: None if as_json else console().print(Text(line, "cyan")))
    return see(target, stack)


def _json(decisions: list[Decision], outcomes: list[Outcome]) -> dict[str, Any]:
    return {
        "changes": facts(decisions),
        "failed": {one.host: one.failed for one in outcomes if one.failed},
        "invitations": {name: link for one in outcomes for name, link in one.invitations.items()},
        "not_declared": [name for one in outcomes for name in one.missing],
    }


def _tell_outcomes(decisions: list[Decision], outcomes: list[Outcome]) -> None:
    out = console()
    for one in outcomes:
        for line in one.failed:
            out.print(Text(f"{one.host}: {line}", "red"))
        for name, link in one.invitations.items():
            out.print(Text(f"{name} sets a password here, once:"))
            out.print(Text(f"  {link}"))
        for name in one.missing:
            out.print(Text(f"The account {name} is declared no longer: mvstack user disable {name}"))
    if any(one.failed for one in outcomes):
        out.print(Text("Not everything runs.", "bold red"))
    elif any(one.changes for one in decisions):
        out.print(Text("Done. Everything is as declared.", "bold"))
    else:
        out.print(Text("Nothing was changed. Everything is as declared.", "bold"))


@click.command()
@hosts_option
@yes_option
@file_option
@json_option
def destroy(names: tuple[str, ...], yes: bool, file: Path, as_json: bool) -> None:
    """Stop what was set up, and remove the generated files. Data stays where it is.

    Databases, uploads, secrets, certificates, users of the system, packages and programs stay on the hosts;
    the command says where.
    """
    stack = config.read(file)
    wanted = [nothing(name) for name in chosen(stack, names, file)]
    with looked_at(stack, wanted, file) as targets:
        decisions = [one.decision for one in targets]
        if any(one.changes for one in decisions):
            if not as_json:
                tell(decisions, short=True)
            _agree("Stop and remove this?", yes, as_json)
        for target in targets:
            carry_out(target, lambda _: None)
    stays = {one.host: _stays(stack, one.host) for one in decisions}
    if as_json:
        print_json({"changes": facts(decisions), "stays": stays})
        return
    for host, places in stays.items():
        for what, place in places.items():
            click.echo(f"{host}: stays: {place} ({what})")


def _stays(stack: Stack, host: str) -> dict[str, str]:
    """What there may be on a host that is not removed."""
    found = {}
    if host == stack.gateway_host:
        found["accounts, history, signing keys"] = SYSTEM.state
        found["the certificate"] = stack.tls.certificate
    if not stack.store.url.startswith(f"lmdb:{SYSTEM.state}/"):
        found["databases"] = stack.store.url
    for name, app in stack.apps.items():
        if app.on == host and app.runs:
            found[f"data of {name}"] = " ".join([SYSTEM.app(name), *app.data])
    found["secrets of apps"] = f"{SYSTEM.settings}/secrets"
    found["programs"] = SYSTEM.home
    return found
