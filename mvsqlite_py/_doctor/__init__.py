"""What is wrong with a store or a cluster, and the way out of each thing found.

Nothing is made or changed, but for slots of dead processes that are freed on the way. What can
be said without the engine comes first, so that something is said of a store that cannot be opened.
"""

import json
import os
from pathlib import Path
from typing import Any

from mvsqlite_py import _binding
from mvsqlite_py._binding import check, encode, ffi, lib
from mvsqlite_py._doctor import fdb, lmdb, status, store
from mvsqlite_py._doctor.finding import Finding, fine, wrong

__all__ = ["Finding", "describe", "examine"]

ELSEWHERE = {
    "address": "write lmdb:/path/to/directory, or fdb:/path/to/fdb.cluster?prefix=me/",
    "client library": fdb.GET_CLIENT,
    "permissions": "be the user the store belongs to, or have the files given to you (`chown`)",
    "format": "`mvsqlite verify` tells how far the damage goes; restore the store from a backup",
}


def describe(url: str) -> dict[str, Any]:
    """What the native library can tell about an address; nothing is made (mv_describe_url)."""
    pointer = ffi.new("char **")
    check(lib.mv_describe_url(encode(url, "a store address", "MV_URL"), pointer))
    try:
        described: dict[str, Any] = json.loads(_binding.text(pointer[0]))
        return described
    finally:
        lib.mv_free(pointer[0])


def examine(url: str, why: str = "as given") -> list[Finding]:
    """Everything found about the store of an address. Raises nothing for a sick store."""
    plain = url
    while plain.startswith("fault:"):
        plain = plain.removeprefix("fault:")
    address = fine("address", f"{url} ({why})")
    if plain.startswith("lmdb:") and plain.partition("?")[0] != "lmdb:":
        return [address, *_examine_lmdb(plain)]
    if plain.startswith("fdb:"):
        return [address, *_examine_fdb(plain)]
    return [_address_finding(url)]


def _address_finding(url: str) -> Finding:
    """What is wrong with an address of no known kind."""
    place = Path(url)
    if (place / "data.mdb").exists():
        return wrong(
            "address", f"{url} is the directory of a store, not its address", f"write lmdb:{place.resolve()}"
        )
    if place.is_file():
        return wrong(
            "address",
            f"{url} is a file, not a store",
            f"a SQLite file goes into a store with `mvsqlite import {url} NAME`; stores are "
            "written lmdb:/directory or fdb:/cluster/file",
        )
    failed = describe(url)["failed"]
    return wrong("address", failed["message"], ELSEWHERE["address"])


def _examine_lmdb(url: str) -> list[Finding]:
    found, usable = lmdb.look_around(lmdb.directory_of(url))
    if not usable:
        return found
    described = describe(url)
    if "lmdb" in described:
        found += lmdb.describe_findings(described["lmdb"])
    locks = lmdb.directory_of(url)
    return found + _content(described, locks, found, shared=False)


def _content(described: dict[str, Any], locks: Path, before: list[Finding], *, shared: bool) -> list[Finding]:
    """What the store holds, and what kept it from being read if nothing else has said so."""
    found = []
    if "store" in described and "failed" not in described:
        found += store.findings(
            described["store"], shared=shared, writing=lambda one: store.is_writing(locks, one)
        )
    failed = described.get("failed")
    if failed and not any(finding.level == "wrong" for finding in before):
        message = failed["message"]
        remedy = ELSEWHERE.get(failed["step"], "if it stays so, look at what the message names")
        cut = message.rsplit(": restore it", 1)[0].rsplit("; restore it", 1)[0]
        if failed["code"] == "MV_CORRUPT":
            remedy = (
                "restore the store from a backup (a copy of its directory, made while nobody had it open)"
            )
        found.append(wrong(failed["step"], cut, remedy))
    return found


def _examine_fdb(url: str) -> list[Finding]:
    described = describe(url)
    facts = described.get("fdb", {})
    if described.get("failed", {}).get("step") == "address":
        return [wrong("address", described["failed"]["message"], ELSEWHERE["address"])]
    path, environ = fdb.parse_address(url, os.environ)
    chosen = fdb.choose_file(path, environ, Path.cwd())
    files, coordinators = fdb.file_findings(chosen)
    found = [fdb.library_finding(facts, os.environ), *files]
    found += fdb.tls_findings(coordinators, environ)
    told = json.loads(facts["status"]) if "status" in facts else None
    version = fdb.client_version(facts)
    if coordinators:
        found.append(fdb.coordinator_finding(coordinators, fdb.knock_all(coordinators), told, version))
    if told is not None and coordinators:
        found += status.findings(told, version)
    elif "status_error" in facts and all(one.level != "wrong" for one in found):
        found.append(status.silent_finding(f"within {facts['wait_ms'] / 1000:g} s ({facts['status_error']})"))
    if "neighbours" in facts:
        found += fdb.neighbour_findings(facts, described.get("store", {}).get("format", 0) > 0)
    if "lock_directory" in facts:
        found.append(fdb.lock_finding(facts["lock_directory"]))
    locks = Path(facts.get("lock_directory", "/nonexistent"))
    content = _content(described, locks, found, shared=True)
    if any(one.level == "wrong" and one.about == "prefix" for one in found):
        content = [one for one in content if one.about != "format"]  # said already, with what to do
    return found + content
