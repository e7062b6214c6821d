"""Guessing is stopped: by account, by address, across restarts, side by side, and not for the owner."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path

import apsw
import pytest

import mvsqlite_py
from mvsqlite_stack.signin.activity import Visitor
from mvsqlite_stack.signin.limits import Limits, TooManyError
from mvsqlite_stack.signin.passwords import Passwords
from mvsqlite_stack.signin.service import Service
from mvsqlite_stack.signin.settings import Argon2
from mvsqlite_stack.signin.settings import Limits as Numbers
from signin_kit import PASSWORD, Browser, Running, form_fields, prepare, read, running

STRICT = """
[limits]
account = 3
address = 6
code = 3
"""


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    directory = tmp_path_factory.mktemp("strict")
    with running(directory, "workers = 2", STRICT) as one:
        yield one


@pytest.fixture(autouse=True)
def closed(strict: Running) -> Iterator[None]:
    yield
    strict.close_browsers()


def test_an_account_is_closed_to_guesses(strict: Running) -> None:
    user = strict.user()
    codes = [strict.browser(f"203.0.113.{i}").sign_in(user.name, "wrong").status_code for i in range(5)]
    assert codes == [403, 403, 403, 429, 429]
    right = strict.browser("203.0.113.99").sign_in(user.name)
    assert right.status_code == 429
    assert 0 < int(right.headers["retry-after"]) <= 900
    assert "Try again in 15 minutes." in right.text


def test_a_name_that_does_not_exist_is_closed_alike(strict: Running) -> None:
    codes = [strict.browser(f"203.0.113.{i}").sign_in("nobody-at-all", "x").status_code for i in range(4)]
    assert codes == [403, 403, 403, 429]


def test_an_address_is_closed_whatever_names_it_tries(strict: Running) -> None:
    browser = strict.browser("203.0.113.200")
    codes = [browser.sign_in(f"guess{i}", "wrong").status_code for i in range(7)]
    assert codes == [403] * 6 + [429]
    assert browser.sign_in(strict.user().name).status_code == 429
    assert strict.browser("203.0.113.201").sign_in(strict.user().name).status_code == 303


def test_addresses_of_one_ipv6_network_are_one(strict: Running) -> None:
    addresses = [f"2001:db8:1:2::{i:x}" for i in range(7)]
    codes = [strict.browser(one).sign_in(f"six{i}", "wrong").status_code for i, one in enumerate(addresses)]
    assert codes == [403] * 6 + [429]
    assert strict.browser("2001:db8:1:3::1").sign_in("six", "wrong").status_code == 403


def test_an_address_is_what_the_proxy_says_last(strict: Running) -> None:
    """What a client wrote into X-Forwarded-For itself stands before it, and is not believed."""
    codes = [
        strict.browser(f"192.0.2.{i}, 203.0.113.210").sign_in(f"claims{i}", "wrong").status_code
        for i in range(7)
    ]
    assert codes == [403] * 6 + [429]


def test_success_empties_the_accounts_count_and_not_the_addresses(strict: Running) -> None:
    user, address = strict.user(), "203.0.113.220"
    for _ in range(2):
        assert [strict.browser(address).sign_in(user.name, "x").status_code for _ in range(2)] == [403, 403]
        assert strict.browser(address).sign_in(user.name).status_code == 303
    assert [strict.browser(address).sign_in(user.name, "x").status_code for _ in range(3)] == [403, 403, 429]


def test_a_browser_that_has_signed_in_before_is_not_locked_out(strict: Running) -> None:
    user = strict.user()
    own = strict.browser("203.0.113.230")
    assert own.sign_in(user.name).status_code == 303
    own.submit(own.get("/sign-out"), "/sign-out")
    for i in range(4):
        last = strict.browser(f"203.0.113.{i + 231}").sign_in(user.name, "guess")
    assert last.status_code == 429
    assert own.sign_in(user.name).status_code == 303
    assert forged(strict, own).sign_in(user.name).status_code == 429


def forged(strict: Running, own: Browser) -> Browser:
    """A browser with somebody's device cookie, altered."""
    browser = strict.browser("203.0.113.240")
    value = own.cookie("__Host-device") or ""
    browser.cookies.set("__Host-device", f"{value[:-2]}xx", domain="login.home.test")
    return browser


def test_a_known_browser_is_stopped_too(strict: Running) -> None:
    user = strict.user()
    own = strict.browser("203.0.113.241")
    own.sign_in(user.name)
    own.submit(own.get("/sign-out"), "/sign-out")
    assert [own.sign_in(user.name, "x").status_code for _ in range(4)] == [403, 403, 403, 429]


def test_the_audit_log_tells_of_it(strict: Running) -> None:
    user = strict.user()
    for i in range(4):
        strict.browser(f"203.0.113.{i + 245}").sign_in(user.name, "x")
    events = strict.service.events.last(10, user)
    assert [one.kind for one in events] == ["refused: too many tries", *["wrong password"] * 3]
    assert events[0].address == "203.0.113.248"


def test_a_flood_of_refused_tries_writes_nothing(strict: Running) -> None:
    """What strangers can have written is bounded by the limits."""
    user, browser = strict.user(), strict.browser("203.0.113.250")
    for _ in range(4):
        browser.sign_in(user.name, "x")
    with mvsqlite_py.open_store(strict.settings.store) as store:
        activity = store.database(strict.settings.activity)
        before = activity.newest.version
        assert [browser.sign_in(user.name, "x").status_code for _ in range(5)] == [429] * 5
        assert activity.newest.version == before
        assert activity.policy().keep_all == timedelta(days=30)


def test_challenges_for_passkeys_are_bounded(strict: Running) -> None:
    browser = strict.browser("203.0.113.251")
    form = form_fields(browser.get("/").text, "/passkey")
    sent = {"data": {"form": form["form"]}, "headers": {"Origin": strict.origin}}
    codes = [browser.post("/passkey/options", **sent).status_code for _ in range(7)]
    assert codes == [200] * 6 + [429]


def test_limits_survive_a_restart(tmp_path: Path) -> None:
    settings, visitor = read(prepare(tmp_path, tables=STRICT)), Visitor("192.0.2.1", "")
    for expected in (None, None, None, TooManyError):
        service = Service(settings)
        with pytest.raises(expected) if expected else nullcontext():
            service.begin_try("password", "somebody", visitor, None)
        service.close()


def test_guesses_side_by_side_do_not_slip_through_together(strict: Running) -> None:
    user = strict.user()
    pages = [strict.browser(f"198.18.0.{i}") for i in range(8)]
    with ThreadPoolExecutor(8) as pool:
        codes = list(pool.map(lambda one: one.sign_in(user.name, "wrong").status_code, pages))
    assert sorted(codes) == [403] * 3 + [429] * 5


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Service]:
    service = Service(read(prepare(tmp_path, tables=STRICT)))
    yield service
    service.close()


def test_a_window_passes(database: Service) -> None:
    limits = Limits(database.databases.activity, Numbers(account=2, address=9, window=100))
    for moment in (0.0, 50.0):
        limits.begin("password", "ann", "192.0.2.1", None, moment)
    with pytest.raises(TooManyError) as refused:
        limits.begin("password", "ann", "192.0.2.1", None, 60.0)
    assert refused.value.seconds == 40
    limits.begin("password", "ann", "192.0.2.1", None, 101.0)
    with pytest.raises(TooManyError):
        limits.begin("password", "ann", "192.0.2.1", None, 102.0)


def test_what_is_kept_of_failures_is_bounded(database: Service) -> None:
    limits = Limits(database.databases.activity, Numbers(account=2, address=9, window=100))
    for i in range(5):
        limits.begin("password", "x" * 100000 + str(i), f"192.0.2.{i}", None, i * 200.0)

    def size(db: apsw.Connection) -> tuple[int, int]:
        return db.execute("SELECT count(*), max(length(bucket)) FROM failure").get

    rows, longest = database.databases.activity.read(size)
    assert rows == 2
    assert longest < 64


def test_a_name_that_does_not_exist_costs_as_much(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same work is done: one verification of a hash with the same costs."""
    passwords = Passwords(Argon2(time=1, memory_kib=64, parallelism=1), 12)
    stored = passwords.hash(PASSWORD)
    asked: list[str] = []
    verify = passwords._hasher.verify

    def noted(hash: str, password: str) -> bool:
        asked.append(hash.rpartition("$")[0].rpartition("$")[0])
        return verify(hash, password)

    monkeypatch.setattr(passwords, "_hasher", type("Hasher", (), {"verify": staticmethod(noted)}))
    cases: list[Callable[[], bool]] = [
        lambda: passwords.is_right(stored, "wrong"),
        lambda: passwords.is_right(None, "wrong"),
        lambda: passwords.is_right(stored, "x" * 5000),
        lambda: passwords.is_right(stored, PASSWORD),
    ]
    assert [case() for case in cases] == [False, False, False, True]
    assert asked == [asked[0]] * 4
