"""An app's table from its recipe."""

import copy
from pathlib import Path
from typing import Any

from mvsqlite_stack import config
from mvsqlite_stack.apps.edit import add_app
from mvsqlite_stack.apps.recipe import Recipe
from mvsqlite_stack.errors import fail
from mvsqlite_stack.model import EVERYBODY, Stack


def declare(
    file: Path,
    recipe: Recipe,
    name: str,
    *,
    on: str | None = None,
    port: int | None = None,
    allow: tuple[str, ...] = (),
    public: bool = False,
    version: str | None = None,
    bucket: str | None = None,
    route: str | None = None,
) -> Stack:
    """Writes ``[apps.NAME]`` into a declaration, and returns what it then says. Raises StackError."""
    stack = config.read(file)
    if name in stack.apps:
        raise fail(file, f"there is an app {name!r} already", "Give another name, with: --as NAME")
    host = on or stack.gateway_host
    values: dict[str, Any] = {"on": host}
    values |= _port(stack, host, recipe, port)
    values["public" if public else "allow"] = public or list(allow or (EVERYBODY,))
    values["recipe"] = recipe.name
    if version or recipe.version:
        values["version"] = version or recipe.version
    elif "{version}" in str(recipe.app):
        remedy = "Say it with --version; its page tells how to find it: mvstack app show " + recipe.name
        raise fail(file, f"{recipe.name} has no version that could be pinned for you", remedy)
    rest: dict[str, Any] = copy.deepcopy({key: one for key, one in recipe.app.items() if key not in values})
    values |= _tables_last(rest)
    if public:
        values.pop("public_paths", None)
    _set_bucket(file, recipe, values, bucket)
    if route is not None:
        values["database"] = {"route": route}
    add_app(file, name, values)
    return config.read(file)


def _port(stack: Stack, host: str, recipe: Recipe, wished: int | None) -> dict[str, int]:
    usual = int(recipe.app["port"])
    port = wished or config.free_port(stack, host, usual)
    ports = {"port": port}
    if "image" in recipe.app and port != usual and recipe.app.get("network", "own") == "own":
        ports["container_port"] = int(recipe.app.get("container_port", usual))
    return ports


def _tables_last(values: dict[str, Any]) -> dict[str, Any]:
    plain = {key: one for key, one in values.items() if not isinstance(one, dict)}
    return plain | {key: one for key, one in values.items() if isinstance(one, dict)}


def _set_bucket(file: Path, recipe: Recipe, values: dict[str, Any], bucket: str | None) -> None:
    told = values.pop("bucket", None)
    if bucket is None:
        return
    if told is None:
        raise fail(file, f"{recipe.name} cannot put its uploads into a bucket", "Leave --bucket out")
    values["bucket"] = {"name": bucket, **told}
