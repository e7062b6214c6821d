"""``mvstack app``: adding, looking, going to another version and back, on real stores."""

import json
import sqlite3
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import mvsqlite_py
from mvsqlite_stack import config
from mvsqlite_stack.apps import subordinate
from mvsqlite_stack.apps import upgrade as upgrading
from mvsqlite_stack.cli import main
from mvsqlite_stack.render import layout

pytestmark = pytest.mark.lmdb_only("an app's store on one machine is a directory of its own")

Run = Callable[..., Result]
APP = """\

[apps.notes]
on = "home"
port = 8081
allow = ["*"]
version = "v1"    # as tried
command = ["/bin/sh", "{version}"]
database = { route = "preload", map = { "{state}/*.db" = "{stem}" } }
"""
TODAY = date.today().isoformat()


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command in the directory of a declaration; apps' state is kept there."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MVSTACK_STATE", str(tmp_path / "state"))

    def call(*words: str, status: int = 0) -> Result:
        result = CliRunner().invoke(main, words, prog_name="mvstack")
        assert result.exit_code == status, result.output
        return result

    (tmp_path / "stack.toml").write_text(
        '[stack]\ndomain = "example.org"\n[hosts.home]\ngateway = true\n[users.anna]\n'
    )
    return call


@pytest.fixture
def notes(run: Run, tmp_path: Path) -> Run:
    """With an app that has two databases."""
    with (tmp_path / "stack.toml").open("a") as file:
        file.write(APP)
    (tmp_path / "state-app-notes").mkdir()
    for name in ("notes", "index"):
        write(name, "CREATE TABLE t(a)", "INSERT INTO t VALUES ('one')")
    return run


def store() -> str:
    return f"lmdb:{Path.cwd()}/state-app-notes/store"


def write(name: str, *statements: str) -> None:
    connection = mvsqlite_py.connect(name, store=store())
    for statement in statements:
        connection.execute(statement)
    connection.close()


def rows(name: str) -> list[str]:
    connection = mvsqlite_py.connect(name, store=store())
    try:
        return [str(row[0]) for row in connection.execute("SELECT a FROM t")]
    finally:
        connection.close()


def tags(name: str) -> set[str]:
    with mvsqlite_py.open_store(store()) as opened:
        return set(opened.database(name).tags())


def declared() -> tuple[str | None, dict[str, str]]:
    app = config.read(Path("stack.toml")).apps["notes"]
    return app.version, app.upgrades


def test_recipes_and_apps_are_listed(notes: Run) -> None:
    told = notes("app", "list").output
    assert "trilium" in told
    assert "notes" in told
    facts = json.loads(notes("app", "list", "--json").output)
    assert [one["name"] for one in facts["recipes"]] == ["lychee", "outline", "rustpad", "trilium", "yarr"]
    assert facts["apps"] == [{"name": "notes", "on": "home", "version": "v1", "route": "preload"}]


def test_an_app_is_added_shown_and_removed(run: Run, tmp_path: Path) -> None:
    before = (tmp_path / "stack.toml").read_text()
    told = run("app", "add", "lychee", "--as", "photos", "--allow", "anna").output
    assert "https://photos.example.org/" in told
    assert (tmp_path / "secrets/apps/photos/APP_KEY").read_text().startswith("base64:")
    assert config.read(tmp_path / "stack.toml").apps["photos"].allow == ("anna",)
    assert run("app", "show", "lychee").output.startswith("# Lychee")
    run("render", "out")
    told = run("app", "remove", "photos").output
    assert f"lmdb:{'/var/lib/mvstack'}-app-photos/store" in told
    assert (tmp_path / "stack.toml").read_text() == before
    assert (tmp_path / "secrets/apps/photos/APP_KEY").exists()


def test_what_cannot_be_deployed_is_said_at_once(run: Run) -> None:
    told = run("app", "add", "rustpad", "--version", "ab" * 32).output
    assert "no file front yet" in told
    found = json.loads(run("app", "doctor", "rustpad", "--json", status=1).output)["rustpad"]
    assert [one["remedy"] for one in found if one["what"] == "route"] == [
        'With route = "none" its database is an ordinary file, without history'
    ]


def test_an_upgrade_names_the_versions_before_it(notes: Run) -> None:
    tag = f"before-upgrade-2.9-{TODAY}"
    told = notes("app", "upgrade", "notes", "--to", "v2.9", "--dry-run").output
    assert f"notes: its present version is named {tag}." in told
    assert declared() == ("v1", {})
    assert "nobody to ask" in notes("app", "upgrade", "notes", "--to", "v2.9", status=2).output
    assert tags("notes") == set()
    notes("app", "upgrade", "notes", "--to", "v2.9", "--yes")
    assert declared() == ("v2.9", {tag: "v1"})
    assert tags("notes") == tags("index") == {tag}
    assert "# as tried" in Path("stack.toml").read_text()
    told = notes("app", "upgrade", "notes", "--to", "v2.9", "--yes", status=1).output
    assert "with version v2.9 already" in told


def test_a_revert_takes_data_and_version_back_and_can_be_reverted(notes: Run) -> None:
    notes("app", "upgrade", "notes", "--to", "v2", "--yes")
    write("notes", "DELETE FROM t", "INSERT INTO t VALUES ('ruined')")
    write("late", "CREATE TABLE t(a)")
    before, again = f"before-upgrade-2-{TODAY}", f"before-revert-1-{TODAY}"
    plan = json.loads(notes("app", "revert", "notes", "--dry-run", "--json").output)
    assert {one["name"]: one["commits"] for one in plan["databases"]} == {"index": 0, "notes": 2, "late": 0}
    assert rows("notes") == ["ruined"]
    told = notes("app", "revert", "notes", "--yes").output
    assert "late: stays as it is" in told
    assert f"notes: goes back to {before}; to history: 2 commits since." in told
    assert rows("notes") == ["one"]
    assert declared() == ("v1", {before: "v1", again: "v2"})
    told = notes("app", "revert", "notes", "--yes", status=1).output
    assert f"Say --to with one of: {before}, {again}" in told
    notes("app", "revert", "notes", "--to", again, "--yes")
    assert rows("notes") == ["ruined"]
    assert declared()[0] == "v2"
    with mvsqlite_py.open_store(store()) as opened:
        assert opened.database("notes").verify().problems == []


def test_a_name_that_is_taken_gets_a_number(notes: Run) -> None:
    notes("app", "upgrade", "notes", "--to", "v2", "--yes")
    notes("app", "upgrade", "notes", "--to", "v1", "--yes")
    notes("app", "upgrade", "notes", "--to", "v2", "--yes")
    assert list(declared()[1]) == [
        f"before-upgrade-2-{TODAY}",
        f"before-upgrade-1-{TODAY}",
        f"before-upgrade-2-{TODAY}-2",
    ]


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (("upgrade", "other", "--to", "v2"), "there is no app 'other'"),
        (("revert", "notes"), "never upgraded"),
        (("doctor", "other"), "there is no app 'other'"),
        (("remove", "other"), "there is no app 'other'"),
        (("add", "yarr", "--as", "notes"), "there is an app 'notes' already"),
        (("add", "nothing"), "there is no such recipe"),
    ],
)
def test_what_cannot_be_done_is_told_with_a_remedy(notes: Run, words: tuple[str, ...], what: str) -> None:
    before = Path("stack.toml").read_text()
    told = notes("app", *words, status=1).output
    assert what in told
    assert Path("stack.toml").read_text() == before


def test_a_version_has_to_be_named_somewhere(run: Run, tmp_path: Path) -> None:
    with (tmp_path / "stack.toml").open("a") as file:
        file.write(APP.replace("{version}", "x"))
    told = run("app", "upgrade", "notes", "--to", "v2", "--yes", status=1).output
    assert "{version} in its image" in told


def test_an_app_that_never_ran_has_nothing_to_name(run: Run, tmp_path: Path) -> None:
    with (tmp_path / "stack.toml").open("a") as file:
        file.write(APP)
    told = run("app", "upgrade", "notes", "--to", "v2", "--yes").output
    assert "It has no databases in the store" in told
    assert declared()[0] == "v2"
    assert not (tmp_path / "state-app-notes").exists()


def test_databases_of_another_host_are_not_looked_for_here(run: Run, tmp_path: Path) -> None:
    with (tmp_path / "stack.toml").open("a") as file:
        file.write('[hosts.attic]\naddress = "10.0.0.2"\n' + APP.replace('"home"', '"attic"'))
    told = run("app", "upgrade", "notes", "--to", "v2", "--yes", status=1).output
    assert "Run this command there" in told
    assert "were not looked at" in run("app", "doctor", "notes").output


def test_what_ends_half_way_leaves_every_state_with_a_name(
    notes: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes("app", "upgrade", "notes", "--to", "v2", "--yes")
    write("notes", "DELETE FROM t")

    def refused(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(upgrading, "set_version", refused)
    result = CliRunner().invoke(main, ["app", "revert", "notes", "--yes"], prog_name="mvstack")
    assert result.exit_code != 0
    assert rows("notes") == ["one"]
    assert f"before-revert-1-{TODAY}" in tags("notes")
    assert declared()[0] == "v2"


def test_the_doctor_sees_ordinary_files_and_missing_programs(notes: Run, tmp_path: Path) -> None:
    text = (tmp_path / "stack.toml").read_text()
    changed = text.replace("/*.db", "/notes.db").replace("{stem}", "notes").replace("/bin/sh", "/opt/none")
    (tmp_path / "stack.toml").write_text(changed)
    plain = sqlite3.connect(tmp_path / "state-app-notes/notes.db")
    plain.execute("CREATE TABLE t(a)")
    plain.close()
    found = json.loads(notes("app", "doctor", "notes", "--json", status=1).output)["notes"]
    said = [(one["what"], one["grade"], one["text"]) for one in found]
    assert ("program", "bad", "/opt/none is not there, or may not be run") in said
    file = tmp_path / "state-app-notes/notes.db"
    assert ("database", "note", f"{file} is an ordinary file") in said
    assert ("health", "bad") in [one[:2] for one in said]
    (tmp_path / "stack.toml").write_text(changed.replace("{ route", "{ take_in = false, route"))
    found = json.loads(notes("app", "doctor", "notes", "--json", status=1).output)["notes"]
    assert ("database", "bad") in [(one["what"], one["grade"]) for one in found]


def test_the_doctor_sees_secrets_that_others_can_read(run: Run, tmp_path: Path) -> None:
    run("app", "add", "outline")
    secret = tmp_path / "secrets/apps/outline/SECRET_KEY"
    secret.chmod(0o644)
    told = run("app", "doctor", "outline", status=1).output
    assert "secrets: others can read it. Close it with: chmod" in told
    secret.unlink()
    told = run("app", "doctor", "outline", status=1).output
    assert "apps/outline/SECRET_KEY is missing. Make it with: mvstack secrets create" in told
    assert "no history and no undo" in told


def test_the_doctor_sees_what_containers_need(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("app", "add", "trilium")
    podman = tmp_path / "bin/podman"
    podman.parent.mkdir()
    monkeypatch.setenv("PATH", f"{podman.parent}:/usr/bin:/bin")
    files = (tmp_path / "subuid", tmp_path / "subgid")
    monkeypatch.setattr(subordinate, "FILES", files)

    def said(version: str) -> list[tuple[str, str]]:
        podman.write_text(f"#!/bin/sh\ncase $1 in --version) echo podman version {version};; esac\n")
        podman.chmod(0o755)
        found = json.loads(run("app", "doctor", "trilium", "--json", status=1).output)["trilium"]
        return [(one["grade"], one["text"]) for one in found if one["what"] == "program"]

    here = ("good", "docker.io/triliumnext/trilium:v0.106.0 is here")
    missing = [("note", f"{file} has no line for containers' users") for file in files]
    assert said("4.3.1") == [("bad", "podman version 4.3.1 is too old"), *missing, here]
    files[0].write_text("root:1:2")
    for _ in range(2):
        subordinate.make()
        assert [file.read_text().splitlines() for file in files] == [
            ["root:1:2", subordinate.LINE],
            [subordinate.LINE],
        ]
    assert said("5.4.2") == [here]


def test_the_doctor_sees_what_is_not_applied(
    notes: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layout, "UNITS", str(tmp_path / "units"))
    notes("secrets", "create")
    notes("render", "out")
    there = tmp_path / "units/mvstack-app-notes.service"

    def said() -> list[tuple[str, str]]:
        result = CliRunner().invoke(main, ["app", "doctor", "notes", "--json"], prog_name="mvstack")
        found = json.loads(result.stdout)["notes"]
        return [(one["grade"], one["text"]) for one in found if one["what"] == "version"][1:]

    assert said() == [("note", f"{there} is not there")]
    there.parent.mkdir()
    text = (tmp_path / "out/home/systemd/mvstack-app-notes.service").read_text()
    state = f"{tmp_path}/state-app-notes"
    there.write_text(text.replace("/var/lib/mvstack-app-notes", state))
    assert said() == [("good", f"{there} is as declared")]
    there.write_text(there.read_text().replace("v1", "v0"))
    assert said() == [("note", f"{there} says something else")]
