"""Programs with the preload library."""

from pathlib import Path

import pytest

from preloaded import Preloaded, compiled


@pytest.fixture
def preloaded(tmp_path: Path, store_url: str) -> Preloaded:
    return Preloaded(tmp_path, store_url)


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where C programs of these tests are built."""
    return tmp_path_factory.mktemp("programs")


@pytest.fixture(scope="session")
def client(built: Path) -> Path:
    """A program that is linked to libsqlite3 as any other."""
    return compiled(Path(__file__).with_name("client.c"), built, "-lsqlite3", "-lpthread")
