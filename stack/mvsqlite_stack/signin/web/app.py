"""The application: which path leads where, and what happens when something goes wrong."""

import hashlib
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from mvsqlite_stack.signin.limits import TooManyError
from mvsqlite_stack.signin.service import Service
from mvsqlite_stack.signin.settings import Settings, read
from mvsqlite_stack.signin.web import account, invitation, machine, sign_in
from mvsqlite_stack.signin.web.agents import agent_words
from mvsqlite_stack.signin.web.visit import RefusedError, Visit, form_of, secured

HERE = Path(__file__).parent
STATIC = {path.name: path for path in sorted((HERE / "static").iterdir())}
KINDS = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}

Handler = Callable[[Visit], Response]
Endpoint = Callable[[Request], Awaitable[Response]]

GET: dict[str, Handler] = {
    "/": sign_in.home,
    "/second": sign_in.second_page,
    "/recovery": sign_in.second_page,
    "/sign-out": sign_in.sign_out_page,
    "/signed-out": sign_in.signed_out_page,
    "/denied": sign_in.denied_page,
    "/account": account.account_page,
    "/account/password": account.password_page,
    "/account/app": account.app_page,
    "/account/recovery-codes": account.codes_page,
    "/account/passkeys": account.passkeys_page,
    "/confirm": account.confirm_page,
    "/invitation": invitation.invitation_page,
}
POST: dict[str, Handler] = {
    "/sign-in": sign_in.sign_in,
    "/second": sign_in.second,
    "/recovery": sign_in.second,
    "/passkey": sign_in.passkey,
    "/passkey/options": sign_in.passkey_options,
    "/sign-out": sign_in.sign_out,
    "/confirm": account.confirm,
    "/invitation": invitation.accept,
    "/account/sessions": account.end_session,
    "/account/password": account.password,
    "/account/app": account.add_app,
    "/account/app/remove": account.remove_app,
    "/account/recovery-codes": account.new_codes,
    "/account/passkeys": account.add_passkey,
    "/account/passkeys/options": account.passkey_add_options,
    "/account/passkeys/remove": account.remove_passkey,
}
MACHINES: dict[str, Callable[[Request, Service], Response]] = {
    "/verify": machine.verify,
    "/.well-known/jwks.json": machine.jwks,
    "/healthz": machine.healthz,
}
ANY_METHOD = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
"""Some gateways ask with the method of the request they ask about."""

log = logging.getLogger("mvsqlite_stack.signin")


def _pages() -> Environment:
    pages = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    marks = {name: hashlib.sha256(path.read_bytes()).hexdigest()[:12] for name, path in STATIC.items()}
    pages.globals["static"] = lambda name: f"/static/{name}?{marks[name]}"
    pages.filters.update(age=account.age, date=account.date, agent=agent_words)
    return pages


class Pages:
    """Runs handlers for requests to the sign-in host."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.environment = _pages()

    def endpoint(self, path: str) -> Endpoint:
        """What answers at a path: pages for GET, forms for POST."""

        async def answer(request: Request) -> Response:
            visit = Visit(request, self.service, self.environment, {})
            try:
                self._demand_own_host(request)
                if request.method == "POST":
                    visit.form = await form_of(request)
                return await run_in_threadpool(self._handled, visit, path)
            except RefusedError as refused:
                page = await run_in_threadpool(_message, visit, refused)
                return visit.finished(page)

        return answer

    def _demand_own_host(self, request: Request) -> None:
        host = request.headers.get("host", "").lower()
        if host not in (self.service.settings.sign_in_host, self.service.settings.origin.split("/")[2]):
            raise RefusedError(421, "There is nothing here", "This is not the address of the sign-in page.")

    def _handled(self, visit: Visit, path: str) -> Response:
        if visit.request.method == "POST":
            visit.demand_own_form()
            handler = POST[path]
        else:
            handler = GET[path]
        try:
            return visit.finished(handler(visit))
        except TooManyError as refused:
            minutes = -(-refused.seconds // 60)
            page = visit.page(
                "message.html",
                429,
                title="Too many tries",
                text=f"Try again in {minutes} minute{'s' if minutes > 1 else ''}.",
            )
            page.headers["Retry-After"] = str(refused.seconds)
            return visit.finished(page)

    async def failed(self, request: Request, error: Exception) -> Response:
        """The page for a path that is not there, and for our own failures."""
        status = error.status_code if isinstance(error, HTTPException) else 500
        title, text = MESSAGES.get(status, MESSAGES[500])
        template = self.environment.get_template("plain.html")
        body = template.render(title=title, text=text, settings=self.service.settings)
        headers = dict(error.headers or {}) if isinstance(error, HTTPException) else {}
        if request.method == "HEAD":
            body = ""
        return secured(Response(body, status, headers, "text/html"), [])


MESSAGES = {
    404: ("There is no such page", "The address may be mistyped."),
    405: ("This is not how to use this page", "Nothing was done."),
    500: ("Something went wrong", "It is our fault. Try again in a moment."),
}


def _message(visit: Visit, refused: RefusedError) -> Response:
    return visit.page("message.html", refused.status, title=refused.title, text=refused.text)


def _machine(work: Callable[[Request, Service], Response], service: Service) -> Endpoint:
    async def answer(request: Request) -> Response:
        return secured(await run_in_threadpool(work, request, service), [])

    return answer


async def _static(request: Request) -> Response:
    path = STATIC.get(request.path_params["name"])
    if path is None:
        raise HTTPException(404)
    headers = {"Cache-Control": "public, max-age=31536000, immutable"}
    return secured(FileResponse(path, headers=headers, media_type=KINDS[path.suffix]), [])


def create(settings: Settings | None = None) -> Starlette:
    """The application; settings: None for those of the file that ``MVSTACK_SIGNIN`` names."""
    service = Service(settings or read())
    service.keys.ring()
    pages = Pages(service)
    routes = []
    for path in sorted(GET.keys() | POST.keys()):
        methods = [method for method, there in (("GET", GET), ("POST", POST)) if path in there]
        routes.append(Route(path, pages.endpoint(path), methods=methods))
    routes += [Route(path, _machine(work, service), methods=ANY_METHOD) for path, work in MACHINES.items()]
    routes.append(Route("/static/{name}", _static))
    return Starlette(
        routes=routes,
        exception_handlers={HTTPException: pages.failed, Exception: pages.failed},
    )
