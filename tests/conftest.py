"""What all tests share: a fresh store, the engine it lives in, real databases, how long to run."""

import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

import cluster
import mvsqlite_py


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--store", choices=["lmdb", "fdb"], default="lmdb", help="the engine to test")
    parser.addoption("--soak", type=int, default=0, help="seconds for each test that can run for long")


@pytest.fixture(autouse=True)
def own_default_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reaches the store of the user who runs it."""
    monkeypatch.setenv("MVSQLITE_STORE", f"lmdb:{tmp_path / 'default-store'}")


@pytest.fixture(scope="session")
def soak_seconds(request: pytest.FixtureRequest) -> int:
    """0: a short run; else how many seconds a test that can run for long should take."""
    return int(request.config.getoption("--soak"))


@pytest.fixture(scope="session")
def fdb_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The cluster file of a real FoundationDB server, run for this session."""
    with cluster.run(tmp_path_factory.mktemp("fdb")) as file:
        yield file


@pytest.fixture
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of a store that does not exist yet."""
    if request.config.getoption("--store") == "fdb":
        file = request.getfixturevalue("fdb_cluster")
        return f"fdb:{file}?prefix={secrets.token_hex(8)}/"
    return f"lmdb:{tmp_path / 'store'}"


@pytest.fixture
def store(store_url: str) -> Iterator[mvsqlite_py.Store]:
    with mvsqlite_py.open_store(store_url) as opened:
        yield opened


@pytest.fixture(scope="session")
def real_databases() -> list[Path]:
    """Databases of real applications, from the directory MVSQLITE_TEST_DATA names."""
    directory = os.environ.get("MVSQLITE_TEST_DATA")
    if not directory:
        pytest.skip("MVSQLITE_TEST_DATA names no directory of real databases")
    files = sorted(Path(directory).iterdir())
    return [file for file in files if file.is_file() and file.read_bytes()[:15] == b"SQLite format 3"]
