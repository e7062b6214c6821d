"""``mvstack up`` and ``mvstack down``: a whole stack on this machine, for trying out."""

from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console

from mvsqlite_stack.commands.common import print_json
from mvsqlite_stack.errors import fail
from mvsqlite_stack.up import running, trial
from mvsqlite_stack.up.supervision import Supervisor
from mvsqlite_stack.up.telling import Teller, shown, typed

directory_argument = click.argument(
    "directory", type=click.Path(path_type=Path, file_okay=False), default=trial.DIRECTORY
)
port = click.IntRange(1, 65535)


@click.command()
@directory_argument
@click.option("--port", "https", type=port, help=f"Where visitors come by HTTPS.  [default: {trial.HTTPS}]")
@click.option("--http-port", "http", type=port, help=f"The same by plain HTTP.  [default: {trial.HTTP}]")
@click.option("--detach", is_flag=True, help="Leave it running in the background; mvstack down ends it.")
@click.option("--status", "only_status", is_flag=True, help="Only tell what runs.")
@click.option("--json", "as_json", is_flag=True, help="With --status: print JSON, for programs.")
def up(
    directory: Path, https: int | None, http: int | None, detach: bool, only_status: bool, as_json: bool
) -> int:
    """Run a whole stack on this machine, without root: gateway, sign-in, a demo app, demo users.

    All of it lies in DIRECTORY (default: mvstack-trial), made with a declaration to begin with. ^C ends it;
    what was written stays there. To be rid of it, remove the directory.

    \b
    Example:
      mvstack up
      mvstack up --port 9443 --detach
      mvstack up --status
      mvstack down
    """
    place = trial.at(directory)
    if only_status:
        return _status(place, as_json)
    try:
        with running.only_one(place):
            return _run(place, https, http, detach)
    except running.AlreadyRunsError:
        click.echo(f"It runs already in {shown(place.directory)}. What runs, and the end of it:")
        click.echo(f"  {typed('mvstack', 'up', shown(place.directory), '--status')}")
        click.echo(f"  {typed('mvstack', 'down', shown(place.directory))}")
        return 0


def _run(place: trial.Trial, https: int | None, http: int | None, detach: bool) -> int:
    console = Console(highlight=False)
    teller, supervisor, stop = Teller(console), Supervisor(place), running.Stop()
    console.print(f"[bold]mvstack up[/bold]  a household to try out, in {shown(place.directory)}")
    try:
        prepared = running.prepare(place, https, http)
        with console.status("Starting"):
            running.start(prepared, supervisor, stop, detached=detach)
    except running.StoppedError:
        supervisor.stop()
        console.print("Stopped.")
        return 130
    except BaseException:
        supervisor.stop()
        raise
    teller.started(prepared, detached=detach)
    if detach:
        return 0
    asked = False
    try:
        asked = running.watch(supervisor, stop, lambda state: teller.change(place, state))
    finally:
        console.print()
        console.print("Stopping." if asked else "The supervisor has ended.")
        supervisor.stop()
    console.print("Stopped.")
    return 0


def _status(place: trial.Trial, as_json: bool) -> int:
    states = Supervisor(place).states()
    if as_json:
        print_json({"runs": states is not None, "programs": [asdict(one) for one in states or []]})
    elif states is None:
        click.echo(f"Nothing runs in {shown(place.directory)}.")
    else:
        Teller(Console(highlight=False)).states(states, place)
    return 0 if states is not None else 1


@click.command()
@directory_argument
def down(directory: Path) -> None:
    """End what ``mvstack up`` started in DIRECTORY (default: mvstack-trial). What was written stays."""
    place = trial.at(directory)
    if not place.run.is_dir():
        raise fail(
            place.directory, "nothing was ever started there", "Name the directory given to mvstack up"
        )
    click.echo("Stopped." if running.down(place) else f"Nothing ran in {shown(place.directory)}.")
