"""``mvstack app``: apps and their recipes, their health, other versions of them."""

import shutil
import subprocess
from datetime import date
from pathlib import Path

import click
from rich.table import Table
from rich.text import Text

from mvsqlite_py._cli._common import NeedsYesError, has_terminal
from mvsqlite_stack import config
from mvsqlite_stack.apps import dump as dumps
from mvsqlite_stack.apps import recipe as recipes
from mvsqlite_stack.apps.declare import declare
from mvsqlite_stack.apps.doctor import Doctor, Grade
from mvsqlite_stack.apps.edit import remove_app
from mvsqlite_stack.apps.upgrade import Change, app_of, perform, plan_revert, plan_upgrade
from mvsqlite_stack.commands.common import (
    console,
    file_option,
    json_option,
    print_json,
    secrets_of,
    secrets_option,
)
from mvsqlite_stack.errors import fail
from mvsqlite_stack.render.apps import Filling, cannot_run, unit
from mvsqlite_stack.render.layout import Layout

STYLES = {Grade.GOOD: "green", Grade.NOTE: "yellow", Grade.BAD: "red"}
yes_option = click.option("--yes", is_flag=True, help="Ask nothing.")
dry_option = click.option("--dry-run", is_flag=True, help="Only say what would be done.")
state_option = click.option(
    "--state",
    hidden=True,
    default=Layout().state,
    envvar="MVSTACK_STATE",
    help="Where services keep what they keep.",
)


@click.group()
def app() -> None:
    """Apps: add one from a recipe, see whether it is well, go to another version and back."""


@app.command("list")
@file_option
@json_option
def list_(file: Path, as_json: bool) -> None:
    """Tell which recipes there are, and which apps are declared."""
    known = [recipes.load(name) for name in recipes.names()]
    declared = config.read(file).apps if file.exists() else {}
    if as_json:
        told = [
            {"name": one.name, "summary": one.summary, "version": one.version, "route": one.route}
            for one in known
        ]
        apps = [
            {"name": name, "on": one.on, "version": one.version, "route": one.database.route}
            for name, one in declared.items()
        ]
        print_json({"recipes": told, "apps": apps})
        return
    table = Table("Recipe", "Version", "Route", "What it is", box=None, pad_edge=False)
    for one in known:
        table.add_row(one.name, one.version or "to be pinned", one.route, one.summary)
    console().print(table)
    if not declared:
        console().print("\nNo app is declared.")
        return
    table = Table("App", "Host", "Version", "Route", box=None, pad_edge=False)
    for name, each in declared.items():
        table.add_row(name, each.on, each.version or "", each.database.route)
    console().print()
    console().print(table)


@app.command()
@click.argument("name")
def show(name: str) -> None:
    """Print the page of a recipe: what it takes, its route and why, what is public, how it is upgraded."""
    one = recipes.load(name)
    click.echo(one.page or f"{name} has no page.", nl=not one.page)


@app.command()
@click.argument("name", metavar="NAME|FILE")
@click.option("--as", "as_name", metavar="NAME", help="What it is called here.  [default: as its recipe]")
@click.option("--on", metavar="HOST", help="The host it runs on.  [default: the gateway's]")
@click.option("--port", type=click.IntRange(1, 65535), help="Where it listens there.  [default: a free one]")
@click.option("--allow", metavar="WHO", multiple=True, help="A user, @group, or * (the default).")
@click.option("--public", is_flag=True, help="Anybody may enter without signing in.")
@click.option("--version", metavar="VERSION", help="Instead of the one that the recipe was written for.")
@click.option("--bucket", metavar="NAME", help="One of [buckets]: its uploads go there.")
@click.option("--route", type=click.Choice(["none"]), help="none: its database stays an ordinary file.")
@file_option
@secrets_option
def add(
    name: str,
    as_name: str | None,
    on: str | None,
    port: int | None,
    allow: tuple[str, ...],
    public: bool,
    version: str | None,
    bucket: str | None,
    route: str | None,
    file: Path,
    secrets_directory: Path | None,
) -> None:
    """Write an app into stack.toml, from a recipe or from a file like one, and make its secrets.

    All else in stack.toml stays as it is, comments too.

    \b
    Example:
      mvstack app add yarr --allow anna
      mvstack app add ./wiki.toml --as wiki --on attic
    """
    if public and allow:
        raise click.UsageError("--public and --allow exclude each other")
    one = recipes.load(name)
    called = as_name or one.name
    stack = declare(
        file,
        one,
        called,
        on=on,
        port=port,
        allow=allow,
        public=public,
        version=version,
        bucket=bucket,
        route=route,
    )
    made, wanted = secrets_of(file, secrets_directory).create(stack)
    click.echo(f"{file}: {called} added. It will be at https://{stack.authority(stack.host_of(called))}/")
    if made:
        click.echo(f"{len(made)} secrets made.")
    for secret in wanted:
        click.echo(f"Wanted: {secret.name}, with: mvstack secrets rotate {secret.name}")
    if problem := cannot_run(stack.apps[called]):
        click.echo(f"Note: {problem}.")
    click.echo(f"What it takes: mvstack app show {name}. Next: mvstack plan, and mvstack apply.")


@app.command()
@click.argument("name")
@file_option
def remove(name: str, file: Path) -> None:
    """Take an app out of stack.toml. Its data stay where they are, and so do its secrets."""
    stack, one = app_of(file, name)
    remove_app(file, name)
    click.echo(f"{file}: {name} removed. It runs until mvstack apply.")
    kept = [*([stack.store_of(name)] if one.database.routed else []), f"{Layout().app(name)} on {one.on}"]
    click.echo(f"Its data stay: {', '.join(kept)}")


@app.command()
@click.argument("names", metavar="[NAME]...", nargs=-1)
@file_option
@secrets_option
@json_option
@state_option
def doctor(
    names: tuple[str, ...], file: Path, secrets_directory: Path | None, as_json: bool, state: str
) -> int:
    """Look whether apps are as they should be, on the machine they run on. Ends with 1 if one is not.

    The program and whether its route can take effect, the databases, health, what strangers can see,
    secrets, versions.
    """
    stack = config.read(file)
    secrets = secrets_of(file, secrets_directory)
    for name in names:
        app_of(file, name)
    layout = Layout(state=state)
    found = {name: Doctor(stack, name, file, secrets, layout).look() for name in (names or tuple(stack.apps))}
    bad = sum(one.grade is Grade.BAD for every in found.values() for one in every)
    if as_json:
        print_json(
            {
                name: [
                    {"what": one.what, "grade": one.grade.value, "text": one.text, "remedy": one.remedy}
                    for one in every
                ]
                for name, every in found.items()
            }
        )
        return int(bad > 0)
    out = console()
    for name, every in found.items():
        out.print(Text(name, "bold"))
        for one in every:
            line = Text(f"  {one.grade.value:5}", STYLES[one.grade])
            remedy = f". {one.remedy}" if one.remedy else ""
            out.print(line.append(f" {one.what}: {one.text}{remedy}", "default"))
    out.print(f"{bad} bad of {sum(map(len, found.values()))} things looked at.")
    return int(bad > 0)


@app.command()
@click.argument("name")
@click.option("--to", "version", metavar="VERSION", required=True, help="The version to go to.")
@yes_option
@dry_option
@file_option
@json_option
@state_option
def upgrade(name: str, version: str, yes: bool, dry_run: bool, file: Path, as_json: bool, state: str) -> int:
    """Name the present versions of an app's databases, and write another version of it into stack.toml.

    mvstack apply then runs it. The way back: mvstack app revert.
    """
    layout = Layout(state=state)
    change = plan_upgrade(file, name, version, date.today(), layout)
    lines = [f"{file}: version {change.before} of {name} becomes {change.after}."]
    lines += [f"{step.database}: its present version is named {change.tag}." for step in change.steps]
    if not change.steps:
        lines.append(
            "It has no databases in the store: none is named, and mvstack app revert brings none back."
        )
    return _carry_out(file, change, lines, yes, dry_run, as_json, layout)


@app.command()
@click.argument("name")
@click.option("--to", "tag", metavar="TAG", help="A tag.  [default: that of the last upgrade]")
@click.option("--while-it-runs", is_flag=True, help="Do not ask that it be stopped.")
@yes_option
@dry_option
@file_option
@json_option
@state_option
def revert(
    name: str,
    tag: str | None,
    while_it_runs: bool,
    yes: bool,
    dry_run: bool,
    file: Path,
    as_json: bool,
    state: str,
) -> int:
    """Take an app back to before an upgrade: its databases, and the version in stack.toml.

    What was written since stays in the databases' history. A revert is named too: reverting to that
    name brings it all back.
    """
    layout = Layout(state=state)
    change = plan_revert(file, name, tag, date.today(), layout)
    if not (while_it_runs or dry_run) and _runs(name):
        remedy = f"Stop it: systemctl stop {unit(name)}; or say --while-it-runs"
        raise fail(file, f"{name} runs, and would meet data of an older version", remedy)
    lines = [f"{file}: version {change.before} of {name} becomes {change.after}."]
    for step in change.steps:
        if step.target is None:
            lines.append(f"{step.database}: stays as it is, for it has no version {change.back_to}.")
        else:
            since = "1 commit" if step.commits == 1 else f"{step.commits} commits"
            lines.append(f"{step.database}: goes back to {change.back_to}; to history: {since} since.")
    lines.append(f"The present state is named {change.tag}.")
    lines.append(f"To have it back: mvstack app revert {name} --to {change.tag}")
    return _carry_out(file, change, lines, yes, dry_run, as_json, layout)


@app.command()
@click.argument("name")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Take none; write one as SQL.")
@click.option("--at", "moment", metavar="WHEN", help="With --out: a time, or a tag.  [default: the newest]")
@file_option
@state_option
def dump(name: str, out: Path | None, moment: str | None, file: Path, state: str) -> None:
    """Take a dump of an app's database server into a database of the app's store, where each is a version.

    Only what changed is stored anew. A timer does this every night.
    """
    if moment is not None and out is None:
        raise click.UsageError("--at needs --out")
    layout = Layout(state=state)
    stack, one = app_of(file, name)
    if not one.database.dump:
        raise fail(file, f"{name} has no server that is dumped", "Say dump = [...] in its [database]")
    url = stack.store_of(name, layout.state)
    if out is not None:
        count = dumps.write(url, name, out, moment)
        click.echo(f"{out}: {count} lines written.")
        return
    fill = Filling(stack, name, layout)
    taken = dumps.take(url, name, [fill(word) for word in one.database.dump])
    click.echo(f"{name}: {taken.rows} rows; {taken.added} new, {taken.removed} gone since the last dump.")


def _runs(name: str) -> bool:
    program = shutil.which("systemctl")
    if program is None:
        return False
    command = [program, "is-active", "--quiet", f"{unit(name)}.service"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _carry_out(
    file: Path, change: Change, lines: list[str], yes: bool, dry_run: bool, as_json: bool, layout: Layout
) -> int:
    told = {
        "app": change.app,
        "from": change.before,
        "to": change.after,
        "tag": change.tag,
        "back_to": change.back_to,
        "databases": [
            {"name": step.database, "version": step.version, "target": step.target, "commits": step.commits}
            for step in change.steps
        ],
        "done": not dry_run,
    }
    if not as_json:
        for line in lines:
            click.echo(line)
    if not (yes or dry_run):
        if as_json or not has_terminal():
            raise NeedsYesError("nothing was done, for there is nobody to ask: give --yes to go ahead")
        click.confirm("Do it?", abort=True)
    if not dry_run:
        perform(file, change, layout)
    if as_json:
        print_json(told)
    elif not dry_run:
        click.echo("Done. Next: mvstack apply")
    return 0
