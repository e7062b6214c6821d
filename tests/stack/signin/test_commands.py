"""``mvstack user`` and ``mvstack keys``."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import mvsqlite_py
from mvsqlite_stack.cli import main
from mvsqlite_stack.signin.activity import Visitor
from mvsqlite_stack.signin.service import Service
from mvsqlite_stack.signin.settings import read
from signin_kit import PASSWORD, prepare

Run = Callable[..., Result]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return prepare(tmp_path)


@pytest.fixture
def run(path: Path) -> Run:
    def one(*words: str, given: str | None = None) -> Result:
        return CliRunner().invoke(main, [*words], input=given, env={"MVSTACK_SIGNIN": str(path)})

    return one


@pytest.fixture
def there(path: Path) -> Iterator[Service]:
    """The service's own view."""
    service = Service(read(path))
    yield service
    service.close()


def add(run: Run, name: str = "ann") -> None:
    result = run("user", "add", name, "--shown", "Ann Example", given=PASSWORD + "\n")
    assert result.exit_code == 0, result.output


def begin(there: Service, name: str = "ann") -> str:
    visitor = Visitor("192.0.2.1", "Mozilla/5.0 (iPhone) Safari/600")
    return there.sign_in(there.accounts.get(name), "password", visitor, [], None).session


def test_a_user_is_added_with_a_password_from_standard_input(run: Run, there: Service) -> None:
    add(run)
    user = there.accounts.get("ann")
    assert there.passwords.is_right(user.password, PASSWORD)
    listed = json.loads(run("user", "list", "--json").output)
    assert [one["name"] for one in listed] == ["ann"]
    assert listed[0]["apps"] == ["notes", "everyone", "reader", "pad"]
    assert "ann\tAnn Example\tnotes, everyone, reader, pad\tpassword\t0" in run("user", "list").output


@pytest.mark.parametrize(
    ("words", "given", "message"),
    [
        (("user", "add", "Ann"), PASSWORD, "cannot be a user's name"),
        (("user", "add", "-x"), PASSWORD, "No such option"),
        (("user", "add", "bob"), "short", "at least 12 characters"),
        (("user", "add", "bob"), "", "no password on standard input"),
        (("user", "add", "bob", PASSWORD), "", "unexpected extra argument"),
        (("user", "disable", "nobody"), "", "there is no user 'nobody'"),
        (("user", "revoke", "ann"), "", "name sessions, or give --all"),
        (("keys", "use", "x"), "", "there is no key 'x'"),
    ],
)
def test_what_cannot_be_done_is_said(run: Run, words: tuple[str, ...], given: str, message: str) -> None:
    result = run(*words, given=given)
    assert result.exit_code != 0
    assert message in result.output


def test_a_user_is_not_added_twice(run: Run) -> None:
    add(run)
    again = run("user", "add", "ann", given=PASSWORD)
    assert (again.exit_code, "there is a user 'ann' already" in again.output) == (1, True)


def test_disabling_ends_sessions(run: Run, there: Service) -> None:
    add(run)
    begin(there)
    assert run("user", "disable", "ann").output == "Disabled ann; sessions ended: 1.\n"
    assert "ann (disabled)" in run("user", "list").output
    assert run("user", "enable", "ann").exit_code == 0
    assert not there.accounts.get("ann").disabled


def test_sessions_are_listed_and_revoked(run: Run, there: Service) -> None:
    add(run)
    first, second = begin(there), begin(there)
    listed = json.loads(run("user", "sessions", "ann", "--json").output)
    assert {one["id"] for one in listed} == {first, second}
    assert listed[0]["program"] == "Safari on iPhone"
    assert first in run("user", "sessions", "ann").output
    assert "within 300 seconds" in run("user", "revoke", "ann", first).output
    assert [one.id for one in there.sessions.of(there.accounts.get("ann"))] == [second]
    missing = run("user", "revoke", "ann", first)
    assert (missing.exit_code, "were not there" in missing.output) == (1, True)
    assert run("user", "revoke", "ann", "--all").exit_code == 0
    assert there.sessions.of(there.accounts.get("ann")) == []


def test_a_new_password_ends_sessions(run: Run, there: Service) -> None:
    add(run)
    begin(there)
    assert run("user", "password", "ann", given="another four random words\n").exit_code == 0
    user = there.accounts.get("ann")
    assert there.passwords.is_right(user.password, "another four random words")
    assert there.sessions.of(user) == []


def test_lost_second_factors_are_taken_away(run: Run, there: Service) -> None:
    add(run)
    there.factors.new_recovery_codes(there.accounts.get("ann"))
    assert run("user", "totp-reset", "ann").exit_code == 2
    assert run("user", "totp-reset", "ann", "--yes").exit_code == 0
    assert there.factors.recovery_codes_left(there.accounts.get("ann")) == 0


def test_removing_says_how_to_take_it_back(run: Run) -> None:
    add(run)
    refused = run("user", "remove", "ann")
    assert (refused.exit_code, "there is nobody to ask" in refused.output) == (2, True)
    removed = run("user", "remove", "ann", "--yes")
    assert "mvrevert undo signin.db HEAD" in removed.output
    assert run("user", "list", "--json").output == "[]\n"


def test_the_history_says_what_was_done_and_by_whom(run: Run, there: Service) -> None:
    add(run)
    run("user", "disable", "ann")
    with mvsqlite_py.open_store(there.settings.store) as store:
        messages = [one.message for one in store.database("signin.db").versions()]
    assert [(message or "").partition(" by ")[0] for message in messages[:2]] == [
        "user ann disabled",
        "user ann added",
    ]
    assert all("with mvstack" in (message or "") for message in messages[:2])
    assert all(messages)


def test_the_audit_log_is_told(run: Run, there: Service) -> None:
    add(run)
    begin(there)
    rows = json.loads(run("user", "events", "ann", "--json").output)
    assert [row["event"] for row in rows] == ["signed in", "added"]
    assert "command line" in run("user", "events").output


def test_keys_are_rotated(run: Run) -> None:
    old = json.loads(run("keys", "list", "--json").output)[0]["id"]
    new = json.loads(run("keys", "add", "--json").output)["key"]
    assert run("keys", "use", new).exit_code == 0
    listed = {one["id"]: one for one in json.loads(run("keys", "list", "--json").output)}
    assert [listed[old]["signs"], listed[new]["signs"]] == [False, True]
    assert listed[new]["public_pem"].startswith("-----BEGIN PUBLIC KEY-----")
    early = run("keys", "remove", old)
    assert (early.exit_code, "may be valid for" in early.output) == (1, True)
