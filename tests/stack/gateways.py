"""Gateways to attack: nginx, and Kong where there is one. Both are asked over TLS, byte by byte."""

import contextlib
import http.client
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
import starlette.requests

from echo import serving
from exchange import Answer, Request, Seen
from household import APPS, Household, declare
from mvsqlite_stack import render
from mvsqlite_stack.signin.activity import Visitor
from mvsqlite_stack.signin.service import Service
from mvsqlite_stack.signin.settings import read
from mvsqlite_stack.signin.web import machine

PATIENCE = 40.0
"""Seconds that a server may take to start, to answer, or to end."""


def wait_for(what: str, condition: Callable[[], object]) -> None:
    deadline, pause = time.monotonic() + PATIENCE, threading.Event()
    while not condition():
        assert time.monotonic() < deadline, f"waited {PATIENCE} s for {what}"
        pause.wait(0.02)


def listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


class Gateway:
    """A gateway that runs: what it answers, and what it lets through."""

    def __init__(self, name: str, household: Household, seen: list[Seen], address: tuple[str, int]) -> None:
        self.name, self.household, self._seen, self.address = name, household, seen, address
        self._context = ssl.create_default_context(cafile=household.directory / "cert.pem")

    def connect(self, sni: str) -> ssl.SSLSocket:
        plain = socket.create_connection(self.address, PATIENCE)
        return self._context.wrap_socket(plain, server_hostname=sni)

    def ask(self, request: Request) -> Answer:
        return self.send(request.encoded(self.address[1]), request.sni, request.method)

    def send(self, data: bytes, sni: str, method: str) -> Answer:
        """What comes of these bytes; method: of the request in them."""
        self._seen.clear()
        try:
            with self.connect(sni) as connection:
                with contextlib.suppress(OSError):  # refused before it had everything
                    connection.sendall(data)
                return self._answer(connection, method)
        except ssl.SSLError:
            return Answer(0, seen=list(self._seen))

    def _answer(self, connection: ssl.SSLSocket, method: str) -> Answer:
        response = http.client.HTTPResponse(connection, method=method)
        try:
            response.begin()
            body = response.read() if response.status != 101 else b""
        except (http.client.HTTPException, OSError):
            return Answer(0, seen=list(self._seen))
        finally:
            response.close()
        return Answer(response.status, tuple(response.headers.items()), body, list(self._seen))


@contextmanager
def process(command: list[str], log: Path, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """Runs a server for the length of a block, and shows what it said with a failure."""
    with log.open("wb") as file:
        server = subprocess.Popen(
            command, stdout=file, stderr=file, env=os.environ | environment, start_new_session=True
        )
    try:
        yield server
    finally:
        end_group(server.pid)
        server.wait(PATIENCE)
        sys.stdout.write(log.read_text(errors="replace"))


def end_group(leader: int) -> None:
    """Ends all that a server has begun, as systemd does."""

    def is_gone() -> bool:
        try:
            os.killpg(leader, signal.SIGTERM)
        except ProcessLookupError:
            return True
        with contextlib.suppress(ChildProcessError):
            os.waitpid(leader, os.WNOHANG)
        return False

    wait_for("the server's end", is_gone)


def write_rendered(household: Household) -> dict[str, Path]:
    """What a deployment would have, by folder and name."""
    files = render.files(household.stack, household.secrets.public_keys(), "stack.toml")
    found = {}
    for path, text in files.items():
        found[path.partition("/")[2]] = place = household.directory / "rendered" / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    return found


@contextmanager
def opened(household: Household) -> Iterator[Service]:
    """The sign-in service's parts, in this process, by its rendered settings but for where its keys lie."""
    settings = household.directory / "rendered" / household.stack.gateway_host / "signin/signin.toml"
    keys = household.secrets.directory / "signin/keys"
    settings.write_text(settings.read_text().replace("/var/lib/mvstack/signin/keys", str(keys)))
    service = Service(read(settings))
    try:
        yield service
    finally:
        service.close()


def new_session(service: Service, user: str) -> str:
    """Its id."""
    account = service.accounts.find(user)
    assert account is not None
    visitor = Visitor("127.0.0.1", "test")
    made = service.databases.activity.write(
        "test", lambda db: service.sessions.create(db, account, "test", visitor)
    )
    return made[0]


def add_users(household: Household, service: Service) -> None:
    """Accounts and a session for each user who is declared."""
    for name, user in household.stack.users.items():
        service.accounts.add(name, user.name or name, None, "test")
        household.tokens.sessions[name] = new_session(service, name)


def in_process(service: Service) -> Callable[[dict[str, str]], tuple[int, dict[str, str]]]:
    """Its answer to a gateway's question with these headers."""

    def verify(headers: dict[str, str]) -> tuple[int, dict[str, str]]:
        raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
        scope = {"type": "http", "method": "GET", "path": "/verify", "query_string": b"", "headers": raw}
        response = machine.verify(starlette.requests.Request(scope), service)
        return response.status_code, {name.title(): value for name, value in response.headers.items()}

    return verify


@contextmanager
def sign_in_service(household: Household, settings: Path) -> Iterator[None]:
    """The real service, with a session for each user."""
    with opened(household) as service:
        add_users(household, service)
    command = [sys.executable, "-m", "mvsqlite_stack.signin"]
    port = household.stack.ports.sign_in
    with process(command, household.directory / "signin.log", MVSTACK_SIGNIN=str(settings)) as server:
        wait_for("the sign-in service", lambda: listens(port) or server.poll() is not None)
        yield


def ports_of(household: Household, page: bool) -> dict[str, int]:
    """Of everything that tells what reaches it."""
    ports = {app: household.port_of(app) for app in APPS}
    return ports | {"status": household.stack.ports.status_page} if page else ports


@contextmanager
def household_for(
    directory: Path, gateway: str, *, page: bool = True, **ports: int
) -> Iterator[tuple[Household, list[Seen], Path]]:
    """Apps and sign-in that run, and the rendered files in a directory.

    page: whether something stands where the status page would, and tells what reaches it.
    """
    household = declare(directory, gateway, **ports)
    files = write_rendered(household)
    with ExitStack() as stack:
        seen = stack.enter_context(serving(ports_of(household, page)))
        stack.enter_context(sign_in_service(household, files["signin/signin.toml"]))
        yield household, seen, directory / "rendered" / household.stack.gateway_host


@contextmanager
def nginx(directory: Path, *, page: bool = True) -> Iterator[Gateway]:
    """Debian's nginx with the rendered configuration as it is."""
    program = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        pytest.skip("nginx is not installed: make setup installs it")
    with household_for(directory, "nginx", page=page) as (household, seen, rendered):
        prefix = directory / "prefix"
        prefix.mkdir()
        command = [program, "-p", str(prefix), "-e", "stderr", "-c", str(rendered / "nginx/nginx.conf")]
        port = household.stack.ports.https
        with process(command, directory / "nginx.log") as server:
            wait_for("nginx", lambda: listens(port) or server.poll() is not None)
            yield Gateway("nginx", household, seen, ("127.0.0.1", port))


def kong_program() -> str | None:
    """Kong's command, if it is installed."""
    return os.environ.get("MVSTACK_KONG_BIN") or shutil.which("kong")


def kong_runs_already() -> bool:
    return bool(os.environ.get("MVSTACK_KONG_PROXY") and os.environ.get("MVSTACK_KONG_ADMIN"))


def no_kong() -> str | None:
    """Why there is no Kong to test; None if there is one."""
    if kong_program() or kong_runs_already():
        return None
    return (
        "no Kong here: install it, set MVSTACK_KONG_BIN to its program, or MVSTACK_KONG_PROXY "
        "(https://ADDRESS:PORT) and MVSTACK_KONG_ADMIN (http://ADDRESS:PORT) to those of one that runs here"
    )


@contextmanager
def kong(directory: Path) -> Iterator[Gateway]:
    """A real Kong with the rendered declarations: our own process, or one that runs already."""
    program = kong_program()
    if program is None or kong_runs_already():
        context = kong_running(directory)
    else:
        context = kong_process(directory, program)
    with context as gateway:
        yield gateway


def kong_settings(directory: Path, rendered: Path) -> Path:
    """The rendered settings as they are, but for where they and Kong's own files lie."""
    settings = rendered / "kong/kong.conf"
    text = settings.read_text().replace("/etc/mvstack/kong/", f"{rendered}/kong/")
    settings.write_text(text.replace("/var/lib/mvstack-gateway", str(directory / "prefix")))
    return settings


@contextmanager
def kong_process(directory: Path, program: str) -> Iterator[Gateway]:
    with household_for(directory, "kong") as (household, seen, rendered):
        settings = kong_settings(directory, rendered)
        port = household.stack.ports.https
        command = [program, "start", "-c", str(settings)]
        with process(command, directory / "kong.log", KONG_NGINX_DAEMON="off") as server:
            wait_for("Kong", lambda: listens(port) or server.poll() is not None)
            gateway = Gateway("kong", household, seen, ("127.0.0.1", port))
            wait_for("Kong's routes", lambda: has_routes(gateway))
            yield gateway


def has_routes(gateway: Gateway) -> bool:
    with contextlib.suppress(ConnectionError):
        return gateway.ask(Request(target="/about")).status == 200
    return False


@contextmanager
def kong_running(directory: Path) -> Iterator[Gateway]:
    proxy = urlsplit(os.environ["MVSTACK_KONG_PROXY"])
    assert proxy.scheme == "https"
    assert proxy.hostname
    port = proxy.port or 443
    with household_for(directory, "kong", https=port) as (household, seen, rendered):
        admin = os.environ["MVSTACK_KONG_ADMIN"].rstrip("/")
        text = (rendered / "kong/kong.yml").read_text()
        answer = httpx.post(f"{admin}/config", json={"config": text}, timeout=PATIENCE)
        assert answer.status_code == 201, answer.text
        gateway = Gateway("kong", household, seen, (proxy.hostname, port))
        gateway._context.check_hostname = False
        gateway._context.verify_mode = ssl.CERT_NONE
        wait_for("Kong's routes", lambda: has_routes(gateway))
        yield gateway
