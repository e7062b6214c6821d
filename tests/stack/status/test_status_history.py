"""The history in a real store: what is written is read, nothing twice; and a store that goes away."""

import asyncio
import shutil
from contextlib import closing
from pathlib import Path

import apsw
import pytest

import mvsqlite_py
import status_kit as kit
from mvsqlite_py._binding import lib
from mvsqlite_stack.status.history import Batch, GoneError, History
from mvsqlite_stack.status.incidents import Incident, Note, Sort
from mvsqlite_stack.status.parts import Reason, State
from mvsqlite_stack.status.tally import DAY, HOUR, MINUTE, Kind, Tallies, Tally
from mvsqlite_stack.status.watch import Watch, store_reason
from status_kit import START, Clock

NAME = "status.db"
FAULT_COMMIT, MV_FULL = 6, 12


def batch(*spans: tuple[int, int, Kind], outages: tuple[Incident, ...] = ()) -> Batch:
    made = Tallies()
    for start, end, kind in spans:
        made.add("a", start, end, kind)
    return Batch(made, outages)


def outage(id: str, begins: int, ends: int | None = None) -> Incident:
    return Incident(id, Sort.OUTAGE, ("a",), "Notebook: answers with an error", begins, ends, "a detail")


@pytest.fixture
def history(store_url: str) -> History:
    return History(store_url, NAME)


def test_what_is_written_is_read_and_adds_up(history: History) -> None:
    history.exchange([batch((START, START + 90, Kind.UP))], START + 90)
    read = history.exchange([batch((START + 90, START + 100, Kind.DOWN))], START + 100)
    assert read.days == {(DAY, START, "a"): Tally(up=90, down=10)}


def test_a_batch_offered_again_counts_once(history: History) -> None:
    one = batch((START, START + 60, Kind.UP), outages=(outage("o", START),))
    for _ in range(3):
        read = history.exchange([one], START + 60)
    assert read.days == {(DAY, START, "a"): Tally(up=60)}
    assert [found.id for found in read.incidents] == ["o"]


def test_old_periods_go_and_days_stay(history: History, store_url: str) -> None:
    history.exchange([batch((START, START + HOUR, Kind.UP))], START)
    read = history.exchange([], START + 30 * DAY)
    assert read.days == {(DAY, START, "a"): Tally(up=HOUR)}
    with closing(mvsqlite_py.connect(NAME, store_url)) as db:
        assert db.execute("SELECT DISTINCT span FROM tally").fetchall() == [(DAY,)]
    history.exchange([], START + 500 * DAY)
    with closing(mvsqlite_py.connect(NAME, store_url)) as db:
        assert db.execute("SELECT count(*) FROM tally").get == 0


def test_a_year_of_commits_does_not_keep_a_year_of_versions(history: History, store_url: str) -> None:
    history.exchange([batch((START, START + 60, Kind.UP))], START)
    with mvsqlite_py.open_store(store_url) as store:
        policy = store.database(NAME).policy()
    assert policy.keep_all is not None
    assert policy.keep_all.total_seconds() <= DAY
    assert policy.hourly + policy.daily + policy.weekly < 200
    collected = history._collected
    history.exchange([], START + 10)
    assert history._collected == collected
    history.exchange([], START + 2 * HOUR)
    assert history._collected == START + 2 * HOUR


def test_many_exchanges_touch_few_pages(history: History, store_url: str) -> None:
    """Minutes of all parts lie together: a commit writes few pages, however many days there are."""
    made = Tallies()
    parts = [f"app-{i}" for i in range(12)]
    for i in range(2 * DAY // MINUTE):
        for part in parts:
            made.of[MINUTE, START + i * MINUTE, part] = Tally(up=MINUTE)
    history.exchange([Batch(made)], START)
    fresh = Tallies()
    for part in parts:
        fresh.add(part, START + 2 * DAY, START + 2 * DAY + 60, Kind.UP)
    with closing(mvsqlite_py.connect(NAME, store_url)) as db:
        before = db.execute("PRAGMA page_count").get
    history.exchange([Batch(fresh)], START + 60)
    with mvsqlite_py.open_store(store_url) as store:
        newest = store.database(NAME).newest
    assert newest is not None
    assert newest.pages <= 8 < before


def test_incidents_by_hand(history: History) -> None:
    one = Incident("n", Sort.NOTICE, (), "Told by hand", START, notes=(Note(START, "first"),))
    history.change("told", one)
    more = Incident(
        "n", Sort.NOTICE, (), "Told by hand", START, START + 60, notes=(*one.notes, Note(START, "b"))
    )
    history.change("closed", more)
    assert history.incidents(START + 60) == (more,)
    history.remove("taken back", "n")
    assert history.incidents(START + 60) == ()


def test_an_end_by_hand_is_not_taken_back_by_checks(history: History) -> None:
    history.exchange([batch(outages=(outage("o", START),))], START)
    history.change("closed", outage("o", START, START + 60))
    read = history.exchange([batch(outages=(outage("o", START, START + 90),))], START + 90)
    assert read.incidents[0].ends == START + 60


def test_incidents_of_ninety_days_are_read(history: History) -> None:
    history.exchange([batch(outages=(outage("old", START, START + 60), outage("on", START)))], START)
    read = history.exchange([], START + 100 * DAY)
    assert [one.id for one in read.incidents] == ["on"]


# ---- a store that goes away ----------------------------------------------------------------


@pytest.mark.lmdb_only("files that somebody moves")
def test_a_store_that_was_moved_away_is_not_made_anew(history: History, tmp_path: Path) -> None:
    history.exchange([batch((START, START + 60, Kind.UP))], START)
    shutil.move(tmp_path / "store", tmp_path / "elsewhere")
    for _ in range(2):
        with pytest.raises(GoneError):
            history.exchange([batch((START, START + 60, Kind.UP))], START)
    assert not (tmp_path / "store").exists()
    shutil.move(tmp_path / "elsewhere", tmp_path / "store")
    read = history.exchange([batch((START + 60, START + 120, Kind.UP))], START)
    assert read.days[DAY, START, "a"] == Tally(up=120)


def board_state(watch: Watch, part: str) -> State:
    return next(one.state for one in watch.board.picture(watch.now).parts if one.part.id == part)


@pytest.mark.lmdb_only("files that somebody moves")
def test_the_page_goes_on_without_the_store_and_catches_up(tmp_path: Path) -> None:
    clock = Clock()
    settings = kit.settings_for(tmp_path, "127.0.0.1:9", timeout=5, failures=1)

    async def run() -> None:
        watch = Watch(settings, clock)
        await watch.exchange()
        for _ in range(3):
            clock.go(30)
            await watch.round()
        await watch.exchange()
        assert board_state(watch, "store") is State.UP
        measured = watch.board.picture(watch.now).parts[0].days[-1].measured
        shutil.move(tmp_path / "store", tmp_path / "elsewhere")
        for _ in range(3):
            await watch.exchange()
            clock.go(30)
            await watch.round()
        picture = watch.board.picture(watch.now)
        assert (picture.history, board_state(watch, "store")) == (False, State.DOWN)
        assert picture.parts[0].days[-1].measured == measured + 90
        shutil.move(tmp_path / "elsewhere", tmp_path / "store")
        await watch.exchange()
        await watch.exchange()
        picture = watch.board.picture(watch.now)
        assert picture.history is True
        assert picture.parts[0].days[-1].measured == measured + 90
        await watch.close()
        read = History(settings.store, NAME).exchange([], watch.now)
        assert read.days[DAY, START, "gateway"].measured == measured + 90

    asyncio.run(run())


@pytest.mark.lmdb_only("the lock of a host")
def test_a_store_that_somebody_has_locked(tmp_path: Path) -> None:
    settings = kit.settings_for(tmp_path, "127.0.0.1:9", failures=1)

    async def run() -> None:
        watch = Watch(settings)
        await watch.exchange()
        assert settings.store
        other = mvsqlite_py.connect(NAME, settings.store)
        other.execute("BEGIN IMMEDIATE")
        await watch.exchange(patience=0.3)
        assert watch.board.history is False
        await watch.exchange(patience=0.3)  # the first one still waits: no second is begun
        other.execute("ROLLBACK")
        other.close()
        while watch._aside("history").busy:
            await asyncio.sleep(0.02)
        await watch.exchange()
        assert watch.board.history is True
        await watch.close()

    asyncio.run(run())


def test_a_store_that_is_full(tmp_path: Path, store_url: str) -> None:
    settings = kit.settings_for(tmp_path, "127.0.0.1:9", failures=1, store=f"fault:{store_url}")

    async def run() -> None:
        watch = Watch(settings)
        await watch.exchange()
        await watch.round()
        lib.mv_fault_arm(FAULT_COMMIT, 1, True, MV_FULL)
        try:
            await watch.exchange()
            await watch.round()
        finally:
            lib.mv_fault_reset()
        assert watch.board.history is False
        shown = {one.part.id: one for one in watch.board.picture(watch.now).parts}["store"]
        assert (shown.state, shown.words) == (State.DOWN, "Is full")
        await watch.exchange()
        assert watch.board.history is True
        await watch.close()

    asyncio.run(run())


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (apsw.FullError(), Reason.FULL),
        (OSError(28, "no space"), Reason.FULL),
        (apsw.BusyError(), Reason.TIMEOUT),
        (TimeoutError(), Reason.TIMEOUT),
        (apsw.CorruptError(), Reason.ERROR),
        (apsw.CantOpenError(), Reason.UNREACHABLE),
        (GoneError(), Reason.UNREACHABLE),
    ],
)
def test_what_strangers_are_told_of_it(error: Exception, reason: Reason) -> None:
    assert store_reason(error) is reason
