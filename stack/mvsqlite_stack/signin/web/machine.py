"""Answers for programs: gateways, monitoring, whoever checks tokens."""

import time
from urllib.parse import quote

import apsw
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from mvsqlite_stack.signin import tokens
from mvsqlite_stack.signin.keys import SigningKeyError
from mvsqlite_stack.signin.service import Service
from mvsqlite_stack.signin.settings import App

IDENTITY = ("X-Auth-User", "X-Auth-Name", "X-Auth-Groups")
"""The headers that tell an app who its visitor is. Gateways take them away from clients' requests."""
COOKIES_MAX = 8
"""Cookies of the token's name that are looked at: a sibling host may have set some beside ours."""


def _asked_app(request: Request, service: Service) -> tuple[str, App] | None:
    """The app that the visitor asked for, as the gateway says; None if it names none, or two."""
    hosts = request.headers.getlist(service.settings.host_header)
    return service.settings.app_at(hosts[0]) if len(hosts) == 1 else None


def cookies_named(request: Request, name: str) -> list[str]:
    """All values of a cookie, in the order in which the browser sent them."""
    pairs = ";".join(request.headers.getlist("cookie")).split(";")
    split = (pair.strip().partition("=") for pair in pairs)
    return [value for key, _, value in split if key == name]


def _believed(request: Request, service: Service, now: float) -> tokens.Token | None:
    """The token of the request, if exactly one user's is among its cookies.

    A sibling host can set a cookie of the same name beside ours, but make no token. If it has another
    user's, we cannot tell which of the two the visitor means, and believe neither.
    """
    values = cookies_named(request, service.settings.cookie)
    found = []
    for value in values[:COOKIES_MAX]:
        try:
            found.append(tokens.check(service.keys, value, now))
        except tokens.TokenError:
            continue
    if not found or len(values) > COOKIES_MAX or len({one.user for one in found}) > 1:
        return None
    return max(found, key=lambda one: one.expires)


def verify(request: Request, service: Service) -> Response:
    """Answers a gateway whether the request it has may pass."""
    asked = _asked_app(request, service)
    if asked is None:
        return JSONResponse({"error": "no such app"}, 403)
    name, app = asked
    if app.public:
        return Response(status_code=204)
    now = time.time()
    token = _believed(request, service, now)
    living = service.of_token(token) if token else None
    if token is None or living is None:
        return _unknown(request, service)
    session, user = living
    if name not in token.apps or not service.settings.may_enter(user.name, app):
        return JSONResponse({"error": "not allowed"}, 403)
    values = (user.name, quote(user.shown, safe=" "), ",".join(service.settings.groups_of(user.name)))
    response = Response(status_code=204, headers=dict(zip(IDENTITY, values, strict=True)))
    if token.is_half_over(now):
        service.sessions.note_use(session, user)
        _renew(response, service, service.token(user, session.id))
    return response


def _renew(response: Response, service: Service, token: str) -> None:
    response.set_cookie(
        service.settings.cookie,
        token,
        max_age=service.settings.lifetimes.token,
        domain=service.settings.domain,
        secure=True,
        httponly=True,
        samesite="lax",
    )


def _unknown(request: Request, service: Service) -> Response:
    """401; or, where the gateway passes our answer on, the way to the sign-in page for a browser."""
    if service.settings.host_header.lower() == "x-forwarded-host":
        method = request.headers.get("x-forwarded-method", "")
        if method == "GET" and "text/html" in request.headers.get("accept", ""):
            host = request.headers[service.settings.host_header]
            here = f"https://{host}{request.headers.get('x-forwarded-uri', '/')}"
            where = f"{service.settings.origin}/?to={quote(here, safe='')}"
            return Response(status_code=302, headers={"Location": where})
    return JSONResponse({"error": "sign in", "at": f"{service.settings.origin}/"}, 401)


def jwks(_: Request, service: Service) -> Response:
    """The public keys."""
    keys = [key.public_jwk for key in service.keys.ring().keys.values()]
    return JSONResponse({"keys": keys}, headers={"Cache-Control": "public, max-age=60"})


def healthz(_: Request, service: Service) -> Response:
    """Whether the service can do its work: read both databases, sign."""
    try:
        for database in (service.databases.accounts, service.databases.activity):
            database.read(lambda db: db.execute("SELECT count(*) FROM sqlite_schema").get)
        service.keys.ring()
    except (apsw.Error, OSError, SigningKeyError):
        return JSONResponse({"status": "failing"}, 503)
    return JSONResponse({"status": "ok"})
