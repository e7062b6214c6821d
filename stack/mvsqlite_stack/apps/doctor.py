"""Whether an app is as it should be, looked at on the machine that it runs on. Nothing is changed."""

import json
import os
import pwd
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path

from mvsqlite_py import Error, Store
from mvsqlite_py._routes import is_stub
from mvsqlite_stack.app_secrets import environment as secret_environment
from mvsqlite_stack.apps import subordinate, visit
from mvsqlite_stack.apps.place import is_here, store_of
from mvsqlite_stack.errors import StackError
from mvsqlite_stack.model import App, Stack
from mvsqlite_stack.render import containers, firewall
from mvsqlite_stack.render.apps import Filling, cannot_run, unit, units, wants_environment_file
from mvsqlite_stack.render.apps import routes as routes_of
from mvsqlite_stack.render.layout import SYSTEM, Layout
from mvsqlite_stack.secrets import Kind, Secrets, needed

SQLITE_HEADER = b"SQLite format 3\0"
CHECK_SECONDS = 60.0
PODMAN_MIN = 5
"""The first with quadlets as they are rendered: user namespaces, mounts with mapped owners."""
RUN = "from mvsqlite_py._cli.mvsqlite import main; main()"


class Grade(Enum):
    """How bad it is."""

    GOOD = "good"
    NOTE = "note"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    what: str
    """As ``program``, ``route``, ``database``, ``health``, ``gateway``, ``private``, ``secrets``."""
    grade: Grade
    text: str
    remedy: str = ""


class Doctor:
    """Looks at one app."""

    def __init__(
        self, stack: Stack, name: str, file: Path, secrets: Secrets, layout: Layout = SYSTEM
    ) -> None:
        self._stack, self._name, self._source = stack, name, file
        self._secrets, self._layout = secrets, layout
        self._app: App = stack.apps[name]
        self._fill = Filling(stack, name, layout)

    def look(self) -> list[Finding]:
        """All findings, in a fixed order."""
        found = [*self._declared(), *self._secret_files()]
        if not is_here(self._stack, self._name):
            text = f"it runs on {self._app.on!r}: program, database and health were not looked at"
            return [*found, Finding("place", Grade.NOTE, text, "Run this command there")]
        found += [*self._applied(), *self._loopback(), *self._program(), *self._databases()]
        return [*found, *self._visits()]

    # ---- what is declared --------------------------------------------------------

    def _declared(self) -> Iterator[Finding]:
        app = self._app
        if problem := cannot_run(app):
            sentence, _, remedy = problem.partition(". ")
            yield Finding("route", Grade.BAD, sentence, remedy)
        elif not app.database.routed:
            why = app.database.why or "its databases are not the store's"
            yield Finding("route", Grade.NOTE, f"{app.database.route}: no history and no undo: {why}")
        if app.version is None and app.runs:
            yield Finding(
                "version", Grade.NOTE, "none is declared", 'Say version = "..." to be able to upgrade'
            )
        elif app.runs:
            yield Finding("version", Grade.GOOD, f"{app.version} is declared")

    def _secret_files(self) -> Iterator[Finding]:
        try:
            self._secrets.check()
        except StackError as error:
            yield from (Finding("secrets", Grade.BAD, one.what, one.remedy) for one in error.problems)
            return
        bucket = self._app.bucket
        prefixes = (f"apps/{self._name}/", *([f"buckets/{bucket.name}/"] if bucket else []))
        mine = [one for one in needed(self._stack) if one.name.startswith(prefixes)]
        missing = [one for one in mine if not self._secrets.exists(one)]
        for one in missing:
            given = f"mvstack secrets rotate {one.name}"
            remedy = given if one.kind is Kind.GIVEN else "mvstack secrets create"
            yield Finding("secrets", Grade.BAD, f"{one.name} is missing", f"Make it with: {remedy}")
        if missing or not mine:
            return
        if wants_environment_file(self._app):
            try:
                secret_environment(self._stack, self._name, self._secrets)
            except StackError as error:
                yield from (Finding("secrets", Grade.BAD, one.what, one.remedy) for one in error.problems)
                return
        yield Finding("secrets", Grade.GOOD, f"{len(mine)} are there, for their owner alone")

    def _applied(self) -> Iterator[Finding]:
        """Whether the host's files are those of the declaration, and so of its version."""
        host, own = self._app.on, f"{unit(self._name)}."
        told = {f"systemd/{name}": text for name, text in units(self._stack, host, self._layout).items()}
        told |= containers.files(self._stack, host, self._layout)
        for path, text in told.items():
            if not path.partition("/")[2].startswith(own):
                continue
            place = Path(self._layout.place(f"{host}/{path}"))
            if not place.is_file():
                yield Finding("version", Grade.NOTE, f"{place} is not there", "Apply: mvstack apply")
            elif place.read_text().partition("\n")[2] != text:
                yield Finding("version", Grade.NOTE, f"{place} says something else", "Apply: mvstack apply")
            else:
                yield Finding("version", Grade.GOOD, f"{place} is as declared")

    def _loopback(self) -> Iterator[Finding]:
        """Whether other programs of this host are kept from its port; only root can see that."""
        rules = Path(self._layout.settings, firewall.FILE)
        if os.geteuid() != 0 or not rules.is_file():
            return
        if f"tcp dport {self._app.port} " not in rules.read_text():
            yield Finding("loopback", Grade.NOTE, "any program of this host can reach it past the gateway")
        elif _ends_well([firewall.NFT, "list", "table", "inet", firewall.TABLE]):
            yield Finding("loopback", Grade.GOOD, "of this host's programs the gateway alone reaches it")
        else:
            text = "the rules are not in force: any program of this host can reach it past the gateway"
            yield Finding("loopback", Grade.BAD, text, f"See why: systemctl restart {firewall.UNIT}")

    # ---- the program ---------------------------------------------------------------

    def _program(self) -> Iterator[Finding]:
        if self._app.image:
            yield from self._image()
        elif self._app.command:
            yield from self._command()
        else:
            yield Finding("program", Grade.NOTE, "mvstack does not run it")

    def _image(self) -> Iterator[Finding]:
        name, podman = containers.image(self._stack, self._name), shutil.which("podman")
        if podman is None:
            yield Finding(
                "program", Grade.BAD, "podman is not installed", "Install it: apt-get install podman"
            )
            return
        yield from _podman(podman)
        if _ends_well([podman, "image", "exists", name]):
            yield Finding("program", Grade.GOOD, f"{name} is here")
        else:
            yield Finding("program", Grade.NOTE, f"{name} is not here", "It is fetched at the first start")
        if self._app.database.routed:
            text = "whether the route takes effect in the container shows at its start: see database"
            yield Finding("route", Grade.NOTE, text)

    def _command(self) -> Iterator[Finding]:
        word = self._fill(self._app.command[0])
        found = shutil.which(word)
        if found is None:
            made = f"start {unit(self._name)}-install.service" if self._app.install else "install it"
            yield Finding(
                "program", Grade.BAD, f"{word} is not there, or may not be run", f"To have it: {made}"
            )
            return
        yield Finding("program", Grade.GOOD, f"{found} is there")
        routes = routes_of(self._stack, self._name, self._layout)
        if not routes:
            return
        problems = self._check_route(word, routes)
        for problem in problems:
            yield Finding("route", Grade.BAD, problem)
        if not problems:
            yield Finding("route", Grade.GOOD, f"{self._app.database.route}: nothing stands against it")

    def _check_route(self, word: str, routes: dict[str, str]) -> list[str]:
        """What ``mvsqlite run --check`` says, as the app's own user where that can be."""
        options = ["--store", self._stack.store_of(self._name, self._layout.state), "--check", "--json"]
        if self._app.database.take_in:
            options.append("--import")
        for path, to in routes.items():
            options += ["--map", f"{path}={to}"]
        user = _user(unit(self._name))
        done = subprocess.run(
            [sys.executable, "-c", RUN, "run", *options, "--", word],
            capture_output=True,
            text=True,
            timeout=CHECK_SECONDS,
            check=False,
            user=user,
            group=user,
        )
        try:
            told = json.loads(done.stdout)
        except ValueError:
            return [f"mvsqlite run --check failed: {done.stderr.strip() or done.returncode}"]
        if "error" in told:
            return [str(told["error"]["message"])]
        return [str(one) for one in told["problems"]]

    # ---- the databases ---------------------------------------------------------------

    def _databases(self) -> Iterator[Finding]:
        routes = routes_of(self._stack, self._name, self._layout)
        if not routes:
            return
        for pattern in routes:
            yield from self._file(pattern)
        try:
            with store_of(self._stack, self._name, self._layout, self._source) as store:
                yield from self._in_store(store)
        except (Error, StackError, OSError) as error:
            yield Finding("database", Grade.BAD, str(error), "Look with: mvsqlite doctor " + self._url)

    @property
    def _url(self) -> str:
        return self._stack.store_of(self._name, self._layout.state)

    def _in_store(self, store: Store | None) -> Iterator[Finding]:
        names = store.list() if store else []
        if not names:
            text = f"{self._url} has none yet"
            yield Finding("database", Grade.NOTE, text, "There will be when the app has run")
        for one in names:
            ago = f", changed {_ago(one.changed)}" if one.changed else ""
            yield Finding("database", Grade.GOOD, f"{one.name} is a database of its store{ago}")

    def _file(self, pattern: str) -> Iterator[Finding]:
        """What stands at a path of the host that is named outright."""
        path = self._on_host(pattern)
        if path is None or any(char in pattern for char in "*?[") or not path.is_file():
            return
        if is_stub(path):
            yield Finding("database", Grade.GOOD, f"at {path} is the small file that stands for it")
            return
        with path.open("rb") as content:
            plain = content.read(len(SQLITE_HEADER)) == SQLITE_HEADER
        if not plain:
            return
        if self._app.database.take_in:
            yield Finding(
                "database", Grade.NOTE, f"{path} is an ordinary file", "It is taken in at the next start"
            )
        else:
            text = f"{path} is an ordinary file, and take_in = false"
            yield Finding("database", Grade.BAD, text, "Move it away, or say take_in = true")

    def _on_host(self, pattern: str) -> Path | None:
        if not self._app.image:
            return Path(pattern)
        for inside, source in self._app.volumes.items():
            if pattern.startswith(f"{inside}/"):
                base = source if source.startswith("/") else f"{self._layout.app(self._name)}/{source}"
                return Path(base + pattern.removeprefix(inside))
        return None

    # ---- as a visitor ------------------------------------------------------------------

    def _visits(self) -> Iterator[Finding]:
        health = visit.health(self._stack, self._name)
        good = health.status is not None and health.status < 400
        text = f"{self._app.health} answers {health.text}"
        remedy = "" if good else f"Look with: journalctl -u {unit(self._name)}"
        yield Finding("health", Grade.GOOD if good else Grade.BAD, text, remedy)
        if self._stack.gateway_host != self._app.on:
            return
        private = visit.as_stranger(self._stack, self._name, visit.SOME_PRIVATE_PATH)
        if private.status is None:
            look = f"Look with: journalctl -u mvstack-{self._stack.stack.gateway}"
            yield Finding("gateway", Grade.BAD, f"it answers {private.text}", look)
            return
        for path in self._app.public_paths:
            yield self._public(path.removesuffix("/*"))
        if not self._app.public:
            yield self._private(private)

    def _public(self, path: str) -> Finding:
        answer = visit.as_stranger(self._stack, self._name, path)
        text = f"{path} answers {answer.text} to a stranger"
        if answer.status is None or answer.closed:
            return Finding("public", Grade.BAD, text, "Apply the declaration: mvstack apply")
        return Finding("public", Grade.GOOD, text)

    def _private(self, answer: visit.Answer) -> Finding:
        """Of a path that nobody could have declared public."""
        text = f"a private path answers {answer.text} to a stranger"
        if answer.closed:
            return Finding("private", Grade.GOOD, text)
        return Finding(
            "private", Grade.BAD, text, "Stop the gateway, and apply the declaration: mvstack apply"
        )


def _podman(program: str) -> Iterator[Finding]:
    """Whether it runs containers as they are declared."""
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    found = re.search(r"\d+", done.stdout)
    if not found or int(found[0]) < PODMAN_MIN:
        text = f"{done.stdout.strip() or program} is too old"
        yield Finding("program", Grade.BAD, text, f"podman {PODMAN_MIN} is needed, as Debian 13 has it")
    for file in subordinate.missing():
        text = f"{file} has no line for containers' users"
        yield Finding("program", Grade.NOTE, text, "It is added at the first start")


def _user(name: str) -> str | None:
    """As whom a check runs: the app's user, if we may become it and it is there."""
    if os.geteuid() != 0:
        return None
    try:
        pwd.getpwnam(name)
    except KeyError:
        return None
    return name


def _ends_well(command: list[str]) -> bool:
    return subprocess.run(command, capture_output=True, timeout=CHECK_SECONDS, check=False).returncode == 0


def _ago(moment: datetime) -> str:
    seconds = int((datetime.now(UTC) - moment).total_seconds())
    for size, unit_name in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit_name} ago"
    return "just now"
