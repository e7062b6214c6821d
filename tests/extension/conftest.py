"""Programs that know nothing of the project, and what they need."""

from pathlib import Path

import pytest

import node_programs


@pytest.fixture(scope="session")
def node(soak_seconds: int) -> node_programs.Setup:
    """The Node and better-sqlite3 of every run."""
    return node_programs.installed("better-sqlite3 13", bool(soak_seconds))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Where programs keep their files."""
    directory = tmp_path / "data"
    directory.mkdir()
    return directory
