"""What a program is started with: routes, store, and the environment that says so."""

import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mvsqlite_py import _routes
from mvsqlite_py._errors import Error

PACKAGE = Path(__file__).parents[1]
LIBRARY = PACKAGE / "libmvsqlite_preload.so"
NODE = PACKAGE / "node" / "register.cjs"
WILD = re.compile(r"[*?\[]")
LEVELS = ("off", "error", "warn", "info", "debug")


class PlanError(Error):
    """What was asked for cannot be done; the sentence says why."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How a program is to be started."""

    routes: dict[str, str]
    """Patterns over absolute paths, in order, and the names they give."""
    store: str | None = None
    import_files: bool = False
    log: str | None = None
    log_file: str | None = None

    @property
    def map(self) -> str:
        """The routes as ``MVSQLITE_MAP`` holds them."""
        return "\n".join(f"{pattern}={name}" for pattern, name in self.routes.items())

    @property
    def literals(self) -> dict[Path, str]:
        """Paths that patterns without wildcards name, and their databases."""
        paths = [Path(unescape(pattern)) for pattern in self.routes if not WILD.search(_bare(pattern))]
        return {path: name for path in paths if (name := _routes.name_of(self.map, path))}


def _bare(pattern: str) -> str:
    """A pattern without what a backslash takes as it is."""
    return re.sub(r"\\.", "", pattern)


def unescape(pattern: str) -> str:
    return re.sub(r"\\(.)", r"\1", pattern)


def absolute(pattern: str, directory: Path) -> str:
    """A pattern as the router needs it: absolute, its fixed directories without symbolic links.

    SQLite asks for files by such paths, whatever the program gave it.
    """
    if pattern.startswith("**"):
        return pattern
    parts = Path(os.path.expanduser(pattern)).parts  # noqa: PTH111
    if not parts:
        raise PlanError("a pattern is empty: write PATTERN=NAME")
    whole = parts if parts[0] == "/" else (*map(escape, directory.parts), *parts)
    fixed = 1
    while fixed < len(whole) - 1 and not WILD.search(_bare(whole[fixed])):
        fixed += 1
    base = os.path.realpath(os.path.join(*map(unescape, whole[:fixed])))  # noqa: PTH118
    rest = list(whole[fixed:])
    if len(rest) == 1 and not WILD.search(_bare(rest[0])):
        # the file itself may be a link, which SQLite follows
        base, last = os.path.split(os.path.realpath(os.path.join(base, unescape(rest[0]))))  # noqa: PTH118
        rest = [escape(last)]
    return "/".join([escape(base).rstrip("/"), *rest])


def escape(path: str) -> str:
    """A path as a pattern that matches it alone."""
    return re.sub(r"([*?\[\\])", r"\\\1", path)


def read_routes(entries: Sequence[str], directory: Path) -> dict[str, str]:
    """Routes as a command line has them: ``PATTERN=NAME``."""
    routes = {}
    for entry in entries:
        pattern, divider, name = entry.rpartition("=")
        if not divider or not pattern or not name:
            raise PlanError(
                f"{entry!r} is no route: write PATTERN=NAME, such as '/var/lib/app/*.db={{stem}}'"
            )
        routes[absolute(pattern, directory)] = name
    return routes


def read_config(file: Path) -> tuple[dict[str, str], dict[str, Any]]:
    """The routes and the other settings of a TOML file; relative patterns are seen from its directory."""
    try:
        content = tomllib.loads(file.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise PlanError(f"{file}: {error}") from None
    kinds = {"store": str, "import": bool, "log": str, "log_file": str, "map": dict}
    for key, value in content.items():
        if key not in kinds:
            raise PlanError(f"{file}: {key!r} is not known: there are {', '.join(kinds)}")
        if not isinstance(value, kinds[key]):
            raise PlanError(f"{file}: {key} must be a {kinds[key].__name__}")
    table = content.pop("map", {})
    wrong = [pattern for pattern, name in table.items() if not isinstance(name, str)]
    if wrong:
        raise PlanError(f'{file}: the name for {wrong[0]!r} must be a string; write "{wrong[0]}" = "name"')
    directory = Path(os.path.realpath(file)).parent
    return {absolute(pattern, directory): name for pattern, name in table.items()}, content


def make_plan(
    entries: Sequence[str],
    config: Path | None,
    environment: Mapping[str, str],
    *,
    store: str | None = None,
    import_files: bool = False,
    log: str | None = None,
) -> Plan:
    """Puts together what the command line, a file and the environment say; the first that says it counts.

    Raises PlanError or MisuseError with the sentence for whoever wrote it.
    """
    routes = read_routes(entries, Path(os.path.realpath(".")))
    settings: dict[str, Any] = {}
    if config is not None:
        more, settings = read_config(config)
        routes = {**routes, **{pattern: name for pattern, name in more.items() if pattern not in routes}}
    inherited = [line for line in environment.get("MVSQLITE_MAP", "").splitlines() if line]
    if not routes:
        routes = read_routes(inherited, Path("/"))
    if not routes:
        raise PlanError(
            "no route is given: say which paths are databases with --map PATTERN=NAME, or --config"
        )
    plan = Plan(
        routes=routes,
        store=store or settings.get("store") or environment.get("MVSQLITE_STORE"),
        import_files=import_files or settings.get("import", False),
        log=log or settings.get("log"),
        log_file=settings.get("log_file"),
    )
    if plan.log is not None and plan.log not in LEVELS:
        raise PlanError(f"log level {plan.log!r} is not known: there are {', '.join(LEVELS)}")
    _routes.check_map(plan.map)
    return plan


# ---- the environment ----------------------------------------------------------------


def settled_url(url: str) -> str:
    """A store's address that means the same from every directory."""
    scheme, divider, rest = url.partition(":")
    path, mark, options = rest.partition("?")
    if scheme not in ("lmdb", "fdb") or not divider or not path or path.startswith("/"):
        return url
    return f"{scheme}:{os.path.abspath(path)}{mark}{options}"  # noqa: PTH100


def environment_of(plan: Plan, store: str, inherited: Mapping[str, str]) -> dict[str, str]:
    """What the program's environment must hold beside what it holds already.

    store: the address, absolute. inherited: LD_PRELOAD and NODE_OPTIONS keep what they have.
    """
    if not LIBRARY.is_file():
        raise PlanError(f"{LIBRARY} is missing: install mvsqlite-py anew")
    if re.search(r"[\s:]", str(LIBRARY)):
        raise PlanError(f"{LIBRARY} cannot be preloaded: its path holds a space or a colon")
    preload = [one for one in re.split(r"[\s:]+", inherited.get("LD_PRELOAD", "")) if one]
    result = {
        "MVSQLITE_MAP": plan.map,
        "MVSQLITE_STORE": store,
        "LD_PRELOAD": " ".join([str(LIBRARY), *(one for one in preload if one != str(LIBRARY))]),
    }
    if plan.import_files:
        result["MVSQLITE_IMPORT"] = "1"
    if plan.log is not None:
        result["MVSQLITE_LOG"] = plan.log
    if plan.log_file is not None:
        result["MVSQLITE_LOG_FILE"] = plan.log_file
    if NODE.is_file():
        option = f'--require "{NODE}"'
        given = inherited.get("NODE_OPTIONS", "")
        result["NODE_OPTIONS"] = given if option in given else f"{given} {option}".strip()
    return result
