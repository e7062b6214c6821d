"""The settings of the status page: one TOML file."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from mvsqlite_stack import service_settings
from mvsqlite_stack.service_settings import Host, Model

VARIABLE = "MVSTACK_STATUS"
"""The environment variable that names the settings file."""

Days = Annotated[int, Field(gt=0)]
UrlPath = Annotated[str, Field(pattern=r"^/[!-~]*$")]


class App(Model):
    """One application, as a visitor and as the gateway reach it."""

    title: str
    host: Host
    local: str
    """``ADDRESS:PORT`` where the gateway reaches it."""
    health: UrlPath = "/"
    """Asked for there."""
    outside: UrlPath = "/"
    """Asked for through the gateway; of a private app: a path that is private."""
    public: bool = False


class Settings(Model):
    """All of it. Times are seconds."""

    title: str = "Home"
    host: Host
    """Of this page."""
    sign_in_host: Host
    port: int = Field(default=443, ge=1, le=65535)
    """Where browsers reach all hosts by HTTPS."""
    connect: str = ""
    """The address to which checks from outside connect, whatever the host's name; empty: as names resolve."""
    ca: Path | None = None
    """Certificates of authorities to trust instead of the system's."""
    listen: str = "127.0.0.1:8404"
    store: str | None = None
    """The address of the store with the history; None for the default one."""
    database: str = "status.db"
    cluster: str = ""
    """The address of a cluster to examine; empty: there is none, and the history's own store is looked at."""
    reports: Path
    """Where backups, drills and replicas say how they went."""
    contact: str = ""
    """A line for whoever needs help."""
    interval: int = Field(default=30, ge=1, le=3600)
    timeout: float = Field(default=10, gt=0)
    """For one check. The next round waits for it."""
    slow: float = Field(default=2, gt=0)
    """An answer that takes longer is slow."""
    failures: int = Field(default=2, ge=1, le=20)
    """So many in a row, and a part is down, or slow."""
    write_every: int = Field(default=60, ge=1)
    """How often the history is written."""
    backup_hours_max: int = Field(default=26, gt=0)
    """A newest backup older than this is overdue."""
    drill_days_max: Days = 35
    lag_seconds_max: int = Field(default=300, gt=0)
    certificate_days_min: Days = 14
    listeners: int = Field(default=200, ge=1, le=10_000)
    """For live events, at once."""
    apps: dict[str, App] = Field(default_factory=dict)

    @property
    def origin(self) -> str:
        """Of this page, as browsers write it."""
        return f"https://{self.host}" + (f":{self.port}" if self.port != 443 else "")


def read(path: Path | None = None) -> Settings:
    """The settings in a file; None: the one that ``MVSTACK_STATUS`` names. Raises SettingsError."""
    return service_settings.read(Settings, VARIABLE, path)
