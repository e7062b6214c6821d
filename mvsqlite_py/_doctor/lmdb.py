"""A store in a directory: the directory, its disk, and LMDB in it."""

import os
import pwd
import re
import resource
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mvsqlite_py._doctor.finding import Finding, Process, fine, read_process, warning, way_on, wrong
from mvsqlite_py._words import bytes_text, plural

FILES = ("data.mdb", "lock.mdb", "gate", "writers.lock", "readers.lock")
NETWORK = re.compile(
    r"(nfs\d*|cifs|smb\w*|9p|ceph|afs|lustre|gpfs|glusterfs|beegfs|vboxsf|virtiofs|drvfs|fuse.*)"
)
MEMORY = ("tmpfs", "ramfs")
ENOUGH_BYTES = 256 << 20
"""Free room below which a word is due: a large commit is staged in steps of 64 MiB."""
LITTLE_BYTES = 8 << 20
"""Free room below which ordinary commits soon fail."""
LONG_TRANSACTIONS = 100
"""A reader so many commits behind is no short read: it keeps their old pages from being used again."""
ADDRESS_SPACE = 2
"""The map doubles when it grows, and for a moment both are there."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A file or directory, as this user sees it."""

    path: Path
    owner: int
    mode: int
    size: int
    readable: bool
    writable: bool

    @classmethod
    def of(cls, path: Path) -> "Entry | None":
        try:
            st = path.stat()
        except OSError:
            return None
        can = [os.access(path, how, effective_ids=True) for how in (os.R_OK, os.W_OK)]
        return cls(path, st.st_uid, st.st_mode, st.st_size, can[0], can[1])


@dataclass(frozen=True, slots=True)
class Room:
    """What the disk has left."""

    free: int
    total: int
    files: int
    """How many more files it can hold; -1: it does not count them."""


def directory_of(url: str) -> Path:
    return Path(url.removeprefix("lmdb:").partition("?")[0])


def user_name(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return f"user {user}"


# ---- the directory --------------------------------------------------------------------


def missing_finding(path: Path) -> Finding | None:
    """Why there is no store at all; None if there is one."""
    remedy = (
        "check the address; the first command that opens it makes the store, "
        f"e.g. `mvsqlite ls --store lmdb:{path}`"
    )
    try:
        st = path.stat()
        if not stat.S_ISDIR(st.st_mode):
            return wrong("directory", f"{path} is a file, and a store is a directory", "check the address")
        data = path / "data.mdb"
        if not data.exists():
            held = sorted(entry.name for entry in path.iterdir())[:3]
            holds = f"it holds {', '.join(held)}, but no data.mdb" if held else "it is empty"
            return wrong("directory", f"there is no store in {path}: {holds}", remedy)
        if data.stat().st_size == 0:
            return wrong(
                "directory",
                f"{data} is empty: the store was never written, or its content is lost",
                f"restore {path} from a backup; if there was nothing in it, delete the empty file",
            )
    except FileNotFoundError:
        return wrong("directory", f"there is no store: directory {path} does not exist", remedy)
    except OSError as error:
        at = next((one for one in [path, *path.parents] if os.access(one, os.X_OK, effective_ids=True)), path)
        return wrong(
            "directory",
            f"{path} cannot be looked at: {error.strerror}",
            f"{user_name(os.geteuid())} may go as far as {at}: "
            "let its owner open the way (`chmod`), or be the owner",
        )
    return None


def permission_findings(user: int, directory: Entry, files: Sequence[Entry]) -> list[Finding]:
    """Who owns what, and what this user may do with it."""
    owner, name = user_name(directory.owner), user_name(user)
    be_owner = (
        f"run it as {owner} (`sudo -u {owner} ...`), or give {name} the store: "
        f"`chown -R {name} {directory.path}`"
    )
    found = []
    for entry in [directory, *files]:
        if not entry.readable or not entry.writable:
            may = "read but not written" if entry.readable else "not even be read"
            found.append(
                wrong(
                    "permissions",
                    f"{entry.path} may be {may} by {name}: it belongs to {user_name(entry.owner)} "
                    f"(mode {stat.S_IMODE(entry.mode):04o}); a store is written even by who only reads",
                    be_owner if entry.owner == directory.owner else _take_back([entry], owner),
                )
            )
    if found:
        return found
    others = [entry for entry in files if entry.owner != directory.owner]
    if others:
        found.append(
            warning(
                "permissions",
                f"{', '.join(entry.path.name for entry in others)} in {directory.path} "
                f"belong{'s' if len(others) == 1 else ''} to {user_name(others[0].owner)}, "
                f"but the directory to {owner}, who may be unable to open the store",
                _take_back(others, owner),
            )
        )
    elif directory.owner != user:
        found.append(
            warning(
                "permissions",
                f"the store belongs to {owner}, and you are {name}: files made by you would be {name}'s",
                f"run commands as {owner}: `sudo -u {owner} mvsqlite ...`",
            )
        )
    if directory.mode & stat.S_IWOTH and not directory.mode & stat.S_ISVTX:
        found.append(
            warning(
                "permissions",
                f"every user may write in {directory.path} (mode {stat.S_IMODE(directory.mode):04o})",
                f"`chmod 700 {directory.path}`",
            )
        )
    return found or [fine("permissions", f"{directory.path} and its files belong to {owner}, who may write")]


def _take_back(entries: Sequence[Entry], owner: str) -> str:
    return f"`chown {owner} {' '.join(str(entry.path) for entry in entries)}`"


# ---- the disk -----------------------------------------------------------------------------


def find_mount(path: Path, mounts: str) -> tuple[str, str, set[str]]:
    """Place, type and options of the file system of a path, from the text of /proc/mounts."""
    best = ("/", "unknown", set[str]())
    for line in mounts.splitlines():
        fields = line.split(" ")
        if len(fields) < 4:
            continue
        place = re.sub(r"\\(\d{3})", lambda code: chr(int(code.group(1), 8)), fields[1])
        if path.is_relative_to(place) and len(place) >= len(best[0]):
            best = (place, fields[2], set(fields[3].split(",")))
    return best


def file_system_finding(path: Path, mounts: str) -> Finding:
    place, kind, options = find_mount(path, mounts)
    where = f"{path} is on {place} ({kind})"
    if NETWORK.fullmatch(kind):
        return warning(
            "file system",
            f"{where}: no local disk. LMDB's locks and memory map are not reliable there, "
            "and two hosts that open the store can destroy it",
            "move the store to a local disk while nobody has it open; for several hosts use a "
            "FoundationDB cluster (fdb:)",
        )
    if "ro" in options:
        return wrong("file system", f"{where}, which is mounted read-only", f"`mount -o remount,rw {place}`")
    if kind in MEMORY:
        return warning(
            "file system",
            f"{where}: in memory, so the store is gone when the machine stops",
            "move it to a disk, unless that is what you want",
        )
    return fine("file system", where)


def room_finding(path: Path, room: Room, used: int) -> Finding:
    free = f"{bytes_text(room.free)} of {bytes_text(room.total)} are free on the disk of {path}"
    remedy = "make room, or move the store to a larger disk; nothing committed is lost when it is full"
    if room.files == 0:
        return wrong(
            "disk", f"the disk of {path} can hold no more files (no inodes are left)", "delete files"
        )
    if room.free < LITTLE_BYTES:
        return wrong("disk", f"only {free}: commits fail or soon will", remedy)
    if room.free < max(ENOUGH_BYTES, used // 20):
        return warning("disk", f"only {free}", remedy)
    return fine("disk", free)


# ---- LMDB ------------------------------------------------------------------------------------


def engine_findings(
    lmdb: dict[str, Any], process: Callable[[int], Process | None], *, me: int, address_space: int | None
) -> list[Finding]:
    """From the description's "lmdb"."""
    found = [map_finding(lmdb, address_space)]
    found += reader_findings(lmdb, process, me)
    found += gate_findings(lmdb, process)
    return found


def map_finding(lmdb: dict[str, Any], address_space: int | None) -> Finding:
    used = lmdb["pages"] * lmdb["page_bytes"]
    free = lmdb.get("free_pages", 0) * lmdb["page_bytes"]
    text = (
        f"the data take {bytes_text(used)}, of which {bytes_text(free)} are free to be used again; "
        f"the memory map of {bytes_text(lmdb['map_bytes'])} grows by itself"
    )
    if address_space is not None and address_space < lmdb["map_bytes"] * ADDRESS_SPACE:
        return warning(
            "map",
            f"{text}, but a process may have only {bytes_text(address_space)} of address space",
            "raise the limit (`ulimit -v unlimited`, or systemd's LimitAS=) before the store grows into it",
        )
    return fine("map", text)


def reader_findings(lmdb: dict[str, Any], process: Callable[[int], Process | None], me: int) -> list[Finding]:
    found = []
    readers = [one for one in lmdb["readers"] if one["pid"] != me]
    if dead := lmdb["dead_readers"]:
        found.append(
            warning(
                "readers",
                f"{plural(dead, 'reader')} of processes that died {'was' if dead == 1 else 'were'} "
                "still in LMDB's table, and kept old pages from being used again",
                "none is needed: they were taken out just now (every opening of the store does that)",
            )
        )
    held: dict[int, int] = {}
    for one in readers:
        if "transaction" in one:
            behind = max(0, lmdb["transaction"] - one["transaction"])
            held[one["pid"]] = max(behind, held.get(one["pid"], 0))
    for pid, behind in held.items():
        who = process(pid)
        if who is not None and who.stopped:
            found.append(
                warning(
                    "readers",
                    f"{who} is stopped in the middle of a read, {plural(behind, 'commit')} ago: "
                    "pages freed since are not used again, and the file grows",
                    way_on(who),
                )
            )
        elif behind >= LONG_TRANSACTIONS:
            found.append(
                warning(
                    "readers",
                    f"{who or f'process {pid}'} has been reading for {plural(behind, 'commit')}: "
                    "pages freed since are not used again, and the file grows",
                    "reads are short, so it hangs or is very slow: look at it, and end it if it is stuck",
                )
            )
    slots = lmdb["reader_slots"]
    if len(readers) > slots * 9 // 10:
        found.append(
            warning(
                "readers",
                f"{len(readers):,} of {slots:,} places for readers are taken",
                "close connections, or use fewer threads and processes: without a place a read fails",
            )
        )
    others = len({one["pid"] for one in readers})
    return found or [fine("readers", f"open in {_processes(others)}; nobody holds old pages")]


def _processes(count: int) -> str:
    return plural(count, "other process", "other processes") if count else "no other process"


def gate_findings(lmdb: dict[str, Any], process: Callable[[int], Process | None]) -> list[Finding]:
    """Who holds up all commits."""
    if not lmdb["lock_files"]:
        return [fine("locks", "no lock files yet: nobody has opened the store since it was made or copied")]
    if died := lmdb.get("gate_died"):
        return [
            warning(
                "commits",
                f"process {died} died in the middle of a commit",
                "none is needed: what it had not committed is dropped, and its lock was freed just now",
            )
        ]
    holder = lmdb.get("gate_held_by")
    if not holder:
        return [fine("commits", "no process holds up commits")]
    who = process(holder)
    if who is None:
        return [
            wrong(
                "commits",
                f"process {holder} holds the lock for commits and cannot be seen from here: it is of another "
                "container, or died without its lock being freed",
                "end it where it runs. If there is none, end every process that has the store open: "
                "the next to open it makes the lock anew",
            )
        ]
    if who.stopped:
        return [
            wrong("commits", f"{who} is stopped in the middle of a commit: nobody can commit", way_on(who))
        ]
    return [
        warning(
            "commits",
            f"{who} has been committing for more than a second",
            "a large commit or a slow disk does that; if it does not end, look at that process",
        )
    ]


# ---- all of it ----------------------------------------------------------------------------------


def look_around(path: Path) -> tuple[list[Finding], bool]:
    """What can be said without LMDB; and whether it makes sense to go on."""
    if gone := missing_finding(path):
        return [gone], False
    real = path.resolve()
    directory = Entry.of(real)
    files = [entry for name in FILES if (entry := Entry.of(real / name))]
    if directory is None:
        return [wrong("directory", f"{path} cannot be looked at", "check the address")], False
    found = [file_system_finding(real, Path("/proc/mounts").read_text(errors="replace"))]
    if found[0].level == "wrong":
        return found, False
    found += permission_findings(os.geteuid(), directory, files)
    st = os.statvfs(real)
    room = Room(st.f_bavail * st.f_frsize, st.f_blocks * st.f_frsize, st.f_favail if st.f_files else -1)
    found.append(room_finding(real, room, sum(entry.size for entry in files)))
    blocked = any(finding.level == "wrong" and finding.about == "permissions" for finding in found)
    return found, not blocked


def describe_findings(lmdb: dict[str, Any]) -> list[Finding]:
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    return engine_findings(
        lmdb,
        read_process,
        me=os.getpid(),
        address_space=None if limit == resource.RLIM_INFINITY else limit,
    )
