"""A certificate of our own, until an authority gives one: without any the gateway would not start, and
without the gateway no authority could be answered.

``python -m mvsqlite_stack.apply.stand_in CERTIFICATE KEY GROUP HOST...``, on the host: the key never travels.
"""

import os
import shutil
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

DAYS = 30


def make(hosts: list[str]) -> tuple[bytes, bytes]:
    """Certificate and key, in PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name(
        [x509.NameAttribute(NameOID.ORGANIZATION_NAME, "mvstack, until a certificate is fetched")]
    )
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=DAYS))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host) for host in hosts]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return made.public_bytes(serialization.Encoding.PEM), pem


def write(path: Path, data: bytes, group: str | None) -> None:
    """A new file that a group can read; one that is there stays."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
    if group is not None:
        shutil.chown(path, group=group)
    path.chmod(0o640)


def main(certificate: str, key: str, group: str, *hosts: str) -> None:
    made = make(list(hosts))
    for path in (certificate, key):
        if not Path(path).is_file():
            for place, data in zip((certificate, key), made, strict=True):
                Path(place).unlink(missing_ok=True)
                write(Path(place), data, group)
            return


if __name__ == "__main__":
    main(*sys.argv[1:])
