"""What an administrator tells by hand."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import status_kit as kit
from child import in_child, needs_root, open_to_everyone
from mvsqlite_stack.cli import main
from mvsqlite_stack.status import commands
from mvsqlite_stack.status.history import Batch, History
from mvsqlite_stack.status.incidents import Incident, Sort
from mvsqlite_stack.status.settings import Settings, read
from mvsqlite_stack.status.tally import Tallies
from status_kit import START

Run = Callable[..., Result]


@pytest.fixture
def settings(tmp_path: Path, store_url: str) -> Settings:
    return kit.settings_for(tmp_path, "127.0.0.1:9", store=store_url)


@pytest.fixture
def run(tmp_path: Path, settings: Settings) -> Run:
    path = kit.written(tmp_path / "status.toml", settings)

    def one(*arguments: str) -> Result:
        return CliRunner().invoke(main, ["status", *arguments], env={"MVSTACK_STATUS": str(path)})

    return one


def listed(run: Run) -> list[dict[str, object]]:
    result = run("incident", "list", "--json")
    assert result.exit_code == 0, result.output
    found: list[dict[str, object]] = json.loads(result.output)
    return found


def test_an_incident_is_told_noted_and_ended(run: Run) -> None:
    assert "Nothing happened" in run("incident", "list").output
    opened = run(
        "incident", "open", "The fuse is out", "--part", "notes", "--note", "An electrician comes", "--json"
    )
    assert opened.exit_code == 0, opened.output
    told = json.loads(opened.output)
    assert (told["parts"], told["sort"], told["ends"]) == (["app-notes"], "notice", None)
    assert run("incident", "note", told["id"], "He is here").exit_code == 0
    closed = run("incident", "close", told["id"], "--note", "Light again")
    assert "Closed The fuse is out" in closed.output
    (found,) = listed(run)
    assert [note["text"] for note in found["notes"]] == ["An electrician comes", "He is here", "Light again"]  # type: ignore[attr-defined]
    assert found["ends"]
    assert "is over since" in run("incident", "close", told["id"]).output
    assert "The fuse is out" in run("incident", "list").output


def test_maintenance_is_announced_and_taken_back_or_ended_early(run: Run) -> None:
    planned = run(
        "maintenance", "A larger disk", "--from", "+1h", "--until", "+2h", "--part", "store", "--json"
    )
    assert planned.exit_code == 0, planned.output
    id = json.loads(planned.output)["id"]
    assert "Took back" in run("incident", "close", id).output
    assert listed(run) == []
    now = json.loads(run("maintenance", "Now", "--until", "+90m", "--json").output)
    assert now["parts"] == []
    assert run("incident", "close", now["id"]).exit_code == 0
    (found,) = listed(run)
    assert found["ends"] == found["begins"]


def test_what_strangers_are_not_told_is_listed_here(run: Run, settings: Settings) -> None:
    seen = Incident(
        "o",
        Sort.OUTAGE,
        ("app-notes",),
        "Notebook: is not as it should be",
        START,
        detail="open although private",
    )
    history = History(settings.store, settings.database)
    history.exchange([Batch(Tallies(), (seen,))], START)
    history.close()
    assert "open although private" in run("incident", "list").output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("incident", "open", "x", "--part", "nothing"), "there is no part 'nothing'"),
        (("incident", "open", "  "), "printable"),
        (("incident", "open", "x" * 501), "printable"),
        (("incident", "open", "a\x1b[2Jb"), "printable"),
        (("incident", "note", "nothing", "x"), "there is no incident 'nothing'"),
        (("incident", "close", "nothing"), "there is no incident 'nothing'"),
        (("maintenance", "x", "--until", "tomorrow"), "2026-12-24T18:00"),
        (("maintenance", "x", "--until", "2020-01-01"), "over before it begins"),
        (("maintenance", "x", "--from", "+2h", "--until", "+1h"), "over before it begins"),
        (("maintenance", "x"), "--until"),
    ],
)
def test_mistakes_are_said(run: Run, arguments: tuple[str, ...], words: str) -> None:
    result = run(*arguments)
    assert result.exit_code != 0
    assert words in result.output
    assert listed(run) == []


def test_moments_are_utc_unless_they_say_otherwise() -> None:
    def seconds(text: str) -> int | None:
        return commands.moment(None, None, text)  # type: ignore[arg-type]

    assert seconds("2026-11-29") == START
    assert seconds("2026-11-29T01:00+01:00") == START
    assert seconds("2026-11-29 00:01") == START + 60


def test_without_settings_it_says_which() -> None:
    result = CliRunner().invoke(main, ["status", "incident", "list"], env={"MVSTACK_STATUS": ""})
    assert "MVSTACK_STATUS names no settings file" in result.output


@pytest.mark.lmdb_only("files of another user")
@needs_root
def test_root_writes_as_the_service(settings: Settings) -> None:
    """A file of root's in the store would lock the service out."""
    with open_to_everyone() as directory:
        own = settings.model_copy(update={"store": f"lmdb:{directory}/store", "reports": directory})
        path = kit.written(directory / "status.toml", own)
        path.chmod(0o644)
        directory.chmod(0o777)

        def begin() -> str:
            history = History(own.store, own.database)
            history.exchange([], START)
            history.close()
            return "made"

        assert in_child(begin, 65534) == "made"
        asked = ["status", "incident", "open", "x", "--settings", str(path)]
        said = in_child(lambda: CliRunner().invoke(main, asked).output)
        assert "Opened" in said
        assert {one.stat().st_uid for one in (directory / "store").rglob("*")} == {65534}
        assert read(path) == own
