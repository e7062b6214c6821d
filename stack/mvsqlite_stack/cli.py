"""``mvstack``: the stack from the command line."""

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NoReturn

import click

from mvsqlite_py._cli._common import Commands, print_json
from mvsqlite_stack.errors import StackError

COMMANDS = {
    "init": "commands.init:init",
    "app": "commands.app:app",
    "render": "commands.plan:render",
    "plan": "commands.plan:plan",
    "apply": "commands.apply:apply",
    "destroy": "commands.apply:destroy",
    "up": "commands.up:up",
    "down": "commands.up:down",
    "secrets": "commands.secrets:secrets",
    "user": "signin.commands:user_commands",
    "keys": "signin.commands:key_commands",
    "status": "status.commands:status_commands",
}
"""Where each one is: only that which is run is loaded, for some bring much along."""


class StackCommands(Commands):
    """Tells each thing that is wrong with a declaration in a line of its own, or all of them in JSON."""

    _as_json = False

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(import_module(f"mvsqlite_stack.{module}"), name)
        return command

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


if __name__ == "__main__":
    main()
