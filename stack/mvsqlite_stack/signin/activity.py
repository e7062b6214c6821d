"""What changes with every sign-in: sessions, steps under way, the audit log."""

import json
import time
from dataclasses import dataclass
from typing import Any

import apsw

from mvsqlite_stack.signin.accounts import User
from mvsqlite_stack.signin.database import Database
from mvsqlite_stack.signin.limits import TooManyError
from mvsqlite_stack.signin.secret import digest, token
from mvsqlite_stack.signin.settings import Lifetimes

AGENT_MAX = 200
"""Characters of a User-Agent header that are kept."""
NAME_MAX = 64
"""Characters of a name that nobody may have."""
SEEN_SECONDS = 3600
"""How exactly the last use of a session is known: a write for every use would be too many."""
SESSION = "id, user, methods, address, agent, created, seen, proved"


def plain(text: str, most: int) -> str:
    """What a stranger has sent, fit for logs and terminals: so many characters, all printable."""
    return "".join(one if one.isprintable() else "?" for one in text[:most])


@dataclass(frozen=True, slots=True)
class Visitor:
    """Where a request comes from."""

    address: str
    agent: str

    @property
    def kept_agent(self) -> str:
        """What is written down of the agent."""
        return plain(self.agent, AGENT_MAX)


@dataclass(frozen=True, slots=True)
class Session:
    """One session; times in unix seconds."""

    id: str
    user: str
    methods: str
    address: str
    agent: str
    created: float
    seen: float
    proved: float
    """When the visitor last proved who they are."""


@dataclass(frozen=True, slots=True)
class Event:
    """One line of the audit log."""

    time: float
    kind: str
    name: str
    address: str
    agent: str
    detail: str


class Sessions:
    """Sessions that can be listed and revoked. Revoking is deleting: what is not there is not valid."""

    def __init__(self, database: Database, lifetimes: Lifetimes) -> None:
        self._database = database
        self._lifetimes = lifetimes

    @staticmethod
    def create(db: apsw.Connection, user: User, methods: str, visitor: Visitor) -> tuple[str, str]:
        """Begins a session inside a transaction; its id, and the secret for the cookie."""
        now, id, secret = time.time(), token(12), token()
        db.execute(
            f"INSERT INTO session({SESSION}, secret) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (id, user.id, methods, visitor.address, visitor.kept_agent, now, now, now, digest(secret)),
        )
        return id, secret

    def find(self, secret: str) -> Session | None:
        """The living session of a cookie."""
        return self._living("secret", digest(secret))

    def get(self, id: str) -> Session | None:
        """The living session of a token."""
        return self._living("id", id)

    def _living(self, column: str, value: str | bytes) -> Session | None:
        question = f"SELECT {SESSION} FROM session WHERE {column} = ?"
        row = self._database.read(lambda db: db.execute(question, (value,)).fetchone())
        session = Session(*row) if row else None
        return session if session and self._is_living(session, time.time()) else None

    def _is_living(self, session: Session, now: float) -> bool:
        return (
            now < session.created + self._lifetimes.session
            # Uses are noted with this much delay, which must not shorten anything.
            and now < session.seen + self._lifetimes.idle + self._seen_seconds
        )

    @property
    def _seen_seconds(self) -> float:
        return min(SEEN_SECONDS, self._lifetimes.idle / 4)

    def of(self, user: User) -> list[Session]:
        """The user's living sessions, the last used first."""
        question = f"SELECT {SESSION} FROM session WHERE user = ? ORDER BY seen DESC, created DESC"
        rows: list[Any] = self._database.read(lambda db: db.execute(question, (user.id,)).fetchall())
        now = time.time()
        return [one for row in rows if self._is_living(one := Session(*row), now)]

    def note_use(self, session: Session, user: User) -> None:
        """Writes down that a session is used, if that has not been for a while."""
        now = time.time()
        if now > session.seen + self._seen_seconds:
            change = "UPDATE session SET seen = ? WHERE id = ?"
            message = f"{user.name} is still there"
            self._database.write(message, lambda db: db.execute(change, (now, session.id)))

    def note_proof(self, session: Session, user: User) -> None:
        """Writes down that the visitor has just proved again who they are."""
        change = "UPDATE session SET proved = ? WHERE id = ?"
        message = f"{user.name} confirmed who they are"
        self._database.write(message, lambda db: db.execute(change, (time.time(), session.id)))

    def revoke(self, user: User, by: str, *, only: str | None = None, but: str | None = None) -> int:
        """Ends sessions of a user: one, all but one, or all; how many."""
        where, values = "user = ?", [user.id]
        if only is not None:
            where, values = f"{where} AND id = ?", [*values, only]
        if but is not None:
            where, values = f"{where} AND id <> ?", [*values, but]

        def delete(db: apsw.Connection) -> int:
            db.execute(f"DELETE FROM session WHERE {where}", values)
            return db.changes()

        what = "a session" if only else "the other sessions" if but else "all sessions"
        return self._database.write(f"{what} of {user.name} ended by {by}", delete)

    def sweep(self, db: apsw.Connection) -> None:
        """Removes what is over, inside a transaction."""
        now = time.time()
        db.execute("DELETE FROM session WHERE created < ?", (now - self._lifetimes.session,))
        idle = self._lifetimes.idle + self._seen_seconds
        db.execute("DELETE FROM session WHERE seen < ?", (now - idle,))


class Pending:
    """Steps under way: what the service must remember between two requests of one browser."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(
        self, kind: str, user: User | None, data: dict[str, Any], seconds: int, most: int | None = None
    ) -> str:
        """Remembers something for so long; the secret that leads back to it.

        most: how many of the kind there may be with the same ``for`` in their data. Raises TooManyError.
        """
        secret, now = token(), time.time()

        def insert(db: apsw.Connection) -> None:
            db.execute("DELETE FROM pending WHERE expires < ?", (now,))
            count = "SELECT count(*) FROM pending WHERE kind = ? AND data ->> 'for' = ?"
            if most is not None and db.execute(count, (kind, data["for"])).get >= most:
                raise TooManyError(seconds, first=False)
            row = (digest(secret), kind, user.id if user else None, json.dumps(data), now + seconds)
            db.execute("INSERT INTO pending VALUES (?, ?, ?, ?, ?)", row)

        who = user.name if user else "a visitor"
        self._database.write(f"{who} begins: {kind}", insert)
        return secret

    def forget(self, kind: str, user: User) -> None:
        """Ends all steps of the kind that were begun for a user."""
        change = "DELETE FROM pending WHERE kind = ? AND user = ?"
        message = f"{user.name}: {kind} ended"
        self._database.write(message, lambda db: db.execute(change, (kind, user.id)))

    def look(self, kind: str, secret: str | None) -> tuple[str | None, dict[str, Any]] | None:
        """User id and data, if they are still there."""
        question = "SELECT user, data FROM pending WHERE secret = ? AND kind = ? AND expires > ?"
        values = (digest(secret or ""), kind, time.time())
        row = self._database.read(lambda db: db.execute(question, values).fetchone())
        return (row[0], json.loads(row[1])) if row else None

    def take(self, kind: str, secret: str | None) -> tuple[str | None, dict[str, Any]] | None:
        """As :meth:`look`, once: whoever comes second gets None."""
        change = "DELETE FROM pending WHERE secret = ? AND kind = ? AND expires > ? RETURNING user, data"
        values = (digest(secret or ""), kind, time.time())
        if self.look(kind, secret) is None:
            return None
        row = self._database.write(f"used: {kind}", lambda db: db.execute(change, values).fetchone())
        return (row[0], json.loads(row[1])) if row else None


class Events:
    """The audit log."""

    def __init__(self, database: Database, seconds: int) -> None:
        self._database = database
        self._seconds = seconds

    def add(self, kind: str, user: User | None, name: str, visitor: Visitor, detail: str = "") -> None:
        """Writes one line; name: as given, which may be nobody's."""
        message = f"{plain(name, NAME_MAX) or 'a visitor'}: {kind}, from {visitor.address}"
        self._database.write(message, lambda db: self.add_inside(db, kind, user, name, visitor, detail))

    def add_inside(
        self,
        db: apsw.Connection,
        kind: str,
        user: User | None,
        name: str,
        visitor: Visitor,
        detail: str = "",
    ) -> None:
        """The same inside a transaction."""
        now = time.time()
        db.execute("DELETE FROM event WHERE time < ?", (now - self._seconds,))
        db.execute(
            "INSERT INTO event(time, kind, user, name, address, agent, detail) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                now,
                kind,
                user.id if user else None,
                plain(name, NAME_MAX),
                visitor.address,
                visitor.kept_agent,
                detail,
            ),
        )

    def last(self, count: int, user: User | None = None) -> list[Event]:
        """The newest lines first, of one user or all."""
        where, values = ("WHERE user = ?", [user.id]) if user else ("", [])
        question = (
            f"SELECT time, kind, name, address, agent, detail FROM event {where} ORDER BY id DESC LIMIT ?"
        )
        rows: list[Any] = self._database.read(lambda db: db.execute(question, (*values, count)).fetchall())
        return [Event(*row) for row in rows]
