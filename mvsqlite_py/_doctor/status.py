"""What FoundationDB's own status says, in words. Pure: from the JSON to findings."""

from typing import Any

from mvsqlite_py._doctor.finding import Finding, fine, warning, wrong
from mvsqlite_py._words import bytes_text, plural

CLOCK_SLACK_SECONDS = 5
SLOW_COMMIT_SECONDS = 0.25
SLOW_READ_SECONDS = 0.1
LITTLE_ROOM, NO_ROOM = 0.15, 0.07
"""Parts of a disk: FoundationDB slows down below 5 %."""
COPIES = {"single": 1, "double": 2, "triple": 3}
NEW_DATABASE = (
    'if the cluster is new: `fdbcli --exec "configure new single ssd"` (double with three machines); '
    "never on a cluster that had data: that starts it anew"
)
RECOVERY = {
    "configuration_never_created": ("the cluster was never configured", NEW_DATABASE),
    "configuration_missing": ("the cluster has no configuration", NEW_DATABASE),
    "configuration_invalid": (
        "the cluster's configuration is not valid",
        "`fdbcli --exec status` tells more",
    ),
}
SILENT = ("status_incomplete_timeout", "unreachable_cluster_controller", "server_overloaded")
"""The client's messages for a controller that does not answer."""
WAY_IN = "`fdbcli --exec 'status details'` tells more"


def findings(status: dict[str, Any], version: str) -> list[Finding]:
    """``version``: of the client, as 7.3.63."""
    client, cluster = part(status, "client"), part(status, "cluster")
    found = [available_finding(client, cluster)]
    found += client_findings(client)
    if not processes(cluster):
        return found
    found += version_findings(cluster, version)
    found += process_findings(cluster)
    found += redundancy_findings(cluster)
    found += data_findings(cluster)
    found += setting_findings(cluster)
    found += message_findings(cluster)
    found += speed_findings(cluster)
    return [*found, *clock_findings(client, cluster)]


def part(value: dict[str, Any], *names: str) -> dict[str, Any]:
    """A part of the status, empty if it is not there: a sick cluster leaves much out."""
    for name in names:
        inner = value.get(name)
        value = inner if isinstance(inner, dict) else {}
    return value


def items(value: dict[str, Any], name: str) -> list[Any]:
    inner = value.get(name)
    return [one for one in inner if isinstance(one, dict)] if isinstance(inner, list) else []


def number(value: dict[str, Any], name: str) -> float | None:
    inner = value.get(name)
    return inner if isinstance(inner, int | float) else None


def processes(cluster: dict[str, Any]) -> list[dict[str, Any]]:
    return [one for one in part(cluster, "processes").values() if isinstance(one, dict)]


def silent_finding(waited: str = "in time") -> Finding:
    """The coordinators are there, and the cluster's controller tells nothing of the rest."""
    return wrong(
        "database",
        f"not available: coordinators can be reached, but the cluster did not tell its status {waited}",
        f"{NEW_DATABASE}. Else see that fdbserver runs on all its machines; "
        "`fdbcli --exec status` takes up to a minute then and may tell more",
    )


# ---- the database --------------------------------------------------------------------------


def available_finding(client: dict[str, Any], cluster: dict[str, Any]) -> Finding:
    state = part(cluster, "recovery_state")
    name = str(state.get("name", ""))
    if part(client, "database_status").get("available"):
        healthy = part(client, "database_status").get("healthy")
        machines = len(part(cluster, "machines"))
        config = part(cluster, "configuration")
        servers = plural(len(processes(cluster)), "server process", "server processes")
        text = (
            f"available{' and healthy' if healthy else ''}: {servers}"
            f" on {plural(machines, 'machine')}, {config.get('redundancy_mode', 'unknown')} redundancy, "
            f"{config.get('storage_engine', 'unknown')} engine"
        )
        return fine("database", text)
    if not part(client, "coordinators").get("quorum_reachable", True):
        return wrong(
            "database",
            "not available: too few coordinators answer",
            "bring back the coordinators (see there)",
        )
    if name in RECOVERY:
        what, remedy = RECOVERY[name]
        return wrong("database", f"not available: {what}", remedy)
    if any(message.get("name") in SILENT for message in items(client, "messages")):
        return silent_finding()
    if not name:
        return wrong(
            "database",
            "not available: the coordinators answer, and no server process leads the cluster",
            "start fdbserver on the cluster's machines (`systemctl start foundationdb`); " + WAY_IN,
        )
    missing = f", logs missing: {state['missing_logs']}" if state.get("missing_logs") else ""
    return wrong(
        "database",
        f"not available: it is recovering ({name}: {state.get('description', 'no description')}{missing})",
        "bring back the machines that are missing; a recovery that lasts more than seconds waits for them. "
        + WAY_IN,
    )


def client_findings(client: dict[str, Any]) -> list[Finding]:
    found = []
    if part(client, "cluster_file").get("up_to_date") is False:
        found.append(
            wrong(
                "cluster file",
                "the coordinators have changed, and the client cannot write them into the cluster file",
                "make the file and its directory writable, or copy it anew from a machine of the cluster",
            )
        )
    known = ["quorum_not_reachable", "incorrect_cluster_file_contents", "no_cluster_controller"]
    if not part(client, "database_status").get("available"):
        known += SILENT  # said with the database
    for message in items(client, "messages"):
        if message.get("name") not in known:
            found.append(warning("client", first_line(message), WAY_IN))
    return found


def first_line(message: dict[str, Any]) -> str:
    text = str(message.get("description") or message.get("name") or "no description").strip()
    return (text.splitlines() or [text])[0].rstrip(".")


# ---- servers ----------------------------------------------------------------------------------


def release(version: str) -> str:
    return ".".join(version.split(".")[:2])


def version_findings(cluster: dict[str, Any], version: str) -> list[Finding]:
    theirs = sorted({str(one["version"]) for one in processes(cluster) if one.get("version")})
    found = []
    other = [one for one in theirs if release(one) != release(version)]
    if other:
        found.append(
            wrong(
                "versions",
                f"the client has version {version}, "
                f"servers {', '.join(other)}: the first two numbers must be equal",
                f"install a client of release {release(other[0])}, or set MVSQLITE_FDB_CLIENT to one",
            )
        )
    elif len(theirs) > 1:
        found.append(
            warning(
                "versions",
                f"servers of different versions: {', '.join(theirs)}",
                "end the upgrade: restart the older ones with the newer version",
            )
        )
    elif theirs:
        found.append(fine("versions", f"client {version}, servers {theirs[0]}"))
    strange = cluster.get("incompatible_connections")
    if strange and isinstance(strange, list):
        found.append(
            warning(
                "versions",
                f"processes of an incompatible release call the cluster: {', '.join(map(str, strange[:5]))}",
                "upgrade them, or stop them",
            )
        )
    return found


def process_findings(cluster: dict[str, Any]) -> list[Finding]:
    found = []
    for one in processes(cluster):
        at = one.get("address", "a process")
        if one.get("excluded"):
            found.append(
                warning(
                    "servers", f"{at} is excluded", f'when it is repaired: `fdbcli --exec "include {at}"`'
                )
            )
        if one.get("degraded"):
            found.append(
                warning(
                    "servers", f"{at} is degraded: its peers find it slow", "look at its disk and network"
                )
            )
        if one.get("under_maintenance"):
            found.append(
                warning(
                    "servers",
                    f"{at} is under maintenance",
                    '`fdbcli --exec "maintenance off"` when it is done',
                )
            )
        for message in items(one, "messages"):
            about = f"{at}: {message.get('name', 'message')}: {first_line(message)}"
            found.append(warning("servers", about, "look into that server's log"))
        found += room_findings(str(at), part(one, "disk"))
    return found


def room_findings(at: str, disk: dict[str, Any]) -> list[Finding]:
    total, free = number(disk, "total_bytes"), number(disk, "free_bytes")
    if not total or free is None or free / total >= LITTLE_ROOM:
        return []
    what = f"{at} has {bytes_text(int(free))} of {bytes_text(int(total))} left on its disk"
    remedy = (
        "make room there, or add a machine: FoundationDB slows down, then stops writing, when disks are full"
    )
    return [(wrong if free / total < NO_ROOM else warning)("disk", what, remedy)]


def zones(cluster: dict[str, Any]) -> int:
    """Machines that can fail on their own and still serve."""
    serving = [one for one in processes(cluster) if not one.get("excluded")]
    return len({str(one.get("fault_domain") or one.get("machine_id")) for one in serving})


def redundancy_findings(cluster: dict[str, Any]) -> list[Finding]:
    mode = str(part(cluster, "configuration").get("redundancy_mode", "unknown"))
    count, needs = zones(cluster), COPIES.get(mode, 1)
    coordinators = part(cluster, "configuration").get("coordinators_count")
    found = []
    if count < needs:
        found.append(
            warning(
                "redundancy",
                f"{mode} redundancy keeps {needs} copies, and there {'is' if count == 1 else 'are'} "
                f"{plural(count, 'machine')}: copies are missing",
                f'add machines, or `fdbcli --exec "configure {"double" if count == 2 else "single"}"`',
            )
        )
    elif mode == "single" and count > 1:
        found.append(
            warning(
                "redundancy",
                f"single redundancy on {plural(count, 'machine')}: every page is on one disk only, "
                "and the loss of any machine loses data",
                '`fdbcli --exec "configure double"`, and `fdbcli --exec "coordinators auto"`',
            )
        )
    elif mode == "single":
        text = "single, on one machine: its disk is the only copy, so keep backups (`fdbbackup`)"
        found.append(fine("redundancy", text))
    else:
        found.append(tolerance_finding(mode, part(cluster, "fault_tolerance")))
    if count >= 3 and coordinators in (1, 2):
        found.append(
            warning(
                "redundancy",
                f"{plural(coordinators, 'coordinator')} for {count} machines: "
                "the loss of one stops the database",
                '`fdbcli --exec "coordinators auto"`',
            )
        )
    return found


def tolerance_finding(mode: str, tolerance: dict[str, Any]) -> Finding:
    data = number(tolerance, "max_zone_failures_without_losing_data")
    up = number(tolerance, "max_zone_failures_without_losing_availability")
    if data is None or up is None:
        return fine("redundancy", mode)
    if data < 0:
        return wrong("redundancy", "the last copies of some data are missing", "bring the lost machines back")
    if data == 0 or up <= 0:
        return warning(
            "redundancy",
            f"{mode}, and the loss of one more machine loses {'data' if data == 0 else 'availability'}",
            'bring missing machines back; with three or more: `fdbcli --exec "coordinators auto"`',
        )
    text = f"{mode}: {plural(int(data), 'machine')} may fail without loss of data, {int(up)} without a stop"
    return fine("redundancy", text)


# ---- data and settings ---------------------------------------------------------------------------


def data_findings(cluster: dict[str, Any]) -> list[Finding]:
    data = part(cluster, "data")
    state = part(data, "state")
    found = []
    name = str(state.get("name", "unknown"))
    if state.get("healthy") is False:
        description = str(state.get("description") or name).rstrip(".")
        left = number(state, "min_replicas_remaining")
        copies = f"; {plural(int(left), 'copy', 'copies')} of some of it left" if left is not None else ""
        bad = name == "missing_data" or left == 0
        remedy = (
            "bring the lost machines back"
            if bad
            else "wait, and see that it ends: the cluster repairs itself"
        )
        found.append((wrong if bad else warning)("data", f"{description} ({name}){copies}", remedy))
    elif state:
        size = bytes_text(int(number(data, "total_kv_size_bytes") or 0))
        found.append(fine("data", f"{name.replace('_', ' ')}; {size} of keys and values"))
    ratio = number(data, "least_operating_space_ratio_storage_server")
    if ratio is not None and ratio < LITTLE_ROOM:
        found.append(
            (wrong if ratio < NO_ROOM else warning)(
                "disk",
                f"the fullest storage server has {ratio:.0%} of its room left",
                "make room, or add a machine: FoundationDB slows down below 5 %",
            )
        )
    return found


def setting_findings(cluster: dict[str, Any]) -> list[Finding]:
    config = part(cluster, "configuration")
    engine = str(config.get("storage_engine", ""))
    found = []
    if engine.startswith("memory"):
        found.append(
            warning(
                "storage engine",
                f"{engine}: all data must fit in memory (1 GB a process unless configured otherwise)",
                '`fdbcli --exec "configure ssd"`',
            )
        )
    if str(config.get("tenant_mode", "disabled")).startswith("required"):
        found.append(
            wrong(
                "tenants",
                "the cluster takes keys of tenants only, and stores are made of plain keys with a prefix",
                '`fdbcli --exec "configure tenant_mode=disabled"`, or use another cluster',
            )
        )
    if part(cluster, "database_lock_state").get("locked"):
        found.append(
            wrong(
                "lock",
                "the database is locked, as it is during a restore or on the receiving side of fdbdr",
                'when that is over: `fdbcli --exec "unlock UID"` with the UID of `fdbcli --exec status`',
            )
        )
    off = ("data_distribution_disabled", "data_distribution_disabled_for_ss_failures")
    if any(cluster.get(name) for name in off):
        found.append(
            warning(
                "data",
                "data distribution is switched off: lost copies are not made again",
                '`fdbcli --exec "datadistribution on"`',
            )
        )
    if cluster.get("maintenance_zone"):
        found.append(
            warning(
                "servers",
                f"zone {cluster['maintenance_zone']} is under maintenance: its copies are not made again",
                '`fdbcli --exec "maintenance off"` when it is done',
            )
        )
    return found


def message_findings(cluster: dict[str, Any]) -> list[Finding]:
    found = []
    for message in items(cluster, "messages"):
        names = [str(one.get("address")) for one in items(message, "unreachable_processes")]
        more = [first_line(one) for one in [*items(message, "issues"), *items(message, "reasons")]]
        rest = ": " + ", ".join([*names, *more]) if names or more else ""
        found.append(warning("cluster", f"{first_line(message)}{rest}", WAY_IN))
    return found


# ---- speed and time --------------------------------------------------------------------------------


def speed_findings(cluster: dict[str, Any]) -> list[Finding]:
    found = []
    limited = part(cluster, "qos", "performance_limited_by")
    if limited and limited.get("name") != "workload":
        found.append(
            warning(
                "speed",
                f"the cluster slows writers down: {first_line(limited)} ({limited.get('name')})",
                "write less at once, or give it faster disks or more machines. " + WAY_IN,
            )
        )
    probe = part(cluster, "latency_probe")
    begin, read, commit = (
        number(probe, name) for name in ("transaction_start_seconds", "read_seconds", "commit_seconds")
    )
    if begin is None or read is None or commit is None:
        return found
    text = f"a transaction begins in {ms(begin)}, reads in {ms(read)} and commits in {ms(commit)}"
    if commit > SLOW_COMMIT_SECONDS or max(begin, read) > SLOW_READ_SECONDS:
        remedy = "look at the load and the disks of the servers. " + WAY_IN
        return [*found, warning("speed", f"{text}: that is slow", remedy)]
    return [*found, fine("speed", text)]


def ms(seconds: float) -> str:
    return f"{seconds * 1000:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"


def clock_findings(client: dict[str, Any], cluster: dict[str, Any]) -> list[Finding]:
    here, there = number(client, "timestamp"), number(cluster, "cluster_controller_timestamp")
    if not here or not there or abs(here - there) <= CLOCK_SLACK_SECONDS:
        return []
    return [
        warning(
            "clock",
            f"this host's clock and the cluster's differ by {abs(here - there):.0f} seconds",
            "keep the hosts' clocks in step (`timedatectl`): commits carry their writer's time",
        )
    ]
