"""Second factors and passkeys: each proof counts once, and only for whom it is."""

import re
import threading
import time
from collections.abc import Callable

import httpx
import pyotp
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from authenticator import PRESENT, VERIFIED, Authenticator
from mvsqlite_stack.signin.accounts import User
from mvsqlite_stack.signin.factors import STEP_SECONDS
from signin_kit import EVERYONE, LOGIN, PASSWORD, Browser, Running, form_fields

# ---- codes of an authenticator app ---------------------------------------------------


def with_app(service: Running, user: User) -> tuple[Browser, str, list[str]]:
    """A browser whose user has just added an authenticator app; its secret; the recovery codes."""
    browser = service.signed_in(user)
    page = browser.get("/account/app")
    found = re.search(r'<code class="secret">([^<]*)</code>', page.text)
    assert found
    secret = found.group(1).replace(" ", "")
    done = browser.submit(page, "/account/app", code=code(secret, -1))
    codes = re.findall(r"<li><code>([^<]*)</code></li>", done.text)
    assert len(codes) == 10
    return browser, secret, codes


def code(secret: str, steps: int = 0) -> str:
    """The code of so many half minutes from now, which will not be another in a moment."""
    left = STEP_SECONDS - time.time() % STEP_SECONDS
    if left < 2:
        threading.Event().wait(left)
    return pyotp.TOTP(secret).generate_otp(int(time.time()) // STEP_SECONDS + steps)


def halfway(service: Running, user: User, to: str = "") -> tuple[Browser, httpx.Response]:
    """A browser whose password was right, and the page that asks for the second step."""
    browser = service.browser()
    answer = browser.sign_in(user.name, to=to)
    assert answer.headers["location"] == "/second"
    assert browser.cookie("__Host-session") is None
    return browser, browser.get("/second")


def test_a_code_completes_the_sign_in(service: Running) -> None:
    user, to = service.user(), service.app(EVERYONE, "/deep?x=1")
    _, secret, _ = with_app(service, user)
    browser, page = halfway(service, user, to)
    assert browser.verify().status_code == 401
    assert browser.get("/account").headers["location"] == "/"
    answer = browser.submit(page, "/second", code=code(secret))
    assert answer.headers["location"] == to
    assert browser.verify().status_code == 204
    assert service.service.sessions.of(user)[0].methods == "password, app code"


def test_a_code_counts_once(service: Running) -> None:
    """Also the one before it, which is in its time still."""
    user = service.user()
    _, secret, _ = with_app(service, user)
    now = code(secret)
    first, page = halfway(service, user)
    assert first.submit(page, "/second", code=f"{now[:3]} {now[3:]}").status_code == 303
    for again in (now, code(secret, -1)):
        second, page = halfway(service, user)
        refused = second.submit(page, "/second", code=again)
        assert refused.status_code == 403
        assert second.verify().status_code == 401
    assert "was used already" in second.submit(page, "/second", code=now).text


@pytest.mark.parametrize("wrong", ["000000", "", "12345", "x" * 5000, "\uff11\uff12\uff13\uff14\uff15\uff16"])
def test_wrong_codes_are_refused(service: Running, wrong: str) -> None:
    user = service.user()
    _, secret, _ = with_app(service, user)
    if wrong == "000000" and wrong in {code(secret, step) for step in (-1, 0, 1)}:
        wrong = "000001"
    browser, page = halfway(service, user)
    assert browser.submit(page, "/second", code=wrong).status_code == 403
    assert browser.verify().status_code == 401


def test_codes_cannot_be_guessed_at_length(service: Running) -> None:
    user = service.user()
    with_app(service, user)
    codes = []
    for _ in range(6):
        browser, page = halfway(service, user)
        codes.append(browser.submit(page, "/second", code="000000").status_code)
    assert codes == [403] * 5 + [429]


def test_without_the_password_there_is_no_second_step(browser: Browser) -> None:
    for path in ("/second", "/recovery"):
        assert browser.get(path).headers["location"] == "/"
    page = browser.get("/")
    form = browser.submit(page, "/sign-in", name="nobody", password="x")
    assert form.status_code == 403
    assert browser.get("/second").headers["location"] == "/"


def test_the_secret_is_not_readable_in_the_database(service: Running) -> None:
    user = service.user()
    _, secret, codes = with_app(service, user)
    accounts = service.service.databases.accounts
    sealed = accounts.read(lambda db: db.execute("SELECT secret FROM totp WHERE user = ?", (user.id,)).get)
    assert secret.encode() not in sealed
    hashes = accounts.read(
        lambda db: db.execute("SELECT hash FROM recovery_code WHERE user = ?", (user.id,)).fetchall()
    )
    plain = codes[0].replace("-", "").encode()
    assert all(plain not in one for (one,) in hashes)


def test_an_app_is_added_only_with_a_right_code(service: Running) -> None:
    user = service.user()
    browser = service.signed_in(user)
    page = browser.get("/account/app")
    assert browser.submit(page, "/account/app", code="123").status_code == 403
    assert not service.service.factors.has_totp(user)


def test_removing_the_app_makes_the_password_enough(service: Running) -> None:
    user = service.user()
    browser, _, _ = with_app(service, user)
    gone = browser.submit(browser.get("/account/app"), "/account/app/remove")
    assert gone.headers["location"] == "/account?done=app-removed"
    assert service.browser().sign_in(user.name).headers["location"] == "/account"


# ---- recovery codes ------------------------------------------------------------------


def test_a_recovery_code_counts_once(service: Running) -> None:
    user = service.user()
    _, _, codes = with_app(service, user)
    browser, _ = halfway(service, user)
    page = browser.get("/recovery")
    assert browser.submit(page, "/recovery", code="aaaa-bbbb-cccc").status_code == 403
    assert browser.submit(page, "/recovery", code=codes[0].upper().replace("-", " ")).status_code == 303
    assert service.service.factors.recovery_codes_left(user) == 9
    again, _ = halfway(service, user)
    assert again.submit(again.get("/recovery"), "/recovery", code=codes[0]).status_code == 403


def test_a_recovery_code_stays_used_when_the_accounts_are_set_back(service: Running) -> None:
    user = service.user()
    _, _, codes = with_app(service, user)
    factors, accounts = service.service.factors, service.service.databases.accounts
    rows = accounts.read(
        lambda db: db.execute("SELECT user, hash FROM recovery_code WHERE user = ?", (user.id,)).fetchall()
    )
    factors.accept_recovery_code(user, codes[3])
    insert = "INSERT OR IGNORE INTO recovery_code VALUES (?, ?)"
    accounts.write("set back", lambda db: db.executemany(insert, rows))
    with pytest.raises(ValueError, match="used already"):
        factors.accept_recovery_code(user, codes[3])


def test_new_codes_take_the_place_of_the_old_ones(service: Running) -> None:
    user = service.user()
    browser, _, codes = with_app(service, user)
    page = browser.submit(browser.get("/account/recovery-codes"), "/account/recovery-codes")
    fresh = re.findall(r"<li><code>([^<]*)</code></li>", page.text)
    assert len(set(fresh) - set(codes)) == 10
    with pytest.raises(ValueError, match="not right"):
        service.service.factors.accept_recovery_code(user, codes[0])
    service.service.factors.accept_recovery_code(user, fresh[0])


# ---- passkeys ------------------------------------------------------------------------


def with_passkey(service: Running, user: User) -> tuple[Browser, Authenticator]:
    """A browser whose user has just added a passkey."""
    browser = service.signed_in(user)
    authenticator = Authenticator(service.origin, LOGIN)
    done = add(browser, authenticator)
    assert "Recovery codes" in done.text
    return browser, authenticator


def add(browser: Browser, authenticator: Authenticator) -> httpx.Response:
    page = browser.get("/account/passkeys")
    asked = ask(browser, page, "/account/passkeys", "/account/passkeys/options")
    answer = authenticator.create(asked)
    return browser.submit(page, "/account/passkeys", answer=answer, label="My key")


def ask(browser: Browser, page: httpx.Response, action: str, options: str) -> dict[str, object]:
    """What the service asks the authenticator, as the page's script gets it."""
    form = form_fields(page.text, action)
    answer = browser.post(options, data={"form": form["form"]}, headers={"Origin": browser.running.origin})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def use(browser: Browser, authenticator: Authenticator, to: str = "") -> httpx.Response:
    """Signs in with a passkey alone."""
    page = browser.get("/", params={"to": to} if to else {})
    asked = ask(browser, page, "/passkey", "/passkey/options")
    return browser.submit(page, "/passkey", answer=authenticator.get(asked))


def test_a_passkey_is_enough(service: Running, browser: Browser) -> None:
    user, to = service.user(), service.app(EVERYONE, "/x")
    _, authenticator = with_passkey(service, user)
    answer = use(browser, authenticator, to)
    assert answer.headers["location"] == to
    assert browser.verify().headers["x-auth-user"] == user.name


def test_a_passkey_is_a_second_step(service: Running) -> None:
    user = service.user()
    _, authenticator = with_passkey(service, user)
    browser, page = halfway(service, user)
    asked = ask(browser, page, "/passkey", "/passkey/options")
    assert len(asked["allowCredentials"]) == 1  # type: ignore[arg-type]
    assert browser.submit(page, "/passkey", answer=authenticator.get(asked)).status_code == 303
    assert browser.verify().status_code == 204


def test_a_passkey_confirms_who_it_is(service: Running) -> None:
    user, other = service.user(), service.user()
    browser, mine = with_passkey(service, user)
    _, theirs = with_passkey(service, other)
    for authenticator, status in ((theirs, 403), (mine, 303)):
        page = browser.get("/confirm")
        asked = ask(browser, page, "/confirm", "/passkey/options")
        assert browser.submit(page, "/confirm", answer=authenticator.get(asked)).status_code == status


def other_origin(authenticator: Authenticator) -> None:
    authenticator.origin = "https://notes.home.test"


def other_host(authenticator: Authenticator) -> None:
    authenticator.host = "home.test"


def not_recognised(authenticator: Authenticator) -> None:
    authenticator.flags = PRESENT


def not_present(authenticator: Authenticator) -> None:
    authenticator.flags = VERIFIED


def a_copy(authenticator: Authenticator) -> None:
    authenticator.count = 0


def other_key(authenticator: Authenticator) -> None:
    authenticator.key = ec.generate_private_key(ec.SECP256R1())


def unknown(authenticator: Authenticator) -> None:
    authenticator.id = b"unknown"


MISBEHAVIOUR = [other_origin, other_host, not_recognised, not_present, a_copy, other_key, unknown]


@pytest.mark.parametrize("how", MISBEHAVIOUR, ids=lambda how: how.__name__)
def test_passkeys_that_misbehave_are_refused(
    service: Running, browser: Browser, how: Callable[[Authenticator], None]
) -> None:
    _, authenticator = with_passkey(service, service.user())
    how(authenticator)
    answer = use(browser, authenticator)
    assert answer.status_code == 403
    assert browser.cookie("__Host-session") is None


def test_an_answer_counts_once(service: Running, browser: Browser) -> None:
    _, authenticator = with_passkey(service, service.user())
    page = browser.get("/")
    answer = authenticator.get(ask(browser, page, "/passkey", "/passkey/options"))
    kept = dict(browser.cookies)
    assert browser.submit(page, "/passkey", answer=answer).status_code == 303
    thief = service.browser()
    for name, value in kept.items():
        thief.cookies.set(name, value, domain="login.home.test")
    assert thief.submit(page, "/passkey", answer=answer).status_code == 403


@pytest.mark.parametrize("answer", ["", "x", "[]", "null", "{}", '{"id": 1}', "[" * 15000])
def test_rubbish_is_refused(browser: Browser, answer: str) -> None:
    page = browser.get("/")
    ask(browser, page, "/passkey", "/passkey/options")
    assert browser.submit(page, "/passkey", answer=answer).status_code == 403


@pytest.mark.parametrize("how", [other_origin, other_host, not_recognised], ids=lambda how: how.__name__)
def test_passkeys_are_not_added_for_others(service: Running, how: Callable[[Authenticator], None]) -> None:
    user = service.user()
    authenticator = Authenticator(service.origin, LOGIN)
    how(authenticator)
    answer = add(service.signed_in(user), authenticator)
    assert answer.status_code == 403
    assert service.service.passkeys.of(user) == []


def test_a_passkey_belongs_to_one_user(service: Running) -> None:
    user, other = service.user(), service.user()
    _, authenticator = with_passkey(service, user)
    assert "registered already" in add(service.signed_in(other), authenticator).text
    assert service.service.passkeys.of(other) == []


def test_passkeys_are_removed_but_not_the_only_way_in(service: Running) -> None:
    user = service.user()
    browser, authenticator = with_passkey(service, user)
    page = browser.get("/account/passkeys")
    change = "UPDATE user SET password = NULL WHERE id = ?"
    service.service.databases.accounts.write("no password", lambda db: db.execute(change, (user.id,)))
    assert browser.submit(page, "/account/passkeys/remove").status_code == 409
    service.service.accounts.set_password(user, PASSWORD, "a test")
    assert browser.submit(page, "/account/passkeys/remove").status_code == 303
    assert use(service.browser(), authenticator).status_code == 403
    assert service.browser().sign_in(user.name).headers["location"] == "/account"


def test_a_disabled_users_passkey_is_refused(service: Running, browser: Browser) -> None:
    user = service.user()
    _, authenticator = with_passkey(service, user)
    service.service.accounts.set_disabled(user, True, "a test")
    assert use(browser, authenticator).status_code == 403
