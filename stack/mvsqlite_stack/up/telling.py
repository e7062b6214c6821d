"""What ``mvstack up`` says: addresses, users, what to try, and what stands in for what."""

import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from mvsqlite_stack.up import users
from mvsqlite_stack.up.programs import STATUS
from mvsqlite_stack.up.running import Prepared
from mvsqlite_stack.up.supervision import State
from mvsqlite_stack.up.trial import DOMAIN, Trial

DEMO_APP, DEMO_DATABASE = "notes", "notes.db"
WIDTH_MAX = 100
"""Columns of running text."""
COLOURS = {"RUNNING": "green", "STARTING": "green", "BACKOFF": "yellow", "FATAL": "red"}


def shown(path: Path) -> str:
    """As somebody here would type it."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


def typed(program: str, *words: str) -> str:
    """A command that works as it is when copied into a shell here."""
    beside = Path(sys.executable).parent / program
    found = shutil.which(program)
    is_same = found is not None and Path(found).resolve() == beside.resolve()
    return shlex.join([program if is_same or not beside.exists() else shown(beside), *words])


class Teller:
    """Writes for people on one console."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._width = min(console.width, WIDTH_MAX)

    def _head(self, text: str) -> None:
        self._console.print()
        self._console.print(Text(text, "bold"))

    def _say(self, text: str) -> None:
        self._console.print(Padding(text, (0, 0, 0, 2), expand=False), width=self._width)

    def _step(self, number: int, text: str) -> None:
        self._rows([(f"{number}", text)])

    def _type(self, command: str) -> None:
        """A command to be copied: on a line of its own that is never broken."""
        self._console.print(Text(f"     {command}", "cyan"), soft_wrap=True)

    def _rows(self, rows: Sequence[tuple[str | Text, ...]]) -> None:
        table = Table.grid(padding=(0, 2))
        for row in rows:
            table.add_row(*row)
        self._console.print(Padding(table, (0, 0, 0, 2), expand=False), width=self._width)

    def started(self, prepared: Prepared, *, detached: bool) -> None:
        """All of it, once everything answers; what is needed first stands last, where a terminal shows it."""
        self._stand_ins(prepared)
        self._certificate(prepared)
        self._addresses(prepared)
        self._users(prepared)
        if DEMO_APP in prepared.here.apps:
            self._to_try(prepared)
        place = shown(prepared.trial.directory)
        self._console.print()
        if detached:
            self._say("It runs in the background. To end it:")
            self._type(typed("mvstack", "down", place))
        else:
            self._say("[bold]^C ends it.[/bold] What was written stays in " + escape(place) + ".")

    def _addresses(self, prepared: Prepared) -> None:
        here = prepared.here
        self._head("Addresses")
        names = [("Sign-in", here.sign_in_host)]
        names += [(app.title or name, here.host_of(name)) for name, app in here.apps.items()]
        if any(one.name == STATUS for one in prepared.programs):
            names.append(("Status page", here.status_host))
        self._rows([(title, Text(f"https://{here.authority(host)}/", "cyan")) for title, host in names])
        if not here.domain.endswith(".localhost"):
            hosts = " ".join(host for _, host in names)
            self._say("Browsers find names below localhost by themselves, not these. Into /etc/hosts:")
            self._type(f"127.0.0.1 {hosts}")
        for name, reason in prepared.not_run.items():
            self._say(f"{name} is not run here: {reason}.")

    def _users(self, prepared: Prepared) -> None:
        here, file = prepared.here, shown(prepared.trial.users)
        self._head("Users")
        rows = []
        for name in here.users:
            apps = [here.apps[app].title or app for app in users.may_enter(here, name)]
            password = Text(
                prepared.passwords.get(name, f"in {file}"), "cyan" if prepared.passwords else "dim"
            )
            rows.append((name, password, f"may enter {', '.join(apps)}" if apps else "may enter no app"))
        self._rows(rows)
        if prepared.passwords:
            self._say(f"[dim]Passwords are shown this once; they are in {escape(file)} too.[/dim]")

    def _to_try(self, prepared: Prepared) -> None:
        here = prepared.here
        address = here.store_of(DEMO_APP, prepared.trial.layout.state)
        store = f"lmdb:{shown(Path(address.removeprefix('lmdb:')))}"
        who = next((name for name in here.users if DEMO_APP in users.may_enter(here, name)), "anna")
        other = next((name for name in here.users if DEMO_APP not in users.may_enter(here, name)), None)
        self._head("To try")
        page = f"https://{here.authority(here.host_of(DEMO_APP))}/"
        self._step(1, f"Open {page}, sign in as {who}, write some notes.")
        self._step(2, "Delete all notes: the mistake. The app has forgotten them; its history has not:")
        self._type(typed("mvrevert", "log", DEMO_DATABASE, "--store", store))
        self._step(3, "Take the newest change back while the app runs, and reload the page:")
        self._type(typed("mvrevert", "undo", DEMO_DATABASE, "HEAD", "--yes", "--store", store))
        self._step(4, "Share a note: anybody can read it at its public address, and nothing else.")
        if other:
            account = f"https://{here.authority(here.sign_in_host)}/"
            self._step(5, f"Sign out at {account}, and sign in as {other}, who may not enter.")

    def _certificate(self, prepared: Prepared) -> None:
        ca = shown(prepared.certificates.authority)
        self._head("Certificate")
        self._say(
            "Your browser warns of it, for its authority is known to nobody else. Go on, or let the browser "
            f"trust {escape(ca)} (in its settings: certificates, authorities, import); passkeys work only "
            f"then. That authority can speak for {prepared.here.domain} alone. Nothing was installed."
        )
        self._type(
            f"curl --cacert {shlex.quote(ca)} https://{prepared.here.authority(prepared.here.sign_in_host)}/"
        )

    def _stand_ins(self, prepared: Prepared) -> None:
        declared = prepared.declared
        rows: list[tuple[str | Text, ...]] = []
        if declared.stack.gateway == "kong":
            rows.append(("Kong", "nginx, from the same declaration"))
        if not declared.store.url.startswith("lmdb:") or declared.domain == DOMAIN:
            rows.append(("FoundationDB", "LMDB: one machine, the same history"))
        rows.append(("systemd", "supervisord: your own user, no sandbox"))
        rows.append(("Public certificates", "an authority of this directory"))
        rows.append(("The domain's DNS", "names on loopback: only this machine gets in"))
        rows.append(("Backup to S3, replica", "not there"))
        if len(declared.hosts) > 1:
            rows.append(("Hosts", f"this one for all {len(declared.hosts)}"))
        self._head("What stands in for what")
        self._rows(rows)

    def change(self, trial: Trial, state: State) -> None:
        """One program has ended, runs again, or is given up."""
        words = {
            "STARTING": "is started again",
            "RUNNING": "runs",
            "BACKOFF": f"does not stay: {state.note}; it is tried again, later each time",
            "FATAL": "is given up: end all and start again when it is corrected",
            "EXITED": "has ended",
        }
        said = words.get(state.state)
        if said:
            log = shown(trial.log_of(state.name))
            colour = COLOURS.get(state.state, "")
            self._console.print(Text(f"{state.name} {said}. Its log: {log}", colour), soft_wrap=True)

    def states(self, states: Sequence[State], trial: Trial) -> None:
        """A table of what runs."""
        table = Table("Part", "State", "Process", "Log", box=None, pad_edge=False)
        for one in states:
            table.add_row(
                one.name,
                Text(one.state.lower(), COLOURS.get(one.state, "")),
                str(one.pid or "-"),
                shown(trial.log_of(one.name)),
            )
        self._console.print(table)
