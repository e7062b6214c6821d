"""The status page as a process: what it answers, live and not, and what it never says."""

import asyncio
import http.client
import json
import re
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

import status_kit as kit
from mvsqlite_stack.status import shapes
from mvsqlite_stack.status.app import Service, create
from mvsqlite_stack.status.history import History
from mvsqlite_stack.status.incidents import Incident, Note, Sort
from mvsqlite_stack.status.settings import App, Settings
from mvsqlite_stack.status.shapes import METRICS
from status_kit import LOGIN, NOTES, WIKI, Gateway, Running, wait_for

PATHS = ("/", "/status.json", "/metrics", "/incidents.atom", "/healthz", "/nothing", "/static/style.css")
ATOM = "{http://www.w3.org/2005/Atom}"
SECRETS = ("gunicorn-23.0.0", "/srv/secret-path", "hunter2-user", "psycopg.OperationalError")
"""What apps and reports say of themselves, and nobody is to hear."""


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("page")


@pytest.fixture(scope="module")
def gateway(directory: Path) -> Iterator[Gateway]:
    with kit.serving(kit.certificate(directory, "good")) as server:
        server.says = {NOTES: (302, f"https://{LOGIN}/?to=x")}
        yield server


@pytest.fixture(scope="module")
def app() -> Iterator[Gateway]:
    """What the gateway would pass on to."""
    with kit.serving() as server:
        yield server


@pytest.fixture(scope="module")
def settings(directory: Path, gateway: Gateway, app: Gateway, url_in: Callable[[Path], str]) -> Settings:
    reports = directory / "reports"
    reports.mkdir()
    for name in ("backup", "restore-drill", "replica"):
        told = {"at": "2026-01-01T00:00:00Z", "ok": False, "seconds_behind": 1e9, "note": " ".join(SECRETS)}
        (reports / f"{name}.json").write_text(json.dumps(told))
    return kit.settings_for(
        directory,
        gateway.address,
        gateway.address,
        ca=directory / "good.pem",
        store=url_in(directory),
        interval=1,
        timeout=10,
        failures=1,
        write_every=1,
        listeners=4,
        contact="Ask Anna",
        apps={
            "notes-internal": App(title="Notebook", host=NOTES, local=app.address, health="/internal-health"),
            "wiki": App(title='Wiki <&> "quoted"', host=WIKI, local=app.address, public=True),
        },
    )


@pytest.fixture(scope="module")
def page(directory: Path, settings: Settings) -> Iterator[Running]:
    history = History(settings.store, settings.database)
    told = Incident(
        "told", Sort.NOTICE, (), "A <notice>", 1_795_000_000, 1_795_000_060, "private detail",
        (Note(1_795_000_030, "all & well"),),
    )  # fmt: skip
    history.change("told", told)
    history.close()
    with kit.running(directory, settings) as one:
        wait_for("the first round", lambda: one.state("app-wiki") == "up" and one.told()["history"])
        yield one


@pytest.mark.parametrize("path", PATHS)
def test_headers(page: Running, path: str) -> None:
    answer = page.get(path)
    assert answer.status_code == (404 if path == "/nothing" else 200)
    assert "server" not in answer.headers
    assert "set-cookie" not in answer.headers
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_the_page_has_nothing_that_its_policy_forbids(page: Running) -> None:
    text = page.get("/").text
    assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:", text)
    assert re.findall(r"<script(?![^>]* src=)", text) == []
    sources = re.findall(r'(?:src|href)="([^"#]+)"', text)
    assert sources
    assert all(one.startswith("/") and not one.startswith("//") for one in sources)
    assert "Wiki &lt;&amp;&gt; &#34;quoted&#34;" in text
    assert "A &lt;notice&gt;" in text
    assert '<meta http-equiv="refresh"' in re.findall(r"<noscript>(.*?)</noscript>", text)[0]


def test_everything_needed_for_the_page_weighs_a_few_kilobytes(page: Running) -> None:
    first = page.get("/")
    names = re.findall(r'(?:src|href)="(/static/[^"]+)"', first.text)
    answers = [first, *(page.get(name) for name in names)]
    assert len(answers) == 4
    assert sum(int(one.headers["content-length"]) for one in answers) < 12_000
    assert all("immutable" in one.headers["cache-control"] for one in answers[1:])


def test_what_did_not_change_is_not_sent_again(page: Running) -> None:
    mark = page.get("/static/style.css").headers["etag"]
    again = page.get("/static/style.css", If_None_Match=mark)
    assert (again.status_code, again.content) == (304, b"")


def test_without_compression_and_for_head(page: Running) -> None:
    plain = page.get("/", Accept_Encoding="identity")
    assert "content-encoding" not in plain.headers
    assert plain.text.startswith("<!doctype html>")
    head = page.client.head("/")
    assert (head.status_code, head.content) == (200, b"")
    assert page.client.post("/").status_code == 405


def test_json_has_the_shape_that_is_documented(page: Running) -> None:
    told = page.told()
    assert told.keys() == {
        "format", "title", "at", "state", "words", "maintenance", "history", "parts", "incidents",
    }  # fmt: skip
    assert (told["format"], told["title"], told["history"]) == (1, "Home", True)
    ids = [one["id"] for one in told["parts"]]
    assert ids[:4] == ["gateway", "sign-in", "app-notes-internal", "app-wiki"]
    assert ids[4:] == ["store", "backup", "restore-drill", "replica", "certificates"]
    for one in told["parts"]:
        assert one.keys() == {
            "id", "title", "group", "state", "reason", "words", "maintenance", "since", "checked",
            "seconds", "value", "uptime_90_days", "days",
        }  # fmt: skip
    assert told["incidents"][-1]["notes"] == [{"at": "2026-11-18T11:07:10Z", "text": "all & well"}]


def test_metrics_are_what_prometheus_reads(page: Running) -> None:
    families = {one.name: one for one in text_string_to_metric_families(page.get("/metrics").text)}
    assert families.keys() <= {f"mvstack_{name}" for name in METRICS}
    up = {one.labels["part"]: one.value for one in families["mvstack_part_up"].samples}
    assert (up["gateway"], up["app-wiki"], up["backup"]) == (1, 1, 0)
    assert families["mvstack_history_readable"].samples[0].value == 1
    assert 39 < families["mvstack_certificate_days_left"].samples[0].value < 40
    assert all(one.documentation for one in families.values())
    states = [one for one in families["mvstack_part_state"].samples if one.labels["part"] == "gateway"]
    assert sum(one.value for one in states) == 1


def test_the_feed(page: Running) -> None:
    feed = ElementTree.fromstring(page.get("/incidents.atom").text)
    entries = feed.findall(f"{ATOM}entry")
    assert entries[-1].findtext(f"{ATOM}title") == "A <notice>"
    assert "all & well" in (entries[-1].findtext(f"{ATOM}content") or "")
    assert feed.findtext(f"{ATOM}id") == f"{page.settings.origin}/"


def test_nothing_is_said_that_a_stranger_should_not_know(
    page: Running, gateway: Gateway, settings: Settings
) -> None:
    gateway.says[NOTES] = 200
    wait_for("the alarm", lambda: page.state("app-notes-internal") == "down")
    hidden = [*SECRETS, "private detail", "although", "127.0.0.1", "lmdb:", "fdb:", "Traceback", "Error"]
    hidden += [settings.listen, gateway.address, str(settings.reports)]
    hidden += [
        settings.apps["wiki"].local,
        *(one.rpartition(":")[2] for one in (settings.listen, gateway.address)),
    ]
    hidden += [
        str(settings.store),
        settings.database,
        str(settings.ca),
        "/internal-health",
        NOTES,
        WIKI,
        LOGIN,
    ]
    hidden += [str(page.path.parent), socket.gethostname(), "ython", "uvicorn", "tarlette", "mvsqlite"]
    origin = settings.origin
    with events(page) as stream:
        said = {"/events": stream.next_event("status")["data"]}
    said |= {path: page.get(path).text + str(page.get(path).headers) for path in PATHS}
    gateway.says[NOTES] = (302, f"https://{LOGIN}/?to=x")
    for path, text in said.items():
        bare = text.replace(origin, "")
        assert [word for word in hidden if word in bare] == [], path
    alarm = next(one for one in json.loads(page.get("/status.json").text)["parts"] if "notes" in one["id"])
    assert alarm["title"] == "Notebook"
    wait_for("all well again", lambda: page.state("app-notes-internal") == "up")


@pytest.mark.parametrize(
    "path", ["/static/../settings.py", "/static/%2e%2e/settings.py", "/static/", "/x" * 3000, "/%00", "//"]
)
def test_paths_that_are_not_there(page: Running, path: str) -> None:
    with closing(http.client.HTTPConnection(*page.address.split(":"), timeout=20)) as connection:
        connection.request("GET", path)
        assert connection.getresponse().status == 404


def test_a_page_that_cannot_be_made_is_an_error_that_says_nothing(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = Service(settings)

    def broken(*_: object) -> str:
        raise ValueError("secret words")

    monkeypatch.setattr(shapes, "as_feed", broken)

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(create(service=service))
        async with httpx.AsyncClient(transport=transport, base_url="http://page") as client:
            answer = await client.get("/incidents.atom")
        await service.watch.outside.close()
        return answer

    answer = asyncio.run(ask())
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert "default-src 'none'" in answer.headers["content-security-policy"]


# ---- live -----------------------------------------------------------------------------------


class Events:
    """Reads server-sent events."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self._lines = response.iter_lines()

    def next_event(self, kind: str) -> dict[str, str]:
        """The next one of a kind."""
        found: dict[str, str] = {}
        for line in self._lines:
            if line:
                key, _, value = line.partition(": ")
                found[key] = value
            elif found.get("event") == kind or (kind == "retry" and "retry" in found):
                return found
            else:
                found = {}
        raise AssertionError("the stream ended")


@contextmanager
def events(page: Running, **headers: str) -> Iterator[Events]:
    with httpx.Client(base_url=f"http://{page.address}", timeout=20) as client:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        with client.stream("GET", "/events", headers=sent) as response:
            yield Events(response)


def test_a_change_is_told_at_once(page: Running, gateway: Gateway) -> None:
    with events(page) as stream:
        assert stream.response.headers["content-type"].startswith("text/event-stream")
        assert stream.next_event("retry")["retry"] == "5000"
        first = stream.next_event("status")
        assert json.loads(first["data"])["parts"]["app-wiki"] == "up"
        assert f'data-event="{first["id"]}"' in page.get("/").text, "the page is as new as the event"
        gateway.says[WIKI] = 500
        down: dict[str, Any] = {}
        while down.get("app-wiki") != "down":
            event = stream.next_event("status")
            down = json.loads(event["data"])["parts"]
        gateway.says[WIKI] = 200
        stream.next_event("checked")
    with events(page, Last_Event_ID=first["id"]) as again:
        assert again.next_event("status")["id"] == event["id"], "what was missed is told"
    wait_for("the wiki", lambda: page.state("app-wiki") == "up")


def test_an_id_of_another_life_gets_the_state_of_now(page: Running) -> None:
    with events(page, Last_Event_ID="0123abcd-5") as stream:
        assert json.loads(stream.next_event("status")["data"])["at"]


def test_listeners_are_bounded_and_make_room_when_they_leave(page: Running) -> None:
    def count() -> float:
        families = {one.name: one for one in text_string_to_metric_families(page.get("/metrics").text)}
        return float(families["mvstack_event_listeners"].samples[0].value)

    wait_for("nobody", lambda: count() == 0)
    sockets = []
    for number in range(6):
        sockets.append(socket.create_connection(("127.0.0.1", int(page.address.rpartition(":")[2])), 20))
        sockets[-1].sendall(
            f"GET /events HTTP/1.1\r\nHost: x\r\nX-Real-IP: 198.51.100.{number}\r\n\r\n".encode()
        )
    answers = sorted(one.recv(12) for one in sockets)
    assert answers == [b"HTTP/1.1 200"] * 4 + [b"HTTP/1.1 503"] * 2
    assert page.get("/").status_code == 200
    for one in sockets:
        one.close()
    wait_for("nobody again", lambda: count() == 0)


# ---- the store, and the end --------------------------------------------------------------------


@pytest.mark.lmdb_only("files that somebody moves")
def test_without_its_store_the_page_goes_on_and_says_so(page: Running, directory: Path) -> None:
    shutil.move(directory / "store", directory / "elsewhere")
    wait_for("the loss to be seen", lambda: page.told()["history"] is False)
    text = page.get("/").text
    assert "The history cannot be read at the moment" in text
    assert page.state("app-wiki") == "up"
    assert page.get("/healthz").status_code == 200
    shutil.move(directory / "elsewhere", directory / "store")
    wait_for("the store", lambda: page.told()["history"] is True)
    assert "cannot be read" not in page.get("/").text


def test_a_restart_is_a_gap_and_listeners_do_not_hold_it_up(
    tmp_path: Path, settings: Settings, url_in: Callable[[Path], str]
) -> None:
    fresh = settings.model_copy(
        update={"store": url_in(tmp_path), "database": "other.db", "listen": f"127.0.0.1:{kit.free_port()}"}
    )

    def measured(one: Running) -> int:
        days = one.told()["parts"][0]["days"]
        return sum(sum(v for k, v in day.items() if k != "day") for day in days)

    with kit.running(tmp_path, fresh) as one:
        wait_for("something measured", lambda: measured(one) >= 2)
        before = measured(one)
        with events(one) as stream:
            stream.next_event("status")
            one.process.terminate()
            one.process.wait(10)
    with kit.running(tmp_path, fresh) as one:
        wait_for("the history", lambda: one.told()["history"] and measured(one) > 0)
        assert before <= measured(one) <= before + 8


def test_settings_that_make_no_sense_are_said(tmp_path: Path, settings: Settings) -> None:
    from mvsqlite_stack.service_settings import SettingsError
    from mvsqlite_stack.status.settings import read

    path = kit.written(tmp_path / "status.toml", settings)
    assert read(path) == settings
    for change, words in (("timeout = 10", "timeout = 0"), ("interval = 1", "interval = 0")):
        path.write_text(
            kit.written(path, settings)
            .read_text()
            .replace(f"{change}\n", f"{words}\n")
            .replace(f"{change}.0\n", f"{words}\n")
        )
        with pytest.raises(SettingsError, match=r"status\.toml"):
            read(path)
    with pytest.raises(SettingsError, match="No such file"):
        read(tmp_path / "nothing")
