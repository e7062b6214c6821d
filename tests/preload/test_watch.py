"""Who goes past us is told in the log: once, and nobody else."""

import sys
from pathlib import Path

import pytest

from mvsqlite_py._run.plan import PACKAGE
from preloaded import Preloaded, program


def warnings(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("mvsqlite: warn")]


def test_a_foreign_sqlite_at_a_routed_path(preloaded: Preloaded) -> None:
    """It opens the file for reading and writing: a new one, a stub, an ordinary database."""
    preloaded.make("a.db", "x")
    done = preloaded.python("""
        for _ in range(3):
            os.close(os.open("a.db", os.O_RDWR | os.O_CREAT))
            os.close(os.open("new.db", os.O_RDWR | os.O_CREAT))
            os.close(os.open("other", os.O_RDWR | os.O_CREAT))
    """)
    told = warnings(done.stderr)
    assert len(told) == 2
    assert "a.db is opened for writing by" in told[0]
    assert "new.db is opened for writing by" in told[1]


def test_a_vfs_named_outright(preloaded: Preloaded, client: Path) -> None:
    """Who asks for SQLite's own files gets the stub's sentence."""
    preloaded.make("a.db", "x")
    done = preloaded.run(client, "uri", f"file:{preloaded.data}/a.db?vfs=unix", "SELECT * FROM t", status=1)
    assert "this is not the data" in done.stdout


@pytest.mark.parametrize(
    "harmless",
    [
        "open('a.db', 'rb').read()",
        "os.utime('a.db')",
        "os.close(os.open('a.db', os.O_WRONLY | os.O_CREAT | os.O_NOCTTY | os.O_NONBLOCK))",
        "open('new.db', 'ab').close()",
        "c = sqlite3.connect('a.db'); c.execute('DELETE FROM t'); c.commit(); c.close()",
        "c = sqlite3.connect('new.db'); c.execute('CREATE TABLE t(a)'); c.close(); os.unlink('new.db')",
        "c = sqlite3.connect('other'); c.execute('CREATE TABLE t(a)'); c.close()",
        "os.chmod('a.db', 0o600)",
    ],
)
def test_what_is_not_told(preloaded: Preloaded, harmless: str) -> None:
    preloaded.make("a.db", "x")
    assert preloaded.python(harmless).stderr == ""


def test_taking_in_is_not_told(preloaded: Preloaded) -> None:
    preloaded.shell("old.sqlite", "CREATE TABLE t(a)")
    (preloaded.data / "old.sqlite").rename(preloaded.data / "old.db")
    assert (
        preloaded.python("sqlite3.connect('old.db').execute('SELECT * FROM t')", MVSQLITE_IMPORT="1").stderr
        == ""
    )
    assert preloaded.names() == {"old"}


def test_taking_in_by_the_extension_is_not_told(preloaded: Preloaded) -> None:
    """Of a program whose own SQLite has loaded it, as Node's drivers do."""
    preloaded.shell("old.sqlite", "CREATE TABLE t(a)")
    (preloaded.data / "old.sqlite").rename(preloaded.data / "old.db")
    code = "import apsw; from mvsqlite_py._connections import load_into_apsw; load_into_apsw()\n"
    code += "print(apsw.Connection('old.db').execute('SELECT count(*) FROM t').get)"
    done = preloaded.run(sys.executable, "-c", code, MVSQLITE_IMPORT="1", PYTHONPATH=str(PACKAGE.parent))
    assert (done.stdout, done.stderr) == ("0\n", "")
    assert preloaded.names() == {"old"}


def test_a_stub_that_is_overwritten(preloaded: Preloaded) -> None:
    preloaded.make("a.db", "x")
    done = preloaded.run("/bin/sh", "-c", "echo something >a.db")
    assert "was overwritten as a file" in done.stderr
    assert preloaded.rows("a", "SELECT a FROM t") == [("x",)]


@pytest.mark.parametrize(
    "how",
    [
        "import shutil; shutil.copy('a.db', 'copy'); shutil.copy('a.db', 'again')",
        "os.copy_file_range(os.open('a.db', os.O_RDONLY), os.open('copy', os.O_WRONLY | os.O_CREAT), 10)",
    ],
    ids=["sendfile", "copy_file_range"],
)
def test_a_copied_stub(preloaded: Preloaded, how: str) -> None:
    preloaded.make("a.db", "x")
    (told,) = warnings(preloaded.python(how).stderr)
    assert 'only stands for the database "a"' in told
    assert "mvsqlite export" in told


def test_messages_go_where_the_environment_says(preloaded: Preloaded) -> None:
    preloaded.make("a.db", "x")
    log = preloaded.place / "log"
    done = preloaded.run(
        program("cp"), "a.db", "copy", MVSQLITE_LOG_FILE=str(log), MVSQLITE_LOG_FORMAT="json"
    )
    assert (done.stdout, done.stderr) == ("", "")
    assert '"level":"warn"' in log.read_text().replace(" ", "")
    assert preloaded.run(program("cp"), "a.db", "copy", MVSQLITE_LOG="error").stderr == ""
