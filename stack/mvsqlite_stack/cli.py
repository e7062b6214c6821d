"""``mvstack``: the stack from the command line."""

import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import click

from mvsqlite_py._cli._common import Commands, print_json
from mvsqlite_stack.commands.app import app
from mvsqlite_stack.commands.apply import apply, destroy
from mvsqlite_stack.commands.init import init
from mvsqlite_stack.commands.plan import plan, render
from mvsqlite_stack.commands.secrets import secrets
from mvsqlite_stack.commands.up import down, up
from mvsqlite_stack.errors import StackError
from mvsqlite_stack.signin.commands import key_commands, user_commands
from mvsqlite_stack.status.commands import status_commands


class StackCommands(Commands):
    """Tells each thing that is wrong with a declaration in a line of its own, or all of them in JSON."""

    _as_json = False

    def main(self, args: Sequence[str] | None = None, prog_name: str | None = None, **extra: Any) -> NoReturn:  # type: ignore[override]
        self._as_json = "--json" in (sys.argv[1:] if args is None else args)
        super().main(args, prog_name, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except StackError as error:
            if self._as_json:
                print_json({"error": {"code": "STACK", "message": str(error), "problems": error.facts()}})
            for one in error.problems:
                click.echo(f"{ctx.info_name}: {one}", err=True)
            return 1


@click.group("mvstack", cls=StackCommands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="mvsqlite-py", message="%(prog)s %(version)s")
def main() -> None:
    """One domain, one sign-in, private apps behind a gateway, from one file.

    \b
    mvstack up                  all of it on this machine, to try it out
    mvstack init                write stack.toml, with comments
    mvstack app add NAME        an app, from a recipe
    mvstack render DIR          every file that it takes, host by host
    mvstack plan                what is declared and is not there
    mvstack apply               makes it so, over SSH or on this machine
    mvstack secrets list        keys and tokens beside it
    """


for command in (
    init,
    app,
    render,
    plan,
    apply,
    destroy,
    up,
    down,
    secrets,
    user_commands,
    key_commands,
    status_commands,
):
    main.add_command(command)

if __name__ == "__main__":
    main()
