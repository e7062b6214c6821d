"""An unchanged better-sqlite3 app in Trilium's manner: a day of work, backups, and a bad deletion undone."""

import sqlite3
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

import mvsqlite_py
from mvsqlite_py import dbapi
from mvsqlite_py._cli.mvrevert import mvrevert
from node_programs import Setup, routed
from notes_client import PATIENCE, running, work

pytestmark = pytest.mark.lmdb_only("the routes lie above the store")

SOON = 0.02
MVSQLITE = [sys.executable, "-c", "from mvsqlite_py._cli.mvsqlite import main; main()"]


@pytest.fixture
def way(data: Path, store_url: str) -> dict[str, str | None]:
    """How a person makes the app run on us."""
    return routed(f"{data}/**/*.db={{path}}\n{data}/document.db=document.db", MVSQLITE_STORE=store_url)


def undo(store: mvsqlite_py.Store, *words: str) -> None:
    done = CliRunner(env={"MVSQLITE_STORE": store.url}).invoke(mvrevert, ["undo", *words])
    assert done.exit_code == 0, done.output


def until(condition: Callable[[], bool]) -> None:
    for _ in range(int(PATIENCE / SOON)):
        if condition():
            return
        threading.Event().wait(SOON)
    raise AssertionError("it does not come true")


def titles(connection: sqlite3.Connection) -> list[str]:
    with connection:
        found = [row[0] for row in connection.execute("SELECT title FROM notes ORDER BY noteId")]
    connection.close()
    return found


def test_a_day_of_work_is_answered_as_on_a_file(
    node: Setup, tmp_path: Path, data: Path, store: mvsqlite_py.Store, way: dict[str, str | None]
) -> None:
    stock = tmp_path / "stock"
    stock.mkdir()
    with running(node, stock / "document.db") as notes:
        theirs = list(work(notes, stock))
    with running(node, data / "document.db", **way) as notes:
        ours = list(work(notes, data))
        assert notes("POST", "/many", notes=[{"title": "x"}]) == {"added": 1, "refused": 0}
    assert notes.errors == []
    plain = [(asked.replace(str(stock), str(data)), answer) for asked, answer in theirs]
    assert ours == plain
    for name in ("backup.sqlite", "into.sqlite"):
        mine, other = (sqlite3.connect(place / name) for place in (data, stock))
        assert mine.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert titles(mine) == titles(other)
    assert sorted(path.name for path in data.iterdir()) == ["backup.sqlite", "document.db", "into.sqlite"]
    assert store.database("document.db").verify().problems == []


@pytest.mark.parametrize("by", ["register.cjs", "mvsqlite run"])
def test_a_bad_deletion_is_undone_while_the_app_runs(
    by: str, node: Setup, data: Path, store: mvsqlite_py.Store, way: dict[str, str | None]
) -> None:
    command: list[str] = []
    if by == "mvsqlite run":
        routes = [word for route in str(way["MVSQLITE_MAP"]).splitlines() for word in ("--map", route)]
        command = [*MVSQLITE, "run", "--store", store.url, *routes, "--"]
        way = {}
    with running(node, data / "document.db", by=command, **way) as notes:
        notes("POST", "/many", notes=[{"title": f"n{n}", "text": "x" * n} for n in range(300)])
        before = notes("GET", "/notes")
        assert notes("DELETE", "/notes") == 300
        notes("POST", "/notes", title="later")
        assert notes.titles() == notes.titles("shared") == ["later"]
        undo(store, "document.db", "--statement", "DELETE FROM notes*", "--keep-mine", "--yes")
        after = notes("GET", "/notes")
        assert after[1:] == before[1:]
        assert notes("GET", "/shared") == after
        assert notes("GET", "/check")["integrity"] == "ok"
    assert notes.errors == []


def test_backups_go_where_their_path_leads(
    node: Setup, data: Path, store: mvsqlite_py.Store, way: dict[str, str | None]
) -> None:
    """By the backup API every so often, to an ordinary file and to a routed path."""
    (data / "backups").mkdir()
    ordinary, routed_file = data / "backup-now.sqlite", data / "backups" / "backup-daily.db"
    name = str(routed_file).lstrip("/")
    with running(node, data / "document.db", ordinary, "50", **way) as notes:
        notes("POST", "/many", notes=[{"title": f"n{n}", "blob": 5000} for n in range(50)])
        assert notes("POST", "/backup", to=str(routed_file)) == {"pages": 0}
        notes("POST", "/notes", title="late")
        until(lambda: ordinary.exists() and "late" in titles(sqlite3.connect(ordinary)))
        assert notes("POST", "/backup", to=str(routed_file)) == {"pages": 0}
        assert notes("POST", "/vacuum-into", to=str(data / "backups" / "into.db")) == {"done": True}
    assert notes.errors == []
    first = list(store.database(name).versions())[-1]
    assert titles(dbapi.connect(name, store)) == [*(f"n{n}" for n in range(50)), "late"]
    older = titles(dbapi.connect(name, store, version=first.version))
    assert older == [f"n{n}" for n in range(50)], "the backup before is kept as a version"
    assert {info.name for info in store.list()} == {"document.db", name, name.replace("backup-daily", "into")}


def test_a_file_in_wal_mode_is_taken_in(
    node: Setup, data: Path, store: mvsqlite_py.Store, way: dict[str, str | None]
) -> None:
    """Left by a power cut, with its newest rows in the log only."""
    file = data / "document.db"
    with running(node, file) as notes:
        notes("POST", "/many", notes=[{"title": f"n{n}"} for n in range(20)])
        before = notes("GET", "/notes")
        notes.kill()
    assert (data / "document.db-wal").stat().st_size
    with running(node, file, MVSQLITE_IMPORT="1", MVSQLITE_LOG="info", **way) as notes:
        assert notes("GET", "/notes") == notes("GET", "/shared") == before
        notes("POST", "/notes", title="new")
    assert any("was taken in" in line for line in notes.errors)
    kept = sqlite3.connect(data / "document.db.before-mvsqlite")
    assert kept.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert titles(kept) == [note["title"] for note in before]
    assert titles(dbapi.connect("document.db", store))[-1] == "new"


def test_without_leave_a_file_is_not_taken_in_and_the_app_is_told(
    node: Setup, data: Path, way: dict[str, str | None]
) -> None:
    file = data / "document.db"
    with running(node, file) as notes:
        notes("POST", "/notes", title="old")
    content = file.read_bytes()
    with pytest.raises(AssertionError, match="SQLITE_CANTOPEN") as refused, running(node, file, **way):
        pass
    assert "let it be taken in (mvsqlite run --import, or MVSQLITE_IMPORT=1)" in str(refused.value)
    assert file.read_bytes() == content
