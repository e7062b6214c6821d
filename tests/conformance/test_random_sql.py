"""Random SQL gives equal answers and equal databases on our VFS and on stock SQLite."""

import time
from pathlib import Path

import pytest

import mvsqlite_py
from random_sql import Generator
from sides import Session, Side, compare, ours, stock
from test_sql_equality import check_history

STEPS = 250
SEEDS = 12


def dump(session: Session) -> list[object]:
    """Everything a database holds."""
    tables = session.rows("SELECT name, sql FROM sqlite_schema ORDER BY name, type")
    found: list[object] = [tables]
    for (name,) in session.rows("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name"):
        found.append((name, session.rows(f'SELECT rowid, * FROM "{name}" ORDER BY rowid')))
    return found


def in_transaction(session: Session) -> bool:
    return bool(session.raw.in_transaction)


def work(seed: int, mine: Session, theirs: Session) -> None:
    """The same statements on both; after each commit both hold the same."""
    generator = Generator(seed)
    for statement in [*generator.start(), *(generator.step() for _ in range(STEPS))]:
        before = in_transaction(mine)
        mine(statement)
        theirs(statement)
        assert in_transaction(mine) == in_transaction(theirs), statement
        if not in_transaction(mine) and (before or statement.startswith(("INSERT", "UPDATE", "DELETE"))):
            assert dump(mine) == dump(theirs), statement
    for session in (mine, theirs):
        if in_transaction(session):
            session("COMMIT")


def run(seed: int, driver: str, directory: Path, store: mvsqlite_py.Store) -> None:
    store.configure(stage_bytes=65536 if seed % 2 else 64 << 20, full_every=1 + seed % 7)
    pair: tuple[Side, Side] = ours(driver, directory / "ours", store), stock(driver, directory / "stock")
    name = f"seed-{seed}.db"
    mine, theirs = (side.open(name, label="main") for side in pair)
    try:
        work(seed, mine, theirs)
        compare(*pair)
        assert dump(mine) == dump(theirs)
    finally:
        for side in pair:
            side.close()
    assert pair[0].content(name) == pair[1].content(name)
    check_history(store.database(name), driver)


@pytest.mark.parametrize("driver", ["apsw", "sqlite3"])
@pytest.mark.parametrize("seed", range(SEEDS))
def test_random_sql(driver: str, seed: int, tmp_path: Path, store: mvsqlite_py.Store, stride: int) -> None:
    """The seed of a failure is in the test's name; a run is the same for the same seed."""
    if stride > 1 and seed % (stride + 1):  # odd and even ones differ in how commits are made
        pytest.skip(f"where every commit is a round trip one seed in {stride + 1} is enough")
    run(seed, driver, tmp_path, store)


@pytest.mark.soak
@pytest.mark.parametrize("driver", ["apsw", "sqlite3"])
def test_random_sql_for_long(driver: str, tmp_path: Path, store_url: str, soak_seconds: int) -> None:
    if not soak_seconds:
        pytest.skip("runs with --soak SECONDS")
    end, seed = time.monotonic() + soak_seconds, SEEDS
    while time.monotonic() < end:
        with mvsqlite_py.open_store(f"{store_url}-{seed}") as store:
            run(seed, driver, tmp_path / str(seed), store)
        seed += 1
    print(f"{seed - SEEDS} seeds on {driver}")
