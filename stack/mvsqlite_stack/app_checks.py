"""What can be wrong with an app's table that no field can know by itself."""

from collections import Counter
from collections.abc import Iterator

from pydantic_core import PydanticCustomError

from mvsqlite_stack.model import App, Stack, check_image

Finding = tuple[tuple[str, ...], str, str]
"""The key below the app, what is wrong, and the way out."""
CONTAINER_KEYS = ("container_port", "container_user", "capabilities", "volumes")
PROGRAM_KEYS = ("install", "program")


def findings(stack: Stack, name: str) -> Iterator[Finding]:
    """All of them."""
    app = stack.apps[name]
    yield from _running(app)
    yield from _versions(app)
    yield from _database(app)
    yield from _bucket(stack, app)
    yield from _names(app)


def _running(app: App) -> Iterator[Finding]:
    if app.image and app.command:
        yield ("image",), "it has a command too", "Say one of them: a container's image, or a program"
    if not app.image:
        for key in CONTAINER_KEYS:
            if getattr(app, key):
                yield (key,), "only a container has that", "Remove it, or name an image"
    elif app.data:
        yield ("data",), "a container has volumes", 'Say volumes = {"/path/inside" = "directory"}'
    if not app.command:
        for key in PROGRAM_KEYS:
            if getattr(app, key):
                yield (key,), "there is no command that it would be for", "Remove it, or say command = [...]"
    if app.install and not app.program:
        yield ("program",), "it is missing", "Name the file that install makes"
    if app.network == "host" and app.container_port not in (None, app.port):
        yield ("container_port",), "it has the host's network, and no ports of its own", "Remove it"


def _versions(app: App) -> Iterator[Finding]:
    said = [app.image, app.program, *app.command, *app.install, *app.environment.values()]
    if app.version is None and any("{version}" in text for text in said if text):
        yield ("version",), "it is missing, and {version} is named", 'Say version = "..."'
    if app.image and app.version:
        try:
            check_image(app.image.replace("{version}", app.version))
        except PydanticCustomError as error:
            context = error.context or {}
            yield ("version",), str(context["what"]), str(context["remedy"])
    if app.image and "{state}" in "".join(app.environment.values()):
        yield ("environment",), "{state} is a directory of the host", "Name the path in the container"


def _database(app: App) -> Iterator[Finding]:
    database = app.database
    if database.route in ("preload", "extension"):
        if not database.map:
            yield ("database", "map"), "it is missing", 'Say which files: map = {"/path/app.db" = "app"}'
        if not app.runs:
            yield ("database", "route"), "mvstack does not run this app", "Name its command or image"
        for pattern in database.map:
            if app.image and "{state}" in pattern:
                yield ("database", "map"), f"{pattern!r} is no path in the container", "Name it as seen there"
    if database.dump and database.route != "server":
        yield ("database", "dump"), "only a server is dumped", 'Remove it, or say route = "server"'
    if database.map and database.route in ("server", "none"):
        yield ("database", "map"), f"route {database.route!r} has no files", "Remove it, or choose a route"


def _bucket(stack: Stack, app: App) -> Iterator[Finding]:
    if app.bucket and app.bucket.name not in stack.buckets:
        known = ", ".join(stack.buckets) or "none yet"
        yield (
            ("bucket", "name"),
            f"there is no bucket {app.bucket.name!r}",
            f"Use one of [buckets]: {known}",
        )


def _names(app: App) -> Iterator[Finding]:
    """Each variable has one origin; but what comes with a bucket takes the place of what is said without."""
    bucket = list(app.bucket.variables) if app.bucket else []
    instead = list(app.bucket.environment) if app.bucket else []
    secrets = {one.name for one in app.secrets}
    told = {one.name if one.by == "variable" else f"{one.name}_FILE" for one in app.secrets}
    without = [name for name in app.environment if name not in instead]
    counted = Counter([*(one.name for one in app.secrets), *bucket, *instead, *without])
    for variable, count in counted.items():
        if count > 1:
            where = "secrets" if variable in secrets else "bucket"
            yield (where,), f"{variable} is named twice", "Name it in one place, once"
    for variable in sorted(told & {*app.environment} - secrets):
        yield ("secrets",), f"{variable} is in environment too", "Remove it there"
