"""What is declared for Kong, run by an interpreter of it: the attacks, and each trap of Kong by itself."""

import copy
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml

from attacks import ATTACKS, Attack
from exchange import Request
from gateways import (
    add_users,
    in_process,
    kong_program,
    kong_settings,
    new_session,
    no_kong,
    opened,
    write_rendered,
)
from household import FEEDS, LOGIN, NOTES, STATUS, WIKI, Household, cookie, declare
from kong_model import KongModel
from mvsqlite_stack.render.identity import COOKIE, FORGED
from mvsqlite_stack.signin.service import Service

BROWSER = ("Accept", "text/html,*/*;q=0.8")


@pytest.fixture(scope="module")
def household(tmp_path_factory: pytest.TempPathFactory) -> Household:
    return declare(tmp_path_factory.mktemp("kong"), "kong")


@pytest.fixture(scope="module")
def files(household: Household) -> dict[str, str]:
    return {name: path.read_text() for name, path in write_rendered(household).items()}


@pytest.fixture(scope="module")
def text(files: dict[str, str]) -> str:
    return files["kong/kong.yml"]


@pytest.fixture(scope="module")
def service(household: Household, files: dict[str, str]) -> Iterator[Service]:
    assert "signin/signin.toml" in files
    with opened(household) as running:
        add_users(household, running)
        yield running


@pytest.fixture(scope="module")
def kong(text: str, household: Household, service: Service) -> KongModel:
    return KongModel(text, 8 * 1024, household.stack.ports.https, in_process(service))


def routes(kong: KongModel, kind: str) -> list[dict[str, Any]]:
    return [route for _, route in kong.routes if f"-{kind}" in route["name"]]


def plugin(route: dict[str, Any], name: str) -> dict[str, Any] | None:
    return next((one["config"] for one in route["plugins"] if one["name"] == name), None)


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_an_attack_reaches_no_app(kong: KongModel, household: Household, attack: Attack) -> None:
    answer = kong.ask(attack.make(household.tokens))
    assert answer.seen == []
    assert answer.status in attack.statuses | {302, 404}


def test_a_user_with_a_token_gets_in_and_the_app_is_told(kong: KongModel, household: Household) -> None:
    answer = kong.ask(
        Request(target="/notes/1?a=b", headers=(cookie(household.tokens.good()), ("Cookie", "a=1")))
    )
    assert answer.status == 200
    seen = answer.seen[0]
    assert (seen.app, seen.target) == ("notes", "/notes/1?a=b")
    assert (seen.values("X-Auth-User"), seen.values("Cookie")) == (["anna"], ["a=1"])


def test_tokens_of_every_key_that_is_kept_are_believed(household: Household, text: str) -> None:
    keys = household.secrets.public_keys()
    assert {key.role for key in keys} == {"signs", "next"}
    declared = yaml.safe_load(text)["consumers"][0]["jwt_secrets"]
    assert [(one["key"], one["rsa_public_key"], one["algorithm"]) for one in declared] == [
        (key.id, key.pem, "ES256") for key in keys
    ]


@pytest.mark.parametrize("request_", [Request(), Request(target="/about"), Request(host=WIKI)])
def test_security_headers_are_added(kong: KongModel, request_: Request) -> None:
    answer = kong.ask(request_)
    assert answer.values("Strict-Transport-Security") == ["max-age=31536000"]
    assert answer.values("X-Content-Type-Options") == ["nosniff"]


def test_browsers_are_sent_to_sign_in(kong: KongModel, household: Household) -> None:
    answer = kong.ask(Request(target="/notes/1?a=1&b=2", headers=(BROWSER,)))
    port = household.stack.ports.https
    assert answer.status == 302
    to = urlsplit(answer.values("Location")[0])
    assert to.netloc == f"{LOGIN}:{port}"
    assert parse_qs(to.query) == {"to": [f"https://{NOTES}:{port}/notes/1?a=1&b=2"]}


# ---- each trap ---------------------------------------------------------------------


def test_the_format_version_is_text(text: str) -> None:
    assert "\n_format_version: '3.0'\n" in text


def test_every_private_route_has_the_plugin_and_no_other_place(kong: KongModel) -> None:
    private = routes(kong, "private")
    assert [route["name"] for route in private] == ["notes-private", "feeds-private"]
    assert all(plugin(route, "jwt") is not None for route in private)
    assert "plugins" not in kong.data, "a global plugin exempts no route"
    assert not [service for service in kong.data["services"] if "plugins" in service]
    assert not [route for route in routes(kong, "public") if plugin(route, "jwt")]


def test_the_plugin_takes_the_cookie_only_and_checks_the_time(kong: KongModel) -> None:
    for route in routes(kong, "private"):
        config = plugin(route, "jwt")
        assert config is not None
        assert (config["uri_param_names"], config["header_names"]) == ([], [])
        assert config["cookie_names"] == [COOKIE]
        assert config["claims_to_verify"] == ["exp"]
        assert config["run_on_preflight"] is True
        assert config["key_claim_name"] == "iss"
        assert None not in (config["uri_param_names"], config["header_names"], config["cookie_names"])


def test_public_paths_end_where_they_end(kong: KongModel) -> None:
    for route in routes(kong, "public-"):
        assert all(path.startswith("~/") and path.endswith("$") for path in route["paths"])
    for path in ("/aboutx", "/about/x", "/sharex", "/share.x"):
        assert kong.ask(Request(target=path)).status == 401


def test_a_path_that_kong_reads_otherwise_than_it_was_written_is_private(kong: KongModel) -> None:
    """Kong merges slashes and resolves dots before it looks for a route."""
    for target in ("//about", "/x/../about", "/%61bout", "/share//a", "/./share/a"):
        assert kong.ask(Request(target=target)).status == 401
    assert kong.ask(Request(target="/share/a")).status == 200


def test_routes_keep_path_and_host(kong: KongModel) -> None:
    assert all(route["strip_path"] is False for _, route in kong.routes)
    assert all(route["preserve_host"] is True for _, route in kong.routes)


def test_hosts_are_exact_and_in_lower_case(kong: KongModel) -> None:
    hosts = [host for _, route in kong.routes for host in route["hosts"]]
    assert hosts
    assert all(host == host.lower() and "*" not in host and not host.endswith(".") for host in hosts)


def test_only_https_is_served(kong: KongModel) -> None:
    for _, route in kong.routes:
        assert (route["protocols"], route["https_redirect_status_code"]) == (["https"], 308)


@pytest.mark.parametrize(
    ("host", "target"), [(NOTES, "/notes/1"), (NOTES, "/share/1"), (NOTES, "/about"), (WIKI, "/")]
)
@pytest.mark.parametrize("padding", [0, 150])
@pytest.mark.parametrize(
    "spelling", [str, str.lower, lambda name: name.replace("-", "_")], ids=["as is", "lower", "_"]
)
def test_identities_are_taken_away_everywhere(
    kong: KongModel,
    household: Household,
    host: str,
    target: str,
    padding: int,
    spelling: Callable[[str], str],
) -> None:
    """Kong does not on public routes, passes underscores, and lets plugins see a hundred headers only."""
    many = tuple((f"X-Padding-{i}", "x") for i in range(padding))
    names = tuple((spelling(name), "mallory") for name in FORGED)
    answer = kong.ask(
        Request(target=target, host=host, headers=(cookie(household.tokens.good()), *many, *names))
    )
    assert answer.status == 200
    assert [header for header in answer.seen[0].headers if header[1] == "mallory"] == []


@pytest.mark.parametrize(("host", "target"), [(NOTES, "/notes/1"), (NOTES, "/about"), (WIKI, "/")])
def test_the_cookie_is_not_forwarded(kong: KongModel, household: Household, host: str, target: str) -> None:
    token = household.tokens.good()
    answer = kong.ask(
        Request(target=target, host=host, headers=(("Cookie", f"a=1; {COOKIE.upper()}={token}; b=2"),))
    )
    assert answer.status == 200
    assert answer.seen[0].values("Cookie") == ["a=1; b=2"]


def test_the_status_page_is_for_everybody_and_learns_nothing_of_them(
    kong: KongModel, household: Household
) -> None:
    sent = (("Cookie", f"a=1; {COOKIE}={household.tokens.good()}"), ("Authorization", "Bearer x"))
    answer = kong.ask(Request(host=STATUS, target="/status.json", headers=sent))
    assert answer.status == 200
    seen = answer.seen[0]
    assert (seen.app, seen.values("Cookie"), seen.values("Authorization")) == ("status", [], [])
    route = next(route for _, route in kong.routes if route["name"] == "status")
    assert plugin(route, "jwt") is None
    forged = tuple((name, "mallory") for name in FORGED)
    answer = kong.ask(Request(host=STATUS, target="/", headers=forged))
    assert [header for header in answer.seen[0].headers if header[1] == "mallory"] == []


def test_the_sign_in_service_gets_its_cookies(kong: KongModel) -> None:
    answer = kong.ask(Request(host=LOGIN, target="/", headers=(("Cookie", f"__Host-session=x; {COOKIE}=y"),)))
    assert answer.seen[0].values("Cookie") == [f"__Host-session=x; {COOKIE}=y"]


def test_tokens_that_kong_answers_with_500_lead_to_sign_in_too(kong: KongModel, household: Household) -> None:
    short = household.tokens.good().rpartition(".")[0] + ".YWJj"
    assert kong.ask(Request(headers=(cookie(short),))).status == 401
    assert kong.ask(Request(headers=(cookie(short), BROWSER))).status == 302


def test_a_session_that_has_ended_is_over(kong: KongModel, household: Household, service: Service) -> None:
    session, account = new_session(service, "anna"), service.accounts.find("anna")
    assert account is not None
    request = Request(headers=(cookie(household.tokens.good(sid=session)),))
    assert kong.ask(request).status == 200
    service.sessions.revoke(account, "test", only=session)
    assert kong.ask(request).status == 401


@pytest.mark.parametrize(
    "verify",
    [
        {"status": 500},
        {"status": 200},
        {"status": 302},
        {"status": 204, "X-Auth-User": "ben"},
        {"status": 204},
    ],
    ids=str,
)
def test_nobody_gets_in_while_the_sign_in_service_does_not_say_so(
    text: str, household: Household, service: Service, verify: dict[str, Any]
) -> None:
    assert service.settings
    said = {name: value for name, value in verify.items() if name != "status"}
    model = KongModel(text, 8 * 1024, household.stack.ports.https, lambda _: (verify["status"], said))
    answer = model.ask(Request(headers=(cookie(household.tokens.good()),)))
    assert (answer.status, answer.seen) == (503, [])


def test_nobody_gets_in_while_there_is_no_sign_in_service(text: str, household: Household) -> None:
    def refuse(_: dict[str, str]) -> tuple[int, dict[str, str]]:
        raise ConnectionRefusedError

    model = KongModel(text, 8 * 1024, household.stack.ports.https, refuse)
    assert model.ask(Request(headers=(cookie(household.tokens.good()),))).status == 503
    assert model.ask(Request(target="/about")).status == 200, "what is public does not need it"


def test_uploads_are_not_held_back_and_have_a_limit(kong: KongModel, files: dict[str, str]) -> None:
    for _, route in kong.routes:
        assert route["request_buffering"] is False
        assert plugin(route, "request-size-limiting") is not None
    assert "nginx_http_client_max_body_size = 100m" in files["kong/kong.conf"], (
        "for chunked bodies, which the plugin does not count"
    )


def test_requests_are_counted_before_kong_looks_at_tokens(files: dict[str, str], kong: KongModel) -> None:
    """Its own plugin comes after the jwt plugin: whoever has no token could ask without end."""
    assert "nginx_http_include = /etc/mvstack/kong/limits.conf" in files["kong/kong.conf"]
    for host in {host for _, route in kong.routes for host in route["hosts"]}:
        assert f"{{ {host} $binary_remote_addr; " in files["kong/limits.conf"]


def test_kong_loads_the_plugins_that_are_used_and_no_others(files: dict[str, str], kong: KongModel) -> None:
    used = sorted({one["name"] for _, route in kong.routes for one in route["plugins"]})
    assert f"plugins = {', '.join(used)}\n" in files["kong/kong.conf"]


def test_messages_go_where_systemd_takes_them(files: dict[str, str]) -> None:
    """Under systemd /dev/stderr is a socket, which cannot be opened; nginx has a name of its own for it."""
    assert "proxy_error_log = stderr\n" in files["kong/kong.conf"]
    assert "/dev/stderr" not in files["kong/kong.conf"]


# ---- the interpreter itself ----------------------------------------------------------


def broken(
    text: str, household: Household, service: Service, change: Callable[[dict[str, Any]], None]
) -> KongModel:
    """With every route of the declarations changed."""
    data = copy.deepcopy(yaml.safe_load(text))
    for one in data["services"]:
        for route in one["routes"]:
            change(route)
    return KongModel(yaml.safe_dump(data), 8 * 1024, household.stack.ports.https, in_process(service))


def without(name: str) -> Callable[[dict[str, Any]], None]:
    def change(route: dict[str, Any]) -> None:
        route["plugins"] = [one for one in route["plugins"] if one["name"] != name]

    return change


def with_jwt(**config: Any) -> Callable[[dict[str, Any]], None]:
    def change(route: dict[str, Any]) -> None:
        for one in route["plugins"]:
            if one["name"] == "jwt":
                one["config"] |= config

    return change


def prefixes(route: dict[str, Any]) -> None:
    route["paths"] = [
        path if path == "/" else "/" + path[2:].split("$")[0].split("(")[0] for path in route["paths"]
    ]
    route["plugins"] = [one for one in route["plugins"] if one["name"] != "post-function"]


@pytest.mark.parametrize(
    "change",
    [
        without("post-function"),
        without("request-size-limiting"),
        prefixes,
    ],
    ids=["no function", "no size", "prefixes"],
)
def test_the_attacks_find_what_is_missing(
    text: str, household: Household, service: Service, change: Callable[[dict[str, Any]], None]
) -> None:
    model = broken(text, household, service, change)
    assert [attack.name for attack in ATTACKS if model.ask(attack.make(household.tokens)).seen]


@pytest.mark.parametrize(
    "change",
    [
        with_jwt(uri_param_names=["jwt"]),
        with_jwt(header_names=["authorization"]),
        with_jwt(run_on_preflight=False),
        with_jwt(claims_to_verify=[]),
        without("jwt"),
    ],
    ids=["query", "header", "preflight", "no time checked", "no plugin"],
)
def test_one_missing_lock_opens_nothing_by_itself(
    text: str, household: Household, service: Service, change: Callable[[dict[str, Any]], None]
) -> None:
    """The function behind the plugin wants a token that the plugin has checked, and from the cookie."""
    model = broken(text, household, service, change)
    assert [attack.name for attack in ATTACKS if model.ask(attack.make(household.tokens)).seen] == []


def test_another_apps_host_has_another_permission(kong: KongModel, household: Household) -> None:
    token = household.tokens.good("ben", apps=("feeds",))
    assert kong.ask(Request(host=FEEDS, headers=(cookie(token),))).status == 200
    assert kong.ask(Request(host=NOTES, headers=(cookie(token),))).status == 403


@pytest.fixture(scope="module")
def program() -> str:
    found = kong_program()
    if found is None:
        pytest.skip(no_kong() or "the program of the Kong that runs is not known")
    return found


def said(*command: str) -> tuple[int, str]:
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout + done.stderr


def test_kong_itself_takes_the_files(program: str, household: Household, files: dict[str, str]) -> None:
    rendered = household.directory / "rendered/home"
    settings = str(kong_settings(household.directory, rendered))
    assert said(program, "check", settings) == (0, f"configuration at {settings} is valid\n")
    code, words = said(program, "config", "-c", settings, "parse", str(rendered / "kong/kong.yml"))
    assert (code, "parse successful" in words) == (0, True), words
    wrong = household.directory / "wrong.yml"
    wrong.write_text(files["kong/kong.yml"].replace("cookie_names", "cookies_names"))
    code, words = said(program, "config", "-c", settings, "parse", str(wrong))
    assert code != 0
    assert "cookies_names" in words


def test_the_file_is_what_it_says(tmp_path: Path, text: str) -> None:
    assert text.startswith("# Generated by mvstack from stack.toml")
    assert str(tmp_path) not in text
    assert "PRIVATE" not in text
