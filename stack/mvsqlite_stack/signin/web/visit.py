"""One request and its answer: forms, cookies, protection against forged requests, headers."""

import ipaddress
import time
from functools import cached_property
from typing import Any
from urllib.parse import parse_qsl

from jinja2 import Environment
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from mvsqlite_stack.signin import redirects
from mvsqlite_stack.signin.accounts import User
from mvsqlite_stack.signin.activity import Session, Visitor
from mvsqlite_stack.signin.secret import token
from mvsqlite_stack.signin.service import Service
from mvsqlite_stack.signin.settings import Settings

SESSION = "__Host-session"
FORM = "__Host-form"
"""A random value that the forms of this browser are bound to."""
DEVICE = "__Host-device"
"""Says that this browser has signed in to an account before."""
ROUND = "__Host-round"
"""Counts how often a browser comes back from the same place at once."""
FORM_BYTES_MAX = 64 * 1024
FIELDS_MAX = 40
YEAR = 365 * 86400

HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "publickey-credentials-get=(self), publickey-credentials-create=(self), "
    "camera=(), geolocation=(), microphone=()",
    # Not no-referrer: browsers would then send "Origin: null" with our own forms.
    "Referrer-Policy": "same-origin",
    "Strict-Transport-Security": "max-age=31536000; includeSubDomains",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class RefusedError(Exception):
    """The request is answered with a page that says why."""

    def __init__(self, status: int, title: str, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.title = title
        self.text = text


def policy(form_hosts: list[str]) -> str:
    """The Content-Security-Policy; form_hosts: where answers to forms may lead besides this host."""
    targets = " ".join(["'self'", *(f"https://{host}" for host in form_hosts)])
    return (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        f"form-action {targets}; "
        "base-uri 'none'; frame-ancestors 'none'"
    )


def secured(response: Response, form_hosts: list[str]) -> Response:
    """The response with the headers that every answer has."""
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    response.headers.setdefault("Content-Security-Policy", policy(form_hosts))
    return response


async def form_of(request: Request) -> dict[str, str]:
    """The fields of a form. Raises RefusedError if it is too large or of another kind."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise RefusedError(415, "This form was not understood", "It was not sent by one of these pages.")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > FORM_BYTES_MAX:
            raise RefusedError(413, "This form is too large", "Nothing was done.")
    try:
        return dict(
            parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=FIELDS_MAX, errors="strict")
        )
    except ValueError as error:
        raise RefusedError(400, "This form was not understood", "Nothing was done.") from error


def address_of(request: Request, proxies: tuple[str, ...]) -> str:
    """The visitor's address: the last one that no trusted proxy stands for."""
    peer = request.client.host if request.client else ""
    if peer and peer not in proxies:
        return peer
    named = ",".join(request.headers.getlist("x-forwarded-for")).split(",")
    for one in reversed(named):
        address = one.strip()
        if address in proxies:
            continue
        try:
            return str(ipaddress.ip_address(address))
        except ValueError:
            break
    return peer or "unknown"


class Visit:
    """A request, and what the handlers need for it."""

    def __init__(self, request: Request, service: Service, pages: Environment, form: dict[str, str]) -> None:
        self.request = request
        self.service = service
        self.form = form
        self._pages = pages
        self._cookies: list[tuple[str, str, int | None, str | None]] = []
        agent = request.headers.get("user-agent", "")
        self.visitor = Visitor(address_of(request, service.settings.proxies), agent)

    @property
    def settings(self) -> Settings:
        return self.service.settings

    # ---- who it is ----

    @cached_property
    def living(self) -> tuple[Session, User] | None:
        """Session and user, if the browser has a session."""
        return self.service.living(self.request.cookies.get(SESSION))

    @property
    def session(self) -> Session:
        assert self.living
        return self.living[0]

    @property
    def user(self) -> User:
        assert self.living
        return self.living[1]

    def is_recent(self) -> bool:
        """Whether the visitor has proved who they are a short while ago."""
        return time.time() < self.session.proved + self.settings.lifetimes.recent

    def device_of(self, user: User | None) -> str | None:
        """The name of this browser, if it has signed in to the account before."""
        parts = self.request.cookies.get(DEVICE, "").split(".")
        if user is None or len(parts) != 3:
            return None
        owner, name, signature = parts
        known = owner == user.id and self.service.secret.is_signed("device", f"{owner}.{name}", signature)
        return name if known else None

    # ---- where to ----

    @cached_property
    def asked(self) -> str:
        """Where the visitor wants to go, as given."""
        return self.form.get("to", self.request.query_params.get("to", ""))

    @cached_property
    def to(self) -> str | None:
        """Where the visitor wants to go, if that is an app."""
        return redirects.checked(self.asked, self.settings) if self.asked else None

    def form_hosts(self) -> list[str]:
        """Where answers to this page's forms may lead. Chromium holds redirects to form-action too."""
        return [self.to.split("/")[2]] if self.to else []

    # ---- cookies ----

    def set_cookie(self, name: str, value: str, seconds: int | None = None) -> None:
        """A cookie of the sign-in host; seconds: None for as long as the browser runs."""
        self._cookies.append((name, value, seconds, None))

    def drop_cookie(self, name: str) -> None:
        self._cookies.append((name, "", 0, None))

    def set_token(self, text: str) -> None:
        """The token's cookie, for all hosts of the domain."""
        seconds = self.settings.lifetimes.token if text else 0
        self._cookies.append((self.settings.cookie, text, seconds, self.settings.domain))

    # ---- forms ----

    @cached_property
    def _nonce(self) -> str:
        given = self.request.cookies.get(FORM, "")
        if 20 <= len(given) <= 64 and given.isascii():
            return given
        return self.new_form_nonce()

    def new_form_nonce(self) -> str:
        """Makes all forms that this browser has been shown invalid."""
        nonce = token(24)
        self.set_cookie(FORM, nonce)
        self.__dict__["_nonce"] = nonce
        return nonce

    def _form_text(self) -> str:
        return f"{self._nonce}.{self.living[0].id if self.living else ''}"

    @property
    def form_token(self) -> str:
        """What a form carries to show that this browser was given it, in this session."""
        return self.service.secret.sign("form", self._form_text())

    def demand_own_form(self) -> None:
        """Raises RefusedError unless the form is one that we gave this browser."""
        if self.request.headers.get("origin") != self.settings.origin:
            raise RefusedError(403, "This form came from elsewhere", "Nothing was done.")
        if not self.service.secret.is_signed("form", self._form_text(), self.form.get("form", "")):
            raise RefusedError(
                403, "This form is out of date", "Nothing was done. Go back, reload the page and try again."
            )

    # ---- answers ----

    def page(self, template: str, status: int = 200, **context: Any) -> Response:
        """A page; every template knows form_token, to, settings, user."""
        common = {
            "form_token": self.form_token,
            "to": self.to or "",
            "settings": self.settings,
            "user": self.living[1] if self.living else None,
            "now": time.time(),
        }
        return HTMLResponse(self._pages.get_template(template).render({**common, **context}), status)

    def json(self, value: Any, status: int = 200) -> Response:
        return JSONResponse(value, status)

    def go(self, address: str) -> Response:
        """Sends the browser on, by GET."""
        return RedirectResponse(address, 303)

    def finished(self, response: Response) -> Response:
        """The response with its cookies and the headers that every answer has."""
        for name, value, seconds, domain in self._cookies:
            response.set_cookie(
                name, value, max_age=seconds, domain=domain, secure=True, httponly=True, samesite="lax"
            )
        return secured(response, self.form_hosts())
