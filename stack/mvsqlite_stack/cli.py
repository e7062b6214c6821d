"""``mvstack``: the household around the store."""

import json
import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import click

from mvsqlite_stack.commands.init import init
from mvsqlite_stack.commands.plan import plan, render
from mvsqlite_stack.commands.secrets import secrets
from mvsqlite_stack.errors import StackError


class Commands(click.Group):
    """A group whose commands tell errors in a line each, or in JSON, and exit with a status."""

    def main(self, args: Sequence[str] | None = None, prog_name: str | None = None, **extra: Any) -> NoReturn:  # type: ignore[override]
        words = list(sys.argv[1:] if args is None else args)
        extra["standalone_mode"] = False
        sys.exit(self._run(words, prog_name or "mvstack", "--json" in words, extra))

    def _run(self, words: list[str], name: str, as_json: bool, extra: dict[str, Any]) -> int:
        try:
            status = super().main(words, name, **extra)
            sys.stdout.flush()
        except StackError as error:
            return _fail_stack(name, error, as_json)
        except click.ClickException as error:
            return _fail(name, error.format_message(), as_json, error.exit_code)
        except (click.Abort, KeyboardInterrupt):
            return _fail(name, "stopped; nothing more was done", as_json, 130)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 141
        except OSError as error:
            return _fail(name, f"{error.filename or 'system'}: {error.strerror}", as_json, 1)
        return status if isinstance(status, int) else 0


def _fail(name: str, message: str, as_json: bool, status: int) -> int:
    if as_json:
        click.echo(json.dumps({"errors": [{"what": message}]}, indent=2))
    click.echo(f"{name}: {message}", err=True)
    return status


def _fail_stack(name: str, error: StackError, as_json: bool) -> int:
    if as_json:
        found = [
            {"file": str(one.file), "line": one.line, "key": one.key, "what": one.what, "remedy": one.remedy}
            for one in error.problems
        ]
        click.echo(json.dumps({"errors": found}, indent=2))
    for one in error.problems:
        click.echo(f"{name}: {one}", err=True)
    return 1


@click.group(cls=Commands)
@click.version_option(package_name="mvsqlite-py", prog_name="mvstack")
def main() -> None:
    """One domain, one sign-in, and a few apps behind a gateway, from one file.

    \b
    mvstack init                write stack.toml
    mvstack render DIR          every file that it takes, host by host
    mvstack plan --against DIR  what is declared and is not there
    mvstack secrets list        keys and tokens beside it
    """


for command in (init, render, plan, secrets):
    main.add_command(command)

if __name__ == "__main__":
    main()
