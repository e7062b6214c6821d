"""A certificate authority of one trial, which speaks for its domain alone, and the gateway's certificate."""

import ipaddress
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

AUTHORITY_DAYS = 3650
CERTIFICATE_DAYS = 397
"""Browsers refuse authorities' certificates that last much longer, and may refuse ours one day."""
RENEW_DAYS = 30
"""Left of either: a new one is made."""
BACKDATED = timedelta(hours=1)
"""A browser's clock may be a little behind."""


@dataclass(frozen=True, slots=True)
class Made:
    """The files: PEM, keys for their owner alone."""

    authority: Path
    certificate: Path
    key: Path
    new: bool
    """Whether the authority was made now, so that whoever trusted the one before has to do it again."""


def ensure(directory: Path, domain: str, hosts: Iterable[str], now: datetime | None = None) -> Made:
    """Makes what is missing, near its end, or for other names.

    directory: ``ca/`` and ``tls/`` are made there; hosts: below the domain, named beside its wildcard.
    """
    now = now or datetime.now(UTC)
    names = (domain, f"*.{domain}", *hosts)
    ca, ca_key = directory / "ca/ca.pem", directory / "ca/ca.key"
    leaf, leaf_key = directory / "tls/fullchain.pem", directory / "tls/privkey.pem"
    for place in (ca.parent, leaf.parent):
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
    authority = _read(ca) if ca_key.exists() else None
    new = authority is None or _ends(authority, now) or _constrained_to(authority) != [domain]
    if new or authority is None:
        authority = _authority(domain, ca, ca_key, now)
    found = _read(leaf) if leaf_key.exists() else None
    if new or found is None or _ends(found, now) or _names(found) != sorted(set(names)):
        _certificate(authority, _key(ca_key), names, (leaf, leaf_key), now)
    return Made(ca, leaf, leaf_key, new)


def _authority(domain: str, place: Path, key_place: Path, now: datetime) -> x509.Certificate:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"mvstack trial of {domain}"[:64])])
    # Addresses are of another kind than names, and all of that kind are allowed unless excluded.
    no_address = [x509.IPAddress(ipaddress.ip_network(net)) for net in ("0.0.0.0/0", "::/0")]
    limits = x509.NameConstraints([x509.DNSName(domain)], no_address)
    end = now + timedelta(days=AUTHORITY_DAYS)
    made = (
        _begun(name, name, key.public_key(), now, end)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(limits, critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    _write(place, key_place, made, key)
    return made


def _certificate(
    authority: x509.Certificate,
    signer: ec.EllipticCurvePrivateKey,
    names: Sequence[str],
    places: tuple[Path, Path],
    now: datetime,
) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:64])])
    alternatives = x509.SubjectAlternativeName([x509.DNSName(name) for name in dict.fromkeys(names)])
    issuer_id = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
    end = min(now + timedelta(days=CERTIFICATE_DAYS), authority.not_valid_after_utc)
    made = (
        _begun(subject, authority.subject, key.public_key(), now, end)
        .add_extension(alternatives, critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(issuer_id, critical=False)
        .sign(signer, hashes.SHA256())
    )
    _write(*places, made, key)


def _begun(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime, end: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(end)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _ends(certificate: x509.Certificate, now: datetime) -> bool:
    return certificate.not_valid_after_utc - now < timedelta(days=RENEW_DAYS)


def _constrained_to(certificate: x509.Certificate) -> list[str]:
    try:
        limits = certificate.extensions.get_extension_for_class(x509.NameConstraints).value
    except x509.ExtensionNotFound:
        return []
    return [one.value for one in limits.permitted_subtrees or [] if isinstance(one, x509.DNSName)]


def _names(certificate: x509.Certificate) -> list[str]:
    found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return sorted(found.get_values_for_type(x509.DNSName))


def _read(path: Path) -> x509.Certificate | None:
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return None


def _key(path: Path) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key


def _write(
    place: Path, key_place: Path, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey
) -> None:
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    for path, data in ((key_place, pem), (place, certificate.public_bytes(serialization.Encoding.PEM))):
        part = path.with_name(f".{path.name}.part")
        part.unlink(missing_ok=True)
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        part.replace(path)
