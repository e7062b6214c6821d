"""Writers that share no lock, as on two machines: disjoint work commits, the rest is tried again."""

from collections.abc import Callable
from contextlib import closing

import apsw
import pytest

import jobs
import mvsqlite_py
from crew import Hand

SNAPSHOT = apsw.SQLITE_BUSY_SNAPSHOT
HOSTS = 4
TRANSFERS = 25

Pair = Callable[[str], tuple["Writer", "Writer"]]


class Writer:
    """A process that runs statements as it is told."""

    def __init__(self, hand: Hand) -> None:
        self.hand = hand
        assert hand.hear() == "ready"

    def __call__(self, sql: str) -> object:
        """The rows, or the extended code of the error."""
        self.hand.tell(sql)
        return self.hand.hear()

    def give_up(self) -> None:
        """What an application does after a refusal: ROLLBACK, if SQLite has not rolled back by itself."""
        assert self(jobs.GIVE_UP) == []


@pytest.fixture(params=["two hosts", "optimistic"])
def apart(request: pytest.FixtureRequest) -> Callable[[int], dict[str, object]]:
    """How the i-th process is kept from the others' lock: by the place of its own, or by taking none."""
    if request.param == "optimistic":
        return lambda _: {"options": {"concurrency": "optimistic"}}
    return lambda i: {"host": i, "options": {}}


@pytest.fixture
def pair(url: str, hire: Callable[..., Hand], apart: Callable[[int], dict[str, object]]) -> Pair:
    def start(schema: str) -> tuple[Writer, Writer]:
        connection = mvsqlite_py.connect("shared.db", url)
        connection.execute(schema)
        connection.close()
        told = [apart(i) for i in range(2)]
        hands = [hire("obey", "shared.db", url, t.pop("options"), **t) for t in told]
        return Writer(hands[0]), Writer(hands[1])

    return start


def test_disjoint_work_commits_at_once(pair: Pair, url: str) -> None:
    """Neither waits for the other, and neither is refused."""
    a, b = pair("CREATE TABLE a(x); CREATE TABLE b(x); INSERT INTO a VALUES(0); INSERT INTO b VALUES(0)")
    for turn in range(1, 6):
        assert a("BEGIN IMMEDIATE") == b("BEGIN IMMEDIATE") == []
        assert a(f"UPDATE a SET x = {turn}") == b(f"UPDATE b SET x = {turn}") == []
        assert a("COMMIT") == b("COMMIT") == []
        with closing(mvsqlite_py.connect("shared.db", url)) as reader:
            assert reader.execute("SELECT a.x, b.x FROM a, b").fetchall() == [(turn, turn)]
    assert a("PRAGMA integrity_check") == [("ok",)]


def test_work_on_one_page_is_refused_and_succeeds_when_tried_again(pair: Pair) -> None:
    a, b = pair("CREATE TABLE t(x); INSERT INTO t VALUES(0)")
    assert a("BEGIN IMMEDIATE") == b("BEGIN IMMEDIATE") == []
    assert a("UPDATE t SET x = x + 1") == b("UPDATE t SET x = x + 10") == []
    assert a("COMMIT") == []
    assert b("COMMIT") == SNAPSHOT
    b.give_up()
    assert b("BEGIN IMMEDIATE") == b("UPDATE t SET x = x + 10") == b("COMMIT") == []
    assert a("SELECT x FROM t") == b("SELECT x FROM t") == [(11,)]


def test_what_was_read_counts_too(pair: Pair) -> None:
    """Each reads what the other writes: one order of the two must explain both, so one is refused."""
    a, b = pair("CREATE TABLE a(x); CREATE TABLE b(x); INSERT INTO a VALUES(0); INSERT INTO b VALUES(0)")
    assert a("BEGIN IMMEDIATE") == b("BEGIN IMMEDIATE") == []
    assert a("UPDATE a SET x = 1 + (SELECT x FROM b)") == []
    assert b("UPDATE b SET x = 1 + (SELECT x FROM a)") == []
    assert [a("COMMIT"), b("COMMIT")] == [[], SNAPSHOT]
    b.give_up()
    assert b("UPDATE b SET x = 1 + (SELECT x FROM a)") == []
    assert a("SELECT a.x, b.x FROM a, b") == [(1, 2)]


def test_a_statement_that_conflicts_leaves_its_connection_usable(pair: Pair) -> None:
    """Autocommit: SQLite rolls back by itself, and the same statement works at once."""
    a, b = pair("CREATE TABLE t(x); INSERT INTO t VALUES(0)")
    assert a("BEGIN IMMEDIATE") == a("UPDATE t SET x = x + 1") == []
    assert b("UPDATE t SET x = x + 10") == []
    assert a("COMMIT") == SNAPSHOT
    a.give_up()
    assert a("UPDATE t SET x = x + 1") == []
    assert b("SELECT x FROM t") == [(11,)]


def test_large_transactions_conflict_alike(pair: Pair) -> None:
    """Staged ones, of which each is more than the cluster takes at once."""
    fill = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500) "
    a, b = pair("CREATE TABLE a(x); CREATE TABLE b(x)")
    insert = fill + "INSERT INTO {} SELECT randomblob(6000) FROM n"
    assert a("BEGIN IMMEDIATE") == b("BEGIN IMMEDIATE") == []
    assert a(insert.format("a")) == b(insert.format("b")) == []
    # both made the file longer, with the same new pages
    assert [a("COMMIT"), b("COMMIT")] == [[], SNAPSHOT]
    b.give_up()
    assert b(insert.format("b")) == []
    assert a("SELECT (SELECT count(*) FROM a), (SELECT count(*) FROM b)") == [(500, 500)]
    assert a("PRAGMA integrity_check") == [("ok",)]


def test_no_money_is_lost_between_hosts(
    url: str, hire: Callable[..., Hand], apart: Callable[[int], dict[str, object]], soak_seconds: int
) -> None:
    """Every snapshot of every process holds the same total."""
    jobs.make_bank(url)
    times = TRANSFERS * (1 + soak_seconds // 10)
    told = [apart(i) for i in range(HOSTS)]
    hands = [hire("run_bank", url, f"host {i}", times, t.pop("options"), **t) for i, t in enumerate(told)]
    for hand in hands:
        assert hand.hear() == "ready"
    for hand in hands:
        hand.tell("go")
    refused = [hand.hear() for hand in hands]
    print(refused)
    assert {code for answer in refused for code in answer} == {str(SNAPSHOT)}
    with mvsqlite_py.open_store(url) as store:
        connection = mvsqlite_py.connect("bank.db", store)
        rows = connection.execute("SELECT sum(balance) FROM account").fetchall()
        connection.close()
        assert rows == [(jobs.ACCOUNTS * jobs.DEPOSIT,)]
        assert store.database("bank.db").verify().problems == []
        made = list(store.database("bank.db").versions())
        assert len(made) == HOSTS * times + 2, "a version each, and the table and its rows"
