"""A cluster that speaks TLS only."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster import Cluster

USE = """
import sys, mvsqlite_py
connection = mvsqlite_py.connect("a.db", sys.argv[1])
connection.execute("CREATE TABLE t(x); INSERT INTO t VALUES (7)")
print(connection.execute("SELECT x FROM t").fetchall())
"""


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate that signed itself, and its key."""
    if not shutil.which("openssl"):
        pytest.skip("no openssl here to make a certificate with")
    place = tmp_path_factory.mktemp("tls")
    made = place / "certificate.pem", place / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=test"]
    subprocess.run([*command, "-out", made[0], "-keyout", made[1]], check=True, capture_output=True)
    return made


@pytest.fixture(scope="module")
def encrypted(fdb_cluster: Cluster, certificate: tuple[Path, Path]) -> Iterator[Cluster]:
    assert fdb_cluster.file.exists()  # there are servers here at all
    with Cluster(tls=(*certificate, certificate[0])) as servers:
        yield servers


def use(url: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own: the client library takes TLS options once."""
    return subprocess.run([sys.executable, "-c", USE, url], capture_output=True, text=True, check=False)


def test_a_store_behind_tls(encrypted: Cluster, certificate: tuple[Path, Path]) -> None:
    public, key = certificate
    done = use(encrypted.url(tls_certificate=str(public), tls_key=str(key), tls_ca=str(public)))
    assert done.stdout == "[(7,)]\n", done.stderr


def test_without_a_certificate_there_is_an_error_in_time(encrypted: Cluster) -> None:
    done = use(encrypted.url(wait_ms=1500))
    assert done.returncode == 1
    assert "the cluster did not answer within 1500 ms" in done.stderr


def test_a_certificate_that_is_none(
    encrypted: Cluster, certificate: tuple[Path, Path], tmp_path: Path
) -> None:
    bad = tmp_path / "bad.pem"
    bad.write_text("no certificate")
    done = use(encrypted.url(wait_ms=1500, tls_certificate=str(bad), tls_key=str(certificate[1])))
    assert done.returncode == 1
    assert "StoreError" in done.stderr or "EngineError" in done.stderr
