"""What apps are told in secret, as files for their host."""

import re

from mvsqlite_stack.errors import fail
from mvsqlite_stack.model import Stack
from mvsqlite_stack.render.apps import ENVIRONMENT_FILE, wants_environment_file
from mvsqlite_stack.secrets import Secrets

_SAFE = re.compile(r"[A-Za-z0-9+/=_.:,~@-]+")
"""What systemd and podman read alike in a file of variables, without quotes."""


def files(stack: Stack, host: str, secrets: Secrets) -> dict[str, bytes]:
    """By path in the secrets directory of a host; each for root alone, 0600. Raises StackError."""
    found = {}
    for name, app in stack.apps.items():
        if app.on != host or not app.runs:
            continue
        for secret in app.secrets:
            if secret.by == "file":
                found[f"apps/{name}/{secret.name}"] = secrets.read(f"apps/{name}/{secret.name}")
        if wants_environment_file(app):
            found[f"apps/{name}/{ENVIRONMENT_FILE}"] = environment(stack, name, secrets)
    return found


def environment(stack: Stack, name: str, secrets: Secrets) -> bytes:
    """A file of variables with an app's secret values. Raises StackError."""
    app = stack.apps[name]
    sources = {one.name: f"apps/{name}/{one.name}" for one in app.secrets if one.by == "variable"}
    if app.bucket:
        keys = {key: one for key, one in app.bucket.variables.items() if one in ("access_key", "secret_key")}
        sources |= {key: f"buckets/{app.bucket.name}/{one}" for key, one in keys.items()}
    lines = [f"{variable}={_value(secrets, source)}\n" for variable, source in sorted(sources.items())]
    return "".join(lines).encode()


def _value(secrets: Secrets, source: str) -> str:
    value = secrets.read(source).decode(errors="replace")
    if not _SAFE.fullmatch(value):
        remedy = f"Use letters, digits and + / = _ . : , ~ @ - only: mvstack secrets rotate {source}"
        raise fail(secrets.directory / source, "it cannot be the value of a variable", remedy)
    return value
