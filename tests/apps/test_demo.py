"""The demo: what `make demo` shows comes true, and it says so when it does not."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mvsqlite_py import _demo

pytestmark = pytest.mark.lmdb_only("shown with the default engine")


def test_the_demo_tells_its_story_and_proves_it(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mvsqlite_py._demo"],
        env=os.environ | {"TMPDIR": str(tmp_path), "COLUMNS": "80"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("✓") == 12
    assert "✗" not in done.stdout
    assert "$ mvrevert undo notes.db" in done.stdout
    assert "Nothing was lost." in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert list(tmp_path.iterdir()) == [], "it leaves nothing behind"


def test_a_proof_that_fails_fails_the_demo(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(_demo, "take_back", lambda *_: None)
    assert _demo.main() == 1
    told = capsys.readouterr().out
    assert "✗ notes: all 3,001 rows are back" in told
    assert "The demo failed" in told
