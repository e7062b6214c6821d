"""The secrets directory, beside stack.toml: files that only their owner can read, made when they are needed.

``signin/keys`` is laid out as the sign-in service reads it: a PEM file for each key, named by the key's id,
and ``signing`` with the id of the one that signs. There is always a *next* key: gateways know it before it
signs. Rotation lets it sign, makes a new next one, and keeps the previous one until the tokens
signed with it have ended.
"""

import base64
import json
import os
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from mvsqlite_stack.errors import StackError, fail
from mvsqlite_stack.model import Stack

DIRECTORY_NAME = "secrets"
KEYS = "signin/keys"
SIGNING = "signing"
SERVICE = "signin/keys/service.secret"
STATE = "signin/rotation.json"
TOKEN_BYTES = 32
CLOCK_SECONDS = 60
"""How far clocks may be apart: a retired key is kept so much longer than tokens live."""

_KEY_ID = re.compile(r"[A-Za-z0-9-]{1,64}")


class Kind(Enum):
    """What a secret is, for people."""

    SIGNING = "ES256 key pairs that sign tokens"
    BYTES = "random bytes"
    TOKEN = "random token"
    GIVEN = "given to you by somebody"


@dataclass(frozen=True, slots=True)
class Secret:
    """One secret that a stack needs."""

    name: str
    """Its path in the directory; ``signing`` for the key pairs."""
    kind: Kind
    form: str = f"hex:{TOKEN_BYTES}"
    """Of a token: ``hex``, ``base64`` or ``laravel``, and how many random bytes."""


@dataclass(frozen=True, slots=True)
class PublicKey:
    """The public half of one signing key."""

    id: str
    pem: str
    """SubjectPublicKeyInfo."""
    role: str
    """``signs``, ``next`` or ``retired``."""


def needed(stack: Stack) -> list[Secret]:
    """All secrets of a stack, in a fixed order."""
    found = [Secret(SIGNING, Kind.SIGNING), Secret(SERVICE, Kind.BYTES)]
    for app, one in stack.apps.items():
        for secret in one.secrets:
            kind = Kind.GIVEN if secret.form == "given" else Kind.TOKEN
            found.append(Secret(f"apps/{app}/{secret.name}", kind, secret.form))
    for bucket in stack.buckets:
        found += [Secret(f"buckets/{bucket}/{name}", Kind.GIVEN) for name in ("access_key", "secret_key")]
    return found


def token(form: str) -> str:
    """A new random value in the form that an app wants."""
    kind, _, size = form.partition(":")
    data = secrets.token_bytes(int(size))
    if kind == "hex":
        return data.hex()
    text = base64.b64encode(data).decode()
    return f"base64:{text}" if kind == "laravel" else text


class Secrets:
    """A secrets directory; now: gives the time in unix seconds."""

    def __init__(self, directory: Path, now: Callable[[], float] = time.time) -> None:
        self.directory = directory
        self._now = now

    # ---- looking ---------------------------------------------------------------

    def check(self) -> None:
        """Raises StackError if somebody else can read or change what lies here; no directory is fine."""
        if not self.directory.exists():
            return
        for path in [self.directory, *sorted(self.directory.rglob("*"))]:
            status = path.lstat()
            if status.st_uid not in (os.geteuid(), 0):
                raise fail(
                    path, "it belongs to another user", f"Make it yours: chown -R $USER {self.directory}"
                )
            if status.st_mode & 0o077:
                remedy = (
                    f"Close it with: chmod -R go= {self.directory}; then rotate what others may have read"
                )
                raise fail(path, "others can read it", remedy)

    def exists(self, secret: Secret) -> bool:
        return (
            self.directory / (f"{KEYS}/{SIGNING}" if secret.kind is Kind.SIGNING else secret.name)
        ).exists()

    def read(self, name: str) -> bytes:
        """The value of a secret. Raises StackError."""
        self.check()
        try:
            return (self.directory / name).read_bytes()
        except OSError as error:
            remedy = "Make what is missing with: mvstack secrets create"
            raise fail(self.directory / name, error.strerror or "it cannot be read", remedy) from error

    def signing_id(self) -> str:
        return self.read(f"{KEYS}/{SIGNING}").decode().strip()

    def public_keys(self) -> list[PublicKey]:
        """Of all keys whose tokens may be met, in the order of their ids. Raises StackError, also for a key
        that is none: Kong would answer every request with 500."""
        signing, state = self.signing_id(), self._state()
        found = [
            PublicKey(path.stem, self._public(path), _role(path.stem, signing, state))
            for path in sorted((self.directory / KEYS).glob("[!.]*.pem"))
        ]
        if signing not in {key.id for key in found}:
            remedy = "Take the directory back from a backup, or remove signin/ there and begin anew"
            raise fail(self.directory / KEYS / SIGNING, f"it names {signing!r}, which is no key here", remedy)
        return found

    def _public(self, path: Path) -> str:
        remedy = "Take it back from a backup, or remove it if it does not sign"
        if not _KEY_ID.fullmatch(path.stem):
            raise fail(path, "a key's name has letters, digits and hyphens only", remedy)
        try:
            private = serialization.load_pem_private_key(self.read(f"{KEYS}/{path.name}"), password=None)
        except (ValueError, TypeError) as error:
            raise fail(path, "it is not a private key in PEM", remedy) from error
        if not isinstance(private, ec.EllipticCurvePrivateKey) or private.curve.name != "secp256r1":
            raise fail(path, "it is not a key of the curve P-256, which ES256 needs", remedy)
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        return private.public_key().public_bytes(serialization.Encoding.PEM, form).decode()

    def _state(self) -> dict[str, Any]:
        path = self.directory / STATE
        state: dict[str, Any] = json.loads(self.read(STATE)) if path.exists() else {}
        return {"next": state.get("next", ""), "retired": dict(state.get("retired", {}))}

    # ---- making ----------------------------------------------------------------

    def create(self, stack: Stack) -> tuple[list[Secret], list[Secret]]:
        """Makes what is missing; gives what was made, and what only somebody else can give."""
        self.check()
        made, wanted = [], []
        for secret in needed(stack):
            if self.exists(secret):
                continue
            if secret.kind is Kind.GIVEN:
                wanted.append(secret)
                continue
            self._make(secret)
            made.append(secret)
        return made, wanted

    def _make(self, secret: Secret) -> None:
        if secret.kind is Kind.SIGNING:
            signing, following = self._new_key(), self._new_key()
            self._write(STATE, json.dumps({"next": following, "retired": {}}).encode())
            self._write(f"{KEYS}/{SIGNING}", signing.encode())
        elif secret.kind is Kind.BYTES:
            self._write(secret.name, secrets.token_bytes(TOKEN_BYTES))
        else:
            self._write(secret.name, token(secret.form).encode())

    def _new_key(self) -> str:
        private = ec.generate_private_key(ec.SECP256R1())
        pem = private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        name = f"{datetime.fromtimestamp(self._now(), UTC):%Y%m%d}-{secrets.token_hex(4)}"
        self._write(f"{KEYS}/{name}.pem", pem)
        return name

    def _write(self, name: str, data: bytes) -> None:
        """Whole or not at all, and never readable by others, not even for a moment."""
        path = self.directory / name
        missing = [one for one in [path.parent, *path.parent.parents] if not one.exists()]
        for parent in reversed(missing):
            parent.mkdir(mode=0o700)
        part = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
        except OSError:
            part.unlink(missing_ok=True)
            raise

    # ---- rotating --------------------------------------------------------------

    def rotate(self, secret: Secret, token_seconds: int, value: bytes | None = None) -> None:
        """Makes a secret anew; value: of one that is given. Raises StackError."""
        self.check()
        if secret.kind is Kind.GIVEN:
            if not value:
                raise fail(self.directory / secret.name, "no value was given", "Give it on standard input")
            self._write(secret.name, value)
        elif secret.kind is Kind.SIGNING and self.exists(secret):
            self._rotate_signing(token_seconds)
        else:
            self._make(secret)

    def _rotate_signing(self, token_seconds: int) -> None:
        state, signing = self._state(), self.signing_id()
        following = state["next"]
        if not (self.directory / KEYS / f"{following}.pem").exists():
            following = self._new_key()
        over = [one for one, since in state["retired"].items() if self._is_over(since, token_seconds)]
        retired = {one: since for one, since in state["retired"].items() if one not in over}
        new = {"next": self._new_key(), "retired": {**retired, signing: int(self._now())}}
        # In this order a crash in between leaves every key that may have signed in its place.
        self._write(f"{KEYS}/{SIGNING}", following.encode())
        self._write(STATE, json.dumps(new).encode())
        for one in over:
            (self.directory / KEYS / f"{one}.pem").unlink(missing_ok=True)

    def _is_over(self, since: float, token_seconds: int) -> bool:
        return self._now() > since + token_seconds + CLOCK_SECONDS


def _role(key: str, signing: str, state: dict[str, Any]) -> str:
    if key == signing:
        return "signs"
    return "next" if key == state["next"] else "retired"


def find(stack: Stack, name: str, file: Path) -> Secret:
    """The secret of that name. Raises StackError, naming those there are."""
    every = needed(stack)
    for secret in every:
        if secret.name == name:
            return secret
    names = ", ".join(one.name for one in every)
    raise fail(file, f"it needs no secret {name!r}", f"There are: {names}")


__all__ = ["Kind", "PublicKey", "Secret", "Secrets", "StackError", "find", "needed"]
