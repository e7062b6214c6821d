"""What a signed-in user sees and changes: apps, sessions, password, second factors."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from starlette.responses import Response

from mvsqlite_stack.signin.activity import Session
from mvsqlite_stack.signin.factors import CodeError
from mvsqlite_stack.signin.passkeys import PasskeyError
from mvsqlite_stack.signin.passwords import PasswordError
from mvsqlite_stack.signin.secret import SecretError
from mvsqlite_stack.signin.web.agents import agent_words
from mvsqlite_stack.signin.web.sign_in import PASSKEY, PASSKEY_SECONDS, forget, with_passkey
from mvsqlite_stack.signin.web.visit import RefusedError, Visit

Handler = Callable[[Visit], Response]

EVENTS_SHOWN = 15
APP = "__Host-app"
"""Leads back to the authenticator app that is being added."""
NEXT = ("/account", "/account/password", "/account/app", "/account/passkeys", "/account/recovery-codes")
"""Where a visitor may be sent after confirming who they are."""


def signed_in_only(handler: Handler) -> Handler:
    """Sends a browser without a session to the sign-in page."""

    def run(visit: Visit) -> Response:
        return handler(visit) if visit.living else visit.go("/")

    return run


def recently_proved_only(handler: Handler) -> Handler:
    """Has the visitor prove who they are, unless they have a short while ago."""

    def run(visit: Visit) -> Response:
        if visit.is_recent():
            return handler(visit)
        path = visit.request.url.path
        return visit.go(f"/confirm?next={path if path in NEXT else '/account'}")

    return signed_in_only(run)


@dataclass(frozen=True, slots=True)
class ShownSession:
    """A session as the account page shows it."""

    id: str
    what: str
    address: str
    methods: str
    created: float
    seen: float
    is_this: bool


def _shown(session: Session, this: Session) -> ShownSession:
    return ShownSession(
        session.id,
        agent_words(session.agent),
        session.address,
        session.methods,
        session.created,
        session.seen,
        session.id == this.id,
    )


@signed_in_only
def account_page(visit: Visit) -> Response:
    return _account(visit, 200, None)


def _account(visit: Visit, status: int, error: str | None) -> Response:
    service, user = visit.service, visit.user
    apps = [(app, visit.settings.apps[app]) for app in visit.settings.apps_of(user.name)]
    return visit.page(
        "account.html",
        status,
        error=error,
        done=DONE.get(visit.request.query_params.get("done", "")),
        apps=[(app.title or name, f"https://{visit.settings.authority(app.host)}/") for name, app in apps],
        sessions=[_shown(one, visit.session) for one in service.sessions.of(user)],
        has_totp=service.factors.has_totp(user),
        passkeys=service.passkeys.of(user),
        codes_left=service.factors.recovery_codes_left(user),
        events=service.events.last(EVENTS_SHOWN, user),
    )


DONE = {
    "password": "Your password is changed. Your other sessions are ended.",
    "app-removed": "The authenticator app is removed.",
    "passkey-removed": "The passkey is removed.",
    "passkey": "The passkey is added.",
    "ended": "The session is ended.",
    "ended-others": "All other sessions are ended.",
}


@signed_in_only
def end_session(visit: Visit) -> Response:
    """Ends one of the user's sessions, or all but this."""
    user, id = visit.user, visit.form.get("session", "")
    others = "others" in visit.form
    if others:
        visit.service.sessions.revoke(user, user.name, but=visit.session.id)
    elif id:
        visit.service.sessions.revoke(user, user.name, only=id)
    visit.service.events.add("sessions ended" if others else "session ended", user, user.name, visit.visitor)
    if id == visit.session.id and not others:
        forget(visit)
        return visit.go("/signed-out")
    return visit.go(f"/account?done={'ended-others' if others else 'ended'}")


# ---- confirming ----


@signed_in_only
def confirm_page(visit: Visit) -> Response:
    return _confirm_page(visit, 200, None)


def _next(visit: Visit) -> str:
    asked = visit.form.get("next", visit.request.query_params.get("next", ""))
    return asked if asked in NEXT else NEXT[0]


def _confirm_page(visit: Visit, status: int, error: str | None) -> Response:
    has_passkey = bool(visit.service.passkeys.of(visit.user))
    has_password = visit.user.password is not None
    return visit.page(
        "confirm.html",
        status,
        error=error,
        next=_next(visit),
        has_passkey=has_passkey,
        has_password=has_password,
    )


@signed_in_only
def confirm(visit: Visit) -> Response:
    """Takes the password, or a passkey's answer, once more."""
    user = visit.user
    tried = visit.service.begin_try("password", user.name, visit.visitor, visit.device_of(user))
    error = None
    if visit.form.get("answer"):
        try:
            if with_passkey(visit).id != user.id:
                error = "That is somebody else's passkey."
        except PasskeyError as refused:
            error = str(refused)
    elif not visit.service.passwords.is_right(user.password, visit.form.get("password", "")):
        error = "The password is not right."
    if error:
        visit.service.events.add("not confirmed", user, user.name, visit.visitor)
        return _confirm_page(visit, 403, error)
    visit.service.limits.forgive(tried)
    visit.service.sessions.note_proof(visit.session, user)
    return visit.go(_next(visit))


# ---- password ----


@recently_proved_only
def password_page(visit: Visit) -> Response:
    return visit.page("password.html")


@recently_proved_only
def password(visit: Visit) -> Response:
    """Sets a new password and ends all other sessions."""
    user, new = visit.user, visit.form.get("new", "")
    if new != visit.form.get("again", ""):
        return visit.page("password.html", 422, error="The two are not the same.")
    try:
        visit.service.accounts.set_password(user, new, user.name)
    except PasswordError as error:
        return visit.page("password.html", 422, error=str(error))
    visit.service.sessions.revoke(user, user.name, but=visit.session.id)
    visit.service.events.add("password changed", user, user.name, visit.visitor)
    return visit.go("/account?done=password")


# ---- authenticator app ----


@recently_proved_only
def app_page(visit: Visit) -> Response:
    """Shows a new secret to scan, which counts once a code has shown that the app has it."""
    user, factors = visit.user, visit.service.factors
    if factors.has_totp(user):
        return visit.page("app.html", picture=None, error=None)
    secret = factors.new_totp_secret()
    data = {"sealed": factors.seal(user, secret).hex()}
    seconds = visit.settings.lifetimes.pending
    visit.set_cookie(APP, visit.service.pending.put("authenticator app", user, data, seconds), seconds)
    return _app_page(visit, secret, 200, None)


def _app_page(visit: Visit, secret: str, status: int, error: str | None) -> Response:
    uri = visit.service.factors.totp_uri(secret, visit.user, visit.settings.title)
    return visit.page(
        "app.html",
        status,
        error=error,
        picture=visit.service.factors.picture(uri),
        secret=" ".join(secret[i : i + 4] for i in range(0, len(secret), 4)),
    )


@recently_proved_only
def add_app(visit: Visit) -> Response:
    user, service = visit.user, visit.service
    found = service.pending.look("authenticator app", visit.request.cookies.get(APP))
    if found is None or found[0] != user.id:
        return visit.go("/account/app")
    tried = service.begin_try("code", user.name, visit.visitor, visit.device_of(user))
    try:
        secret = service.factors.unseal(user, bytes.fromhex(found[1]["sealed"]))
    except SecretError:
        return visit.go("/account/app")
    try:
        service.factors.add_totp(user, secret, visit.form.get("code", ""))
    except CodeError as error:
        return _app_page(visit, secret, 403, str(error))
    service.pending.take("authenticator app", visit.request.cookies.get(APP))
    visit.drop_cookie(APP)
    service.limits.forgive(tried)
    service.events.add("authenticator app added", user, user.name, visit.visitor)
    return _after_factor(visit, "/account")


def _after_factor(visit: Visit, otherwise: str) -> Response:
    """Whoever adds the first second factor gets recovery codes with it."""
    if visit.service.factors.recovery_codes_left(visit.user):
        return visit.go(otherwise)
    return _new_codes(visit)


@recently_proved_only
def remove_app(visit: Visit) -> Response:
    user = visit.user
    visit.service.factors.remove_totp(user, user.name)
    visit.service.events.add("authenticator app removed", user, user.name, visit.visitor)
    return visit.go("/account?done=app-removed")


# ---- recovery codes ----


@recently_proved_only
def codes_page(visit: Visit) -> Response:
    return visit.page(
        "recovery_codes.html", codes=None, left=visit.service.factors.recovery_codes_left(visit.user)
    )


@recently_proved_only
def new_codes(visit: Visit) -> Response:
    return _new_codes(visit)


def _new_codes(visit: Visit) -> Response:
    codes = visit.service.factors.new_recovery_codes(visit.user)
    visit.service.events.add("recovery codes made", visit.user, visit.user.name, visit.visitor)
    return visit.page("recovery_codes.html", codes=codes, left=len(codes))


# ---- passkeys ----


@recently_proved_only
def passkeys_page(visit: Visit) -> Response:
    return visit.page("passkeys.html", passkeys=visit.service.passkeys.of(visit.user))


@recently_proved_only
def passkey_add_options(visit: Visit) -> Response:
    """What the browser asks the authenticator to make; remembers the challenge."""
    options, challenge = visit.service.passkeys.registration(visit.user)
    data = {"challenge": challenge}
    secret = visit.service.pending.put("new passkey", visit.user, data, PASSKEY_SECONDS)
    visit.set_cookie(PASSKEY, secret, PASSKEY_SECONDS)
    return visit.json(options)


@recently_proved_only
def add_passkey(visit: Visit) -> Response:
    user, service = visit.user, visit.service
    asked = service.pending.take("new passkey", visit.request.cookies.get(PASSKEY))
    try:
        if asked is None or asked[0] != user.id:
            raise PasskeyError("That took too long. Try again.")
        answer, label = visit.form.get("answer", ""), visit.form.get("label", "")
        service.passkeys.register(user, answer, asked[1]["challenge"], label)
    except PasskeyError as error:
        return visit.page("passkeys.html", 403, error=str(error), passkeys=service.passkeys.of(user))
    service.events.add("passkey added", user, user.name, visit.visitor)
    return _after_factor(visit, "/account?done=passkey")


@recently_proved_only
def remove_passkey(visit: Visit) -> Response:
    user = visit.user
    if user.password is None and len(visit.service.passkeys.of(user)) == 1:
        raise RefusedError(409, "This is your only way in", "Set a password before you remove it.")
    if visit.service.passkeys.remove(user, visit.form.get("passkey", ""), user.name):
        visit.service.events.add("passkey removed", user, user.name, visit.visitor)
    return visit.go("/account?done=passkey-removed")


def age(seconds: float) -> str:
    """How long ago, in words."""
    for size, name in ((86400, "day"), (3600, "hour"), (60, "minute")):
        count = int(seconds // size)
        if count:
            return f"{count} {name}{'s' if count > 1 else ''} ago"
    return "just now"


def date(moment: float) -> str:
    """The day and minute, UTC."""
    return time.strftime("%Y-%m-%d %H:%M", time.gmtime(moment))
