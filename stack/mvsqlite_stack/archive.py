"""Backups of the secrets directory: one file, encrypted with a passphrase, or plain."""

import io
import os
import tarfile
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from mvsqlite_stack.errors import fail
from mvsqlite_stack.secrets import Secrets

MAGIC = b"mvstack secrets 1\n"
"""What an encrypted file begins with: then the salt, the nonce, and a tar file under AES-256-GCM."""
SALT_BYTES = 16
NONCE_BYTES = 12
SCRYPT_COST = 2**17
"""128 MiB and half a second for each guess."""
PASSPHRASE_MIN = 12
"""Characters."""


def back_up(source: Secrets, file: Path, passphrase: str | None) -> None:
    """Writes a new file that only its owner can read; None: not encrypted. Raises StackError."""
    source.check()
    if not source.directory.is_dir():
        raise fail(source.directory, "there is no such directory", "Make it with: mvstack secrets create")
    if passphrase is not None and len(passphrase) < PASSPHRASE_MIN:
        raise fail(file, "the passphrase is short", f"Use {PASSPHRASE_MIN} characters or more")
    plain = _packed(source.directory)
    data = plain if passphrase is None else _sealed(plain, passphrase)
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise fail(file, "it exists already", "Choose another name") from error
    with os.fdopen(descriptor, "wb") as out:
        out.write(data)
        out.flush()
        os.fsync(out.fileno())


def restore(target: Path, file: Path, passphrase: str | None) -> None:
    """Makes the directory from a backup. Raises StackError if there is one, or the file cannot be opened."""
    if target.exists():
        raise fail(target, "it exists already", "Move it away first")
    data = file.read_bytes()
    if data.startswith(MAGIC):
        if passphrase is None:
            raise fail(file, "it is encrypted", "Give its passphrase")
        data = _opened(data, passphrase, file)
    target.mkdir(mode=0o700)
    try:
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            tar.extractall(target, filter=_closed)
    except tarfile.TarError as error:
        target.rmdir()
        raise fail(
            file, "it is no backup of secrets", "Name a file that mvstack secrets backup wrote"
        ) from error


def _packed(directory: Path) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for path in sorted(directory.rglob("*")):
            tar.add(path, arcname=str(path.relative_to(directory)), recursive=False, filter=_nobody)
    return buffer.getvalue()


def _nobody(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


def _closed(member: tarfile.TarInfo, path: str) -> tarfile.TarInfo:
    mode = 0o700 if member.isdir() else 0o600
    return tarfile.data_filter(member, path).replace(mode=mode)


def _key(passphrase: str, salt: bytes) -> bytes:
    return Scrypt(salt=salt, length=32, n=SCRYPT_COST, r=8, p=1).derive(passphrase.encode())


def _sealed(data: bytes, passphrase: str) -> bytes:
    salt, nonce = os.urandom(SALT_BYTES), os.urandom(NONCE_BYTES)
    return MAGIC + salt + nonce + AESGCM(_key(passphrase, salt)).encrypt(nonce, data, MAGIC)


def _opened(data: bytes, passphrase: str, file: Path) -> bytes:
    salt, rest = data[len(MAGIC) :][:SALT_BYTES], data[len(MAGIC) + SALT_BYTES :]
    try:
        return AESGCM(_key(passphrase, salt)).decrypt(rest[:NONCE_BYTES], rest[NONCE_BYTES:], MAGIC)
    except (InvalidTag, ValueError) as error:
        raise fail(
            file, "the passphrase is another one, or the file is damaged", "Try another passphrase"
        ) from error
