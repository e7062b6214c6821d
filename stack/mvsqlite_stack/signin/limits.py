"""Limits on guessing, in the database: they survive a restart and hold for all workers together.

A failure counts before it is known to be one, so that guesses made side by side cannot slip through
together; success takes its count back. Counts are kept by account and by address. A browser that has
signed in to the account before counts by itself: a stranger who guesses at someone's account does not
lock the owner's own devices out.
"""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass

import apsw

from mvsqlite_stack.signin.database import Database
from mvsqlite_stack.signin.secret import digest
from mvsqlite_stack.signin.settings import Limits as Numbers

IPV6_PREFIX = 64
"""Bits: one customer's addresses, of which they have as many as they like."""


class TooManyError(Exception):
    """No more tries for now.

    seconds: when the next may succeed. first: whether this is the first refusal in a while; of the
    others nothing is written, or a stranger could fill the disk with them.
    """

    def __init__(self, seconds: int, first: bool) -> None:
        super().__init__(f"too many failed tries; the next one in {seconds} seconds")
        self.seconds = seconds
        self.first = first


@dataclass(frozen=True, slots=True)
class Bucket:
    """What is counted together, and how far."""

    name: str
    limit: int


@dataclass(frozen=True, slots=True)
class Try:
    """One try under way."""

    rows: tuple[int, ...]
    own: Bucket
    """What success empties: the account's count, not the address's."""


class Limits:
    """Counts failures of the last ``window`` seconds."""

    def __init__(self, database: Database, numbers: Numbers) -> None:
        self._database = database
        self._numbers = numbers

    def begin(self, what: str, name: str, address: str, device: str | None, now: float) -> Try:
        """Counts a try; what: the kind of proof; device: a browser known to the account.

        Raises TooManyError, and counts nothing, if there have been too many.
        """
        # Names come from strangers and may be of any length.
        of = digest(name).hex()[:32]
        limit = self._numbers.code if what == "code" else self._numbers.account
        own = Bucket(f"{what}:{of}:{device}" if device else f"{what}:{of}", limit)
        buckets = [own, Bucket(f"address:{network(address)}", self._numbers.address)]

        def count(connection: apsw.Connection) -> tuple[int, ...] | TooManyError:
            oldest = now - self._numbers.window
            connection.execute("DELETE FROM failure WHERE time < ?", (oldest,))
            for bucket in buckets:
                refused = self._refusal(connection, bucket, now)
                if refused:
                    return refused
            for bucket in buckets:
                connection.execute("INSERT INTO failure(bucket, time) VALUES (?, ?)", (bucket.name, now))
            newest = connection.last_insert_rowid()
            return tuple(range(newest - len(buckets) + 1, newest + 1))

        counted = self._database.write(f"a {what} is tried", count)
        if isinstance(counted, TooManyError):
            raise counted
        return Try(counted, own)

    def _refusal(self, connection: apsw.Connection, bucket: Bucket, now: float) -> TooManyError | None:
        times = _times(connection, bucket.name)
        if len(times) < bucket.limit:
            return None
        told = f"told:{bucket.name}"
        first = not _times(connection, told)
        if first:
            connection.execute("INSERT INTO failure(bucket, time) VALUES (?, ?)", (told, now))
        free = times[len(times) - bucket.limit] + self._numbers.window
        return TooManyError(max(1, round(free - now)), first)

    def forgive(self, tried: Try) -> None:
        """Takes the count of a try back that succeeded."""
        self._database.write("a try succeeded", lambda db: self.succeeded(db, [tried], whole=False))

    @staticmethod
    def succeeded(connection: apsw.Connection, tried: Sequence[Try], *, whole: bool) -> None:
        """Takes the counts of tries back; whole: and all earlier ones of the account."""
        for one in tried:
            connection.executemany("DELETE FROM failure WHERE id = ?", [(row,) for row in one.rows])
            if whole:
                connection.execute("DELETE FROM failure WHERE bucket = ?", (one.own.name,))


def _times(connection: apsw.Connection, bucket: str) -> list[float]:
    found = connection.execute("SELECT time FROM failure WHERE bucket = ? ORDER BY time", (bucket,))
    return [time for (time,) in found]


def network(address: str) -> str:
    """What counts as one address: an IPv6 customer has 2**64 and more."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return "unknown"
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((parsed, IPV6_PREFIX), strict=False))
    return str(parsed)
