"""Its pages. Who is signed in, the gateway says in a header; the application itself asks nobody."""

from collections.abc import Awaitable, Callable
from importlib.resources import files
from urllib.parse import parse_qsl

from jinja2 import Environment, FunctionLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from mvsqlite_stack.demo_app.notes import Notes

TEXT_MAX = 10_000
"""Characters of a note."""
BODY_MAX = 100_000
"""Bytes of a form: a gateway in front allows more than we want."""


def _template(name: str) -> str:
    return files("mvsqlite_stack.demo_app").joinpath("templates", name).read_text()


PAGES = Environment(loader=FunctionLoader(_template), autoescape=True, undefined=StrictUndefined)


def _page(name: str, status: int = 200, **values: object) -> Response:
    return HTMLResponse(PAGES.get_template(name).render(**values), status)


def _visitor(request: Request) -> str:
    """The name that the gateway gives."""
    return request.headers.get("x-auth-name") or request.headers.get("x-auth-user") or "somebody"


def _is_from_here(request: Request) -> bool:
    """Whether a form was sent from a page of ours; browsers say so."""
    origin = request.headers.get("origin", "")
    return origin.partition("://")[2] == request.headers.get("host")


def create(database: str) -> Starlette:
    """The application with its notes in a file."""
    notes = Notes(database)

    async def home(request: Request) -> Response:
        found = await run_in_threadpool(notes.all)
        return _page("notes.html", notes=found, visitor=_visitor(request))

    async def shared(request: Request) -> Response:
        note = await run_in_threadpool(notes.shared, request.path_params["share"])
        if note is None:
            return PlainTextResponse("There is no such note.\n", 404)
        return _page("shared.html", note=note)

    async def add(request: Request) -> None:
        fields = dict(parse_qsl((await request.body()).decode(errors="replace")))
        text = fields.get("text", "").strip()[:TEXT_MAX]
        if text:
            await run_in_threadpool(notes.add, text, _visitor(request))

    async def delete(request: Request) -> None:
        await run_in_threadpool(notes.delete, request.path_params["note"])

    async def delete_all(_: Request) -> None:
        await run_in_threadpool(notes.delete_all)

    async def share(request: Request) -> None:
        await run_in_threadpool(notes.set_shared, request.path_params["note"], True)

    async def unshare(request: Request) -> None:
        await run_in_threadpool(notes.set_shared, request.path_params["note"], False)

    return Starlette(
        routes=[
            Route("/", home),
            Route("/share/{share}", shared),
            _form("/add", add),
            _form("/delete-all", delete_all),
            _form("/notes/{note:int}/delete", delete),
            _form("/notes/{note:int}/share", share),
            _form("/notes/{note:int}/unshare", unshare),
        ]
    )


def _form(path: str, act: Callable[[Request], Awaitable[None]]) -> Route:
    """A form that does something and leads back to the list."""

    async def handle(request: Request) -> Response:
        if not _is_from_here(request):
            return PlainTextResponse("This form was sent from another site.\n", 403)
        if int(request.headers.get("content-length", BODY_MAX + 1)) > BODY_MAX:
            return PlainTextResponse("That is too long.\n", 413)
        await act(request)
        return RedirectResponse("/", 303)

    return Route(path, handle, methods=["POST"])
