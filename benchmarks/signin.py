"""How many sign-ins and gateway questions does the sign-in service answer a second?

Beside it, in the same run, a bare Starlette application under the same uvicorn: its /verify answers 204
and looks at nothing; its sign-in checks one argon2id hash of the same costs and does nothing else. So the
ratios say what sessions, limits, audit log and history cost. One worker each, HTTP without TLS on
loopback, two connections that ask one thing after another.
"""

import http.client
import os
import re
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.cookies import SimpleCookie
from pathlib import Path
from urllib.parse import urlencode

from benchmarks.common import OURS, Figure, Question, Settings, main
from mvsqlite_stack.signin.activity import Visitor
from mvsqlite_stack.signin.service import Service
from mvsqlite_stack.signin.settings import VARIABLE, Argon2, read

CONNECTIONS = 2
START_SECONDS = 60.0
PASSWORD = "four random words here"
USERS = 4
HOST = "login.home.test"
COST = Argon2()

SETTINGS = """
domain = "home.test"
listen = "127.0.0.1:{port}"
store = "lmdb:{directory}/store"
keys = "{directory}/keys"
[limits]
account = 1000000
address = 1000000
[apps.notes]
host = "notes.home.test"
allow = ["*"]
"""

BARE_APP = """
import os, sys
from argon2 import PasswordHasher
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
import uvicorn

port, time, memory, parallelism = map(int, sys.argv[1:5])
hasher = PasswordHasher(time_cost=time, memory_cost=memory, parallelism=parallelism)
stored = hasher.hash(sys.argv[5])

async def verify(request):
    return Response(status_code=204)

async def page(request):
    return PlainTextResponse("sign in")

async def sign_in(request):
    await request.body()
    await run_in_threadpool(hasher.verify, stored, sys.argv[5])
    return Response(status_code=303)

routes = [
    Route("/healthz", page), Route("/", page), Route("/verify", verify),
    Route("/sign-in", sign_in, methods=["POST"]),
]
uvicorn.run(Starlette(routes=routes), port=port, access_log=False, log_level="warning")
"""


@dataclass(frozen=True, slots=True)
class Bare:
    """A Starlette application that does next to nothing."""

    name: str = "bare Starlette"


BARE = Bare()
COLUMNS = (OURS, BARE)
QUESTIONS = [
    Question("signin.verify", "/verify, one token", "answers/s"),
    Question("signin.verify.p50", "/verify, latency p50", "ms", more_is_better=False),
    Question("signin.verify.p99", "/verify, latency p99", "ms", more_is_better=False),
    Question("signin.sign_in", "sign-in (page, form, new session)", "sign-ins/s"),
    Question("signin.sign_in.p50", "sign-in, latency p50", "ms", more_is_better=False),
]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def served(port: int, command: list[str], environment: dict[str, str]) -> Iterator[int]:
    """Runs a server until the block ends; its port."""
    process = subprocess.Popen([sys.executable, *command], env={**os.environ, **environment})
    try:
        until, pause = time.monotonic() + START_SECONDS, threading.Event()
        while time.monotonic() < until:
            try:
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=START_SECONDS)
                connection.request("GET", "/healthz")
                connection.getresponse()
                connection.close()
                break
            except OSError as error:
                if process.poll() is not None:
                    raise RuntimeError("the server ended") from error
                pause.wait(0.05)
        yield port
    finally:
        process.terminate()
        process.wait()


Asking = Callable[[http.client.HTTPConnection, int], None]
"""Asks one thing; the number counts up."""


def rate(port: int, ask: Asking, seconds: float) -> tuple[float, list[float]]:
    """Answers a second over all connections, and how long each took in seconds."""
    took: list[list[float]] = [[] for _ in range(CONNECTIONS)]
    ready = threading.Barrier(CONNECTIONS + 1)

    def run(which: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=START_SECONDS)
        ask(connection, which)
        ready.wait()
        end, number = time.perf_counter() + seconds, which
        while (begin := time.perf_counter()) < end:
            ask(connection, number)
            took[which].append(time.perf_counter() - begin)
            number += CONNECTIONS
        connection.close()

    threads = [threading.Thread(target=run, args=(which,)) for which in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    ready.wait()
    begin = time.perf_counter()
    for thread in threads:
        thread.join()
    elapsed = time.perf_counter() - begin
    all_took = [one for each in took for one in each]
    return len(all_took) / elapsed, all_took


def answer(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    headers: dict[str, str],
    body: str | None = None,
) -> tuple[http.client.HTTPResponse, str]:
    connection.request(method, path, body, {"Host": HOST, **headers})
    response = connection.getresponse()
    return response, response.read().decode()


def asking_verify(token: str) -> Asking:
    headers = {"X-Original-Host": "notes.home.test", "Cookie": f"session_jwt={token}"}

    def ask(connection: http.client.HTTPConnection, _: int) -> None:
        response, _text = answer(connection, "GET", "/verify", headers)
        assert response.status == 204, response.status

    return ask


def sign_in(connection: http.client.HTTPConnection, number: int) -> None:
    """As a browser that has been nowhere yet: the page, then the form."""
    page, text = answer(connection, "GET", "/", {})
    cookies = SimpleCookie(page.headers.get("Set-Cookie", ""))
    form = re.search(r'name="form" value="([^"]*)"', text)
    fields = {"form": form[1] if form else "", "name": f"user{number % USERS}", "password": PASSWORD}
    headers = {
        "Cookie": "; ".join(f"{name}={one.value}" for name, one in cookies.items()),
        "Origin": f"https://{HOST}",
        "Content-Type": "application/x-www-form-urlencoded",
    }
    response, _ = answer(connection, "POST", "/sign-in", headers, urlencode(fields))
    assert response.status == 303, response.status


def prepare(path: Path, directory: Path, port: int) -> str:
    """Settings, users, and a token of one of them."""
    path.write_text(SETTINGS.format(port=port, directory=directory))
    service = Service(read(path))
    users = [service.accounts.add(f"user{i}", "", PASSWORD, "the benchmark") for i in range(USERS)]
    begun = service.sign_in(users[0], "password", Visitor("127.0.0.1", ""), [], None)
    token = service.token(users[0], begun.session)
    service.close()
    return token


def measure(port: int, token: str, seconds: float) -> dict[str, float]:
    verified, took = rate(port, asking_verify(token), seconds)
    signed, sign_took = rate(port, sign_in, seconds)
    return {
        "signin.verify": verified,
        "signin.verify.p50": statistics.median(took) * 1000,
        "signin.verify.p99": sorted(took)[int(len(took) * 0.99)] * 1000,
        "signin.sign_in": signed,
        "signin.sign_in.p50": statistics.median(sign_took) * 1000,
    }


def run(settings: Settings) -> list[Figure]:
    seconds = settings.pick(5.0, 1.5, 0.2)
    figures = {question.key: Figure(question) for question in QUESTIONS}
    costs = [str(cost) for cost in (COST.time, COST.memory_kib, COST.parallelism)]
    for _ in range(settings.fewer(3).rounds):
        with settings.scratch() as directory:
            port, bare = free_port(), free_port()
            path = directory / "signin.toml"
            token = prepare(path, directory, port)
            with served(port, ["-m", "mvsqlite_stack.signin"], {VARIABLE: str(path)}):
                for key, value in measure(port, token, seconds).items():
                    figures[key].add(OURS, value)
            with served(bare, ["-c", BARE_APP, str(bare), *costs, PASSWORD], {}):
                for key, value in measure(bare, token, seconds).items():
                    figures[key].add(BARE, value)
    return list(figures.values())


if __name__ == "__main__":
    assert __doc__
    main(run, __doc__, COLUMNS)
