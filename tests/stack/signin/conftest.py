"""One service for most tests; those about limits or settings run their own."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytest.importorskip("starlette", reason="the extra 'stack' is not installed")

import chromium
from signin_kit import Browser, Running, running

MANY = """
[limits]
address = 100000
"""


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory, url_in: Callable[[Path], str]) -> Iterator[Running]:
    """A running service, whose limits by address no test reaches."""
    directory = tmp_path_factory.mktemp("signin")
    with running(directory, tables=MANY, store=url_in(directory)) as one:
        yield one


@pytest.fixture(autouse=True)
def no_browsers_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """Browsers are closed with the test that opened them."""
    yield
    if "service" in request.fixturenames:
        request.getfixturevalue("service").close_browsers()


@pytest.fixture
def browser(service: Running) -> Browser:
    """A browser that has been nowhere yet."""
    return service.browser()


@pytest.fixture(scope="session")
def chrome(service: Running, tmp_path_factory: pytest.TempPathFactory) -> Iterator[chromium.Page]:
    """A tab of a headless Chromium."""
    if chromium.PROGRAM is None:
        pytest.skip("no chromium on PATH; make setup installs it")
    certificate = (service.directory / "spki").read_text()
    with chromium.browser(tmp_path_factory.mktemp("chromium"), certificate) as one:
        yield one


@pytest.fixture
def page(chrome: chromium.Page) -> chromium.Page:
    """The tab as if it had been nowhere yet."""
    chrome.call("Network.clearBrowserCookies")
    chrome.size(*chromium.DESKTOP)
    chrome.dark(False)
    chrome.go("about:blank")
    return chrome
