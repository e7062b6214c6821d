"""Fake apps, a clock, settings and a running status page."""

import contextlib
import os
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from mvsqlite_stack.status.settings import App, Settings

DOMAIN = "home.example.org"
STATUS, LOGIN, NOTES, WIKI = (f"{name}.{DOMAIN}" for name in ("status", "login", "notes", "wiki"))
START = 1_795_910_400
"""A moment for clocks: the beginning of a day."""
START_SECONDS = 30.0


class Clock:
    """Unix time as a test says."""

    def __init__(self, now: float = START) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def go(self, seconds: float) -> int:
        self.now += seconds
        return int(self.now)


def wait_for(what: str, condition: Callable[[], object], seconds: float = 15.0) -> None:
    deadline, pause = time.monotonic() + seconds, threading.Event()
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds} s for {what}"
        pause.wait(0.02)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def certificate(directory: Path, name: str, *, ends: timedelta = timedelta(days=40)) -> Path:
    """A self-signed one for the domain and the hosts below it, with its key, in one PEM file."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, DOMAIN)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=100))
        .not_valid_after(now + ends)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(f"*.{DOMAIN}")]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = directory / f"{name}.pem"
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM) + pem)
    return path


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "Gateway"

    def log_message(self, *_: object) -> None:
        """Says nothing."""

    def handle_one_request(self) -> None:
        with contextlib.suppress(OSError):
            super().handle_one_request()
            return
        self.close_connection = True

    def do_GET(self) -> None:
        host = self.headers.get("Host", "").partition(":")[0]
        self.server.asked.append((host, self.path, dict(self.headers)))
        says = self.server.says.get(host, 200)
        if says == "hang":
            self.server.released.wait(20)
            self.close_connection = True
            return
        if says == "reset":
            linger = b"\x01\x00\x00\x00\x00\x00\x00\x00"
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.connection.close()
            self.close_connection = True
            return
        status, location = says if isinstance(says, tuple) else (says, "")
        self.send_response(int(status))
        if location:
            self.send_header("Location", location)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")


class Gateway(ThreadingHTTPServer):
    """Answers for every host as it is told: a status, a redirect (status, place), ``hang`` or ``reset``."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, pem: Path | None = None) -> None:
        self.says: dict[str, Any] = {}
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        self.released = threading.Event()
        self._context = None
        if pem:
            self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            self._context.load_cert_chain(pem)
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"

    def finish_request(self, request: Any, client_address: Any) -> None:
        """The handshake happens in the connection's own thread."""
        if self._context:
            try:
                request = self._context.wrap_socket(request, server_side=True)
            except OSError:
                return
        with request:
            super().finish_request(request, client_address)

    def handle_error(self, *_: Any) -> None:
        """Clients that turn away are part of the tests."""

    def unblock(self) -> None:
        self.released.set()


@contextmanager
def serving(pem: Path | None = None) -> Iterator[Gateway]:
    server = Gateway(pem)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.unblock()
        server.shutdown()
        server.server_close()
        thread.join(10)


def settings_for(
    directory: Path, gateway: str, local: str = "127.0.0.1:9", ca: Path | None = None, **more: Any
) -> Settings:
    """Of a household with a private and a public app."""
    values: dict[str, Any] = {
        "title": "Home",
        "host": STATUS,
        "sign_in_host": LOGIN,
        "port": int(gateway.rpartition(":")[2]),
        "connect": gateway,
        "ca": ca,
        "listen": f"127.0.0.1:{free_port()}",
        "store": f"lmdb:{directory}/store",
        "reports": directory / "reports",
        "interval": 30,
        "timeout": 5,
        "apps": {
            "notes": App(title="Notebook", host=NOTES, local=local, health="/up"),
            "wiki": App(title="Wiki", host=WIKI, local=local, public=True),
        },
    }
    return Settings(**{**values, **more})


def written(path: Path, settings: Settings) -> Path:
    """The settings as a file."""
    import json

    def line(name: str, value: Any) -> str:
        return f"{name} = {json.dumps(value if isinstance(value, bool | int | float) else str(value))}\n"

    told = settings.model_dump(exclude_none=True)
    apps = told.pop("apps")
    text = "".join(line(name, value) for name, value in told.items())
    for name, app in apps.items():
        text += f"[apps.{name}]\n" + "".join(line(key, value) for key, value in app.items())
    path.write_text(text)
    return path


class Running:
    """A status page in a process of its own."""

    def __init__(self, settings: Settings, path: Path, process: "subprocess.Popen[bytes]") -> None:
        self.settings, self.path, self.process = settings, path, process
        self.address = settings.listen
        self.client = httpx.Client(base_url=f"http://{settings.listen}", timeout=20)

    def get(self, path: str, **headers: str) -> httpx.Response:
        return self.client.get(path, headers={k.replace("_", "-"): v for k, v in headers.items()})

    def told(self) -> dict[str, Any]:
        found: dict[str, Any] = self.get("/status.json").json()
        return found

    def state(self, part: str) -> str:
        return str(next(one["state"] for one in self.told()["parts"] if one["id"] == part))


@contextmanager
def running(directory: Path, settings: Settings, log: Path | None = None) -> Iterator[Running]:
    path = written(directory / "status.toml", settings)
    with (log or directory / "status.log").open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "mvsqlite_stack.status"],
            env={**os.environ, "MVSTACK_STATUS": str(path)},
            stderr=file,
        )
    one = Running(settings, path, process)
    try:

        def there() -> bool:
            assert process.poll() is None, (log or directory / "status.log").read_text()
            try:
                return one.get("/healthz").status_code == 200
            except httpx.TransportError:
                return False

        wait_for("the status page", there, START_SECONDS)
        yield one
    finally:
        one.client.close()
        process.terminate()
        assert process.wait(20) is not None
