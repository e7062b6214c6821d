"""Users. Every change is a version of the accounts database whose message says what, and by whom."""

import time
from dataclasses import dataclass
from typing import Any

import apsw

from mvsqlite_stack.signin.database import Database
from mvsqlite_stack.signin.passwords import Passwords
from mvsqlite_stack.signin.secret import token
from mvsqlite_stack.signin.settings import USER_NAME

SHOWN_MAX = 80
"""Characters of the name to show."""
COLUMNS = "id, name, shown, password, password_set, disabled, created"


class AccountError(ValueError):
    """There is no such user, or one already, or the name will not do; the message says which."""


@dataclass(frozen=True, slots=True)
class User:
    """One user as the database has them; times in unix seconds."""

    id: str
    """Random: never another user's, as names may be."""
    name: str
    shown: str
    password: str | None
    """The hash."""
    password_set: float | None
    disabled: bool
    created: float


def _user(row: Any) -> User | None:
    if row is None:
        return None
    id, name, shown, password, password_set, disabled, created = row
    return User(id, name, shown, password, password_set, bool(disabled), created)


def _demand_shown(shown: str) -> None:
    if len(shown) > SHOWN_MAX or not shown.isprintable():
        raise AccountError(f"the name to show is printable, and at most {SHOWN_MAX} characters long")


class Accounts:
    """The users of the accounts database."""

    def __init__(self, database: Database, passwords: Passwords) -> None:
        self._database = database
        self._passwords = passwords

    def find(self, name: str) -> User | None:
        return self._one("name", name.strip().lower())

    def by_id(self, id: str) -> User | None:
        return self._one("id", id)

    def get(self, name: str) -> User:
        """Raises AccountError if there is none."""
        user = self.find(name)
        if user is None:
            raise AccountError(f"there is no user {name!r}")
        return user

    def _one(self, column: str, value: str) -> User | None:
        question = f"SELECT {COLUMNS} FROM user WHERE {column} = ?"
        return self._database.read(lambda db: _user(db.execute(question, (value,)).fetchone()))

    def all(self) -> list[User]:
        question = f"SELECT {COLUMNS} FROM user ORDER BY name"
        rows = self._database.read(lambda db: db.execute(question).fetchall())
        return [user for row in rows if (user := _user(row))]

    def add(self, name: str, shown: str, password: str | None, by: str) -> User:
        """Adds a user; password: None for one who cannot sign in with one. Raises AccountError,
        PasswordError."""
        if not USER_NAME.fullmatch(name):
            raise AccountError(
                f"{name!r} cannot be a user's name: use 1 to 32 of a-z, 0-9, '.', '_', '-', "
                "with a letter or digit first and last"
            )
        _demand_shown(shown or name)
        hashed = self._new(password, name) if password is not None else None
        now = time.time()
        user = User(token(12), name, shown or name, hashed, now if hashed else None, False, now)

        def insert(db: apsw.Connection) -> None:
            if db.execute("SELECT 1 FROM user WHERE name = ?", (name,)).fetchone():
                raise AccountError(f"there is a user {name!r} already")
            db.execute(
                f"INSERT INTO user({COLUMNS}) VALUES (?, ?, ?, ?, ?, 0, ?)",
                (user.id, name, user.shown, hashed, user.password_set, now),
            )

        self._database.write(f"user {name} added by {by}", insert)
        return user

    def _new(self, password: str, name: str) -> str:
        self._passwords.demand(password, name)
        return self._passwords.hash(password)

    def set_password(self, user: User, password: str, by: str) -> None:
        """Raises PasswordError if it is not good enough, AccountError if the user is gone."""
        self._store_hash(user, self._new(password, user.name), f"password of {user.name} set by {by}")

    def upgrade(self, user: User, password: str) -> None:
        """Hashes the user's password anew if the costs have changed; the password is known to be right."""
        if user.password and self._passwords.is_outdated(user.password):
            hashed = self._passwords.hash(password)
            self._store_hash(user, hashed, f"password of {user.name} hashed anew with other costs")

    def _store_hash(self, user: User, hashed: str, message: str) -> None:
        change = "UPDATE user SET password = ?, password_set = ? WHERE id = ?"
        self._change(user, message, change, (hashed, time.time(), user.id))

    def set_shown(self, user: User, shown: str, by: str) -> None:
        """Raises AccountError if the name will not do."""
        _demand_shown(shown)
        message = f"shown name of {user.name} changed by {by}"
        self._change(user, message, "UPDATE user SET shown = ? WHERE id = ?", (shown, user.id))

    def set_disabled(self, user: User, disabled: bool, by: str) -> None:
        message = f"user {user.name} {'disabled' if disabled else 'enabled'} by {by}"
        self._change(user, message, "UPDATE user SET disabled = ? WHERE id = ?", (int(disabled), user.id))

    def remove(self, user: User, by: str) -> None:
        """Removes a user with all they prove themselves with."""
        message = f"user {user.name} removed by {by}"
        self._change(user, message, "DELETE FROM user WHERE id = ?", (user.id,))

    def _change(self, user: User, message: str, statement: str, values: tuple[Any, ...]) -> None:
        def change(db: apsw.Connection) -> None:
            db.execute(statement, values)
            if db.changes() == 0:
                raise AccountError(f"there is no user {user.name!r} any more")

        self._database.write(message, change)
