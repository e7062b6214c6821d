"""One-time links by which a user sets a password: for who is declared, and cannot sign in yet."""

import tomllib
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, ValidationError

from mvsqlite_stack.service_settings import SettingsError
from mvsqlite_stack.signin.accounts import AccountError, User
from mvsqlite_stack.signin.service import Service

KIND = "invitation"
"""In the table of steps under way."""


class Declared(BaseModel):
    """A user as declared for the household."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    shown: str = ""
    """The name that people see; the user's name unless given."""


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    users: dict[str, Declared] = {}


def declared(text: str) -> dict[str, Declared]:
    """The users that a file of ``[users.NAME]`` tables declares. Raises SettingsError."""
    try:
        return _File.model_validate(tomllib.loads(text)).users
    except (tomllib.TOMLDecodeError, ValidationError) as error:
        raise SettingsError(f"the declared users cannot be read: {error}") from error


def invite(service: Service, user: User) -> str:
    """A link with which the user can set a password, once; earlier ones end. Raises AccountError."""
    if user.disabled:
        raise AccountError(f"{user.name} is disabled: enable them first")
    service.pending.forget(KIND, user)
    code = service.pending.put(KIND, user, {}, service.settings.lifetimes.invitation)
    return f"{service.settings.origin}/invitation?code={code}"


def invited(service: Service, code: str) -> User | None:
    """Whom a code invites; None if it was used, has ended, or never was."""
    found = service.pending.look(KIND, code)
    user = service.accounts.by_id(found[0]) if found and found[0] else None
    return None if user is None or user.disabled else user


def accept(service: Service, code: str, password: str) -> User | None:
    """Sets the password of whom a code invites, and ends the invitation; None if there is none any more.
    Raises PasswordError, and the invitation stays."""
    user = invited(service, code)
    if user is None:
        return None
    service.passwords.demand(password, user.name)
    if service.pending.take(KIND, code) is None:  # somebody else was first
        return None
    service.accounts.set_password(user, password, f"{user.name}, by invitation")
    service.sessions.revoke(user, user.name)
    return user


@dataclass(frozen=True, slots=True)
class Sync:
    """What makes the accounts those that are declared."""

    add: tuple[str, ...]
    change: tuple[str, ...]
    """Whose shown name is another."""
    missing: tuple[str, ...]
    """Accounts that are declared no longer, and are not disabled."""


def compare(service: Service, wanted: dict[str, Declared]) -> Sync:
    """What is to be done; nothing is changed."""
    there = {user.name: user for user in service.accounts.all()}
    return Sync(
        tuple(name for name in wanted if name not in there),
        tuple(
            name for name, one in wanted.items() if name in there and there[name].shown != _shown(name, one)
        ),
        tuple(name for name, user in there.items() if name not in wanted and not user.disabled),
    )


def synchronise(service: Service, wanted: dict[str, Declared], by: str) -> tuple[Sync, dict[str, str]]:
    """Adds who is missing, without a password, and changes names; deletes nobody.

    Gives what was done, and the invitations of those who were added, by name.
    """
    found, links = compare(service, wanted), {}
    for name in found.add:
        user = service.accounts.add(name, wanted[name].shown, None, by)
        links[name] = invite(service, user)
    for name in found.change:
        service.accounts.set_shown(service.accounts.get(name), _shown(name, wanted[name]), by)
    return found, links


def _shown(name: str, one: Declared) -> str:
    return one.shown or name
