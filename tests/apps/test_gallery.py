"""A photo gallery on Laravel itself, in the manner of Lychee: pdo_sqlite, one file, many processes."""

import re
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from ways import ABOVE, STUB_SAYS, Play, Way, client, free_port, need, wait_until

FRAMEWORK = "/usr/share/php/Illuminate/Foundation/Application.php"
FPM = next(iter(sorted(Path("/usr/sbin").glob("php-fpm*"), reverse=True)), Path("/usr/sbin/php-fpm"))
NGINX = shutil.which("nginx", path="/usr/sbin:/usr/bin") or "/usr/sbin/nginx"
GALLERY = Path(__file__).with_name("gallery")
DATABASE = "gallery"
ROUTES = ["data/*.sqlite={stem}"]
PHOTOS = 12
UPLOADS = 4

pytestmark = need("php", FRAMEWORK)


class Gallery:
    """The application in a directory of its own."""

    def __init__(self, way: Way) -> None:
        self.way = way
        self.file = way.home / "data" / "gallery.sqlite"
        self.variables = {"GALLERY": str(way.home / "data"), "DB_DATABASE": str(self.file)}
        self.log = way.home / "data" / "laravel.log"
        self.file.parent.mkdir()

    def artisan(self, *words: str, **how: object) -> str:
        told = self.way.run("php", GALLERY / "artisan", *words, **self.variables, **how)  # type: ignore[arg-type]
        return re.sub(r"\(.*ms\)|\[[-\d: ]*\]", "", told)

    def set_up(self) -> list[str]:
        self.file.touch()
        return [self.artisan("migrate", "--force")]

    def install(self) -> list[str]:
        """Laravel wants the file to be there, even an empty one, and each migration is a process."""
        refused = self.artisan("migrate", "--force", status=1)
        assert "does not exist" in refused
        self.log.unlink()
        self.file.touch()
        steps = sorted((GALLERY / "migrations").glob("*.php"))
        told = [self.artisan("migrate", "--force", "--realpath", f"--path={step}") for step in steps]
        told += [self.artisan("migrate:rollback", "--force", "--step=1"), self.artisan("migrate", "--force")]
        return [*told, self.artisan("migrate:status")]

    def errors(self) -> list[str]:
        """What Laravel logged, but for races that its transactions lose on any SQLite."""
        logged = re.findall(r"ERROR: (.*)", self.log.read_text()) if self.log.exists() else []
        return [error for error in logged if "database is locked" not in error]

    @contextmanager
    def built_in_server(self, *, alone: bool = False) -> Iterator[httpx.Client]:
        """php -S with four workers."""
        port = free_port()
        command = ["php", "-S", f"127.0.0.1:{port}", "-t", GALLERY / "public", GALLERY / "public/index.php"]
        workers = {"PHP_CLI_SERVER_WORKERS": "4"}
        with self.way.serve(*command, port=port, alone=alone, **workers, **self.variables):
            yield client(port)

    @contextmanager
    def pool(self, *, alone: bool = False) -> Iterator[httpx.Client]:
        """nginx before php-fpm, whose four children keep their connections from request to request."""
        port, behind, home = free_port(), free_port(), self.way.home
        (home / "fpm.conf").write_text(
            f"[global]\nerror_log = {home}/fpm.log\ndaemonize = no\n[gallery]\nlisten = 127.0.0.1:{behind}\n"
            "user = root\ngroup = root\npm = static\npm.max_children = 4\nclear_env = no\n"
        )
        (home / "nginx.conf").write_text(
            "daemon off; user root; worker_processes 1; pid nginx.pid; error_log nginx.err;\n"
            "events { worker_connections 64; }\nhttp { access_log off; client_body_temp_path body;\n"
            "fastcgi_temp_path f; proxy_temp_path p; scgi_temp_path s; uwsgi_temp_path u;\n"
            f"server {{ listen 127.0.0.1:{port}; location / {{\n"
            "include /etc/nginx/fastcgi_params;\n"
            f"fastcgi_param SCRIPT_FILENAME {GALLERY}/public/index.php;\n"
            f"fastcgi_pass 127.0.0.1:{behind}; }} }} }}"
        )
        with ExitStack() as stack:
            fpm = [FPM, "-F", "-R", "-y", home / "fpm.conf"]
            kept = {"DB_PERSISTENT": "1"}
            stack.enter_context(self.way.serve(*fpm, port=behind, alone=alone, **kept, **self.variables))
            nginx = [NGINX, "-p", home, "-c", home / "nginx.conf"]
            stack.enter_context(self.way.serve(*nginx, port=port, alone=True))
            yield client(port)

    @contextmanager
    def worker(self) -> Iterator[None]:
        """A process that works the queue off."""
        command = ["php", GALLERY / "artisan", "queue:work", "--sleep=0.05"]
        with self.way.serve(*command, **self.variables):
            yield


def ask(http: httpx.Client, method: str, url: str, **content: Any) -> Any:
    """The page; asked for again where the framework gave up after so many lost races, as people do."""
    pages: list[httpx.Response] = []

    def answered() -> bool:
        pages.append(http.request(method, url, **content))
        return pages[-1].status_code != 500

    wait_until(answered, f"{method} {url} is answered")
    return pages[-1].raise_for_status().json()


def counted(http: httpx.Client, album: int) -> int:
    albums = {each["id"]: int(each["photos_count"]) for each in ask(http, "GET", "/albums")}
    return albums[album]


def visit(http: httpx.Client) -> list[object]:
    """A day at the gallery, ending with the deletion of the wrong album's photos."""
    told: list[object] = [ask(http, "POST", "/albums", data={"title": title}) for title in ("Alps", "Sea")]
    titles = [f"photo {i}" for i in range(PHOTOS)]
    told += [ask(http, "POST", f"/albums/{album}/photos", json={"titles": titles}) for album in (1, 2)]
    wait_until(lambda: counted(http, 1) == counted(http, 2) == PHOTOS, "the worker counts the photos")
    told += [ask(http, "POST", "/albums/2/try"), ask(http, "GET", "/albums/2/photos")]
    told += [ask(http, "GET", "/me") for _ in range(3)]
    told += [ask(http, "POST", "/maintenance")]
    told += [ask(http, "DELETE", "/albums/1/photos"), ask(http, "GET", "/albums/1/photos")]
    wait_until(lambda: counted(http, 1) == 0, "the worker counts again")
    told += [ask(http, "POST", "/albums/2/photos", json={"titles": ["later work"]})]
    wait_until(lambda: counted(http, 2) == PHOTOS + 2, "the worker counts the later work")
    return told


def undo_and_see(way: Way, http: httpx.Client) -> None:
    photos = ask(http, "GET", "/albums/2/photos")
    (deletion,) = way.versions(DATABASE, 'delete from "photos" where "photos"."album_id" =')[:1]
    way.undo(DATABASE, deletion, "--table", "photos")
    back = ask(http, "GET", "/albums/1/photos")
    assert [photo["title"] for photo in back] == [f"photo {i}" for i in range(PHOTOS)]
    assert ask(http, "GET", "/albums/2/photos") == photos, "later work stays"
    assert ask(http, "POST", "/albums/1/photos", json={"titles": ["and on"]}) == {"uploaded": 1}
    wait_until(lambda: counted(http, 1) == PHOTOS + 1, "the worker counts what came back")


@pytest.mark.parametrize("server", ["built_in_server", "pool"])
def test_a_gallery_on_laravel(play: Play, server: str) -> None:
    if server == "pool" and not (FPM.exists() and Path(NGINX).exists()):
        pytest.skip("php-fpm and nginx are not installed here")

    def scenario(way: Way) -> object:
        gallery = Gallery(way)
        told: list[Any] = gallery.install() if server == "built_in_server" else gallery.set_up()
        with getattr(gallery, server)() as http, gallery.worker():
            told += visit(http)
            if way.routed:
                undo_and_see(way, http)
        assert gallery.errors() == []
        return told

    play(scenario, ROUTES)


@ABOVE
def test_a_gallery_started_without_us_does_not_begin_anew(routed: Callable[..., Way]) -> None:
    way = routed(*ROUTES)
    gallery = Gallery(way)
    gallery.set_up()
    refused = gallery.artisan("migrate", "--force", status=1, alone=True)
    assert STUB_SAYS.replace(" ", "") in "".join(refused.split()), "folded to the width of a screen"
    with gallery.built_in_server(alone=True) as http:
        assert http.get("/albums").status_code == 500
    assert STUB_SAYS in gallery.log.read_text()
    assert "Nothing to migrate" in gallery.artisan("migrate", "--force")
    way.verify()


def test_four_uploaders_and_two_workers_lose_nothing(play: Play) -> None:
    """Transactions that lose a race are run again by the framework, or by whoever asked for the page."""

    def scenario(way: Way) -> object:
        gallery = Gallery(way)
        gallery.set_up()
        with gallery.built_in_server() as http, gallery.worker(), gallery.worker():
            ask(http, "POST", "/albums", data={"title": "Alps"})

            def upload(uploader: int) -> None:
                mine = client(http.base_url.port or 0)
                for i in range(UPLOADS):
                    titles = [f"{uploader}/{i}/{k}" for k in range(3)]
                    assert ask(mine, "POST", "/albums/1/photos", json={"titles": titles}) == {"uploaded": 3}

            with ThreadPoolExecutor(4) as uploaders:
                list(uploaders.map(upload, range(4)))
            wait_until(lambda: counted(http, 1) == 4 * UPLOADS * 3, "all is counted")
            titles = sorted(photo["title"] for photo in ask(http, "GET", "/albums/1/photos"))
        assert titles == sorted(f"{n}/{i}/{k}" for n in range(4) for i in range(UPLOADS) for k in range(3))
        assert gallery.errors() == []
        return titles

    play(scenario, ROUTES)
