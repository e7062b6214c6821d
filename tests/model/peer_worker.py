"""One process of the concurrency tests: ``peer_worker.py JOB JSON``.

It says "ready" when its connection is open, waits for a line, does its job, answers with
one line of JSON. The same job runs on a stock file (``path``) or on a store (``store``).
"""

import json
import random
import sqlite3
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import apsw

import mvsqlite_py
from mvsqlite_py import dbapi

Told = dict[str, Any]


def say(message: Any) -> None:
    print(json.dumps(message), flush=True)


def hear() -> Any:
    return json.loads(sys.stdin.readline())


def connect(told: Told) -> apsw.Connection:
    if "path" in told:
        connection = apsw.Connection(told["path"])
        connection.set_busy_timeout(int(told["timeout"] * 1000))  # before another recovers the log
        connection.execute("PRAGMA synchronous=FULL")
        return connection
    return mvsqlite_py.connect(told["name"], told["store"], timeout=told["timeout"])


def all_at_once(jobs: list[Callable[[], Any]]) -> list[Any]:
    """The answers of the jobs, each run in a thread of its own; raises what one of them raised."""
    with ThreadPoolExecutor(len(jobs)) as pool:
        return [future.result() for future in [pool.submit(job) for job in jobs]]


# ---- counters --------------------------------------------------------------------


class Counter:
    """Increments one row in one of three ways; counts its successes and its errors by kind."""

    def __init__(self, told: Told) -> None:
        self.told = told
        self.connection = connect(told)
        self.errors: dict[str, int] = {}
        self.slowest = 0.0

    def attempt(self, step: str, sql: str, *values: Any) -> list[Any] | None:
        """The rows, or None if it was busy, which is counted as step and extended code."""
        try:
            return self.connection.execute(sql, values).fetchall()
        except apsw.BusyError as error:
            kind = f"{step} {error.extendedresult}"
            self.errors[kind] = self.errors.get(kind, 0) + 1
            if not self.connection.get_autocommit():
                self.connection.execute("ROLLBACK")
            return None

    def immediate(self) -> bool:
        return (
            self.attempt("begin", "BEGIN IMMEDIATE") is not None
            and self.attempt("write", "UPDATE c SET n=n+1") is not None
            and self.attempt("commit", "COMMIT") is not None
        )

    def autocommit(self) -> bool:
        return self.attempt("write", "UPDATE c SET n=n+1") is not None

    def deferred(self) -> bool:
        if self.attempt("begin", "BEGIN") is None:
            return False
        rows = self.attempt("read", "SELECT n FROM c")
        return (
            rows is not None
            and self.attempt("write", "UPDATE c SET n=?", rows[0][0] + 1) is not None
            and self.attempt("commit", "COMMIT") is not None
        )

    def run(self) -> Told:
        way = getattr(self, self.told["way"])
        done = 0
        while done < self.told["times"]:
            began = time.monotonic()
            done += way()
            self.slowest = max(self.slowest, time.monotonic() - began)
        self.connection.close()
        return {"done": done, "errors": self.errors, "slowest": self.slowest}


def count(told: Told) -> None:
    counter = Counter(told)
    say("ready")
    hear()
    say(counter.run())


def count_in_threads(told: Told) -> None:
    """The same from several threads of one process, each with its own connection."""
    counters = [Counter(told) for _ in range(told["threads"])]
    say("ready")
    hear()
    say(all_at_once([c.run for c in counters]))


# ---- one statement after the other, as told ------------------------------------------


def obey(told: Told) -> None:
    """Runs each statement it is told and answers with rows or the extended error code."""
    connection = connect(told)
    say("ready")
    while (sql := hear()) != "end":
        try:
            say({"rows": connection.execute(sql).fetchall()})
        except apsw.Error as error:
            say({"error": error.extendedresult})
    connection.close()


# ---- histories -------------------------------------------------------------------


class Historian:
    """Runs random transactions over registers and keeps what each saw, wrote, and when."""

    def __init__(self, told: Told, number: str) -> None:
        self.told, self.number = told, number
        self.random = random.Random(f"{told['seed']} {number}")
        self.stdlib = self.random.random() < 0.3
        name, store, timeout = told["name"], told["store"], told["timeout"]
        self.connection: Any = (
            dbapi.connect(name, store, timeout=timeout, isolation_level=None, check_same_thread=False)
            if self.stdlib
            else mvsqlite_py.connect(name, store, timeout=timeout)
        )
        self.records: list[Told] = []
        self.refused = 0

    def rows(self, sql: str, *values: Any) -> list[Any]:
        return self.connection.execute(sql, values).fetchall()

    def operate(self, record: Told) -> None:
        key = self.random.randrange(self.told["registers"])
        if record["writes"] and self.random.random() < 0.4:
            key = int(self.random.choice(list(record["writes"])))
        if self.random.random() < record["eager"]:
            value = f"{record['id']}.{len(record['operations'])}"
            self.rows("UPDATE r SET v=? WHERE k=?", value, key)
            record["writes"][key] = value
            record["operations"].append(["write", key, value])
        else:
            value = self.rows("SELECT v FROM r WHERE k=?", key)[0][0]
            record["operations"].append(["read", key, value])

    def transact(self, serial: int) -> None:
        eager = self.random.choice([0.0, 0.3, 0.7])
        record = {"id": f"{self.number}-{serial}", "eager": eager, "operations": [], "writes": {}}
        record["began"] = time.monotonic_ns()
        self.rows("BEGIN IMMEDIATE" if eager and self.random.random() < 0.5 else "BEGIN")
        self.rows("SELECT mv_message(?)", record["id"])
        for _ in range(self.random.randrange(1, 6)):
            self.operate(record)
        record["seen"] = self.rows("SELECT mv_version() FROM r LIMIT 1")[0][0]
        if self.random.random() < 0.1:
            self.rows("ROLLBACK")
            record["writes"].clear()
            record["dropped"] = True
        else:
            self.rows("COMMIT")
            if record["writes"]:
                record["made"] = self.rows("PRAGMA mv_version")[0][0]
        record["ended"] = time.monotonic_ns()
        self.records.append(record)

    def run(self) -> None:
        for serial in range(self.told["transactions"]):
            try:
                self.transact(serial)
            except (apsw.BusyError, sqlite3.OperationalError) as error:
                if "locked" not in str(error) and "busy" not in str(error).lower():
                    raise
                self.refused += 1
                if self.connection.in_transaction:
                    self.rows("ROLLBACK")
        self.connection.close()


def history(told: Told) -> None:
    historians = [Historian(told, f"{told['number']}.{i}") for i in range(told["threads"])]
    say("ready")
    hear()
    all_at_once([h.run for h in historians])
    say(
        {"records": [r for h in historians for r in h.records], "refused": sum(h.refused for h in historians)}
    )


JOBS = {"count": count, "count_in_threads": count_in_threads, "obey": obey, "history": history}

if __name__ == "__main__":
    JOBS[sys.argv[1]](json.loads(sys.argv[2]))
