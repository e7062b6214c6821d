"""``mvstack user`` and ``mvstack keys``: the sign-in service from its administrator's terminal."""

import getpass
import os
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import wraps
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from mvsqlite_py._cli._common import NeedsYesError, Typed, has_terminal, print_json, show_table
from mvsqlite_stack.service_settings import SettingsError
from mvsqlite_stack.signin.accounts import AccountError, User
from mvsqlite_stack.signin.activity import Visitor
from mvsqlite_stack.signin.owner import become_owner_of
from mvsqlite_stack.signin.passwords import PasswordError
from mvsqlite_stack.signin.settings import PLACE, VARIABLE, read
from mvsqlite_stack.signin.web.agents import agent_words

if TYPE_CHECKING:  # it takes as long to load as all other commands together
    from mvsqlite_stack.signin.service import Service

EVENTS_SHOWN = 50


@dataclass(frozen=True, slots=True)
class Session:
    """One command: the service it works on, and how it tells its result."""

    service: "Service"
    json: bool
    by: str
    """Who runs it, for the history."""
    directory: Path
    """Of the settings file."""

    def tell(self, *lines: str, **result: Any) -> None:
        if self.json:
            print_json(result)
        else:
            for line in lines:
                click.echo(f"  {line}" if isinstance(line, Typed) else line)

    def note(self, kind: str, user: User) -> None:
        """A line in the audit log."""
        self.service.events.add(kind, user, user.name, Visitor("command line", ""), f"by {self.by}")


def _by() -> str:
    name = os.environ.get("SUDO_USER") or getpass.getuser()
    return f"{name}@{socket.gethostname()} with mvstack"


@contextmanager
def _errors() -> Iterator[None]:
    try:
        yield
    except (AccountError, PasswordError, SettingsError) as error:
        raise click.ClickException(str(error)) from error


def command(function: Callable[..., Any]) -> Callable[..., Any]:
    """Gives a command ``--settings`` and ``--json``; the function gets a Session first.

    Run by root it acts as the owner of the service's keys.
    """

    @click.option(
        "--settings",
        "path",
        envvar=VARIABLE,
        show_envvar=True,
        type=click.Path(path_type=Path, dir_okay=False),
        help=f"The settings file of the sign-in service. Default: {PLACE}, if it is there.",
    )
    @click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
    @wraps(function)
    def run(path: Path | None, as_json: bool, **options: Any) -> Any:
        # Before it becomes somebody else, who may not be able to read libraries of root's.
        from mvsqlite_stack.signin.service import Service

        by, place = _by(), _place(path)
        settings = read(place)
        become_owner_of(settings.keys)
        service = Service(settings)
        try:
            with _errors():
                return function(Session(service, as_json, by, place.parent), **options)
        finally:
            service.close()

    return run


def _place(path: Path | None) -> Path:
    """Raises SettingsError if no settings file is named and none is where one should be."""
    if path is None and not PLACE.is_file():
        raise SettingsError(f"{VARIABLE} names no settings file, and there is no {PLACE}")
    return path or PLACE


def _moment(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def _new_password(user: str) -> str:
    """Asked for twice at a terminal, else one line of standard input."""
    if has_terminal():
        typed = click.prompt(
            f"Password for {user}", hide_input=True, confirmation_prompt="The same again", err=True
        )
        return str(typed)
    line = sys.stdin.readline().rstrip("\r\n")
    if not line:
        raise click.ClickException("no password on standard input: pipe one line, or run it at a terminal")
    return line


def _confirm(session: Session, question: str, yes: bool) -> None:
    if yes:
        return
    if session.json or not has_terminal():
        raise NeedsYesError("nothing was done, for there is nobody to ask: give --yes to go ahead")
    click.confirm(question, abort=True, err=True)


yes_option = click.option("--yes", is_flag=True, help="Do not ask.")
name_argument = click.argument("name")


# ---- users ---------------------------------------------------------------------------


@click.group("user")
def user_commands() -> None:
    """Who can sign in."""


@user_commands.command("add")
@name_argument
@click.option("--shown", default="", metavar="TEXT", help="The name that people see. Default: NAME.")
@click.option("--no-password", is_flag=True, help="None for now; set one later with 'user password'.")
@command
def add(session: Session, name: str, shown: str, no_password: bool) -> None:
    """Add a user.

    The password is asked for, or read as one line from standard input.
    """
    password = None if no_password else _new_password(name)
    user = session.service.accounts.add(name, shown, password, session.by)
    session.note("added", user)
    session.tell(f"Added {user.name}.", user=_facts(session, user))


def _facts(session: Session, user: User) -> dict[str, Any]:
    service = session.service
    return {
        "name": user.name,
        "shown": user.shown,
        "disabled": user.disabled,
        "created": _moment(user.created),
        "password_set": _moment(user.password_set),
        "groups": service.settings.groups_of(user.name),
        "apps": service.settings.apps_of(user.name),
        "authenticator_app": service.factors.has_totp(user),
        "passkeys": len(service.passkeys.of(user)),
        "recovery_codes": service.factors.recovery_codes_left(user),
        "sessions": len(service.sessions.of(user)),
    }


@user_commands.command("invite")
@name_argument
@command
def invite(session: Session, name: str) -> None:
    """Make a link with which a user can set a password, once. Earlier ones end."""
    from mvsqlite_stack.signin import invitations

    user = session.service.accounts.get(name)
    link = invitations.invite(session.service, user)
    session.note("invited", user)
    session.tell(f"For {user.name}, {_days(session)}:", Typed(link), user=user.name, link=link)


def _days(session: Session) -> str:
    days = session.service.settings.lifetimes.invitation / 86400
    return f"good once and for {days:.3g} days"


@user_commands.command("sync")
@click.argument("file", type=click.File(), required=False)
@click.option("--dry-run", is_flag=True, help="Only tell what would be done.")
@click.option("--disable-missing", is_flag=True, help="Disable accounts that are declared no longer.")
@command
def sync(session: Session, file: IO[str] | None, dry_run: bool, disable_missing: bool) -> None:
    """Make the declared users accounts: those of FILE, or of users.toml beside the settings.

    Who is missing is added without a password, and gets a link to set one. Names that people see are
    changed to those declared; groups are in the settings. Nobody is removed.
    """
    from mvsqlite_stack.signin import invitations

    with file or (session.directory / "users.toml").open() as source:
        wanted = invitations.declared(source.read())
    links: dict[str, str] = {}
    if dry_run:
        done = invitations.compare(session.service, wanted)
    else:
        done, links = invitations.synchronise(session.service, wanted, session.by)
    for name in done.add if not dry_run else ():
        session.note("added and invited", session.service.accounts.get(name))
    disabled = _disable_missing(session, done.missing) if disable_missing and not dry_run else ()
    verb = "To be" if dry_run else "Now"
    lines = [f"{verb} added: {name}." for name in done.add]
    lines += [f"{verb} shown otherwise: {name}." for name in done.change]
    lines += [f"Disabled: {name}; sessions ended." for name in disabled]
    left = [name for name in done.missing if name not in disabled]
    lines += [f"Not declared, and left as it is: {name} (mvstack user disable {name})." for name in left]
    for name, link in links.items():
        lines += [f"To set a password, for {name}, {_days(session)}:", Typed(link)]
    session.tell(
        *lines or ["All users are as declared."],
        add=done.add,
        change=done.change,
        missing=left,
        disabled=disabled,
        invitations=links,
    )


def _disable_missing(session: Session, names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        user = session.service.accounts.get(name)
        session.service.accounts.set_disabled(user, True, session.by)
        session.service.sessions.revoke(user, session.by)
        session.note("disabled", user)
    return names


@user_commands.command("list")
@command
def list_users(session: Session) -> None:
    """List users, and what they can do."""
    facts = [_facts(session, user) for user in session.service.accounts.all()]
    if session.json:
        print_json(facts)
        return
    rows = [
        (
            one["name"] + (" (disabled)" if one["disabled"] else ""),
            one["shown"],
            ", ".join(one["apps"]) or "-",
            ", ".join(_ways(one)) or "-",
            one["sessions"],
        )
        for one in facts
    ]
    show_table(("User", "Shown", "Apps", "Signs in with", "Sessions"), rows, right=("Sessions",))


def _ways(facts: dict[str, Any]) -> list[str]:
    named = {
        "password": facts["password_set"],
        "app code": facts["authenticator_app"],
        "passkey": facts["passkeys"],
    }
    return [name for name, there in named.items() if there]


@user_commands.command("disable")
@name_argument
@command
def disable(session: Session, name: str) -> None:
    """Let a user in no more, and end their sessions; 'user enable' takes it back."""
    user = session.service.accounts.get(name)
    session.service.accounts.set_disabled(user, True, session.by)
    ended = session.service.sessions.revoke(user, session.by)
    session.note("disabled", user)
    session.tell(f"Disabled {user.name}; sessions ended: {ended}.", user=user.name, ended=ended)


@user_commands.command("enable")
@name_argument
@command
def enable(session: Session, name: str) -> None:
    """Let a disabled user in again."""
    user = session.service.accounts.get(name)
    session.service.accounts.set_disabled(user, False, session.by)
    session.note("enabled", user)
    session.tell(f"Enabled {user.name}.", user=user.name)


@user_commands.command("remove")
@name_argument
@yes_option
@command
def remove(session: Session, name: str, yes: bool) -> None:
    """Remove a user with their password, passkeys and authenticator app."""
    user = session.service.accounts.get(name)
    _confirm(session, f"Remove {user.name}?", yes)
    session.service.accounts.remove(user, session.by)
    session.service.sessions.revoke(user, session.by)
    session.note("removed", user)
    words = ["mvrevert", "undo", session.service.settings.database, "HEAD"]
    store = session.service.settings.store
    back = Typed(" ".join(words + (["--store", store] if store else [])))
    session.tell(f"Removed {user.name}. To take it back:", back, user=user.name, undo=str(back))


@user_commands.command("password")
@name_argument
@command
def password(session: Session, name: str) -> None:
    """Set a user's password, and end their sessions.

    It is asked for, or read as one line from standard input.
    """
    user = session.service.accounts.get(name)
    session.service.accounts.set_password(user, _new_password(name), session.by)
    ended = session.service.sessions.revoke(user, session.by)
    session.note("password set", user)
    session.tell(f"Password of {user.name} set; sessions ended: {ended}.", user=user.name, ended=ended)


@user_commands.command("totp-reset")
@name_argument
@yes_option
@command
def totp_reset(session: Session, name: str, yes: bool) -> None:
    """Take away all second factors of someone who has lost them, and end their sessions.

    Authenticator app, passkeys and recovery codes go; the password is enough until new ones are added.
    """
    user = session.service.accounts.get(name)
    _confirm(session, f"Remove authenticator app, passkeys and recovery codes of {user.name}?", yes)
    session.service.factors.reset(user, session.by)
    ended = session.service.sessions.revoke(user, session.by)
    session.note("second factors removed", user)
    session.tell(f"{user.name} signs in with the password alone; sessions ended: {ended}.", user=user.name)


@user_commands.command("sessions")
@name_argument
@command
def sessions(session: Session, name: str) -> None:
    """List where a user is signed in."""
    user = session.service.accounts.get(name)
    found = session.service.sessions.of(user)
    facts = [
        {
            "id": one.id,
            "address": one.address,
            "program": agent_words(one.agent),
            "methods": one.methods,
            "created": _moment(one.created),
            "seen": _moment(one.seen),
        }
        for one in found
    ]
    if session.json:
        print_json(facts)
        return
    columns = ("Session", "Address", "Program", "With", "Since", "Last used")
    show_table(columns, [tuple(str(value) for value in one.values()) for one in facts])


@user_commands.command("revoke")
@name_argument
@click.argument("ids", nargs=-1, metavar="[SESSION]...")
@click.option("--all", "everything", is_flag=True, help="All sessions of the user.")
@command
def revoke(session: Session, name: str, ids: tuple[str, ...], everything: bool) -> None:
    """End sessions of a user, by the names that 'user sessions' lists."""
    if bool(ids) == everything:
        raise click.UsageError("name sessions, or give --all")
    user = session.service.accounts.get(name)
    revoked = session.service.sessions.revoke
    ended = (
        revoked(user, session.by) if everything else sum(revoked(user, session.by, only=one) for one in ids)
    )
    if ended < len(ids):
        raise click.ClickException(f"sessions ended: {ended}; the others were not there")
    session.note("sessions ended", user)
    seconds = session.service.settings.lifetimes.token
    session.tell(
        f"Sessions ended: {ended}. A gateway that checks tokens alone follows within {seconds} seconds.",
        ended=ended,
    )


@user_commands.command("events")
@click.argument("name", required=False)
@click.option("-n", "count", default=EVENTS_SHOWN, show_default=True, help="How many.")
@command
def events(session: Session, name: str | None, count: int) -> None:
    """The audit log, newest first: of one user, or all."""
    user = session.service.accounts.get(name) if name else None
    found = session.service.events.last(count, user)
    rows = [
        {
            "time": _moment(one.time),
            "user": one.name,
            "event": one.kind,
            "detail": one.detail,
            "address": one.address,
            "program": agent_words(one.agent) if one.agent else "",
        }
        for one in found
    ]
    if session.json:
        print_json(rows)
        return
    columns = ("Time", "User", "Event", "Detail", "Address", "Program")
    show_table(columns, [tuple(str(value) for value in one.values()) for one in rows])


# ---- keys ----------------------------------------------------------------------------


@click.group("keys")
def key_commands() -> None:
    """The keys that sign tokens.

    To change keys without signing anyone out: 'keys add', let every gateway learn the new key, 'keys use'
    it, and after the life of a token 'keys remove' the old one.
    """


@key_commands.command("list")
@command
def list_keys(session: Session) -> None:
    """List keys: which one signs, and their public halves."""
    ring = session.service.keys.ring()
    facts = [
        {"id": key.id, "signs": key is ring.signing, "public_pem": key.public_pem}
        for key in ring.keys.values()
    ]
    if session.json:
        print_json(facts)
        return
    show_table(("Key", "Signs"), [(str(one["id"]), "yes" if one["signs"] else "") for one in facts])


@key_commands.command("add")
@command
def add_key(session: Session) -> None:
    """Make a key that is published, and does not sign yet."""
    session.service.keys.prepare()
    key = session.service.keys.add()
    session.tell(f"Added {key}. When every gateway knows it:", Typed(f"mvstack keys use {key}"), key=key)


@key_commands.command("use")
@click.argument("key")
@command
def use_key(session: Session, key: str) -> None:
    """Let a key sign from now on."""
    before = session.service.keys.ring().signing.id
    session.service.keys.use(key)
    session.tell(f"{key} signs now. {before} stays good for tokens it has signed.", key=key, before=before)


@key_commands.command("remove")
@click.argument("key")
@command
def remove_key(session: Session, key: str) -> None:
    """Take a key away, once no token that it has signed is valid any more."""
    session.service.keys.remove(key, session.service.settings.lifetimes.token)
    session.tell(f"Removed {key}.", key=key)


if __name__ == "__main__":  # as "mvstack apply" does it on a host
    user_commands(prog_name="mvstack user")
