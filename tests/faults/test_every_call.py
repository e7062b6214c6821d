"""The n-th call to the engine fails, for every n: before or after, never between."""

import faulthandler
import random
import sqlite3
from collections.abc import Iterator
from itertools import chain, count
from pathlib import Path

import apsw
import pytest
from scenarios import ALL, KINDS, STAGE_BYTES, Large, Scenario, TwoDatabases

import mvsqlite_py
from mvsqlite_py._binding import lib

HANG_SECONDS = 300
CLEAN = (apsw.Error, sqlite3.Error)
CODES = {"MV_IO": (11, apsw.IOError), "MV_FULL": (12, apsw.FullError), "MV_UNREACHABLE": (14, apsw.IOError)}
ANY = KINDS["ANY"]


@pytest.fixture(autouse=True)
def _nothing_hangs(soak_seconds: int) -> Iterator[None]:
    faulthandler.dump_traceback_later(HANG_SECONDS + 20 * soak_seconds, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()
    lib.mv_fault_reset()


@pytest.fixture
def faulty(store_url: str) -> Iterator[mvsqlite_py.Store]:
    with mvsqlite_py.open_store(f"fault:{store_url}") as store:
        store.configure(stage_bytes=STAGE_BYTES)
        yield store


class Trial:
    """Runs one scenario again and again, each time with another failure."""

    def __init__(self, kind: type[Scenario], store: mvsqlite_py.Store, scratch: Path) -> None:
        self.kind, self.store, self.scratch = kind, store, scratch
        self.serial = count()
        self.fresh()
        self.before = self.scenario.state()
        self.scenario.act()
        self.after = self.scenario.state()
        self.failures = 0
        self.renew()

    def fresh(self) -> None:
        self.scenario = self.kind(self.store, str(next(self.serial)), self.scratch)

    def renew(self) -> None:
        self.scenario.end()
        self.fresh()

    def fail(self, kind: int, nth: int, forever: bool, code: int) -> Exception | None:
        """The operation's error, with the fault disarmed again; None and no fault: it went through."""
        lib.mv_fault_reset()
        lib.mv_fault_arm(kind, nth, forever, code)
        try:
            self.scenario.act()
            error = None
        except CLEAN as raised:
            error = raised
        self.fired = lib.mv_fault_fired()
        self.failures += self.fired > 0
        if error:
            self.give_up()
        lib.mv_fault_reset()
        return error

    def give_up(self) -> None:
        """What an application does at once, perhaps while the engine still fails."""
        try:
            self.scenario.recover()
        except CLEAN:
            lib.mv_fault_reset()
            self.scenario.recover()

    def check(self, error: Exception | None, repeat: bool) -> None:
        """Before or after; no damage; the same connection goes on."""
        state = self.scenario.state()
        allowed = (self.before, self.after) if error else (self.after,)
        assert state in allowed, f"{error!r} left {state}"
        self.scenario.still_works()
        problems = [p for name in self.scenario.names for p in problems_of(self.scenario.store, name)]
        assert problems == []
        if state == self.before != self.after and repeat:
            self.scenario.act()
            state = self.scenario.state()
            assert state == self.after, "after a failure the operation does not work any more"
        if state != self.before:
            self.renew()


def problems_of(store: mvsqlite_py.Store, name: str) -> list[str]:
    try:
        return store.database(name).verify().problems
    except mvsqlite_py.DatabaseNotFoundError:
        return []


def fits(error: Exception, kind: type[Exception]) -> bool:
    """Whether the exception says what failed; the standard library's tells it in its code."""
    if isinstance(error, apsw.Error):
        return isinstance(error, kind)
    code = getattr(error, "sqlite_errorcode", None)
    return isinstance(error, sqlite3.OperationalError) and code is not None and code & 0xFF in (10, 13)


def which_calls(store: mvsqlite_py.Store, code: str, soak_seconds: int) -> Iterator[int]:
    """All of them; in a short run some, spread out: fewer where an operation takes milliseconds."""
    stride = 1 if soak_seconds else 1 if code == "MV_IO" else 7
    if not soak_seconds and "fdb:" in store.url:
        stride *= 11
    return chain([1], count(random.randrange(2, stride + 2), stride))


@pytest.mark.parametrize("forever", [False, True], ids=["once", "for ever"])
@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_every_call_may_fail(
    kind: type[Scenario],
    code: str,
    forever: bool,
    faulty: mvsqlite_py.Store,
    tmp_path: Path,
    soak_seconds: int,
) -> None:
    """A clean error of the right kind, the database before or after, the next operation works."""
    number, exception = CODES[code]
    trial = Trial(kind, faulty, tmp_path)
    for nth in which_calls(faulty, code, soak_seconds):
        error = trial.fail(ANY, nth, forever, number)
        if not trial.fired:
            assert error is None
            break
        assert error is None or fits(error, exception), repr(error)
        trial.check(error, repeat=bool(soak_seconds) or nth % 5 == 0)
    trial.check(None, repeat=False)
    trial.scenario.end()
    assert trial.failures > 0


@pytest.mark.parametrize("unknown", ["UNKNOWN_DONE", "UNKNOWN_LOST"])
@pytest.mark.parametrize("kind", [k for k in ALL if k.unknown_results], ids=lambda kind: kind.__name__)
def test_an_unknown_result_is_found_out(
    kind: type[Scenario], unknown: str, faulty: mvsqlite_py.Store, tmp_path: Path
) -> None:
    """The engine cannot say whether a commit happened: it happens exactly once, without an error."""
    trial = Trial(kind, faulty, tmp_path)
    for nth in count(1):
        error = trial.fail(KINDS[unknown], nth, False, 19)
        assert error is None, repr(error)
        trial.check(None, repeat=False)
        if not trial.fired:
            break
    trial.scenario.end()
    assert trial.failures > 0


@pytest.mark.parametrize("kind", [Large, TwoDatabases], ids=lambda kind: kind.__name__)
def test_an_engine_that_fails_leaves_no_transaction_open(
    kind: type[Scenario], faulty: mvsqlite_py.Store, tmp_path: Path
) -> None:
    """While it fails, each attempt fails; when it is back, nothing has to be reopened."""
    trial = Trial(kind, faulty, tmp_path)
    lib.mv_fault_arm(ANY, 1, 1, CODES["MV_UNREACHABLE"][0])
    for _ in range(5):
        with pytest.raises(apsw.IOError):
            trial.scenario.act()
        trial.scenario.recover()
    lib.mv_fault_reset()
    trial.scenario.act()
    assert trial.scenario.state() == trial.after
    trial.scenario.end()
