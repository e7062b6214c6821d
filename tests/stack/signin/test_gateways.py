"""Gateways of other kinds, and a service that cannot work: the application without a server."""

import asyncio
import shutil
from pathlib import Path

import httpx
import pytest

from mvsqlite_stack.signin.settings import Settings, read
from mvsqlite_stack.signin.web.app import create
from signin_kit import EVERYONE, LOGIN, PAD, prepare


def ask(settings: Settings, path: str, **headers: str) -> httpx.Response:
    async def one() -> httpx.Response:
        transport = httpx.ASGITransport(create(settings))
        async with httpx.AsyncClient(transport=transport, base_url=f"https://{LOGIN}") as client:
            return await client.get(path, headers={k.replace("_", "-"): v for k, v in headers.items()})

    return asyncio.run(one())


@pytest.fixture
def forward(tmp_path: Path) -> Settings:
    """Of a service behind a gateway that passes its answers on."""
    return read(prepare(tmp_path, 'host_header = "X-Forwarded-Host"'))


def test_forward_auth_sends_browsers_to_the_sign_in_page(forward: Settings) -> None:
    said = {"X_Forwarded_Host": EVERYONE, "X_Forwarded_Uri": "/a?b=c&d"}
    browser = ask(forward, "/verify", **said, X_Forwarded_Method="GET", Accept="text/html,*/*")
    assert browser.status_code == 302
    way_back = f"https%3A%2F%2F{EVERYONE}%2Fa%3Fb%3Dc%26d"
    assert browser.headers["location"] == f"{forward.origin}/?to={way_back}"


@pytest.mark.parametrize(("method", "accept"), [("POST", "text/html"), ("GET", "application/json"), ("", "")])
def test_programs_get_401(forward: Settings, method: str, accept: str) -> None:
    said = {"X_Forwarded_Host": EVERYONE, "X_Forwarded_Method": method, "Accept": accept}
    answer = ask(forward, "/verify", **said)
    assert (answer.status_code, answer.json()["error"]) == (401, "sign in")


def test_the_other_header_is_not_looked_at(forward: Settings) -> None:
    assert ask(forward, "/verify", X_Original_Host=PAD).status_code == 403
    both = ask(forward, "/verify", X_Original_Host=PAD, X_Forwarded_Host=EVERYONE)
    assert both.status_code == 401


def test_health_says_when_keys_are_gone(tmp_path: Path) -> None:
    settings = read(prepare(tmp_path))
    application = create(settings)

    async def twice() -> list[int]:
        transport = httpx.ASGITransport(application)
        async with httpx.AsyncClient(transport=transport, base_url=f"https://{LOGIN}") as client:
            first = await client.get("/healthz")
            for key in settings.keys.glob("*.pem"):
                key.unlink()
            return [first.status_code, (await client.get("/healthz")).status_code]

    assert asyncio.run(twice()) == [200, 503]


def test_health_says_when_the_store_is_gone(tmp_path: Path) -> None:
    settings = read(prepare(tmp_path))
    (tmp_path / "store").write_text("not a store")
    assert ask(settings, "/healthz").status_code == 503
    shutil.rmtree(settings.keys)
