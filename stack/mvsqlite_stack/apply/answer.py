"""Asks a gateway for a page, on its own host, until an answer comes.

``python -m mvsqlite_stack.apply.answer ADDRESS PORT HOST SECONDS``. Which authority has signed the
certificate is not asked: that is for visitors' browsers to know.
"""

import http.client
import socket
import ssl
import sys
import threading
import time

PAUSE_SECONDS = 0.2


def ask(address: str, port: int, host: str) -> str | None:
    """What is wrong with the answer for a host; None: nothing."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with (
            socket.create_connection((address, port), 5) as plain,
            context.wrap_socket(plain, server_hostname=host) as connection,
        ):
            name = host if port == 443 else f"{host}:{port}"
            connection.sendall(f"GET / HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode())
            response = http.client.HTTPResponse(connection)
            response.begin()
            return None if response.status == 200 else f"the answer is {response.status} {response.reason}"
    except (OSError, http.client.HTTPException) as error:
        return str(error)


def main(address: str, port: str, host: str, seconds: str) -> None:
    deadline, pause = time.monotonic() + float(seconds), threading.Event()
    while (wrong := ask(address, int(port), host)) is not None:
        if time.monotonic() > deadline:
            sys.exit(f"https://{host}/ does not answer: {wrong}")
        pause.wait(PAUSE_SECONDS)


if __name__ == "__main__":
    main(*sys.argv[1:])
