"""Users: those of the system that services run as, and the household's for the sign-in service."""

import json
import re
from collections.abc import Iterable

from mvsqlite_stack.model import Stack

PREFIX = "mvstack"
GATEWAY = "mvstack-gateway"
SERVICE = "mvstack"
"""As whom the sign-in service runs."""
_USER = re.compile(rf"^User=({PREFIX}\S*)$", re.MULTILINE)


def of_system(units: Iterable[str]) -> list[str]:
    """The users that units run as and that have to be made, in alphabetical order."""
    return sorted({name for text in units for name in _USER.findall(text)})


def sysusers(names: Iterable[str]) -> str:
    """A file for systemd-sysusers, without its first line: nobody can log in as one of these."""
    return "".join(f'u {name} - "Service of mvstack" /var/lib/{name}\n' for name in names)


def declared(stack: Stack) -> str:
    """users.toml, without its first line: the accounts that there are to be."""
    return "\n".join(
        f"[users.{json.dumps(name)}]\nshown = {json.dumps(user.name or name, ensure_ascii=False)}\n"
        for name, user in stack.users.items()
    )
