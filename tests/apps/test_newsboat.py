"""newsboat, a C++ program with libsqlite3: articles, and which of them were read, are in its cache.db."""

import os
import select
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from ways import ABOVE, PATIENCE_SECONDS, STUB_SAYS, Play, Way, end, need

DATABASE = "news"
ROUTES = [f"cache.db={DATABASE}"]
ARTICLES = 5
DELETE_ALL = b"\x04"
ENTER = b"\r"

pytestmark = [need("newsboat"), ABOVE]


class Feeds(BaseHTTPRequestHandler):
    """Any path is a feed with articles of its own."""

    def do_GET(self) -> None:
        items = "".join(
            f"<item><title>News {i} of {self.path}</title><link>http://localhost{self.path}/{i}</link>"
            f"<guid>{self.path}/{i}</guid><description>Body {i}</description>"
            f"<pubDate>Sat, 0{i} Aug 2026 10:00:00 GMT</pubDate></item>"
            for i in range(1, ARTICLES + 1)
        )
        channel = f"<title>Feed {self.path}</title><link>http://localhost</link><description>d</description>"
        body = f'<?xml version="1.0"?><rss version="2.0"><channel>{channel}{items}</channel></rss>'.encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/rss+xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture(scope="module")
def feeds() -> Iterator[str]:
    """The address feeds are at."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Feeds) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class Reader:
    """newsboat with its files in the way's directory."""

    def __init__(self, way: Way, feeds: str) -> None:
        self.way = way
        self.urls(f"{feeds}/a", f"{feeds}/b")
        (way.home / "config").write_text("confirm-exit no\n")
        self.command = ["newsboat", "-u", "urls", "-c", "cache.db", "-C", "config"]

    def urls(self, *urls: str) -> None:
        (self.way.home / "urls").write_text("".join(f"{url}\n" for url in urls))

    def run(self, *words: str, status: int = 0, alone: bool = False) -> str:
        return self.way.run(*self.command, *words, status=status, alone=alone)

    @contextmanager
    def screen(self) -> Iterator["Screen"]:
        """newsboat at a terminal."""
        ours, theirs = os.openpty()
        variables = self.way.environment({"TERM": "xterm", "COLUMNS": "80", "LINES": "24"})
        program = subprocess.Popen(
            self.way.words(*self.command),
            env=variables,
            cwd=self.way.home,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)
        try:
            yield Screen(ours, program)
        finally:
            end(program)
            os.close(ours)


class Screen:
    """A terminal: keys go in, what is drawn comes out."""

    def __init__(self, descriptor: int, program: subprocess.Popen[bytes]) -> None:
        self.descriptor = descriptor
        self.program = program

    def press(self, keys: bytes, shows: bytes) -> None:
        """Presses keys and waits until that is drawn."""
        os.write(self.descriptor, keys)
        self.wait_for(shows)

    def wait_for(self, shows: bytes) -> None:
        drawn = b""
        while shows not in drawn:
            ready = select.select([self.descriptor], [], [], PATIENCE_SECONDS)[0]
            assert ready, f"{shows!r} was not drawn: {drawn[-2000:]!r}"
            drawn += os.read(self.descriptor, 65536)

    def quit(self) -> None:
        os.write(self.descriptor, b"Q")
        while self.program.poll() is None:
            if select.select([self.descriptor], [], [], 0.02)[0]:
                try:
                    os.read(self.descriptor, 65536)
                except OSError:
                    break
        assert self.program.wait(timeout=PATIENCE_SECONDS) == 0


def test_articles_deleted_at_the_screen_come_back_to_it(play: Play, feeds: str) -> None:
    def scenario(way: Way) -> object:
        reader = Reader(way, feeds)
        told = [reader.run("-x", "reload", "print-unread")]
        newest = way.newest(DATABASE)
        with reader.screen() as screen:
            screen.wait_for(b"Feed /b")
            screen.press(ENTER, b"News 1 of /a")
            screen.press(DELETE_ALL, b"D")
            screen.press(b"$q", b"Feed /b")
            if way.routed:
                way.undo(DATABASE, f"{way.after(DATABASE, newest)}..HEAD")
                screen.press(b"r", f"{ARTICLES}/{ARTICLES}".encode())
                screen.press(ENTER, b"News 1 of /a")
            screen.quit()
        after = reader.run("-x", "print-unread")
        assert after.split()[0] == str((2 if way.routed else 1) * ARTICLES)
        return told

    play(scenario, ROUTES)


def test_a_feed_lost_by_a_cleanup_comes_back(play: Play, feeds: str) -> None:
    """At its end it drops what the list of feeds does not name: one bad edit, and the articles are gone."""

    def scenario(way: Way) -> object:
        reader = Reader(way, feeds)
        told = [reader.run("-x", "reload"), reader.run("-X"), reader.run("-e"), reader.run("-E", "read.txt")]
        newest = way.newest(DATABASE)
        reader.urls(f"{feeds}/a")
        with reader.screen() as screen:
            screen.wait_for(b"Feed /a")
            screen.quit()
        reader.urls(f"{feeds}/a", f"{feeds}/b")
        told += [reader.run("-X"), reader.run("-x", "print-unread")]
        assert told[-1].split()[0] == str(ARTICLES)
        if way.routed:
            way.undo(DATABASE, f"{way.after(DATABASE, newest)}..HEAD")
            assert reader.run("-x", "print-unread").split()[0] == str(2 * ARTICLES)
        return told

    play(scenario, ROUTES)


def test_newsboat_started_without_us_keeps_no_second_cache(routed: Callable[..., Way], feeds: str) -> None:
    way = routed(*ROUTES)
    reader = Reader(way, feeds)
    reader.run("-x", "reload")
    assert STUB_SAYS in reader.run("-x", "print-unread", alone=True, status=-1)
    assert reader.run("-x", "print-unread").split()[0] == str(2 * ARTICLES)
    way.verify()
