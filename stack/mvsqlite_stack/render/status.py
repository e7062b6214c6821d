"""The settings of the status page.

With an embedded store its history lies in a store of its own: whoever opens the directory of a store can
read all of it, and a service that answers strangers does not belong to those who can read the accounts.
"""

from mvsqlite_stack.model import App, Stack
from mvsqlite_stack.render.layout import Layout
from mvsqlite_stack.render.public import is_public
from mvsqlite_stack.render.signin import _lines

USER = "mvstack-status"
ANYWHERE = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}
UNKNOWN_PATH = "/.mvstack-status"
"""Private like everything that is not declared public."""


def store(stack: Stack, layout: Layout) -> str:
    """The address of the store with its history."""
    url = stack.store.url
    return f"lmdb:{layout.state}-status/store" if url.startswith("lmdb:") else url


def settings(stack: Stack, layout: Layout) -> str:
    """status.toml, without its first line."""
    page, url = stack.status, stack.store.url
    top = {
        "title": stack.stack.title,
        "host": stack.status_host,
        "sign_in_host": stack.sign_in_host,
        "port": stack.ports.https,
        "connect": _connect(stack),
        "ca": page.authority,
        "listen": f"127.0.0.1:{stack.ports.status_page}",
        "store": store(stack, layout),
        "cluster": "" if url.startswith("lmdb:") else url,
        "reports": layout.reports,
        "contact": page.contact,
        "interval": page.interval_seconds,
        "timeout": page.timeout_seconds,
        "slow": page.slow_seconds,
        "failures": page.failures,
        "backup_hours_max": page.backup_hours_max,
        "drill_days_max": page.drill_days_max,
        "lag_seconds_max": page.lag_seconds_max,
        "certificate_days_min": page.certificate_days_min,
    }
    parts = [_lines({name: value for name, value in top.items() if value is not None})]
    for name, app in stack.apps.items():
        if name not in page.hide:
            parts.append(f"[apps.{name}]\n{_lines(_app(stack, name, app))}")
    return "\n".join(parts)


def _app(stack: Stack, name: str, app: App) -> dict[str, object]:
    private = (path for path in ("/", app.health) if not is_public(path.partition("?")[0], app.public_paths))
    return {
        "title": app.title or name,
        "host": stack.host_of(name),
        "local": stack.upstream(name),
        "health": app.health,
        "outside": app.health if app.public else next(private, UNKNOWN_PATH),
        "public": app.public,
    }


def _connect(stack: Stack) -> str:
    given = stack.status.connect
    if given == "dns":
        return ""
    if given:
        return f"{f'[{given}]' if ':' in given else given}:{stack.ports.https}"
    address = stack.ports.listen[0]
    return f"{ANYWHERE.get(address, address)}:{stack.ports.https}"
