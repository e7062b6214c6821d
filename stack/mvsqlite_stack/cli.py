"""``mvstack``: the stack from the command line."""

import click

from mvsqlite_py._cli._common import Commands
from mvsqlite_stack.signin.commands import key_commands, user_commands


@click.group("mvstack", cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="mvsqlite-py", message="%(prog)s %(version)s")
def main() -> None:
    """One domain, one sign-in, private apps behind a gateway."""


main.add_command(user_commands)
main.add_command(key_commands)
