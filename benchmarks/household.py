"""What does the gateway add to a request, and how much memory does an idle household take?

`mvstack up` with nginx as gateway, and beside the demo app one that does next to nothing: a Starlette
application under uvicorn that answers a few bytes. It is asked through the gateway on a private path (each
request is asked about at the sign-in service, which checks token, session and permission), on a public path
(nobody is asked), and directly, by wrk over kept connections: TLS to the gateway, none to the app. Latencies
are of one connection that asks one thing after another; rates are of sixteen. Memory is the proportional
set size of all processes, after the measurement, with nobody asking anything.
"""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.cluster_kit import Absent
from benchmarks.common import OURS, Figure, Question, Settings, main
from benchmarks.signin import Bare
from mvsqlite_stack.signin.activity import Visitor
from mvsqlite_stack.signin.service import Service
from mvsqlite_stack.signin.settings import read
from mvsqlite_stack.up import tether, trial
from mvsqlite_stack.up.trial import DOMAIN

CONNECTIONS = 16
BARE_PORTS = range(8600, 8700)
PARTS = ("gateway", "signin", "app-notes", "status", "supervisor")
DIRECT = Bare("asked directly")
COLUMNS = (OURS, DIRECT)

BARE_APP = """\
import sys

import uvicorn
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

async def page(request):
    return PlainTextResponse("hello")

routes = [Route("/", page), Route("/public", page)]
uvicorn.run(Starlette(routes=routes), port=int(sys.argv[1]), access_log=False, log_level="warning")
"""

BARE_DECLARED = """
[apps.bare]
on = "home"
port = {port}
allow = ["*"]
public_paths = ["/public"]
requests_per_second = 1000000
command = ["python", "{file}", "{port}"]
"""

HERE = """\
function wrk.resolve(host, service)
  wrk.addrs = { wrk.lookup("127.0.0.1", service)[1] }
end
"""
"""For wrk: whatever the host's name is, it is on this machine."""


def _questions() -> list[Question]:
    found = []
    for key, label in (("private", "private path"), ("public", "public path")):
        found.append(Question(f"household.{key}", f"{label}, {CONNECTIONS} connections", "requests/s"))
        for part in ("p50", "p99"):
            found.append(Question(f"household.{key}.{part}", f"{label}, {part}", "ms", more_is_better=False))
            found.append(
                Question(
                    f"household.{key}.added.{part}", f"{label}, added to {part}", "ms", more_is_better=False
                )
            )
    for part in (*PARTS, "all"):
        found.append(Question(f"household.memory.{part}", f"memory idle, {part}", "MB", more_is_better=False))
    return found


QUESTIONS = _questions()


@contextmanager
def household(directory: Path) -> Iterator[trial.Trial]:
    """One that runs, in a directory of its own: its path is short enough for a socket."""
    with TemporaryDirectory(prefix="mv") as short:
        place = trial.at(Path(short, "t"))
        place.directory.mkdir()
        with running(place, directory):
            yield place


@contextmanager
def running(place: trial.Trial, directory: Path) -> Iterator[None]:
    """Runs it; directory: for what it does not have."""
    trial.declare(place, None, None)
    file, port = directory / "bare.py", next(filter(trial.is_free, BARE_PORTS))
    file.write_text(BARE_APP)
    with place.declaration.open("a") as declaration:
        declaration.write(BARE_DECLARED.format(port=port, file=file))
    command = [sys.executable, "-m", "mvsqlite_stack"]
    try:
        subprocess.run(
            [*command, "up", "--detach", str(place.directory)], check=True, stdout=subprocess.DEVNULL
        )
        yield
    finally:
        subprocess.run([*command, "down", str(place.directory)], check=True, capture_output=True)


def token(place: trial.Trial) -> str:
    """Of a user who has just signed in."""
    service = Service(read(Path(place.layout.settings, "signin/signin.toml")))
    try:
        user = service.accounts.get("anna")
        begun = service.sign_in(user, "password", Visitor("127.0.0.1", ""), [], None)
        return service.token(user, begun.session)
    finally:
        service.close()


class Wrk:
    """Asks for one address over and over."""

    def __init__(self, script: Path) -> None:
        found = shutil.which("wrk")
        if found is None:
            raise Absent("wrk is not installed: on Debian it is the package wrk")
        self._program = found
        self._script = script
        script.write_text(HERE)

    def __call__(self, url: str, seconds: float, connections: int, *headers: str) -> dict[str, float]:
        """Answers a second, and p50 and p99 of their latencies in milliseconds."""
        words = [self._program, "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--latency"]
        words += ["-s", str(self._script), *(word for one in headers for word in ("-H", one)), url]
        said = subprocess.run(words, capture_output=True, text=True, check=True).stdout
        if "Non-2xx" in said or "Socket errors" in said:
            raise RuntimeError(said)
        latency = {part: _milliseconds(said, part) for part in ("50%", "99%")}
        rate = re.search(r"Requests/sec:\s+([\d.]+)", said)
        assert rate, said
        return {"rate": float(rate[1]), "p50": latency["50%"], "p99": latency["99%"]}


def _milliseconds(said: str, part: str) -> float:
    found = re.search(rf"^\s+{part}\s+([\d.]+)(us|ms|s)$", said, re.MULTILINE)
    assert found, said
    return float(found[1]) * {"us": 0.001, "ms": 1.0, "s": 1000.0}[found[2]]


def memory(place: trial.Trial) -> dict[str, float]:
    """Megabytes by part; what a process shares with others is shared out among them."""
    found = {}
    for part in PARTS:
        kilobytes = 0
        for process in tether.leftovers(str(place.directory), part):
            rollup = Path(f"/proc/{process}/smaps_rollup").read_text()
            kilobytes += int(rollup.partition("\nPss:")[2].split()[0])
        if kilobytes:
            found[part] = kilobytes / 1000
    return found


def measure(place: trial.Trial, wrk: Wrk, seconds: float, figures: dict[str, Figure]) -> None:
    """One round: the same path through the gateway and directly, one after the other."""
    here = trial.read(place, None, None)[1]
    gateway = f"https://bare.{DOMAIN}:{here.ports.https}"
    direct = f"http://127.0.0.1:{here.apps['bare'].port}"
    cookie = f"Cookie: session_jwt={token(place)}"
    for key, path, headers in (("private", "/", [cookie]), ("public", "/public", [])):
        rates = [wrk(base + path, seconds, CONNECTIONS, *headers)["rate"] for base in (gateway, direct)]
        ours, bare = (wrk(base + path, seconds, 1, *headers) for base in (gateway, direct))
        for contender, rate, latency in ((OURS, rates[0], ours), (DIRECT, rates[1], bare)):
            figures[f"household.{key}"].add(contender, rate)
            for part in ("p50", "p99"):
                figures[f"household.{key}.{part}"].add(contender, latency[part])
        for part in ("p50", "p99"):
            figures[f"household.{key}.added.{part}"].add(OURS, ours[part] - bare[part])
    used = memory(place)
    for part, megabytes in (*used.items(), ("all", sum(used.values()))):
        figures[f"household.memory.{part}"].add(OURS, megabytes)


def run(settings: Settings) -> list[Figure]:
    if shutil.which("nginx", path=f"/usr/sbin:{trial.NGINX_PLACES}") is None:
        raise Absent("nginx is not installed: on Debian it is the package nginx-light")
    figures = {question.key: Figure(question) for question in QUESTIONS}
    seconds = settings.pick(5.0, 2.0, 1.0)
    with settings.scratch() as directory:
        wrk = Wrk(directory / "here.lua")
        with household(directory) as place:
            for _ in range(settings.fewer(3).rounds):
                measure(place, wrk, seconds, figures)
    return [figure for figure in figures.values() if figure.samples]


if __name__ == "__main__":
    assert __doc__
    main(run, __doc__, COLUMNS)
