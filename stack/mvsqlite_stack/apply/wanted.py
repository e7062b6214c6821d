"""What a host is to be, worked out from the declaration alone."""

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property

from mvsqlite_stack import app_secrets
from mvsqlite_stack.apply.wheel import Wheel
from mvsqlite_stack.model import Stack
from mvsqlite_stack.render import firewall
from mvsqlite_stack.render.layout import SYSTEM, Layout
from mvsqlite_stack.render.users import GATEWAY, SERVICE, of_system
from mvsqlite_stack.secrets import KEYS, SIGNING, Secrets
from mvsqlite_stack.secrets import SERVICE as SERVICE_SECRET

ROOT = "root:root"
ALWAYS = ("liblmdb0", "libzstd1")
"""Debian packages: libraries that the core is linked with."""
KONG = "/usr/local/bin/kong"
LAST = ("nginx", "kong")
"""Gateways start when what they lead to is there."""


@dataclass(frozen=True, slots=True)
class File:
    """A generated file."""

    text: str
    owner: str = ROOT
    mode: int = 0o644


@dataclass(frozen=True, slots=True)
class Private:
    """A file with a secret. Its value is never shown."""

    data: bytes = field(repr=False)
    owner: str = ROOT
    mode: int = 0o600

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.data).hexdigest()


@dataclass(frozen=True, slots=True)
class Directory:
    """One that services expect."""

    path: str
    owner: str = ROOT
    mode: int = 0o755
    made_only: bool = False
    """Whether it stays as it is if it is there."""


@dataclass(frozen=True, slots=True)
class Unit:
    """One that is to run, or a timer."""

    name: str
    enable: bool
    reloads: bool
    """Whether it can read its inputs again while it runs."""
    own: str
    """Digest of what it takes a new start to change."""
    inputs: str
    """Digest of the files that it reads."""


@dataclass(frozen=True, slots=True)
class Listener:
    """A port that something of ours wants."""

    key: tuple[str, ...]
    """Where it is declared."""
    address: str
    port: int


@dataclass(frozen=True)
class Wanted:
    """Everything on one host."""

    host: str
    layout: Layout = SYSTEM
    files: dict[str, File] = field(default_factory=dict)
    """By ``host/folder/name``."""
    private: dict[str, Private] = field(default_factory=dict)
    """By place."""
    directories: tuple[Directory, ...] = ()
    users: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    listeners: tuple[Listener, ...] = ()
    certificate: tuple[str, str] | None = None
    """Certificate and key of the gateway."""
    stand_in_for: tuple[str, ...] = ()
    """Host names that a certificate of our own stands in for until an authority gives one."""
    wheel: Wheel | None = None
    python: str = "/usr/bin/python3"
    gateway: str | None = None
    """``nginx`` or ``kong``."""
    accounts: str | None = None
    """The household's users, if they sign in here."""
    destroy: bool = False
    """Whether nothing is wanted: then what is no generated file stays."""

    def text_at(self, place: str) -> str | None:
        return next((one.text for path, one in self.files.items() if self.layout.place(path) == place), None)

    @cached_property
    def units(self) -> dict[str, Unit]:
        """Those that run, by name, in the order in which they start."""
        found = dict(self._units())
        return dict(sorted(found.items(), key=lambda item: _turn(item[0])))

    def _units(self) -> Iterator[tuple[str, Unit]]:
        for path, file in self.files.items():
            folder, name = path.split("/")[1:3]
            if folder == "containers" and name.endswith(".container"):
                name = f"{name.removesuffix('.container')}.service"
                yield name, self._unit(name, file.text, enable=False)
            elif folder == "systemd" and "\n[Install]\n" in file.text:
                yield name, self._unit(name, file.text, enable=True)

    def _unit(self, name: str, text: str, *, enable: bool) -> Unit:
        inputs = self._read_by(text)
        own = [text, *(self.private[place].digest for place in self._secrets_of(text, inputs))]
        if self.wheel and self.layout.home in text:
            own.append(self.wheel.digest)
        read = [f"{place}\n{text}" for place, text in sorted(inputs.items())]
        return Unit(name, enable, "\nExecReload=" in text, _digest(own), _digest(read))

    def _read_by(self, text: str) -> dict[str, str]:
        """Generated files that a text names, and those that they name in turn, by place."""
        places = {
            self.layout.place(path): file.text
            for path, file in self.files.items()
            if path.split("/")[1] not in ("systemd", "containers", "sysusers")
        }
        found: dict[str, str] = {}
        waiting = [text]
        while waiting:
            current = waiting.pop()
            for place, inner in places.items():
                if place in current and place not in found:
                    found[place] = inner
                    waiting.append(inner)
        return found

    def _secrets_of(self, text: str, inputs: dict[str, str]) -> list[str]:
        """Secrets that are read at the start alone. Signing keys are read whenever they change."""
        whole = "\n".join([text, *inputs.values()])
        own = f"{self.layout.keys}/{SERVICE_SECRET.rpartition('/')[2]}"
        return sorted(
            place for place in self.private if place in whole or (place == own and self.layout.keys in whole)
        )


def _turn(name: str) -> tuple[int, str]:
    if name.endswith(".timer"):
        return 3, name
    if name.removeprefix("mvstack-").removesuffix(".service") in LAST:
        return 2, name
    return (0 if name == "mvstack-signin.service" else 1), name


def _digest(parts: Iterable[str]) -> str:
    whole = hashlib.sha256()
    for part in parts:
        whole.update(hashlib.sha256(part.encode()).digest())
    return whole.hexdigest()[:16]


def of_host(
    stack: Stack, host: str, rendered: dict[str, str], secrets: Secrets, wheel: Wheel, layout: Layout = SYSTEM
) -> Wanted:
    """What the declaration wants of a host; rendered: every file of every host. Raises StackError."""
    own = {path: text for path, text in rendered.items() if path.startswith(f"{host}/")}
    units = {path.split("/")[2]: text for path, text in own.items() if path.split("/")[1] == "systemd"}
    users, is_gateway = of_system(units.values()), host == stack.gateway_host
    private = {
        f"{layout.settings}/secrets/{name}": Private(data)
        for name, data in app_secrets.files(stack, host, secrets).items()
    }
    if is_gateway:
        private |= _keys(secrets, layout)
    return Wanted(
        host=host,
        layout=layout,
        files={path: _file(path, text) for path, text in own.items()},
        private=private,
        directories=tuple(_directories(stack, host, is_gateway, layout)),
        users=tuple(users),
        packages=tuple(_packages(stack, host, own)),
        listeners=tuple(_listeners(stack, host)),
        certificate=(stack.tls.certificate, stack.tls.key) if is_gateway else None,
        stand_in_for=tuple(stack.public_hosts) if is_gateway and stack.tls.acme else (),
        wheel=wheel,
        python=stack.hosts[host].python,
        gateway=stack.stack.gateway if is_gateway else None,
        accounts=own.get(f"{host}/signin/users.toml"),
    )


def nothing(host: str, layout: Layout = SYSTEM) -> Wanted:
    """For a host that is to have no generated file any more."""
    return Wanted(host=host, layout=layout, destroy=True)


def _file(path: str, text: str) -> File:
    """Who signs in is nobody's business but the service's."""
    return File(text, f"root:{SERVICE}", 0o640) if path.split("/")[1] == "signin" else File(text)


def _keys(secrets: Secrets, layout: Layout) -> dict[str, Private]:
    names = [f"{key.id}.pem" for key in secrets.public_keys()]
    names += [SIGNING, SERVICE_SECRET.rpartition("/")[2]]
    owner = f"{SERVICE}:{SERVICE}"
    return {f"{layout.keys}/{name}": Private(secrets.read(f"{KEYS}/{name}"), owner) for name in names}


def _directories(stack: Stack, host: str, is_gateway: bool, layout: Layout) -> Iterator[Directory]:
    yield Directory(layout.settings)
    yield Directory(f"{layout.settings}/secrets", mode=0o700)
    yield Directory(f"{layout.settings}/applied", mode=0o700)
    if is_gateway:
        own = f"{SERVICE}:{SERVICE}"
        yield Directory(layout.state, own, 0o711)
        yield Directory(layout.keys.rpartition("/")[0], own, 0o700)
        yield Directory(layout.keys, own, 0o700)
        yield Directory(layout.reports, own, 0o755)
        if stack.tls.acme:
            for path in sorted(
                {place.rpartition("/")[0] for place in (stack.tls.certificate, stack.tls.key)}
            ):
                yield Directory(path, f"root:{GATEWAY}", 0o750, made_only=True)
    for name, app in stack.apps.items():
        if app.on == host and app.command:
            user = f"mvstack-app-{name}"
            for path in app.data:
                yield Directory(path, f"{user}:{user}", 0o750, made_only=True)


def _packages(stack: Stack, host: str, own: dict[str, str]) -> list[str]:
    found = {*ALWAYS}
    if f"{host}/{firewall.FILE}" in own:
        found.add("nftables")
    if stack.hosts[host].python == "/usr/bin/python3":
        found.add("python3-venv")
    if host == stack.gateway_host:
        if stack.stack.gateway == "nginx":
            found.add("nginx-light")
        if stack.tls.acme:
            found.add("certbot")
    if any(path.split("/")[1] == "containers" for path in own):
        found.add("podman")
    for app in stack.apps.values():
        if app.on == host and app.runs:
            found.update(app.packages)
    return sorted(found)


def _listeners(stack: Stack, host: str) -> Iterator[Listener]:
    if host == stack.gateway_host:
        for key in ("http", "https"):
            for address in stack.ports.listen:
                yield Listener(("ports", key), address.strip("[]"), getattr(stack.ports, key))
        yield Listener(("ports", "sign_in"), "127.0.0.1", stack.ports.sign_in)
        if stack.status.enabled:
            yield Listener(("ports", "status_page"), "127.0.0.1", stack.ports.status_page)
        if stack.stack.gateway == "kong":
            yield Listener(("ports", "status"), "127.0.0.1", stack.ports.status)
    for name, app in stack.apps.items():
        if app.on == host and app.runs:
            yield Listener(("apps", name, "port"), "127.0.0.1", app.port)


def package_name(package: str) -> str:
    """Without the version that is asked for."""
    return re.sub(r"=.*", "", package)
