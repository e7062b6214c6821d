"""What is on a host: a script for its shell, and what the script tells."""

import base64
import json
import shlex
from dataclasses import dataclass, field
from typing import Any

from mvsqlite_stack.apply.wanted import KONG, Wanted, package_name
from mvsqlite_stack.render.layout import QUADLETS, UNITS

USERS = "mvsqlite_stack.signin.commands"
"""The module that does what ``mvstack user`` does, and loads nothing else."""


@dataclass(frozen=True, slots=True)
class Present:
    """A file that is there."""

    mode: int
    owner: str
    text: str = field(default="", repr=False)
    digest: str = ""
    """Of one whose text is not told."""


@dataclass(frozen=True, slots=True)
class State:
    """Of a unit."""

    active: bool
    enabled: bool
    own: str = ""
    inputs: str = ""
    """What it was last started with."""


@dataclass(frozen=True, slots=True)
class Holder:
    """What listens on a port."""

    address: str
    port: int
    who: str
    """A unit, or a program's name, or nothing that is known."""


@dataclass
class Found:
    """All that a decision depends on."""

    is_root: bool = False
    systemd: bool = False
    apt: bool = False
    kong: bool = False
    machine: str = ""
    python: tuple[int, int] | None = None
    packages: set[str] = field(default_factory=set)
    users: set[str] = field(default_factory=set)
    files: dict[str, Present] = field(default_factory=dict)
    private: dict[str, Present] = field(default_factory=dict)
    directories: dict[str, Present] = field(default_factory=dict)
    units: dict[str, State] = field(default_factory=dict)
    holders: list[Holder] = field(default_factory=list)
    program: str = ""
    """The digest of the environment that is in use."""
    certificate: set[str] = field(default_factory=set)
    """Which of its files are there."""
    accounts: dict[str, Any] | None = None
    """What ``mvstack user sync --dry-run`` says; None where there is no service yet."""

    def declared_path(self, host: str, place: str, settings: str) -> str:
        """``host/folder/name`` of a file that is there."""
        directory, _, name = place.rpartition("/")
        folders = {UNITS: "systemd", QUADLETS: "containers"}
        if directory in folders:
            return f"{host}/{folders[directory]}/{name}"
        return f"{host}/{place.removeprefix(f'{settings}/')}"


_HEAD = """\
set -u
export LC_ALL=C
say() { printf '%s\\n' "$*"; }
about() { stat -c '%a %U:%G' "$1"; }
text() { [ -f "$1" ] && say file "$(about "$1")" "$(base64 -w0 "$1")" "$1"; return 0; }
secret() { [ -f "$1" ] && say secret "$(about "$1")" "$(sha256sum <"$1" | cut -c1-64)" "$1"; return 0; }
say uid "$(id -u)"
[ -d /run/systemd/system ] && say systemd yes
command -v apt-get >/dev/null && say apt yes
say machine "$(uname -m)"
"""


def script(wanted: Wanted) -> str:
    """What to run there, as root. It changes nothing."""
    lay, quoted = wanted.layout, _words
    lines = [_HEAD]
    lines.append(f"[ -x {KONG} ] && say kong yes")
    version = "import sys; print('python', *sys.version_info[:2])"
    lines.append(f"{_words([wanted.python, '-I', '-c', version])} 2>/dev/null")
    lines.append(
        f"for p in {quoted(map(package_name, wanted.packages))}; do "
        "[ \"$(dpkg-query -W -f '${db:Status-Status}' $p 2>/dev/null)\" = installed ] && say package $p; done"
    )
    lines.append(f"for u in {quoted(wanted.users)}; do id -u $u >/dev/null 2>&1 && say user $u; done")
    settings = shlex.quote(lay.settings)
    others = f"! -path {settings}'/secrets/*' ! -path {settings}'/applied/*'"
    lines.append(f'find {settings} -type f {others} 2>/dev/null | while read -r f; do text "$f"; done')
    lines.append(f'for f in {UNITS}/mvstack-* {QUADLETS}/mvstack-*; do text "$f"; done')
    lines.append(
        f"find {settings}/secrets {shlex.quote(lay.keys)} -type f 2>/dev/null | "
        'while read -r f; do secret "$f"; done'
    )
    lines.append(
        f"for d in {quoted(one.path for one in wanted.directories)}; do "
        '[ -d "$d" ] && say directory "$(about "$d")" "$d"; done'
    )
    lines += [*_units(wanted), *_rest(wanted)]
    return "\n".join(lines) + "\nexit 0\n"


def _words(words: Any) -> str:
    return " ".join(map(shlex.quote, words))


def _units(wanted: Wanted) -> list[str]:
    applied = shlex.quote(f"{wanted.layout.settings}/applied")
    return [
        f"for u in {_words(wanted.units)}; do "
        'say unit $u "$(systemctl is-active $u 2>/dev/null || :)" '
        '"$(systemctl is-enabled $u 2>/dev/null || :)" '
        f'"$(cat {applied}/$u 2>/dev/null)"; done',
    ]


def _rest(wanted: Wanted) -> list[str]:
    lay = wanted.layout
    lines = [
        f'say program "$(basename "$(readlink {shlex.quote(lay.home)} || :)")"',
        "command -v ss >/dev/null && ss -Hltnp 2>/dev/null | while read -r _ _ _ local _ who; do "
        "p=${who#*pid=}; p=${p%%,*}; "
        'say port "$local" "$(sed -n "s|.*/||p" /proc/$p/cgroup 2>/dev/null | tail -n 1)"; done',
    ]
    for path in wanted.certificate or ():
        lines.append(f"[ -s {shlex.quote(path)} ] && say certificate {shlex.quote(path)}")
    if wanted.accounts is not None:
        said = base64.b64encode(wanted.accounts.encode()).decode()
        program, settings = f"{lay.programs}/python", f"{lay.settings}/signin/signin.toml"
        there = f"[ -x {program} ] && [ -f {settings} ]"
        # Where there is no store yet, looking would make one.
        store = f"sed -n 's/^store = \"lmdb:\\([^?\"]*\\).*/\\1/p' {settings}"
        there += f' && {{ d=$({store}); [ -z "$d" ] || [ -d "$d" ]; }}'
        command = f"{program} -I -m {USERS} sync --dry-run --json --settings {settings} -"
        lines.append(f'{there} && say accounts "$(printf %s {said} | base64 -d | {command} | tr -d "\\n")"')
    return lines


def parse(lines: list[str]) -> Found:
    """What the script has told."""
    found = Found()
    for line in lines:
        kind, _, rest = line.partition(" ")
        reader = _READERS.get(kind)
        if reader:
            reader(found, rest)
    return found


def _python(found: Found, rest: str) -> None:
    major, minor = rest.split()
    found.python = (int(major), int(minor))


def _file(found: Found, rest: str) -> None:
    mode, owner, data, place = rest.split(" ", 3)
    text = base64.b64decode(data).decode(errors="replace")
    found.files[place] = Present(int(mode, 8), owner, text)


def _private(found: Found, rest: str) -> None:
    mode, owner, digest, place = rest.split(" ", 3)
    found.private[place] = Present(int(mode, 8), owner, digest=digest)


def _directory(found: Found, rest: str) -> None:
    mode, owner, place = rest.split(" ", 2)
    found.directories[place] = Present(int(mode, 8), owner)


def _unit(found: Found, rest: str) -> None:
    name, active, enabled, *applied = rest.split(" ")
    own, inputs = [*applied, "", ""][:2]
    found.units[name] = State(active == "active", enabled in ("enabled", "generated"), own, inputs)


def _holder(found: Found, rest: str) -> None:
    local, _, who = rest.partition(" ")
    address, _, port = local.rpartition(":")
    found.holders.append(Holder(address.strip("[]").partition("%")[0], int(port), who))


def _accounts(found: Found, rest: str) -> None:
    found.accounts = json.loads(rest) if rest else None


def _program(found: Found, rest: str) -> None:
    found.program = rest.rpartition("-")[2]


_READERS: dict[str, Any] = {
    "uid": lambda found, rest: setattr(found, "is_root", rest == "0"),
    "systemd": lambda found, _: setattr(found, "systemd", True),
    "apt": lambda found, _: setattr(found, "apt", True),
    "kong": lambda found, _: setattr(found, "kong", True),
    "machine": lambda found, rest: setattr(found, "machine", rest),
    "python": _python,
    "package": lambda found, rest: found.packages.add(rest),
    "user": lambda found, rest: found.users.add(rest),
    "file": _file,
    "secret": _private,
    "directory": _directory,
    "unit": _unit,
    "program": _program,
    "port": _holder,
    "certificate": lambda found, rest: found.certificate.add(rest),
    "accounts": _accounts,
}
