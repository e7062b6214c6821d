"""``mvsqlite settings``: what holds for one database, whoever opens it."""

from dataclasses import replace

import click

from mvsqlite_py._cli._common import Session, common, example, show_facts
from mvsqlite_py._retention import STATEMENTS

MEANING = {
    "text": "their text, without bound values",
    "off": "nothing",
    "values": "their text with bound values",
}


def settings_command(group: click.Group) -> None:
    """Adds the command to a group."""

    @group.command(
        epilog=example("mvsqlite settings notes.db", "mvsqlite settings notes.db --statements off")
    )
    @click.argument("name")
    @click.option(
        "--statements",
        "mode",
        type=click.Choice(STATEMENTS),
        help="What commits record of their statements: text, nothing, or text with bound values.",
    )
    @common
    def settings(session: Session, name: str, mode: str | None) -> None:
        """Tell or change the settings of a database.

        Statements are recorded for the log. MVSQLITE_STATEMENTS, and statements= of an address, say the
        same for a process or a connection: of what was said, the least is recorded. Versions that are
        there keep what they have.
        """
        database = session.store.database(name)
        if mode is not None:
            database.set_policy(replace(database.policy(), statements=mode))
        now = database.policy().statements
        if session.json:
            session.tell(name=name, statements=now)
        else:
            show_facts([("Statements", f"{now}: commits record {MEANING[now]}")])
