"""Where things lie on a host: generated files, what services keep, and the programs that run them."""

from dataclasses import dataclass

UNITS = "/etc/systemd/system"


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
        return f"{UNITS if folder == 'systemd' else f'{self.settings}/{folder}'}/{name}"

    @property
    def keys(self) -> str:
        """The sign-in service's keys."""
        return f"{self.state}/signin/keys"

    @property
    def reports(self) -> str:
        """What backups, drills and replicas say of themselves, for the status page."""
        return f"{self.state}/reports"


SYSTEM = Layout()
