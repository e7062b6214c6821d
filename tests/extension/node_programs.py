"""Node and the drivers its programs use, from npm; and programs run on them.

What npm installs is kept between runs: downloading takes seconds, but a driver that has to be
compiled (better-sqlite3 12, sqlite3) takes minutes, and is only used where it is there or a soak
asks for it.
"""

import fcntl
import functools
import hashlib
import json
import os
import platform
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import mvsqlite_py

REGISTER = Path(mvsqlite_py.__file__).parent / "node" / "register.cjs"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mvsqlite-tests"
MACHINE = {"x86_64": "x64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())


def digest(text: str) -> str:
    """Part of a directory's name, another one for every text."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]


@dataclass(frozen=True)
class Setup:
    """A release of Node with packages for it."""

    packages: dict[str, str]
    node: str = ""
    """An npm package that is a Node; "": the one on PATH."""
    compiled: bool = False
    overrides: dict[str, str] = field(default_factory=dict)
    """Releases of what these packages depend on, where theirs would have to be compiled."""

    @property
    def directory(self) -> Path:
        """Where it is kept: for these packages, and the Node they are compiled for."""
        marks = [self.packages, self.node, version_on_path() if self.compiled else "", MACHINE]
        if self.overrides:
            marks.append(self.overrides)
        return CACHE / f"node-{digest(json.dumps(marks))}"

    @property
    def program(self) -> str:
        return str(self.directory / "node_modules" / self.node / "bin/node") if self.node else "node"


NODE_24 = f"node-linux-{MACHINE}"
SETUPS = {
    "better-sqlite3 13": Setup({"better-sqlite3": "13.2.0", NODE_24: "24.22.3"}, node=NODE_24),
    "better-sqlite3 12": Setup({"better-sqlite3": "12.11.1"}, compiled=True),
    "sqlite3 5": Setup({"sqlite3": "5.1.7"}, compiled=True),
}

DRIVERS = list(SETUPS)
SETUPS["Actual"] = Setup({"@actual-app/sync-server": "26.9.0"}, overrides={"better-sqlite3": "13.2.0"})


@functools.cache
def version_on_path() -> str:
    if not shutil.which("node"):
        return ""
    return subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout.strip()


def installed(name: str, soak: bool) -> Setup:
    """The setup of that name, installed; skips the test where that cannot be."""
    setup = SETUPS[name]
    done = setup.directory / "done"
    for program in ("npm",) if setup.node else ("npm", "node"):
        if not shutil.which(program):
            pytest.skip(f"there is no {program}")
    if setup.compiled and not soak and not done.exists():
        pytest.skip(f"{name} takes minutes to compile: with --soak it is, and kept in {CACHE}")
    setup.directory.mkdir(parents=True, exist_ok=True)
    with (setup.directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            install(name, setup)
            done.touch()
    return setup


def install(name: str, setup: Setup) -> None:
    package = {"private": True, "dependencies": setup.packages, "overrides": setup.overrides}
    (setup.directory / "package.json").write_text(json.dumps(package))
    command = ["npm", "install", "--no-fund", "--no-audit", "--loglevel=error"]
    environment = {key: value for key, value in os.environ.items() if key != "NODE_OPTIONS"}
    npm = subprocess.run(
        command, cwd=setup.directory, env=environment, capture_output=True, text=True, check=False
    )
    if npm.returncode:
        pytest.skip(f"npm cannot install {name}: {npm.stderr[-300:]}")


def environment(setup: Setup | None, **variables: str | None) -> dict[str, str]:
    """The test's environment with variables set, or unset; NODE_PATH finds the setup's packages."""
    merged: dict[str, str | None] = {**os.environ, "NODE_NO_WARNINGS": "1", "TZ": "UTC", **variables}
    if setup:
        merged["NODE_PATH"] = str(setup.directory / "node_modules")
    return {key: value for key, value in merged.items() if value is not None}


def routed(pattern: str, **variables: str | None) -> dict[str, str | None]:
    """What makes a Node program run on us, as a person would set it."""
    return {"MVSQLITE_MAP": pattern, "NODE_OPTIONS": f'--require "{REGISTER}"', **variables}


def run(setup: Setup, program: str | Path, *arguments: str | Path, **variables: str | None) -> "Done":
    """Runs a program to its end; its text where it is no path."""
    source = [str(program)] if isinstance(program, Path) else ["-e", program]
    done = subprocess.run(
        [setup.program, *source, *map(str, arguments)],
        env=environment(setup, **variables),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return Done(done.returncode, done.stdout, done.stderr)


@dataclass(frozen=True)
class Done:
    status: int
    output: str
    errors: str


@contextmanager
def modules_beside(directory: Path, setup: Setup) -> Iterator[Path]:
    """A directory where ESM finds the setup's packages, which looks for them nowhere else."""
    link = directory / "node_modules"
    link.symlink_to(setup.directory / "node_modules")
    try:
        yield directory
    finally:
        link.unlink()
