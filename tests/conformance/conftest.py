"""These tests compare answers, not durability: they run in memory where there is room."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

MEMORY = Path("/dev/shm")
ROOM = 4 << 30


@pytest.fixture
def tmp_path(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    if not MEMORY.is_dir() or shutil.disk_usage(MEMORY).free < ROOM:
        yield tmp_path_factory.mktemp("conformance")
        return
    with tempfile.TemporaryDirectory(prefix="mvsqlite-", dir=MEMORY) as directory:
        yield Path(directory)
