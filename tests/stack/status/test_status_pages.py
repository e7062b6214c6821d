"""The page in a real browser: live, on a phone, in the dark, by keyboard, and without JavaScript."""

from collections.abc import Iterator
from pathlib import Path

import pytest

import chromium
import status_kit as kit
from mvsqlite_stack.status.history import Batch, History
from mvsqlite_stack.status.incidents import Incident, Note, Sort
from mvsqlite_stack.status.settings import App
from mvsqlite_stack.status.tally import DAY, Tallies, Tally, last_days
from status_kit import LOGIN, NOTES, WIKI, Gateway, Running, wait_for

WORDS = "document.getElementById('words').textContent"


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pages")


@pytest.fixture(scope="module")
def servers(directory: Path) -> Iterator[tuple[Gateway, Gateway]]:
    with kit.serving(kit.certificate(directory, "good")) as gateway, kit.serving() as app:
        gateway.says = {NOTES: (302, f"https://{LOGIN}/")}
        yield gateway, app


@pytest.fixture(scope="module")
def status(directory: Path, servers: tuple[Gateway, Gateway]) -> Iterator[Running]:
    gateway, app = servers
    long = App(title="AVeryLongNameThatNobodyBrokeIntoWords" * 2, host=WIKI, local=app.address, public=True)
    settings = kit.settings_for(
        directory,
        gateway.address,
        ca=directory / "good.pem",
        interval=1,
        timeout=10,
        failures=1,
        apps={"notes": App(title="Notebook", host=NOTES, local=app.address), "wiki": long},
    )
    now = int(kit.time.time())
    told = Tallies()
    for i, day in enumerate(last_days(now)):
        told.of[DAY, day, "gateway"] = (
            Tally(up=DAY - 900, down=900) if i == 5 else Tally(up=DAY // (1 + i % 2))
        )
    history = History(settings.store, settings.database)
    history.exchange([Batch(told)], now)
    notice = Incident("n", Sort.NOTICE, (), "W" * 90, now - 600, notes=(Note(now - 600, "x" * 200),))
    history.change("told", notice)
    history.close()
    with kit.running(directory, settings) as one:
        wait_for("all well", lambda: one.state("app-wiki") == "up" and one.state("app-notes") == "up")
        yield one


@pytest.fixture(scope="module")
def chrome(directory: Path) -> Iterator[chromium.Page]:
    if chromium.PROGRAM is None:
        pytest.skip("no chromium on PATH; make setup installs it")
    with chromium.browser(directory / "chromium", "") as one:
        yield one


@pytest.fixture
def page(chrome: chromium.Page, status: Running) -> chromium.Page:
    chrome.size(*chromium.DESKTOP)
    chrome.dark(False)
    chrome.go(f"http://{status.address}/")
    return chrome


def test_a_change_is_seen_without_loading_the_page_again(
    page: chromium.Page, servers: tuple[Gateway, Gateway]
) -> None:
    page.wait("document.getElementById('live').textContent.startsWith('Live')")
    page.value("window.same = document.getElementById('words'); true")
    page.value("document.querySelector('details').open = true")
    servers[0].says[WIKI] = 500
    page.wait(f"{WORDS} === 'One thing does not work'")
    assert page.value("document.title").startswith("One thing does not work")
    page.wait("document.querySelectorAll('.part p.down').length === 1")
    assert page.value("window.same === document.getElementById('words')"), "what is read aloud is one element"
    assert page.value("window.same.getAttribute('aria-live')") == "polite"
    assert page.value("document.querySelector('details').open"), "what was opened stays so"
    servers[0].says[WIKI] = 200
    page.wait(f"{WORDS} === 'Everything works'")


def test_without_javascript_everything_is_there(page: chromium.Page, status: Running) -> None:
    page.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        page.go(f"http://{status.address}/")
        text = page.text()
    finally:
        page.call("Emulation.setScriptExecutionDisabled", value=False)
    for words in ("Everything works", "Notebook", "Newest backup", "Not set up", "Last checked at"):
        assert words in text


@pytest.mark.parametrize("width", [280, 320, 360, 1200])
def test_nothing_is_wider_than_the_screen(page: chromium.Page, status: Running, width: int) -> None:
    page.size(width, 740, phone=width < 600)
    page.go(f"http://{status.address}/")
    assert page.value("document.documentElement.scrollWidth") <= width


CONTRAST = """(() => {
  const channels = (text) => text.match(/[\\d.]+/g).map(Number);
  const linear = (c) => (c /= 255) <= .03928 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4;
  const light = (rgb) => rgb.slice(0, 3).map(linear)
    .reduce((sum, c, i) => sum + c * [.2126, .7152, .0722][i], 0);
  const ground = (one) => {
    for (; one; one = one.parentElement) {
      const found = channels(getComputedStyle(one).backgroundColor);
      if (found.length < 4 || found[3] > 0) return found;
    }
  };
  const bad = [];
  for (const one of document.querySelectorAll("body *")) {
    if (![...one.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim())) continue;
    if (!one.getClientRects().length || one.closest("svg")) continue;
    const [a, b] = [light(channels(getComputedStyle(one).color)), light(ground(one))];
    const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    if (ratio < 4.5) bad.push([one.textContent, ratio]);
  }
  for (const one of document.querySelectorAll("path.up, path.slow, path.down")) {
    const [a, b] = [light(channels(getComputedStyle(one).fill)), light(ground(one.closest("li")))];
    const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    if (ratio < 3) bad.push([one.className.baseVal, ratio]);
  }
  return bad;
})()"""


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("down", [False, True], ids=["well", "down"])
def test_everything_can_be_read(
    page: chromium.Page, status: Running, servers: tuple[Gateway, Gateway], dark: bool, down: bool
) -> None:
    servers[0].says[WIKI] = 500 if down else 200
    wait_for("the wiki", lambda: status.state("app-wiki") == ("down" if down else "up"))
    page.dark(dark)
    page.go(f"http://{status.address}/")
    assert page.value(CONTRAST) == []
    servers[0].says[WIKI] = 200


def test_by_keyboard_and_by_ear(page: chromium.Page) -> None:
    page.tab_to(".skip")
    page.tab_to("summary")
    page.press("Enter")
    page.wait("document.querySelector('details').open")
    assert "15 min down" in page.text()
    page.tab_to("footer a[href='/status.json']")
    assert page.value(
        "[...document.querySelectorAll('svg.bars')].every((one) => one.getAttribute('aria-label'))"
    )
    assert page.value("[...document.querySelectorAll('svg.sign')].every((one) => one.ariaHidden === 'true')")
    levels = page.value("[...document.querySelectorAll('h1, h2, h3')].map((one) => +one.tagName[1])")
    assert levels[0] == 1
    assert levels.count(1) == 1


def test_nothing_is_refused_by_the_policy(page: chromium.Page, status: Running) -> None:
    page.call("Log.enable")
    page.go(f"http://{status.address}/")
    page.wait("document.styleSheets.length === 1 && document.styleSheets[0].cssRules.length > 20")
    errors = page.value(
        "performance.getEntriesByType('resource').filter((one) => one.responseStatus >= 400).length"
    )
    assert errors == 0
    hosts = page.value("performance.getEntriesByType('resource').map((one) => new URL(one.name).host)")
    assert set(hosts) == {status.address}
