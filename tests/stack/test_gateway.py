"""The gateway from outside: what it refuses, and what it must let through, with the real sign-in service."""

import contextlib
import itertools
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from attacks import ATTACKS, UPGRADE, Attack
from child import open_to_everyone
from exchange import Answer, Request
from gateways import PATIENCE, Gateway, in_process, kong, new_session, nginx, no_kong, opened
from household import FEEDS, HEADER_KILOBYTES, LOGIN, NOTES, STATUS, WIKI, cookie
from kong_model import KongModel
from mvsqlite_stack.render.identity import COOKIE, FORGED, IDENTITY

BROWSER = ("Accept", "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8")
GATEWAYS = {"nginx": nginx} if no_kong() else {"nginx": nginx, "kong": kong}


REAL_KONG = [name for name in GATEWAYS if name == "kong"]


@pytest.fixture(scope="module", params=GATEWAYS)
def gateway(request: pytest.FixtureRequest) -> Iterator[Gateway]:
    with open_to_everyone() as directory, GATEWAYS[request.param](Path(directory)) as running:
        yield running


def signed_in(gateway: Gateway, user: str = "anna") -> tuple[str, str]:
    return cookie(gateway.household.tokens.good(user))


def let_through(answer: Answer, app: str = "notes") -> None:
    assert (answer.status, [one.app for one in answer.seen]) == (200, [app])


def test_a_real_kong_is_among_the_gateways() -> None:
    why = no_kong()
    if why:
        pytest.skip(why)
    assert "kong" in GATEWAYS


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_an_attack_reaches_no_app(gateway: Gateway, attack: Attack) -> None:
    answer = gateway.ask(attack.make(gateway.household.tokens))
    assert answer.seen == []
    assert answer.status in attack.statuses


def test_a_user_with_a_token_gets_in(gateway: Gateway) -> None:
    answer = gateway.ask(Request(headers=(signed_in(gateway),)))
    let_through(answer)
    assert answer.seen[0].target == "/notes/1"


def test_the_app_is_told_who_it_is(gateway: Gateway) -> None:
    seen = gateway.ask(Request(headers=(signed_in(gateway),))).seen[0]
    assert seen.values("X-Auth-User") == ["anna"]
    assert seen.values("X-Auth-Name") == ["Anna %C3%84rmel"]
    assert seen.values("X-Auth-Groups") == ["family"]


def forged(value: str) -> tuple[tuple[str, str], ...]:
    """Every header that could be believed, in every spelling that an app may read alike."""
    spellings = [name for header in FORGED for name in (header, header.lower(), header.replace("-", "_"))]
    return tuple((name, value) for name in spellings)


@pytest.mark.parametrize(
    "target", ["/notes/1", "/share/1", "/about"], ids=["private", "public below a path", "public path"]
)
@pytest.mark.parametrize("padding", [0, 150], ids=["few headers", "many headers"])
def test_no_app_hears_who_the_client_says_it_is(gateway: Gateway, target: str, padding: int) -> None:
    headers = tuple((f"X-Padding-{i}", "x") for i in range(padding))
    answer = gateway.ask(Request(target=target, headers=(signed_in(gateway), *headers, *forged("mallory"))))
    let_through(answer)
    assert [header for header in answer.seen[0].headers if "mallory" in header[1]] == []


def test_no_public_app_hears_who_the_client_says_it_is(gateway: Gateway) -> None:
    answer = gateway.ask(Request(host=WIKI, sni=WIKI, headers=forged("mallory")))
    let_through(answer, "wiki")
    assert [header for header in answer.seen[0].headers if "mallory" in header[1]] == []


def test_an_identity_cannot_be_taken_away_as_belonging_to_the_connection(gateway: Gateway) -> None:
    headers = (signed_in(gateway), ("Connection", "close, X-Auth-User"))
    answer = gateway.ask(Request(headers=headers))
    if gateway.name == "nginx":
        assert answer.seen[0].values("X-Auth-User") == ["anna"]
    else:
        assert (answer.status, answer.seen) == (400, [])


@pytest.mark.parametrize(
    ("sent", "arrives"),
    [
        ("{token}", []),
        ("a=1; {token}", ["a=1"]),
        ("{token}; b=2", ["b=2"]),
        ("a=1; {token}; b=2", ["a=1; b=2"]),
        ("a=1;{token};b=2", ["a=1; b=2"]),
        ("not_session_jwt=1; {token}", ["not_session_jwt=1"]),
        ("a=session_jwt; {token}", ["a=session_jwt"]),
    ],
)
def test_the_token_is_not_for_apps_and_other_cookies_are(
    gateway: Gateway, sent: str, arrives: list[str]
) -> None:
    token = "=".join((COOKIE, gateway.household.tokens.good()))
    answer = gateway.ask(Request(headers=(("Cookie", sent.format(token=token)),)))
    let_through(answer)
    assert answer.seen[0].values("Cookie") == arrives


@pytest.mark.parametrize(
    "sent",
    [
        "{token}",
        "{token}; {token}; {token}",
        "SESSION_JWT=x; a=1",
        "a=1; {token}; b=2; {token}; c=3; {token}",
        " {token}",
    ],
)
def test_the_token_never_reaches_public_pages_either(gateway: Gateway, sent: str) -> None:
    token = gateway.household.tokens.good()
    answer = gateway.ask(
        Request(target="/about", headers=(("Cookie", sent.format(token=f"{COOKIE}={token}")), cookie(token)))
    )
    let_through(answer)
    arrived = "".join(answer.seen[0].values("Cookie")).lower()
    assert token.lower() not in arrived
    assert f"{COOKIE}=" not in arrived


def test_another_users_token_beside_ours_is_not_mixed_up_with_it(gateway: Gateway) -> None:
    ours, theirs = gateway.household.tokens.good(), gateway.household.tokens.good("ben", apps=("feeds",))
    for pair in ((ours, theirs), (theirs, ours)):
        headers = (("Cookie", "; ".join(f"{COOKIE}={token}" for token in pair)),)
        answer = gateway.ask(Request(headers=headers))
        assert (answer.status, answer.seen) == (401, [])


@pytest.mark.parametrize(
    "target",
    [
        "/about",
        "/about?x=/../notes",
        "/share",
        "/share/",
        "/share/a",
        "/share/a.b/c%20d/%C3%A9?q=%2f",
        "/share/x/",
    ],
)
def test_what_is_declared_public_is_public(gateway: Gateway, target: str) -> None:
    answer = gateway.ask(Request(target=target))
    let_through(answer)
    assert answer.seen[0].target == target
    assert [answer.seen[0].values(name) for name in IDENTITY] == [[], [], []]


def test_a_public_app_asks_nobody(gateway: Gateway) -> None:
    let_through(gateway.ask(Request(host=WIKI, sni=WIKI)), "wiki")


def test_browsers_are_sent_to_sign_in_with_the_way_back(gateway: Gateway) -> None:
    answer = gateway.ask(Request(target="/notes/1?a=1&b=%C3%A9+%26", headers=(BROWSER,)))
    assert answer.status == 302
    to = urlsplit(answer.values("Location")[0])
    port = gateway.household.stack.ports.https
    assert (to.scheme, to.netloc, to.path) == ("https", f"{LOGIN}:{port}", "/")
    assert parse_qs(to.query) == {"to": [f"https://{NOTES}:{port}/notes/1?a=1&b=%C3%A9+%26"]}


@pytest.mark.parametrize(
    ("method", "accept"), [("GET", "application/json"), ("GET", "*/*"), ("POST", BROWSER[1])]
)
def test_programs_get_401(gateway: Gateway, method: str, accept: str) -> None:
    answer = gateway.ask(Request(method=method, headers=(("Accept", accept),)))
    assert answer.status == 401
    assert answer.values("Location") == []


def test_what_an_app_answers_itself_is_not_touched(gateway: Gateway) -> None:
    answer = gateway.ask(Request(target="/own-401", headers=(signed_in(gateway), BROWSER)))
    assert (answer.status, len(answer.seen)) == (401, 1)


def test_an_app_does_not_steer_the_gateway(gateway: Gateway) -> None:
    """A public page that asks nginx for another one in its place would open what is private."""
    answer = gateway.ask(Request(target="/share/accel"))
    assert [one.target for one in answer.seen] == ["/share/accel"]


def test_security_headers(gateway: Gateway) -> None:
    for request in (Request(headers=(signed_in(gateway),)), Request(target="/about"), Request()):
        answer = gateway.ask(request)
        assert [value.split(";")[0] for value in answer.values("Strict-Transport-Security")] == [
            "max-age=31536000"
        ]
        assert answer.values("X-Content-Type-Options") == ["nosniff"]
        assert answer.values("X-Powered-By") == []
        assert "/" not in "".join(answer.values("Server")), "a version"
    framed = gateway.ask(Request(target="/framed", headers=(signed_in(gateway),)))
    assert framed.values("X-Frame-Options") == ["DENY"], "what the app says itself stands"


def test_cookies_of_apps_pass(gateway: Gateway) -> None:
    assert "own=1; Path=/" in gateway.ask(Request(headers=(signed_in(gateway),))).values("Set-Cookie")


def test_uploads_up_to_the_limit_pass(gateway: Gateway) -> None:
    body = b"x" * (1024 * 1024 - 1)
    answer = gateway.ask(Request(method="POST", headers=(signed_in(gateway),), body=body))
    let_through(answer)
    assert answer.seen[0].size == len(body)


def test_chunked_uploads_pass(gateway: Gateway) -> None:
    head = Request(method="POST", headers=(signed_in(gateway), ("Transfer-Encoding", "chunked")))
    answer = gateway.send(head.encoded(gateway.address[1]) + b"5\r\nabcde\r\n0\r\n\r\n", NOTES, "POST")
    let_through(answer)
    assert answer.seen[0].size == 5


def test_websockets_pass(gateway: Gateway) -> None:
    request = Request(target="/socket", headers=(signed_in(gateway), *UPGRADE))
    with gateway.connect(NOTES) as connection:
        connection.sendall(request.encoded(gateway.address[1]))
        head = b""
        while b"\r\n\r\n" not in head:
            head += connection.recv(4096)
        assert head.startswith(b"HTTP/1.1 101")
        connection.sendall(b"any bytes")
        assert connection.recv(4096) == b"any bytes"


def test_too_many_requests_are_refused(gateway: Gateway) -> None:
    statuses = [gateway.ask(Request(host=FEEDS, sni=FEEDS)).status for _ in range(12)]
    assert 429 in statuses
    assert set(statuses) <= {401, 429}


@pytest.mark.parametrize("what", ["TLS", "header", "drops", "body"])
def test_slow_clients_are_not_waited_for(gateway: Gateway, what: str) -> None:
    if what == "TLS":
        connection: socket.socket = socket.create_connection(gateway.address, PATIENCE)
    else:
        connection = gateway.connect(NOTES)
    request = Request(method="POST", headers=(signed_in(gateway),), body=b"x" * 1000).encoded(
        gateway.address[1]
    )
    first = {"TLS": b"\x16", "header": request[:40], "drops": b"", "body": request[:-500]}[what]
    with connection:
        connection.settimeout(PATIENCE)
        connection.sendall(first)
        if what == "drops":
            drip(connection, request[:-1000])
        answer = b""
        with contextlib.suppress(ConnectionError):
            while data := connection.recv(4096):  # until the gateway ends it, or PATIENCE
                answer += data
    assert answer[:12] in (b"", b"HTTP/1.1 408", b"HTTP/1.1 400", b"HTTP/1.1 502", b"HTTP/1.1 504")


def drip(connection: socket.socket, data: bytes) -> None:
    """A byte now and then, until the gateway has had enough; it may not take all of them."""
    pause = threading.Event()
    deadline = time.monotonic() + PATIENCE / 2
    try:
        for i in itertools.count():
            assert time.monotonic() < deadline, "the gateway waits for ever"
            connection.sendall(data[i : i + 1])
            pause.wait(0.1)
    except OSError:
        return


@pytest.mark.parametrize("host", [NOTES, LOGIN, STATUS, WIKI])
def test_plain_http_only_leads_to_https(gateway: Gateway, host: str) -> None:
    if "MVSTACK_KONG_PROXY" in os.environ and gateway.name == "kong":
        pytest.skip("where this Kong listens for HTTP is not known")
    ports = gateway.household.stack.ports
    with socket.create_connection(("127.0.0.1", ports.http), PATIENCE) as connection:
        connection.sendall(f"GET /a?b=c HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: connection.recv(4096), b"")).decode()
    assert answer.startswith("HTTP/1.1 308")
    assert f"location: https://{host}" in answer.lower()
    assert "/a?b=c" in answer


def test_the_status_page_is_for_everybody_and_learns_nothing_of_them(gateway: Gateway) -> None:
    token = gateway.household.tokens.good()
    headers = (
        ("Cookie", f"a=1; {COOKIE}={token}; b=2"),
        ("Authorization", "Bearer mallory"),
        *UPGRADE,
        *forged("mallory"),
    )
    for one in ((), headers):
        answer = gateway.ask(Request(target="/status.json?a=b", host=STATUS, sni=STATUS, headers=one))
        let_through(answer, "status")
        seen = answer.seen[0]
        assert seen.target == "/status.json?a=b"
        assert [seen.values(name) for name in ("Cookie", "Authorization", *FORGED)] == [[]] * (
            len(FORGED) + 2
        )
        assert [header for header in seen.headers if token in header[1] or "mallory" in header[1]] == []


def test_sign_in_is_reached_and_sees_its_cookies(gateway: Gateway) -> None:
    answer = gateway.ask(Request(target="/", host=LOGIN, sni=LOGIN, headers=(BROWSER,)))
    assert answer.status == 200
    assert answer.seen == []
    assert b"<form" in answer.body


FROM_ELSEWHERE = tuple(
    (name, "6.6.6.6")
    for name in (
        "X-Forwarded-For",
        "X-Real-IP",
        "X-Forwarded-Host",
        "X-Forwarded-Proto",
        "X-Forwarded-Uri",
        "X-Forwarded-Method",
        "Forwarded",
        "X_Forwarded_For",
        "X_Real_IP",
    )
)


@pytest.mark.parametrize("target", ["/notes/1", "/about"])
def test_an_app_hears_from_the_gateway_alone_where_a_request_came_from(gateway: Gateway, target: str) -> None:
    request = Request(target=target, headers=(signed_in(gateway), *FROM_ELSEWHERE), port=":1")
    answer = gateway.ask(request)
    let_through(answer)
    seen, here = answer.seen[0], f"{NOTES}:{gateway.household.stack.ports.https}"
    assert [header for header in seen.headers if "6.6.6.6" in header[1]] == []
    assert (seen.values("X-Forwarded-For"), seen.values("X-Real-IP")) == (["127.0.0.1"], ["127.0.0.1"])
    assert (seen.values("Host"), seen.values("X-Forwarded-Host")) == ([here], [here])
    assert seen.values("X-Forwarded-Proto") == ["https"]


@pytest.mark.parametrize(
    "target", ["/a//b/%2f/..%2f?x=/../", "/%61?", "/share/%c3%a9?a=%2F", "/share/~a%20b"]
)
def test_an_app_gets_the_address_as_the_client_wrote_it(gateway: Gateway, target: str) -> None:
    answer = gateway.ask(Request(target=target, headers=(signed_in(gateway),)))
    let_through(answer)
    assert answer.seen[0].target == target


@pytest.mark.parametrize("target", ["/notes/1", "/about"])
def test_an_upload_beyond_the_limit_does_not_arrive_in_pieces_either(gateway: Gateway, target: str) -> None:
    request = Request(
        target=target, method="POST", headers=(signed_in(gateway), ("Transfer-Encoding", "chunked"))
    )
    body = (b"10000\r\n" + b"x" * 65536 + b"\r\n") * 32 + b"0\r\n\r\n"
    answer = gateway.send(request.encoded(gateway.address[1]) + body, NOTES, "POST")
    assert answer.status == 413
    assert [one for one in answer.seen if one.size] == []


def what_happened(answer: Answer) -> tuple[object, ...]:
    """Of an answer, what Kong and its interpreter must agree on."""
    names = (*FORGED, "Cookie", "Host", "Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X_Real_IP")
    ours = {name.lower() for name in names}
    seen = [
        (
            one.app,
            one.method,
            one.target,
            one.size,
            sorted((n.lower(), v) for n, v in one.headers if n.lower() in ours),
        )
        for one in answer.seen
    ]
    return answer.status, answer.values("Location"), seen


def ordinary(token: str) -> list[Request]:
    """Requests that are let through, or nearly."""
    targets = [
        "/",
        "/a//b",
        "/a/../b",
        "/%61%2f%2F%c3%a9?x=%2f",
        "/a%20b;c",
        "/?",
        "/caf%e9",
        "/about",
        "/share/%C3%A9 ",
    ]
    made = [Request(target=target.strip(), headers=(cookie(token),)) for target in targets]
    made += [Request(target=one.target, headers=(BROWSER,)) for one in made]
    made += [
        Request(headers=(cookie(token), *forged("mallory"))),
        Request(target="/about", headers=forged("x")),
    ]
    made += [Request(headers=(cookie(token), *FROM_ELSEWHERE)), Request(target="/about", port=":1")]
    made += [Request(host=WIKI, sni=WIKI, headers=(("Cookie", f"a=1; {COOKIE}={token}"),))]
    made += [
        Request(headers=(cookie(token), ("Connection", named)))
        for named in ("close", "TE, close", "x-auth-user")
    ]
    return made


@pytest.mark.parametrize("gateway", REAL_KONG, indirect=True)
def test_the_interpreter_of_kong_says_what_kong_does(gateway: Gateway) -> None:
    household, port = gateway.household, gateway.address[1]
    text = (household.directory / "rendered/home/kong/kong.yml").read_text()
    requests = [attack.make(household.tokens) for attack in ATTACKS] + ordinary(household.tokens.good())
    with opened(household) as service:
        model = KongModel(text, HEADER_KILOBYTES * 1024, port, in_process(service))
        differ = [
            (request, real, said)
            for request in requests
            if (real := what_happened(gateway.ask(request))) != (said := what_happened(model.ask(request)))
        ]
    assert differ == []


def test_a_session_that_has_ended_is_over(gateway: Gateway) -> None:
    with opened(gateway.household) as service:
        session, account = new_session(service, "anna"), service.accounts.find("anna")
        assert account is not None
        token = cookie(gateway.household.tokens.good(sid=session))
        let_through(gateway.ask(Request(headers=(token,))))
        service.sessions.revoke(account, "test", only=session)
    assert gateway.ask(Request(headers=(token,))).status == 401
    page = gateway.ask(Request(headers=(token, BROWSER)))
    assert (page.status, page.seen) == (302, [])


def test_a_token_in_the_second_half_of_its_life_is_renewed(gateway: Gateway) -> None:
    tokens = gateway.household.tokens
    claims = tokens.claims()
    old = tokens.signed({**claims, "iat": claims["iat"] - 200, "exp": claims["iat"] + 20})
    answer = gateway.ask(Request(headers=(cookie(old),)))
    let_through(answer)
    renewed = [value for value in answer.values("Set-Cookie") if value.startswith(f"{COOKIE}=")]
    assert len(renewed) == 1
    assert "HttpOnly" in renewed[0]
