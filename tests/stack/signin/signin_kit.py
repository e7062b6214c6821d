"""A running sign-in service, and a client that behaves like a browser without JavaScript."""

import base64
import os
import re
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from joserfc import jwt

from mvsqlite_stack.signin.accounts import User
from mvsqlite_stack.signin.service import Service
from mvsqlite_stack.signin.settings import Settings, read

DOMAIN = "home.test"
LOGIN = f"login.{DOMAIN}"
NOTES = f"notes.{DOMAIN}"
READER = f"reader.{DOMAIN}"
PAD = f"pad.{DOMAIN}"
EVERYONE = f"everyone.{DOMAIN}"
PASSWORD = "four random words here"
START_SECONDS = 30.0
POLL_SECONDS = 0.02

SETTINGS = """
domain = "{domain}"
port = {port}
listen = "127.0.0.1:{port}"
store = "{store}"
keys = "{directory}/keys"
tls_certificate = "{directory}/cert.pem"
tls_key = "{directory}/key.pem"
{top}
[argon2]
time = 1
memory_kib = 64
parallelism = 1
[groups]
family = ["ann", "bob"]
[apps.notes]
host = "notes.{domain}"
title = "Notes"
allow = ["@family"]
[apps.everyone]
host = "everyone.{domain}"
allow = ["*"]
[apps.reader]
host = "reader.{domain}"
allow = ["ann"]
[apps.pad]
host = "pad.{domain}"
public = true
{tables}
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def write_certificate(directory: Path) -> None:
    """A self-signed certificate for the domain, and the hash by which Chromium is told to trust it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, DOMAIN)])
    names = x509.SubjectAlternativeName([x509.DNSName(DOMAIN), x509.DNSName(f"*.{DOMAIN}")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=30))
        .add_extension(names, critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (directory / "key.pem").write_bytes(pem)
    (directory / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    public = key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    digest = hashes.Hash(hashes.SHA256())
    digest.update(public)
    (directory / "spki").write_bytes(base64.b64encode(digest.finalize()))


class _Here(httpx.HTTPTransport):
    """Finds every host on this machine; names stay what they are for cookies, TLS and Host."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        here = httpx.Request(
            request.method,
            request.url.copy_with(host="127.0.0.1"),
            headers=request.headers,
            stream=request.stream,
            extensions={**request.extensions, "sni_hostname": request.url.host},
        )
        return super().handle_request(here)


class Browser(httpx.Client):
    """Keeps cookies as browsers do, sends forms with their hidden fields and an Origin."""

    def __init__(self, running: "Running", address: str = "198.51.100.7") -> None:
        self.running = running
        context = ssl.create_default_context(cafile=running.directory / "cert.pem")
        super().__init__(
            base_url=running.origin,
            transport=_Here(verify=context),
            headers={"X-Forwarded-For": address, "User-Agent": "Mozilla/5.0 (X11; Linux) Firefox/150.0"},
            timeout=20,
        )

    def submit(
        self, page: httpx.Response, action: str, *, origin: str | None = "", **fields: str
    ) -> httpx.Response:
        """Sends the form of a page that leads to an action, some fields filled in."""
        form = form_fields(page.text, action)
        headers = {} if origin is None else {"Origin": origin or self.running.origin}
        return self.post(action, data={**form, **fields}, headers=headers)

    def sign_in(self, name: str, password: str = PASSWORD, to: str = "") -> httpx.Response:
        page = self.get("/", params={"to": to} if to else {})
        return self.submit(page, "/sign-in", name=name, password=password)

    def cookie(self, name: str) -> str | None:
        return next((one.value for one in self.cookies.jar if one.name == name), None)

    def verify(self, host: str = EVERYONE, **headers: str) -> httpx.Response:
        """Asks as a gateway would for this browser's request to a host."""
        token = self.cookie("session_jwt")
        return verify(self.running, token, host, **headers)


def form_fields(text: str, action: str) -> dict[str, str]:
    """The hidden fields of a page's form."""
    form = re.search(rf'<form[^>]* action="{re.escape(action)}".*?</form>', text, re.DOTALL)
    assert form, f"no form to {action} in {text}"
    hidden = re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)">', form.group())
    return {name: value.replace("&amp;", "&").replace("&#39;", "'") for name, value in hidden}


def verify(running: "Running", token: str | None, host: str = EVERYONE, **headers: str) -> httpx.Response:
    """The service's answer to a gateway."""
    sent = {"X-Original-Host": host, **{name.replace("_", "-"): value for name, value in headers.items()}}
    if token is not None:
        sent.setdefault("Cookie", f"session_jwt={token}")
    return running.plain.get("/verify", headers=sent)


def signed(
    service: "Running", session: str, user: str, issued: float, seconds: float, **other: object
) -> str:
    """A token of ours, made at another time."""
    key = service.service.keys.ring().signing
    claims = {
        "iss": key.id,
        "sub": user,
        "aud": ["everyone"],
        "sid": session,
        "iat": issued,
        "nbf": issued,
        "exp": issued + seconds,
        **other,
    }
    return jwt.encode({"alg": "ES256", "kid": key.id}, claims, key.jwk, algorithms=["ES256"])


class Running:
    """A service in processes of its own, and the same store from here."""

    def __init__(self, directory: Path, settings: Settings, process: "subprocess.Popen[bytes]") -> None:
        self.directory = directory
        self.settings = settings
        self.origin = settings.origin
        self.process = process
        self.service = Service(settings)
        context = ssl.create_default_context(cafile=directory / "cert.pem")
        self.plain = httpx.Client(base_url=self.origin, transport=_Here(verify=context), timeout=20)
        self.browsers: list[Browser] = []
        self._count = 0

    def app(self, host: str, path: str = "/") -> str:
        """The address of a page of an app."""
        return f"https://{host}:{self.settings.port}{path}"

    def user(self, name: str = "", password: str | None = PASSWORD) -> User:
        """A new user; without a name one of their own for each test."""
        self._count += 1
        return self.service.accounts.add(name or f"user{self._count}", "", password, "a test")

    def browser(self, address: str = "198.51.100.7") -> Browser:
        self.browsers.append(Browser(self, address))
        return self.browsers[-1]

    def signed_in(self, user: User, to: str = "") -> Browser:
        browser = self.browser()
        answer = browser.sign_in(user.name, to=to)
        assert answer.status_code == 303, answer.text
        return browser

    def close_browsers(self) -> None:
        while self.browsers:
            self.browsers.pop().close()

    def close(self) -> None:
        self.close_browsers()
        self.plain.close()
        self.service.close()


def _wait_until_ready(process: "subprocess.Popen[bytes]", settings: Settings, directory: Path) -> None:
    context = ssl.create_default_context(cafile=directory / "cert.pem")
    pause, waited = threading.Event(), 0.0
    with httpx.Client(base_url=settings.origin, transport=_Here(verify=context)) as client:
        while waited < START_SECONDS:
            assert process.poll() is None, "the service ended"
            try:
                if client.get("/healthz").status_code == 200:
                    return
            except httpx.TransportError:
                pass
            pause.wait(POLL_SECONDS)
            waited += POLL_SECONDS
    raise AssertionError("the service did not become ready")


def prepare(directory: Path, top: str = "", tables: str = "", store: str = "") -> Path:
    """Writes certificate and settings; the settings' path."""
    write_certificate(directory)
    path = directory / "signin.toml"
    store = store or f"lmdb:{directory / 'store'}"
    values: dict[str, Any] = {"domain": DOMAIN, "port": free_port(), "store": store, "directory": directory}
    path.write_text(SETTINGS.format(top=top, tables=tables, **values))
    return path


def start(path: Path) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-m", "mvsqlite_stack.signin"], env={**os.environ, "MVSTACK_SIGNIN": str(path)}
    )


@contextmanager
def running(directory: Path, top: str = "", tables: str = "", store: str = "") -> Iterator[Running]:
    """Runs a service with settings of its own until the block ends."""
    path = prepare(directory, top, tables, store)
    settings = read(path)
    process = start(path)
    try:
        _wait_until_ready(process, settings, directory)
        one = Running(directory, settings, process)
        try:
            yield one
        finally:
            one.close()
    finally:
        process.terminate()
        process.wait(20)
