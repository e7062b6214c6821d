"""A declared household for tests of the gateway, its keys, certificate and tokens."""

import base64
import hashlib
import hmac
import json
import socket
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.x509.oid import NameOID

from mvsqlite_stack import config
from mvsqlite_stack.model import Stack
from mvsqlite_stack.render.identity import COOKIE
from mvsqlite_stack.secrets import KEYS, Secrets

DOMAIN = "home.example.org"
NOTES, FEEDS, WIKI, LOGIN, STATUS = (
    f"{name}.{DOMAIN}" for name in ("notes", "feeds", "wiki", "login", "status")
)
APPS = ("notes", "feeds", "wiki")
HEADER_KILOBYTES = 8
UPLOAD_MEGABYTES = 1

STACK = """\
[stack]
domain = "{domain}"
gateway = "{gateway}"
[hosts.home]
gateway = true
[ports]
listen = ["127.0.0.1"]
http = {http}
https = {https}
sign_in = {sign_in}
certificates = {certificates}
status = {status}
status_page = {status_page}
[limits]
header_seconds = 1
body_seconds = 1
sign_in_requests_per_second = 1000
[tls]
certificate = "{certificate}"
key = "{key}"
[store]
url = "lmdb:{directory}/store"
[status]
requests_per_second = 1000
[users.anna]
name = "Anna Ärmel"
groups = ["family"]
[users.ben]
[apps.notes]
on = "home"
port = {notes}
allow = ["anna"]
public_paths = ["/share/*", "/about"]
upload_megabytes = 1
requests_per_second = 10000
[apps.feeds]
on = "home"
port = {feeds}
allow = ["*"]
requests_per_second = 1
[apps.wiki]
on = "home"
port = {wiki}
public = true
requests_per_second = 10000
"""


def free_ports(count: int) -> list[int]:
    """Ports on loopback that nobody has now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(one.getsockname()[1]) for one in sockets]
    for one in sockets:
        one.close()
    return ports


def certificate(directory: Path) -> None:
    """A self-signed one for the domain and the hosts below it: ``cert.pem`` and ``key.pem``."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, DOMAIN)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=2))
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName(DOMAIN), x509.DNSName(f"*.{DOMAIN}")]), False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    (directory / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (directory / "key.pem").write_bytes(pem)


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def part(value: Any) -> str:
    return base64url(json.dumps(value, separators=(",", ":")).encode())


def es256(key: ec.EllipticCurvePrivateKey, data: bytes) -> bytes:
    r, s = decode_dss_signature(key.sign(data, ec.ECDSA(hashes.SHA256())))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


@dataclass
class Tokens:
    """Makes tokens, good and bad."""

    id: str
    key: ec.EllipticCurvePrivateKey
    sessions: dict[str, str] = field(default_factory=dict)
    """By user."""

    def claims(
        self, user: str = "anna", apps: tuple[str, ...] = ("notes", "feeds"), **changes: Any
    ) -> dict[str, Any]:
        now = int(time.time())
        made = {
            "iss": self.id,
            "sub": user,
            "aud": list(apps),
            "sid": self.sessions.get(user, f"session-of-{user}"),
            "iat": now,
            "nbf": now - 5,
            "exp": now + 300,
        }
        return {name: value for name, value in {**made, **changes}.items() if value is not None}

    def signed(self, claims: Any, header: Any = None, key: ec.EllipticCurvePrivateKey | None = None) -> str:
        head = {"alg": "ES256", "typ": "JWT", "kid": self.id} if header is None else header
        text = f"{part(head)}.{part(claims)}"
        return f"{text}.{base64url(es256(key or self.key, text.encode()))}"

    def good(self, user: str = "anna", **changes: Any) -> str:
        return self.signed(self.claims(user, **changes))

    def public_pem(self) -> bytes:
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        return self.key.public_key().public_bytes(serialization.Encoding.PEM, form)

    def hs256_with_public_key(self) -> str:
        text = f"{part({'alg': 'HS256', 'typ': 'JWT', 'kid': self.id})}.{part(self.claims())}"
        return f"{text}.{base64url(hmac.digest(self.public_pem(), text.encode(), hashlib.sha256))}"


@dataclass
class Household:
    """A declaration with everything that it names."""

    directory: Path
    stack: Stack
    secrets: Secrets
    tokens: Tokens

    def port_of(self, app: str) -> int:
        return self.stack.apps[app].port


def declare(directory: Path, gateway: str, **ports: int) -> Household:
    """Writes stack.toml, secrets and a certificate, and reads them; ports: those given from outside."""
    names = ("http", "https", "sign_in", "certificates", "status", "status_page", *APPS)
    chosen = dict(zip(names, free_ports(len(names)), strict=True)) | ports
    certificate(directory)
    file = directory / "stack.toml"
    text = STACK.format(
        domain=DOMAIN,
        gateway=gateway,
        directory=directory,
        certificate=directory / "cert.pem",
        key=directory / "key.pem",
        **chosen,
    )
    file.write_text(text)
    stack, secrets = config.read(file), Secrets(directory / "secrets")
    secrets.create(stack)
    return Household(directory, stack, secrets, tokens_of(secrets))


def tokens_of(secrets: Secrets) -> Tokens:
    """Tokens signed with the key that signs."""
    name = secrets.signing_id()
    key = serialization.load_pem_private_key(secrets.read(f"{KEYS}/{name}.pem"), password=None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return Tokens(name, key)


def cookie(token: str) -> tuple[str, str]:
    return "Cookie", f"{COOKIE}={token}"
