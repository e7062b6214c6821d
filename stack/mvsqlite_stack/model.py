"""What stack.toml can say: hosts, domain, apps, users, store, buckets."""

import functools
import re
from typing import Annotated, Any, Literal

from publicsuffixlist import PublicSuffixList
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

STATE = "/var/lib/mvstack"
"""Where services keep what they keep, unless a layout says otherwise."""
STORE_DIRECTORY = "store"
"""In the state directory of an app: its databases."""
EVERYBODY = "*"
"""In ``allow``: every user. ``@name`` is a group, anything else a user's name."""
SIGN_IN_LABEL = "login"
"""The label of the sign-in host below the domain, unless ``sign_in_host`` says otherwise."""
STATUS_LABEL = "status"
"""The label of the status page's host, unless ``[status] host`` says otherwise."""

_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_HOST = re.compile(rf"{_LABEL}(?:\.{_LABEL})+")
_USER = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,30}[a-z0-9])?")
_NAME = re.compile(r"[a-z](?:[a-z0-9-]{0,30}[a-z0-9])?")
_SEGMENT = r"[A-Za-z0-9_~@.-]+"
_PUBLIC_PATH = re.compile(rf"/|(?:/{_SEGMENT})+(?:/\*)?")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
PLACEHOLDERS = ("state", "version", "port", "listen", "host", "url", "domain")
"""What may stand in braces where an app is described: its state directory, its version, where it listens
(``listen`` is the address), its host name, its address with ``https://``, the domain."""
_PLACEHOLDER = re.compile(rf"\{{(?:{'|'.join(PLACEHOLDERS)})\}}")
_IMAGE = re.compile(
    r"(?:localhost|[a-z0-9-]+(?:\.[a-z0-9-]+)+)(?::\d+)?(?:/[a-z0-9._-]+)+"
    r"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]*))?(?P<digest>@sha256:[0-9a-f]{64})?"
)
_PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]+(?:=[A-Za-z0-9.+:~-]+)?")
_CAPABILITY = re.compile(r"[A-Z][A-Z_]+")
_SECRET_FORM = re.compile(r"given|(?:hex|base64|laravel):(?:1[6-9]|[2-9][0-9])")
_APP_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}")
_DATABASE_NAME = re.compile(
    r"[A-Za-z0-9][A-Za-z0-9._-]*|[A-Za-z0-9._-]*\{(?:stem|name|parent|[1-9])\}[A-Za-z0-9._-]*"
)


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


def _value(text: str) -> str:
    """Plain text with placeholders in it."""
    _plain(_PLACEHOLDER.sub("", text))
    return text


def check_image(name: str) -> str:
    """An image's name, if it is always the same program. Raises PydanticCustomError."""
    found = _IMAGE.fullmatch(_PLACEHOLDER.sub("0" * 64, name))
    if not found:
        raise wrong(
            f"{name!r} is not an image's full name", "Write registry and all, as docker.io/who/what:1.2"
        )
    if not found["digest"] and found["tag"] in (None, "latest"):
        raise wrong(
            f"{name!r} names another program every time",
            "Pin it: give the tag of a release, {version} and a version, or @sha256: and the digest",
        )
    return name


def _matching(pattern: re.Pattern[str], what: str, remedy: str) -> AfterValidator:
    def check(text: str) -> str:
        if not pattern.fullmatch(text):
            raise wrong(f"{text!r} is not {what}", remedy)
        return text

    return AfterValidator(check)


def _routed(pattern: str) -> str:
    bare = _PLACEHOLDER.sub("/", pattern)
    if not bare.startswith("/") or ".." in bare or not re.fullmatch(r"[A-Za-z0-9_./@+*?-]+", bare):
        raise wrong(
            f"{pattern!r} is no absolute path of a database file",
            "Write it from the root, as /var/lib/notes/*.db, or below the app's own directory: {state}/*.db",
        )
    return pattern


def _source(path: str) -> str:
    if path.startswith("/"):
        return _absolute(path)
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(?:/[A-Za-z0-9_][A-Za-z0-9_.-]*)*", path):
        raise wrong(
            f"{path!r} is no directory for a volume",
            "Write a name, for a directory in the app's own one, or a path from the root",
        )
    if path.split("/", maxsplit=1)[0] == STORE_DIRECTORY:
        raise wrong(f"{path!r} is where the app's databases lie", "Choose another name")
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
Value = Annotated[str, AfterValidator(_value)]
"""Plain text with placeholders."""
Image = Annotated[str, AfterValidator(check_image)]
Package = Annotated[str, _matching(_PACKAGE, "a Debian package", "Write its name, or name=version")]
Capability = Annotated[str, _matching(_CAPABILITY, "a capability", "Write it as CHOWN, without CAP_")]
SecretForm = Annotated[
    str,
    _matching(
        _SECRET_FORM,
        "a form of a secret",
        "Write hex:32, base64:32 or laravel:32 (random bytes, 16 to 99 of them), or given",
    ),
]
AppVersion = Annotated[str, _matching(_APP_VERSION, "a version", "Write it as the tag or release is called")]
DatabaseName = Annotated[
    str, _matching(_DATABASE_NAME, "a database's name", "Write a name, or {stem} for the file's own")
]
Pattern = Annotated[str, AfterValidator(_routed)]
Source = Annotated[str, AfterValidator(_source)]
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
    ssh_user: Annotated[str, Field(pattern=r"^[a-z_][a-z0-9_-]{0,31}$")] | None = None
    """Who logs in there: root unless given. Others need sudo, without a password."""
    ssh_port: Port | None = None
    ssh_key: Plain | None = None
    """The file of the key that opens it; SSH's agent and usual keys unless given."""
    python: AbsolutePath = "/usr/bin/python3"
    """That which the environment with this package is made with."""

    @property
    def local(self) -> bool:
        """Whether it is this machine, and reached without SSH."""
        here = self.address in ("localhost", "127.0.0.1", "::1")
        return here and not (self.ssh_user or self.ssh_port or self.ssh_key)


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
    status_page: Port = 8404
    """Of the status page, on loopback."""


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
    loopback: bool = True
    """Whether of a host's own programs the gateway alone reaches apps and services behind it."""
    sign_in_requests_per_second: Annotated[int, Field(ge=1)] = 10
    token_seconds: Annotated[int, Field(ge=60, le=86400)] = 3600
    """How long a token is valid, and so how long a page may be idle before it has to be loaded again; one in
    use is renewed.

    The gateways ask about each request, so a revoked session ends at once whatever this is.
    """


class Database(Table):
    """``[apps.NAME.database]``: how an app's databases come to be databases of a store."""

    route: Literal["preload", "extension", "file", "server", "none"] = "none"
    """``preload``: its shared libsqlite3 is reached by a preloaded library; ``extension``: Node's drivers
    load ours; ``file``: only files can be put before it; ``server``: a database server has them; ``none``."""
    map: dict[Pattern, DatabaseName] = {}
    """Paths as the program names them (in a container: there), and the databases' names."""
    take_in: bool = True
    """Whether ordinary files that are there already become databases when they are first opened."""
    dump: tuple[Value, ...] = ()
    """Of a server's: what prints a dump of it as SQL, run by root on its host every night."""
    why: str = ""
    """The reasons, for people."""

    @property
    def routed(self) -> bool:
        """Whether the app opens databases of the store itself."""
        return self.route in ("preload", "extension")


class AppBucket(Table):
    """``[apps.NAME.bucket]``: where an app puts its uploads."""

    name: Name
    """One of ``[buckets]``."""
    variables: dict[Variable, Literal["endpoint", "bucket", "region", "access_key", "secret_key"]]
    """What the app calls them."""
    environment: dict[Variable, Value] = {}
    """Whatever else it wants to be told to use a bucket."""

    def filled_by(self, *what: str) -> list[str]:
        """The variables that get one of these."""
        return [variable for variable, one in self.variables.items() if one in what]


class AppSecret(Table):
    """One of ``secrets`` in ``[apps.NAME]``; its name alone says the same as ``{name = "NAME"}``."""

    name: Variable
    form: SecretForm = "hex:32"
    """``hex``, ``base64``, or ``laravel`` (``base64:`` before it) and how many random bytes; or ``given``."""
    by: Literal["file", "variable"] = "file"
    """``file``: ``NAME_FILE`` in the environment is the path of one; ``variable``: ``NAME`` is the value."""


def _secret(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


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
    health: Annotated[str, Field(pattern=r"^/[A-Za-z0-9_~@./?=&-]*$")] = "/"
    """The path that is asked for to know that the app is well."""
    recipe: Name | None = None
    """What it was made from."""
    version: AppVersion | None = None
    """``{version}`` elsewhere."""
    upgrades: dict[str, AppVersion] = {}
    """Tags of its databases, and the version that ran until then; written by ``mvstack app upgrade``."""
    command: tuple[Value, ...] = ()
    """Program and arguments, run under systemd on the host."""
    install: tuple[Value, ...] = ()
    """What makes the program, run once for each version, as the app's own user, in its own directory."""
    program: Value | None = None
    """The file that ``install`` makes: where it is there, ``install`` is not run."""
    packages: tuple[Package, ...] = ()
    """Debian packages that it needs on its host."""
    image: Image | None = None
    """A container's, run by podman; instead of ``command``."""
    container_port: Port | None = None
    """Where it listens in the container; ``port`` unless given."""
    container_user: Annotated[int, Field(ge=0, le=65534)] = 0
    """The number of the user as whom it writes its data in the container."""
    capabilities: tuple[Capability, ...] = ()
    """What the container keeps of root's rights; nothing unless given."""
    network: Literal["own", "host"] = "own"
    """``host``: the container reaches what listens on the host's loopback."""
    volumes: dict[AbsolutePath, Source] = {}
    """Directories in the container, and where they lie: in the app's own directory, or from the root."""
    environment: dict[Variable, Value] = {}
    secrets: tuple[Annotated[AppSecret, BeforeValidator(_secret)], ...] = ()
    """Values that only the app knows."""
    data: tuple[AbsolutePath, ...] = ()
    """Directories it writes to, beside its own one."""
    database: Database = Database()
    bucket: AppBucket | None = None

    @property
    def runs(self) -> bool:
        """Whether mvstack runs it; else it is run in another way."""
        return bool(self.command or self.image)


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


class StatusPage(Table):
    """``[status]``: the public page that says how things are."""

    enabled: bool = True
    host: Host | None = None
    """``status.<domain>`` unless given."""
    hide: tuple[Name, ...] = ()
    """Apps that it neither names nor checks."""
    contact: Plain = ""
    """A line at its foot for whoever needs help."""
    connect: Annotated[str, Field(pattern=r"^(?:dns|[A-Za-z0-9.:_-]+)$")] | None = None
    """Where checks from outside reach the gateway: an address; ``dns``: where the hosts' names lead. Unless
    given, where the gateway listens."""
    authority: AbsolutePath | None = None
    """Certificates of an authority that the system does not know, to check the gateway's with."""
    interval_seconds: Annotated[int, Field(ge=2, le=3600)] = 30
    timeout_seconds: Annotated[int, Field(ge=1, le=300)] = 10
    slow_seconds: Annotated[int, Field(ge=1, le=300)] = 2
    failures: Annotated[int, Field(ge=1, le=20)] = 2
    """Failed checks in a row before something is said to be down."""
    backup_hours_max: Annotated[int, Field(ge=1)] = 26
    drill_days_max: Annotated[int, Field(ge=1)] = 35
    lag_seconds_max: Annotated[int, Field(ge=1)] = 300
    certificate_days_min: Annotated[int, Field(ge=1)] = 14
    """What is older, further behind or ends sooner is said to be so."""
    requests_per_second: Annotated[int, Field(ge=1)] = 20
    """From one address; for a moment, twice as many."""


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
    status: StatusPage = StatusPage()
    buckets: dict[Name, Bucket] = {}

    @property
    def domain(self) -> str:
        return self.stack.domain

    @property
    def sign_in_host(self) -> str:
        return self.stack.sign_in_host or f"{SIGN_IN_LABEL}.{self.domain}"

    @property
    def status_host(self) -> str:
        return self.status.host or f"{STATUS_LABEL}.{self.domain}"

    @property
    def public_hosts(self) -> list[str]:
        """All that the gateway answers for."""
        page = [self.status_host] if self.status.enabled else []
        return [self.sign_in_host, *page, *map(self.host_of, self.apps)]

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

    def store_of(self, app: str, state: str = STATE) -> str:
        """The address of an app's own store: who can open a store can read all of it.

        On one machine it lies in the app's state directory; in a cluster it has a prefix of its own.
        state: the services' state directory.
        """
        scheme, _, rest = self.store.url.partition(":")
        place, mark, options = rest.partition("?")
        if scheme == "lmdb":
            return f"lmdb:{state}-app-{app}/{STORE_DIRECTORY}{mark}{options}"
        if scheme != "fdb":
            return self.store.url
        given = dict(pair.partition("=")[::2] for pair in options.split("&") if pair)
        given["prefix"] = f"{given.get('prefix', '')}app/{app}/"
        return f"fdb:{place}?" + "&".join(f"{name}={value}" for name, value in given.items())

    def authority(self, host: str) -> str:
        """A host with its port, if that is not HTTPS's own."""
        return host if self.ports.https == 443 else f"{host}:{self.ports.https}"

    def upstream(self, app: str) -> str:
        """Where the gateway reaches an app: ``address:port``."""
        one = self.apps[app]
        address = "127.0.0.1" if one.on == self.gateway_host else self.hosts[one.on].address
        return f"{f'[{address}]' if ':' in address else address}:{one.port}"
