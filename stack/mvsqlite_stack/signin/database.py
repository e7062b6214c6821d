"""The two databases of the service, and how they are read and written.

Accounts change seldom, and each change is worth looking up and taking back. Sessions, failures and the
audit log change with every sign-in. They are apart so that taking back an account's change, or setting
the whole database back, never makes a revoked session valid again.
"""

import queue
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

import apsw

import mvsqlite_py
from mvsqlite_stack.signin.settings import Settings

T = TypeVar("T")

CONFLICT_SECONDS = 10.0
"""How long a transaction that lost its race for the commit to another host is run again."""
LOCK_SECONDS = 10.0
"""How long to wait for another writer on this host."""

ACCOUNTS = """
CREATE TABLE user(
  id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, shown TEXT NOT NULL, password TEXT,
  password_set REAL, disabled INTEGER NOT NULL DEFAULT 0, created REAL NOT NULL
) STRICT;
CREATE TABLE totp(
  user TEXT PRIMARY KEY REFERENCES user ON DELETE CASCADE, secret BLOB NOT NULL, created REAL NOT NULL
) STRICT;
CREATE TABLE recovery_code(
  user TEXT NOT NULL REFERENCES user ON DELETE CASCADE, hash BLOB NOT NULL, PRIMARY KEY(user, hash)
) STRICT;
CREATE TABLE passkey(
  id TEXT PRIMARY KEY, user TEXT NOT NULL REFERENCES user ON DELETE CASCADE, label TEXT NOT NULL,
  public_key BLOB NOT NULL, created REAL NOT NULL
) STRICT;
CREATE INDEX passkey_user ON passkey(user);
"""

ACTIVITY = """
CREATE TABLE session(
  id TEXT PRIMARY KEY, secret BLOB NOT NULL UNIQUE, user TEXT NOT NULL, methods TEXT NOT NULL,
  address TEXT NOT NULL, agent TEXT NOT NULL, created REAL NOT NULL, seen REAL NOT NULL,
  proved REAL NOT NULL
) STRICT;
CREATE INDEX session_user ON session(user);
CREATE TABLE pending(
  secret BLOB PRIMARY KEY, kind TEXT NOT NULL, user TEXT, data TEXT NOT NULL, expires REAL NOT NULL
) STRICT;
CREATE INDEX pending_expires ON pending(expires);
CREATE TABLE failure(id INTEGER PRIMARY KEY, bucket TEXT NOT NULL, time REAL NOT NULL) STRICT;
CREATE INDEX failure_bucket ON failure(bucket, time);
CREATE INDEX failure_time ON failure(time);
CREATE TABLE last_used(what TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT;
CREATE TABLE event(
  id INTEGER PRIMARY KEY, time REAL NOT NULL, kind TEXT NOT NULL, user TEXT, name TEXT NOT NULL,
  address TEXT NOT NULL, agent TEXT NOT NULL, detail TEXT NOT NULL
) STRICT;
CREATE INDEX event_user ON event(user, id);
CREATE INDEX event_time ON event(time);
"""

ACTIVITY_POLICY = mvsqlite_py.Policy(keep_all=timedelta(days=30))
"""What strangers can make us write is not kept for ever. Set when the database is made; ``mvsqlite
retention`` changes it."""

FORMAT = 1
"""In ``user_version``."""


class FormatError(Exception):
    """The database is of another release."""


class Database:
    """One database of a store, used from any number of threads: each borrows a connection."""

    def __init__(
        self, name: str, store: str | None, schema: str, policy: mvsqlite_py.Policy | None = None
    ) -> None:
        self.name = name
        self._policy = policy
        self._store = store
        self._schema = schema
        self._free: queue.LifoQueue[apsw.Connection] = queue.LifoQueue()

    def _connect(self) -> apsw.Connection:
        connection = mvsqlite_py.connect(self.name, self._store, timeout=LOCK_SECONDS)
        connection.execute("PRAGMA foreign_keys = ON")
        found = connection.execute("PRAGMA user_version").get
        if found == 0:
            self._create(connection)
        elif found != FORMAT:
            raise FormatError(f"the database {self.name} is of format {found}; this program reads {FORMAT}")
        return connection

    def _create(self, connection: apsw.Connection) -> None:
        def make(inside: apsw.Connection) -> None:
            if inside.execute("PRAGMA user_version").get == 0:  # another worker may have been first
                inside.execute(self._schema)
                inside.execute(f"PRAGMA user_version = {FORMAT}")

        transact(connection, f"{self.name}: tables made", make)
        if self._policy:
            with mvsqlite_py.open_store(self._store) as store:
                store.database(self.name).set_policy(self._policy)

    @contextmanager
    def borrowed(self) -> Iterator[apsw.Connection]:
        """A connection for the duration; one that failed is not lent again in the midst of anything."""
        try:
            connection = self._free.get_nowait()
        except queue.Empty:
            connection = self._connect()
        try:
            yield connection
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            self._free.put(connection)

    def read(self, work: Callable[[apsw.Connection], T]) -> T:
        """Runs a function that only reads."""
        with self.borrowed() as connection:
            return work(connection)

    def write(self, message: str, work: Callable[[apsw.Connection], T]) -> T:
        """Runs a function in one transaction whose version bears the message.

        The function may be run again, when another host's commit came first: it must do nothing but
        read and write the database.
        """
        with self.borrowed() as connection:
            return transact(connection, message, work)

    def close(self) -> None:
        while not self._free.empty():
            self._free.get_nowait().close()


def transact(connection: apsw.Connection, message: str, work: Callable[[apsw.Connection], T]) -> T:
    """Runs a function in a transaction with a message, again when its commit lost a race."""
    deadline = time.monotonic() + CONFLICT_SECONDS
    while True:
        connection.execute("BEGIN IMMEDIATE")
        try:
            result = work(connection)
            connection.execute("SELECT mv_message(?)", (message,))
            connection.execute("COMMIT")
        except apsw.BusyError as error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            lost = getattr(error, "extendedresult", 0) == apsw.SQLITE_BUSY_SNAPSHOT
            if not lost or time.monotonic() > deadline:
                raise
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        else:
            return result


class Databases:
    """Both."""

    def __init__(self, settings: Settings) -> None:
        self.accounts = Database(settings.database, settings.store, ACCOUNTS)
        self.activity = Database(settings.activity, settings.store, ACTIVITY, ACTIVITY_POLICY)

    def close(self) -> None:
        self.accounts.close()
        self.activity.close()
