"""A directory with all of a trial, and the declaration as it is run there."""

import os
import re
import shutil
import socket
import sys
from dataclasses import dataclass
from importlib.resources import files
from itertools import chain
from pathlib import Path

from mvsqlite_stack import config
from mvsqlite_stack.config import FILE_NAME
from mvsqlite_stack.errors import fail
from mvsqlite_stack.model import DataStore, Stack, Tls
from mvsqlite_stack.render.layout import Layout
from mvsqlite_stack.secrets import DIRECTORY_NAME, Secrets

DIRECTORY = "mvstack-trial"
DOMAIN = "home.localhost"
"""Browsers and curl find every name below ``localhost`` on this machine by themselves."""
TEMPLATE = "demo.template.toml"
HTTPS, HTTP = 8443, 8480
INNER = {"sign_in": 8481, "certificates": 8482, "status": 8483, "status_page": 8484, "notes": 8485}
"""Ports on loopback that the demo declares, if they are free."""
SPARE = range(8486, 8600)
NGINX_PLACES = "/usr/sbin:/usr/local/sbin:/sbin"

_PATH = re.compile(r"/[A-Za-z0-9_./@+-]*")
_SOCKET_BYTES = 96
"""Of the path of the supervisor's socket; the kernel takes 107, of which supervisord wants some."""


@dataclass(frozen=True, slots=True)
class Trial:
    """Where things lie."""

    directory: Path
    """Absolute."""

    @property
    def declaration(self) -> Path:
        return self.directory / FILE_NAME

    @property
    def secrets(self) -> Secrets:
        return Secrets(self.directory / DIRECTORY_NAME)

    @property
    def users(self) -> Path:
        """Names and passwords of demo users."""
        return self.directory / "users.txt"

    @property
    def log(self) -> Path:
        return self.directory / "log"

    @property
    def run(self) -> Path:
        return self.directory / "run"

    @property
    def socket(self) -> Path:
        return self.run / "supervisor.sock"

    @property
    def authority(self) -> Path:
        """The certificate of the trial's own authority."""
        return self.directory / "ca/ca.pem"

    @property
    def store(self) -> str:
        """The address of the sign-in service's store."""
        return f"lmdb:{self.directory}/store"

    @property
    def layout(self) -> Layout:
        """``etc`` is what /etc/mvstack is on a machine, ``lib`` what /var/lib is."""
        return Layout(
            settings=f"{self.directory}/etc",
            state=f"{self.directory}/lib/mvstack",
            gateway=f"{self.directory}/lib/mvstack-gateway",
            programs=str(Path(sys.executable).parent),
        )

    def log_of(self, program: str) -> Path:
        return self.log / f"{program}.log"


def at(directory: Path) -> Trial:
    """The trial in a directory, which need not be there yet. Raises StackError if it cannot lie there."""
    trial = Trial(directory.resolve())
    place = str(trial.directory)
    if not _PATH.fullmatch(place) or ".." in place:
        raise fail(
            trial.directory,
            "its path has characters that the files below would have to quote",
            "Choose a directory whose path has letters, digits and _./@+- only",
        )
    if len(os.fsencode(trial.socket)) > _SOCKET_BYTES:
        raise fail(trial.directory, "its path is too long for a socket in it", "Choose a shorter one")
    return trial


def declare(trial: Trial, https: int | None, http: int | None) -> bool:
    """Writes the demo's declaration if there is none; whether it did.

    https, http: ports that were asked for; others are the usual ones, or free ones where those are taken.
    """
    if trial.declaration.exists():
        return False
    taken: set[int] = set()
    values = {"https": https or _free(HTTPS, taken), "http": http or _free(HTTP, taken)}
    values |= {name: _free(port, taken) for name, port in INNER.items()}
    text = files("mvsqlite_stack.up").joinpath(TEMPLATE).read_text()
    for name, value in {**values, "domain": DOMAIN}.items():
        text = text.replace(f"@{name}@", str(value))
    trial.declaration.write_text(text)
    return True


def _free(port: int, taken: set[int]) -> int:
    """The port, or the next free one after the usual ones."""
    for one in chain((port,), SPARE):
        if one not in taken and is_free(one):
            taken.add(one)
            return one
    return port  # a clear error follows


def is_free(port: int, address: str = "127.0.0.1") -> bool:
    """Whether nobody listens on a port of an address."""
    kind = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((address, port))
            probe.listen(1)
    except OSError:
        return False
    return True


def loopback() -> tuple[str, ...]:
    """The addresses of loopback that this machine has."""
    return ("127.0.0.1", "::1") if is_free(0, "::1") else ("127.0.0.1",)


def read(trial: Trial, https: int | None, http: int | None) -> tuple[Stack, Stack]:
    """The stack as declared, and as it is run here: all on one machine, on loopback, in the directory."""
    declared = config.read(trial.declaration)
    gateway = declared.gateway_host
    ports = {"listen": tuple(f"[{one}]" if ":" in one else one for one in loopback())}
    given = {name: port for name, port in (("https", https), ("http", http)) if port}
    tls = Tls(certificate=f"{trial.directory}/tls/fullchain.pem", key=f"{trial.directory}/tls/privkey.pem")
    here = declared.model_copy(
        update={
            "stack": declared.stack.model_copy(update={"gateway": "nginx"}),
            "hosts": {gateway: declared.hosts[gateway]},
            "apps": {name: app.model_copy(update={"on": gateway}) for name, app in declared.apps.items()},
            "tls": tls,
            "ports": declared.ports.model_copy(update={**ports, **given}),
            "store": DataStore(url=trial.store),
            "status": declared.status.model_copy(update={"authority": str(trial.authority), "connect": None}),
        }
    )
    return declared, here


def check_ports(trial: Trial, stack: Stack, needed: dict[int, str]) -> None:
    """Raises StackError if somebody listens where a part shall; needed: ports on loopback and whose."""
    option = {stack.ports.https: "--port", stack.ports.http: "--http-port"}
    visitors = {stack.ports.https: "the gateway's", stack.ports.http: "the gateway's, for plain HTTP"}
    for port, whose in {**needed, **visitors}.items():
        addresses = loopback() if port in visitors else ("127.0.0.1",)
        if port < 1024 and os.geteuid() != 0:
            raise fail(trial.declaration, f"port {port} ({whose}) is for root alone", _way(option.get(port)))
        if not all(is_free(port, one) for one in addresses):
            what = f"port {port} ({whose}) is in use"
            raise fail(trial.declaration, what, f"See by whom with: ss -ltnp. {_way(option.get(port))}")


def _way(option: str | None) -> str:
    return f"Or choose another with {option}" if option else "Or choose another there"


def nginx() -> str:
    """The path of nginx. Raises StackError."""
    places = f"{os.environ.get('PATH', '')}:{NGINX_PLACES}"
    found = shutil.which("nginx", path=places)
    if found is None:
        raise fail(
            Path("nginx"),
            "it is the gateway here, and is not installed",
            "Install it, on Debian and Ubuntu with: sudo apt-get install nginx-light",
        )
    return found
