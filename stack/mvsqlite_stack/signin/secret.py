"""The service's own secret: what it signs for itself, and what it keeps unreadable in the database."""

import base64
import hashlib
import hmac
import os
import secrets
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

SECRET_BYTES = 32
NONCE_BYTES = 12


class SecretError(Exception):
    """Something was sealed with another secret, or altered."""


def token(size: int = 32) -> str:
    """Random text for a cookie; size: bytes of chance in it."""
    return secrets.token_urlsafe(size)


def digest(text: str) -> bytes:
    """What the database keeps of a random secret. Nobody guesses 256 bits, so no slow hash is needed."""
    return hashlib.sha256(text.encode()).digest()


def create_private(path: Path, data: bytes) -> bool:
    """Writes a new file that only its owner can read, whole or not at all; False if there is one."""
    part = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.link(part, path)
    except FileExistsError:
        return False
    finally:
        part.unlink()
    return True


class Secret:
    """The secret in a file of the keys directory, made when there is none yet."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = directory / "service.secret"
        create_private(path, secrets.token_bytes(SECRET_BYTES))
        value = path.read_bytes()
        if len(value) != SECRET_BYTES:
            raise SecretError(f"{path} has {len(value)} bytes instead of {SECRET_BYTES}")
        self._value = value

    def _derived(self, purpose: str) -> bytes:
        return hmac.digest(self._value, purpose.encode(), "sha256")

    def sign(self, purpose: str, text: str) -> str:
        """A signature that holds for one purpose only."""
        mac = hmac.digest(self._derived(f"sign:{purpose}"), text.encode(), "sha256")
        return base64.urlsafe_b64encode(mac).rstrip(b"=").decode()

    def is_signed(self, purpose: str, text: str, signature: str) -> bool:
        return hmac.compare_digest(self.sign(purpose, text).encode(), signature.encode())

    def seal(self, purpose: str, text: str) -> bytes:
        """Encrypts for the database; purpose binds it to its place there."""
        nonce = os.urandom(NONCE_BYTES)
        return nonce + AESGCM(self._derived("seal")).encrypt(nonce, text.encode(), purpose.encode())

    def unseal(self, purpose: str, data: bytes) -> str:
        """Raises SecretError if it was sealed elsewhere, for something else, or altered."""
        try:
            plain = AESGCM(self._derived("seal")).decrypt(
                data[:NONCE_BYTES], data[NONCE_BYTES:], purpose.encode()
            )
        except InvalidTag as error:
            raise SecretError("not sealed with the secret in the keys directory") from error
        return plain.decode()
