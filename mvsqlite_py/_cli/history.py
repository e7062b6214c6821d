"""``mvsqlite history``: the versions of a database on the whole terminal."""

import sys

import click

from mvsqlite_py._cli._common import Session, common, example

INSTALL = "the view needs a package that is not installed: pip install 'mvsqlite-py[tui]'"


def history_command(group: click.Group) -> None:
    """Adds the command to a group."""

    @group.command(epilog=example("mvsqlite history notes.db"))
    @click.argument("name")
    @common
    def history(session: Session, name: str) -> None:
        """Walk through the versions of a database and take them back, with the keys.

        Arrow keys choose a version, and what it changed is shown beside it. ? tells all keys.
        For programs there is: mvsqlite log NAME --json.
        """
        if session.json:
            raise click.UsageError("a view has no JSON: mvsqlite log NAME --json")
        try:
            from mvsqlite_py._cli._tui import HistoryApp
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] != "textual":
                raise
            raise click.ClickException(INSTALL) from error
        if not (sys.stdin.isatty() and sys.stdout.isatty()):
            raise click.ClickException("the view needs a terminal; for a pipe there is: mvsqlite log NAME")
        HistoryApp(session, session.store.database(name)).run()
