"""Demo users: an account and a random password for each that is declared and has none."""

import os
import secrets

from mvsqlite_stack.model import Stack
from mvsqlite_stack.signin.service import Service
from mvsqlite_stack.signin.settings import read
from mvsqlite_stack.up.trial import Trial

ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"
"""Nothing that is read for another thing."""
GROUPS, GROUP_LETTERS = 4, 4


def create(trial: Trial, here: Stack) -> dict[str, str]:
    """The passwords of those that were added now, by name; they are written into the trial's file too."""
    service = Service(read(trial.directory / "etc/signin/signin.toml"))
    added = {}
    try:
        known = {user.name for user in service.accounts.all()}
        for name, user in here.users.items():
            if name not in known:
                added[name] = _password()
                service.accounts.add(name, user.name or name, added[name], "mvstack up")
    finally:
        service.close()
    if added:
        _write(trial, here, added)
    return added


def _password() -> str:
    return "-".join("".join(secrets.choice(ALPHABET) for _ in range(GROUP_LETTERS)) for _ in range(GROUPS))


def _write(trial: Trial, here: Stack, added: dict[str, str]) -> None:
    descriptor = os.open(trial.users, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    with os.fdopen(descriptor, "w") as file:
        for name, password in added.items():
            file.write(f"{name} {password} {here.users[name].name}".rstrip() + "\n")


def may_enter(here: Stack, user: str) -> list[str]:
    """Names of the private apps that a user may enter."""
    groups = {f"@{group}" for group in here.users[user].groups}
    return [
        name
        for name, app in here.apps.items()
        if not app.public and not {user, "*", *groups}.isdisjoint(app.allow)
    ]
