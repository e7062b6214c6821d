"""The processes of a trial: what runs, where, in which environment, and how it is known to be well."""

import os
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path

from mvsqlite_stack import app_secrets
from mvsqlite_stack.model import Stack
from mvsqlite_stack.render import apps as rendered
from mvsqlite_stack.signin.settings import VARIABLE as SIGN_IN_SETTINGS
from mvsqlite_stack.status.settings import VARIABLE as STATUS_SETTINGS
from mvsqlite_stack.up import trial as places
from mvsqlite_stack.up.trial import Trial

GATEWAY, SIGN_IN, STATUS = "gateway", "signin", "status"
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
    found += [_app(trial, here, name) for name in here.apps if why_not(trial, here, name) is None]
    if here.status.enabled:
        found.append(_status(trial, here))
    return [*found, _gateway(trial, here)]


def why_not(trial: Trial, here: Stack, name: str) -> str | None:
    """Why an app is not run here; None: it is."""
    app = here.apps[name]
    if app.image:
        return "it is a container"
    if not app.command:
        return "it has no command"
    if not app.program:
        return "its database can be reached through files only" if rendered.cannot_run(app) else None
    program = rendered.Filling(here, name, trial.layout)(app.program)
    return None if Path(program).exists() else f"its program has to be installed first, as {program}"


def not_run(trial: Trial, here: Stack) -> dict[str, str]:
    """Apps that are declared and not run here, and why."""
    reasons = {name: why_not(trial, here, name) for name in here.apps}
    return {name: reason for name, reason in reasons.items() if reason}


def inner_ports(trial: Trial, here: Stack) -> dict[int, str]:
    """Ports that the parts need among themselves, and whose they are."""
    found = {here.ports.sign_in: "the sign-in service's"}
    if here.status.enabled:
        found[here.ports.status_page] = "the status page's"
    left_out = not_run(trial, here)
    return found | {app.port: f"the app {name}'s" for name, app in here.apps.items() if name not in left_out}


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


def _status(trial: Trial, here: Stack) -> Program:
    return Program(
        STATUS,
        "Status page",
        (sys.executable, "-m", "mvsqlite_stack.status"),
        Path(f"{trial.layout.state}-status"),
        here.ports.status_page,
        "/",
        {STATUS_SETTINGS: f"{trial.layout.settings}/status/status.toml"},
    )


def _gateway(trial: Trial, here: Stack) -> Program:
    command = [places.nginx(), "-p", trial.layout.gateway, "-e", "stderr"]
    command += ["-c", f"{trial.layout.settings}/nginx/nginx.conf"]
    if os.geteuid() == 0:
        command += ["-g", "user root;"]  # else its workers may not enter the directory
    return Program(GATEWAY, "Gateway", tuple(command), Path(trial.layout.gateway), here.ports.https, "")


def _app(trial: Trial, here: Stack, name: str) -> Program:
    app, layout = here.apps[name], trial.layout
    told = rendered.environment(here, name, layout) | _secrets(trial, here, name)
    fill = rendered.Filling(here, name, layout)
    command = (*rendered.runner(here, name, layout), *_found(tuple(map(fill, app.command))))
    title = app.title or name
    return Program(f"app-{name}", title, command, Path(layout.app(name)), app.port, app.health, told)


def _secrets(trial: Trial, here: Stack, name: str) -> dict[str, str]:
    """What an app is told in secret, and where the files are with what it reads itself."""
    app = here.apps[name]
    lines = app_secrets.environment(here, name, trial.secrets).decode().splitlines()
    values = dict(line.split("=", 1) for line in lines)
    files = (one.name for one in app.secrets if one.by == "file")
    return values | {f"{one}_FILE": str(trial.secrets.directory / "apps" / name / one) for one in files}


def _found(command: tuple[str, ...]) -> tuple[str, ...]:
    """With the whole path of its program, those of this Python's environment first."""
    path = f"{Path(sys.executable).parent}:{os.environ.get('PATH', os.defpath)}"
    return (shutil.which(command[0], path=path) or command[0], *command[1:])
