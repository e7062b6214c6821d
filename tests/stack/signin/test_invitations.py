"""Declared users become accounts, and set their first password by a link that works once."""

import json
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from click.testing import CliRunner, Result

from mvsqlite_stack.cli import main
from mvsqlite_stack.signin import invitations
from mvsqlite_stack.signin.service import Service
from mvsqlite_stack.signin.settings import read
from signin_kit import PASSWORD, Browser, Running, prepare

Run = Callable[..., Result]
USERS = '[users.ann]\nshown = "Ann Example"\n[users.bob]\n'


@pytest.fixture
def path(tmp_path: Path) -> Path:
    found = prepare(tmp_path)
    (tmp_path / "users.toml").write_text(USERS)
    return found


@pytest.fixture
def run(path: Path) -> Run:
    def one(*words: str, given: str | None = None) -> Result:
        return CliRunner().invoke(main, ["user", *words], input=given, env={"MVSTACK_SIGNIN": str(path)})

    return one


@pytest.fixture
def there(path: Path) -> Iterator[Service]:
    service = Service(read(path))
    yield service
    service.close()


def synced(run: Run, *words: str, given: str | None = None) -> dict[str, object]:
    result = run("sync", *words, "--json", given=given)
    assert result.exit_code == 0, result.output
    found: dict[str, object] = json.loads(result.output)
    return found


def test_who_is_declared_is_added_and_invited(run: Run, there: Service) -> None:
    planned = synced(run, "--dry-run")
    assert (planned["add"], planned["invitations"], there.accounts.all()) == (["ann", "bob"], {}, [])
    done = synced(run)
    assert done["add"] == ["ann", "bob"]
    links = done["invitations"]
    assert isinstance(links, dict)
    assert [(user.name, user.shown, user.password) for user in there.accounts.all()] == [
        ("ann", "Ann Example", None),
        ("bob", "bob", None),
    ]
    code = urlsplit(links["ann"]).query.removeprefix("code=")
    invited = invitations.invited(there, code)
    assert invited
    assert invited.name == "ann"
    assert run("sync").output == "All users are as declared.\n"


def test_names_follow_and_nobody_is_removed(run: Run, there: Service) -> None:
    synced(run)
    done = synced(run, "-", given='[users.ann]\nshown = "Ann Other"\n')
    assert (done["change"], done["missing"]) == (["ann"], ["bob"])
    assert there.accounts.get("ann").shown == "Ann Other"
    assert not there.accounts.get("bob").disabled
    assert "mvstack user disable bob" in run("sync", "-", given="[users.ann]").output
    assert synced(run, "-", "--disable-missing", given="[users.ann]")["disabled"] == ["bob"]
    assert there.accounts.get("bob").disabled
    assert synced(run, "-", given="[users.ann]")["missing"] == []


def test_what_is_no_declaration_is_refused(run: Run) -> None:
    result = run("sync", "-", given="[users.ann]\npassword = 1\n")
    assert (result.exit_code, "cannot be read" in result.output) == (1, True)


def test_a_new_invitation_ends_the_one_before(run: Run, there: Service) -> None:
    synced(run)
    first, second = (json.loads(run("invite", "ann", "--json").output)["link"] for _ in range(2))
    assert invitations.invited(there, first.partition("code=")[2]) is None
    assert invitations.invited(there, second.partition("code=")[2])
    run("disable", "ann")
    assert invitations.invited(there, second.partition("code=")[2]) is None
    assert "is disabled" in run("invite", "ann").output


def test_an_invitation_sets_a_password_once(service: Running) -> None:
    user = service.user(password=None)
    link = invitations.invite(service.service, user)
    browser: Browser = service.browser()
    page = browser.get(link)
    assert user.name in page.text
    weak = browser.submit(page, "/invitation", new="short", again="short")
    assert (weak.status_code, "at least 12" in weak.text) == (422, True)
    other = browser.submit(page, "/invitation", new=PASSWORD, again=PASSWORD + "!")
    assert (other.status_code, "not the same" in other.text) == (422, True)
    done = browser.submit(page, "/invitation", new=PASSWORD, again=PASSWORD)
    assert (done.status_code, "Sign in with it" in done.text) == (200, True)
    again = browser.submit(page, "/invitation", new=PASSWORD + "2", again=PASSWORD + "2")
    assert (again.status_code, "not valid" in again.text) == (404, True)
    assert browser.get(link).status_code == 404
    assert service.browser().sign_in(user.name).status_code == 303


def test_an_invitation_is_protected_as_other_forms_are(service: Running) -> None:
    user = service.user(password=None)
    browser = service.browser()
    page = browser.get(invitations.invite(service.service, user))
    forged = browser.submit(page, "/invitation", origin="https://evil.example", new=PASSWORD, again=PASSWORD)
    assert forged.status_code == 403
    assert service.service.accounts.get(user.name).password is None


def test_root_acts_as_the_services_user() -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can act as somebody else")
    nobody = pwd.getpwnam("nobody")
    # Not below pytest's directory, which others may not enter.
    directory = Path(tempfile.mkdtemp())
    try:
        directory.chmod(0o755)
        own = directory / "own"
        own.mkdir(mode=0o700)
        path = prepare(directory, store=f"lmdb:{own}/store")
        (directory / "users.toml").write_text(USERS)
        path.write_text(path.read_text().replace(f"{directory}/keys", f"{own}/keys"))
        os.chown(own, nobody.pw_uid, nobody.pw_gid)
        command = [sys.executable, "-m", "mvsqlite_stack", "user", "sync", "--settings", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert "Now added: ann." in done.stdout
        owners = {one.stat().st_uid for one in own.rglob("*")}
        assert owners == {nobody.pw_uid}
    finally:
        shutil.rmtree(directory)
