"""Signing in and out: password, second step, passkey, the way back to where the visitor wanted to go."""

import time

from starlette.responses import Response

from mvsqlite_stack.signin.accounts import User
from mvsqlite_stack.signin.factors import CodeError
from mvsqlite_stack.signin.limits import Try, network
from mvsqlite_stack.signin.passkeys import PasskeyError
from mvsqlite_stack.signin.secret import digest, token
from mvsqlite_stack.signin.web.visit import DEVICE, ROUND, SESSION, YEAR, RefusedError, Visit

SECOND = "__Host-second"
"""Leads back to the half-done sign-in that waits for its second step."""
PASSKEY = "__Host-passkey"
"""Leads back to the challenge that a passkey is to sign."""
PASSKEY_SECONDS = 300
ROUNDS_MAX = 5
ROUND_SECONDS = 20
WRONG = "The name or the password is not right."
"""The same for a name that does not exist, a wrong password and a disabled account."""


def home(visit: Visit) -> Response:
    """The sign-in page, or, for who is signed in, a new token and the way back."""
    if visit.living is None:
        return visit.page("sign_in.html")
    if not visit.asked:
        return visit.go("/account")
    return way_back(visit, visit.user, visit.session.id)


def way_back(visit: Visit, user: User, session: str) -> Response:
    """Gives the browser a new token and sends it where it wanted to go."""
    visit.set_token(visit.service.token(user, session))
    if visit.living:
        visit.service.sessions.note_use(visit.session, user)
    if not visit.asked:
        return visit.go("/account")
    if visit.to is None:
        raise RefusedError(400, "That is no address of ours", "You are signed in; the link leads nowhere.")
    app = visit.settings.app_at(visit.to.split("/")[2])
    if app and not app[1].public and not visit.settings.may_enter(user.name, app[1]):
        return visit.page("denied.html", 403, app=app[1].title or app[0], user=user)
    _demand_progress(visit, visit.to)
    return visit.go(visit.to)


def _demand_progress(visit: Visit, to: str) -> None:
    """Raises RefusedError when a browser comes back from the same place again and again.

    Then it does not keep our token, keeps sending another one that an app has set, or the gateway's
    clock is wrong. Redirecting once more would not help.
    """
    place, now, count, begun = digest(to).hex()[:16], int(time.time()), 0, 0
    parts = visit.request.cookies.get(ROUND, "").split(".")
    if len(parts) == 3 and parts[0] == place and all(part.isdecimal() for part in parts[1:]):
        count, begun = int(parts[1]), int(parts[2])
    if now - begun > ROUND_SECONDS:
        count, begun = 0, now
    if count >= ROUNDS_MAX:
        visit.drop_cookie(ROUND)
        raise RefusedError(
            400,
            "You are going in circles",
            "You are signed in, but your browser does not show the app the new cookie. "
            "Delete the cookies of this domain, then sign in again. If that does not help, "
            "the clock of the gateway may be wrong.",
        )
    visit.set_cookie(ROUND, f"{place}.{count + 1}.{begun}", ROUND_SECONDS)


# ---- password ----


def sign_in(visit: Visit) -> Response:
    """Takes name and password."""
    name = visit.form.get("name", "").strip().lower()
    password = visit.form.get("password", "")
    user = visit.service.accounts.find(name)
    tried = visit.service.begin_try("password", name, visit.visitor, visit.device_of(user))
    right = visit.service.passwords.is_right(user.password if user else None, password)
    if user is None or not right or user.disabled:
        visit.service.events.add("wrong password", user, name, visit.visitor)
        return visit.page("sign_in.html", 403, error=WRONG, name=name)
    visit.service.accounts.upgrade(user, password)
    if visit.service.has_second_factor(user):
        return _to_second_step(visit, user, tried)
    return signed_in(visit, user, "password", [tried])


def _to_second_step(visit: Visit, user: User, tried: Try) -> Response:
    visit.service.limits.forgive(tried)
    data = {"to": visit.asked}
    seconds = visit.settings.lifetimes.pending
    visit.set_cookie(SECOND, visit.service.pending.put("second step", user, data, seconds), seconds)
    return visit.go("/second")


def signed_in(visit: Visit, user: User, methods: str, tried: list[Try]) -> Response:
    """Begins a session in place of whatever the browser had, and sends it on."""
    replaces = visit.session.id if visit.living else None
    begun = visit.service.sign_in(user, methods, visit.visitor, tried, replaces)
    visit.set_cookie(SESSION, begun.secret, visit.settings.lifetimes.session)
    visit.drop_cookie(SECOND)
    visit.drop_cookie(PASSKEY)
    visit.__dict__["living"] = visit.service.living(begun.secret)
    visit.new_form_nonce()
    if visit.device_of(user) is None:
        name = f"{user.id}.{token(12)}"
        visit.set_cookie(DEVICE, f"{name}.{visit.service.secret.sign('device', name)}", YEAR)
    return way_back(visit, user, begun.session)


# ---- second step ----


def _halfway(visit: Visit) -> User | None:
    """Whose password was right in this browser a short while ago."""
    found = visit.service.pending.look("second step", visit.request.cookies.get(SECOND))
    user = visit.service.accounts.by_id(found[0]) if found and found[0] else None
    if found is None or user is None or user.disabled:
        return None
    visit.__dict__["asked"] = found[1]["to"]
    return user


def second_page(visit: Visit) -> Response:
    user = _halfway(visit)
    if user is None:
        return visit.go("/")
    return _second_page(visit, user, 200, None)


def _second_page(visit: Visit, user: User, status: int, error: str | None) -> Response:
    by_code = visit.request.url.path == "/recovery" or not visit.service.factors.has_totp(user)
    return visit.page(
        "recovery.html" if visit.request.url.path == "/recovery" else "second.html",
        status,
        error=error,
        has_totp=not by_code,
        has_passkey=bool(visit.service.passkeys.of(user)),
    )


def second(visit: Visit) -> Response:
    """Takes the code of an authenticator app, or at ``/recovery`` a recovery code."""
    user = _halfway(visit)
    if user is None:
        return visit.go("/")
    recovery = visit.request.url.path == "/recovery"
    tried = visit.service.begin_try("code", user.name, visit.visitor, visit.device_of(user))
    code = visit.form.get("code", "")
    try:
        if recovery:
            visit.service.factors.accept_recovery_code(user, code)
        else:
            visit.service.factors.accept_totp(user, code)
    except CodeError as error:
        visit.service.events.add("wrong code", user, user.name, visit.visitor)
        return _second_page(visit, user, 403, str(error))
    if visit.service.pending.take("second step", visit.request.cookies.get(SECOND)) is None:
        return visit.go("/")
    return signed_in(visit, user, f"password, {'recovery code' if recovery else 'app code'}", [tried])


# ---- passkey ----


def passkey_options(visit: Visit) -> Response:
    """What the browser asks the authenticator; remembers the challenge."""
    user = visit.user if visit.living else _halfway(visit)
    options, challenge = visit.service.passkeys.authentication(user)
    data = {"challenge": challenge, "for": network(visit.visitor.address)}
    most = visit.settings.limits.address
    secret = visit.service.pending.put("passkey", None, data, PASSKEY_SECONDS, most)
    visit.set_cookie(PASSKEY, secret, PASSKEY_SECONDS)
    return visit.json(options)


def with_passkey(visit: Visit) -> User:
    """Whose passkey signed our challenge. Raises PasskeyError."""
    asked = visit.service.pending.take("passkey", visit.request.cookies.get(PASSKEY))
    if asked is None:
        raise PasskeyError("That took too long. Try again.")
    passkey = visit.service.passkeys.authenticate(visit.form.get("answer", ""), asked[1]["challenge"])
    user = visit.service.accounts.by_id(passkey.user)
    if user is None or user.disabled:
        raise PasskeyError("This passkey is not known here.")
    return user


def passkey(visit: Visit) -> Response:
    """Takes a passkey's answer: enough by itself, and as a second step."""
    tried = visit.service.begin_try("passkey", visit.visitor.address, visit.visitor, None)
    halfway = _halfway(visit)
    try:
        user = with_passkey(visit)
    except PasskeyError as error:
        visit.service.events.add("wrong passkey", None, "", visit.visitor)
        if halfway:
            return _second_page(visit, halfway, 403, str(error))
        return visit.page("sign_in.html", 403, error=str(error))
    return signed_in(visit, user, "passkey", [tried])


# ---- sign-out ----


def sign_out_page(visit: Visit) -> Response:
    return visit.page("sign_out.html") if visit.living else visit.go("/signed-out")


def sign_out(visit: Visit) -> Response:
    """Ends the session, in this browser and for every gateway that asks us."""
    if visit.living:
        user = visit.user
        visit.service.sessions.revoke(user, user.name, only=visit.session.id)
        visit.service.events.add("signed out", user, user.name, visit.visitor)
    forget(visit)
    return visit.go("/signed-out")


def forget(visit: Visit) -> None:
    """Takes session and token out of the browser."""
    visit.drop_cookie(SESSION)
    visit.set_token("")
    visit.__dict__["living"] = None
    visit.new_form_nonce()


def signed_out_page(visit: Visit) -> Response:
    return visit.page("signed_out.html")


def denied_page(visit: Visit) -> Response:
    """Where a gateway may send a browser that may not enter an app."""
    app = visit.settings.apps.get(visit.request.query_params.get("app", ""))
    return visit.page("denied.html", 403, app=app.title if app and app.title else "This app")
