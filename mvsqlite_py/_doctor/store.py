"""What the store itself says: format, databases, commits under way, times."""

import fcntl
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mvsqlite_py._doctor.finding import Finding, fine, warning, wrong
from mvsqlite_py._words import age_text, bytes_text, plural

IMPORTING = ".importing-"
"""How the name of a database begins while it is imported (mvstore.h: MV_UNFINISHED)."""
CLOCK_SLACK_MS = 2_000
"""How far another host's clock may be ahead without a word."""
ABANDONED_MS = 3_600_000
"""After how long without a sign of life writers of other hosts take staging for abandoned."""
LEASE_MS = 300_000
"""A lease that lasts longer keeps others waiting for long if its holder dies."""
UNFINISHED_MS = 60_000
"""An import shows its database within a moment of its end."""

Writing = Callable[[int], bool]
"""Whether a process of this host writes to the database of that id."""


def findings(store: dict[str, Any], *, shared: bool, writing: Writing) -> list[Finding]:
    """From the description's "store". ``shared``: other hosts may write too."""
    format_found = format_finding(store)
    if format_found.level == "wrong":
        return [format_found]
    databases = store["databases"]
    now = store["now_ms"]
    found = [format_found, databases_finding(databases)]
    for database in databases:
        found += broken_findings(database)
        if not database["deleted_ms"] and "error" not in database:
            found += commit_findings(database, now, shared=shared, writing=writing)
    found += unfinished_findings(databases, now, writing)
    return [*found, clock_finding(databases, now, shared=shared)]


def format_finding(store: dict[str, Any]) -> Finding:
    found, known = store["format"], store["readable_format"]
    if found == 0:
        return wrong(
            "format",
            "there is no store: nothing was ever written under this address",
            "check the address; the first command that opens it makes the store, e.g. `mvsqlite ls`",
        )
    if found > known:
        return wrong(
            "format",
            f"the store has format {found}, and this release reads up to {known}",
            "it was written by a newer release of mvsqlite-py: `pip install -U mvsqlite-py`",
        )
    return fine("format", f"format {found}, which this release reads and writes")


def databases_finding(databases: list[dict[str, Any]]) -> Finding:
    shown = [one for one in databases if not one["name"].startswith(IMPORTING)]
    kept = [one for one in shown if not one["deleted_ms"]]
    size = sum(one.get("pages", 0) * one.get("page_size", 0) for one in kept)
    deleted = len(shown) - len(kept)
    rest = f", and {deleted:,} deleted that can be undeleted" if deleted else ""
    more = "more than " if len(databases) >= 1000 else ""
    return fine("databases", f"{more}{plural(len(kept), 'database')} of {bytes_text(size)}{rest}")


def broken_findings(database: dict[str, Any]) -> list[Finding]:
    """Records that contradict each other."""
    name = database["name"]
    remedy = f"`mvsqlite verify {name}` tells how far it goes; then restore the store from a backup"
    problems = []
    if "error" in database:
        problems.append(database["error"])
    if database.get("record") != database.get("newest") and int(database.get("newest", "0"), 16):
        problems.append(f"its newest version {database['newest']} has no commit record")
    if "previous_ms" in database and database["record_ms"] < database["previous_ms"]:
        problems.append("its newest commit has an earlier time than the one before")
    return [wrong("records", f'database "{name}": {problem}', remedy) for problem in problems]


def commit_findings(
    database: dict[str, Any], now_ms: int, *, shared: bool, writing: Writing
) -> list[Finding]:
    """Large commits that are not at their end."""
    name, busy = database["name"], writing(database["id"])
    found = []
    if database["moving"]:
        what = f'a large commit of "{name}" is complete, and its pages are still being put in their places'
        found.append(
            fine("large commit", what)
            if busy
            else warning(
                "large commit",
                f"{what}; no process of this host is at it",
                "nothing is lost and readers see it; the next writer ends it, e.g. "
                f"`mvsqlite shell {name} 'BEGIN IMMEDIATE; ROLLBACK'`",
            )
        )
    idle = [
        now_ms - one["ms"]
        for one in database["staged"]
        if not (one["locked"] and busy)
        and (now_ms - one["ms"] > ABANDONED_MS or (one["locked"] and not shared))
    ]
    if idle:
        found.append(
            warning(
                "staging",
                f'{plural(len(idle), "large transaction")} of "{name}" ended without a commit and left pages '
                f"behind, {age_text(max(idle) / 1000)} ago",
                "they only take room; the next writer sweeps them, e.g. "
                f"`mvsqlite shell {name} 'BEGIN IMMEDIATE; ROLLBACK'`",
            )
        )
    left = database.get("lease_until_ms", 0) - now_ms
    if left > LEASE_MS:
        found.append(
            warning(
                "lease",
                f'a host has the write lease of "{name}" for another {age_text(left / 1000)}: '
                "those that ask for it wait so long",
                "if that host is gone, wait, or write without `concurrency=lease` meanwhile, for a lease "
                "keeps out only those that ask for one; if its clock is ahead, set it (`timedatectl`)",
            )
        )
    return found


def unfinished_findings(databases: list[dict[str, Any]], now_ms: int, writing: Writing) -> list[Finding]:
    """Imports that did not end."""
    left = [
        one
        for one in databases
        if one["name"].startswith(IMPORTING)
        and now_ms - one["created_ms"] > UNFINISHED_MS
        and not writing(one["id"])
    ]
    if not left:
        return []
    size = sum(one.get("pages", 0) * one.get("page_size", 0) for one in left)
    return [
        warning(
            "imports",
            f"{plural(len(left), 'import')} did not end and left {bytes_text(size)}, "
            f"{age_text((now_ms - min(one['created_ms'] for one in left)) / 1000)} ago",
            "the next `mvsqlite import` drops what they left",
        )
    ]


def clock_finding(databases: list[dict[str, Any]], now_ms: int, *, shared: bool) -> Finding:
    newest = max((one.get("newest_ms", 0) for one in databases), default=0)
    ahead = newest - now_ms
    if ahead <= CLOCK_SLACK_MS:
        return fine("clock", "no commit is later than this host's clock")
    name = next(one["name"] for one in databases if one.get("newest_ms", 0) == newest)
    whose = (
        "this host's clock, or that of the host that wrote it, is wrong" if shared else "the clock went back"
    )
    return warning(
        "clock",
        f'the newest commit of "{name}" is {age_text(ahead / 1000)} in the future: {whose}',
        "set the clocks (`timedatectl` tells whether they are kept in step); until then commits share one "
        "time, and moments (`--at`) between them cannot be told apart: use versions",
    )


def is_writing(lock_directory: Path, database: int) -> bool:
    """Whether some process of this host holds the byte of that database in writers.lock."""
    try:
        fd = os.open(lock_directory / "writers.lock", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        asked = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, database, 1, 0)
        answer = fcntl.fcntl(fd, fcntl.F_OFD_GETLK, asked)
        return bool(struct.unpack("hhqqi4x", answer)[0] != fcntl.F_UNLCK)
    except OSError:
        return False
    finally:
        os.close(fd)
