"""The settings of the sign-in service."""

import json
from typing import Any

from mvsqlite_stack.model import Stack
from mvsqlite_stack.render.identity import COOKIE
from mvsqlite_stack.render.layout import Layout
from mvsqlite_stack.render.nginx import HOST_HEADER


def settings(stack: Stack, layout: Layout) -> str:
    """signin.toml, without its first line."""
    top = {
        "domain": stack.domain,
        "sign_in_host": stack.sign_in_host,
        "port": stack.ports.https,
        "title": stack.stack.title,
        "listen": f"127.0.0.1:{stack.ports.sign_in}",
        "host_header": HOST_HEADER,
        "store": stack.store.url,
        "keys": layout.keys,
        "cookie": COOKIE,
    }
    tables: dict[str, dict[str, Any]] = {
        "lifetimes": {"token": stack.limits.token_seconds},
        "groups": dict(stack.groups),
    }
    for name, app in stack.apps.items():
        who = {"public": True} if app.public else {"allow": app.allow}
        tables[f"apps.{name}"] = {"host": stack.host_of(name), "title": app.title or name, **who}
    parts = [_lines(top), *(f"[{table}]\n{_lines(values)}" for table, values in tables.items())]
    return "\n".join(parts)


def _lines(values: dict[str, Any]) -> str:
    return "".join(f"{key} = {_toml(value)}\n" for key, value in values.items())


def _toml(value: Any) -> str:
    """Text, numbers, truth and lists of them are written alike in JSON and TOML."""
    return json.dumps(list(value) if isinstance(value, tuple) else value, ensure_ascii=False)
