"""Real apps behind the gateway, on their stores: who gets in, and a bad delete undone while they run."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import httpx
import pytest
from click.testing import CliRunner

from gateways import wait_for
from household import DOMAIN
from mvsqlite_stack.cli import main
from real_apps import GALLERY, Home

pytestmark = pytest.mark.lmdb_only("of programs above the store, and of what is in front of them")

FRAMEWORK = Path("/usr/share/php/Illuminate/Foundation/Application.php")
ENTRIES = 5
PAGE = {"Accept": "text/html"}
PRIVATE = {"feeds": ("/", "/api/feeds", "/api/items", "/opml/export"), "photos": ("/", "/albums", "/me")}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """A household with its gateway and its sign-in service; each test runs an app of it."""
    made = Home(tmp_path_factory.mktemp("home"))
    with made.gateway():
        yield made


class Feed(BaseHTTPRequestHandler):
    """A feed for each path."""

    def do_GET(self) -> None:
        name = self.path.strip("/")
        entries = "".join(
            f"<item><title>{name} {i}</title><link>http://127.0.0.1/{name}/{i}</link><guid>{name}-{i}</guid>"
            f"<description>words of {name} {i}</description></item>"
            for i in range(ENTRIES)
        )
        known = name in ("alps", "sea")
        text = (
            f'<?xml version="1.0"?><rss version="2.0"><channel><title>{name}</title>{entries}</channel></rss>'
        )
        body = text.encode() if known else b""
        self.send_response(200 if known else 404)
        self.send_header("Content-Type", "application/rss+xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def feeds() -> Iterator[str]:
    """The address of a server with two feeds."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Feed)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def nothing_for_strangers(home: Home, app: str, public: str | None = None) -> None:
    with home.visitor() as stranger:
        for path in PRIVATE[app]:
            sent = stranger.get(home.address(app, path), headers=PAGE)
            assert sent.status_code == 302
            assert sent.headers["location"].startswith(f"https://login.{DOMAIN}:")
            for method in ("GET", "POST", "DELETE"):
                told = stranger.request(method, home.address(app, path))
                assert told.status_code == 401, (method, path)
                assert app not in told.text
        if public:
            assert stranger.get(home.address(app, public)).status_code == 200


def doctored(home: Home, app: str) -> dict[str, list[str]]:
    """What the doctor says of a running app, by grade."""
    words = ["app", "doctor", app, "--json", "-f", str(home.file), "--state", home.layout.state]
    result = CliRunner().invoke(main, words)
    told = json.loads(result.stdout)[app]
    assert result.exit_code == int(any(one["grade"] == "bad" for one in told)), result.output
    return {
        grade: [f"{one['what']}: {one['text']}" for one in told if one["grade"] == grade]
        for grade in ("good", "note", "bad")
    }


def items(anna: httpx.Client, home: Home) -> dict[str, str]:
    """Titles and states of all items."""
    answer = anna.get(home.address("feeds", "/api/items"))
    return {one["title"]: one["status"] for one in answer.raise_for_status().json()["list"]}


def subscribe(anna: httpx.Client, home: Home, address: str) -> int:
    done = anna.post(home.address("feeds", "/api/feeds"), json={"url": address}).raise_for_status().json()
    assert done["status"] == "success"
    return int(done["feed"]["id"])


def test_a_feed_deleted_in_yarr_comes_back(home: Home) -> None:
    home.install_yarr()
    with feeds() as source, home.running("feeds"), home.signed_in() as anna:
        nothing_for_strangers(home, "feeds", public="/manifest.json")
        alps = subscribe(anna, home, f"{source}/alps")
        wait_for("the feed's items", lambda: len(items(anna, home)) == ENTRIES)
        listed = anna.get(home.address("feeds", "/api/items")).json()["list"]
        for one, state in zip(listed[:2], ("starred", "read"), strict=True):
            anna.put(home.address("feeds", f"/api/items/{one['id']}"), json={"status": state})
        before = items(anna, home)
        assert sorted(before.values()) == ["read", "starred", "unread", "unread", "unread"]

        assert anna.delete(home.address("feeds", f"/api/feeds/{alps}")).status_code == 204
        assert items(anna, home) == {}
        subscribe(anna, home, f"{source}/sea")
        wait_for("the other feed's items", lambda: len(items(anna, home)) == ENTRIES)

        (deletion,) = home.versions("feeds", "yarr", "delete from feeds where id")
        home.mvrevert("feeds", "undo", "yarr", deletion, "--yes")
        after = items(anna, home)
        assert before.items() <= after.items()
        assert len(after) == 2 * ENTRIES, "later work stays"
        search = anna.get(home.address("feeds", "/api/items"), params={"search": "alps"}).json()["list"]
        assert len(search) == ENTRIES
        told = doctored(home, "feeds")
        assert told["bad"] == []
        assert [line.partition(":")[0] for line in told["good"]] == [
            "version",
            "program",
            "route",
            "database",
            "database",
            "health",
            "public",
            "public",
            "private",
        ]
    bad = doctored(home, "feeds")["bad"]
    assert [line.partition(":")[0] for line in bad] == ["health"], "it is stopped"


def artisan(home: Home, *words: str) -> None:
    """The application's own command line, as its unit would run it."""
    command, environment = home.unit("photos")
    start = command[: command.index("--") + 1]
    done = subprocess.run(
        [*start, "/usr/bin/php", str(GALLERY / "artisan"), *words],
        cwd=home.state("photos"),
        env={"PATH": "/usr/bin:/bin"} | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(
    not (FRAMEWORK.exists() and shutil.which("php")), reason="PHP and Laravel's components are not installed"
)
def test_photos_deleted_in_a_php_gallery_come_back(home: Home) -> None:
    (home.state("photos") / "gallery.sqlite").touch()
    artisan(home, "migrate", "--force")
    with home.running("photos"), home.signed_in() as anna:
        nothing_for_strangers(home, "photos")
        for title in ("Alps", "Sea"):
            anna.post(home.address("photos", "/albums"), data={"title": title}).raise_for_status()
        titles = [f"photo {i}" for i in range(ENTRIES)]
        photos = home.address("photos", "/albums/1/photos")
        anna.post(photos, json={"titles": titles}).raise_for_status()
        assert anna.delete(photos).json() == {"deleted": ENTRIES}
        assert anna.get(photos).json() == []
        anna.post(home.address("photos", "/albums/2/photos"), json={"titles": ["later"]}).raise_for_status()

        (deletion,) = home.versions("photos", "gallery", 'delete from "photos" where "photos"."album_id" =')
        home.mvrevert("photos", "undo", "gallery", deletion, "--table", "photos", "--yes")
        assert [one["title"] for one in anna.get(photos).json()] == titles
        assert len(anna.get(home.address("photos", "/albums/2/photos")).json()) == 1, "later work stays"
        visits = [anna.get(home.address("photos", "/me")).json()["visits"] for _ in range(2)]
        assert visits == [1, 2], "its own cookie passes the gateway"
        told = doctored(home, "photos")
        assert told["bad"] == []
        assert "health: /albums answers 200" in told["good"]
