"""How much does the status page weigh, how soon is it seen, and how many visitors does one process serve?

Beside it, in the same run, one worker of nginx with the same answers as files: the page and its style sheet,
script and icon, compressed beforehand as ours are. wrk asks both over loopback, without TLS; Chromium opens
both with an empty cache. The page has five apps, ninety days and an incident.
"""

import http.client
import os
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.cluster_kit import Absent
from benchmarks.common import OURS, Figure, Question, Settings, main
from benchmarks.signin import free_port, served
from mvsqlite_stack.status.history import Batch, History
from mvsqlite_stack.status.incidents import Incident, Note, Sort
from mvsqlite_stack.status.settings import VARIABLE
from mvsqlite_stack.status.tally import DAY, Tallies, Tally, last_days

CONNECTIONS = 16
APPS = ("notes", "feeds", "photos", "documents", "pad")
START_SECONDS = 30.0
KINDS = {
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
    "": "text/html; charset=utf-8",
}


@dataclass(frozen=True, slots=True)
class Files:
    """nginx, which has nothing to do but to send files."""

    name: str = "nginx, files"


FILES = Files()
COLUMNS = (OURS, FILES)
QUESTIONS = [
    Question("status_page.rate", "the page, compressed", "answers/s"),
    Question("status_page.p99", "the page, latency p99", "ms", more_is_better=False),
    Question("status_page.json", "/status.json, compressed", "answers/s"),
    Question("status_page.html", "weight of the page", "bytes", more_is_better=False),
    Question("status_page.weight", "weight of all for a first visit", "bytes", more_is_better=False),
    Question("status_page.paint", "first paint, empty cache", "ms", more_is_better=False),
]

SETTINGS = """
title = "Home"
host = "status.home.test"
sign_in_host = "login.home.test"
connect = "127.0.0.1:9"
listen = "127.0.0.1:{port}"
store = "lmdb:{directory}/store"
reports = "{directory}/reports"
contact = "Ask Ann"
"""

NGINX = """
{user}
worker_processes 1;
daemon off;
pid nginx.pid;
error_log stderr error;
events {{ worker_connections 512; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    open_file_cache max=100;
    keepalive_requests 1000000000;
    client_body_temp_path body; proxy_temp_path proxy;
    fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
    server {{
        listen 127.0.0.1:{port};
        root {root};
        add_header Content-Encoding gzip;
{locations}
        location = /healthz {{ return 200 "ok"; }}
        location = /events {{ return 503; }}
    }}
}}
"""


def prepare(directory: Path, port: int) -> Path:
    """Settings, and a history of ninety days."""
    text = SETTINGS.format(port=port, directory=directory)
    for name in APPS:
        text += f'[apps.{name}]\ntitle = "{name.title()}"\nhost = "{name}.home.test"\nlocal = "127.0.0.1:9"\n'
    path = directory / "status.toml"
    path.write_text(text)
    now, seed, told = int(time.time()), random.Random(90), Tallies()
    for part in ("gateway", "sign-in", "store", *(f"app-{name}" for name in APPS)):
        for day in last_days(now):
            down = seed.choice([0] * 30 + [900, 9000])
            told.of[DAY, day, part] = Tally(up=DAY - down, down=down)
    history = History(f"lmdb:{directory}/store", "status.db")
    history.exchange([Batch(told)], now)
    week = now - 7 * DAY
    incident = Incident(
        "a", Sort.NOTICE, (), "Moved house", week, week + 900, notes=(Note(week, "In the van."),)
    )
    history.change("told", incident)
    history.close()
    return path


def asked(port: int, path: str) -> tuple[bytes, bytes]:
    """The answer to a browser, as it came and unpacked."""
    import gzip

    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=START_SECONDS)
    connection.request("GET", path, headers={"Accept-Encoding": "gzip"})
    answer = connection.getresponse()
    body = answer.read()
    assert answer.status == 200, (path, answer.status)
    connection.close()
    return body, gzip.decompress(body) if answer.getheader("Content-Encoding") == "gzip" else body


def files_of(port: int, root: Path) -> tuple[dict[str, int], str]:
    """Copies what a first visit needs; the weight of each, and nginx's locations for them."""
    import gzip

    first, page = asked(port, "/")
    weights, locations = {"/": len(first)}, []
    names = ["/", *sorted(set(re.findall(r'(?:src|href)="(/static/[^"]+)"', page.decode()))), "/status.json"]
    for name in names:
        packed, plain = asked(port, name)
        weights[name] = len(packed)
        path = name.partition("?")[0]
        file = root / (path.strip("/").replace("/", "-") or "index")
        file.write_bytes(packed if packed != plain else gzip.compress(plain))
        kind = "application/json" if path.endswith(".json") else KINDS[Path(path).suffix]
        locations.append(
            f'        location = {path} {{ types {{}} default_type "{kind}"; try_files /{file.name} =404; }}'
        )
    weights.pop("/status.json")
    return weights, "\n".join(locations)


@contextmanager
def nginx(directory: Path, port: int, locations: str) -> Iterator[None]:
    program = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        raise Absent("no nginx here: install nginx-light")
    user = "user root;" if os.geteuid() == 0 else ""
    path = directory / "nginx.conf"
    path.write_text(NGINX.format(user=user, port=port, root=directory, locations=locations))
    process = subprocess.Popen([program, "-p", str(directory), "-e", "stderr", "-c", str(path)])
    try:
        pause = threading.Event()
        for _ in range(200):
            try:
                asked(port, "/healthz")
                break
            except OSError:
                pause.wait(0.05)
        yield
    finally:
        process.terminate()
        process.wait()


def wrk(port: int, path: str, seconds: float) -> tuple[float, float]:
    """Answers a second, and the latency of the slowest of a hundred in milliseconds."""
    program = shutil.which("wrk")
    if program is None:
        raise Absent("no wrk here: install wrk")
    command = [program, "-t1", f"-c{CONNECTIONS}", f"-d{max(1, round(seconds))}s", "--latency"]
    command += ["-H", "Accept-Encoding: gzip", f"http://127.0.0.1:{port}{path}"]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "Non-2xx" not in told, told
    rate, slow = re.search(r"Requests/sec:\s+([\d.]+)", told), re.search(r"99%\s+([\d.]+)(us|ms|s)", told)
    assert rate
    assert slow
    return float(rate[1]), float(slow[1]) * {"us": 0.001, "ms": 1.0, "s": 1000.0}[slow[2]]


def paints(ports: list[int], times: int) -> list[float] | None:
    """Median milliseconds until each page is seen, asked in turn; None without Chromium."""
    sys.path.append(str(Path(__file__).parents[1] / "tests"))
    try:
        import chromium
    except ImportError:
        return None
    if chromium.PROGRAM is None:
        return None
    seen: list[list[float]] = [[] for _ in ports]
    with tempfile.TemporaryDirectory() as profile, chromium.browser(Path(profile), "") as page:
        page.call("Network.setCacheDisabled", cacheDisabled=True)
        for _ in range(times):
            for i, port in enumerate(ports):
                page.go(f"http://127.0.0.1:{port}/")
                page.wait("performance.getEntriesByName('first-contentful-paint').length === 1")
                found = page.value("performance.getEntriesByName('first-contentful-paint')[0].startTime")
                seen[i].append(float(found))
    return [statistics.median(one) for one in seen]


def measure(directory: Path, settings: Settings, figures: dict[str, Figure]) -> None:
    seconds = settings.pick(5.0, 2.0, 1.0)
    port, other = free_port(), free_port()
    path = prepare(directory, port)
    with served(port, ["-m", "mvsqlite_stack.status"], {VARIABLE: str(path)}):
        weights, locations = files_of(port, directory)
        figures["status_page.html"].add(OURS, weights["/"])
        figures["status_page.weight"].add(OURS, sum(weights.values()))
        with nginx(directory, other, locations):
            for contender, place in ((OURS, port), (FILES, other)):
                rate, slow = wrk(place, "/", seconds)
                figures["status_page.rate"].add(contender, rate)
                figures["status_page.p99"].add(contender, slow)
                figures["status_page.json"].add(contender, wrk(place, "/status.json", seconds)[0])
            if seen := paints([port, other], settings.pick(11, 5, 2)):
                for contender, took in zip(COLUMNS, seen, strict=True):
                    figures["status_page.paint"].add(contender, took)


def run(settings: Settings) -> list[Figure]:
    figures = {question.key: Figure(question) for question in QUESTIONS}
    for _ in range(settings.fewer(3).rounds):
        with settings.scratch() as directory:
            measure(directory, settings, figures)
    return [figure for figure in figures.values() if figure.samples]


if __name__ == "__main__":
    assert __doc__
    main(run, __doc__, COLUMNS)
