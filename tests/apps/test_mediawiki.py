"""MediaWiki as Debian packages it: four databases, full-text search, a job queue, its own upkeep."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from ways import ABOVE, STUB_SAYS, Play, Way, client, free_port, need

WIKI = Path("/usr/share/mediawiki")
ROUTES = ["data/*.sqlite=wiki/{stem}"]
DATABASE = "wiki/trial"
PASSWORD = "long-enough-for-it"
PAGES = {"Alps": "Mountains with marmots", "Sea": "Water with whales", "Marsh": "Neither, with herons"}

pytestmark = [need("php", f"{WIKI}/index.php"), ABOVE]


class Wiki:
    """A wiki with its settings and databases in the way's directory."""

    def __init__(self, way: Way, port: int) -> None:
        self.way = way
        self.port = port
        self.variables = {"MW_CONFIG_FILE": str(way.home / "LocalSettings.php")}
        (way.home / "data").mkdir()

    def maintain(self, script: str, *words: str, status: int = 0, alone: bool = False) -> str:
        settings = self.variables if script != "install" else {}
        path = WIKI / "maintenance" / f"{script}.php"
        told = self.way.run("php", path, *words, status=status, alone=alone, **settings)
        return re.sub(
            r"size was \d+, now \d+|t=\d+|\d+ms|[\d.]+ seconds?|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "#", told
        )

    def install(self) -> str:
        home = self.way.home
        words = ["--dbtype=sqlite", f"--dbpath={home}/data", "--dbname=trial", f"--confpath={home}"]
        address = f"http://127.0.0.1:{self.port}"
        words += [f"--server={address}", "--scriptpath=", f"--pass={PASSWORD}", "Trial", "Admin"]
        return self.maintain("install", *words).replace(address, "ADDRESS")

    @contextmanager
    def server(self, *, alone: bool = False) -> Iterator[httpx.Client]:
        command = ["php", "-S", f"127.0.0.1:{self.port}", "-t", WIKI]
        workers = {"PHP_CLI_SERVER_WORKERS": "2"}
        with self.way.serve(*command, port=self.port, alone=alone, **workers, **self.variables):
            yield client(self.port)


class Visitor:
    """Somebody with a browser."""

    def __init__(self, http: httpx.Client) -> None:
        self.http = http
        self.tokens: dict[str, str] = {}

    def ask(self, **words: str) -> Any:
        return self.http.get("/api.php", params=words | {"format": "json"}).raise_for_status().json()

    def do(self, **words: str) -> Any:
        done = (
            self.http.post("/api.php", data=words | self.tokens | {"format": "json"})
            .raise_for_status()
            .json()
        )
        assert "error" not in done, done
        return done

    def log_in(self) -> None:
        token = self.ask(action="query", meta="tokens", type="login")["query"]["tokens"]["logintoken"]
        done = self.do(action="login", lgname="Admin", lgpassword=PASSWORD, lgtoken=token)
        assert done["login"]["result"] == "Success"
        self.tokens = {"token": self.ask(action="query", meta="tokens")["query"]["tokens"]["csrftoken"]}

    def pages(self) -> list[str]:
        return [page["title"] for page in self.ask(action="query", list="allpages")["query"]["allpages"]]

    def text(self, title: str) -> str:
        return str(self.ask(action="parse", page=title, prop="wikitext")["parse"]["wikitext"]["*"])

    def search(self, words: str) -> list[str]:
        return [
            hit["title"]
            for hit in self.ask(action="query", list="search", srsearch=words, srwhat="text")["query"][
                "search"
            ]
        ]


def test_a_page_wiped_out_of_a_wiki_comes_back(play: Play) -> None:
    """A page that is nuked is not among those the wiki itself can bring back."""

    def scenario(way: Way) -> object:
        wiki = Wiki(way, free_port())
        told: list[object] = [wiki.install()]
        with wiki.server() as http:
            admin = Visitor(http)
            admin.log_in()
            for title, text in PAGES.items():
                admin.do(action="edit", title=title, text=text)
            wiki.maintain("runJobs")
            told += [wiki.maintain("showJobs"), admin.pages(), sorted(admin.search("with"))]
            assert told[-1] == sorted(PAGES)
            newest = way.newest(DATABASE)
            told += [wiki.maintain("nukePage", "Alps", "--delete")]
            wiped = f"{way.after(DATABASE, newest)}..{way.newest(DATABASE)}" if way.routed else ""
            admin.do(action="edit", title="Sea", text="Water with whales and sails")
            told += [
                admin.pages(),
                admin.search("marmots"),
                wiki.maintain("SqliteMaintenance", "--vacuum", "--integrity"),
            ]
            assert "Alps" not in admin.pages()
            if way.routed:
                way.undo(DATABASE, wiped, "--keep-mine")  # of the counters that later work has moved
                assert admin.pages() == sorted([*PAGES, "Main Page"])
                assert admin.text("Alps") == PAGES["Alps"]
                assert admin.text("Sea") == "Water with whales and sails", "later work stays"
                assert admin.search("marmots") == ["Alps"]
                admin.do(action="edit", title="Alps", text="Still there")
                assert admin.text("Alps") == "Still there"
        return told

    play(scenario, ROUTES)


def test_a_wiki_started_without_us_is_not_set_up_anew(routed: Callable[..., Way]) -> None:
    way = routed(*ROUTES)
    wiki = Wiki(way, free_port())
    wiki.install()
    assert STUB_SAYS in wiki.maintain("SqliteMaintenance", "--integrity", alone=True, status=-1)
    assert "ok" in wiki.maintain("SqliteMaintenance", "--integrity")
    way.verify()
