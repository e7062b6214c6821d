"""Fossil: a repository, a checkout and a list of repositories are SQLite databases, attached to each other.

Debian's brings its own SQLite along, and then we say so. One that is linked to the system's
(``./configure --disable-internal-sqlite --with-sqlite=/usr``) runs routed; MVSQLITE_TEST_FOSSIL names it.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from ways import ABOVE, PATIENCE_SECONDS, STUB_SAYS, Play, Way, client, free_port, need

pytestmark = ABOVE

ROUTES = [".fossil=settings", "*.fossil=repositories/{stem}", "*/.fslckout=checkouts/{1}"]
FOSSIL = os.environ.get("MVSQLITE_TEST_FOSSIL") or shutil.which("fossil") or "fossil"


def is_linked() -> bool:
    """Whether fossil uses the system's SQLite."""
    if not shutil.which(FOSSIL):
        return False
    told = subprocess.run(["ldd", FOSSIL], capture_output=True, text=True, check=False).stdout
    return "libsqlite3" in told


linked = pytest.mark.skipif(
    not is_linked(), reason="no fossil that is linked to libsqlite3: MVSQLITE_TEST_FOSSIL"
)
carries_its_own = pytest.mark.skipif(is_linked(), reason="this fossil is linked to libsqlite3")


@need(FOSSIL)
@carries_its_own
def test_a_fossil_with_its_own_sqlite_is_not_started(routed: Callable[..., Way]) -> None:
    way = routed(*ROUTES)
    done = subprocess.run(
        way.words(FOSSIL, "init", "one.fossil"),
        env=way.environment({}),
        cwd=way.home,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert done.returncode != 0
    assert "brings its own SQLite along" in done.stderr
    assert done.stdout == ""
    assert list(way.home.iterdir()) == []


class Checkout:
    """A directory with files of a repository."""

    def __init__(self, way: Way, name: str, repository: str) -> None:
        self.way = way
        self.path = way.home / name
        self.path.mkdir()
        self.opened = self("open", way.home / repository, "--workdir", self.path)

    def __call__(self, *words: str | Path, status: int = 0, alone: bool = False) -> str:
        fossil = ["env", "-C", self.path, FOSSIL, *words]
        return plain(self.way.run(*fossil, status=status, alone=alone, USER="ann", FOSSIL_USER="ann"))

    def write(self, name: str, text: str) -> None:
        (self.path / name).write_text(text)


def plain(text: str) -> str:
    """Without what differs from one run to the next."""
    text = re.sub(r"127\.0\.0\.1:\d+|\b[0-9a-f]{10,64}\b|password is \"\w+\"", "#", text)
    return re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d(:\d\d)?|\d\d:\d\d:\d\d|sent: \d+ +received: \d+", "#", text)


def outside(way: Way, *words: str | Path) -> str:
    return plain(way.run(FOSSIL, *words, USER="ann"))


@contextmanager
def site(way: Way, repository: str) -> Iterator[httpx.Client]:
    """The repository's own web site, where everybody from here may do everything."""
    port = free_port()
    command = [FOSSIL, "server", repository, "--localhost", "--localauth", "--port", str(port)]
    command += ["--nossl", "--nojail"]  # root's server would else see only the repository's directory
    with way.serve(*command, port=port, USER="ann"):
        yield client(port)


@linked
def test_two_repositories_and_their_checkouts(play: Play) -> None:
    def scenario(way: Way) -> object:
        told = [outside(way, "init", "one.fossil")]
        one = Checkout(way, "a", "one.fossil")
        one.write("file", "".join(f"line {i}\n" for i in range(20)))
        told += [one.opened, one("add", "file"), one("commit", "-m", "first", "--no-warnings")]
        one.write("file", "".join(f"line {i}{'!' * (i == 3)}\n" for i in range(20)))
        told += [one("commit", "-m", "on a branch", "--branch", "trial", "--no-warnings")]
        told += [
            one("update", "trunk"),
            one("merge", "trial"),
            one("commit", "-m", "merged", "--no-warnings"),
        ]
        with site(way, "one.fossil") as http:
            told += [outside(way, "clone", str(http.base_url), "two.fossil")]
            two = Checkout(way, "b", "two.fossil")
            two.write("other", "of the clone\n")
            told += [two("add", "other"), two("commit", "-m", "second", "--no-warnings"), two("sync")]
        told += [one("update"), one("timeline", "-t", "ci", "-W", "0"), one("branch", "list"), one("status")]
        told += [outside(way, "rebuild", "--vacuum", "one.fossil"), outside(way, "all", "list")]
        told += [outside(way, "sql", "-R", "one.fossil", "SELECT count(*) FROM event")]
        told += [outside(way, "test-integrity", "one.fossil")]
        return told

    play(scenario, ROUTES)


@linked
def test_history_purged_from_a_served_repository_comes_back(play: Play) -> None:
    def scenario(way: Way) -> object:
        told = [outside(way, "init", "one.fossil")]
        one = Checkout(way, "a", "one.fossil")
        one.write("wiki.txt", "Mountains with marmots\n")
        told += [one("wiki", "create", "Alps", "wiki.txt")]
        with site(way, "one.fossil") as http:
            assert "marmots" in http.get("/wiki", params={"name": "Alps"}).text
            newest = way.newest("repositories/one")
            told += [
                one(
                    "sql",
                    "DELETE FROM tagxref WHERE tagid IN (SELECT tagid FROM tag WHERE tagname = 'wiki-Alps');"
                    "DELETE FROM event WHERE type = 'w'",
                )
            ]
            assert "marmots" not in http.get("/wiki", params={"name": "Alps"}).text
            if way.routed:
                way.undo("repositories/one", f"{way.after('repositories/one', newest)}..HEAD")
                assert "marmots" in http.get("/wiki", params={"name": "Alps"}).text
        return told

    play(scenario, ROUTES)


@linked
def test_fossil_started_without_us_sees_no_empty_repository(routed: Callable[..., Way]) -> None:
    way = routed(*ROUTES)
    outside(way, "init", "one.fossil")
    assert STUB_SAYS in way.run(FOSSIL, "info", "-R", "one.fossil", status=-1, alone=True, USER="ann")
    assert "project-name" in outside(way, "info", "-R", "one.fossil")
    way.verify()
