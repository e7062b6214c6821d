"""What the processes of ``crew.py`` do: each function is a job, and what it returns its answer."""

import multiprocessing
import os
import random
import signal
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from typing import Any, TypeVar

import apsw
import pytest

import mvsqlite_py
from cluster import Cluster
from crew import Channel
from day import Day
from mvsqlite_py._binding import lib

T = TypeVar("T")
TROUBLE = (apsw.IOError, apsw.CantOpenError)
"""What a cluster that fails looks like to SQLite's applications."""


def met(store: mvsqlite_py.Store) -> dict[int, int]:
    """How often this process met which of FoundationDB's errors on the store."""
    counters = {name: n for name, n in store.counters().items() if name.startswith("error_")}
    codes = {name.split("_")[1]: n for name, n in counters.items()}
    return {int(code): n for code, n in codes.items() if code.isdigit() and n}


def patiently(work: Callable[[], T]) -> T:
    """Opening is tried again: nothing is known of the cluster before that."""
    while True:
        try:
            return work()
        except TROUBLE:
            continue


def give_up(connection: apsw.Connection) -> None:
    """ROLLBACK if a transaction is still open."""
    if not connection.get_autocommit():
        connection.execute("ROLLBACK")


# ---- counters -----------------------------------------------------------------------------


def make_counter(url: str) -> None:
    with closing(mvsqlite_py.connect("counter.db", url)) as connection:
        connection.execute("CREATE TABLE c(n INTEGER); INSERT INTO c VALUES(0)")
        connection.execute("CREATE TABLE done(worker, serial, PRIMARY KEY(worker, serial)) WITHOUT ROWID")


class Counting:
    """Increments one row, and finds out of each increment whether it happened."""

    def __init__(self, url: str, worker: int, options: dict[str, Any]) -> None:
        manners = {"timeout": 2.0} | options
        self.store = patiently(lambda: mvsqlite_py.open_store(url))
        self.connection = patiently(lambda: mvsqlite_py.connect("counter.db", self.store, **manners))
        self.worker, self.serial = worker, 0
        self.errors: Counter[str] = Counter()

    def increment(self) -> None:
        self.serial += 1
        while not self.attempt():
            pass

    def attempt(self) -> bool:
        """Whether the increment has happened, now or in an attempt before this one."""
        step = "BEGIN"
        try:
            self.connection.execute("BEGIN IMMEDIATE")
            step = "UPDATE"
            self.connection.execute("UPDATE c SET n = n + 1")
            self.connection.execute("INSERT INTO done VALUES(?, ?)", (self.worker, self.serial))
            step = "COMMIT"
            self.connection.execute("COMMIT")
        except apsw.ConstraintError:  # it happened after we had looked
            give_up(self.connection)
        except apsw.BusyError as error:
            self.errors[f"{step} {error.extendedresult}"] += 1
            give_up(self.connection)
            return False
        except TROUBLE:
            self.errors[f"{step} trouble"] += 1
            return self.happened()
        return True

    def happened(self) -> bool:
        """Asks until there is an answer: the cluster comes back."""
        while True:
            try:
                give_up(self.connection)
                found = self.connection.execute(
                    "SELECT count(*) FROM done WHERE worker = ? AND serial = ?", (self.worker, self.serial)
                ).fetchall()
                return bool(found[0][0])
            except (apsw.BusyError, *TROUBLE):
                self.errors["question"] += 1

    def answer(self) -> dict[str, Any]:
        self.connection.close()
        counters = met(self.store)
        self.store.close()
        return {"done": self.serial, "errors": dict(self.errors), "met": counters}


def count(
    channel: Channel, url: str, worker: int, options: dict[str, Any], times: int | None = None
) -> dict[str, Any]:
    """Increments so many times, or until it is told to stop."""
    counting = Counting(url, worker, options)
    channel.say("ready")
    channel.hear()
    while counting.serial < times if times is not None else not channel.told():
        counting.increment()
    return counting.answer()


def check_counter(_: Channel, url: str) -> dict[str, Any]:
    """What became of the counter, and what is wrong with its database."""
    with (
        mvsqlite_py.open_store(url) as store,
        closing(mvsqlite_py.connect("counter.db", store)) as connection,
    ):
        database = store.database("counter.db")
        return {
            "value": connection.execute("SELECT n FROM c").fetchall()[0][0],
            "done": connection.execute("SELECT count(*) FROM done").fetchall()[0][0],
            "check": connection.execute("PRAGMA integrity_check").fetchall(),
            "problems": database.verify().problems,
            "staged": database.stat().staged_bytes,
        }


# ---- many versions -------------------------------------------------------------------------


def live_a_day(channel: Channel, url: str, seed: int, commits: int) -> dict[str, Any]:
    """Random commits beside a plain SQLite; when it is told to, every version is compared."""
    store = patiently(lambda: mvsqlite_py.open_store(url))
    with store, closing(patiently(lambda: Day(store, seed))) as day:
        for _unit in range(commits):
            day.work()
        channel.say("lived")
        channel.hear()
        return {"versions": day.compare_all(), "errors": dict(day.errors), "met": met(store)}


# ---- a bank --------------------------------------------------------------------------------

ACCOUNTS, DEPOSIT = 8, 100


def make_bank(url: str) -> None:
    """Accounts on pages of their own: the filler keeps two from sharing one."""
    with closing(mvsqlite_py.connect("bank.db", url)) as connection:
        connection.execute("CREATE TABLE account(id INTEGER PRIMARY KEY, balance INTEGER, filler)")
        rows = [(i, DEPOSIT, b"x" * 3000) for i in range(ACCOUNTS)]
        with connection:
            connection.executemany("INSERT INTO account VALUES(?, ?, ?)", rows)


def transfer(connection: apsw.Connection, chance: random.Random) -> None:
    a, b = chance.sample(range(ACCOUNTS), 2)
    connection.execute("BEGIN")
    (total,) = connection.execute("SELECT sum(balance) FROM account").fetchall()[0]
    assert total == ACCOUNTS * DEPOSIT, f"a snapshot holds {total}"
    amount = chance.randrange(1, DEPOSIT)
    connection.execute("UPDATE account SET balance = balance - ? WHERE id = ?", (amount, a))
    connection.execute("UPDATE account SET balance = balance + ? WHERE id = ?", (amount, b))
    connection.execute("COMMIT")


def run_bank(channel: Channel, url: str, seed: str, times: int, options: dict[str, Any]) -> dict[str, int]:
    """So many transfers; answers by extended code how often one was refused."""
    chance = random.Random(seed)
    refused: Counter[str] = Counter()
    done = 0
    with closing(mvsqlite_py.connect("bank.db", url, **({"timeout": 10.0} | options))) as connection:
        channel.say("ready")
        channel.hear()
        while done < times:
            try:
                transfer(connection, chance)
                done += 1
            except apsw.BusyError as error:
                refused[str(error.extendedresult)] += 1
                give_up(connection)
    return dict(refused)


# ---- one statement after the other ------------------------------------------------------------


GIVE_UP = "give up"


def obey(channel: Channel, name: str, url: str, options: dict[str, Any]) -> None:
    """Runs each statement it is told, and says its rows or its extended error code."""
    with closing(mvsqlite_py.connect(name, url, **options)) as connection:
        channel.say("ready")
        while (sql := channel.hear()) != "end":
            try:
                if sql == GIVE_UP:
                    give_up(connection)
                channel.say([] if sql == GIVE_UP else connection.execute(sql).fetchall())
            except apsw.Error as error:
                channel.say(error.extendedresult)


# ---- long and large ------------------------------------------------------------------------------

ROW = 10_000
WRITE_LARGE = (
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?2) "
    "INSERT INTO large SELECT ?1, i, randomblob(?3) FROM n"
)


def write_large(channel: Channel, url: str, mark: str, size: int) -> int:
    """One transaction of about so many bytes; says when it begins."""
    with closing(mvsqlite_py.connect("large.db", url, timeout=60)) as connection:
        connection.execute("PRAGMA cache_size = -8000")
        channel.say("ready")
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(WRITE_LARGE, (mark, size // ROW, ROW))
        connection.execute("COMMIT")
    return size // ROW


def sleep_at(channel: Channel, url: str, kind: str, nth: int, sql: str) -> dict[str, Any]:
    """Runs a statement, and stops itself before the n-th call to the engine of a kind; says what it met."""
    with mvsqlite_py.open_store(f"fault:{url}") as store:
        store.configure(cache_bytes=0)
        with closing(mvsqlite_py.connect("large.db", store)) as connection:
            connection.execute("PRAGMA cache_size = 5")
            channel.say("ready")
            lib.mv_fault_arm(FAULTS[kind], nth, 0, -signal.SIGSTOP)
            rows = connection.execute(sql).fetchall()
            fired = lib.mv_fault_fired()
        return {"rows": rows, "fired": fired, "met": met(store)}


FAULTS = {"GET": 3, "RANGE": 4, "COMMIT": 6}  # MV_FAULT_GET, ...


def read_and_verify(channel: Channel, url: str) -> dict[str, Any]:
    """Reads all of a database in every way until it is told to stop; it is stopped meanwhile."""
    rounds = 0
    with patiently(lambda: mvsqlite_py.open_store(url)) as store:
        store.configure(cache_bytes=0)
        channel.say("ready")
        while not channel.told():
            assert store.database("large.db").verify().problems == []
            with closing(mvsqlite_py.connect("large.db", store)) as connection:
                connection.execute("SELECT count(*), sum(length(body)) FROM large").fetchall()
            rounds += 1
        return {"rounds": rounds, "met": met(store)}


# ---- servers --------------------------------------------------------------------------------------


def keep_servers(channel: Channel) -> None:
    """Runs a cluster until it is told to end it; says where its data are and what its processes are."""
    with Cluster() as servers:
        channel.say([str(servers.directory), [p.pid for p in servers.processes if p]])
        channel.hear()


# ---- a parent that opened a store, and its children -------------------------------------------


def in_children(number: int, work: Callable[[int], None]) -> list[int]:
    """Forks them all; how each ended, 0 if all was well."""
    children = []
    for i in range(number):
        child = os.fork()
        if child == 0:
            code = 1
            try:
                work(i)
                code = 0
            except BaseException as error:
                print(f"child {i}: {error!r}", flush=True)
            finally:
                os._exit(code)
        children.append(child)
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]


def preload(_: Channel, url: str, children: int, times: int) -> dict[str, Any]:
    """As a server that loads the application first: the parent has read and written before it forks."""
    make_counter(url)
    parents = mvsqlite_py.connect("counter.db", url)
    parents.execute("UPDATE c SET n = n + 1")
    stores = mvsqlite_py.open_store(url)

    def serve(worker: int) -> None:
        refuse_inherited(parents, stores)
        counting = Counting(url, worker, {"timeout": 60.0})
        for _time in range(times):
            counting.increment()
        assert in_children(1, lambda _i: refuse_inherited(counting.connection, counting.store)) == [0]
        counting.increment()

    ended = in_children(children, serve)
    parents.execute("UPDATE c SET n = n + 1")
    answer = {"ended": ended, "value": parents.execute("SELECT n FROM c").fetchall()[0][0]}
    parents.close()
    stores.close()
    return answer


def serve_from_pool(url: str, worker: int, times: int) -> int:
    counting = Counting(url, worker, {"timeout": 60.0})
    for _ in range(times):
        counting.increment()
    return int(counting.answer()["done"])


def pool(_: Channel, url: str, children: int, times: int) -> dict[str, Any]:
    """multiprocessing's pool of forked processes, below a parent that has written."""
    make_counter(url)
    with closing(mvsqlite_py.connect("counter.db", url)) as connection:
        connection.execute("UPDATE c SET n = n + 1")
        with multiprocessing.get_context("fork").Pool(children) as workers:
            done = workers.starmap(serve_from_pool, [(url, i, times) for i in range(2 * children)])
        connection.execute("UPDATE c SET n = n + 1")
        return {"done": done, "value": connection.execute("SELECT n FROM c").fetchall()[0][0]}


def refuse_inherited(connection: apsw.Connection, store: mvsqlite_py.Store) -> None:
    """What was opened before the fork says so, and does not hang."""
    with pytest.raises(apsw.MisuseError):
        connection.execute("SELECT n FROM c").fetchall()
    assert "fork" in str(mvsqlite_py._binding.last_error())
    with pytest.raises(mvsqlite_py.MisuseError, match="fork"):
        store.list()


def hold_lease(channel: Channel, url: str, value: int, options: dict[str, Any]) -> int:
    """Takes the lease, stops itself before COMMIT, and commits when it is continued."""
    with closing(mvsqlite_py.connect("leased.db", url, **options)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("INSERT INTO t VALUES(?)", (value,))
        channel.say("holds")
        os.kill(os.getpid(), signal.SIGSTOP)
        try:
            connection.execute("COMMIT")
        except apsw.Error as error:
            give_up(connection)
            return int(error.extendedresult)
    return 0
