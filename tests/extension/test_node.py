"""register.cjs: an unchanged Node program's files become databases of the store, whichever driver it uses."""

import json
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

import mvsqlite_py
from node_programs import DRIVERS, REGISTER, Setup, environment, installed, modules_beside, routed, run

pytestmark = pytest.mark.lmdb_only("the routes lie above the store")

BETTER = """
const Database = require("better-sqlite3");
const db = new Database(process.argv.at(-1));
db.exec("CREATE TABLE IF NOT EXISTS t(a)");
db.prepare("INSERT INTO t VALUES (?)").run("better-sqlite3");
console.log(db.prepare("SELECT count(*) FROM t").pluck().get());
"""
NODE_SQLITE = """
const { DatabaseSync } = require("node:sqlite");
const db = new DatabaseSync(process.argv.at(-1));
db.exec("CREATE TABLE IF NOT EXISTS t(a); INSERT INTO t VALUES ('node:sqlite')");
console.log(db.prepare("SELECT count(*) AS n FROM t").get().n);
"""
NODE_SQLITE3 = """
const sqlite3 = require("sqlite3");
const db = new sqlite3.Database(process.argv.at(-1), (error) => error && console.log(error.code));
db.serialize(() => {
  db.run("CREATE TABLE IF NOT EXISTS t(a)").run("INSERT INTO t VALUES ('sqlite3')");
  db.get("SELECT count(*) AS n FROM t", (error, row) => console.log(row.n));
});
"""
PROGRAMS = {"better-sqlite3": BETTER, "node:sqlite": NODE_SQLITE, "sqlite3": NODE_SQLITE3}


@pytest.fixture(params=DRIVERS)
def setup(request: pytest.FixtureRequest, soak_seconds: int) -> Setup:
    """Each driver in the releases that are tried."""
    return installed(request.param, bool(soak_seconds))


def driver_of(setup: Setup) -> str:
    return next(name for name in PROGRAMS if name in setup.packages)


def rows(store: mvsqlite_py.Store, name: str = "app.db") -> list[str]:
    connection = mvsqlite_py.connect(name, store)
    try:
        return [row[0] for row in connection.execute("SELECT a FROM t")]
    finally:
        connection.close()


def test_a_driver_that_is_required(setup: Setup, data: Path, store: mvsqlite_py.Store) -> None:
    driver, file = driver_of(setup), data / "app.db"
    way = routed(f"{data}/*.db={{name}}", MVSQLITE_STORE=store.url)
    for n in ("1\n", "2\n"):
        done = run(setup, PROGRAMS[driver], file, **way)
        assert (done.status, done.output, done.errors) == (0, n, "")
    assert rows(store) == [driver, driver]
    newest = store.database("app.db").newest
    assert newest
    assert newest.program == "node"
    plain = run(setup, PROGRAMS[driver], file)
    assert "this is not the data" in plain.output + plain.errors, "without us it finds the stub"


def test_a_program_that_ends_at_once_ends_well(setup: Setup, data: Path, store: mvsqlite_py.Store) -> None:
    """Also with a driver whose extension is loaded by a thread, which is ended with the program."""
    way = routed(f"{data}/*.db={{name}}", MVSQLITE_STORE=store.url)
    opened = PROGRAMS[driver_of(setup)].splitlines()[1:3]
    for end in ["", "process.exit(0)"] * 4:
        done = run(setup, "\n".join([*opened, end]), data / "app.db", **way)
        assert (done.status, done.output, done.errors) == (0, "", "")


def test_other_files_are_left_alone(node: Setup, data: Path, store: mvsqlite_py.Store) -> None:
    way = routed(f"{data}/*.db={{name}}", MVSQLITE_STORE=store.url)
    done = run(node, BETTER, data / "other.sqlite", **way)
    assert (done.status, done.output, done.errors) == (0, "1\n", "")
    assert sqlite3.connect(data / "other.sqlite").execute("SELECT a FROM t").fetchall() == [
        ("better-sqlite3",)
    ]
    done = run(node, BETTER, ":memory:", **way)
    assert (done.output, done.errors) == ("1\n", "")
    assert store.list() == []


def test_without_a_map_nothing_happens(node: Setup, data: Path) -> None:
    done = run(node, BETTER, data / "app.db", NODE_OPTIONS=f'--require "{REGISTER}"', MVSQLITE_MAP=None)
    assert (done.output, done.errors) == ("1\n", "")
    assert (data / "app.db").read_bytes().startswith(b"SQLite format 3")
    watched = "console.log(process.dlopen.toString().includes('native code') || process.dlopen.name)"
    assert run(node, watched, **routed("")).output == run(node, watched).output


@pytest.mark.parametrize("driver", ["better-sqlite3", "node:sqlite"])
def test_esm(driver: str, node: Setup, data: Path, store: mvsqlite_py.Store) -> None:
    lines = PROGRAMS[driver].strip().splitlines()
    names = lines[0].removeprefix("const ").split(" = ")[0]
    program = data / "program.mjs"
    program.write_text("\n".join([f'import {names} from "{driver}";', *lines[1:]]))
    with modules_beside(data, node):
        done = run(
            node, program, data / "app.db", **routed(f"{data}/*.db={{name}}", MVSQLITE_STORE=store.url)
        )
    assert (done.status, done.output, done.errors) == (0, "1\n", "")
    assert rows(store) == [driver]


def test_drivers_of_one_process_in_many_threads(node: Setup, data: Path, store: mvsqlite_py.Store) -> None:
    """Two copies of SQLite, and workers that start at once, before the main thread has opened anything."""
    program = data / "threads.cjs"
    program.write_text("""
const { Worker, isMainThread, workerData } = require("node:worker_threads");
const file = process.argv[2];
function insert(name) {
  const Database = require("better-sqlite3");
  const { DatabaseSync } = require("node:sqlite");
  const db = new Database(file);
  db.exec("CREATE TABLE IF NOT EXISTS t(a)");
  for (let i = 0; i < 20; i++) db.prepare("INSERT INTO t VALUES (?)").run(name + i);
  const other = new DatabaseSync(file, { timeout: 5000 });
  for (let i = 0; i < 20; i++) other.prepare("INSERT INTO t VALUES (?)").run("node" + name + i);
}
if (!isMainThread) insert(workerData);
else {
  let left = 4;
  const ended = () => --left || insert("main");
  for (const name of "abcd") new Worker(__filename, { workerData: name, argv: [file] }).on("exit", ended);
}
""")
    done = run(node, program, data / "app.db", **routed(f"{data}/*.db={{name}}", MVSQLITE_STORE=store.url))
    assert (done.status, done.output, done.errors) == (0, "", "")
    written = rows(store)
    assert len(written) == len(set(written)) == 5 * 2 * 20


def test_processes_that_the_program_forks(node: Setup, data: Path, store: mvsqlite_py.Store) -> None:
    program = data / "forks.cjs"
    program.write_text("""
const { fork } = require("node:child_process");
const Database = require("better-sqlite3");
const [file, name] = process.argv.slice(2);
const db = new Database(file);
db.exec("CREATE TABLE IF NOT EXISTS t(a)");
for (let i = 0; i < 20; i++) db.prepare("INSERT INTO t VALUES (?)").run((name ?? "first") + i);
if (!name) for (const other of ["second", "third"]) fork(__filename, [file, other]);
""")
    done = run(node, program, data / "app.db", **routed(f"{data}/*.db={{name}}", MVSQLITE_STORE=store.url))
    assert (done.status, done.output, done.errors) == (0, "", "")
    assert len(set(rows(store))) == 3 * 20
    assert len({version.pid for version in store.database("app.db").versions()}) == 3


def test_an_addon_where_a_bundler_put_it(node: Setup, data: Path, store: mvsqlite_py.Store) -> None:
    """The program names the addon's file itself, as bundled programs do."""
    addon = next(
        (node.directory / "node_modules/better-sqlite3/prebuilds").glob(f"linux-{node.node[-3:]}.node")
    )
    shutil.copy(addon, data / "elsewhere.node")
    program = BETTER.replace("argv.at(-1))", f"argv.at(-1), {{ nativeBinding: '{data}/elsewhere.node' }})")
    done = run(node, program, data / "app.db", **routed(f"{data}/*.db={{name}}", MVSQLITE_STORE=store.url))
    assert (done.output, done.errors) == ("1\n", "")
    assert rows(store) == ["better-sqlite3"]


def test_messages_are_json_in_a_file(
    setup: Setup, data: Path, tmp_path: Path, store: mvsqlite_py.Store
) -> None:
    """Those of register.cjs and those of the library alike."""
    log = tmp_path / "log"
    way = routed(f"{data}/*.db={{name}}", MVSQLITE_STORE=store.url, MVSQLITE_LOG="debug")
    to_file = {"MVSQLITE_LOG_FILE": str(log), "MVSQLITE_LOG_FORMAT": "json"}
    done = run(setup, PROGRAMS[driver_of(setup)], data / "app.db", **way, **to_file)
    assert (done.output, done.errors) == ("1\n", "")
    told = [json.loads(line) for line in log.read_text().splitlines()]
    assert [set(one) for one in told] == [{"time", "level", "pid", "message"}] * len(told)
    assert len({one["pid"] for one in told}) == 1
    assert [one["level"] for one in told if "libmvsqlite.so is loaded" in one["message"]] == ["debug"]
    assert [one["level"] for one in told if 'is the database "app.db"' in one["message"]] == ["info"]


FILES = """
const fs = require("node:fs");
const Database = require("better-sqlite3");
const [file, moved, copy] = process.argv.slice(-3);
function rows(path) {
  try {
    const db = new Database(path);
    db.exec("CREATE TABLE IF NOT EXISTS t(a); INSERT INTO t VALUES (1)");
    const n = db.prepare("SELECT count(*) FROM t").pluck().get();
    db.close();
    return n;
  } catch (error) {
    return error.code;
  }
}
const told = [rows(file)];
fs.unlinkSync(file);
told.push(rows(file));
fs.renameSync(file, moved);
told.push(rows(moved), rows(file));
fs.copyFileSync(file, copy);
told.push(rows(copy));
console.log(JSON.stringify(told));
"""
"""Removes, renames and copies the file itself, past SQLite."""


def test_a_file_removed_renamed_or_copied_loses_nothing(
    node: Setup, data: Path, store: mvsqlite_py.Store
) -> None:
    """The extension cannot see it: what would be another database is refused, and the rows stay."""
    files = [data / "a.db", data / "b.db", data / "c.sqlite"]
    done = run(node, FILES, *files, **routed(f"{data}/*.db={{name}}", MVSQLITE_STORE=store.url))
    assert json.loads(done.output) == [1, 2, "SQLITE_CANTOPEN", 3, "SQLITE_CANTOPEN"]
    for refused in files[1:]:
        assert f"{refused} is a copy of what stands at {files[0]} and holds no data" in done.errors
    assert [info.name for info in store.list()] == ["a.db"]


def test_under_mvsqlite_run_removing_and_renaming_are_what_they_are_for_files(
    node: Setup, data: Path, store: mvsqlite_py.Store
) -> None:
    files = [str(data / name) for name in ("a.db", "b.db", "c.sqlite")]
    command = [sys.executable, "-c", "from mvsqlite_py._cli.mvsqlite import main; main()", "run"]
    options = ["--store", store.url, "--map", f"{data}/*.db={{name}}", "--"]
    done = subprocess.run(
        [*command, *options, node.program, "-e", FILES, *files],
        env=environment(node, NODE_OPTIONS=None),
        capture_output=True,
        text=True,
        check=False,
    )
    assert json.loads(done.stdout) == [1, 1, 2, 1, "SQLITE_CANTOPEN"]
    assert sorted(info.name for info in store.list()) == ["a.db", "b.db"]


# ---- what goes wrong ---------------------------------------------------------------------


def test_a_map_that_cannot_be_read_opens_nothing(setup: Setup, data: Path) -> None:
    driver = driver_of(setup)
    done = run(setup, PROGRAMS[driver], data / "app.db", **routed("no route"))
    assert "SQLITE_CANTOPEN" in done.output + done.errors
    assert 'MVSQLITE_MAP: "no route" is no route: write PATTERN=NAME' in done.errors
    assert done.errors.count("mvsqlite: error:") == 1
    assert list(data.iterdir()) == [], "nothing begins anew"


@pytest.mark.parametrize("driver", ["better-sqlite3", "node:sqlite"])
def test_a_library_that_is_missing_opens_no_file_but_memory(driver: str, node: Setup, data: Path) -> None:
    (data / "node").mkdir()
    for file in REGISTER.parent.glob("*.cjs"):
        shutil.copy(file, data / "node")
    way = routed(
        "/**={path}", NODE_OPTIONS=f'--require "{data}/node/register.cjs"', MVSQLITE_LOG_FORMAT="json"
    )
    done = run(node, PROGRAMS[driver], data / "app.db", **way)
    assert done.status
    assert "unable to open database file" in done.errors
    told = json.loads(done.errors.splitlines()[0])
    assert told["level"] == "error"
    assert "libmvsqlite.so" in told["message"]
    assert "unset MVSQLITE_MAP to run it without mvsqlite" in told["message"]
    assert not (data / "app.db").exists()
    assert run(node, PROGRAMS[driver], ":memory:", **way).output == "1\n"


def test_a_store_that_cannot_be_reached(setup: Setup, data: Path) -> None:
    (data / "file").write_text("no store")
    way = routed(f"{data}/*.db={{name}}", MVSQLITE_STORE=f"lmdb:{data}/file")
    done = run(setup, PROGRAMS[driver_of(setup)], data / "app.db", **way)
    assert "SQLITE_CANTOPEN" in done.output + done.errors
    assert f"{data}/file" in done.errors
    assert not (data / "app.db").exists()


def test_a_driver_that_is_not_known_is_said(node: Setup, data: Path) -> None:
    (data / "before.cjs").write_text("process.dlopen = (module) => { module.exports = { open() {} }; }")
    (data / "sqlite_new.node").touch()
    options = f'--require "{data}/before.cjs" --require "{REGISTER}"'
    program = f"require({json.dumps(str(data / 'sqlite_new.node'))}).open()"
    done = run(node, program, **routed("/**={path}", NODE_OPTIONS=options, MVSQLITE_LOG="warn"))
    assert done.status == 0, done.errors
    assert done.errors.startswith(f"mvsqlite: warn: {data}/sqlite_new.node: this driver is not known")
    assert run(node, program, **routed("/**={path}", NODE_OPTIONS=options)).errors == ""
