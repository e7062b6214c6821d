"""What is done at times: forgetting the versions that a database's retention does not keep."""

from mvsqlite_stack.model import Stack
from mvsqlite_stack.render import status
from mvsqlite_stack.render.apps import cannot_run, unit, word
from mvsqlite_stack.render.layout import Layout
from mvsqlite_stack.render.systemd import CLOSED, store_directory

_TIMER = """\
[Unit]
Description={description}

[Timer]
OnCalendar=*-*-* 04:00
RandomizedDelaySec=2h
Persistent=yes

[Install]
WantedBy=timers.target
"""


def units(stack: Stack, host: str, layout: Layout) -> dict[str, str]:
    """Text by file name, without the first lines."""
    found: dict[str, str] = {}
    if host == stack.gateway_host:
        found |= _forgetting("mvstack-gc", "mvstack", "sign-in", stack.store.url, stack, layout)
        history = status.store(stack, layout)
        if stack.status.enabled and history != stack.store.url:
            found |= _forgetting("mvstack-gc-status", status.USER, "the status page", history, stack, layout)
    for name, app in stack.apps.items():
        if app.on == host and app.command and app.database.routed and not cannot_run(app):
            store = stack.store_of(name, layout.state)
            what = app.title or name
            found |= _forgetting(f"mvstack-gc-app-{name}", unit(name), what, store, stack, layout)
    return found


def _forgetting(name: str, user: str, what: str, store: str, stack: Stack, layout: Layout) -> dict[str, str]:
    """Service and timer for the databases of one store, run as the user whose they are."""
    description = f"Retention of the databases of {what} of {stack.domain}"
    directory = store_directory(store)
    condition = f"ConditionPathExists={directory}\n" if directory else ""
    lines = [
        "Type=oneshot",
        f"User={user}",
        f"Group={user}",
        "Nice=10",
        "IOSchedulingClass=idle",
        f"ExecStart={layout.programs}/mvsqlite gc --yes --store {word(store)}",
    ]
    if directory:
        lines.append(f"ReadWritePaths=-{directory}")
    service = (
        f"[Unit]\nDescription={description}\nAfter=network-online.target\nWants=network-online.target\n"
        f"{condition}\n[Service]\n" + "\n".join(lines) + f"\n{CLOSED}CapabilityBoundingSet=\n"
        "AmbientCapabilities=\n"
    )
    return {f"{name}.service": service, f"{name}.timer": _TIMER.format(description=description)}
