"""A headless Chromium, driven over its DevTools protocol: what a visitor sees and types."""

import base64
import json
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

PROGRAM = next((path for name in ("chromium", "chromium-browser") if (path := shutil.which(name))), None)
START_SECONDS = 30.0
WAIT_SECONDS = 15.0
POLL_SECONDS = 0.02
READY = """document.readyState === 'complete' && [...document.querySelectorAll("[autofocus]")].every(
  (one) => one === document.activeElement)"""
"""The page is there, and what it wants to have the focus has it."""
DESKTOP, PHONE = (1200, 900), (360, 740)


class Page:
    """One tab."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._number = 0
        for domain in ("Page", "Runtime", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> Any:
        """One command of the protocol, and its result."""
        self._number += 1
        self._connection.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        while True:
            answer = json.loads(self._connection.recv(timeout=WAIT_SECONDS))
            if answer.get("id") == self._number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]

    def value(self, expression: str) -> Any:
        """What an expression of JavaScript is in the page."""
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def wait(self, expression: str) -> None:
        """Until an expression is true, whatever pages come and go meanwhile."""
        pause, waited = threading.Event(), 0.0
        while waited < WAIT_SECONDS:
            found = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
            if found["result"].get("value") is True:
                return
            pause.wait(POLL_SECONDS)
            waited += POLL_SECONDS
        raise AssertionError(f"not true: {expression}; the page says: {self.text()}")

    def go(self, address: str) -> None:
        # The document before must not be taken for the new one.
        self.call("Runtime.evaluate", expression="window.before = true")
        self.call("Page.navigate", url=address)
        self.wait(f"!window.before && {READY}")

    def arrive(self, path: str) -> None:
        """Until the page at a path is there."""
        self.wait(f"location.pathname === {json.dumps(path)} && {READY}")

    def text(self) -> str:
        return str(self.value("document.body ? document.body.innerText : ''"))

    def type(self, text: str) -> None:
        """Types into what has the focus."""
        self.call("Input.insertText", text=text)

    def press(self, key: str) -> None:
        codes = {"Enter": 13, "Tab": 9, " ": 32}
        named = {"key": key, "code": "Space" if key == " " else key, "windowsVirtualKeyCode": codes[key]}
        text = {"Enter": "\r", " ": " "}.get(key)
        self.call("Input.dispatchKeyEvent", type="keyDown", **named, **({"text": text} if text else {}))
        self.call("Input.dispatchKeyEvent", type="keyUp", **named)

    def tab_to(self, selector: str) -> None:
        """Moves the focus with the tabulator key alone."""
        for _ in range(80):
            if self.value(f"document.activeElement.matches({json.dumps(selector)})"):
                return
            self.press("Tab")
        raise AssertionError(f"no way to {selector} with the keyboard")

    def size(self, width: int, height: int, *, phone: bool = False) -> None:
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=phone,
        )

    def dark(self, on: bool) -> None:
        feature = {"name": "prefers-color-scheme", "value": "dark" if on else "light"}
        self.call("Emulation.setEmulatedMedia", features=[feature])

    def picture(self, path: Path) -> None:
        """The whole page as PNG."""
        shot = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))

    def add_authenticator(self) -> None:
        """A telephone that makes and uses passkeys, and always recognises its user."""
        self.call("WebAuthn.enable")
        options = {
            "protocol": "ctap2",
            "transport": "internal",
            "hasResidentKey": True,
            "hasUserVerification": True,
            "isUserVerified": True,
            "automaticPresenceSimulation": True,
        }
        self.call("WebAuthn.addVirtualAuthenticator", options=options)


@contextmanager
def browser(directory: Path, certificate_hash: str) -> Iterator[Page]:
    """A tab of a new Chromium that finds every host below .test on this machine."""
    assert PROGRAM
    profile = directory / "profile"
    process = subprocess.Popen(
        [
            PROGRAM,
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--no-first-run",
            "--hide-scrollbars",
            "--password-store=basic",
            f"--user-data-dir={profile}",
            f"--ignore-certificate-errors-spki-list={certificate_hash}",
            "--host-resolver-rules=MAP *.test 127.0.0.1",
            "--remote-debugging-port=0",
            "about:blank",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        # Pings draw from the random module in a thread, which hypothesis lays to its strategies.
        with connect(_tab(profile, process), max_size=None, ping_interval=None) as connection:
            yield Page(connection)
    finally:
        process.terminate()
        process.wait(20)


def _tab(profile: Path, process: "subprocess.Popen[bytes]") -> str:
    """Where the DevTools of the first tab listen."""
    import httpx

    told, pause, waited = profile / "DevToolsActivePort", threading.Event(), 0.0
    while waited < START_SECONDS:
        assert process.poll() is None, "Chromium ended"
        lines = told.read_text().splitlines() if told.exists() else []
        if len(lines) == 2:
            tabs = httpx.get(f"http://127.0.0.1:{lines[0]}/json", timeout=START_SECONDS).json()
            pages = [tab["webSocketDebuggerUrl"] for tab in tabs if tab["type"] == "page"]
            if pages:
                return str(pages[0])
        pause.wait(POLL_SECONDS)
        waited += POLL_SECONDS
    raise AssertionError("Chromium did not become ready")
