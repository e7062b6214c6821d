"""The users' own history: a bad deletion is taken back while the service runs."""

import apsw
import pytest
from click.testing import CliRunner

import mvsqlite_py
from commands import GROUPS
from mvsqlite_stack.signin.accounts import Accounts
from mvsqlite_stack.signin.database import Database
from signin_kit import PASSWORD, Running, verify


def command(service: Running, *words: str) -> str:
    store = service.settings.store or ""
    result = CliRunner().invoke(GROUPS[words[0]], [*words[1:], "--store", store])
    assert result.exit_code == 0, result.output
    return str(result.output)


def test_a_bad_deletion_is_undone_while_the_service_runs(service: Running) -> None:
    user, other = service.user(), service.user()
    codes = service.service.factors.new_recovery_codes(user)
    kept, others = service.signed_in(user), service.signed_in(other)
    # Someone means to delete one user and forgets the condition.
    with_mistake = mvsqlite_py.connect("signin.db", service.settings.store)
    with_mistake.execute("PRAGMA foreign_keys = ON")
    with_mistake.execute("DELETE FROM user")
    with_mistake.close()
    assert service.browser().sign_in(user.name).status_code == 403
    assert others.verify().status_code == 401
    bad = newest(service)
    # Work goes on meanwhile and is kept.
    later = service.service.accounts.add("later", "", PASSWORD, "a test")
    assert "user" in command(service, "mvrevert", "show", "signin.db", bad)
    command(service, "mvrevert", "undo", "signin.db", bad, "--yes")
    assert [one.status_code for one in (others.verify(), kept.verify())] == [204, 204]
    assert service.browser().sign_in(later.name).status_code == 303
    assert service.service.factors.recovery_codes_left(user) == 10
    service.service.factors.accept_recovery_code(user, codes[0])


def newest(service: Running) -> str:
    with mvsqlite_py.open_store(service.settings.store) as store:
        version: str = store.database("signin.db").newest.version
        return version


def test_setting_the_accounts_back_makes_no_session_valid_again(service: Running) -> None:
    user = service.user()
    browser = service.signed_in(user)
    before, token = newest(service), browser.cookie("session_jwt")
    browser.submit(browser.get("/sign-out"), "/sign-out")
    service.service.accounts.set_disabled(user, True, "a test")
    command(service, "mvrevert", "to", "signin.db", "--version", before, "--yes")
    assert not service.service.accounts.get(user.name).disabled
    assert verify(service, token).status_code == 401


def test_a_transaction_that_lost_its_race_is_run_again(service: Running) -> None:
    """Between hosts the first commit wins; then the other one is run again."""
    database = service.service.databases.accounts
    user, runs = service.user(), []

    def work(db: apsw.Connection) -> None:
        runs.append(db)
        if len(runs) == 1:
            error = apsw.BusyError("lost")
            error.extendedresult = apsw.SQLITE_BUSY_SNAPSHOT  # type: ignore[attr-defined]
            raise error
        db.execute("UPDATE user SET shown = 'again' WHERE id = ?", (user.id,))

    database.write("a race", work)
    assert len(runs) == 2
    assert service.service.accounts.get(user.name).shown == "again"


def test_a_failed_change_leaves_nothing_behind(service: Running) -> None:
    database: Database = service.service.databases.accounts
    accounts: Accounts = service.service.accounts
    user = service.user()

    def work(db: apsw.Connection) -> None:
        db.execute("DELETE FROM user WHERE id = ?", (user.id,))
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError):
        database.write("half", work)
    assert accounts.find(user.name)
    accounts.set_disabled(user, True, "a test")
    assert accounts.get(user.name).disabled
