"""What stack.toml can say: hosts, domain, apps, users, store, buckets."""

import functools
import re
from typing import Annotated, Literal

from publicsuffixlist import PublicSuffixList
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

EVERYBODY = "*"
"""In ``allow``: every user. ``@name`` is a group, anything else a user's name."""
SIGN_IN_LABEL = "login"
"""The label of the sign-in host below the domain, unless ``sign_in_host`` says otherwise."""

_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_HOST = re.compile(rf"{_LABEL}(?:\.{_LABEL})+")
_USER = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,30}[a-z0-9])?")
_NAME = re.compile(r"[a-z](?:[a-z0-9-]{0,30}[a-z0-9])?")
_SEGMENT = r"[A-Za-z0-9_~@.-]+"
_PUBLIC_PATH = re.compile(rf"/|(?:/{_SEGMENT})+(?:/\*)?")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@functools.cache
def _suffixes() -> PublicSuffixList:
    return PublicSuffixList()


def wrong(what: str, remedy: str) -> PydanticCustomError:
    """An error of a value that says the way out."""
    return PydanticCustomError("mvstack", "{what}", {"what": what, "remedy": remedy})


def _host(name: str) -> str:
    if len(name) > 253 or not _HOST.fullmatch(name):
        raise wrong(
            f"{name!r} is not a host name", "Write it in lower case without port, as notes.example.org"
        )
    return name


def _domain(name: str) -> str:
    if _suffixes().is_public(_host(name)):
        raise wrong(
            f"{name!r} is a public suffix: the sign-in cookie would go to strangers' hosts",
            f"Use a domain below it that is yours, as home.{name}",
        )
    return name


def _user(name: str) -> str:
    if not _USER.fullmatch(name):
        raise wrong(
            f"{name!r} is not a user's name",
            "Use 1 to 32 lower-case letters and digits, inside also dots, hyphens and underscores",
        )
    return name


def _name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise wrong(
            f"{name!r} is not a name for this",
            "Use 1 to 32 lower-case letters, digits and hyphens; a letter first",
        )
    return name


def _public_path(path: str) -> str:
    if path == "/*":
        raise wrong("'/*' opens everything", "Say public = true if the whole app is public")
    if not _PUBLIC_PATH.fullmatch(path) or ".." in path:
        raise wrong(
            f"{path!r} is not a path that can be public",
            "Write a plain path such as /about, or /share/* for it and all below it",
        )
    return path


def _plain(text: str) -> str:
    """Text that goes into generated files: nothing there has to be quoted."""
    if any(char in "\"'\\$`{};" or not char.isprintable() for char in text):
        raise wrong(f"{text!r} has characters that configuration files read otherwise", "Use plain text")
    return text


def _absolute(path: str) -> str:
    if not re.fullmatch(r"/[A-Za-z0-9_./@+-]*", path) or ".." in path:
        raise wrong(
            f"{path!r} is not an absolute path of plain characters", "Write it from the root, as /srv/notes"
        )
    return path


def _variable(name: str) -> str:
    if not _VARIABLE.fullmatch(name):
        raise wrong(f"{name!r} is not a variable's name", "Use letters, digits and underscores")
    return name


Host = Annotated[str, AfterValidator(_host)]
Name = Annotated[str, AfterValidator(_name)]
UserName = Annotated[str, AfterValidator(_user)]
PublicPath = Annotated[str, AfterValidator(_public_path)]
Plain = Annotated[str, AfterValidator(_plain)]
AbsolutePath = Annotated[str, AfterValidator(_absolute)]
Variable = Annotated[str, AfterValidator(_variable)]
Port = Annotated[int, Field(ge=1, le=65535)]


class Table(BaseModel):
    """What all tables share: unknown keys are errors, nothing is converted, nothing changes after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class General(Table):
    """``[stack]``"""

    domain: Annotated[str, AfterValidator(_domain)]
    title: Plain = "Home"
    gateway: Literal["kong", "nginx"] = "kong"
    sign_in_host: Host | None = None
    """``login.<domain>`` unless given."""


class Machine(Table):
    """``[hosts.NAME]``: one machine."""

    address: Annotated[str, Field(pattern=r"^[A-Za-z0-9.:_-]+$")] = "localhost"
    """A name or number by which it is reached."""
    gateway: bool = False
    """Whether the gateway and the sign-in service run there: on one host exactly."""


class Tls(Table):
    """``[tls]``: the gateway's certificate, for the domain and all hosts below it."""

    certificate: AbsolutePath = "/var/lib/mvstack/tls/fullchain.pem"
    key: AbsolutePath = "/var/lib/mvstack/tls/privkey.pem"
    acme: Annotated[str, Field(pattern=r"^[^@\s\"'\\$;]+@[^@\s\"'\\$;]+$")] | None = None
    """The address for an ACME account: certificates are fetched and renewed by certbot."""


class Ports(Table):
    """``[ports]``: on the gateway's host."""

    listen: tuple[Annotated[str, Field(pattern=r"^(?:[0-9.]+|\[[0-9A-Fa-f:]+\])$")], ...] = (
        "0.0.0.0",
        "[::]",
    )
    """Addresses for visitors."""
    http: Port = 80
    https: Port = 443
    sign_in: Port = 8400
    """Of the sign-in service, on loopback."""
    certificates: Port = 8402
    """Of certbot while it fetches a certificate, on loopback."""
    status: Port = 8403
    """Of Kong's own health, on loopback."""


class Limits(Table):
    """``[limits]``: what the gateway lets a visitor do."""

    header_seconds: Annotated[int, Field(ge=1, le=300)] = 15
    """How long a request's header may take to arrive."""
    body_seconds: Annotated[int, Field(ge=1, le=3600)] = 60
    """How long a body may pause."""
    header_kilobytes: Annotated[int, Field(ge=4, le=64)] = 8
    """The longest line of a request's header."""
    connections: Annotated[int, Field(ge=1)] = 200
    """Open at a time from one address."""
    sign_in_requests_per_second: Annotated[int, Field(ge=1)] = 10
    token_seconds: Annotated[int, Field(ge=60, le=86400)] = 300
    """How long a token is valid, and so how long a page may be idle before it is led through sign-in again.

    The gateways ask about each request, so a revoked session ends at once whatever this is.
    """


class App(Table):
    """``[apps.NAME]``: one application behind the gateway."""

    on: Name
    """The host it runs on."""
    port: Port
    host: Host | None = None
    """``<name>.<domain>`` unless given."""
    title: Plain = ""
    allow: tuple[str, ...] = ()
    """Users' names, ``@group``, or ``*`` for every user."""
    public: bool = False
    """Whether anybody may enter without signing in."""
    public_paths: tuple[PublicPath, ...] = ()
    """What anybody may see of a private app: ``/about``, or ``/share/*`` for it and all below."""
    upload_megabytes: Annotated[int, Field(ge=1, le=1_000_000)] = 100
    """The largest request body."""
    requests_per_second: Annotated[int, Field(ge=1)] = 50
    """From one address; for a moment, twice as many."""
    idle_seconds: Annotated[int, Field(ge=1)] = 3600
    """How long a WebSocket or a slow answer may be silent."""
    command: tuple[Plain, ...] = ()
    """Program and arguments, run under systemd on the host; empty: it is run in another way."""
    environment: dict[Variable, Plain] = {}
    secrets: tuple[Variable, ...] = ()
    """Random values made for it: ``NAME_FILE`` in its environment is the path of one."""
    data: tuple[AbsolutePath, ...] = ()
    """Directories it writes to."""


class User(Table):
    """``[users.NAME]``"""

    name: str = ""
    """As shown to people."""
    email: str = ""
    groups: tuple[Name, ...] = ()


class DataStore(Table):
    """``[store]``: where databases lie."""

    url: Annotated[str, Field(pattern=r"^(?:lmdb|fdb|unix|tcp):[^\s\"'\\$;]+$")] = (
        "lmdb:/var/lib/mvstack/store"
    )


class Bucket(Table):
    """``[buckets.NAME]``: S3; its keys lie in the secrets directory."""

    endpoint: Annotated[str, Field(pattern=r"^https?://[^\s\"'@]+$")]
    bucket: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")]
    region: Plain = ""


class Stack(Table):
    """All of it."""

    stack: General
    hosts: dict[Name, Machine]
    apps: dict[Name, App] = {}
    users: dict[UserName, User] = {}
    tls: Tls = Tls()
    ports: Ports = Ports()
    limits: Limits = Limits()
    store: DataStore = DataStore()
    buckets: dict[Name, Bucket] = {}

    @property
    def domain(self) -> str:
        return self.stack.domain

    @property
    def sign_in_host(self) -> str:
        return self.stack.sign_in_host or f"{SIGN_IN_LABEL}.{self.domain}"

    @property
    def gateway_host(self) -> str:
        """The name of the host with the gateway."""
        return next(name for name, host in self.hosts.items() if host.gateway)

    @property
    def groups(self) -> dict[str, tuple[str, ...]]:
        """Users' names by group, both in alphabetical order."""
        names = sorted({group for user in self.users.values() for group in user.groups})
        return {
            name: tuple(sorted(user for user, one in self.users.items() if name in one.groups))
            for name in names
        }

    def host_of(self, app: str) -> str:
        """The host name under which visitors reach an app."""
        return self.apps[app].host or f"{app}.{self.domain}"

    def authority(self, host: str) -> str:
        """A host with its port, if that is not HTTPS's own."""
        return host if self.ports.https == 443 else f"{host}:{self.ports.https}"

    def upstream(self, app: str) -> str:
        """Where the gateway reaches an app: ``address:port``."""
        one = self.apps[app]
        address = "127.0.0.1" if one.on == self.gateway_host else self.hosts[one.on].address
        return f"{f'[{address}]' if ':' in address else address}:{one.port}"
