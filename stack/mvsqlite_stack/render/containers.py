"""Containers for podman, as files from which its generator makes units of systemd (quadlets).

A container has a user namespace of its own, and of root's rights only those that its app asks for. What it
writes lies in the app's state directory, which only root can look into. Where its databases are those of a
store, it sees the store, and our libraries with those that they need, read-only. That works with images whose
C library is glibc, and not much older than the host's: nothing can be preloaded into others.
"""

from mvsqlite_stack.model import STORE_DIRECTORY, Stack
from mvsqlite_stack.render.apps import (
    ENVIRONMENT_FILE,
    assignment,
    cannot_run,
    environment,
    listen_address,
    routes,
    secrets_of,
    unit,
    wants_environment_file,
)
from mvsqlite_stack.render.layout import Layout

PRELOAD = "/etc/ld.so.preload"
"""Unlike LD_PRELOAD, it is heeded in programs with file capabilities too, as FrankenPHP."""
NEEDED = ("liblmdb.so.0", "libzstd.so.1")
"""What our library is linked to beside the C library."""
SYSTEM_LIBRARIES = "/usr/lib"
"""Where a C library of any architecture looks last, also for programs with file capabilities."""


def files(stack: Stack, host: str, layout: Layout) -> dict[str, str]:
    """Text by ``folder/name``, without the first lines."""
    found = {}
    for name, app in stack.apps.items():
        if app.on != host or not app.image or cannot_run(app):
            continue
        found[f"containers/{unit(name)}.container"] = _container(stack, name, layout)
        if app.database.route == "preload":
            found[f"apps/{name}.preload"] = f"{layout.library}/libmvsqlite_preload.so\n"
    return found


def _container(stack: Stack, name: str, layout: Layout) -> str:
    app = stack.apps[name]
    own = layout.app(name)
    said = {**environment(stack, name, layout), **_routing(stack, name, layout)}
    said |= {f"{one.name}_FILE": f"/run/secrets/{one.name}" for one in app.secrets if one.by == "file"}
    lines = [
        f"Image={image(stack, name)}",
        f"ContainerName={unit(name)}",
        "UserNS=auto:size=65536",
        "NoNewPrivileges=true",
        "DropCapability=all",
        *(f"AddCapability=CAP_{one}" for one in app.capabilities),
        *(assignment(key, value) for key, value in said.items()),
    ]
    if app.network == "host":
        lines.append("Network=host")
    else:
        lines.append(f"PublishPort={_published(stack, name)}:{app.port}:{app.container_port or app.port}")
    if wants_environment_file(app):
        lines.append(f"EnvironmentFile={secrets_of(name, layout)}/{ENVIRONMENT_FILE}")
    lines += [f"Volume={_place(own, source)}:{to}:idmap" for to, source in app.volumes.items()]
    lines += _store_lines(stack, name, layout)
    before, after = _secret_files(
        name, [one.name for one in app.secrets if one.by == "file"], app.container_user, layout
    )
    lines += after
    made = [_place(own, source) for source in app.volumes.values() if not source.startswith("/")]
    if _has_store_directory(stack, name):
        made.append(f"{own}/{STORE_DIRECTORY}")
    owner = f"-o {app.container_user} -g {app.container_user}"
    before = [f"ExecStartPre=/usr/bin/install -d {owner} -m 0700 {path}" for path in made] + before
    python = f"ExecStartPre={layout.programs}/python -m mvsqlite_stack.apps"
    before.append(f"{python}.subordinate")
    if app.database.routed:
        before.append(f"{python}.library {layout.library}")
    return (
        f"[Unit]\nDescription={app.title or name} of {stack.domain}\n"
        "After=network-online.target\nWants=network-online.target\n\n"
        "[Container]\n" + "\n".join(lines) + "\n\n"
        f"[Service]\nStateDirectory={unit(name)}\nStateDirectoryMode=0700\n"
        + "".join(f"{line}\n" for line in before)
        + "Restart=on-failure\nRestartSec=2\nTimeoutStartSec=15min\n\n[Install]\nWantedBy=multi-user.target\n"
    )


def image(stack: Stack, name: str) -> str:
    """The image's full name with its version."""
    app = stack.apps[name]
    return (app.image or "").replace("{version}", app.version or "")


def _published(stack: Stack, name: str) -> str:
    """The host's address that leads into the container."""
    outside = stack.apps[name].model_copy(update={"image": None})
    return listen_address(stack, outside)


def _place(own: str, source: str) -> str:
    return source if source.startswith("/") else f"{own}/{source}"


def _has_store_directory(stack: Stack, name: str) -> bool:
    return stack.apps[name].database.routed and stack.store_of(name).startswith("lmdb:")


def _routing(stack: Stack, name: str, layout: Layout) -> dict[str, str]:
    app, found = stack.apps[name], routes(stack, name, layout)
    if not found:
        return {}
    said = {
        "MVSQLITE_MAP": "\\n".join(f"{path}={to}" for path, to in found.items()),
        "MVSQLITE_STORE": stack.store_of(name, layout.state),
    }
    if app.database.take_in:
        said["MVSQLITE_IMPORT"] = "1"
    if app.database.route == "extension":
        said["NODE_OPTIONS"] = f"--require {layout.library}/node/register.cjs"
    return said


def _store_lines(stack: Stack, name: str, layout: Layout) -> list[str]:
    app = stack.apps[name]
    if not app.database.routed:
        return []
    lines = [f"Volume={layout.library}:{layout.library}:ro"]
    lines += [f"Volume={layout.library}/{one}:{SYSTEM_LIBRARIES}/{one}:ro" for one in NEEDED]
    if app.database.route == "preload":
        lines.append(f"Volume={layout.settings}/apps/{name}.preload:{PRELOAD}:ro")
    if _has_store_directory(stack, name):
        place = f"{layout.app(name)}/{STORE_DIRECTORY}"
        # LMDB knows its readers by the numbers of their processes, which must be those of the host.
        lines += [f"Volume={place}:{place}:idmap", "PodmanArgs=--pid=host"]
    return lines


def _secret_files(name: str, secrets: list[str], owner: int, layout: Layout) -> tuple[list[str], list[str]]:
    """What is done before the start, and what the container is told."""
    if not secrets:
        return [], []
    run = f"/run/{unit(name)}"
    copy = f"/usr/bin/install -o {owner} -g {owner} -m 0400 {secrets_of(name, layout)}"
    before = [f"RuntimeDirectory={unit(name)}", "RuntimeDirectoryMode=0755"]
    before += [f"ExecStartPre={copy}/{one} {run}/{one}" for one in secrets]
    return before, [f"Volume={run}/{one}:/run/secrets/{one}:ro,idmap" for one in secrets]
