"""Whether a part answers: asked at its own port, and through the gateway as a visitor would."""

import contextlib
import http.client
import socket
import ssl
from pathlib import Path

from mvsqlite_stack.up.programs import Program

TIMEOUT_SECONDS = 5.0


def answers(program: Program) -> bool:
    """Whether a program answers with anything but an error of its own."""
    if not program.health:
        with (
            contextlib.suppress(OSError),
            socket.create_connection(("127.0.0.1", program.port), TIMEOUT_SECONDS),
        ):
            return True
        return False
    connection = http.client.HTTPConnection("127.0.0.1", program.port, timeout=TIMEOUT_SECONDS)
    with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException):
        connection.request("GET", program.health)
        return connection.getresponse().status < 500
    return False


def visit(host: str, port: int, authority: Path, path: str = "/") -> int:
    """The status with which the gateway answers a visitor; 0 if it does not, or is not certified."""
    context = ssl.create_default_context(cafile=authority)
    with contextlib.suppress(OSError, http.client.HTTPException):
        plain = socket.create_connection(("127.0.0.1", port), TIMEOUT_SECONDS)
        with context.wrap_socket(plain, server_hostname=host) as connection:
            request = f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n"
            connection.sendall(request.encode())
            response = http.client.HTTPResponse(connection)
            response.begin()
            return response.status
    return 0
