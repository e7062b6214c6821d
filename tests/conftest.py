"""What all tests share: a fresh store, the engine it lives in, real databases, how long to run."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import pytest

import mvsqlite_py
from cluster import Cluster, missing

UrlIn = Callable[[Path], str]

ABOVE_THE_STORE = {"unit", "apps", "extension", "frameworks", "preload", "router", "stack"}
ABOVE_THE_STORE_EVERY = 4
"""Of the tests in those directories a run of everything on a cluster does every so many: what they are
about lies above the store, and the embedded engine's run does them all."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--store", choices=["lmdb", "fdb"], default="lmdb", help="the engine to test")
    parser.addoption("--soak", type=int, default=0, help="seconds for each test that can run for long")


def pytest_configure(config: pytest.Config) -> None:
    if os.environ.get("CI") and not config.getoption("--soak"):
        # What lands is judged by the same examples as the run before it; people and soaks look for new ones.
        hypothesis.settings.register_profile("ci", derandomize=True)
        hypothesis.settings.load_profile("ci")
    why = missing() if config.getoption("--store") == "fdb" else None
    if why:
        raise pytest.UsageError(f"--store=fdb: {why}")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--store") == "lmdb":
        return
    for item in items:
        marker = item.get_closest_marker("lmdb_only")
        if marker:
            item.add_marker(pytest.mark.skip(reason=f"of the embedded engine only: {marker.args[0]}"))
    everything = config.args_source is pytest.Config.ArgsSource.TESTPATHS
    if everything and not config.getoption("--soak"):
        _thin_out(config, items)


def _thin_out(config: pytest.Config, items: list[pytest.Item]) -> None:
    above = [
        item for item in items if ABOVE_THE_STORE.intersection(item.path.relative_to(config.rootpath).parts)
    ]
    dropped = {id(item) for i, item in enumerate(above) if i % ABOVE_THE_STORE_EVERY}
    config.hook.pytest_deselected(items=[item for item in items if id(item) in dropped])
    items[:] = [item for item in items if id(item) not in dropped]


@pytest.fixture(autouse=True)
def own_default_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reaches the store of the user who runs it."""
    monkeypatch.setenv("MVSQLITE_STORE", f"lmdb:{tmp_path / 'default-store'}")


@pytest.fixture(scope="session")
def soak_seconds(request: pytest.FixtureRequest) -> int:
    """0: a short run; else how many seconds a test that can run for long should take."""
    return int(request.config.getoption("--soak"))


@pytest.fixture(scope="session")
def stride(request: pytest.FixtureRequest, soak_seconds: int) -> int:
    """Of what is repeated for many seeds or places a short run does every so many: round trips add up."""
    return 1 if request.config.getoption("--store") == "lmdb" or soak_seconds else 8


@pytest.fixture(scope="session")
def lock_files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The lock files of stores in a cluster lie where they are removed with the rest."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("locks")))
        yield


@pytest.fixture(scope="session")
def fdb_cluster(lock_files: None) -> Iterator[Cluster]:  # noqa: ARG001
    """A real FoundationDB server, run for this session."""
    why = missing()
    if why:
        pytest.skip(f"FoundationDB: {why}")
    with Cluster() as servers:
        yield servers


@pytest.fixture(scope="session")
def url_in(request: pytest.FixtureRequest) -> UrlIn:
    """Makes addresses of stores that do not exist yet; an embedded one is in the directory."""
    if request.config.getoption("--store") == "lmdb":
        return lambda directory: f"lmdb:{directory / 'store'}"
    servers: Cluster = request.getfixturevalue("fdb_cluster")
    return lambda _: servers.url()


@pytest.fixture
def store_url(url_in: UrlIn, tmp_path: Path) -> str:
    """The address of a store that does not exist yet."""
    return url_in(tmp_path)


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
