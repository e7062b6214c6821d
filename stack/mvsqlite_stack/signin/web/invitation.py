"""The page where who was invited sets a password."""

from starlette.responses import Response

from mvsqlite_stack.signin import invitations
from mvsqlite_stack.signin.passwords import PasswordError
from mvsqlite_stack.signin.web.visit import RefusedError, Visit


def invitation_page(visit: Visit) -> Response:
    return _page(visit, visit.request.query_params.get("code", ""), 200, None)


def _page(visit: Visit, code: str, status: int, error: str | None) -> Response:
    user = invitations.invited(visit.service, code)
    if user is None:
        raise RefusedError(
            404,
            "This invitation is not valid",
            f"It was used already, or its time is over. Ask whoever runs {visit.settings.title} for another.",
        )
    return visit.page("invitation.html", status, invited=user, code=code, error=error)


def accept(visit: Visit) -> Response:
    """Sets the password; signing in is the next step, with all that it takes."""
    code, new = visit.form.get("code", ""), visit.form.get("new", "")
    if new != visit.form.get("again", ""):
        return _page(visit, code, 422, "The two are not the same.")
    try:
        user = invitations.accept(visit.service, code, new)
    except PasswordError as error:
        return _page(visit, code, 422, str(error))
    if user is None:
        return _page(visit, code, 404, None)
    visit.service.events.add("password set by invitation", user, user.name, visit.visitor)
    return visit.page("message.html", title="Your password is set", text=f"Sign in with it as {user.name}.")
