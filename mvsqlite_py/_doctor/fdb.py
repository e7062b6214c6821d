"""A store in a cluster: client library, cluster file, coordinators, and what lives beside the store."""

import difflib
import os
import re
import socket
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote_from_bytes, unquote

from mvsqlite_py._doctor.finding import Finding, fine, warning, wrong
from mvsqlite_py._words import plural

DEFAULT_FILE = Path("/etc/foundationdb/fdb.cluster")
TLS_OPTIONS = {
    "tls_certificate": "FDB_TLS_CERTIFICATE_FILE",
    "tls_key": "FDB_TLS_KEY_FILE",
    "tls_ca": "FDB_TLS_CA_FILE",
}
"""Options of the address, and the variables they stand for."""
KNOCK_SECONDS = 2.0
"""How long a coordinator may take to accept a connection."""
IPV4 = r"(?:\d{1,3}\.){3}\d{1,3}"
ADDRESS = re.compile(
    rf"(?P<host>{IPV4}|\[[0-9a-fA-F:.]+\]|[A-Za-z0-9][A-Za-z0-9._-]*):(?P<port>\d+)(?P<tls>:tls)?"
)
GET_CLIENT = (
    "install FoundationDB's client (package foundationdb-clients, version 7.3), or set MVSQLITE_FDB_CLIENT "
    "to the path of a libfdb_c.so"
)


@dataclass(frozen=True, slots=True)
class Coordinator:
    host: str
    port: int
    tls: bool

    def __str__(self) -> str:
        return f"{self.host}:{self.port}{':tls' if self.tls else ''}"


@dataclass(frozen=True, slots=True)
class Chosen:
    """The cluster file that is used."""

    path: Path
    why: str


def parse_address(url: str, environ: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    """The path in an address, and the environment with the address's TLS files in it."""
    path, _, query = url.removeprefix("fdb:").partition("?")
    made = dict(environ)
    for option in query.split("&"):
        name, _, value = option.partition("=")
        if name in TLS_OPTIONS:
            made[TLS_OPTIONS[name]] = unquote(value)
    return unquote(path), made


# ---- the client library ----------------------------------------------------------------


def library_finding(fdb: dict[str, Any], environ: Mapping[str, str]) -> Finding:
    named = environ.get("MVSQLITE_FDB_CLIENT")
    if error := fdb.get("client_library_error"):
        if named and not Path(named).exists():
            return wrong(
                "client library",
                f"MVSQLITE_FDB_CLIENT names {named}, which does not exist",
                f"correct it or unset it; else {GET_CLIENT}",
            )
        return wrong("client library", str(error).split(": install it")[0], GET_CLIENT)
    version = client_version(fdb)
    how = "from MVSQLITE_FDB_CLIENT" if named else "where the system looks for libraries"
    return fine("client library", f"{fdb.get('client_library', 'libfdb_c.so')} ({how}), version {version}")


def client_version(fdb: dict[str, Any]) -> str:
    """As 7.3.63; the client says its version, source and protocol."""
    return str(fdb.get("client_version", "")).partition(",")[0] or "unknown"


# ---- the cluster file ---------------------------------------------------------------------


def choose_file(argument: str, environ: Mapping[str, str], here: Path) -> Chosen:
    """The client's own order; what is named is used even if it is not there."""
    if argument:
        return Chosen(Path(argument), "as the address says")
    if named := environ.get("FDB_CLUSTER_FILE"):
        return Chosen(Path(named), "as FDB_CLUSTER_FILE says")
    if (here / "fdb.cluster").exists():
        return Chosen(here / "fdb.cluster", "it is in the working directory")
    return Chosen(DEFAULT_FILE, "the system's: nothing names another")


def parse_file(text: str) -> list[Coordinator] | str:
    """The coordinators, or what is wrong with the text."""
    lines = [(n, line.partition("#")[0].strip()) for n, line in enumerate(text.splitlines(), 1)]
    lines = [(n, line) for n, line in lines if line]
    if not lines:
        return "it holds no line with an address"
    if len(lines) > 1:
        return f"line {lines[1][0]}: there is more than the one line `description:id@address,address...`"
    number, line = lines[0]
    key, at, addresses = line.partition("@")
    problem = _key_problem(key) if at else "there is no @ between `description:id` and the addresses"
    if problem:
        return f"line {number}: {problem}"
    found: list[Coordinator] = []
    for word in addresses.split(","):
        match = ADDRESS.fullmatch(word)
        if not match or not 0 < int(match["port"]) < 65536 or not _is_possible(match["host"]):
            return f"line {number}: {word!r} is no address: one is IP:PORT or HOST:PORT, with :tls for TLS"
        one = Coordinator(match["host"], int(match["port"]), match["tls"] is not None)
        if one in found:
            return f"line {number}: {one} is named twice"
        found.append(one)
    return found


def _key_problem(key: str) -> str:
    description, colon, identity = key.partition(":")
    if not colon:
        return "there is no : between description and id"
    if not re.fullmatch(r"[A-Za-z0-9_]*", description):
        return f"the description {description!r} may hold letters, digits and _ only"
    if not re.fullmatch(r"[A-Za-z0-9]*", identity):
        return f"the id {identity!r} may hold letters and digits only"
    return ""


def _is_possible(host: str) -> bool:
    family = socket.AF_INET6 if host.startswith("[") else socket.AF_INET
    if family == socket.AF_INET and not re.fullmatch(IPV4, host):
        return True
    try:
        socket.inet_pton(family, host.strip("[]"))
    except OSError:
        return False
    return True


def file_findings(chosen: Chosen) -> tuple[list[Finding], list[Coordinator]]:
    """What is to be said about the cluster file, and the coordinators it names."""
    path = chosen.path
    used = f"{path} ({chosen.why})"
    get_file = "copy it from a machine of the cluster (there it is /etc/foundationdb/fdb.cluster)"
    try:
        text = path.read_text(errors="replace")
    except FileNotFoundError:
        return [wrong("cluster file", f"there is no cluster file {used}", get_file)], []
    except OSError as error:
        remedy = f"`chmod a+r {path}`" if isinstance(error, PermissionError) else get_file
        return [wrong("cluster file", f"{used} cannot be read: {error.strerror}", remedy)], []
    parsed = parse_file(text)
    if isinstance(parsed, str):
        return [wrong("cluster file", f"{used} is no cluster file: {parsed}", get_file)], []
    found = [fine("cluster file", f"{used}; {plural(len(parsed), 'coordinator')}")]
    places = [
        place for place in (path, path.resolve().parent) if not os.access(place, os.W_OK, effective_ids=True)
    ]
    if places:
        found = [
            warning(
                "cluster file",
                f"{used}: {' and '.join(map(str, places))} cannot be written by this user, and the client "
                "rewrites the file when the cluster's coordinators change",
                "make the file and its directory writable, or use a copy of it in a directory of your own; "
                "else copy it anew after every change of coordinators",
            )
        ]
    return found, parsed


def tls_findings(coordinators: list[Coordinator], environ: Mapping[str, str]) -> list[Finding]:
    secure = [one for one in coordinators if one.tls]
    if not secure:
        return []
    if len(secure) < len(coordinators):
        bare = ", ".join(str(one) for one in coordinators if not one.tls)
        return [
            warning(
                "TLS",
                f"some coordinators are reached by TLS and some are not: {bare}",
                "if the cluster is being changed to TLS, end that; else correct the cluster file",
            )
        ]
    directory = DEFAULT_FILE.parent
    wanted = {
        "FDB_TLS_CERTIFICATE_FILE": directory / "cert.pem",
        "FDB_TLS_KEY_FILE": directory / "key.pem",
        "FDB_TLS_CA_FILE": None,
    }
    bad = []
    for name, default in wanted.items():
        place = environ.get(name) or default
        if place and not os.access(place, os.R_OK, effective_ids=True):
            bad.append(f"{place} ({name}{'' if environ.get(name) else ', by default'})")
    if bad:
        return [
            wrong(
                "TLS",
                f"the cluster is reached by TLS, and {' and '.join(bad)} cannot be read",
                "set FDB_TLS_CERTIFICATE_FILE, FDB_TLS_KEY_FILE and FDB_TLS_CA_FILE to files of this user's",
            )
        ]
    return [fine("TLS", "the cluster is reached by TLS, and certificate and key can be read")]


# ---- coordinators ----------------------------------------------------------------------------


def knock(coordinator: Coordinator) -> str:
    """Why no connection can be made; "" if one can."""
    try:
        with socket.create_connection((coordinator.host.strip("[]"), coordinator.port), KNOCK_SECONDS):
            return ""
    except TimeoutError:
        return "does not answer (the host is down, or a firewall is between)"
    except socket.gaierror as error:
        return f"has a name that is not known here ({error.strerror})"
    except ConnectionRefusedError:
        return "refuses connections (nothing listens there)"
    except OSError as error:
        return f"cannot be reached: {error.strerror}"


def knock_all(coordinators: list[Coordinator]) -> dict[str, str]:
    if not coordinators:
        return {}
    with ThreadPoolExecutor(min(len(coordinators), 16)) as pool:
        return dict(zip(map(str, coordinators), pool.map(knock, coordinators), strict=True))


def protocol_version(protocol: str) -> str:
    """The release of a protocol number: 0fdb00b073000000 is 7.3."""
    match = re.fullmatch(r"0?fdb00[a-f]\w(\w)(\w)\w{6}", protocol.lower())
    if not match:
        return "unknown"
    return f"{int(match[1], 16)}.{int(match[2], 16)}"


def coordinator_finding(
    coordinators: list[Coordinator], knocked: dict[str, str], status: dict[str, Any] | None, version: str
) -> Finding:
    """``knocked``: from knock_all; ``status``: the cluster's, None if it was not to be had."""
    told = status.get("client", {}).get("coordinators", {}) if status else {}
    by_address = {str(one.get("address")): one for one in told.get("coordinators", [])}
    problems, releases = [], set[str]()
    for one in map(str, coordinators):
        answer = by_address.get(one) or by_address.get(one.removesuffix(":tls")) or {}
        theirs = protocol_version(str(answer.get("protocol", "")))
        if answer.get("reachable"):
            continue
        if knocked.get(one):
            problems.append(f"{one} {knocked[one]}")
        elif theirs != "unknown" and not version.startswith(f"{theirs}."):
            releases.add(theirs)
            problems.append(
                f"{one} runs release {theirs}, which a client of release {version} cannot talk to"
            )
        elif answer:
            problems.append(f"{one} accepts connections and does not answer (stopped, or no fdbserver)")
    total, reached = len(coordinators), len(coordinators) - len(problems)
    says = f"{reached} of {total} coordinators answer"
    if not problems:
        how = says if told else f"{says} to a connection"
        return fine("coordinators", how)
    what = f"{says}: {'; '.join(problems)}"
    if releases:
        way = f"use a client of release {', '.join(releases)}: set MVSQLITE_FDB_CLIENT to its libfdb_c.so"
        return (wrong if reached <= total // 2 else warning)("coordinators", what, way)
    if reached <= total // 2:
        return wrong(
            "coordinators",
            f"{what}; without more than half of them there is no database",
            "start fdbserver on those hosts (`systemctl start foundationdb`), open the way to their ports, "
            "or, if they have moved, copy the cluster file anew from a machine of the cluster",
        )
    return warning(
        "coordinators",
        what,
        'bring them back, or choose others: `fdbcli --exec "coordinators auto"`',
    )


# ---- the key space ------------------------------------------------------------------------------


def show_key(key: bytes) -> str:
    """A part of a key, as the address would write it."""
    return quote_from_bytes(key, safe="/:.,_-@+*") or "(none)"


def neighbour_findings(fdb: dict[str, Any], stored: bool) -> list[Finding]:
    """The prefix in use, and what else lives in the cluster. ``stored``: there is a store under it."""
    prefix = bytes.fromhex(fdb["prefix"])
    others = [
        (bytes.fromhex(one["prefix"]), one.get("databases", 0) if one["store"] else None)
        for one in fdb.get("neighbours", [])
        if bytes.fromhex(one["prefix"]) != prefix
    ]
    stores = {show_key(key): count for key, count in others if count is not None}
    parts = [f"a store under {name} ({plural(count, 'database')})" for name, count in stores.items()]
    parts += [f"keys of something else under {show_key(key)}" for key, count in others if count is None]
    rest = "" if fdb.get("all_neighbours", True) else ", and more"
    beside = (
        f"beside it in the cluster: {', '.join(parts)}{rest}" if parts else "nothing else is in the cluster"
    )
    mine = f"the prefix is {show_key(prefix)}"
    if stores and not stored:
        near = difflib.get_close_matches(show_key(prefix), stores, n=1, cutoff=0.5) if prefix else []
        hint = f"did you mean ?prefix={near[0]}" if near else "is one of them meant"
        what = f"{mine}, and there is no store under it; {beside}"
        return [wrong("prefix", what, f"{hint}? Correct the address")]
    if not prefix and others:
        return [
            warning(
                "prefix",
                f"there is no prefix, so the store's keys stand under mv/ at the root; {beside}",
                "give a store in a shared cluster a prefix of its own (?prefix=me/)",
            )
        ]
    return [fine("prefix", f"{mine}; {beside}")]


def lock_finding(directory: str) -> Finding:
    """Where writers of this host take turns."""
    if os.access(directory, os.W_OK, effective_ids=True):
        return fine("locks", f"writers of this host take turns by files in {directory}")
    return wrong(
        "locks",
        f"lock files cannot be written in {directory}",
        "make it this user's, or set XDG_RUNTIME_DIR to a directory that is",
    )
