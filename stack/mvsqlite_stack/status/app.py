"""The application: pages, events, JSON, metrics and feed, all from memory."""

import asyncio
import contextlib
import gzip
import hashlib
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from mvsqlite_stack.status import shapes
from mvsqlite_stack.status.events import Hub, Stream
from mvsqlite_stack.status.page import Page, static_files
from mvsqlite_stack.status.settings import Settings, read
from mvsqlite_stack.status.watch import RESTART_SECONDS, Watch

log = logging.getLogger("mvsqlite_stack.status")

COMPRESSED_FROM = 500
"""Bytes; less fits into one packet as it is."""
SECURITY = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
MESSAGES = {
    404: ("There is no such page", "The address may be mistyped."),
    405: ("There is nothing to send here", "This page is only to be read."),
    500: ("Something went wrong", "It is our fault. Try again in a moment."),
}


@dataclass(frozen=True, slots=True)
class Body:
    """An answer that many get."""

    kind: str
    plain: bytes
    packed: bytes
    mark: str

    @staticmethod
    def of(kind: str, text: str | bytes) -> "Body":
        plain = text.encode() if isinstance(text, str) else text
        packed = gzip.compress(plain, 9, mtime=0) if len(plain) >= COMPRESSED_FROM else b""
        return Body(kind, plain, packed, f'W/"{hashlib.sha256(plain).hexdigest()[:20]}"')

    def answer(self, request: Request, cache: str) -> Response:
        headers = {**SECURITY, "Cache-Control": cache, "ETag": self.mark, "Vary": "Accept-Encoding"}
        if self.mark in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        body = self.plain
        if self.packed and "gzip" in request.headers.get("accept-encoding", ""):
            body, headers["Content-Encoding"] = self.packed, "gzip"
        headers["Content-Type"] = self.kind
        return Response(body, headers=headers)


class Service:
    """The watch, and what is told of it. Each answer is made once for each change, not for each visitor."""

    def __init__(self, settings: Settings, watch: Watch | None = None) -> None:
        self.settings = settings
        self.watch = watch or Watch(settings)
        self.hub = Hub(settings.listeners)
        self._page = Page(settings)
        self._bodies: dict[str, Body] = {}
        self._told: object = None
        self.static = {name: Body.of(kind, data) for name, (kind, data) in static_files().items()}
        self.watch.board.on_change = self._changed
        self.watch.on_round = self._checked
        self._changed()

    # ---- news ---------------------------------------------------------------------------

    def _changed(self) -> None:
        self._bodies.clear()
        picture = self.watch.board.picture(self.watch.now)
        parts = {one.part.id: "maintenance" if one.maintenance else one.state for one in picture.parts}
        told = {"state": picture.state, "words": picture.words(), "history": picture.history, "parts": parts}
        incidents = [(one.id, one.ends, one.notes, one.title) for one in picture.incidents]
        if self._told != (told, incidents):
            self._told = (told, incidents)
            self.hub.send("status", {"at": shapes.moment(picture.at), **told})

    def _checked(self) -> None:
        self._changed()
        self.hub.send("checked", {"at": shapes.moment(self.watch.now)}, keep=False)

    # ---- answers ------------------------------------------------------------------------

    def _made(self, name: str, kind: str, make: Callable[[], str]) -> Body:
        if name not in self._bodies:
            self._bodies[name] = Body.of(kind, make())
        return self._bodies[name]

    async def index(self, request: Request) -> Response:
        board, now = self.watch.board, self.watch.now
        body = self._made(
            "index", "text/html; charset=utf-8", lambda: self._page.index(board.picture(now), self.hub.newest)
        )
        return body.answer(request, "no-cache")

    async def as_json(self, request: Request) -> Response:
        board, now = self.watch.board, self.watch.now
        told = lambda: json.dumps(shapes.as_json(board.picture(now), self.settings.title))  # noqa: E731
        answer = self._made("json", "application/json", told).answer(request, "no-cache")
        answer.headers["Access-Control-Allow-Origin"] = "*"
        return answer

    async def metrics(self, request: Request) -> Response:
        picture = self.watch.board.picture(self.watch.now)
        text = shapes.as_metrics(picture, len(self.hub))
        return Body.of("text/plain; version=0.0.4; charset=utf-8", text).answer(request, "no-store")

    async def feed(self, request: Request) -> Response:
        board, now = self.watch.board, self.watch.now
        body = self._made(
            "feed", "application/atom+xml", lambda: shapes.as_feed(board.picture(now), self.settings)
        )
        return body.answer(request, "no-cache")

    async def healthz(self, request: Request) -> Response:
        del request
        alive = self.watch.alive
        return Response("ok\n" if alive else "not checking\n", 200 if alive else 503, SECURITY)

    async def events(self, request: Request) -> Response | ASGIApp:
        listener = self.hub.join(request.headers.get("last-event-id"))
        if listener is None:
            return Response("too many listeners\n", 503, {**SECURITY, "Retry-After": "30"})
        headers = [(name.lower().encode(), value.encode()) for name, value in SECURITY.items()]
        return Stream(self.hub, listener, headers)

    async def file(self, request: Request) -> Response:
        body = self.static.get(request.path_params["name"])
        if body is None:
            raise HTTPException(404)
        return body.answer(request, "public, max-age=31536000, immutable")

    async def failed(self, request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        title, text = MESSAGES.get(status, MESSAGES[500])
        body = b"" if request.method == "HEAD" else self._page.plain(title, text).encode()
        return Response(body, status, SECURITY, "text/html")

    # ---- life ---------------------------------------------------------------------------

    async def run(self) -> None:
        """The watch, begun again if it ends by an error that nobody thought of."""
        while True:
            try:
                await self.watch.run()
            except Exception:
                log.exception("the watch ended; it is begun again")
            await asyncio.sleep(RESTART_SECONDS)

    @contextlib.asynccontextmanager
    async def lifespan(self, app: Starlette) -> AsyncIterator[None]:
        del app
        task = asyncio.create_task(self.run())
        try:
            yield
        finally:
            self.hub.close()
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            await self.watch.close()


Endpoint = Callable[[Request], Awaitable[Response | ASGIApp]]


def create(settings: Settings | None = None, service: Service | None = None) -> Starlette:
    """The application; settings: None for those of the file that ``MVSTACK_STATUS`` names."""
    service = service or Service(settings or read())
    paths: dict[str, Endpoint] = {
        "/": service.index,
        "/status.json": service.as_json,
        "/metrics": service.metrics,
        "/incidents.atom": service.feed,
        "/healthz": service.healthz,
        "/events": service.events,
        "/static/{name}": service.file,
    }
    app = Starlette(
        routes=[Route(path, endpoint, methods=["GET"]) for path, endpoint in paths.items()],
        exception_handlers={HTTPException: service.failed, Exception: service.failed},
        lifespan=service.lifespan,
    )
    app.state.service = service
    return app
