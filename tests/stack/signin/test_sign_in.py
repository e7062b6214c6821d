"""Signing in and out over HTTP: password, the way back, renewal, sessions, permissions."""

import time

import apsw
import pytest
from argon2 import PasswordHasher

from mvsqlite_stack.signin import tokens
from signin_kit import EVERYONE, LOGIN, NOTES, PAD, PASSWORD, READER, Browser, Running, signed, verify


def test_a_visitor_signs_in_and_comes_back_to_where_they_wanted(service: Running, browser: Browser) -> None:
    user, to = service.user(), service.app(EVERYONE, "/a?b=c&d=%2F")
    answer = browser.sign_in(user.name, to=to)
    assert (answer.status_code, answer.headers["location"]) == (303, to)
    passed = browser.verify()
    assert passed.status_code == 204
    assert passed.headers["x-auth-user"] == user.name


def test_without_a_place_to_go_the_account_is_shown(service: Running, browser: Browser) -> None:
    user = service.user()
    answer = browser.sign_in(user.name)
    assert answer.headers["location"] == "/account"
    shown = browser.get("/account")
    assert f"signed in as <strong>{user.name}</strong>" in shown.text
    assert browser.get("/").headers["location"] == "/account"


def test_names_are_the_same_in_any_case(service: Running, browser: Browser) -> None:
    user = service.user()
    assert browser.sign_in(f" {user.name.upper()} ").status_code == 303


@pytest.mark.parametrize("case", ["wrong password", "no such user", "disabled", "no password", "empty"])
def test_whoever_is_refused_is_told_the_same(service: Running, browser: Browser, case: str) -> None:
    user = service.user(password=None if case == "no password" else PASSWORD)
    if case == "disabled":
        service.service.accounts.set_disabled(user, True, "a test")
    name = "nobody" if case == "no such user" else user.name
    password = {"wrong password": "four random words her", "empty": ""}.get(case, PASSWORD)
    answer = browser.sign_in(name, password)
    assert answer.status_code == 403
    assert "The name or the password is not right." in answer.text
    assert browser.cookie("__Host-session") is None
    assert browser.cookie("session_jwt") is None


def test_cookies_say_what_they_must(service: Running, browser: Browser) -> None:
    answer = browser.sign_in(service.user().name)
    cookies = {line.partition("=")[0]: line for line in answer.headers.get_list("set-cookie")}
    token = cookies["session_jwt"].lower()
    assert "domain=home.test" in token
    assert "max-age=300;" in token
    for name, line in cookies.items():
        text = line.lower()
        assert all(mark in text for mark in ("; secure", "; httponly", "; samesite=lax", "path=/"))
        assert name == "session_jwt" or (name.startswith("__Host-") and "domain" not in text)


def test_a_password_hash_is_made_anew_when_costs_change(service: Running, browser: Browser) -> None:
    user = service.user()
    old = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)
    change = "UPDATE user SET password = ? WHERE id = ?"
    service.service.databases.accounts.write("weaken", lambda db: db.execute(change, (old, user.id)))
    assert browser.sign_in(user.name).status_code == 303
    found = service.service.accounts.get(user.name).password
    assert found
    assert found.startswith("$argon2id$v=19$m=64,t=1,p=1$")
    assert service.browser().sign_in(user.name).status_code == 303


# ---- renewal -------------------------------------------------------------------------


def test_a_browser_with_a_session_is_renewed_without_asking(service: Running) -> None:
    to = service.app(EVERYONE, "/x")
    browser = service.signed_in(service.user())
    before = browser.cookie("session_jwt")
    browser.cookies.delete("session_jwt")
    assert browser.verify().status_code == 401
    answer = browser.get("/", params={"to": to})
    assert (answer.status_code, answer.headers["location"]) == (303, to)
    assert browser.cookie("session_jwt") not in (None, before)
    assert browser.verify().status_code == 204


def test_verify_renews_a_token_in_the_second_half_of_its_life(service: Running) -> None:
    user = service.user()
    service.signed_in(user)
    session = service.service.sessions.of(user)[0].id
    young = verify(service, signed(service, session, user.name, time.time() - 100, 300))
    assert "set-cookie" not in young.headers
    old = verify(service, signed(service, session, user.name, time.time() - 200, 300))
    assert old.status_code == 204
    fresh = old.headers["set-cookie"].partition("=")[2].partition(";")[0]
    assert "Domain=home.test" in old.headers["set-cookie"]
    assert tokens.check(service.service.keys, fresh, time.time()).session == session


def test_an_expired_token_is_not_renewed_by_verify(service: Running) -> None:
    user = service.user()
    service.signed_in(user)
    session = service.service.sessions.of(user)[0].id
    answer = verify(service, signed(service, session, user.name, time.time() - 301, 300))
    assert answer.status_code == 401
    assert "set-cookie" not in answer.headers


def test_a_browser_that_goes_in_circles_is_stopped(service: Running) -> None:
    browser = service.signed_in(service.user())
    to = {"to": service.app(EVERYONE)}
    answers = [browser.get("/", params=to).status_code for _ in range(6)]
    assert answers == [303, 303, 303, 303, 303, 400]
    assert browser.get("/", params={"to": service.app(EVERYONE, "/other")}).status_code == 303


def test_idle_and_old_sessions_end(service: Running) -> None:
    user = service.user()
    browser = service.signed_in(user)
    lifetimes = service.settings.lifetimes
    for column, seconds in (("seen", lifetimes.idle + 3600 + 1), ("created", lifetimes.session + 1)):
        assert browser.get("/account").status_code == 200

        def age(db: apsw.Connection, column: str = column, by: float = seconds) -> None:
            db.execute(f"UPDATE session SET {column} = {column} - ? WHERE user = ?", (by, user.id))

        service.service.databases.activity.write("age", age)
        assert browser.get("/account").headers["location"] == "/"
        assert browser.verify().status_code == 401
        browser = service.signed_in(user)


# ---- permissions ---------------------------------------------------------------------


def test_who_may_enter_is_asked_app_by_app(service: Running, browser: Browser) -> None:
    ann = service.service.accounts.find("ann") or service.user("ann")
    browser.sign_in(ann.name)
    assert [browser.verify(host).status_code for host in (NOTES, READER, EVERYONE, PAD)] == [204] * 4
    assert browser.verify(NOTES).headers["x-auth-groups"] == "family"
    other = service.signed_in(service.user())
    codes = [other.verify(host).status_code for host in (NOTES, READER, EVERYONE, PAD)]
    assert codes == [403, 403, 204, 204]
    denied = other.get("/", params={"to": service.app(NOTES)})
    assert denied.status_code == 403
    assert "Notes is not open to you" in denied.text


def test_a_public_app_is_open_and_nobody_is_named(service: Running) -> None:
    answer = verify(service, None, PAD)
    assert answer.status_code == 204
    assert not [name for name in answer.headers if name.startswith("x-auth")]


@pytest.mark.parametrize("host", [LOGIN, "home.test", "evil.test", "", "notes.home.test.evil.test"])
def test_hosts_that_are_no_apps_are_refused(service: Running, host: str) -> None:
    browser = service.signed_in(service.user())
    assert browser.verify(host).status_code == 403


# ---- sessions ------------------------------------------------------------------------


def test_sessions_are_listed_and_ended(service: Running) -> None:
    user = service.user()
    here, there, third = (service.signed_in(user) for _ in range(3))
    page = there.get("/account")
    assert page.text.count("Firefox on Linux</strong>") == 3
    first = min(service.service.sessions.of(user), key=lambda one: one.created)
    ended = there.submit(page, "/account/sessions", session=first.id)
    assert ended.headers["location"] == "/account?done=ended"
    assert [one.verify().status_code for one in (here, there, third)] == [401, 204, 204]
    others = there.submit(there.get("/account"), "/account/sessions", others="1", session="")
    assert others.headers["location"] == "/account?done=ended-others"
    assert [one.verify().status_code for one in (there, third)] == [204, 401]


def test_ending_this_session_signs_out(service: Running) -> None:
    user = service.user()
    browser = service.signed_in(user)
    answer = browser.submit(browser.get("/account"), "/account/sessions")
    assert answer.headers["location"] == "/signed-out"
    assert browser.cookie("__Host-session") is None
    assert service.service.sessions.of(user) == []


def test_nobody_ends_another_users_session(service: Running) -> None:
    owner, stranger = service.user(), service.user()
    theirs = service.signed_in(owner)
    mine = service.signed_in(stranger)
    id = service.service.sessions.of(owner)[0].id
    mine.submit(mine.get("/account"), "/account/sessions", session=id)
    assert theirs.verify().status_code == 204


def test_signing_out_ends_everything_at_once(service: Running) -> None:
    browser = service.signed_in(service.user())
    token, secret = browser.cookie("session_jwt"), browser.cookie("__Host-session")
    answer = browser.submit(browser.get("/sign-out"), "/sign-out")
    assert answer.headers["location"] == "/signed-out"
    assert "You are signed out" in browser.get("/signed-out").text
    assert browser.cookie("session_jwt") is None
    # Whoever kept the cookies has nothing of them.
    assert verify(service, token).status_code == 401
    again = service.plain.get("/account", headers={"Cookie": f"__Host-session={secret}"})
    assert again.headers["location"] == "/"


def test_a_disabled_user_is_out_at_once_and_back_when_enabled(service: Running) -> None:
    user = service.user()
    browser = service.signed_in(user)
    service.service.accounts.set_disabled(user, True, "a test")
    assert browser.verify().status_code == 401
    assert browser.get("/account").headers["location"] == "/"
    service.service.accounts.set_disabled(user, False, "a test")
    assert browser.verify().status_code == 204


# ---- account -------------------------------------------------------------------------


def test_a_changed_password_ends_the_other_sessions(service: Running) -> None:
    user = service.user()
    here, there = service.signed_in(user), service.signed_in(user)
    form = here.get("/account/password")
    short = here.submit(form, "/account/password", new="short", again="short")
    assert "at least 12 characters" in short.text
    differs = here.submit(form, "/account/password", new=PASSWORD + "1", again=PASSWORD + "2")
    assert "not the same" in differs.text
    new = "other words to remember"
    done = here.submit(form, "/account/password", new=new, again=new)
    assert done.headers["location"] == "/account?done=password"
    assert [here.verify().status_code, there.verify().status_code] == [204, 401]
    assert service.browser().sign_in(user.name).status_code == 403
    assert service.browser().sign_in(user.name, new).status_code == 303


@pytest.mark.parametrize("password", ["aaaaaaaaaaaaaaa", "x" * 1100, "NAME-and-more-text"])
def test_bad_new_passwords_are_refused(service: Running, password: str) -> None:
    user = service.user()
    browser = service.signed_in(user)
    new = password.replace("NAME", user.name)
    page = browser.get("/account/password")
    assert browser.submit(page, "/account/password", new=new, again=new).status_code == 422


def test_security_settings_ask_again_who_it_is(service: Running) -> None:
    user = service.user()
    browser = service.signed_in(user)
    change = "UPDATE session SET proved = proved - 601 WHERE user = ?"
    service.service.databases.activity.write("age", lambda db: db.execute(change, (user.id,)))
    asked = browser.get("/account/password")
    assert asked.headers["location"] == "/confirm?next=/account/password"
    confirm = browser.get(asked.headers["location"])
    assert browser.submit(confirm, "/confirm", password="wrong").status_code == 403
    done = browser.submit(confirm, "/confirm", password=PASSWORD)
    assert done.headers["location"] == "/account/password"
    assert browser.get("/account/password").status_code == 200
    elsewhere = browser.submit(confirm, "/confirm", password=PASSWORD, next="https://evil.test")
    assert elsewhere.headers["location"] == "/account"


PRIVATE = ["/account", "/account/password", "/account/app", "/account/passkeys", "/account/recovery-codes"]


@pytest.mark.parametrize("path", [*PRIVATE, "/confirm"])
def test_strangers_are_sent_to_the_sign_in_page(service: Running, path: str) -> None:
    answer = service.plain.get(path)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")


def test_health_and_unknown_pages(service: Running) -> None:
    assert service.plain.get("/healthz").json() == {"status": "ok"}
    missing = service.plain.get("/nothing")
    assert missing.status_code == 404
    assert "There is no such page" in missing.text
    assert service.plain.post("/account").status_code == 405
