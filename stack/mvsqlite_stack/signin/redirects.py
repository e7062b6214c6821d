"""Where a visitor may be sent after signing in: to an app of the settings, nowhere else."""

import re
from urllib.parse import urlsplit

from mvsqlite_stack.signin.settings import Settings

LENGTH_MAX = 2048
"""Characters: longer addresses are refused by some browsers and gateways."""

_PLAIN = re.compile(r"https://[!-~]+", re.IGNORECASE)
"""Printable ASCII without space. What browsers would drop or read otherwise has no place in it."""
_AUTHORITY = re.compile(r"[A-Za-z0-9.-]+(?::[0-9]{1,5})?")


def checked(to: str, settings: Settings) -> str | None:
    """The address to redirect to, made of its checked parts; None if it must not be followed."""
    if len(to) > LENGTH_MAX or not _PLAIN.fullmatch(to) or "\\" in to:
        return None
    try:
        parts = urlsplit(to)
    except ValueError:
        return None
    if not _AUTHORITY.fullmatch(parts.netloc):
        return None
    host, _, port = parts.netloc.lower().partition(":")
    if (port or "443") != str(settings.port):
        return None
    if host not in {app.host for app in settings.apps.values()}:
        return None
    query = f"?{parts.query}" if parts.query else ""
    return f"https://{settings.authority(host)}{parts.path or '/'}{query}"
