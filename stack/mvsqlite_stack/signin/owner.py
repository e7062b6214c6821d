"""Root acts as the service's user: what it would write in the store otherwise, the service could not read."""

import os
import pwd
from pathlib import Path


def owner_of(directory: Path) -> pwd.struct_passwd | None:
    """Whose a directory is, or the nearest one above it; None if that is root, or nobody known."""
    for place in (directory, *directory.parents):
        if place.exists():
            try:
                found = pwd.getpwuid(place.stat().st_uid)
            except KeyError:
                return None
            return found if found.pw_uid != 0 else None
    return None


def become_owner_of(directory: Path) -> None:
    """If this is root, gives up being it for good in favour of the directory's owner."""
    if os.geteuid() != 0:
        return
    owner = owner_of(directory)
    if owner is None:
        return
    os.initgroups(owner.pw_name, owner.pw_gid)
    os.setgid(owner.pw_gid)
    os.setuid(owner.pw_uid)
    os.umask(0o077)
    os.environ.update(HOME=owner.pw_dir, USER=owner.pw_name, LOGNAME=owner.pw_name)
