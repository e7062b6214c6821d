"""The attack table, as far as it is this service's: each row is a way in that must not be one."""

import base64
import hmac
import json
import time
from collections.abc import Callable, Iterator

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from joserfc import jwt
from joserfc.jwk import ECKey

import mvsqlite_py
from signin_kit import (
    EVERYONE,
    NOTES,
    PAD,
    PASSWORD,
    READER,
    Browser,
    Running,
    form_fields,
    signed,
    verify,
)

# ---- tokens --------------------------------------------------------------------------


def part(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def decoded(text: str) -> dict[str, object]:
    return dict(json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))))


class Forger:
    """What an attacker has: a good token of their own, the public keys, and a key that is not ours."""

    def __init__(self, service: Running, browser: Browser) -> None:
        user = service.user()
        browser.sign_in(user.name)
        self.service = service
        self.browser = browser
        self.good = browser.cookie("session_jwt") or ""
        self.head, self.body, self.signature = self.good.split(".")
        self.header, self.claims = decoded(self.head), decoded(self.body)
        self.foreign = ECKey.import_key(ec.generate_private_key(ec.SECP256R1()))
        self.session = str(self.claims["sid"])
        self.name = user.name

    def ours(self, **other: object) -> str:
        return signed(self.service, self.session, self.name, time.time() - 1, 300, **other)

    def by_foreign_key(self, **header: object) -> str:
        return jwt.encode({"alg": "ES256", **header}, dict(self.claims), self.foreign, algorithms=["ES256"])

    def by_hmac(self, key: bytes) -> str:
        text = f"{part({**self.header, 'alg': 'HS256'})}.{self.body}"
        mac = base64.urlsafe_b64encode(hmac.digest(key, text.encode(), "sha256"))
        return f"{text}.{mac.rstrip(b'=').decode()}"

    def public_pem(self) -> bytes:
        return self.service.service.keys.ring().signing.public_pem.encode()


FORGERIES: dict[str, Callable[[Forger], str]] = {
    "none": lambda _: "",
    "garbage": lambda _: "a.b.c",
    "two parts": lambda f: f"{f.head}.{f.body}",
    "five parts": lambda f: f"{f.good}.a.b",
    "payload of another user": lambda f: f"{f.head}.{part({**f.claims, 'sub': 'ann'})}.{f.signature}",
    "more apps": lambda f: f"{f.head}.{part({**f.claims, 'aud': ['notes', 'everyone']})}.{f.signature}",
    "no signature": lambda f: f"{f.head}.{f.body}.",
    "short signature": lambda f: f"{f.head}.{f.body}.{f.signature[:-4]}",
    "altered signature": lambda f: f"{f.head}.{f.body}.{'A' * 10}{f.signature[10:]}",
    "zero signature": lambda f: f"{f.head}.{f.body}.{'A' * 86}",
    "alg none": lambda f: f"{part({**f.header, 'alg': 'none'})}.{f.body}.",
    "alg None": lambda f: f"{part({**f.header, 'alg': 'None'})}.{f.body}.{f.signature}",
    "alg missing": lambda f: f"{part({'kid': f.header['kid']})}.{f.body}.{f.signature}",
    "HS256 with the public key": lambda f: f.by_hmac(f.public_pem()),
    "HS256 with the public key, no last line end": lambda f: f.by_hmac(f.public_pem().strip()),
    "HS256 with nothing": lambda f: f.by_hmac(b""),
    "foreign key, our kid": lambda f: f.by_foreign_key(kid=f.header["kid"]),
    "foreign key, own kid": lambda f: f.by_foreign_key(kid="mine"),
    "foreign key, no kid": lambda f: f.by_foreign_key(),
    "foreign key in the header": lambda f: f.by_foreign_key(
        kid=f.header["kid"], jwk=f.foreign.as_dict(private=False)
    ),
    "kid is a path": lambda f: f.by_foreign_key(kid="../keys/" + str(f.header["kid"])),
    "expired": lambda f: signed(f.service, f.session, f.name, time.time() - 301, 300),
    "not yet valid": lambda f: f.ours(nbf=time.time() + 60),
    "no end": lambda f: f.ours(exp=None),
    "end is text": lambda f: f.ours(exp="9999999999"),
    "end is true": lambda f: f.ours(exp=True),
    "issued in another name": lambda f: f.ours(iss="other"),
    "no session": lambda f: f.ours(sid=None),
    "unknown session": lambda f: f.ours(sid="unknown"),
    "session of another": lambda f: f.ours(sub="ann"),
    "user is a list": lambda f: f.ours(sub=[f.name]),
    "audience is text": lambda f: f.ours(aud="everyone"),
    "too long": lambda f: f.ours(aud=["everyone"] * 2000),
}


@pytest.fixture(scope="module")
def forger(service: Running) -> Iterator[Forger]:
    with Browser(service) as browser:
        yield Forger(service, browser)


def test_the_forger_begins_with_a_good_token(service: Running, forger: Forger) -> None:
    assert verify(service, forger.good).status_code == 204
    assert verify(service, forger.ours()).status_code == 204


@pytest.mark.parametrize("name", FORGERIES)
def test_forged_tokens_are_refused(service: Running, forger: Forger, name: str) -> None:
    answer = verify(service, FORGERIES[name](forger))
    assert answer.status_code == 401
    assert not [header for header in answer.headers if header.startswith("x-auth")]


def test_a_token_for_other_apps_is_refused(service: Running, forger: Forger) -> None:
    assert verify(service, forger.ours(aud=["pad"])).status_code == 403
    assert verify(service, forger.ours(aud=[])).status_code == 403


def test_a_token_does_not_outlast_a_permission_that_was_taken_away(service: Running, forger: Forger) -> None:
    """The settings are asked too, not the token alone."""
    assert verify(service, forger.ours(aud=["everyone", "notes", "reader"]), NOTES).status_code == 403


def test_tokens_elsewhere_than_in_the_cookie_are_not_looked_at(service: Running, forger: Forger) -> None:
    good = forger.good
    sent = {"X-Original-Host": EVERYONE, "Authorization": f"Bearer {good}"}
    assert service.plain.get("/verify", headers=sent, params={"jwt": good}).status_code == 401
    other = {"X-Original-Host": EVERYONE, "Cookie": f"SESSION_JWT={good}; session_jwt2={good}"}
    assert service.plain.get("/verify", headers=other).status_code == 401


def test_every_method_of_verify_checks(service: Running) -> None:
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "PATCH"):
        answer = service.plain.request(method, "/verify", headers={"X-Original-Host": EVERYONE})
        assert answer.status_code == 401


# ---- headers of the gateway ----------------------------------------------------------


def test_the_host_is_taken_from_one_header_alone(service: Running) -> None:
    """A client's own headers reach /verify with the gateway's: they must not choose the app."""
    browser = service.signed_in(service.user())
    assert browser.verify(NOTES).status_code == 403
    assert browser.verify(NOTES, X_Forwarded_Host=EVERYONE, Host=EVERYONE).status_code == 403
    cookie = f"session_jwt={browser.cookie('session_jwt')}"
    both = [("X-Original-Host", EVERYONE), ("X-Original-Host", NOTES), ("Cookie", cookie)]
    assert service.plain.get("/verify", headers=both).status_code == 403
    assert service.plain.get("/verify", headers=[*both[1:]]).status_code == 403
    assert service.plain.get("/verify", headers=[("Cookie", cookie)]).status_code == 403


def test_identity_headers_come_from_us_alone(service: Running) -> None:
    browser = service.signed_in(service.user())
    answer = browser.verify(EVERYONE, X_Auth_User="ann", X_Auth_Groups="family")
    assert answer.headers.get_list("x-auth-user") != ["ann"]
    assert answer.headers.get_list("x-auth-groups") == [""]


def test_a_name_to_show_cannot_inject_headers(service: Running) -> None:
    user = service.service.accounts.add("inject", "Zoë % ü, \u20acx", PASSWORD, "a test")
    answer = service.signed_in(user).verify()
    assert answer.headers["x-auth-name"] == "Zo%C3%AB %25 %C3%BC%2C %E2%82%ACx"


# ---- cookie tossing ------------------------------------------------------------------


def test_a_sibling_hosts_token_beside_ours_is_believed_for_neither(service: Running, forger: Forger) -> None:
    """A sibling may set a cookie of the same name: with rubbish it changes nothing, with another
    user's token nobody is signed in as the wrong one."""
    mine, theirs = forger.good, service.signed_in(service.user()).cookie("session_jwt")
    for cookies, status in {
        f"session_jwt=rubbish; session_jwt={mine}": 204,
        f"session_jwt={mine}; session_jwt=rubbish": 204,
        f"session_jwt={mine}; session_jwt={mine}": 204,
        f"session_jwt={theirs}; session_jwt={mine}": 401,
        f"session_jwt={mine}; session_jwt={theirs}": 401,
        "; ".join([*["session_jwt=x"] * 20, f"session_jwt={mine}"]): 401,
    }.items():
        answer = verify(service, None, Cookie=cookies)
        assert answer.status_code == status, cookies[:40]


# ---- session fixation ----------------------------------------------------------------


def test_a_session_that_was_planted_is_never_taken_up(service: Running, forger: Forger) -> None:
    browser = service.browser()
    planted = {"__Host-session": "planted-by-somebody", "session_jwt": forger.good}
    for name, value in planted.items():
        browser.cookies.set(name, value, domain="login.home.test")
    assert browser.sign_in(service.user().name).status_code == 303
    assert browser.cookie("__Host-session") not in (None, "planted-by-somebody")
    with_planted = service.plain.get("/account", headers={"Cookie": "__Host-session=planted-by-somebody"})
    assert with_planted.headers["location"] == "/"


def test_signing_in_ends_the_session_that_the_browser_had(service: Running) -> None:
    """Whoever knows the cookies from before the sign-in has nothing of them."""
    browser = service.signed_in(service.user())
    token, secret = browser.cookie("session_jwt"), browser.cookie("__Host-session")
    session = form_fields(browser.get("/account").text, "/account/sessions")
    victim = service.user()
    again = browser.post(
        "/sign-in",
        data={"form": session["form"], "name": victim.name, "password": PASSWORD},
        headers={"Origin": service.origin},
    )
    assert again.status_code == 303
    assert verify(service, token).status_code == 401
    old = service.plain.get("/account", headers={"Cookie": f"__Host-session={secret}"})
    assert old.headers["location"] == "/"
    assert victim.name in browser.get("/account").text


# ---- forged requests -----------------------------------------------------------------

FORMS = ["/sign-out", "/account/sessions", "/account/password", "/account/app", "/account/app/remove"]
FORMS += ["/account/recovery-codes", "/account/passkeys", "/account/passkeys/remove", "/confirm", "/sign-in"]
FORMS += ["/second", "/recovery", "/passkey", "/passkey/options", "/account/passkeys/options"]


@pytest.mark.parametrize("path", FORMS)
def test_forms_from_elsewhere_are_refused(service: Running, forger: Forger, path: str) -> None:
    browser = forger.browser
    form = form_fields(browser.get("/account").text, "/account/sessions")["form"]
    good = {"Origin": service.origin}
    bad: list[tuple[dict[str, str], dict[str, str]]] = [
        ({"other": "x"}, good),
        ({"form": "x"}, good),
        ({"form": form[:-1] + ("A" if form[-1] != "A" else "B")}, good),
        ({"form": form}, {}),
        ({"form": form}, {"Origin": "null"}),
        ({"form": form}, {"Origin": "https://evil.test"}),
        ({"form": form}, {"Origin": service.app(NOTES, "")}),
        ({"form": form}, {"Origin": "http" + service.origin.removeprefix("https")}),
    ]
    for data, headers in bad:
        answer = browser.post(path, data=data, headers=headers)
        assert answer.status_code == 403, (data, headers)
    assert browser.verify().status_code == 204


def test_a_form_of_another_browser_or_session_is_refused(service: Running) -> None:
    mine, theirs = service.signed_in(service.user()), service.signed_in(service.user())
    page = mine.get("/sign-out")
    assert theirs.submit(page, "/sign-out").status_code == 403
    anonymous = service.browser()
    before = anonymous.get("/")
    assert mine.submit(before, "/sign-in", name="x", password="y").status_code == 403
    assert theirs.verify().status_code == 204


def test_forms_of_other_kinds_and_sizes_are_refused(service: Running, browser: Browser) -> None:
    origin = {"Origin": service.origin}
    assert browser.post("/sign-in", json={"name": "x"}, headers=origin).status_code == 415
    large = browser.post("/sign-in", data={"name": "x" * 70000}, headers=origin)
    assert large.status_code == 413
    many = browser.post("/sign-in", data={f"f{i}": "x" for i in range(50)}, headers=origin)
    assert many.status_code == 400
    kind = {**origin, "Content-Type": "application/x-www-form-urlencoded"}
    assert browser.post("/sign-in", content=b"name=%ff%fe", headers=kind).status_code == 400
    assert browser.post("/sign-in", content=b"\xff\xfe", headers=kind).status_code == 400


# ---- open redirects ------------------------------------------------------------------

ELSEWHERE = [
    "//evil.test",
    "\\\\evil.test",
    "https://evil.test/",
    "https://notes.home.test@evil.test/",
    "https://NOTES.home.test.evil.test/",
    "https://everyone.home.test/\r\nX-Injected: 1",
    "javascript:alert(1)",
    "/account",
]


@pytest.mark.parametrize("to", ELSEWHERE)
def test_nobody_is_sent_elsewhere(service: Running, browser: Browser, to: str) -> None:
    page = browser.get("/", params={"to": to})
    assert page.status_code == 200
    assert "evil" not in page.text
    answer = browser.submit(page, "/sign-in", name=service.user().name, password=PASSWORD, to=to)
    assert answer.status_code == 400
    assert "location" not in answer.headers
    assert "x-injected" not in answer.headers
    again = browser.get("/", params={"to": to})
    assert (again.status_code, "location" in again.headers) == (400, False)


# ---- everything else -----------------------------------------------------------------


def test_every_answer_has_its_headers(service: Running) -> None:
    browser = service.signed_in(service.user())
    answers = [
        browser.get(path)
        for path in ("/", "/account", "/nothing", "/healthz", "/verify", "/denied", "/sign-out")
    ]
    answers += [browser.post("/sign-in"), browser.put("/account"), service.plain.get("/")]
    for answer in answers:
        assert answer.headers["cache-control"] == "no-store", answer.request.url
        assert_protected(answer)
    static = service.plain.get("/static/style.css")
    assert static.status_code == 200
    assert_protected(static)


def assert_protected(answer: httpx.Response) -> None:
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["strict-transport-security"].startswith("max-age=31536000")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["referrer-policy"] == "same-origin"
    assert "server" not in answer.headers


def test_pages_have_no_inline_code(service: Running) -> None:
    browser = service.signed_in(service.user())
    for path in (
        "/account",
        "/account/app",
        "/account/passkeys",
        "/account/password",
        "/sign-out",
        "/confirm",
    ):
        text = browser.get(path).text
        for mark in ("style=", "onclick", "onload", "<style", "javascript:", "<script>"):
            assert mark not in text, (path, mark)


def test_pages_answer_at_the_sign_in_host_alone(service: Running) -> None:
    assert service.plain.get("/", headers={"Host": "evil.test"}).status_code == 421
    assert service.plain.get("/", headers={"Host": PAD}).status_code == 421
    assert service.plain.get("/", headers={"Host": READER}).status_code == 421


def test_what_strangers_send_is_fit_for_a_terminal(service: Running) -> None:
    browser = service.browser("192.0.2.77")
    agent = "\x9b31m evil".encode("latin-1")
    page = browser.get("/")
    form = form_fields(page.text, "/sign-in")
    browser.post(
        "/sign-in",
        data={**form, "name": "\x1b[2Jevil\n" + "x" * 5000, "password": "x"},
        headers=[(b"Origin", service.origin.encode()), (b"User-Agent", agent)],
    )
    event = next(one for one in service.service.events.last(20) if one.address == "192.0.2.77")
    assert event.name.startswith("?[2jevil?x")
    assert event.agent == "?31m evil"
    with mvsqlite_py.open_store(service.settings.store) as store:
        message = store.database(service.settings.activity).newest.message or ""
    assert message.isprintable()
    assert len(message) < 200


def test_names_are_escaped_in_pages(service: Running, browser: Browser) -> None:
    answer = browser.sign_in('"><script>alert(1)</script>', "x")
    assert "<script>alert" not in answer.text
    user = service.service.accounts.add("marked", "<b>bold</b>", PASSWORD, "a test")
    assert "<b>bold" not in service.signed_in(user).get("/account").text
