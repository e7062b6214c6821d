"""SQLAlchemy's own suite for dialects against ours; what fails must fail with the built-in dialect too.

Both at length: ``pytest tests/frameworks/test_sqlalchemy_suite.py --soak 1``.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SUITE = Path(__file__).with_name("sqlalchemy_suite")
OPTIONS = ["-c", "setup.cfg", "-q", "-rfE", "-p", "no:cacheprovider"]


class Outcome:
    def __init__(self, ran: subprocess.CompletedProcess[str]) -> None:
        summary = ran.stdout.splitlines()[-1] if ran.stdout else ""
        self.counts = {what: int(n) for n, what in re.findall(r"(\d+) (\w+)", summary)}
        named = re.findall(
            r"^(?:FAILED|ERROR) \S+::(\w+)_sqlite\+\w+::([^\n]+?)(?: - .*)?$", ran.stdout, re.M
        )
        self.failed = {(name, test) for name, test in named}
        self.said = ran.stdout + ran.stderr


def run_suite(directory: Path, url: str, store_url: str, *words: str) -> Outcome:
    shutil.copytree(SUITE, directory)
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", *OPTIONS, "--dburi", url, *words, "test_suite.py"],
        cwd=directory,
        env=os.environ | {"PYTHONPATH": str(directory), "MVSQLITE_STORE": store_url},
        capture_output=True,
        text=True,
        check=False,
    )
    return Outcome(ran)


PARTS = [
    *("Insert", "Returning", "Lastrowid", "Rowcount", "Isolation", "Autocommit", "Exception", "Escaping"),
    *("Schema", "HasTable", "HasIndex", "TableDDL", "JSON", "Binary", "DateTime", "CTETest", "Fetch"),
    *("UpdateDelete", "Savepoint", "TableViaSelect", "Unicode", "Enum"),
]
"""Of the suite, what each run does: what depends on the driver, not on the compiler alone."""


def test_what_fails_fails_with_the_dialect_built_in_too(
    store_url: str, tmp_path: Path, soak_seconds: int, capsys: pytest.CaptureFixture[str]
) -> None:
    part = [] if soak_seconds else ["-k", " or ".join(PARTS)]
    ours = run_suite(tmp_path / "ours", f"mvsqlite:///suite.db?store={store_url}", store_url, *part)
    assert ours.counts.get("passed", 0) > (1500 if soak_seconds else 300), ours.said
    if ours.failed or soak_seconds:
        theirs = run_suite(tmp_path / "theirs", "sqlite:///suite.db", store_url, *part)
        with capsys.disabled():
            print(f"\nSQLAlchemy's suite: mvsqlite {ours.counts}, built-in sqlite {theirs.counts}")
        assert ours.failed - theirs.failed == set(), ours.said
        assert ours.counts.get("passed", 0) >= theirs.counts["passed"] - len(ours.failed)
