"""An app asked as its gateway does, and as a stranger on the Internet does."""

import http.client
import socket
import ssl
from dataclasses import dataclass

from mvsqlite_stack.model import Stack

PATIENCE_SECONDS = 5.0
SOME_PRIVATE_PATH = "/.mvstack-doctor/private"
"""Begins with a dot, and what begins so is never public."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int | None
    """None: nothing."""
    text: str
    location: str = ""
    sign_in: str = ""
    """Where strangers are sent to."""

    @property
    def closed(self) -> bool:
        """Whether a stranger was kept out."""
        sent_away = self.status in (302, 303, 307) and self.location.startswith(f"https://{self.sign_in}/")
        return self.status == 401 or (self.sign_in != "" and sent_away)


def health(stack: Stack, app: str) -> Answer:
    """The app itself, without the gateway."""
    address, _, port = stack.upstream(app).rpartition(":")
    connection = http.client.HTTPConnection(address.strip("[]"), int(port), timeout=PATIENCE_SECONDS)
    headers = {"Host": stack.authority(stack.host_of(app)), "X-Forwarded-Proto": "https"}
    return _ask(connection, stack.apps[app].health, headers)


def as_stranger(stack: Stack, app: str, path: str) -> Answer:
    """The gateway on this machine, without a session. Its certificate is not looked at here."""
    host = stack.host_of(app)
    listen = stack.ports.listen[0].strip("[]")
    address = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(listen, listen)
    connection = _Named(host, address, stack.ports.https)
    headers = {"Host": stack.authority(host), "Accept": "text/html"}
    return _ask(connection, path, headers, stack.authority(stack.sign_in_host))


class _Named(http.client.HTTPSConnection):
    """To an address, under a host's name."""

    def __init__(self, host: str, address: str, port: int) -> None:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        super().__init__(host, port, timeout=PATIENCE_SECONDS, context=context)
        self._address, self._tls = address, context

    def connect(self) -> None:
        plain = socket.create_connection((self._address, self.port), PATIENCE_SECONDS)
        self.sock = self._tls.wrap_socket(plain, server_hostname=self.host)


def _ask(
    connection: http.client.HTTPConnection, path: str, headers: dict[str, str], sign_in: str = ""
) -> Answer:
    try:
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        location = response.getheader("Location") or ""
        return Answer(response.status, str(response.status), location, sign_in)
    except (OSError, http.client.HTTPException) as error:
        return Answer(None, f"nothing ({error})", "", sign_in)
    finally:
        connection.close()
