"""A server for itself, three that may fail, and processes that work on them."""

from collections.abc import Callable, Iterator

import pytest

import crew
from cluster import Cluster


@pytest.fixture
def url(fdb_cluster: Cluster) -> str:
    """The address of a store that does not exist yet, on a server of one process."""
    return fdb_cluster.url()


@pytest.fixture(scope="session")
def three_servers(fdb_cluster: Cluster) -> Iterator[Cluster]:
    assert fdb_cluster.file.exists()  # there are servers here at all
    with Cluster(3) as servers:
        yield servers


@pytest.fixture
def three(three_servers: Cluster) -> Iterator[Cluster]:
    """Three servers with two copies of everything, all of them well before and after the test."""
    yield three_servers
    three_servers.heal()


@pytest.fixture
def hire(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., crew.Hand]]:
    """Starts processes (crew.Hand), which end with the test at the latest.

    ``host=N`` gives one lock files of its own, as if it were on another machine.
    """
    hands: list[crew.Hand] = []
    hosts: dict[int, str] = {}

    def start(
        job: str, *arguments: object, host: int | None = None, environment: dict[str, str] | None = None
    ) -> crew.Hand:
        more = dict(environment or {})
        if host is not None:
            more["XDG_RUNTIME_DIR"] = hosts.setdefault(host, str(tmp_path_factory.mktemp(f"host{host}-")))
        hands.append(crew.Hand(job, *arguments, environment=more))
        return hands[-1]

    yield start
    for hand in hands:
        hand.end()
