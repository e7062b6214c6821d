"""From stack.toml to a page that runs behind the real gateway and finds everything well."""

import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from child import open_to_everyone
from gateways import Gateway, listens, nginx, process, wait_for, write_rendered
from household import DOMAIN, LOGIN, NOTES, STATUS, Household, declare
from mvsqlite_stack import config, render
from mvsqlite_stack.errors import StackError
from mvsqlite_stack.status.settings import Settings, read

DECLARED = f"""\
[stack]
domain = "{DOMAIN}"
title = "Ann's house"
[hosts.home]
gateway = true
[apps.notes]
on = "home"
port = 8081
title = "Notebook"
allow = ["*"]
public_paths = ["/", "/share/*"]
[apps.diary]
on = "home"
port = 8082
allow = ["*"]
[apps.wiki]
on = "home"
port = 8083
public = true
"""


def settings_of(tmp_path: Path, more: str = "", text: str = DECLARED) -> Settings:
    text = text.replace("Ann's", "Ann")
    (tmp_path / "stack.toml").write_text(text + more)
    files = render.files(config.read(tmp_path / "stack.toml"), [], "stack.toml")
    (tmp_path / "status.toml").write_text(files["home/status/status.toml"])
    return read(tmp_path / "status.toml")


def test_what_is_declared_is_what_the_page_gets(tmp_path: Path) -> None:
    found = settings_of(tmp_path)
    assert (found.title, found.host, found.sign_in_host) == ("Ann house", STATUS, LOGIN)
    assert (found.connect, found.listen) == ("127.0.0.1:443", "127.0.0.1:8404")
    assert found.reports == Path("/var/lib/mvstack/reports")
    assert list(found.apps) == ["notes", "diary", "wiki"]
    notes, diary, wiki = found.apps.values()
    assert (notes.title, notes.host, notes.local) == ("Notebook", NOTES, "127.0.0.1:8081")
    assert (diary.outside, wiki.public) == ("/", True)
    assert notes.outside == "/.mvstack-status", "what is public says nothing about what is private"


def test_its_store_is_apart_from_the_accounts(tmp_path: Path) -> None:
    assert settings_of(tmp_path).store == "lmdb:/var/lib/mvstack-status/store"
    fdb = settings_of(tmp_path, '[store]\nurl = "fdb:/etc/foundationdb/fdb.cluster?prefix=a/"\n')
    assert fdb.store == fdb.cluster == "fdb:/etc/foundationdb/fdb.cluster?prefix=a/"


def test_everything_about_it_can_be_said(tmp_path: Path) -> None:
    found = settings_of(
        tmp_path,
        '[status]\nhost = "up.home.example.org"\nhide = ["diary"]\ncontact = "Ask Ann"\n'
        'connect = "dns"\ninterval_seconds = 60\nslow_seconds = 5\nauthority = "/etc/ca.pem"\n',
    )
    assert (found.host, found.connect, found.interval, found.slow) == ("up.home.example.org", "", 60, 5)
    assert (list(found.apps), found.contact, found.ca) == (["notes", "wiki"], "Ask Ann", Path("/etc/ca.pem"))
    text = (tmp_path / "status.toml").read_text()
    assert "diary" not in text
    assert settings_of(tmp_path, '[status]\nconnect = "2001:db8::1"\n').connect == "[2001:db8::1]:443"


@pytest.mark.parametrize("gateway", ["kong", "nginx"])
def test_nothing_of_it_is_rendered_when_it_is_not_wanted(tmp_path: Path, gateway: str) -> None:
    text = DECLARED.replace("Ann's", "Ann").replace("[hosts", f'gateway = "{gateway}"\n[hosts', 1)
    for enabled in ("true", "false"):
        (tmp_path / "stack.toml").write_text(text + f"[status]\nenabled = {enabled}\n")
        files = render.files(config.read(tmp_path / "stack.toml"), [], "stack.toml")
        there = {path for path in files if "status" in path}
        units = ("mvstack-status.service", "mvstack-gc-status.service", "mvstack-gc-status.timer")
        wanted = {"home/status/status.toml", *(f"home/systemd/{unit}" for unit in units)}
        assert there == (wanted if enabled == "true" else set())
        assert (STATUS in files[f"home/{gateway}/{'kong.yml' if gateway == 'kong' else 'nginx.conf'}"]) == (
            enabled == "true"
        )


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ('[status]\nhide = ["nothing"]\n', "there is no app 'nothing'"),
        ("[status]\ntimeout_seconds = 31\n", "until the next one"),
        ('[status]\nhost = "status.example.net"\n', "is not below the domain"),
        ('[status]\nhost = "wiki.home.example.org"\n', "is the host of the status page already"),
        ("[ports]\nstatus_page = 8083\n", "port 8083 on home is that of ports.status_page already"),
        ('[status]\nconnect = "a b"\n', "not allowed here"),
    ],
)
def test_mistakes_are_said(tmp_path: Path, more: str, words: str) -> None:
    with pytest.raises(StackError, match=words):
        settings_of(tmp_path, more)


def test_the_unit_sees_reports_and_nothing_else_of_other_services(tmp_path: Path) -> None:
    household = declare(tmp_path, "nginx")
    unit = write_rendered(household)["systemd/mvstack-status.service"]
    text = unit.read_text()
    assert "User=mvstack-status\n" in text
    assert "TemporaryFileSystem=/var/lib/mvstack:ro,mode=0755\n" in text
    assert "BindReadOnlyPaths=-/var/lib/mvstack/reports\n" in text
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd-analyze is not here")
    unit.write_text(text.replace("/opt/mvstack/bin/python", "/bin/true"))
    for command in (["verify"], ["security", "--offline=yes", "--threshold=30"]):
        said = subprocess.run([program, *command, unit], capture_output=True, text=True, check=False)
        assert said.returncode == 0, said.stdout[-2000:] + said.stderr


# ---- behind the gateway ---------------------------------------------------------------------


def page_settings(household: Household, directory: Path) -> Path:
    """As rendered, but for where its store and the authority of the test's certificate lie."""
    files = render.files(household.stack, [], "stack.toml")
    text = files["home/status/status.toml"].replace(
        "/var/lib/mvstack-status/store", f"{directory}/page-store"
    )
    text = text.replace("listen = ", f'ca = "{directory}/cert.pem"\nlisten = ')
    path = directory / "status.toml"
    path.write_text(text.replace("interval = 30", "interval = 1"))
    return path


def test_behind_the_real_gateway_everything_is_found_well() -> None:
    with open_to_everyone() as directory, nginx(directory, page=False) as gateway:
        settings = page_settings(gateway.household, directory)
        port = gateway.household.stack.ports.status_page
        command = [sys.executable, "-m", "mvsqlite_stack.status"]
        with process(command, directory / "page.log", MVSTACK_STATUS=str(settings)) as server:
            wait_for("the status page", lambda: listens(port) or server.poll() is not None)
            found_well(gateway, port)


def found_well(gateway: Gateway, port: int) -> None:
    with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:

        def states() -> dict[str, str]:
            return {one["id"]: one["state"] for one in client.get("/status.json").json()["parts"]}

        services = ("gateway", "sign-in", "app-notes", "app-feeds", "app-wiki", "store")
        wait_for("all to be well", lambda: {states()[part] for part in services} == {"up"})
        assert states()["certificates"] == "slow", "it ends in two days"
    from exchange import Request

    for target in ("/", "/status.json", "/metrics", "/incidents.atom"):
        answer = gateway.ask(Request(target=target, host=STATUS, sni=STATUS))
        assert answer.status == 200
        assert answer.values("Server") in ([], ["nginx"])
        assert answer.values("Strict-Transport-Security") == ["max-age=31536000"]
        assert len(answer.values("X-Frame-Options")) == 1
    with gateway.connect(STATUS) as connection:
        host = f"{STATUS}:{gateway.address[1]}"
        connection.sendall(
            f"GET /events HTTP/1.1\r\nHost: {host}\r\nAccept: text/event-stream\r\n\r\n".encode()
        )
        connection.settimeout(20)
        said = b""
        while b"event: checked" not in said:
            data = connection.recv(4096)
            assert data, "the gateway ended the stream"
            said += data
        assert b"text/event-stream" in said
