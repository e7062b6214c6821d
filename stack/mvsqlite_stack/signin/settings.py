"""The settings of the sign-in service: one TOML file."""

import re
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Self

from publicsuffixlist import PublicSuffixList
from pydantic import AfterValidator, Field, model_validator

from mvsqlite_stack import service_settings
from mvsqlite_stack.service_settings import Host, Model, host_name

VARIABLE = "MVSTACK_SIGNIN"
"""The environment variable that names the settings file."""

PLACE = Path("/etc/mvstack/signin/signin.toml")
"""Where it lies on a machine that ``mvstack apply`` has set up."""

EVERYBODY = "*"
"""In ``allow``: every user. ``@name`` is a group, anything else a user's name."""

USER_NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,30}[a-z0-9])?")


@cache
def _suffixes() -> PublicSuffixList:
    return PublicSuffixList()


def _domain(name: str) -> str:
    if _suffixes().is_public(host_name(name)):
        raise ValueError(f"{name!r} is a public suffix: a cookie for it would go to strangers' hosts")
    return name


Seconds = Annotated[int, Field(gt=0)]


class App(Model):
    """One application behind the gateway."""

    host: Host
    title: str = ""
    allow: tuple[str, ...] = ()
    """Users' names, ``@group``, or ``*``."""
    public: bool = False
    """Whether anybody may enter without signing in."""


class Lifetimes(Model):
    """Seconds."""

    token: Seconds = 300
    session: Seconds = 30 * 86400
    """However much it is used."""
    idle: Seconds = 14 * 86400
    """Without use."""
    pending: Seconds = 600
    """For the second step of a sign-in."""
    recent: Seconds = 600
    """How long after proving who one is security settings can be changed without proving it again."""
    invitation: Seconds = 7 * 86400
    """For setting a first password."""
    events: Seconds = 400 * 86400
    """How long the audit log goes back."""


class Limits(Model):
    """Failed sign-ins within ``window`` seconds before more are refused unseen."""

    account: int = Field(default=10, gt=0)
    code: int = Field(default=5, gt=0)
    """Of second steps, whose codes are short."""
    address: int = Field(default=50, gt=0)
    window: Seconds = 900


class Argon2(Model):
    """Costs of a password's hash; a hash made with others is made anew at the next sign-in."""

    time: int = Field(default=3, ge=1)
    memory_kib: int = Field(default=65536, ge=8)
    parallelism: int = Field(default=2, ge=1)


class Settings(Model):
    """All of it."""

    domain: Annotated[str, AfterValidator(_domain)]
    sign_in_host: Host = ""
    """``login.<domain>`` unless given."""
    port: int = Field(default=443, ge=1, le=65535)
    """Where browsers reach sign-in and apps by HTTPS."""
    title: str = "Home"
    listen: str = "127.0.0.1:8400"
    """``ADDRESS:PORT`` or ``unix:PATH``."""
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    """PEM files, to answer HTTPS without a gateway in front."""
    workers: int = Field(default=1, ge=1)
    proxies: tuple[str, ...] = ("127.0.0.1", "::1")
    """Whose ``X-Forwarded-For`` is believed."""
    host_header: str = "X-Original-Host"
    store: str | None = None
    """The address of a store; None for the default one."""
    database: str = "signin.db"
    """Users and what they prove themselves with."""
    activity: str = "signin-activity.db"
    """Sessions, steps under way, failures, the audit log."""
    keys: Path
    """A directory of this service alone: signing keys, and the secret for cookies."""
    cookie: str = Field(default="session_jwt", pattern=r"^[A-Za-z0-9_-]+$")
    password_min: int = Field(default=12, ge=8)
    lifetimes: Lifetimes = Lifetimes()
    limits: Limits = Limits()
    argon2: Argon2 = Argon2()
    groups: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """Users' names by group."""
    apps: dict[str, App] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _default_host(cls, data: Any) -> Any:
        if isinstance(data, dict) and "domain" in data:
            return {"sign_in_host": f"login.{data['domain']}", **data}
        return data

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        hosts = [self.sign_in_host, *(app.host for app in self.apps.values())]
        for host in hosts:
            if not host.endswith(f".{self.domain}"):
                raise ValueError(f"{host} is not below the domain {self.domain}")
            if hosts.count(host) > 1:
                raise ValueError(f"the host {host} is named twice")
        for name, app in self.apps.items():
            for entry in app.allow:
                if entry.startswith("@") and entry[1:] not in self.groups:
                    raise ValueError(f"apps.{name}.allow names the group {entry}, which is not in groups")
            if app.public and app.allow:
                raise ValueError(f"apps.{name} is public and has allow: say one of them")
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("give both tls_certificate and tls_key, or neither")
        return self

    @property
    def origin(self) -> str:
        """Of the sign-in pages, as browsers write it."""
        return f"https://{self.authority(self.sign_in_host)}"

    def authority(self, host: str) -> str:
        """A host with its port, if that is not 443."""
        return host if self.port == 443 else f"{host}:{self.port}"

    def app_at(self, host: str) -> tuple[str, App] | None:
        """Name and app of a host, as it stands in a request: any case, with or without its port."""
        name, colon, port = host.strip().lower().partition(":")
        if colon and port != str(self.port):
            return None
        return next(
            ((key, app) for key, app in self.apps.items() if app.host == name.removesuffix(".")), None
        )

    def groups_of(self, user: str) -> list[str]:
        return sorted(name for name, members in self.groups.items() if user in members)

    def may_enter(self, user: str, app: App) -> bool:
        """Whether a user may enter an app that is not public."""
        names = {user, EVERYBODY, *(f"@{group}" for group in self.groups_of(user))}
        return not names.isdisjoint(app.allow)

    def apps_of(self, user: str) -> list[str]:
        """Names of the apps that a user may enter, in the order of the file."""
        return [name for name, app in self.apps.items() if app.public or self.may_enter(user, app)]


def read(path: Path | None = None) -> Settings:
    """The settings in a file; None: the one that ``MVSTACK_SIGNIN`` names. Raises SettingsError."""
    return service_settings.read(Settings, VARIABLE, path)
