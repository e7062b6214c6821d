"""What has to be done on a host: data from data, and what stands in the way of it."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mvsqlite_stack.apply.found import Found, Holder, Present
from mvsqlite_stack.apply.wanted import Listener, Wanted, package_name
from mvsqlite_stack.errors import Problem, StackError
from mvsqlite_stack.places import line_of
from mvsqlite_stack.plan import Action, Step, compare
from mvsqlite_stack.secrets import SERVICE as SERVICE_SECRET

OURS = "mvstack-"
"""What units of ours are called."""


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that has to be done."""

    kind: str
    """``package``, ``program``, ``user``, ``directory``, ``file``, ``secret``, ``certificate``, ``unit``,
    ``account``."""
    name: str
    """What it is done to: a place, or a name."""
    action: str
    """``add``, ``change``, ``remove``; of units ``enable``, ``start``, ``restart``, ``reload``, ``stop``."""
    step: Step | None = None
    """Of a file."""

    def difference(self) -> list[str]:
        """Lines of a unified difference; nothing for what is no generated file."""
        return self.step.difference() if self.step else []


@dataclass(frozen=True, slots=True)
class Decision:
    """Everything for one host, in the order in which it is done."""

    host: str
    changes: tuple[Change, ...]
    kept: int
    """Files that are as declared."""

    def of(self, kind: str, *actions: str) -> list[Change]:
        """The changes of a kind; actions: those alone."""
        return [one for one in self.changes if one.kind == kind and (not actions or one.action in actions)]


def decide(wanted: Wanted, found: Found) -> Decision:
    """What makes the host be as wanted. Raises StackError if a file that is not ours is in the way."""
    steps = _files(wanted, found)
    changes = [
        *(
            Change("package", one, "add")
            for one in wanted.packages
            if package_name(one) not in found.packages
        ),
        *(Change("user", one, "add") for one in wanted.users if one not in found.users),
        *_directories(wanted, found),
        *_program(wanted, found),
        *_certificate(wanted, found),
        *_secrets(wanted, found),
        *_steps(wanted, found, steps),
        *_units(wanted, found, steps),
        *_accounts(wanted, found),
    ]
    return Decision(wanted.host, tuple(changes), sum(step.action is Action.KEEP for step in steps))


def _files(wanted: Wanted, found: Found) -> list[Step]:
    there = {
        found.declared_path(wanted.host, place, wanted.layout.settings): one
        for place, one in found.files.items()
    }
    declared = {path: file.text for path, file in wanted.files.items()}
    texts = {wanted.layout.place(path): one.text for path, one in there.items()}
    return compare(
        declared,
        lambda path: Path(wanted.layout.place(path)),
        there,
        lambda place: texts.get(str(place)),
    )


def _steps(wanted: Wanted, found: Found, steps: list[Step]) -> Iterator[Change]:
    for step in steps:
        place = str(step.place)
        if step.action is not Action.KEEP:
            yield Change("file", place, step.action.value, step)
        elif _differs(found.files[place], wanted.files[step.path].owner, wanted.files[step.path].mode):
            yield Change("file", place, "change", step)


def _differs(there: Present, owner: str, mode: int) -> bool:
    return (there.owner, there.mode) != (owner, mode)


def _directories(wanted: Wanted, found: Found) -> Iterator[Change]:
    for one in wanted.directories:
        there = found.directories.get(one.path)
        if there is None:
            yield Change("directory", one.path, "add")
        elif not one.made_only and _differs(there, one.owner, one.mode):
            yield Change("directory", one.path, "change")


def _program(wanted: Wanted, found: Found) -> Iterator[Change]:
    if wanted.wheel and found.program != wanted.wheel.digest:
        yield Change("program", wanted.layout.home, "change" if found.program else "add")


def _certificate(wanted: Wanted, found: Found) -> Iterator[Change]:
    if wanted.stand_in_for and wanted.certificate and not found.certificate.issuperset(wanted.certificate):
        yield Change("certificate", wanted.certificate[0], "add")


def _secrets(wanted: Wanted, found: Found) -> Iterator[Change]:
    """Copies of what the secrets directory has; others are removed, the key that signs at last named."""
    for place, one in wanted.private.items():
        there = found.private.get(place)
        if there is None:
            yield Change("secret", place, "add")
        elif there.digest != one.digest or _differs(there, one.owner, one.mode):
            yield Change("secret", place, "change")
    if not wanted.destroy:
        for place in sorted(found.private.keys() - wanted.private.keys()):
            yield Change("secret", place, "remove")


def _units(wanted: Wanted, found: Found, steps: list[Step]) -> Iterator[Change]:
    for step in steps:
        if step.action is Action.REMOVE and (name := unit_of(step.path)):
            yield Change("unit", name, "stop")
    for name, unit in wanted.units.items():
        state = found.units.get(name)
        if unit.enable and not (state and state.enabled):
            yield Change("unit", name, "enable")
        if not state or not state.active:
            yield Change("unit", name, "start")
        elif state.own != unit.own:
            yield Change("unit", name, "restart")
        elif state.inputs != unit.inputs:
            yield Change("unit", name, "reload" if unit.reloads else "restart")


def unit_of(path: str) -> str | None:
    """The unit that a rendered file ``host/folder/name`` makes."""
    _, folder, name = path.split("/", 2)
    if folder == "containers" and name.endswith(".container"):
        return f"{name.removesuffix('.container')}.service"
    return name if folder == "systemd" else None


def _accounts(wanted: Wanted, found: Found) -> Iterator[Change]:
    if wanted.accounts is None:
        return
    if found.accounts is None:
        from mvsqlite_stack.signin.invitations import declared

        for name in declared(wanted.accounts):
            yield Change("account", name, "add")
        return
    for action in ("add", "change"):
        for name in found.accounts[action]:
            yield Change("account", name, action)


# ---- what stands in the way ------------------------------------------------------------


class Checks:
    """What has to be so before anything is changed."""

    def __init__(self, file: Path, text: str, *, replace_service_secret: bool = False) -> None:
        self._file, self._text = file, text
        self._replace = replace_service_secret

    def problems(self, wanted: Wanted, found: Found) -> list[Problem]:
        """All that stands in the way on a host."""
        if wanted.destroy:
            return []
        return [
            *self._system(wanted, found),
            *self._python(wanted, found),
            *self._certificate(wanted, found),
            *self._ports(wanted, found),
            *self._service_secret(wanted, found),
        ]

    def _problem(self, key: tuple[str, ...], what: str, remedy: str) -> Problem:
        return Problem(self._file, what, remedy, line_of(self._text, key), ".".join(key))

    def _system(self, wanted: Wanted, found: Found) -> Iterator[Problem]:
        key = ("hosts", wanted.host)
        if not found.systemd:
            yield self._problem(key, "systemd does not run there", "Use a machine whose init is systemd")
        missing = [one for one in wanted.packages if package_name(one) not in found.packages]
        if missing and not found.apt:
            what = f"it lacks {', '.join(missing)}, and has no apt-get"
            yield self._problem(key, what, "Use Debian or a system made of it")
        if wanted.gateway == "kong" and not found.kong:
            remedy = 'Install Kong 3.9 there as its makers say, or say gateway = "nginx"'
            yield self._problem(("stack", "gateway"), f"there is no Kong on {wanted.host}", remedy)

    def _python(self, wanted: Wanted, found: Found) -> Iterator[Problem]:
        key = ("hosts", wanted.host, "python")
        wheel = wanted.wheel
        if wheel is None or found.program == wheel.digest:
            return
        if found.python is None:
            if "python3-venv" not in wanted.packages:
                yield self._problem(key, f"there is no {wanted.python}", "Name a Python that is there")
        elif not wheel.fits(found.python, found.machine):
            have = f"Python {found.python[0]}.{found.python[1]} on {found.machine}"
            remedy = f"Build a wheel there (pip wheel --no-deps .) and give it: --wheel FILE ({have})"
            yield self._problem(key, f"{wheel.name} does not run with {have}", remedy)

    def _certificate(self, wanted: Wanted, found: Found) -> Iterator[Problem]:
        if wanted.certificate is None or wanted.stand_in_for:
            return
        for key, path in zip(("certificate", "key"), wanted.certificate, strict=True):
            if path not in found.certificate:
                remedy = "Put it there, or let one be fetched: acme in [tls]"
                yield self._problem(("tls", key), f"there is no {path} on {wanted.host}", remedy)

    def _ports(self, wanted: Wanted, found: Found) -> Iterator[Problem]:
        told = set()
        for one in wanted.listeners:
            holder = next((other for other in found.holders if _is_in_the_way(one, other)), None)
            if holder and one.key not in told:
                told.add(one.key)
                who = holder.who or "another program"
                remedy = f"Stop it (systemctl disable --now {who}), or choose another port"
                if not who.endswith(".service"):
                    remedy = "Stop it, or choose another port"
                what = f"port {one.port} on {wanted.host} is held by {who}"
                yield self._problem(one.key, what, remedy)

    def _service_secret(self, wanted: Wanted, found: Found) -> Iterator[Problem]:
        place = f"{wanted.layout.keys}/{SERVICE_SECRET.rpartition('/')[2]}"
        there, own = found.private.get(place), wanted.private.get(place)
        if there and own and there.digest != own.digest and not self._replace:
            remedy = (
                f"Take that of the host into the secrets directory as {SERVICE_SECRET}, or give "
                "--replace-service-secret: then authenticator apps and recovery codes have to be set up anew"
            )
            what = f"the sign-in service has another secret on {wanted.host}"
            yield self._problem(("hosts", wanted.host), what, remedy)


def _is_in_the_way(one: Listener, other: Holder) -> bool:
    if one.port != other.port or other.who.startswith(OURS):
        return False
    every = {"0.0.0.0", "::", "*"}
    return one.address == other.address or one.address in every or other.address in every


def demand(problems: list[Problem]) -> None:
    """Raises StackError if there are any."""
    if problems:
        raise StackError(problems)
