"""What a command starts, and whether the preload library can take effect in it."""

import io
import mmap
import os
import shlex
import shutil
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from elftools.common.exceptions import ELFError
from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile
from elftools.elf.segments import InterpSegment

from mvsqlite_py._run.plan import LIBRARY, PlanError

HEADER = b"SQLite format 3\0"
"""Every SQLite has it among its constants."""
INTERPRETERS = ("python", "pypy", "php", "ruby", "perl", "node", "nodejs", "lua", "tclsh", "guile", "java")
"""They load their SQLite as a module, or are reached in another way (Node)."""
SCRIPTS_DEEP = 5


@dataclass(frozen=True, slots=True)
class Program:
    """What would run: the file itself and, of a script, its interpreters."""

    command: str
    chain: tuple[Path, ...]
    """The command's file first, the ELF file that the kernel runs last."""
    problems: tuple[str, ...] = field(default=())
    """Why the routes could not work, in sentences that name the way out."""

    @property
    def file(self) -> Path:
        return self.chain[-1]


def find(word: str, environment: Mapping[str, str]) -> Path:
    """The file of a command, without symbolic links. Raises PlanError."""
    found = shutil.which(word, path=environment.get("PATH", os.defpath))
    if found is None:
        there = Path(word).exists() and "/" in word
        raise PlanError(
            f"{word} may not be executed" if there else f"no program {word!r} is found on the PATH"
        )
    return Path(os.path.realpath(found))


def _interpreter(file: Path, environment: Mapping[str, str]) -> Path | None:
    """What a script's first line names; None: it is no script."""
    with file.open("rb") as content:
        first = content.read(2) == b"#!" and content.readline(4096)
    if not first:
        return None
    program, *argument = os.fsdecode(first).strip().split(None, 1)
    if Path(program).name != "env":
        return find(program, environment)
    words = shlex.split(argument[0]) if argument else []
    named = [word for word in words if not word.startswith("-") and "=" not in word]
    if not named:
        raise PlanError(f"{file} names no interpreter in its first line")
    return find(named[0], environment)


def follow(word: str, environment: Mapping[str, str]) -> tuple[Path, ...]:
    """The command's file and the interpreters behind it. Raises PlanError."""
    chain = [find(word, environment)]
    while len(chain) <= SCRIPTS_DEEP:
        try:
            behind = _interpreter(chain[-1], environment)
        except OSError as error:
            raise PlanError(f"{chain[-1]} cannot be read: {error.strerror}") from None
        if behind is None:
            return tuple(chain)
        chain.append(behind)
    raise PlanError(f"{chain[0]} is a script of a script of a script: name the program itself")


# ---- what is in the file -------------------------------------------------------------


def _needed(elf: ELFFile) -> list[str]:
    dynamic = elf.get_section_by_name(".dynamic")
    if not isinstance(dynamic, DynamicSection):
        return []
    return [str(getattr(tag, "needed", "")) for tag in dynamic.iter_tags() if tag.entry.d_tag == "DT_NEEDED"]


def _loader(elf: ELFFile) -> str | None:
    for segment in elf.iter_segments():
        if isinstance(segment, InterpSegment):
            return str(segment.get_interp_name())
    return None


def _kind(elf: ELFFile) -> tuple[int, str]:
    return elf.elfclass, elf.header.e_machine


def _content_problem(file: Path, content: mmap.mmap) -> str | None:
    try:
        elf = ELFFile(io.BytesIO(content))
        ours = ELFFile(io.BytesIO(LIBRARY.read_bytes()))
        loader, needed, kind = _loader(elf), _needed(elf), _kind(elf)
    except (ELFError, KeyError, ValueError) as error:
        return f"{file} is no program that can be looked at: {error}"
    own = content.find(HEADER) >= 0 and not any(name.startswith("libsqlite3.") for name in needed)
    brings = ", and brings its own SQLite along" if own else ""
    if kind != _kind(ours):
        return (
            f"{file} is for {kind[1].removeprefix('EM_')} with {kind[0]} bits, our library is not: "
            "use a build of the program for this machine's own architecture"
        )
    if loader is None:
        return (
            f"{file} is statically linked{brings}: nothing can be preloaded into it. Use a build that is "
            "linked dynamically to libsqlite3 (of Go: -tags libsqlite3)"
        )
    if "ld-musl" in loader:
        return (
            f"{file} is linked to musl, and the preload library to glibc: use the program's build for glibc "
            "(Debian, Ubuntu, ...), not that of Alpine"
        )
    if own and not is_interpreter(file):
        return (
            f"{file} brings its own SQLite along, which cannot be reached from outside: use a build that is "
            "linked to the system's libsqlite3, or a driver that loads extensions (libmvsqlite.so is one)"
        )
    return None


def is_interpreter(file: Path) -> bool:
    """Whether it runs programs written in a language that has its SQLite in a module."""
    return any(file.name.rstrip("0123456789.-") == name for name in INTERPRETERS)


def _privilege_problem(file: Path) -> str | None:
    status = file.stat()
    ways = "start it as the user it changes to, without that bit, or name our library in /etc/ld.so.preload"
    if status.st_mode & stat.S_ISUID and status.st_uid != os.getuid():
        return f"{file} is setuid, and the system ignores LD_PRELOAD for such programs: {ways}"
    if status.st_mode & stat.S_ISGID and status.st_mode & stat.S_IXGRP and status.st_gid != os.getgid():
        return f"{file} is setgid, and the system ignores LD_PRELOAD for such programs: {ways}"
    try:
        capabilities = os.getxattr(file, "security.capability")
    except OSError:
        capabilities = b""
    if capabilities and os.getuid() != 0:
        return (
            f"{file} has file capabilities, and the system ignores LD_PRELOAD for such programs: take them "
            f"away (setcap -r {shlex.quote(str(file))}) and give it its port another way, or start it as root"
        )
    return None


def hidden_from_others(library: Path) -> str | None:
    """That a program which changes to another user could not load the library, in a sentence."""
    closed = [place for place in (library, *library.parents) if not place.stat().st_mode & _reads(place)]
    if not closed:
        return None
    return (
        f"only its owner may look into {closed[-1]}: if the program, or one that it starts, runs as another "
        f"user, {library.name} will not be loaded there. Install mvsqlite-py where everybody can read it"
    )


def _reads(place: Path) -> int:
    return stat.S_IXOTH if place.is_dir() else stat.S_IROTH


def _look(file: Path) -> list[str]:
    problems = [_privilege_problem(file)]
    try:
        with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as content:
            problems.append(_content_problem(file, content))
    except (OSError, ValueError) as error:
        problems.append(f"{file} cannot be looked at: {error}")
    return [problem for problem in problems if problem]


def examine(word: str, environment: Mapping[str, str]) -> Program:
    """Finds a command's program and looks whether routes can work in it. Raises PlanError: there is none."""
    chain = follow(word, environment)
    return Program(command=word, chain=chain, problems=tuple(_look(chain[-1])))
