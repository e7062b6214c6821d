"""Reads stack.toml; every error names file, line and remedy."""

import difflib
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from mvsqlite_stack.app_checks import findings
from mvsqlite_stack.errors import Problem, StackError, fail
from mvsqlite_stack.model import EVERYBODY, Stack, Table
from mvsqlite_stack.places import Path as Place
from mvsqlite_stack.places import line_of, line_of_syntax_error

FILE_NAME = "stack.toml"
PORTS = ("http", "https", "sign_in", "certificates", "status", "status_page")

_SECRET_KEY = re.compile(
    r"(?i)(^|[_-])(pass(word|wd|phrase)?|secret|token|credential|api_?key|(private|access|secret|app|auth)_?key)s?$"
)
_SECRET_VALUES = (
    re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY"),
    re.compile(r"^eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]+\."),
    re.compile(r"^\$(argon2|2[aby]|5|6|y)\w*\$"),
    re.compile(r"\b(AKIA|ASIA|ghp_|glpat-|xox[bp]-|sk-)[A-Za-z0-9_-]{12,}"),
    re.compile(r"^[a-z][a-z0-9+.-]*://[^/\s:@]*:[^/\s@]+@"),
    re.compile(r"^(?:base64:)?(?=[^/]*[0-9])(?=[^/]*[A-Za-z])[A-Za-z0-9+/_-]{32,}={0,2}$"),
)

_REMEDIES = {
    "extra_forbidden": "Remove it",
    "int_type": "Write a whole number without quotes",
    "bool_type": "Write true or false without quotes",
    "string_type": "Write text in double quotes",
    "tuple_type": 'Write a list, as ["one", "two"]',
    "dict_type": "Write a table",
    "model_type": "Write a table",
}


def read(path: Path) -> Stack:
    """The stack that a file declares. Raises StackError with all that is wrong."""
    text = _text(path)
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        line = line_of_syntax_error(error, text)
        what = re.sub(r" \(at .*\)", "", str(error))
        raise StackError([Problem(path, what, "Correct the TOML syntax there", line)]) from error
    found = Findings(path, text)
    found.look_for_secrets((), data)
    found.stop()
    stack = found.validated(data)
    found.check(stack)
    found.stop()
    return stack


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except FileNotFoundError as error:
        raise fail(path, "there is no such file", "Write one with: mvstack init") from error
    except UnicodeDecodeError as error:
        raise fail(path, "it is not UTF-8 text", "Save it as UTF-8") from error
    except OSError as error:
        raise fail(path, error.strerror or "it cannot be read", "Make it a file that you can read") from error


class Findings:
    """What is wrong in one file."""

    def __init__(self, file: Path, text: str) -> None:
        self._file, self._text = file, text
        self._problems: list[Problem] = []

    def add(self, place: Place, what: str, remedy: str) -> None:
        key = ".".join(map(str, place))
        self._problems.append(Problem(self._file, what, remedy, line_of(self._text, place), key))

    def stop(self) -> None:
        """Raises StackError if anything was found."""
        if self._problems:
            raise StackError(self._problems)

    def look_for_secrets(self, place: Place, value: Any) -> None:
        """Secrets have a place of their own, which is not a file that is shown, copied and versioned."""
        if isinstance(value, dict):
            for name, inner in value.items():
                self.look_for_secrets((*place, name), inner)
        elif isinstance(value, list):
            for i, inner in enumerate(value):
                self.look_for_secrets((*place, i), inner)
        elif isinstance(value, str) and _looks_secret(place, value):
            remedy = (
                "Take it out, and put it into the secrets directory with: mvstack secrets rotate "
                + _secret(place)
            )
            self.add(place, "this looks like a secret, and secrets do not belong here", remedy)

    def validated(self, data: dict[str, Any]) -> Stack:
        try:
            return _validate(data)
        except ValidationError as error:
            for detail in error.errors():
                self._add_detail(detail)
            self.stop()
            raise

    def _add_detail(self, detail: ErrorDetails) -> None:
        place = tuple(part for part in detail["loc"] if part != "[key]")
        kind, context = detail["type"], detail.get("ctx", {})
        if kind == "mvstack":
            self.add(place, str(context["what"]), str(context["remedy"]))
        elif kind == "missing":
            table = ".".join(map(str, place[:-1]))
            remedy = f"Say it in [{table}]" if table else f"Add a table [{place[0]}]"
            self.add(place, "it is missing", remedy)
        elif kind == "extra_forbidden":
            self.add(place, "there is no such key", _did_you_mean(place))
        else:
            message = detail["msg"].removeprefix("Input should be ").removeprefix("a ").removeprefix("an ")
            given = f"{detail['input']!r} is not allowed here"
            self.add(place, given, _REMEDIES.get(kind, f"It should be: {message}"))

    def check(self, stack: Stack) -> None:
        """What no table can know by itself."""
        self._check_hosts(stack)
        self._check_names(stack)
        self._check_ports(stack)
        for name in stack.apps:
            self._check_app(stack, name)
        self._check_status(stack)

    def _check_hosts(self, stack: Stack) -> None:
        count = sum(host.gateway for host in stack.hosts.values())
        if not stack.hosts:
            self.add(("hosts",), "there is no host", "Add one, as [hosts.home] with gateway = true")
        elif count != 1:
            names = [name for name, host in stack.hosts.items() if host.gateway]
            what = (
                f"the gateway is on {count} hosts ({', '.join(names)})"
                if names
                else "no host has the gateway"
            )
            self.add(
                ("hosts", (names or list(stack.hosts))[-1]), what, "Say gateway = true for exactly one host"
            )

    def _check_names(self, stack: Stack) -> None:
        """Every host name below the domain, each once."""
        named: dict[str, str] = {stack.sign_in_host: "the sign-in service"}
        hosts: list[tuple[Place, str]] = [(("stack", "sign_in_host"), stack.sign_in_host)]
        if stack.status.enabled:
            hosts.append((("status", "host"), stack.status_host))
        hosts += [(("apps", name, "host"), stack.host_of(name)) for name in stack.apps]
        for i, (place, host) in enumerate(hosts):
            if not host.endswith(f".{stack.domain}"):
                self.add(place, f"{host} is not below the domain {stack.domain}", f"Use NAME.{stack.domain}")
            if i == 0:
                continue
            if host in named:
                self.add(place, f"{host} is the host of {named[host]} already", "Give it a host of its own")
            named.setdefault(host, f"apps.{place[1]}" if place[0] == "apps" else "the status page")

    def _check_ports(self, stack: Stack) -> None:
        gateways = [name for name, host in stack.hosts.items() if host.gateway]
        taken: dict[tuple[str, int], str] = {}
        for gateway in gateways:
            for key in PORTS:
                port = getattr(stack.ports, key)
                if (gateway, port) in taken:
                    what = f"port {port} is that of {taken[gateway, port]} already"
                    self.add(("ports", key), what, "Choose another")
                taken.setdefault((gateway, port), f"ports.{key}")
        for name, app in stack.apps.items():
            if who := taken.get((app.on, app.port)):
                what = f"port {app.port} on {app.on} is that of {who} already"
                self.add(("apps", name, "port"), what, f"Choose another, such as {free_port(stack, app.on)}")
            taken.setdefault((app.on, app.port), f"apps.{name}")

    def _check_app(self, stack: Stack, name: str) -> None:
        app, place = stack.apps[name], ("apps", name)
        if app.on not in stack.hosts:
            self.add((*place, "on"), f"there is no host {app.on!r}", f"Use one of: {', '.join(stack.hosts)}")
        for entry in app.allow:
            known = entry[1:] in stack.groups if entry.startswith("@") else entry in stack.users
            if entry != EVERYBODY and not known:
                kind = "no user is in a group" if entry.startswith("@") else "there is no user"
                remedy = "Name a user of [users], @group of one, or * for all"
                self.add((*place, "allow"), f"{kind} {entry.lstrip('@')!r}", remedy)
        if app.public and (app.allow or app.public_paths):
            self.add((*place, "public"), "it is public, and says who may enter", "Say only one of them")
        if not app.public and not app.allow:
            self.add((*place, "allow"), "nobody may enter", 'Say allow = ["*"], or who, or public = true')
        if len(set(app.public_paths)) < len(app.public_paths):
            self.add((*place, "public_paths"), "a path is named twice", "Name each path once")
        for key, what, remedy in findings(stack, name):
            self.add((*place, *key), what, remedy)

    def _check_status(self, stack: Stack) -> None:
        for name in stack.status.hide:
            if name not in stack.apps:
                remedy = f"Use one of: {', '.join(stack.apps)}" if stack.apps else "Remove it"
                self.add(("status", "hide"), f"there is no app {name!r}", remedy)
        if stack.status.timeout_seconds > stack.status.interval_seconds:
            what = f"a check may take longer than the {stack.status.interval_seconds} s until the next one"
            self.add(("status", "timeout_seconds"), what, "Choose a shorter time, or a longer interval")


def _validate(data: dict[str, Any]) -> Stack:
    """TOML has lists where the model has tuples; all else must be of the type declared."""
    return Stack.model_validate(_tuples(data))


def _tuples(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _tuples(inner) for name, inner in value.items()}
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _looks_secret(place: Place, value: str) -> bool:
    names = [part for part in place if isinstance(part, str)]
    if len(names) > 2 and names[0] == "apps" and names[2] == "secrets":
        return False  # names of secrets
    if len(names) > 2 and names[0] == "apps" and names[2] in ("version", "upgrades"):
        return False  # perhaps digests
    if len(names) > 4 and (names[0], names[2], names[3]) == ("apps", "bucket", "variables"):
        return False  # names of variables, and of what they get
    is_path = value.startswith("/")
    by_name = bool(names) and _SECRET_KEY.search(names[-1]) is not None and not is_path and value != ""
    return by_name or any(pattern.search(value) for pattern in _SECRET_VALUES)


def _secret(place: Place) -> str:
    """What its name in the secrets directory would be."""
    names = [str(part) for part in place if isinstance(part, str)]
    if len(names) >= 3 and names[0] in ("apps", "buckets"):
        return f"{names[0]}/{names[1]}/{names[-1]}"
    return names[-1]


def free_port(stack: Stack, host: str, first: int = 8081) -> int:
    """The first port from there on that nothing declared has on a host."""
    taken = {app.port for app in stack.apps.values() if app.on == host} | {
        getattr(stack.ports, key) for key in PORTS
    }
    return next(port for port in range(first, 65536) if port not in taken)


def _fields(place: Place) -> Iterator[str]:
    """Names that a table has at this place."""
    model: Any = Stack
    for part in place:
        if isinstance(model, type) and issubclass(model, Table):
            field = model.model_fields.get(str(part))
            model = field.annotation if field else None
            arguments = getattr(model, "__args__", ())
            if arguments and getattr(model, "__origin__", None) is dict:
                model = ("dict", arguments[1])
        elif isinstance(model, tuple):
            model = model[1]
    if isinstance(model, type) and issubclass(model, Table):
        yield from model.model_fields


def _did_you_mean(place: Place) -> str:
    known = list(_fields(place[:-1]))
    near = difflib.get_close_matches(str(place[-1]), known, n=1)
    if near:
        return f"Perhaps {near[0]} was meant"
    return f"Remove it; there are: {', '.join(known)}" if known else "Remove it"
