"""``mvsqlite run``: what it sets, what it refuses, and what it notices after the start."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from commands import GROUPS
from mvsqlite_py._run.plan import LIBRARY, PlanError, absolute, make_plan, settled_url
from mvsqlite_py._run.program import examine, hidden_from_others
from preloaded import Preloaded, command, compiled, program

INSERT = (
    "import sqlite3; c = sqlite3.connect('a.db'); c.execute('CREATE TABLE IF NOT EXISTS t(a)'); c.close()"
)


def without_preload(preloaded: Preloaded) -> dict[str, str]:
    """The environment of somebody who types the command."""
    mine = ("MVSQLITE_MAP", "MVSQLITE_LOG", "LD_PRELOAD")
    return {name: value for name, value in preloaded.environment.items() if name not in mine}


def run(preloaded: Preloaded, *words: str | Path, status: int = 0, **extra: str) -> Any:
    done = subprocess.run(
        command("run", *map(str, words)),
        cwd=preloaded.data,
        env=without_preload(preloaded) | extra,
        text=True,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == status, f"{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr
    return done


def ask(preloaded: Preloaded, *words: str | Path, status: int = 0, **extra: str) -> Result:
    """The same in this process, for what ends before a program starts."""
    unset: dict[str, str | None] = dict.fromkeys(("MVSQLITE_MAP", "MVSQLITE_LOG", "LD_PRELOAD"))
    environment = unset | {"MVSQLITE_STORE": preloaded.url} | extra
    result = CliRunner(env=environment).invoke(GROUPS["mvsqlite"], ["run", *map(str, words)])
    assert result.exit_code == status, result.output + repr(result.exception)
    return result


def test_a_program_runs_on_the_store(preloaded: Preloaded) -> None:
    done = run(preloaded, "--map", "*.db={stem}", "--", program("python3"), "-c", INSERT)
    assert (done.stdout, done.stderr) == ("", "")
    assert preloaded.names() == {"a"}
    assert preloaded.is_stub("a.db")


def test_the_exit_status_and_the_arguments_are_the_programs(preloaded: Preloaded) -> None:
    done = run(
        preloaded, "--map", "*.db={stem}", "sh", "-c", 'echo "$0" "$1" --map; exit 7', "zero", "a b", status=7
    )
    assert done.stdout == "zero a b --map\n"


def test_it_becomes_the_program(preloaded: Preloaded) -> None:
    """The process is the same, its signals are the program's, and it has no children it did not make."""
    code = "import os, signal; print(os.getpid(), os.path.exists(f'/proc/{os.getpid()}/task') and "
    code += (
        "open(f'/proc/{os.getpid()}/task/{os.getpid()}/children').read().split(), flush=True); signal.pause()"
    )
    started = subprocess.Popen(
        command("run", "--map", "*.db={stem}", "--", program("python3"), "-c", code),
        cwd=preloaded.data,
        env=without_preload(preloaded),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert started.stdout is not None
    assert started.stdout.readline() == f"{started.pid} []\n"
    started.send_signal(signal.SIGTERM)
    assert started.wait(10) == -signal.SIGTERM
    started.communicate()


def test_a_file_of_routes(preloaded: Preloaded) -> None:
    config = preloaded.place / "app.toml"
    store = f"lmdb:{preloaded.place / 'other-store'}"
    config.write_text(
        f'store = "{store}"\nimport = true\nlog = "info"\n[map]\n"data/*.db" = "app/{{stem}}"\n'
    )
    subprocess.run([program("sqlite3"), preloaded.data / "a.db", "CREATE TABLE t(a)"], check=True)
    done = run(preloaded, "--config", config, "--", program("python3"), "-c", INSERT, MVSQLITE_STORE="")
    assert 'a.db is the database "app/a"' in done.stderr
    preloaded.url = store
    assert preloaded.names() == {"app/a"}
    assert (preloaded.data / "a.db.before-mvsqlite").exists()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--map", "*.db=same"], "would make one database of several files"),
        (["--map", "*.db"], "is no route"),
        (["--map", "a.db={no}"], "is no placeholder"),
        (["--map", "a.db=a", "--store", "ftp:x"], "ftp"),
        ([], "no route is given"),
    ],
)
def test_mistakes_are_told_before_the_start(preloaded: Preloaded, words: list[str], sentence: str) -> None:
    done = ask(preloaded, *words, "--", "echo", "started", status=1)
    assert sentence in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("maps = 1", "'maps' is not known"),
        ("import = 'yes'", "import must be a bool"),
        ("[map]\n'a.db' = 1", "must be a string"),
        ("log = 'loud'\n[map]\n'a.db' = 'a'", "log level 'loud'"),
        ("[map", "app.toml"),
    ],
)
def test_mistakes_in_the_file(tmp_path: Path, text: str, sentence: str) -> None:
    (file := tmp_path / "app.toml").write_text(text)
    with pytest.raises(PlanError, match=sentence.replace("[", r"\[")):
        make_plan((), file, {})


def test_patterns_become_absolute(tmp_path: Path) -> None:
    place = tmp_path.resolve()
    (place / "real").mkdir()
    (place / "link").symlink_to("real")
    (place / "real" / "odd [1]").mkdir()
    (place / "real" / "file.db").touch()
    (place / "file-link.db").symlink_to("real/file.db")
    assert absolute("link/*.db", place) == f"{place}/real/*.db"
    assert absolute("file-link.db", place) == f"{place}/real/file.db"
    assert absolute("new.db", place) == f"{place}/new.db"
    assert absolute("/no/where/**/x.db", place) == "/no/where/**/x.db"
    assert absolute("**/x.db", place) == "**/x.db"
    assert absolute("x.db", place / "real" / "odd [1]") == f"{place}/real/odd \\[1]/x.db"
    assert settled_url("lmdb:store?wait_ms=1") == f"lmdb:{Path.cwd()}/store?wait_ms=1"
    assert settled_url("fdb:/etc/x?prefix=a/") == "fdb:/etc/x?prefix=a/"


def test_on_a_new_machine_the_stub_is_made_before(preloaded: Preloaded) -> None:
    preloaded.make("a.db", "x")
    (preloaded.data / "a.db").unlink()
    code = "import os; assert os.path.exists('a.db') and not os.path.exists('b.db')"
    run(preloaded, "--map", "a.db=a", "--map", "b.db=b", "--", program("python3"), "-c", code)
    assert preloaded.shell("a.db", "SELECT a FROM t") == "x"


def test_an_ordinary_file_is_told_before(preloaded: Preloaded) -> None:
    subprocess.run([program("sqlite3"), preloaded.data / "a.db", "CREATE TABLE t(a)"], check=True)
    done = ask(preloaded, "--map", f"{preloaded.data}/a.db=a", "--", "echo", "started", status=2)
    assert "--import" in done.stderr
    assert run(preloaded, "--map", "a.db=a", "--import", "--", "echo", "started").stdout == "started\n"


# ---- programs that cannot be reached ----------------------------------------------------


@pytest.fixture
def nothing(built: Path) -> Path:
    source = built / "nothing.c"
    source.write_text("int main(void) { return 0; }\n")
    return source


def refused(preloaded: Preloaded, file: str | Path, sentence: str) -> None:
    done = ask(preloaded, "--map", "*.db={stem}", "--", file, status=2)
    assert sentence in done.stderr
    assert "--force" in done.stderr
    checked = ask(preloaded, "--map", "*.db={stem}", "--check", "--json", "--", file, status=1)
    assert any(sentence in problem for problem in json.loads(checked.stdout)["problems"])


def test_statically_linked(preloaded: Preloaded, nothing: Path, tmp_path: Path) -> None:
    made = compiled(nothing, tmp_path, "-static")
    refused(preloaded, made, "is statically linked")
    run(preloaded, "--map", "*.db={stem}", "--force", "--", made)


def test_linked_to_musl(preloaded: Preloaded, nothing: Path, tmp_path: Path) -> None:
    refused(preloaded, compiled(nothing, tmp_path, compiler="musl-gcc"), "is linked to musl")


def test_with_its_own_sqlite(preloaded: Preloaded, built: Path, tmp_path: Path) -> None:
    source = built / "own.c"
    source.write_text('#include <stdio.h>\nint main(void) { return !puts("SQLite format 3"); }\n')
    refused(preloaded, compiled(source, tmp_path), "brings its own SQLite along")


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a program to another user")
def test_setuid_and_setgid(preloaded: Preloaded, nothing: Path, tmp_path: Path) -> None:
    made = compiled(nothing, tmp_path)
    os.chown(made, 1, 1)
    made.chmod(0o4755)
    refused(preloaded, made, "is setuid")
    made.chmod(0o2755)
    refused(preloaded, made, "is setgid")


def test_file_capabilities(nothing: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    made = compiled(nothing, tmp_path)
    setcap = shutil.which("setcap", path="/usr/sbin:/sbin:/usr/bin")
    if setcap is None or subprocess.run([setcap, "cap_net_bind_service+ep", made], check=False).returncode:
        pytest.skip("capabilities of files cannot be set here")
    assert examine(str(made), os.environ).problems == ()
    monkeypatch.setattr(os, "getuid", lambda: 1000)
    (problem,) = examine(str(made), os.environ).problems
    assert "has file capabilities" in problem
    assert f"setcap -r {made}" in problem


def test_what_is_no_program(preloaded: Preloaded) -> None:
    assert (
        "is found on the PATH" in ask(preloaded, "--map", "a.db=a", "--", "no-such-program", status=1).stderr
    )
    (preloaded.data / "text").write_text("#!/no/such/interpreter\n")
    (preloaded.data / "text").chmod(0o755)
    script = preloaded.data / "text"
    assert "/no/such/interpreter" in ask(preloaded, "--map", "a.db=a", "--", script, status=1).stderr


def test_scripts_are_followed_to_their_interpreter(preloaded: Preloaded) -> None:
    (preloaded.data / "first").write_text(f"#!/usr/bin/env -S A=1 {preloaded.data}/second --option\n")
    (preloaded.data / "second").write_text(f"#!{program('sh')}\n")
    for name in ("first", "second"):
        (preloaded.data / name).chmod(0o755)
    found = examine(str(preloaded.data / "first"), os.environ)
    last = Path(program("sh")).resolve()
    assert found.chain == (preloaded.data / "first", preloaded.data / "second", last)
    assert found.problems == ()


def test_interpreters_and_linked_programs_are_fine(client: Path) -> None:
    assert examine(str(client), os.environ).problems == ()
    for name in ("python3", "php", "ruby", "perl", "node"):
        if shutil.which(name, path="/usr/bin"):
            assert examine(f"/usr/bin/{name}", os.environ).problems == ()


# ---- the environment ----------------------------------------------------------------------


def test_a_check_tells_what_a_unit_needs(preloaded: Preloaded) -> None:
    words = ["--map", f"{preloaded.data}/a.db=a", "--map", f"{preloaded.data}/b.db=b", "--import", "--check"]
    done = ask(preloaded, *words, "--", "true")
    assert f'Environment="MVSQLITE_MAP={preloaded.data}/a.db=a\\n{preloaded.data}/b.db=b"' in done.stdout
    assert f'Environment="LD_PRELOAD={LIBRARY}"' in done.stdout
    told = json.loads(ask(preloaded, *words, "--json", "--", "true").stdout)
    assert told["environment"]["MVSQLITE_IMPORT"] == "1"
    assert told["problems"] == []


def test_a_place_that_only_its_owner_reads_is_noted(tmp_path: Path) -> None:
    (file := tmp_path / "closed" / "library.so").parent.mkdir(0o700)
    file.touch(0o644)
    told = hidden_from_others(file)
    assert told is not None
    assert "Install mvsqlite-py where everybody can read it" in told
    assert hidden_from_others(Path("/")) is None


def test_what_the_environment_held_is_kept(preloaded: Preloaded) -> None:
    words = ["--map", "a.db=a", "--check", "--json", "--", "true"]
    held = {"LD_PRELOAD": f"{LIBRARY}:/other.so", "NODE_OPTIONS": "--trace-warnings"}
    told = json.loads(ask(preloaded, *words, **held).stdout)["environment"]
    assert told["LD_PRELOAD"] == f"{LIBRARY} /other.so"
    assert told["NODE_OPTIONS"].startswith("--trace-warnings --require ")


# ---- after the start ----------------------------------------------------------------------


def test_a_program_that_goes_past_us_is_noticed(preloaded: Preloaded) -> None:
    """The program says nothing of it; standard error does, once, as soon as it ends."""
    make = f"{program('sqlite3')} $name.db 'CREATE TABLE t(a)'"
    past = f"unset LD_PRELOAD; for name in a b; do {make}; done"
    done = run(preloaded, "--map", "*.db={stem}", "--", "sh", "-c", past)
    assert done.stderr.count("goes past mvsqlite") == 1
    assert done.stdout == ""


def test_it_is_noticed_while_the_program_runs(preloaded: Preloaded) -> None:
    past = f"unset LD_PRELOAD; {program('sqlite3')} a.db 'CREATE TABLE t(a)'; exec sleep 60"
    started = subprocess.Popen(
        command("run", "--map", "**/*.db={stem}", "--map", "a.db=a", "--", "sh", "-c", past),
        cwd=preloaded.data,
        env=without_preload(preloaded),
        text=True,
        stderr=subprocess.PIPE,
    )
    timer = threading.Timer(20, started.kill)
    timer.start()
    assert started.stderr is not None
    line = started.stderr.readline()
    timer.cancel()
    started.kill()
    started.communicate()
    assert "goes past mvsqlite" in line


def test_a_program_that_is_reached_is_not_blamed(preloaded: Preloaded, tmp_path: Path) -> None:
    """Not even where it takes a file in, which changes that before it is moved aside."""
    subprocess.run(
        [program("sqlite3"), preloaded.data / "a.db", "PRAGMA journal_mode=WAL; CREATE TABLE t(a)"],
        check=True,
    )
    (place := tmp_path / "scratch").mkdir()
    done = run(
        preloaded,
        "--map",
        "*.db={stem}",
        "--import",
        "--",
        program("python3"),
        "-c",
        INSERT,
        TMPDIR=str(place),
    )
    assert done.stderr == ""
    gone = threading.Event()
    for _ in range(200):
        with contextlib.suppress(FileNotFoundError):
            if not list(place.iterdir()):
                break
        gone.wait(0.05)
    assert list(place.iterdir()) == []


@pytest.mark.lmdb_only("another user must be able to open the store")
@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_as_another_user(preloaded: Preloaded) -> None:
    """A store and a directory of that user's; the preload library is read by everybody."""
    probe = subprocess.run(
        [program("setpriv"), "--reuid=1", "--regid=1", "--clear-groups", "cat", LIBRARY],
        capture_output=True,
        check=False,
    )
    above = [*preloaded.data.parents]
    if probe.returncode:
        pytest.skip("the preload library lies where other users cannot read it")
    for directory in above[:3]:
        if directory.stat().st_mode & 0o055 != 0o055 and directory != Path("/"):
            directory.chmod(directory.stat().st_mode | 0o055)
    preloaded.url = f"lmdb:{preloaded.data}/store"
    os.chown(preloaded.data, 1, 1)
    user = [program("setpriv"), "--reuid=1", "--regid=1", "--clear-groups"]
    preloaded.run(*user, program("sqlite3"), "a.db", "CREATE TABLE t(a); INSERT INTO t VALUES ('x')")
    assert (preloaded.data / "a.db").stat().st_uid == 1
    assert preloaded.run(*user, program("sqlite3"), "a.db", "SELECT a FROM t").stdout == "x\n"
