"""The authority of a trial: what it can certify, and when it is made anew."""

import ipaddress
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from mvsqlite_stack.up.authority import AUTHORITY_DAYS, CERTIFICATE_DAYS, Made, ensure

DOMAIN = "home.localhost"
HOSTS = (f"login.{DOMAIN}", f"notes.{DOMAIN}")
OPENSSL = shutil.which("openssl")


def certified(made: Made, directory: Path, *names: x509.GeneralName) -> str:
    """What openssl says of a certificate for these names that the authority's key has signed."""
    if OPENSSL is None:
        pytest.skip("no openssl on PATH")
    signer = serialization.load_pem_private_key(made.authority.with_name("ca.key").read_bytes(), None)
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    authority = x509.load_pem_x509_certificate(made.authority.read_bytes())
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "x")]))
        .issuer_name(authority.subject)
        .public_key(ec.generate_private_key(ec.SECP256R1()).public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(signer, hashes.SHA256())
    )
    place = directory / "one.pem"
    place.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return verified(made, place)


def verified(made: Made, place: Path, *options: str) -> str:
    assert OPENSSL
    words = [OPENSSL, "verify", "-purpose", "sslserver", "-CAfile", str(made.authority), *options, str(place)]
    answer = subprocess.run(words, capture_output=True, text=True, check=False)
    return answer.stdout + answer.stderr


def test_it_certifies_the_domain_and_what_is_below_and_nothing_else(tmp_path: Path) -> None:
    made = ensure(tmp_path, DOMAIN, HOSTS)
    for name in (DOMAIN, f"notes.{DOMAIN}", f"*.{DOMAIN}"):
        assert certified(made, tmp_path, x509.DNSName(name)).endswith(": OK\n"), name
    refused = [x509.DNSName(name) for name in ("example.org", "localhost", f"evil{DOMAIN}", "*.localhost")]
    for other in (*refused, *map(x509.IPAddress, map(ipaddress.ip_address, ("127.0.0.1", "::1")))):
        said = certified(made, tmp_path, x509.DNSName(DOMAIN), other)
        assert "subtree violation" in said, (other, said)


@pytest.mark.skipif(OPENSSL is None, reason="no openssl on PATH")
def test_the_gateways_certificate_is_good_for_every_host(tmp_path: Path) -> None:
    made = ensure(tmp_path, DOMAIN, HOSTS)
    for host in (DOMAIN, *HOSTS, f"new.{DOMAIN}"):
        assert verified(made, made.certificate, "-verify_hostname", host).endswith(": OK\n")
    assert "hostname mismatch" in verified(made, made.certificate, "-verify_hostname", "example.org").lower()


def test_keys_are_for_their_owner(tmp_path: Path) -> None:
    made = ensure(tmp_path, DOMAIN, HOSTS)
    for path in (made.key, made.authority.with_name("ca.key")):
        assert path.stat().st_mode & 0o777 == 0o600


def test_both_are_kept_until_they_near_their_end(tmp_path: Path) -> None:
    begin = datetime.now(UTC)

    def after(days: int, *hosts: str) -> tuple[bytes, bytes, bool]:
        made = ensure(tmp_path, DOMAIN, hosts or HOSTS, begin + timedelta(days=days))
        return made.authority.read_bytes(), made.certificate.read_bytes(), made.new

    first = after(0)
    assert first[2]
    assert after(CERTIFICATE_DAYS - 31) == (*first[:2], False)
    renewed = after(CERTIFICATE_DAYS - 29)
    assert renewed[0] == first[0]
    assert renewed[1] != first[1]
    assert after(CERTIFICATE_DAYS, *HOSTS, f"more.{DOMAIN}")[1] != renewed[1]
    last = after(AUTHORITY_DAYS - 29)
    assert last[2]
    assert last[0] != first[0]


def test_another_domain_takes_another_authority(tmp_path: Path) -> None:
    first = ensure(tmp_path, DOMAIN, HOSTS).authority.read_bytes()
    second = ensure(tmp_path, "other.localhost", ())
    assert second.new
    assert second.authority.read_bytes() != first
