"""What strangers see of an app, as its doctor finds out."""

import json
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from click.testing import CliRunner

from household import DOMAIN, certificate, free_ports
from mvsqlite_stack import config
from mvsqlite_stack.apps import visit
from mvsqlite_stack.cli import main

STACK = """\
[stack]
domain = "{domain}"
[hosts.home]
gateway = true
[ports]
listen = ["127.0.0.1"]
https = {https}
[users.anna]
[apps.notes]
on = "home"
port = {app}
allow = ["anna"]
public_paths = ["/about", "/share/*"]
health = "/well?deep=1"
"""


@contextmanager
def front(directory: Path, port: int, answers: dict[str, tuple[int, str]]) -> Iterator[list[tuple[str, str]]]:
    """A gateway that answers as told: status and Location by path; gives hosts and paths asked for."""
    asked: list[tuple[str, str]] = []

    class Front(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append((self.headers["Host"], self.path))
            status, location = answers.get(self.path, answers["*"])
            self.send_response(status)
            if location:
                self.send_header("Location", location)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    certificate(directory)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "cert.pem", directory / "key.pem")
    server = ThreadingHTTPServer(("127.0.0.1", port), Front)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def graded(directory: Path, port: int) -> dict[str, list[str]]:
    file = directory / "stack.toml"
    file.write_text(STACK.format(domain=DOMAIN, https=port, app=free_ports(1)[0]))
    result = CliRunner().invoke(main, ["app", "doctor", "notes", "--json", "-f", str(file)])
    told = json.loads(result.stdout)["notes"]
    found: dict[str, list[str]] = {}
    for one in told:
        found.setdefault(one["what"], []).append(one["grade"])
    return found


SIGN_IN = f"https://login.{DOMAIN}:{{port}}/?to=x"


@pytest.mark.parametrize(
    ("private", "about", "grades"),
    [
        ((401, ""), (200, ""), ("good", ["good", "good"])),
        ((302, SIGN_IN), (404, ""), ("good", ["good", "good"])),
        ((302, f"https://login.{DOMAIN}.evil.example/"), (200, ""), ("bad", ["good", "good"])),
        ((302, "/welcome"), (200, ""), ("bad", ["good", "good"])),
        ((200, ""), (200, ""), ("bad", ["good", "good"])),
        ((401, ""), (401, ""), ("good", ["bad", "good"])),
        ((401, ""), (302, SIGN_IN), ("good", ["bad", "good"])),
    ],
)
def test_what_is_open_and_what_is_closed(
    tmp_path: Path, private: tuple[int, str], about: tuple[int, str], grades: tuple[str, list[str]]
) -> None:
    (port,) = free_ports(1)
    told = {"*": private, "/about": about, "/share": (200, "")}
    answers = {path: (status, where.format(port=port)) for path, (status, where) in told.items()}
    with front(tmp_path, port, answers) as asked:
        found = graded(tmp_path, port)
    assert (found["private"], found["public"]) == ([grades[0]], grades[1])
    assert {host for host, _ in asked} == {f"notes.{DOMAIN}:{port}"}


def test_a_gateway_that_is_not_there_is_one_finding(tmp_path: Path) -> None:
    found = graded(tmp_path, free_ports(1)[0])
    assert found["gateway"] == ["bad"]
    assert "private" not in found


def test_health_is_asked_of_the_app_itself(tmp_path: Path) -> None:
    file = tmp_path / "stack.toml"
    file.write_text(STACK.format(domain=DOMAIN, https=443, app=free_ports(1)[0]))
    assert visit.health(config.read(file), "notes").status is None
