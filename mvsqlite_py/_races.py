"""Single statements that lost a race for a commit are run again.

With ``concurrency="optimistic"``, and between the hosts of a cluster, a commit fails with
``SQLITE_BUSY_SNAPSHOT`` if another came first. A transaction is the application's to run again. A single
statement outside one has shown nothing to anybody yet, so it can be run again for the caller.
"""

import random
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Self, TypeVar
from urllib.parse import parse_qsl

import apsw

from mvsqlite_py import _binding

T = TypeVar("T")

BUSY_SNAPSHOT: int = apsw.SQLITE_BUSY_SNAPSHOT

FIRST_WAIT, LONGEST_WAIT = 0.001, 0.05
"""Seconds between two tries, at most: doubled each time, and a random part of it taken."""


def may_be_lost(address: str) -> bool:
    """Whether a connection of that URI can lose a race when it commits in autocommit.

    Not on one machine, where a writer has the host's lock: only those pay for running again.
    """
    said = dict(parse_qsl(address.partition("?")[2]))
    if said.get("vfs") != "mvsqlite" or said.get("mode") == "ro":
        return False
    store = said.get("store") or _binding.default_url()
    return said.get("concurrency") == "optimistic" or not store.startswith(("lmdb:", "/"))


def run_again(
    run: Callable[[], T],
    ask: Callable[[str], Any],
    lost: Exception,
    is_lost: Callable[[Exception], bool],
) -> T:
    """Runs a statement again until it wins, or the busy timeout of its connection is over.

    ask: gives the first value of a query on the same connection. lost: how the statement failed;
    raised, or its last successor, when time is up. Losing means that a newer version exists. If the
    connection does not come to see one, another statement of it holds on to an old state, and no
    number of tries would help.
    """
    try:
        deadline = time.monotonic() + ask("PRAGMA busy_timeout") / 1000
        seen = ask("SELECT mv_version()")
    except Exception:  # no database of ours
        raise lost from None
    wait = FIRST_WAIT
    while time.monotonic() < deadline:
        try:
            return run()
        except Exception as error:
            if not is_lost(error):
                raise
            lost = error
        before, seen = seen, ask("SELECT mv_version()")
        if seen == before:
            break
        time.sleep(min(random.random() * wait, max(0.0, deadline - time.monotonic())))
        wait = min(2 * wait, LONGEST_WAIT)
    raise lost


class InFlight:
    """Items of an iterable; the one handed out last can be had again."""

    def __init__(self, items: Iterable[Any]) -> None:
        self._items: Iterator[Any] = iter(items)
        self.last: Any = None

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        self.last = next(self._items)
        return self.last


# ---- apsw ---------------------------------------------------------------------------------------


def _is_lost(error: Exception) -> bool:
    return getattr(error, "extendedresult", None) == BUSY_SNAPSHOT


class Cursor(apsw.Cursor):
    """An ``apsw.Cursor`` that runs a single statement again which lost a race outside a transaction.

    Not of several statements in one text, and not once a row was returned (``RETURNING``).
    """

    def execute(self, statements: str, *args: Any, **options: Any) -> Self:
        free = not self.connection.in_transaction
        try:
            super().execute(statements, *args, **options)
        except apsw.BusyError as error:
            if not (free and self._may_run_again(error, statements)):
                raise
            again = super().execute
            run_again(lambda: again(statements, *args, **options), self._ask, error, _is_lost)
        return self

    def executemany(self, statements: str, sequenceofbindings: Iterable[Any], **options: Any) -> Self:
        if self.connection.in_transaction:
            super().executemany(statements, sequenceofbindings, **options)
            return self
        items = InFlight(sequenceofbindings)
        again = super().executemany
        while True:
            try:
                again(statements, items, **options)
                return self
            except apsw.BusyError as error:
                if not self._may_run_again(error, statements):
                    raise
                run_again(lambda: again(statements, [items.last], **options), self._ask, error, _is_lost)

    def _may_run_again(self, error: apsw.BusyError, statements: str) -> bool:
        if not _is_lost(error) or self.connection.in_transaction:
            return False
        from apsw.ext import query_info

        return query_info(self.connection, statements).query_remaining is None

    def _ask(self, question: str) -> Any:
        cursor = apsw.Cursor(self.connection)
        return next(cursor.execute(question))[0]
