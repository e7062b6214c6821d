"""The service without its pages: everything that pages and commands work with."""

import time
from dataclasses import dataclass

import apsw

from mvsqlite_stack.signin import tokens
from mvsqlite_stack.signin.accounts import Accounts, User
from mvsqlite_stack.signin.activity import Events, Pending, Session, Sessions, Visitor
from mvsqlite_stack.signin.database import Databases
from mvsqlite_stack.signin.factors import Factors
from mvsqlite_stack.signin.keys import Keys
from mvsqlite_stack.signin.limits import Limits, TooManyError, Try
from mvsqlite_stack.signin.passkeys import Passkeys
from mvsqlite_stack.signin.passwords import Passwords
from mvsqlite_stack.signin.secret import Secret
from mvsqlite_stack.signin.settings import Settings


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A session that has just begun."""

    session: str
    """Its id."""
    secret: str
    """For the cookie."""


class Service:
    """The parts, made from the settings."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.keys = Keys(settings.keys)
        self.secret = Secret(settings.keys)
        self.databases = Databases(settings)
        self.passwords = Passwords(settings.argon2, settings.password_min)
        self.accounts = Accounts(self.databases.accounts, self.passwords)
        self.factors = Factors(self.databases, self.secret)
        self.passkeys = Passkeys(self.databases, settings)
        self.sessions = Sessions(self.databases.activity, settings.lifetimes)
        self.pending = Pending(self.databases.activity)
        self.events = Events(self.databases.activity, settings.lifetimes.events)
        self.limits = Limits(self.databases.activity, settings.limits)

    def close(self) -> None:
        self.databases.close()

    def begin_try(self, what: str, name: str, visitor: Visitor, device: str | None) -> Try:
        """Counts a try at proving something. Raises TooManyError, which the audit log then tells."""
        try:
            return self.limits.begin(what, name, visitor.address, device, time.time())
        except TooManyError as refused:
            if refused.first:
                self.events.add("refused: too many tries", self.accounts.find(name), name, visitor)
            raise

    def has_second_factor(self, user: User) -> bool:
        return self.factors.has_totp(user) or bool(self.passkeys.of(user))

    def sign_in(
        self, user: User, methods: str, visitor: Visitor, tried: list[Try], replaces: str | None
    ) -> SignedIn:
        """Begins a session for a user who has proved everything; replaces: the session before it."""

        def begin(db: apsw.Connection) -> SignedIn:
            self.limits.succeeded(db, tried, whole=True)
            self.sessions.sweep(db)
            if replaces:
                db.execute("DELETE FROM session WHERE id = ?", (replaces,))
            id, secret = self.sessions.create(db, user, methods, visitor)
            self.events.add_inside(db, "signed in", user, user.name, visitor, methods)
            return SignedIn(id, secret)

        message = f"{user.name} signed in from {visitor.address} ({methods})"
        return self.databases.activity.write(message, begin)

    def living(self, secret: str | None) -> tuple[Session, User] | None:
        """Session and user of a session cookie, if the user may still sign in."""
        session = self.sessions.find(secret) if secret else None
        return self._with_user(session)

    def of_token(self, token: tokens.Token) -> tuple[Session, User] | None:
        """Session and user of a believed token, if the session was not revoked meanwhile."""
        found = self._with_user(self.sessions.get(token.session))
        return found if found and found[1].name == token.user else None

    def _with_user(self, session: Session | None) -> tuple[Session, User] | None:
        user = self.accounts.by_id(session.user) if session else None
        if session is None or user is None or user.disabled:
            return None
        return session, user

    def token(self, user: User, session: str) -> str:
        """A new token for the gateway."""
        apps = self.settings.apps_of(user.name)
        return tokens.issue(self.keys, user.name, session, apps, self.settings.lifetimes.token)
