"""Signing keys: rotation signs nobody out, and what is not a key is told."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from joserfc import jwt
from joserfc.jwk import KeySet

from mvsqlite_stack.signin import tokens
from mvsqlite_stack.signin.keys import Keys, SigningKeyError, load
from signin_kit import Running, verify


@pytest.fixture
def keys(tmp_path: Path) -> Iterator[Keys]:
    return Keys(tmp_path / "keys")


def test_rotation_signs_nobody_out(service: Running) -> None:
    """Old tokens stay good, new ones are by the new key, on a service that runs on."""
    browser = service.signed_in(service.user())
    before = browser.cookie("session_jwt")
    old = service.service.keys.ring().signing.id
    new = service.service.keys.add()
    assert {key["kid"] for key in jwks(service)} >= {old, new}
    service.service.keys.use(new)
    assert verify(service, before).status_code == 204
    browser.get("/", params={"to": service.app("everyone.home.test")})
    after = browser.cookie("session_jwt")
    assert after
    assert tokens._header(after)["kid"] == new
    assert browser.verify().status_code == 204
    with pytest.raises(SigningKeyError, match="may be valid for"):
        service.service.keys.remove(old, 300)
    moment = time.time() - 301
    os.utime(service.service.keys.directory / "signing", (moment, moment))
    service.service.keys.remove(old, 300)
    assert verify(service, before).status_code == 401
    assert browser.verify().status_code == 204
    assert old not in {key["kid"] for key in jwks(service)}


def jwks(service: Running) -> list[dict[str, str]]:
    answer = service.plain.get("/.well-known/jwks.json")
    assert answer.status_code == 200
    return list(answer.json()["keys"])


def test_anybody_can_check_a_token_with_the_published_keys(service: Running) -> None:
    browser = service.signed_in(service.user())
    published = jwks(service)
    assert all("d" not in key and key["crv"] == "P-256" and key["alg"] == "ES256" for key in published)
    keys = KeySet.import_key_set({"keys": published})  # type: ignore[typeddict-item,list-item]
    token = jwt.decode(browser.cookie("session_jwt") or "", keys, algorithms=["ES256"])
    assert token.claims["iss"] == token.header["kid"]


def test_signatures_have_the_length_that_gateways_need(service: Running) -> None:
    for _ in range(20):
        token = tokens.issue(service.service.keys, "ann", "s", [], 300)
        assert len(token.rpartition(".")[2]) == 86  # 64 bytes


def test_the_first_key_is_made_once(keys: Keys) -> None:
    first = keys.ring()
    assert list(first.keys) == [first.signing.id]
    assert Keys(keys.directory).ring().signing.id == first.signing.id
    assert (keys.directory / f"{first.signing.id}.pem").stat().st_mode & 0o077 == 0
    assert keys.directory.stat().st_mode & 0o077 == 0


def test_the_key_that_signs_stays(keys: Keys) -> None:
    signing = keys.ring().signing.id
    with pytest.raises(SigningKeyError, match="signs: let another"):
        keys.remove(signing, 0)
    with pytest.raises(SigningKeyError, match="no key 'x'"):
        keys.use("x")


def pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (b"garbage", "is not a private key in PEM"),
        (pem(ec.generate_private_key(ec.SECP384R1())), "not a key of the curve P-256"),
        (pem(rsa.generate_private_key(65537, 2048)), "not a key of the curve P-256"),
    ],
)
def test_what_is_no_key_is_told(tmp_path: Path, text: bytes, what: str) -> None:
    path = tmp_path / "bad.pem"
    path.write_bytes(text)
    path.chmod(0o600)
    with pytest.raises(SigningKeyError, match=what):
        load(path)


def test_a_key_that_others_can_read_is_refused(keys: Keys) -> None:
    path = keys.directory / f"{keys.ring().signing.id}.pem"
    path.chmod(0o640)
    with pytest.raises(SigningKeyError, match="can be read by others"):
        load(path)


def test_a_missing_signing_key_is_told(keys: Keys) -> None:
    signing = keys.ring().signing.id
    (keys.directory / f"{signing}.pem").unlink()
    with pytest.raises(SigningKeyError, match="there is no key here"):
        Keys(keys.directory).ring()
