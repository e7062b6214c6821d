"""Units for apps that run as programs of their host, and what is said of any app in a unit."""

import re

from mvsqlite_stack.model import PLACEHOLDERS, App, Stack
from mvsqlite_stack.render.layout import Layout
from mvsqlite_stack.render.systemd import service

ENVIRONMENT_FILE = "environment.list"
"""Of an app, among its secrets: those that it wants as values in its environment."""
_PLACEHOLDER = re.compile(rf"\{{({'|'.join(PLACEHOLDERS)})\}}")


def units(stack: Stack, host: str, layout: Layout) -> dict[str, str]:
    """Text by file name, without the first lines."""
    found = {}
    for name, app in stack.apps.items():
        if app.on != host:
            continue
        if app.database.dump:
            found[f"{unit(name)}-dump.service"] = _dump(stack, name, layout)
            found[f"{unit(name)}-dump.timer"] = _DUMP_TIMER
        if not app.command or cannot_run(app):
            continue
        found[f"{unit(name)}.service"] = _app(stack, name, layout)
        if app.install:
            found[f"{unit(name)}-install.service"] = _install(stack, name, layout)
    return found


def unit(app: str) -> str:
    """The name of an app's unit without its suffix, and of its user."""
    return f"mvstack-app-{app}"


def cannot_run(app: App) -> str | None:
    """Why mvstack does not run an app that is declared to be run, with the way out; None: it does."""
    if app.runs and app.database.route == "file":
        return (
            "its database can only be reached through files, and the store has no file front yet: it is not "
            'deployed. With route = "none" its database is an ordinary file, without history'
        )
    return None


class Filling:
    """What stands for the placeholders in an app's values."""

    def __init__(self, stack: Stack, name: str, layout: Layout) -> None:
        app = stack.apps[name]
        self._values = {
            "state": layout.app(name),
            "version": app.version or "",
            "port": str(app.container_port or app.port if app.image else app.port),
            "listen": listen_address(stack, app),
            "host": stack.host_of(name),
            "url": f"https://{stack.authority(stack.host_of(name))}",
            "domain": stack.domain,
        }

    def __call__(self, text: str) -> str:
        return _PLACEHOLDER.sub(lambda found: self._values[found[1]], text)


def listen_address(stack: Stack, app: App) -> str:
    """Where an app listens on its host: for the gateway, and for nobody else if it is there too."""
    if app.image and app.network == "own":
        return "0.0.0.0"  # of the container alone
    if app.on == stack.gateway_host:
        return "127.0.0.1"
    address = stack.hosts[app.on].address
    return address if re.fullmatch(r"[0-9.]+", address) else "0.0.0.0"


def environment(stack: Stack, name: str, layout: Layout) -> dict[str, str]:
    """What an app is told, but for secrets."""
    app, fill = stack.apps[name], Filling(stack, name, layout)
    found = dict(app.environment)
    if app.bucket:
        bucket = stack.buckets[app.bucket.name]
        known = {"endpoint": bucket.endpoint, "bucket": bucket.bucket, "region": bucket.region}
        found |= app.bucket.environment
        found |= {key: known[one] for key, one in app.bucket.variables.items() if one in known}
    return {key: fill(value) for key, value in found.items()}


def wants_environment_file(app: App) -> bool:
    """Whether secrets of an app are values in its environment."""
    keys = app.bucket.filled_by("access_key", "secret_key") if app.bucket else []
    return bool(keys) or any(secret.by == "variable" for secret in app.secrets)


def secrets_of(name: str, layout: Layout) -> str:
    """The directory with an app's secrets on its host: for root alone."""
    return f"{layout.settings}/secrets/apps/{name}"


def routes(stack: Stack, name: str, layout: Layout) -> dict[str, str]:
    """Paths of databases and their names, if the app opens those of the store."""
    app, fill = stack.apps[name], Filling(stack, name, layout)
    return {fill(path): to for path, to in app.database.map.items()} if app.database.routed else {}


def _app(stack: Stack, name: str, layout: Layout) -> str:
    app, fill = stack.apps[name], Filling(stack, name, layout)
    lines = [*_own(name), f"WorkingDirectory={layout.app(name)}"]
    lines += [assignment(key, value) for key, value in environment(stack, name, layout).items()]
    for secret in app.secrets:
        if secret.by == "file":
            lines.append(f"LoadCredential={secret.name}:{secrets_of(name, layout)}/{secret.name}")
            lines.append(f'Environment="{secret.name}_FILE=%d/{secret.name}"')
    if wants_environment_file(app):
        lines.append(f"EnvironmentFile={secrets_of(name, layout)}/{ENVIRONMENT_FILE}")
    lines += [f"ReadWritePaths={path}" for path in app.data]
    words = [*runner(stack, name, layout), *map(fill, app.command)]
    lines.append("ExecStart=" + " ".join(map(word, words)))
    text = service(f"{app.title or name} of {stack.domain}", lines)
    if app.install:
        needs = f"Requires={unit(name)}-install.service\nAfter={unit(name)}-install.service\n"
        text = text.replace("[Unit]\n", f"[Unit]\n{needs}", 1)
    return text


def _own(name: str) -> list[str]:
    return [
        f"User={unit(name)}",
        f"Group={unit(name)}",
        f"StateDirectory={unit(name)}",
        "StateDirectoryMode=0700",
    ]


def runner(stack: Stack, name: str, layout: Layout) -> list[str]:
    """What starts the program so that its databases are those of its store."""
    found = routes(stack, name, layout)
    if not found:
        return []
    words = [f"{layout.programs}/mvsqlite", "run", "--store", stack.store_of(name, layout.state)]
    for path, to in found.items():
        words += ["--map", f"{path}={to}"]
    if stack.apps[name].database.take_in:
        words.append("--import")
    return [*words, "--"]


def _install(stack: Stack, name: str, layout: Layout) -> str:
    app, fill = stack.apps[name], Filling(stack, name, layout)
    condition = f"ConditionPathExists=!{fill(app.program)}\n" if app.program else ""
    lines = [
        *_own(name),
        "Type=oneshot",
        "TimeoutStartSec=30min",
        f"WorkingDirectory={layout.app(name)}",
        f'Environment="HOME={layout.app(name)}"',
        "ExecStart=" + " ".join(word(fill(one)) for one in app.install),
    ]
    text = service(f"Program of {app.title or name} of {stack.domain}", lines)
    text = text.replace("Restart=on-failure\nRestartSec=2\n", "").partition("\n[Install]")[0]
    return text.replace("[Unit]\n", f"[Unit]\n{condition}", 1)


def _dump(stack: Stack, name: str, layout: Layout) -> str:
    app, fill = stack.apps[name], Filling(stack, name, layout)
    store = stack.store_of(name, layout.state)
    words = [f"{layout.programs}/python", "-m", "mvsqlite_stack.apps.dump", store, name]
    lines = [
        "Type=oneshot",
        f"StateDirectory={unit(name)}",
        "StateDirectoryMode=0700",
        "ExecStart=" + " ".join(map(word, [*words, *map(fill, app.database.dump)])),
    ]
    text = service(
        f"Dump of {app.title or name} of {stack.domain}", lines, capabilities="CAP_SETUID CAP_SETGID"
    )
    return text.replace("Restart=on-failure\nRestartSec=2\n", "").partition("\n[Install]")[0]


_DUMP_TIMER = """\
[Unit]
Description=Dump every night

[Timer]
OnCalendar=*-*-* 02:40
RandomizedDelaySec=20min
Persistent=yes

[Install]
WantedBy=timers.target
"""


def assignment(variable: str, value: str) -> str:
    """One variable of a unit's environment."""
    return f'Environment="{variable}={value.replace("%", "%%")}"'


def word(text: str) -> str:
    """One argument: % begins a specifier of systemd's."""
    escaped = text.replace("%", "%%")
    return f'"{escaped}"' if " " in escaped or not escaped else escaped
