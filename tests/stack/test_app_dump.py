"""Dumps of a database server: each is a version, and any of them can be loaded again."""

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner

import mvsqlite_py
from mvsqlite_stack.apps import dump
from mvsqlite_stack.cli import main

HEAD = (
    "SET x = 1;\nCREATE TABLE public.note (id integer, text text);\nCOPY public.note (id, text) FROM stdin;\n"
)
TAIL = "\\.\n\nCREATE INDEX i ON public.note (id);\n"
NAME = "wiki"


def printing(directory: Path, *rows: str, tail: str = TAIL, code: int = 0) -> list[str]:
    """A command that prints a dump with these rows."""
    text = HEAD + "".join(f"{row}\n" for row in rows) + tail
    (directory / "dump.sql").write_text(text)
    return ["/bin/sh", "-c", f"cat {directory}/dump.sql; echo trouble >&2; exit {code}"]


def written(directory: Path, url: str, moment: str | None = None) -> list[str]:
    file = directory / f"out-{len(list(directory.iterdir()))}.sql"
    dump.write(url, NAME, file, moment)
    return file.read_text().splitlines()


def test_each_dump_is_a_version_of_what_changed(tmp_path: Path, store_url: str) -> None:
    first = dump.take(store_url, NAME, printing(tmp_path, "1\tone", "2\ttwo", "2\ttwo", "3\tthree"))
    assert first == dump.Taken(rows=4, added=3, removed=0)
    with mvsqlite_py.open_store(store_url) as store:
        store.database(NAME).tag("monday")
    second = dump.take(store_url, NAME, printing(tmp_path, "3\tthree", "1\tone", "2\tnew"))
    assert second == dump.Taken(rows=3, added=1, removed=1)
    rows = written(tmp_path, store_url)[3:6]
    assert sorted(rows) == ["1\tone", "2\tnew", "3\tthree"]
    monday = written(tmp_path, store_url, "monday")
    assert monday[:3] == HEAD.splitlines()
    assert sorted(monday[3:7]) == ["1\tone", "2\ttwo", "2\ttwo", "3\tthree"]
    assert monday[7:] == TAIL.splitlines()
    with mvsqlite_py.open_store(store_url) as store:
        database = store.database(NAME)
        newest = database.newest
        assert newest
        assert (newest.message or "").startswith("dump by /bin/sh")


@pytest.mark.parametrize(
    ("change", "what"),
    [({"code": 1}, "ended with 1: trouble"), ({"tail": ""}, "trouble")],
    ids=["failed", "cut off"],
)
def test_what_is_no_whole_dump_is_not_taken(
    tmp_path: Path, store_url: str, change: dict[str, object], what: str
) -> None:
    dump.take(store_url, NAME, printing(tmp_path, "1\tone"))
    before = written(tmp_path, store_url)
    with pytest.raises(dump.DumpError, match=what):
        dump.take(store_url, NAME, printing(tmp_path, "2\ttwo", **change))  # type: ignore[arg-type]
    assert written(tmp_path, store_url) == before


@pytest.mark.lmdb_only("an app's store on one machine is a directory of its own")
def test_the_command_takes_and_writes_dumps(tmp_path: Path) -> None:
    words = ", ".join(f"'{word}'" for word in ["/bin/cat", f"{tmp_path}/dump.sql"])
    (tmp_path / "stack.toml").write_text(
        '[stack]\ndomain = "example.org"\n[hosts.home]\ngateway = true\n'
        '[apps.wiki]\non = "home"\nport = 8081\nallow = ["*"]\n'
        f'database = {{ route = "server", dump = [{words}] }}\n'
    )
    printing(tmp_path, "1\tone")

    def run(*words: str, status: int = 0) -> str:
        options = ["-f", str(tmp_path / "stack.toml"), "--state", str(tmp_path / "state")]
        result = CliRunner().invoke(main, ["app", "dump", "wiki", *words, *options])
        assert result.exit_code == status, result.output
        return result.output

    assert "1 rows; 1 new, 0 gone" in run()
    out = tmp_path / "out.sql"
    run("--out", str(out))
    assert out.read_text() == (tmp_path / "dump.sql").read_text()
    assert out.stat().st_mode & 0o777 == 0o600
    assert "--out" in run("--at", "-1h", status=2)


# ---- a real server ---------------------------------------------------------------------


def programs() -> Path:
    """Postgres's own programs, which are not on the PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda one: int(one.parent.name))
    if not found or not shutil.which("pg_dump"):
        pytest.skip("Postgres is not installed")
    return found[-1]


@contextmanager
def postgres() -> Iterator[list[str]]:
    """A server of its own; gives what begins a command for one of its programs.

    Not in pytest's directory, which each session closes to others: the server may have to be another user.
    """
    place = programs()
    user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.geteuid() == 0 else []
    with tempfile.TemporaryDirectory(prefix="postgres-") as directory:
        if user:
            entry = pwd.getpwnam("postgres")
            os.chown(directory, entry.pw_uid, entry.pw_gid)
        data = Path(directory, "data")
        log = Path(directory, "log")
        run([*user, place / "initdb", "-D", data, "-A", "trust", "-U", "postgres", "-N"])
        control = [*user, place / "pg_ctl", "-D", data, "-w", "-l", log]
        run([*control, "-o", f"-k {directory} -c listen_addresses='' -c fsync=off", "start"])
        try:
            yield [*user, "env", f"PGHOST={directory}", "PGDATABASE=wiki", "PGUSER=postgres"]
        finally:
            run([*control, "-m", "immediate", "stop"])


def run(command: Sequence[str | Path]) -> None:
    """A server keeps the output open that it was started with: it goes into a file."""
    with tempfile.TemporaryFile() as said:
        done = subprocess.run(command, check=False, stdout=said, stderr=said, cwd="/")
        said.seek(0)
        assert done.returncode == 0, said.read().decode()


def test_a_dump_of_a_real_server_is_loaded_again(tmp_path: Path, store_url: str) -> None:
    with postgres() as start:

        def sql(text: str, database: str = "wiki") -> str:
            done = subprocess.run(
                [*start, "psql", "-qAtX", "-v", "ON_ERROR_STOP=1", "-d", database],
                input=text,
                capture_output=True,
                text=True,
                check=False,
                cwd="/",
            )
            assert done.returncode == 0, done.stderr
            return done.stdout

        sql("CREATE DATABASE wiki; CREATE DATABASE again", "postgres")
        sql(
            "CREATE TABLE page(id uuid PRIMARY KEY, text text); CREATE TABLE view(page uuid REFERENCES page);"
            r"INSERT INTO page SELECT gen_random_uuid(), E'tab\there \\. ' || n || E'\nline' "
            "FROM generate_series(1, 500) AS n; INSERT INTO view SELECT id FROM page"
        )
        wanted = sql("SELECT md5(string_agg(id || text, ',' ORDER BY id)) FROM page")
        command = [*start, "pg_dump", "--no-owner"]
        assert dump.take(store_url, NAME, command).rows == 1000
        with mvsqlite_py.open_store(store_url) as store:
            store.database(NAME).tag("before")
        sql(
            "DELETE FROM view; DELETE FROM page WHERE text LIKE '%1%';"
            "UPDATE page SET text = 'x' WHERE text LIKE '%23%'"
        )
        assert dump.take(store_url, NAME, command).removed > 500
        out = tmp_path / "back.sql"
        dump.write(store_url, NAME, out, "before")
        sql(out.read_text(), "again")
        assert sql("SELECT md5(string_agg(id || text, ',' ORDER BY id)) FROM page", "again") == wanted
        assert sql("SELECT count(*) FROM view", "again") == "500\n"
    done = subprocess.run(
        [sys.executable, "-m", "mvsqlite_stack.apps.dump", store_url, NAME, "/bin/false"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "/bin/false ended with 1" in done.stderr
