"""An app that tells what it got, and echoes what comes through a WebSocket."""

import base64
import hashlib
import http.client
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from exchange import Seen

http.client._MAXHEADERS = 5000  # type: ignore[attr-defined]  # real apps take more than a hundred
WEBSOCKET = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Echo(ThreadingHTTPServer):
    """Serves on loopback; ``seen`` has the requests that came, of all apps of a list."""

    daemon_threads = True

    def __init__(self, app: str, port: int, seen: list[Seen]) -> None:
        self.app, self.seen = app, seen
        super().__init__(("127.0.0.1", port), Handler)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 30
    server: Echo

    def log_message(self, *_: object) -> None:
        """Says nothing."""

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except (ConnectionError, TimeoutError):
            self.close_connection = True

    def body(self) -> int:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            size = 0
            while length := int(self.rfile.readline().split(b";")[0], 16):
                size += len(self.rfile.read(length))
                self.rfile.readline()
            self.rfile.readline()
            return size
        return len(self.rfile.read(int(self.headers.get("Content-Length", "0"))))

    def note(self) -> Seen:
        """Before the body comes: what reached the app must be known even if the rest never does."""
        begun = Seen(self.server.app, self.command, self.path, tuple(self.headers.items()), 0)
        self.server.seen.append(begun)
        size = self.body()
        whole = replace(begun, size=size)
        self.server.seen[-1 - self.server.seen[::-1].index(begun)] = whole
        return whole

    def answer(self) -> None:
        seen = self.note()
        if self.headers.get("Upgrade", "").lower() == "websocket":
            self.echo_frames()
            return
        body = json.dumps({"app": seen.app, "target": seen.target, "size": seen.size}).encode()
        self.send_response(401 if self.path.startswith("/own-401") else 200)
        if self.path.startswith("/share/accel"):
            self.send_header("X-Accel-Redirect", "/notes/1")
        if self.path.startswith("/framed"):
            self.send_header("X-Frame-Options", "DENY")
        self.send_header("Set-Cookie", "own=1; Path=/")
        self.send_header("X-Powered-By", "echo/1.0")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = do_HEAD = answer

    def echo_frames(self) -> None:
        key = self.headers.get("Sec-WebSocket-Key", "").encode()
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        accept = base64.b64encode(hashlib.sha1(key + WEBSOCKET, usedforsecurity=False).digest()).decode()
        self.send_header("Sec-WebSocket-Accept", accept)
        self.end_headers()
        while data := self.connection.recv(4096):
            self.connection.sendall(data)
        self.close_connection = True


@contextmanager
def serving(ports: dict[str, int]) -> Iterator[list[Seen]]:
    """One app at each port; gives the list of what they see."""
    seen: list[Seen] = []
    servers = [Echo(app, port, seen) for app, port in ports.items()]
    threads = [threading.Thread(target=one.serve_forever, args=(0.05,), daemon=True) for one in servers]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        for one in servers:
            one.shutdown()
            one.server_close()
        for thread in threads:
            thread.join(10)
