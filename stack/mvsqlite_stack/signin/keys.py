"""Signing keys: one PEM file each in a directory, and the name of the one that signs.

A key's id is its file name without ``.pem``; tokens name it as ``kid`` and ``iss``. To rotate without
logging anyone out: ``add`` publishes a key, the gateways learn it, ``use`` makes it sign, and ``remove``
takes the old one away once no token of its is valid any more. Running services notice by themselves.
"""

import re
import secrets
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from joserfc.jwk import ECKey

from mvsqlite_stack.signin.secret import create_private

KEY_ID = re.compile(r"[A-Za-z0-9-]{1,64}")
SIGNING = "signing"
"""The file with the id of the key that signs."""


class SigningKeyError(ValueError):
    """A key cannot be used so; the message says why."""


@dataclass(frozen=True, slots=True)
class Key:
    """One signing key."""

    id: str
    jwk: ECKey
    public_pem: str
    """SubjectPublicKeyInfo, as Kong wants it in ``rsa_public_key``."""

    @property
    def public_jwk(self) -> dict[str, Any]:
        return {**self.jwk.as_dict(private=False), "kid": self.id, "alg": "ES256", "use": "sig"}


@dataclass(frozen=True, slots=True)
class Ring:
    """All keys of a directory at one moment."""

    keys: dict[str, Key]
    signing: Key
    checked: dict[str, Any] = field(default_factory=dict)
    """What signed texts say whose signatures were found right; forgotten with the keys."""


class Keys:
    """The keys of a directory, read again when it has changed. Any number of processes may share it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._lock = threading.Lock()
        self._ring: Ring | None = None
        self._stamp = 0

    def ring(self) -> Ring:
        """The keys as they are now; the first one is made. Raises SigningKeyError, OSError."""
        stamp = self.directory.stat().st_mtime_ns if self.directory.is_dir() else -1
        ring = self._ring
        if ring is not None and stamp == self._stamp:
            return ring
        with self._lock:
            self.prepare()
            # The stamp is taken before reading: what changes meanwhile is read next time.
            self._stamp = self.directory.stat().st_mtime_ns
            self._ring = self._read()
            return self._ring

    def prepare(self) -> None:
        """Makes the directory and its first key if there is none."""
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not (self.directory / SIGNING).exists():
            create_private(self.directory / SIGNING, self.add().encode())

    def _read(self) -> Ring:
        keys = {path.stem: load(path) for path in sorted(self.directory.glob("[!.]*.pem"))}
        signing = (self.directory / SIGNING).read_text().strip()
        if signing not in keys:
            raise SigningKeyError(
                f"{self.directory / SIGNING} names {signing!r}, of which there is no key here"
            )
        return Ring(keys, keys[signing])

    def add(self) -> str:
        """Makes a key that is published and does not sign yet; its id."""
        private = ec.generate_private_key(ec.SECP256R1())
        pem = private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        name = f"{datetime.now(UTC):%Y%m%d}-{secrets.token_hex(4)}"
        create_private(self.directory / f"{name}.pem", pem)
        return name

    def use(self, key: str) -> None:
        """From now on this key signs. Raises SigningKeyError if there is none of that id."""
        if key not in self.ring().keys:
            raise SigningKeyError(f"there is no key {key!r}")
        part = self.directory / f".{SIGNING}.{secrets.token_hex(4)}"
        create_private(part, key.encode())
        part.replace(self.directory / SIGNING)

    def remove(self, key: str, token_seconds: int) -> None:
        """Takes a key away.

        token_seconds: how long a token lives. Raises SigningKeyError while the key signs, or while tokens
        that it has signed may be valid.
        """
        ring = self.ring()
        if key not in ring.keys:
            raise SigningKeyError(f"there is no key {key!r}")
        if key == ring.signing.id:
            raise SigningKeyError(f"{key} signs: let another key sign first")
        left = (self.directory / SIGNING).stat().st_mtime + token_seconds - time.time()
        if left > 0:
            raise SigningKeyError(f"tokens signed with {key} may be valid for {left:.0f} more seconds")
        (self.directory / f"{key}.pem").unlink()


def load(path: Path) -> Key:
    """Reads a key. Raises SigningKeyError if it is not a P-256 key, or if others can read it."""
    if not KEY_ID.fullmatch(path.stem):
        raise SigningKeyError(f"{path}: a key's name has letters, digits and hyphens only")
    if path.stat().st_mode & 0o077:
        raise SigningKeyError(f"{path} can be read by others: chmod 600 it")
    try:
        private = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except (ValueError, TypeError) as error:
        raise SigningKeyError(f"{path} is not a private key in PEM: {error}") from error
    if not isinstance(private, ec.EllipticCurvePrivateKey) or private.curve.name != "secp256r1":
        raise SigningKeyError(f"{path} is not a key of the curve P-256, which ES256 needs")
    public = private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return Key(path.stem, ECKey.import_key(private), public.decode())
