"""The processes of a trial: what runs, where, in which environment, and how it is known to be well."""

import os
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path

from mvsqlite_stack.model import Stack
from mvsqlite_stack.signin.settings import VARIABLE as SIGN_IN_SETTINGS
from mvsqlite_stack.up import trial as places
from mvsqlite_stack.up.trial import Trial

GATEWAY, SIGN_IN, STATUS = "gateway", "signin", "status"
STATUS_FOLDER = "status"
"""Of the rendered files, if the stack has a status page."""
PASSED_ON = ("HOME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "USER", "LOGNAME")
"""Of the environment. Nothing else of the caller's reaches a program, as on a machine."""


@dataclass(frozen=True, slots=True)
class Program:
    """One process that is kept running."""

    name: str
    title: str
    """For people."""
    command: tuple[str, ...]
    directory: Path
    """Where it is started."""
    port: int
    """Where it answers HTTP on loopback."""
    health: str
    """The path that is asked for to know that it is well; empty: that somebody listens is enough."""
    environment: dict[str, str] = field(default_factory=dict)


def programs(trial: Trial, here: Stack) -> list[Program]:
    """In the order of their start; they are stopped in the reverse order. Raises StackError."""
    found = [_sign_in(trial, here)]
    found += [_app(trial, here, name) for name in here.apps if here.apps[name].command]
    if status := _status(trial, here):
        found.append(status)
    return [*found, _gateway(trial, here)]


def not_run(here: Stack) -> list[str]:
    """Apps that are declared and have no command that could be run here."""
    return [name for name, app in here.apps.items() if not app.command]


def inner_ports(here: Stack) -> dict[int, str]:
    """Ports that the parts need among themselves, and whose they are."""
    found = {here.ports.sign_in: "the sign-in service's"}
    if hasattr(here.ports, "status_page"):
        found[here.ports.status_page] = "the status page's"
    return found | {app.port: f"the app {name}'s" for name, app in here.apps.items() if app.command}


def environment(trial: Trial) -> dict[str, str]:
    """What every program is told."""
    kept = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    beside = str(Path(sys.executable).parent)
    usual = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin"
    return {
        **kept,
        "PATH": f"{beside}:{usual}",
        "PYTHONUNBUFFERED": "1",
        "MVSTACK_TRIAL": str(trial.directory),
    }


def _sign_in(trial: Trial, here: Stack) -> Program:
    return Program(
        SIGN_IN,
        "Sign-in",
        (sys.executable, "-m", "mvsqlite_stack.signin"),
        Path(trial.layout.state),
        here.ports.sign_in,
        "/healthz",
        {SIGN_IN_SETTINGS: f"{trial.layout.settings}/signin/signin.toml"},
    )


def _status(trial: Trial, here: Stack) -> Program | None:
    found = sorted(Path(trial.layout.settings, STATUS_FOLDER).glob("*.toml"))
    if not found:
        return None
    return Program(
        STATUS,
        "Status page",
        (sys.executable, "-m", "mvsqlite_stack.status"),
        Path(trial.layout.state),
        here.ports.status_page,  # type: ignore[attr-defined]
        "/",
        {"MVSTACK_STATUS": str(found[0])},
    )


def _gateway(trial: Trial, here: Stack) -> Program:
    command = [places.nginx(), "-p", trial.layout.gateway, "-e", "stderr"]
    command += ["-c", f"{trial.layout.settings}/nginx/nginx.conf"]
    if os.geteuid() == 0:
        command += ["-g", "user root;"]  # else its workers may not enter the directory
    return Program(GATEWAY, "Gateway", tuple(command), Path(trial.layout.gateway), here.ports.https, "")


def _app(trial: Trial, here: Stack, name: str) -> Program:
    app = here.apps[name]
    told = {"MVSQLITE_STORE": trial.store_of(name), **app.environment}
    told |= {f"{one}_FILE": str(trial.secrets.directory / "apps" / name / one) for one in app.secrets}
    return Program(
        f"app-{name}", app.title or name, _found(app.command), trial.of_app(name), app.port, "/", told
    )


def _found(command: tuple[str, ...]) -> tuple[str, ...]:
    """With the whole path of its program, those of this Python's environment first."""
    path = f"{Path(sys.executable).parent}:{os.environ.get('PATH', os.defpath)}"
    return (shutil.which(command[0], path=path) or command[0], *command[1:])
