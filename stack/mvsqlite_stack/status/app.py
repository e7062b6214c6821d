"""The application: pages, events, JSON, metrics and feed, all from memory."""

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from mvsqlite_stack.status import shapes
from mvsqlite_stack.status.board import Picture
from mvsqlite_stack.status.bodies import SECURITY, Body, encoded
from mvsqlite_stack.status.events import Hub, Stream
from mvsqlite_stack.status.page import Page, static_files
from mvsqlite_stack.status.settings import Settings, read
from mvsqlite_stack.status.watch import RESTART_SECONDS, Watch

log = logging.getLogger("mvsqlite_stack.status")

MESSAGES = {
    404: ("There is no such page", "The address may be mistyped."),
    405: ("There is nothing to send here", "This page is only to be read."),
    500: ("Something went wrong", "It is our fault. Try again in a moment."),
}


class Service:
    """The watch, and what is told of it. Each answer is made once for each change, not for each visitor."""

    def __init__(self, settings: Settings, watch: Watch | None = None) -> None:
        self.settings = settings
        self.watch = watch or Watch(settings)
        self.hub = Hub(settings.listeners)
        self._page = Page(settings)
        self._bodies: dict[str, Body] = {}
        self._told: object = None
        self._makers = {
            "/": self._index,
            "/status.json": self._json,
            "/metrics": self._metrics,
            "/incidents.atom": self._feed,
        }
        cache = "public, max-age=31536000, immutable"
        files = static_files().items()
        self.static = {f"/static/{name}": Body.of(kind, data, cache) for name, (kind, data) in files}
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

    def ready(self, path: str) -> Body | None:
        """The answer at a path that is the same for all visitors."""
        if path in self._bodies:
            return self._bodies[path]
        if path not in self._makers:
            return self.static.get(path)
        made = self._bodies[path] = self._makers[path](self.watch.board.picture(self.watch.now))
        return made

    def _index(self, picture: Picture) -> Body:
        return Body.of("text/html; charset=utf-8", self._page.index(picture, self.hub.newest))

    def _json(self, picture: Picture) -> Body:
        told = json.dumps(shapes.as_json(picture, self.settings.title))
        return Body.of("application/json", told, Access_Control_Allow_Origin="*")

    def _metrics(self, picture: Picture) -> Body:
        text = shapes.as_metrics(picture, len(self.hub))
        return Body.of("text/plain; version=0.0.4; charset=utf-8", text)

    def _feed(self, picture: Picture) -> Body:
        return Body.of("application/atom+xml", shapes.as_feed(picture, self.settings))

    async def healthz(self, request: Request) -> Response:
        del request
        alive = self.watch.alive
        return Response("ok\n" if alive else "not checking\n", 200 if alive else 503, SECURITY)

    async def events(self, request: Request) -> Response | ASGIApp:
        # The gateway says who it is; nobody else reaches this service.
        address = request.headers.get("x-real-ip", "")
        listener = self.hub.join(request.headers.get("last-event-id"), address)
        if listener is None:
            return Response("too many listeners\n", 503, {**SECURITY, "Retry-After": "30"})
        return Stream(self.hub, listener, encoded(SECURITY))

    async def only_read(self, request: Request) -> Response:
        """Reading was answered before it came here."""
        return await self.failed(request, HTTPException(405))

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


class Front:
    """Sends what is ready, and passes all else on."""

    def __init__(self, app: Starlette, service: Service) -> None:
        self._app, self._service = app, service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] in ("GET", "HEAD"):
            try:
                body = self._service.ready(scope["path"])
            except Exception as error:
                log.exception("%s cannot be made", scope["path"])
                answer = await self._service.failed(Request(scope), error)
                await answer(scope, receive, send)
                return
            if body is not None:
                await body.send(scope, send)
                return
        await self._app(scope, receive, send)


def create(settings: Settings | None = None, service: Service | None = None) -> Front:
    """The application; settings: None for those of the file that ``MVSTACK_STATUS`` names."""
    service = service or Service(settings or read())
    paths: dict[str, Endpoint] = {"/healthz": service.healthz, "/events": service.events}
    paths |= dict.fromkeys(("/", "/status.json", "/metrics", "/incidents.atom"), service.only_read)
    app = Starlette(
        routes=[Route(path, endpoint, methods=["GET"]) for path, endpoint in paths.items()],
        exception_handlers={HTTPException: service.failed, Exception: service.failed},
        lifespan=service.lifespan,
    )
    return Front(app, service)
