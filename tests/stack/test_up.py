"""``mvstack up``: a stranger's way through it, and what becomes of its processes."""

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("supervisor", reason="the extra 'stack' is not installed")

from click.testing import CliRunner

import chromium
from mvsqlite_stack.commands.up import down
from mvsqlite_stack.errors import StackError
from mvsqlite_stack.up.running import only_one, prepare
from mvsqlite_stack.up.trial import at, declare
from trial_kit import DOMAIN, PATIENCE, Up, trial, wait_for

NOTES, LOGIN, STATUS = f"notes.{DOMAIN}", f"login.{DOMAIN}", f"status.{DOMAIN}"
PAGE = "text/html"


@pytest.fixture(scope="module")
def up() -> Iterator[Up]:
    """A trial that runs."""
    with trial() as one:
        one.up()
        yield one


@pytest.fixture
def fresh() -> Iterator[Up]:
    """A trial that was never started."""
    with trial() as one:
        yield one


@pytest.fixture(scope="module")
def tab(up: Up, tmp_path_factory: pytest.TempPathFactory) -> Iterator[chromium.Page]:
    if chromium.PROGRAM is None:
        pytest.skip("no chromium on PATH; make setup installs it")
    with chromium.browser(tmp_path_factory.mktemp("chromium"), key_hash(up)) as one:
        yield one


def key_hash(up: Up) -> str:
    """That by which Chromium is told to take the certificate."""
    import base64
    import hashlib

    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    certificate = x509.load_pem_x509_certificate((up.place / "tls/fullchain.pem").read_bytes())
    public = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(hashlib.sha256(public).digest()).decode()


def sign_in(tab: chromium.Page, up: Up, user: str) -> None:
    """From the app's address to wherever that leads."""
    tab.call("Network.clearBrowserCookies")
    tab.go(f"https://{NOTES}:{up.https}/")
    tab.wait(f"location.host === '{LOGIN}:{up.https}'")
    tab.value("document.querySelector('#name').focus()")
    tab.type(user)
    tab.value("document.querySelector('#password').focus()")
    tab.type(up.password(user))
    tab.press("Enter")


def add(tab: chromium.Page, text: str) -> None:
    tab.value("document.querySelector('textarea').focus()")
    tab.type(text)
    tab.value("document.querySelector('form[action=\"/add\"] button').click()")
    tab.wait(f"document.body.innerText.includes('{text}') && !document.querySelector('textarea').value")


# ---- a visitor -----------------------------------------------------------------------


def test_a_deleted_list_comes_back_with_the_command_that_was_printed(up: Up, tab: chromium.Page) -> None:
    sign_in(tab, up, "anna")
    tab.wait(f"location.host === '{NOTES}:{up.https}' && document.readyState === 'complete'")
    assert "Signed in as Anna" in tab.text()
    for text in ("buy bread", "call the plumber"):
        add(tab, text)
    tab.value("document.querySelector('form[action=\"/delete-all\"] button').click()")
    tab.wait("document.body.innerText.includes('There are no notes.')")
    log = up.run(*up.command("mvrevert log"))
    assert "note -2" in log.stdout, log.stdout + log.stderr
    undo = up.run(*up.command("mvrevert undo"))
    assert undo.returncode == 0, undo.stdout + undo.stderr
    tab.go(f"https://{NOTES}:{up.https}/")
    assert "buy bread" in tab.text()
    assert "call the plumber" in tab.text()


def test_a_shared_note_is_public_and_nothing_else(up: Up, tab: chromium.Page) -> None:
    sign_in(tab, up, "anna")
    tab.wait(f"location.host === '{NOTES}:{up.https}' && document.readyState === 'complete'")
    add(tab, "for everybody")
    tab.value("document.querySelector('form[action$=\"/share\"] button').click()")
    tab.wait("!!document.querySelector('a[href^=\"/share/\"]')")
    address = tab.value("document.querySelector('a[href^=\"/share/\"]').getAttribute('href')")
    assert up.ask(NOTES, address) == 200
    assert up.ask(NOTES, f"{address}x") == 404
    assert up.ask(NOTES) == 401


def test_a_user_of_no_group_may_not_enter(up: Up, tab: chromium.Page) -> None:
    sign_in(tab, up, "ben")
    tab.wait("document.body.innerText.includes('Notes is not open to you')")
    tab.go(f"https://{NOTES}:{up.https}/")
    assert not tab.value("!!document.querySelector('textarea')")


def test_without_a_session_nothing_private_is_served(up: Up) -> None:
    assert up.ask(NOTES) == 401
    assert up.ask(NOTES, accept=PAGE) in (302, 303)
    assert up.ask(NOTES, "/share/../", accept="*/*") in (400, 401)
    assert up.ask(LOGIN, accept=PAGE) == 200
    assert up.ask(STATUS, accept=PAGE) == 200


def test_only_their_owner_can_read_passwords_and_keys(up: Up) -> None:
    for name in ("users.txt", "ca/ca.key", "tls/privkey.pem", "run/supervisord.conf"):
        assert (up.place / name).stat().st_mode & 0o077 == 0, name
    assert up.password("anna") in (up.place / "users.txt").read_text()
    assert up.place.stat().st_mode & 0o077 == 0


def test_it_listens_on_loopback_only(up: Up) -> None:
    open_to_all = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            address, port = line.split()[1].split(":")
            if line.split()[3] == "0A" and set(address) == {"0"}:
                open_to_all.add(int(port, 16))
    ports = [int(line.split("=")[1].split()[0]) for line in _ports(up)]
    assert len(ports) >= 5
    assert open_to_all.isdisjoint({*ports, up.https, up.http})


def _ports(up: Up) -> list[str]:
    text = (up.place / "stack.toml").read_text()
    names = ("https", "http", "sign_in", "certificates", "status", "status_page", "port")
    return [line for line in text.splitlines() if line.split(" = ")[0] in names]


# ---- its processes -------------------------------------------------------------------


def test_a_second_start_says_that_it_runs_already(up: Up) -> None:
    again = up.mvstack("up", "t")
    assert again.returncode == 0
    assert "runs already" in again.stdout
    assert "down t" in again.stdout


@pytest.mark.parametrize("name", ["app-notes", "gateway", "signin", "status"])
def test_a_killed_program_comes_back(up: Up, name: str) -> None:
    before = up.states()[name].pid
    os.kill(before, signal.SIGKILL)  # the gateway's workers live on, and hold its ports
    wait_for(f"another {name}", lambda: up.states()[name].pid not in (0, before))
    host, status = {"signin": (LOGIN, 200), "status": (STATUS, 200)}.get(name, (NOTES, 401))
    wait_for("an answer", lambda: up.answers(host, status))
    wait_for("word of it", lambda: f"{name} is started again" in up.told())


def test_told_to_end_it_leaves_nothing_and_loses_nothing(fresh: Up) -> None:
    process = fresh.up()
    password = fresh.password("anna")
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE) == 0
    assert "Stopped." in fresh.told()
    assert fresh.nothing_left()
    assert fresh.begin("--detach").wait(PATIENCE) == 0, fresh.told()
    assert password not in fresh.told()
    assert password in (fresh.place / "users.txt").read_text()
    assert fresh.ask(LOGIN, accept=PAGE) == 200
    shown = fresh.mvstack("up", "t", "--status")
    assert all(name in shown.stdout for name in ("app-notes", "gateway", "signin", "status"))
    supervisor = int((fresh.place / "run/supervisord.pid").read_text())
    os.kill(supervisor, signal.SIGSTOP)  # one that hangs is ended too
    ended = fresh.mvstack("down", "t")
    assert (ended.returncode, ended.stdout) == (0, "Stopped.\n")
    assert fresh.nothing_left()
    assert fresh.mvstack("up", "t", "--status").returncode == 1


def test_killed_it_leaves_nothing_either(fresh: Up) -> None:
    process = fresh.up()
    assert len(fresh.processes()) >= 5
    process.kill()
    process.wait()
    wait_for("the end of all", fresh.nothing_left)


# ---- what can go wrong ---------------------------------------------------------------


def test_what_is_in_the_way_is_named_with_the_way_out(fresh: Up) -> None:
    with socket.create_server(("127.0.0.1", fresh.https)):
        assert fresh.begin().wait(PATIENCE) == 1
    assert f"port {fresh.https} (the gateway's) is in use" in fresh.told()
    assert "--port" in fresh.told()
    file = fresh.place / "stack.toml"
    file.write_text(file.read_text().replace('"mvsqlite_stack.demo_app", ', '"no_such_module", '))
    assert fresh.begin().wait(PATIENCE) == 1
    assert "app-notes: does not start" in fresh.told()
    assert "No module named no_such_module" in fresh.told()
    assert fresh.nothing_left()


def test_a_directory_that_cannot_be_used_is_refused(tmp_path: Path) -> None:
    for name, why in (("a place", "characters"), ("x" * 90, "too long for a socket")):
        with pytest.raises(StackError, match=why):
            at(tmp_path / name)
    answer = CliRunner().invoke(down, [str(tmp_path / "nowhere")])
    assert isinstance(answer.exception, StackError)
    assert "nothing was ever started there" in str(answer.exception)


def test_what_is_for_systemd_is_not_written_anywhere(tmp_path: Path) -> None:
    place = at(tmp_path / "t")
    table = 'on = "home"\nport = 8499\nallow = ["*"]\nimage = "docker.io/some/pad:1.0"\n'
    with only_one(place):
        declare(place, None, None)
        with place.declaration.open("a") as file:
            file.write(f"\n[apps.pad]\n{table}")
        prepared = prepare(place, None, None)
    assert prepared.not_run == {"pad": "it is a container"}
    assert [one.name for one in prepared.programs] == ["signin", "app-notes", "status", "gateway"]
    written = {str(path.relative_to(place.directory / "etc")) for path in place.directory.glob("etc/*/*")}
    assert written >= {"nginx/nginx.conf", "signin/signin.toml", "status/status.toml"}
    assert not [name for name in written if name.startswith(("systemd/", "containers/", "kong/"))]
    assert not list(Path("/etc/containers/systemd").glob("*pad*"))
    assert "pad" not in (place.directory / "etc/status/status.toml").read_text()
