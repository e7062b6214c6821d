"""The table of attacks: requests that must not reach an app, and what they are answered.

Each is made from a household's tokens, so that the same table runs against any gateway.
"""

from collections.abc import Callable
from dataclasses import dataclass

from exchange import Headers, Request
from household import DOMAIN, FEEDS, NOTES, WIKI, Tokens, base64url, cookie, part
from mvsqlite_stack.render.identity import COOKIE

DENIED = frozenset({401})
FORBIDDEN = frozenset({403})
NOWHERE = frozenset({0, 400, 401, 404, 421})
"""For requests that belong to no host or are none: whatever is said, no app sees them."""
TOO_LARGE = frozenset({0, 400, 413, 414, 431, 494})

UPGRADE: Headers = (
    ("Connection", "Upgrade"),
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
)


@dataclass(frozen=True)
class Attack:
    """One row."""

    name: str
    make: Callable[[Tokens], Request]
    statuses: frozenset[int] = DENIED


def with_token(name: str, token: Callable[[Tokens], str], statuses: frozenset[int] = DENIED) -> Attack:
    return Attack(name, lambda tokens: Request(headers=(cookie(token(tokens)),)), statuses)


def with_claims(name: str, **changes: object) -> Attack:
    return with_token(name, lambda tokens: tokens.good(**changes))


def plain(name: str, statuses: frozenset[int] = DENIED, **fields: object) -> Attack:
    """Without any token."""
    return Attack(name, lambda _: Request(**fields), statuses)  # type: ignore[arg-type]


def signed_in(name: str, statuses: frozenset[int], **fields: object) -> Attack:
    """With a good token."""
    return Attack(name, lambda tokens: Request(headers=(cookie(tokens.good()),), **fields), statuses)  # type: ignore[arg-type]


def _tampered_signature(tokens: Tokens) -> str:
    head, _, tail = tokens.good().rpartition(".")
    return f"{head}.{'B' if tail[0] == 'A' else 'A'}{tail[1:]}"


def _tampered_claims(tokens: Tokens) -> str:
    head, _, tail = tokens.good("ben", apps=("feeds",)).split(".")
    return f"{head}.{part(tokens.claims())}.{tail}"


def _foreign_key(tokens: Tokens) -> str:
    from cryptography.hazmat.primitives.asymmetric import ec

    return tokens.signed(tokens.claims(), key=ec.generate_private_key(ec.SECP256R1()))


def _none(spelling: str) -> Callable[[Tokens], str]:
    return lambda tokens: f"{part({'alg': spelling, 'kid': tokens.id})}.{part(tokens.claims())}."


def _header(**changes: object) -> Callable[[Tokens], str]:
    return lambda tokens: tokens.signed(tokens.claims(), {"alg": "ES256", "kid": tokens.id, **changes})


def _elsewhere(name: str, make: Callable[[str], Request]) -> Attack:
    """A good token where none is looked for."""
    return Attack(name, lambda tokens: make(tokens.good()))


TOKENS = [
    plain("no token"),
    with_token("empty token", lambda _: ""),
    with_token("garbage", lambda _: "garbage"),
    with_token("three empty parts", lambda _: ".."),
    with_token("tampered signature", _tampered_signature),
    with_token("tampered claims", _tampered_claims),
    with_token("foreign key", _foreign_key),
    with_token("alg none", _none("none")),
    with_token("alg None", _none("None")),
    with_token("alg NONE", _none("NONE")),
    with_token("no alg", _header(alg="")),
    with_token("alg es256", _header(alg="es256")),
    with_token("alg ES384", _header(alg="ES384")),
    with_token("HS256 with the public key", lambda tokens: tokens.hs256_with_public_key()),
    with_token("no signature", lambda tokens: tokens.good().rpartition(".")[0] + "."),
    with_token(
        "short signature", lambda tokens: tokens.good().rpartition(".")[0] + "." + base64url(b"1" * 63)
    ),
    with_token(
        "zero signature", lambda tokens: tokens.good().rpartition(".")[0] + "." + base64url(bytes(64))
    ),
    with_token("claims are null", lambda tokens: tokens.signed(None)),
    with_token("claims are a number", lambda tokens: tokens.signed(7)),
    with_token("claims are a list", lambda tokens: tokens.signed([tokens.claims()])),
    with_claims("expired", exp=1_700_000_000),
    with_claims("expired just now", exp=0),
    with_claims("no exp", exp=None),
    with_claims("exp is text", exp="9999999999"),
    with_claims("no iss", iss=None),
    with_claims("unknown iss", iss="20200101-00000000"),
    with_claims("iss is a number", iss=7),
    with_claims("iss is a path", iss="../../etc/passwd"),
    with_token("wrong app", lambda tokens: tokens.good(apps=("feeds",)), FORBIDDEN),
    with_token("no app", lambda tokens: tokens.good(apps=()), FORBIDDEN),
    with_token(
        "app's name is a part of another", lambda tokens: tokens.good(apps=("my-notes", "notes-2")), FORBIDDEN
    ),
    Attack(
        "user who may not enter",
        lambda tokens: Request(headers=(cookie(tokens.good("ben", apps=("feeds",))),)),
        FORBIDDEN,
    ),
]

ELSEWHERE = [
    _elsewhere("in the query as jwt", lambda token: Request(target=f"/notes/1?jwt={token}")),
    _elsewhere(
        "in the query as the cookie's name", lambda token: Request(target=f"/notes/1?{COOKIE}={token}")
    ),
    _elsewhere("in Authorization", lambda token: Request(headers=(("Authorization", f"Bearer {token}"),))),
    _elsewhere("in Proxy-Authorization", lambda token: Request(headers=(("Proxy-Authorization", token),))),
    _elsewhere("in a header", lambda token: Request(headers=((COOKIE, token), ("X-Auth-Token", token)))),
    _elsewhere(
        "in a form",
        lambda token: Request(
            method="POST",
            headers=(("Content-Type", "application/x-www-form-urlencoded"),),
            body=f"jwt={token}&{COOKIE}={token}".encode(),
        ),
    ),
    _elsewhere(
        "in another cookie",
        lambda token: Request(headers=(("Cookie", f"jwt={token}; __Host-session={token}"),)),
    ),
]

COOKIES = [
    Attack(
        "two users' tokens",
        lambda tokens: Request(
            headers=(
                (
                    "Cookie",
                    f"{COOKIE}={tokens.good('ben', apps=('feeds', 'notes'))}; {COOKIE}={tokens.good()}",
                ),
            )
        ),
    ),
    Attack(
        "two users' tokens in two headers",
        lambda tokens: Request(headers=(cookie(tokens.good("ben", apps=("feeds",))), cookie(tokens.good()))),
        DENIED | FORBIDDEN | {400},
    ),
    Attack(
        "many cookies of the name",
        lambda tokens: Request(
            headers=(("Cookie", f"{COOKIE}=x; " * 20 + "=".join((COOKIE, tokens.good()))),)
        ),
    ),
]

IDENTITY = [
    plain(f"{name}: {value}", headers=((name, value),))
    for name, value in [
        ("X-Auth-User", "anna"),
        ("X-Consumer-Username", "mvstack"),
        ("X-Credential-Identifier", "anna"),
        ("X-Authenticated-Userid", "anna"),
        ("Remote-User", "anna"),
        ("X-Forwarded-For", "127.0.0.1"),
        ("X-Real-IP", "127.0.0.1"),
        ("X-Original-URL", "/about"),
        ("X-Rewrite-URL", "/about"),
        ("X-Forwarded-Uri", "/about"),
        ("X-Forwarded-Host", WIKI),
        ("X-Original-Host", WIKI),
        ("X-HTTP-Method-Override", "OPTIONS"),
    ]
]

PATHS = [
    plain(f"path {target}", DENIED | {400, 404}, target=target)
    for target in [
        "/",
        "//",
        "/notes",
        "//about",
        "/about/",
        "/aboutx",
        "/about/x",
        "/about%2f",
        "/about%00",
        "/about;x",
        "/about/..;/notes",
        "/About",
        "/ABOUT",
        "/%61bout/x",
        "/share/../notes/1",
        "/share/%2e%2e/notes/1",
        "/share/%2E%2E/notes/1",
        "/share/.%2e/notes/1",
        "/share/..%2fnotes/1",
        "/share%2f..%2fnotes/1",
        "/share/..%5cnotes",
        "/share/..\\notes",
        "/share/x/../../notes",
        "/share/./../notes",
        "/share/%252e%252e/notes",
        "/share/%c0%ae%c0%ae/notes",
        "/share/%e0%80%ae%e0%80%ae/notes",
        "/share/..;/notes",
        "/share/;/../notes",
        "/share/.hidden",
        "/share//../notes",
        "/share/%00/notes",
        "/share/%0a/notes",
        "/share/%23/../notes",
        "/share/%3f/notes",
        "/sharex",
        "/share.x",
        "/Share/1",
        "/SHARE/1",
        "//share/../notes",
        "/notes/../../notes",
        "/notes?/share/1",
        "/notes?/about",
        "/notes#/about",
        "/notes%3f/about",
        "/notes/%2e%2e/about/../notes",
        "/verify",
    ]
] + [
    plain("path of the gateway's own question", frozenset({401, 404}), target="/.mvstack-verify"),
    plain("path of that question with a query", frozenset({401, 404}), target="/.mvstack-verify?"),
    plain("no slash", frozenset({0, 400, 401}), target="about"),
    plain("asterisk", frozenset({0, 400, 401, 405}), target="*", method="OPTIONS"),
]

PRIVATE_HOSTS = [
    plain("host in upper case", NOWHERE, host=NOTES.upper()),
    plain("host with a trailing dot", NOWHERE, host=f"{NOTES}."),
    plain("host with another port", NOWHERE, port=":1"),
    plain("host without a port", NOWHERE, port=""),
    plain("absolute address", NOWHERE, target=f"https://{NOTES}/notes/1"),
    plain("absolute address with a public path in it", NOWHERE, target=f"https://{NOTES}/notes/1?/about"),
]

HOSTS = [
    signed_in("unknown host", NOWHERE, host=f"nothing.{DOMAIN}"),
    signed_in("foreign host", NOWHERE, host="evil.example.net"),
    signed_in("the domain itself", NOWHERE, host=DOMAIN),
    signed_in("a host below the app's", NOWHERE, host=f"x.{NOTES}"),
    signed_in("localhost", NOWHERE, host="localhost"),
    signed_in("a number for a host", NOWHERE, host="127.0.0.1"),
    signed_in("two hosts in one", NOWHERE, host=f"{NOTES},{WIKI}"),
    signed_in("no host", NOWHERE, host=None),
    signed_in("empty host", NOWHERE, host="", port=""),
    signed_in(
        "unknown host in the address", NOWHERE, target="https://evil.example.net/", host="evil.example.net"
    ),
    Attack(
        "two Host headers", lambda tokens: Request(headers=(("Host", WIKI), cookie(tokens.good()))), NOWHERE
    ),
    plain("another app behind its name in TLS", DENIED, host=FEEDS, sni=WIKI),
]

METHODS = [
    plain(f"method {method}", DENIED | {400, 405}, method=method)
    for method in ("HEAD", "OPTIONS", "PUT", "DELETE", "PATCH", "TRACE", "PROPFIND", "get", "FOO")
]

UPGRADES = [
    plain("WebSocket", DENIED, headers=UPGRADE),
    plain("WebSocket of a browser", DENIED, headers=(*UPGRADE, ("Accept", "text/html"))),
    plain(
        "WebSocket with the token in its protocol",
        DENIED,
        headers=(*UPGRADE, ("Sec-WebSocket-Protocol", "jwt")),
    ),
    plain(
        "h2c",
        DENIED,
        headers=(
            ("Connection", "Upgrade, HTTP2-Settings"),
            ("Upgrade", "h2c"),
            ("HTTP2-Settings", "AAMAAABkAAQAAP__"),
        ),
    ),
]

SIZES = [
    signed_in("long address", TOO_LARGE, target="/" + "x" * 70_000),
    Attack(
        "long header", lambda tokens: Request(headers=(cookie(tokens.good()), ("X", "x" * 70_000))), TOO_LARGE
    ),
    Attack(
        "many headers",
        lambda tokens: Request(
            headers=(cookie(tokens.good()), *((f"X-{i}", "x" * 100) for i in range(2000)))
        ),
        TOO_LARGE,
    ),
    Attack("long cookie", lambda _: Request(headers=(cookie("x" * 12_400),)), TOO_LARGE | DENIED),
    Attack(
        "large body",
        lambda tokens: Request(
            method="POST", headers=(cookie(tokens.good()),), body=b"x" * (1024 * 1024 + 1)
        ),
        TOO_LARGE,
    ),
    plain("large body without a token", TOO_LARGE | DENIED, method="POST", body=b"x" * (1024 * 1024 + 1)),
]

SMUGGLING = [
    Attack(
        "two lengths",
        lambda tokens: Request(
            method="POST",
            headers=(cookie(tokens.good()), ("Content-Length", "5"), ("Content-Length", "6")),
        ),
        NOWHERE,
    ),
    Attack(
        "length and chunks",
        lambda _: Request(
            target="/notes/1",
            method="POST",
            headers=(("Transfer-Encoding", "chunked"),),
            body=b"0\r\n\r\nGET /notes/2 HTTP/1.1\r\nHost: x\r\n\r\n",
        ),
        NOWHERE,
    ),
    plain("header on two lines", NOWHERE, headers=(("X-A", f"b\r\n Cookie: {COOKIE}=x"),)),
    plain("space before the colon", NOWHERE, headers=(("X-Auth-User ", "anna"),)),
]

ATTACKS = [
    *TOKENS,
    *ELSEWHERE,
    *COOKIES,
    *IDENTITY,
    *PATHS,
    *PRIVATE_HOSTS,
    *HOSTS,
    *METHODS,
    *UPGRADES,
    *SIZES,
    *SMUGGLING,
]

assert len({attack.name for attack in ATTACKS}) == len(ATTACKS)
