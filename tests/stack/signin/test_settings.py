"""The settings file: what is wrong is told with file and key."""

from pathlib import Path

import pytest

from mvsqlite_stack.service_settings import SettingsError
from mvsqlite_stack.signin.settings import App, Settings, read

GOOD = """
domain = "home.example"
keys = "/var/lib/keys"
[groups]
family = ["ann", "bob"]
[apps.notes]
host = "notes.home.example"
allow = ["@family", "eve"]
[apps.pad]
host = "pad.home.example"
public = true
"""


def settings(tmp_path: Path, text: str) -> Settings:
    path = tmp_path / "signin.toml"
    path.write_text(text)
    return read(path)


def test_what_is_not_said_has_a_default(tmp_path: Path) -> None:
    found = settings(tmp_path, GOOD)
    assert found.sign_in_host == "login.home.example"
    assert found.origin == "https://login.home.example"
    assert found.lifetimes.token == 300


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ('domain = "home.example"', 'domain = "co.uk"', "domain: 'co.uk' is a public suffix"),
        ('domain = "home.example"', 'domain = "github.io"', "domain: 'github.io' is a public suffix"),
        ('domain = "home.example"', 'domain = "Home.example"', "in lower case"),
        ('domain = "home.example"', 'domain = "other.example"', "is not below the domain other.example"),
        ("[groups]", "[group]", "group"),
        ("@family", "@familie", "apps.notes.allow names the group @familie"),
        ("pad.home", "notes.home", "notes.home.example is named twice"),
        ("public = true", 'public = true\nallow = ["ann"]', "apps.pad is public and has allow"),
        ('keys = "/var/lib/keys"', "", "keys: Field required"),
        ("[groups]", 'listen = "x"\ntls_key = "k"\n[groups]', "both tls_certificate and tls_key"),
        ("[groups]", "[lifetimes]\ntoken = 0\n[groups]", "lifetimes.token"),
        ("[groups]", "[groups", "signin.toml"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, old: str, new: str, what: str) -> None:
    assert old in GOOD
    with pytest.raises(SettingsError) as error:
        settings(tmp_path, GOOD.replace(old, new))
    assert what in str(error.value)
    assert str(tmp_path / "signin.toml") in str(error.value)


def test_a_missing_file_and_an_unset_variable_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MVSTACK_SIGNIN", str(tmp_path / "none.toml"))
    with pytest.raises(SettingsError, match=r"none\.toml: No such file"):
        read()
    monkeypatch.delenv("MVSTACK_SIGNIN")
    with pytest.raises(SettingsError, match="MVSTACK_SIGNIN"):
        read()


def test_who_may_enter_what(tmp_path: Path) -> None:
    found = settings(tmp_path, GOOD)
    assert found.apps_of("ann") == ["notes", "pad"]
    assert found.apps_of("eve") == ["notes", "pad"]
    assert found.apps_of("family") == ["pad"]
    assert found.groups_of("bob") == ["family"]
    assert found.may_enter("zoe", App(host="x.home.example", allow=("*",)))


@pytest.mark.parametrize(
    ("host", "app"),
    [
        ("notes.home.example", "notes"),
        ("NOTES.home.example", "notes"),
        ("notes.home.example:443", "notes"),
        ("notes.home.example.", "notes"),
        ("notes.home.example:80", None),
        ("notes.home.example:", None),
        ("xnotes.home.example", None),
        ("notes.home.example.evil.test", None),
        ("home.example", None),
        ("", None),
        ("notes.home.example, pad.home.example", None),
    ],
)
def test_the_app_of_a_host(tmp_path: Path, host: str, app: str | None) -> None:
    found = settings(tmp_path, GOOD).app_at(host)
    assert (found[0] if found else None) == app
