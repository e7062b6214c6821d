"""The doctor on real servers: well, and sick in ways that can be made."""

import json
import subprocess
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner

import mvsqlite_py
from cluster import Cluster, find, free_ports
from mvsqlite_py import _binding
from mvsqlite_py._cli.mvsqlite import mvsqlite
from mvsqlite_py._doctor import describe


@pytest.fixture
def url(fdb_cluster: Cluster) -> str:
    """A store with one database in a cluster, under a prefix of its own."""
    made = f"{fdb_cluster.url()}&wait_ms=5000"
    with mvsqlite_py.open_store(made) as store, closing(mvsqlite_py.connect("notes.db", store)) as db:
        db.execute("CREATE TABLE t(a)")
    return made


def doctor(*words: str, status: int = 0) -> list[dict[str, str]]:
    result = CliRunner().invoke(mvsqlite, ["doctor", "--json", *words])
    assert result.exit_code == status, result.output + repr(result.exception)
    found: list[dict[str, str]] = json.loads(result.stdout)
    return found


def what(found: list[dict[str, str]], about: str) -> str:
    return " / ".join(one["what"] for one in found if one["about"] == about)


def test_a_real_cluster_that_is_well(url: str) -> None:
    found = doctor(url)
    assert {one["about"] for one in found if one["level"] == "wrong"} == set()
    assert "single" in what(found, "database")
    assert "memory" in what(found, "storage engine")
    assert what(found, "coordinators") == "1 of 1 coordinators answer"
    assert "1 database of" in what(found, "databases")
    assert "begins in" in what(found, "speed")
    assert "libfdb_c" in what(found, "client library")


def test_an_open_store_is_described_alike(url: str) -> None:
    pointer = _binding.ffi.new("char **")
    with mvsqlite_py.open_store(url) as store:
        _binding.check(_binding.lib.mv_store_describe(store.pointer, pointer))
    told = json.loads(_binding.text(pointer[0]))
    _binding.lib.mv_free(pointer[0])
    assert told["store"]["databases"] == describe(url)["store"]["databases"]
    assert json.loads(told["fdb"]["status"])["client"]["database_status"]["available"]


def test_the_wrong_prefix(url: str, fdb_cluster: Cluster) -> None:
    prefix = url.partition("prefix=")[2].partition("&")[0]
    wrong = f"fdb:{fdb_cluster.file}?prefix={prefix[:-2]}x/"
    found = doctor(wrong, status=1)
    assert prefix in what(found, "prefix")
    assert [one["remedy"] for one in found if one["about"] == "prefix"] == [
        f"did you mean ?prefix={prefix}? Correct the address"
    ]
    assert describe(wrong)["store"]["format"] == 0, "nothing was made"
    assert doctor(wrong, status=1)


def test_a_wrong_port(fdb_cluster: Cluster, tmp_path: Path) -> None:
    file = tmp_path / "fdb.cluster"
    key = fdb_cluster.file.read_text().partition("@")[0]
    file.write_text(f"{key}@127.0.0.1:{free_ports(1)[0]}\n")
    found = doctor(f"fdb:{file}?wait_ms=5000", status=1)
    assert "nothing listens there" in what(found, "coordinators")
    assert "too few coordinators" in what(found, "database")


def test_a_garbage_cluster_file(fdb_cluster: Cluster, tmp_path: Path) -> None:
    assert fdb_cluster.file.exists()
    file = tmp_path / "fdb.cluster"
    file.write_text("what is this\n")
    found = doctor(f"fdb:{file}?wait_ms=5000", status=1)
    assert "line 1: there is no @" in what(found, "cluster file")
    assert [one["about"] for one in found if one["level"] == "wrong"] == ["cluster file"]


def test_a_server_that_is_stopped(fdb_cluster: Cluster) -> None:
    """Words within the bound, not a hang."""
    assert fdb_cluster.file.exists()
    with Cluster() as other:
        made = f"{other.url()}&wait_ms=5000"
        mvsqlite_py.open_store(made).close()
        assert all(one["level"] != "wrong" for one in doctor(made))
        other.stop(0)
        found = doctor(made, status=1)
        assert "accepts connections and does not answer" in what(found, "coordinators")
        assert "not available" in what(found, "database")


def test_a_cluster_that_was_never_configured(fdb_cluster: Cluster, tmp_path: Path) -> None:
    assert fdb_cluster.file.exists()
    binary, port = str(find("fdbserver")), free_ports(1)[0]
    file = tmp_path / "fdb.cluster"
    file.write_text(f"test:test@127.0.0.1:{port}\n")
    command = [
        binary,
        "-p",
        f"127.0.0.1:{port}",
        "-C",
        str(file),
        "-d",
        str(tmp_path / "d"),
        "-L",
        str(tmp_path),
    ]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            told: list[dict[str, str]] = []
            while not any("configure new" in one["remedy"] for one in told):  # it is still starting
                assert process.poll() is None
                told = doctor(f"fdb:{file}?wait_ms=4000", status=1)
        finally:
            process.terminate()
    assert "did not tell its status within 4 s" in what(told, "database")
    assert [one["about"] for one in told if one["level"] == "wrong"] == ["database"]
