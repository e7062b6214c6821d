"""``mvsqlite doctor`` and clusters: made-up sick ones."""

import copy
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import cluster
from as_user import in_child, needs_root
from mvsqlite_py._doctor import Finding, fdb, status

VERSION = "7.3.63"
PROTOCOL = "0fdb00b073000000"


def sick(found: list[Finding]) -> list[tuple[str, str]]:
    """Level and subject of all that is not well; each must have a way out."""
    assert all(one.remedy for one in found if one.level != "ok")
    return [(one.level, one.about) for one in found if one.level != "ok"]


# ---- the status of made-up clusters ---------------------------------------------------------


def server(number: int, **changed: Any) -> dict[str, Any]:
    return {
        "address": f"10.0.0.{number}:4500", "version": VERSION, "excluded": False, "degraded": False,
        "fault_domain": f"zone{number}", "messages": [], "roles": [{"role": "storage"}],
        "disk": {"free_bytes": 80 << 30, "total_bytes": 100 << 30},
    } | changed  # fmt: skip


def coordinator(number: int) -> dict[str, Any]:
    return {"address": f"10.0.0.{number}:4500", "reachable": True, "protocol": PROTOCOL}


def well() -> dict[str, Any]:
    """Three machines with double redundancy, all as it should be."""
    machines = {str(n): {"address": f"10.0.0.{n}", "excluded": False} for n in (1, 2, 3)}
    state = {"healthy": True, "name": "healthy", "min_replicas_remaining": 2, "description": ""}
    return {
        "client": {
            "cluster_file": {"path": "/etc/foundationdb/fdb.cluster", "up_to_date": True},
            "coordinators": {
                "quorum_reachable": True,
                "coordinators": [coordinator(n) for n in (1, 2, 3)],
            },
            "database_status": {"available": True, "healthy": True},
            "messages": [],
            "timestamp": 1_790_000_000,
        },
        "cluster": {
            "cluster_controller_timestamp": 1_790_000_001,
            "configuration": {
                "redundancy_mode": "double", "storage_engine": "ssd-2", "coordinators_count": 3,
                "tenant_mode": "disabled",
            },
            "data": {
                "state": state, "total_kv_size_bytes": 12_345,
                "least_operating_space_ratio_storage_server": 0.7,
            },
            "database_available": True,
            "database_lock_state": {"locked": False},
            "fault_tolerance": {
                "max_zone_failures_without_losing_availability": 1,
                "max_zone_failures_without_losing_data": 1,
            },
            "latency_probe": {
                "transaction_start_seconds": 0.001, "read_seconds": 0.0005, "commit_seconds": 0.004,
            },
            "machines": machines,
            "messages": [],
            "processes": {str(n): server(n) for n in (1, 2, 3)},
            "qos": {"performance_limited_by": {"name": "workload", "description": "not being saturated"}},
            "recovery_state": {"name": "fully_recovered", "description": "Recovery complete."},
        },
    }  # fmt: skip


def with_change(path: str, value: Any) -> dict[str, Any]:
    """The healthy status with one thing changed; no value takes it away."""
    made = copy.deepcopy(well())
    at = made
    *names, last = path.split("/")
    for name in names:
        at = at[name]
    if value is None:
        del at[last]
    else:
        at[last] = value
    return made


def test_a_cluster_that_is_well() -> None:
    found = status.findings(well(), VERSION)
    assert sick(found) == []
    said = {one.about: one.what for one in found}
    assert said["database"].startswith("available and healthy: 3 server processes on 3 machines, double")
    assert said["speed"] == "a transaction begins in 1 ms, reads in 0.5 ms and commits in 4 ms"
    assert said["redundancy"] == "double: 1 machine may fail without loss of data, 1 without a stop"
    assert said["versions"] == "client 7.3.63, servers 7.3.63"


SECOND, SETTING, FAILURES = (
    "cluster/processes/2",
    "cluster/configuration",
    "cluster/fault_tolerance/max_zone_failures",
)
SICK = {
    "the file is stale": ("client/cluster_file/up_to_date", False, "wrong", "cluster file", "have changed"),
    "a client message": (
        "client/messages",
        [{"name": "status_incomplete_error", "description": "Cluster encountered an error fetching status."}],
        "warning", "client", "Cluster encountered an error fetching status",
    ),
    "excluded": (SECOND, server(2, excluded=True), "warning", "servers", ":4500 is excluded"),
    "degraded": (SECOND, server(2, degraded=True), "warning", "servers", ":4500 is degraded"),
    "an error of a process": (
        SECOND,
        server(2, messages=[{"name": "io_error", "description": "IoError on disk"}]),
        "warning", "servers", "io_error: IoError on disk",
    ),
    "a disk nearly full": (
        SECOND, server(2, disk={"free_bytes": 10 << 30, "total_bytes": 100 << 30}),
        "warning", "disk", "10.7 GB of 107 GB",
    ),
    "a disk full": (
        SECOND, server(2, disk={"free_bytes": 1 << 30, "total_bytes": 100 << 30}),
        "wrong", "disk", "1.07 GB of 107 GB",
    ),
    "an older server": (SECOND, server(2, version="7.3.43"), "warning", "versions", "7.3.43, 7.3.63"),
    "another release": (SECOND, server(2, version="7.1.67"), "wrong", "versions", "must be equal"),
    "an old client": (
        "cluster/incompatible_connections", ["10.0.0.9:3"], "warning", "versions", "10.0.0.9:3",
    ),
    "one disk for all": (f"{SETTING}/redundancy_mode", "single", "warning", "redundancy", "one disk"),
    "no more loss": (
        f"{FAILURES}_without_losing_data", 0,
        "warning", "redundancy", "loses data",
    ),
    "no more loss of coordinators": (
        f"{FAILURES}_without_losing_availability", 0,
        "warning", "redundancy", "availability",
    ),
    "data lost": (
        f"{FAILURES}_without_losing_data", -1,
        "wrong", "redundancy", "last copies",
    ),
    "one coordinator": (f"{SETTING}/coordinators_count", 1, "warning", "redundancy", "1 coordinator"),
    "healing": (
        "cluster/data/state",
        {"healthy": False, "name": "healing", "min_replicas_remaining": 1,
         "description": "Restoring replication factor"},
        "warning", "data", "Restoring replication factor (healing); 1 copy of some of it left",
    ),
    "missing data": (
        "cluster/data/state",
        {"healthy": False, "name": "missing_data", "min_replicas_remaining": 0, "description": "No copies"},
        "wrong", "data", "No copies",
    ),
    "little room": (
        "cluster/data/least_operating_space_ratio_storage_server", 0.1, "warning", "disk", "10%",
    ),
    "in memory": (f"{SETTING}/storage_engine", "memory", "warning", "storage engine", "fit in memory"),
    "tenants": (f"{SETTING}/tenant_mode", "required_experimental", "wrong", "tenants", "tenants only"),
    "locked": ("cluster/database_lock_state", {"locked": True, "lock_uid": "1"}, "wrong", "lock", "locked"),
    "no data distribution": ("cluster/data_distribution_disabled", True, "warning", "data", "switched off"),
    "maintenance": ("cluster/maintenance_zone", "zone2", "warning", "servers", "zone zone2"),
    "a message": (
        "cluster/messages",
        [{"name": "unreachable_processes", "description": "The cluster has some unreachable processes.",
          "unreachable_processes": [{"address": "10.0.0.3:4500"}]}],
        "warning", "cluster", "unreachable processes: 10.0.0.3:4500",
    ),
    "slowed down": (
        "cluster/qos/performance_limited_by",
        {"name": "storage_server_write_queue_size", "description": "Storage queue."},
        "warning", "speed", "writers down: Storage queue",
    ),
    "slow commits": ("cluster/latency_probe/commit_seconds", 1.5, "warning", "speed", "commits in 1.5 s"),
    "a clock": ("client/timestamp", 1_790_000_031, "warning", "clock", "differ by 30 seconds"),
}  # fmt: skip


@pytest.mark.parametrize("name", SICK)
def test_clusters_that_are_sick(name: str) -> None:
    path, value, level, about, says = SICK[name]
    found = status.findings(with_change(path, value), VERSION)
    assert sick(found) == [(level, about)]
    assert any(one.about == about and says in one.what for one in found), found


@pytest.mark.parametrize(
    ("state", "says", "remedy"),
    [
        ({"name": "configuration_never_created"}, "never configured", "configure new"),
        ({"name": "configuration_missing"}, "no configuration", "configure new"),
        (
            {"name": "recruiting_transaction_servers", "description": "Recruiting new transaction servers.",
             "missing_logs": "7f8d"},
            "recruiting_transaction_servers: Recruiting new transaction servers., logs missing: 7f8d",
            "bring back",
        ),
        ({}, "no server process leads", "start fdbserver"),
    ],
)  # fmt: skip
def test_databases_that_are_not_available(state: dict[str, str], says: str, remedy: str) -> None:
    made = with_change("client/database_status", {"available": False, "healthy": False})
    made["cluster"] = {"recovery_state": state} if state else {"layers": {"_valid": False}}
    found = status.findings(made, VERSION)
    assert sick(found) == [("wrong", "database")]
    assert says in found[0].what
    assert remedy in found[0].remedy


def test_a_controller_that_does_not_answer() -> None:
    made = with_change("client/database_status", {"available": False, "healthy": False})
    made["cluster"] = {"layers": {"_valid": False}}
    made["client"]["messages"] = [{"name": "status_incomplete_timeout", "description": "Timed out."}]
    found = status.findings(made, VERSION)
    assert sick(found) == [("wrong", "database")]
    assert "did not tell its status" in found[0].what
    assert "configure new" in found[0].remedy


def test_every_part_of_a_status_may_be_missing() -> None:
    """A sick cluster leaves out what it does not know."""

    def paths(value: Any, at: str = "") -> Iterator[str]:
        for key, inner in value.items() if isinstance(value, dict) else ():
            yield f"{at}{key}"
            yield from paths(inner, f"{at}{key}/")

    for path in list(paths(well())):
        made = status.findings(with_change(path, None), VERSION)
        assert made[0].about == "database", path
        status.findings(with_change(path, {}), VERSION)
        status.findings(with_change(path, []), VERSION)


def test_few_machines() -> None:
    made = well()
    del made["cluster"]["processes"]["2"], made["cluster"]["processes"]["3"]
    found = status.findings(made, VERSION)
    assert sick(found) == [("warning", "redundancy")]
    assert any("keeps 2 copies, and there is 1 machine" in one.what for one in found)
    made["cluster"]["configuration"]["redundancy_mode"] = "single"
    found = status.findings(made, VERSION)
    assert sick(found) == []
    assert any("keep backups" in one.what for one in found)


# ---- coordinators -------------------------------------------------------------------------------


THREE = [fdb.Coordinator(f"10.0.0.{n}", 4500, False) for n in (1, 2, 3)]


def unreachable(*numbers: int, protocol: str = "") -> dict[str, Any]:
    made = well()
    for one in made["client"]["coordinators"]["coordinators"]:
        if int(one["address"].split(".")[3].split(":")[0]) in numbers:
            one |= {"reachable": False, "protocol": protocol}
    return made


def test_coordinators() -> None:
    well_found = fdb.coordinator_finding(THREE, {}, well(), VERSION)
    assert (well_found.level, well_found.what) == ("ok", "3 of 3 coordinators answer")
    refused = {"10.0.0.2:4500": "refuses connections"}
    one = fdb.coordinator_finding(THREE, refused, unreachable(2), VERSION)
    assert (one.level, one.what) == (
        "warning",
        "2 of 3 coordinators answer: 10.0.0.2:4500 refuses connections",
    )
    two = fdb.coordinator_finding(THREE, {}, unreachable(1, 2), VERSION)
    assert two.level == "wrong"
    assert "10.0.0.1:4500 accepts connections and does not answer" in two.what
    old = fdb.coordinator_finding(THREE, {}, unreachable(1, 2, 3, protocol="0fdb00b071010000"), VERSION)
    assert "runs release 7.1, which a client of release 7.3.63 cannot talk to" in old.what
    assert "client of release 7.1" in old.remedy


def test_coordinators_without_a_client_library() -> None:
    assert (
        fdb.coordinator_finding(THREE, {}, None, "unknown").what
        == "3 of 3 coordinators answer to a connection"
    )
    refused = {str(one): "refuses connections" for one in THREE[:2]}
    assert fdb.coordinator_finding(THREE, refused, None, "unknown").level == "wrong"


def test_knocking() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert fdb.knock(fdb.Coordinator("127.0.0.1", port, False)) == ""
    assert "nothing listens" in fdb.knock(fdb.Coordinator("127.0.0.1", port, False))
    assert "not known here" in fdb.knock(fdb.Coordinator("no-such-host.invalid", port, False))


@pytest.mark.parametrize(
    ("protocol", "version"),
    [("0fdb00b073000000", "7.3"), ("fdb00b071010000", "7.1"), ("0fdb00b063010000", "6.3"), ("", "unknown")],
)
def test_releases_of_protocols(protocol: str, version: str) -> None:
    assert fdb.protocol_version(protocol) == version


# ---- cluster files and settings -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "coordinators"),
    [
        ("test:test@127.0.0.1:4500\n", ["127.0.0.1:4500"]),
        ("# made by hand\n  a_1:b2@10.0.0.1:1,10.0.0.2:2:tls  # two\n\n", ["10.0.0.1:1", "10.0.0.2:2:tls"]),
        ("a:b@[::1]:4500,db-1.example.org:4500", ["[::1]:4500", "db-1.example.org:4500"]),
    ],
)
def test_cluster_files(text: str, coordinators: list[str]) -> None:
    assert [str(one) for one in fdb.parse_file(text)] == coordinators


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no line"),
        ("# nothing\n", "no line"),
        ("garbage", "line 1: there is no @"),
        ("\n\ngarbage@", "line 3: there is no :"),
        ("a-b:c@10.0.0.1:1", "line 1: the description 'a-b'"),
        ("a:c_d@10.0.0.1:1", "line 1: the id 'c_d'"),
        ("a:b@", "'' is no address"),
        ("a:b@10.0.0.1", "'10.0.0.1' is no address"),
        ("a:b@10.0.0.1:70000", "'10.0.0.1:70000' is no address"),
        ("a:b@10.0.0.300:1", "'10.0.0.300:1' is no address"),
        ("a:b@[:::1]:1", "is no address"),
        ("a:b@10.0.0.1:1, 10.0.0.2:1", "' 10.0.0.2:1' is no address"),
        ("a:b@10.0.0.1:1,10.0.0.1:1", "named twice"),
        ("a:b@10.0.0.1:1\na:b@10.0.0.2:1\n", "line 2: there is more"),
    ],
)
def test_cluster_files_that_are_none(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "fdb.cluster"
    file.write_text(text)
    found, coordinators = fdb.file_findings(fdb.Chosen(file, "as the address says"))
    assert sick(found) == [("wrong", "cluster file")]
    assert says in found[0].what
    assert str(file) in found[0].what
    assert coordinators == []


def test_which_cluster_file_is_used_and_why(tmp_path: Path) -> None:
    named = {"FDB_CLUSTER_FILE": "/elsewhere/fdb.cluster"}
    assert fdb.choose_file("/a/b", named, tmp_path) == fdb.Chosen(Path("/a/b"), "as the address says")
    assert fdb.choose_file("", named, tmp_path).path == Path("/elsewhere/fdb.cluster")
    assert fdb.choose_file("", {}, tmp_path).path == fdb.DEFAULT_FILE
    (tmp_path / "fdb.cluster").touch()
    assert fdb.choose_file("", {}, tmp_path).path == tmp_path / "fdb.cluster"


@needs_root
def test_a_cluster_file_that_cannot_be_rewritten() -> None:
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        file = Path(directory) / "fdb.cluster"
        file.write_text("a:b@10.0.0.1:1\n")
        found, coordinators = fdb.file_findings(fdb.Chosen(file, "as the address says"))
        assert (sick(found), len(coordinators)) == ([], 1)
        said = in_child(lambda: [one.what for one in fdb.file_findings(fdb.Chosen(file, "so"))[0]])
    assert f"{file} and {directory} cannot be written" in said


def test_addresses() -> None:
    path, environ = fdb.parse_address("fdb:/my%20dir/f?prefix=a/&tls_ca=/x/ca.pem", {"A": "b"})
    assert path == "/my dir/f"
    assert environ == {"A": "b", "FDB_TLS_CA_FILE": "/x/ca.pem"}


def test_tls(tmp_path: Path) -> None:
    bare, secure = fdb.Coordinator("a", 1, False), fdb.Coordinator("b", 1, True)
    assert fdb.tls_findings([bare], {}) == []
    assert sick(fdb.tls_findings([bare, secure], {})) == [("warning", "TLS")]
    (tmp_path / "cert.pem").touch()
    (tmp_path / "key.pem").touch()
    files = {
        "FDB_TLS_CERTIFICATE_FILE": str(tmp_path / "cert.pem"),
        "FDB_TLS_KEY_FILE": str(tmp_path / "key.pem"),
    }
    assert sick(fdb.tls_findings([secure], files)) == []
    found = fdb.tls_findings([secure], files | {"FDB_TLS_CA_FILE": "/none/ca.pem"})
    assert sick(found) == [("wrong", "TLS")]
    assert "/none/ca.pem (FDB_TLS_CA_FILE)" in found[0].what
    assert "/etc/foundationdb/cert.pem" in fdb.tls_findings([secure], {})[0].what


def test_client_libraries() -> None:
    there = {"client_library": "/usr/lib/libfdb_c.so", "client_version": f"{VERSION},abc,{PROTOCOL[1:]}"}
    assert f"/usr/lib/libfdb_c.so (where the system looks for libraries), version {VERSION}" in (
        fdb.library_finding(there, {}).what
    )
    gone = {"client_library_error": "no FoundationDB client library (not found): install it, or set ..."}
    one = fdb.library_finding(gone, {})
    assert (one.level, one.what) == ("wrong", "no FoundationDB client library (not found)")
    assert "MVSQLITE_FDB_CLIENT" in one.remedy
    assert "/none/lib.so" in fdb.library_finding(gone, {"MVSQLITE_FDB_CLIENT": "/none/lib.so"}).what


# ---- the key space ------------------------------------------------------------------------------------


def described(prefix: str, *neighbours: tuple[str, int | None]) -> dict[str, Any]:
    return {
        "prefix": prefix.encode().hex(),
        "neighbours": [
            {"prefix": name.encode().hex(), "store": count is not None}
            | ({"databases": count} if count else {})
            for name, count in neighbours
        ],
        "all_neighbours": True,
    }


def test_prefixes() -> None:
    alone = fdb.neighbour_findings(described("me/", ("me/", 3)), True)
    assert (alone[0].level, alone[0].what) == ("ok", "the prefix is me/; nothing else is in the cluster")
    mistyped = fdb.neighbour_findings(described("nots/", ("notes/", 3), ("app", None)), False)
    assert sick(mistyped) == [("wrong", "prefix")]
    assert "a store under notes/ (3 databases), keys of something else under app" in mistyped[0].what
    assert "did you mean ?prefix=notes/" in mistyped[0].remedy
    bare = fdb.neighbour_findings(described("", ("notes/", 3)), False)
    assert sick(bare) == [("wrong", "prefix")]
    assert bare[0].remedy == "is one of them meant? Correct the address"
    assert sick(fdb.neighbour_findings(described("zzz/", ("app", None)), False)) == [], "a new store"
    assert sick(fdb.neighbour_findings(described("", ("app", None)), True)) == [("warning", "prefix")]
    assert fdb.show_key(b"a\x00\xff/") == "a%00%FF/"


# ---- without a server -----------------------------------------------------------------------------------


def test_a_client_library_that_is_missing(tmp_path: Path) -> None:
    """The coordinators are looked at all the same."""
    file = tmp_path / "fdb.cluster"
    file.write_text(f"a:b@127.0.0.1:{cluster.free_ports(1)[0]}\n")
    code = "from mvsqlite_py._cli.mvsqlite import main; main()"
    env = os.environ | {"MVSQLITE_FDB_CLIENT": str(tmp_path / "libfdb_c.so")}
    result = subprocess.run(
        [sys.executable, "-c", code, "doctor", f"fdb:{file}"],
        env=env, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 1, result.stderr
    assert f"MVSQLITE_FDB_CLIENT names {tmp_path / 'libfdb_c.so'}, which does not exist" in result.stdout
    assert "0 of 1 coordinators answer: 127.0.0.1" in result.stdout
    assert "nothing listens there" in result.stdout
    assert result.stdout.count("✗") == 2
