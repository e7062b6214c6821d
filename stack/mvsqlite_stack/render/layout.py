"""Where things lie on a host: generated files, what services keep, and the programs that run them."""

from dataclasses import dataclass
from pathlib import PurePosixPath

UNITS = "/etc/systemd/system"
QUADLETS = "/etc/containers/systemd"
"""Where podman's generator looks for containers that systemd runs."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Absolute directories. Of a machine that is set up, unless ``mvstack up`` says otherwise."""

    settings: str = "/etc/mvstack"
    """Generated files, and ``secrets``."""
    state: str = "/var/lib/mvstack"
    """What the services keep."""
    gateway: str = "/var/lib/mvstack-gateway"
    """The gateway's own directory."""
    programs: str = "/opt/mvstack/bin"
    """Of the Python environment with this package."""

    def place(self, path: str) -> str:
        """Where a rendered file ``host/folder/name`` lies on its host."""
        _, folder, name = path.split("/", 2)
        known = {"systemd": UNITS, "containers": QUADLETS}
        return f"{known.get(folder, f'{self.settings}/{folder}')}/{name}"

    def app(self, name: str) -> str:
        """What an app keeps, and nobody else looks into."""
        return f"{self.state}-app-{name}"

    @property
    def home(self) -> str:
        """The Python environment with this package."""
        return str(PurePosixPath(self.programs).parent)

    @property
    def library(self) -> str:
        """What containers need of this package; ``mvsqlite_stack.apps.library`` makes it."""
        return f"{self.home}/library"

    @property
    def keys(self) -> str:
        """The sign-in service's keys."""
        return f"{self.state}/signin/keys"

    @property
    def reports(self) -> str:
        """What backups, drills and replicas say of themselves, for the status page."""
        return f"{self.state}/reports"


SYSTEM = Layout()
