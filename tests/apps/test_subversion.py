"""Subversion: wc.db of every working copy and rep-cache.db of the repository, by way of libsqlite3."""

import re
from collections.abc import Callable
from pathlib import Path

from ways import ABOVE, Play, Way, free_port, need

ROUTES = ["*/.svn/wc.db={1}.wc", "*/db/rep-cache.db={1}.rep"]

pytestmark = [need("svn", "svnadmin", "svnserve"), ABOVE]


class Copy:
    """A working copy."""

    def __init__(self, way: Way, name: str, url: str) -> None:
        self.way = way
        self.path = way.home / name
        self.checked_out = way.run("svn", "checkout", url, self.path)

    def __call__(self, *words: str | Path, **how: int) -> str:
        told = self.way.run("svn", "--non-interactive", words[0], *words[1:], self.path, **how)
        return re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \+0000 \(\w+, [^)]*\)", "DATE", told)

    def on(self, command: str, *files: str) -> str:
        """A command about files of the working copy."""
        return self.way.run(
            "svn", "--non-interactive", *command.split(), *(self.path / file for file in files)
        )

    def write(self, name: str, text: str) -> None:
        (self.path / name).write_text(text)


def repository(way: Way) -> tuple[str, list[str]]:
    """The address of a repository with trunk and branches, and what was said when it was made."""
    url = f"file://{way.home}/repo"
    told = [way.run("svnadmin", "create", "repo")]
    return url, [*told, way.run("svn", "mkdir", "-m", "begin", f"{url}/trunk", f"{url}/branches")]


def scheduled(copy: Copy) -> list[str]:
    """Work that is only in wc.db: additions, properties, a changelist, a file that is to go."""
    told = []
    for name in ("a", "b", "c"):
        copy.write(name, f"text of {name}\n")
    told += [copy.on("add", "a", "b"), copy.on("commit -m files", "a", "b"), copy.on("add", "c")]
    told += [copy.on("propset colour red", "a"), copy.on("changelist release", "b")]
    return [*told, copy.on("delete --keep-local", "b"), copy("status"), copy("proplist", "-v", "-R")]


def test_work_that_a_revert_threw_away_comes_back(play: Play) -> None:
    """What svn revert takes back is nowhere but in wc.db, and svn cannot give it back."""

    def scenario(way: Way) -> object:
        url, told = repository(way)
        copy = Copy(way, "wc", f"{url}/trunk")
        told += [copy.checked_out, *scheduled(copy)]
        before = copy("status"), copy("proplist", "-v", "-R")
        newest = way.newest("wc.wc")
        told += [*sorted(copy("revert", "-R", "--remove-added").splitlines()), copy("status")]
        assert before[0] != told[-1]
        if way.routed:
            copy.write("c", "text of c\n")
            way.undo("wc.wc", f"{way.after('wc.wc', newest)}..HEAD")
            assert (copy("status"), copy("proplist", "-v", "-R")) == before
            assert "Committed revision" in copy("commit", "-m", "and on")
            copy("cleanup", "--vacuum-pristines")
        return told

    play(scenario, ROUTES)


def test_branches_merges_conflicts_and_upkeep(play: Play) -> None:
    """Two working copies over svnserve, and a hot copy of the repository by SQLite's backup."""

    def scenario(way: Way) -> object:
        _, told = repository(way)
        (way.home / "repo/conf/svnserve.conf").write_text("[general]\nanon-access = write\n")
        port = free_port()
        with way.serve(
            "svnserve", "-d", "--foreground", "--listen-port", str(port), "-r", way.home, port=port
        ):
            url = f"svn://127.0.0.1:{port}/repo"
            one, two = Copy(way, "one", f"{url}/trunk"), Copy(way, "two", f"{url}/trunk")
            one.write("file", "".join(f"line {i}\n" for i in range(20)))
            told += [one.on("add", "file"), one("commit", "-m", "first"), two("update")]
            told += [way.run("svn", "copy", "-m", "branch", f"{url}/trunk", f"{url}/branches/b")]
            told += [two("switch", f"{url}/branches/b")]
            two.write("file", "".join(f"line {i}{'!' * (i == 3)}\n" for i in range(20)))
            told += [two("commit", "-m", "on the branch"), one("update"), one("merge", f"{url}/branches/b")]
            told += [one("commit", "-m", "merged"), two("switch", f"{url}/trunk")]
            one.write("file", "mine\n")
            two.write("file", "theirs\n")
            told += [one("commit", "-m", "mine first"), two("update", "--accept", "postpone"), two("status")]
            told += [two.on("resolve --accept working", "file"), two("commit", "-m", "resolved")]
            told += [one("update"), one("cleanup", "--vacuum-pristines"), one("log", "-v"), one("status")]
            told += [
                way.run("svnadmin", "hotcopy", "repo", "hot"),
                way.run("svnadmin", "verify", "-q", "hot"),
            ]
        return [text.replace(str(port), "PORT") for text in told]

    play(scenario, ROUTES)


def test_svn_started_without_us_sees_no_empty_working_copy(routed: Callable[..., Way]) -> None:
    way = routed(*ROUTES)
    url, _ = repository(way)
    copy = Copy(way, "wc", f"{url}/trunk")
    assert "is corrupt" in way.run("svn", "status", copy.path, alone=True, status=-1)
    assert copy("status") == ""
    way.verify()


def test_a_working_copy_made_before_is_taken_in(routed: Callable[..., Way]) -> None:
    way = routed(*ROUTES)
    way.run("svnadmin", "create", "repo", alone=True)
    way.run("svn", "mkdir", "-q", "-m", "begin", f"file://{way.home}/repo/trunk", alone=True)
    way.run("svn", "checkout", f"file://{way.home}/repo/trunk", "wc", alone=True)
    (way.home / "wc/a").write_text("text\n")
    told = way.run("svn", "add", "wc/a", alone=True)
    way.imports = True
    assert way.run("svn", "status", "wc").split() == told.split() == ["A", "wc/a"]
    assert "Committed revision 2" in way.run("svn", "commit", "-m", "a", "wc")
    assert (way.home / "wc/.svn/wc.db.before-mvsqlite").exists()
    way.verify()
