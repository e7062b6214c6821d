"""Actual's sync server from npm, unmodified: its accounts and files are kept in a store."""

import secrets
import socket
import subprocess
import threading
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner

import mvsqlite_py
from mvsqlite_py._cli.mvrevert import mvrevert
from node_programs import Setup, environment, installed, routed

pytestmark = pytest.mark.lmdb_only("the routes lie above the store")

SERVER = "node_modules/@actual-app/sync-server/build/bin/actual-server.js"
PATIENCE = 60
SOON = 0.1


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def until_it_answers(client: httpx.Client, process: subprocess.Popen[bytes]) -> None:
    for _ in range(int(PATIENCE / SOON)):
        assert process.poll() is None, "it ended"
        try:
            client.get("/health").raise_for_status()
        except httpx.TransportError:
            threading.Event().wait(SOON)
        else:
            return
    raise AssertionError("it does not answer")


@contextmanager
def server(
    node: Setup, actual: Setup, directory: Path, log: Path, **variables: str | None
) -> Iterator[httpx.Client]:
    """The server on a data directory, until the end of the block."""
    port = free_port()
    own = {"ACTUAL_PORT": str(port), "ACTUAL_HOSTNAME": "127.0.0.1", "ACTUAL_DATA_DIR": str(directory)}
    with log.open("wb") as messages:
        process = subprocess.Popen(
            [node.program, str(actual.directory / SERVER)],
            cwd=directory,
            env=environment(None, **own, **variables),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=messages,
        )
    with process:
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE) as client:
                until_it_answers(client, process)
                yield client
        finally:
            process.terminate()


class Person:
    """Someone who keeps budgets on the server."""

    def __init__(self, client: httpx.Client, password: str, way: str) -> None:
        """way: "bootstrap" for the first time, "login" from then on."""
        self.client = client
        answer = client.post(f"/account/{way}", json={"password": password, "loginMethod": "password"})
        self.token = answer.raise_for_status().json()["data"]["token"]

    def ask(self, method: str, path: str, **options: Any) -> Any:
        headers = {"x-actual-token": self.token, **options.pop("headers", {})}
        return self.client.request(method, f"/sync/{path}", headers=headers, **options).raise_for_status()

    def upload(self, number: int) -> None:
        headers = {
            "x-actual-file-id": f"file-{number}",
            "x-actual-name": urllib.parse.quote(f"Budget {number}"),
            "x-actual-format": "2",
            "content-type": "application/encrypted-file",
        }
        self.ask("POST", "upload-user-file", content=secrets.token_bytes(2000), headers=headers)

    def budgets(self) -> list[str]:
        """The names of those that are not deleted."""
        found = self.ask("GET", "list-user-files").json()["data"]
        return sorted(one["name"] for one in found if not one["deleted"])

    def delete(self, number: int) -> None:
        self.ask("POST", "delete-user-file", json={"token": self.token, "fileId": f"file-{number}"})


def test_a_deleted_budget_comes_back_while_the_server_runs(
    node: Setup, soak_seconds: int, data: Path, tmp_path: Path, store: mvsqlite_py.Store
) -> None:
    actual = installed("Actual", bool(soak_seconds))
    log, password = tmp_path / "log", secrets.token_hex()
    way = routed(f"{data}/**/*.sqlite={{stem}}", MVSQLITE_STORE=store.url)
    with server(node, actual, data, log, **way) as client:
        person = Person(client, password, "bootstrap")
        for number in range(5):
            person.upload(number)
        for number in (1, 3):
            person.delete(number)
        person.upload(5)
        assert person.budgets() == ["Budget 0", "Budget 2", "Budget 4", "Budget 5"]
        words = ["undo", "account", "--statement", "UPDATE files SET deleted*", "--yes"]
        done = CliRunner(env={"MVSQLITE_STORE": store.url}).invoke(mvrevert, words)
        assert done.exit_code == 0, done.output
        everything = [f"Budget {number}" for number in range(6)]
        assert person.budgets() == everything
    with server(node, actual, data, log, **way) as client:
        assert Person(client, password, "login").budgets() == everything
    assert log.read_bytes() == b""
    assert store.database("account").verify().problems == []
