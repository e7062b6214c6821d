"""stack.toml is changed where it has to be, and every other byte stays."""

import difflib
from pathlib import Path

import pytest

from mvsqlite_stack import config
from mvsqlite_stack.apps.edit import add_app, remove_app, set_version
from mvsqlite_stack.errors import StackError

HOUSEHOLD = """\
# Ours. Do not\ttidy up.

[stack]
domain   =   'example.org'     # bought in 2019

[apps.first]     # the first one
on="home"
port   = 8081
version = "v1"     # do not move
command = ["/bin/app", "{version}"]
allow = [ "anna",   # she
          "@family" ]

[apps.first.database]
route = "preload"      # why not
map = { "{state}/x.db" = "x" }

# ---- machines ----
[hosts.home]
gateway = true


# ---- people ----
[users.anna]
groups = ["family"]
[apps.second]
on = "home"
port = 8082
allow = ["*"]
# the end
"""
VALUES = {"on": "home", "port": 8083, "allow": ["*"], "environment": {"A": 'x"y', "B C": "z", "D": "1"}}
GOOD = {"on": "home", "port": 8083, "allow": ["*"], "command": ["/bin/app", "x y"], "health": "/up"}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "stack.toml"
    made.write_text(HOUSEHOLD)
    return made


def changes(file: Path) -> list[str]:
    """Lines that went and lines that came."""
    lines = difflib.ndiff(HOUSEHOLD.splitlines(keepends=True), file.read_text().splitlines(keepends=True))
    return [line for line in lines if line[0] in "+-"]


def test_an_app_is_added_at_the_end(file: Path) -> None:
    add_app(file, "third", GOOD)
    assert file.read_text().startswith(HOUSEHOLD)
    assert config.read(file).apps["third"].command == ("/bin/app", "x y")


def test_what_was_added_is_removed_without_a_trace(file: Path) -> None:
    add_app(file, "third", GOOD)
    remove_app(file, "third")
    assert file.read_text() == HOUSEHOLD


def test_removing_leaves_comments_of_others(file: Path) -> None:
    remove_app(file, "first")
    kept = HOUSEHOLD[: HOUSEHOLD.index("[apps.first]")] + HOUSEHOLD[HOUSEHOLD.index("# ---- machines") :]
    assert file.read_text() == kept


def test_removing_the_last_table(file: Path) -> None:
    remove_app(file, "second")
    assert file.read_text() == HOUSEHOLD[: HOUSEHOLD.index("[apps.second]")]


def test_a_version_changes_one_word_and_adds_a_line(file: Path) -> None:
    set_version(file, "first", "v2", "before-upgrade-2", "v1")
    assert changes(file) == [
        '- version = "v1"     # do not move\n',
        '+ version = "v2"     # do not move\n',
        "+ \n",
        "+ [apps.first.upgrades]\n",
        '+ before-upgrade-2 = "v1"\n',
    ]
    set_version(file, "first", "v3", "before upgrade 3", "v2")
    assert config.read(file).apps["first"].upgrades == {"before-upgrade-2": "v1", "before upgrade 3": "v2"}
    assert '"before upgrade 3" = "v2"\n' in file.read_text()
    set_version(file, "first", "v1", None, "v3")
    assert len(config.read(file).apps["first"].upgrades) == 2


def test_the_first_declaration_without_a_newline_at_its_end(file: Path) -> None:
    file.write_text(HOUSEHOLD.rstrip("\n").removesuffix("\n# the end"))
    add_app(file, "third", GOOD)
    assert "third" in config.read(file).apps


def test_what_cannot_be_good_is_not_written(file: Path) -> None:
    with pytest.raises(StackError, match="not changed: there is no host 'attic'"):
        add_app(file, "third", {**GOOD, "on": "attic"})
    with pytest.raises(StackError, match="not changed"):
        add_app(file, "third", VALUES)
    assert file.read_text() == HOUSEHOLD
    assert list(file.parent.iterdir()) == [file]


def test_a_table_in_one_line_has_to_be_changed_by_hand(tmp_path: Path) -> None:
    file = tmp_path / "stack.toml"
    text = (
        'apps = { one = { on = "home", port = 8081, allow = ["*"] } }\n'
        '[stack]\ndomain = "example.org"\n[hosts.home]\ngateway = true\n'
    )
    file.write_text(text)
    for change in (lambda: remove_app(file, "one"), lambda: add_app(file, "two", GOOD)):
        with pytest.raises(StackError, match=r"\[apps\.NAME\]"):
            change()
    assert file.read_text() == text
