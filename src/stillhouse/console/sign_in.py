"""Signing in, by an access key and its secret or as a user with a password, and the way back to the page asked for."""

import re
import secrets
from collections.abc import Mapping
from urllib.parse import quote, urlencode

from stillhouse.console import cookies, forms
from stillhouse.console.rendering import render
from stillhouse.console.request import Answer, Request, html, see_other
from stillhouse.control.access import callers, logins, sessions
from stillhouse.control.catalog_context import Caller
from stillhouse.control.context import Control
from stillhouse.errors import Unauthenticated

PATH = "/console/sign-in"
HOME = "/console/clusters"
# A path of ours alone, which no browser takes for another host's.
_NEXT = re.compile(r"/console/[A-Za-z0-9_/-]*(\?[A-Za-z0-9_=&-]*)?")


def to_sign_in(request: Request) -> Answer:
    """Send a visitor without a session to the form, and from there back to the page, or to that of his form."""
    place = request.path.rpartition("/")[0] if request.method == "POST" else request.path
    if request.query and request.method != "POST":
        place += f"?{urlencode(request.query)}"
    had_one = bool(cookies.read(request.headers, cookies.SESSION, is_tls=request.is_tls))
    ended = "&ended=1" if had_one else ""
    return see_other(f"{PATH}?next={quote(_safe(place), safe='')}{ended}")


def show_form(request: Request, *, is_refused: bool = False) -> Answer:
    """Show the form, and give the visitor a number for it unless he has one."""
    visitor = cookies.read(request.headers, cookies.VISITOR, is_tls=request.is_tls)
    fresh = () if visitor else (_cookie(request, cookies.VISITOR, visitor := secrets.token_urlsafe(32)),)
    values = {
        "visit": None,
        "token": forms.token_for(visitor),
        "next": _safe(request.query.get("next", "")),
        "by": "user" if request.query.get("by") == "user" else "key",
        "has_ended": "ended" in request.query,
        "is_refused": is_refused,
    }
    return html(render("sign_in.html", values), 401 if is_refused else 200, *fresh)


def read_form(request: Request) -> Mapping[str, str]:
    """Read the form that was sent. Raises as `forms.read`."""
    visitor = cookies.read(request.headers, cookies.VISITOR, is_tls=request.is_tls)
    return forms.read(request.headers, request.body, visitor)


def is_by_password(form: Mapping[str, str]) -> bool:
    return form.get("by") == "user"


def find_caller(control: Control, form: Mapping[str, str]) -> Caller:
    """Find the caller that the form's secret belongs to. Raises Unauthenticated."""
    if not is_by_password(form):
        return logins.log_in_by_key(control, form.get("key", "").strip(), form.get("secret", "").strip())
    name, project = form.get("name", ""), form.get("project", "").strip()
    user = logins.log_in(control, form.get("password", ""), project=project, name=name)
    found = callers.find_subject(control, user.id)
    if found is None:
        raise Unauthenticated("the user was disabled just now", who=f"user/{user.name}")
    return found


def begin(control: Control, request: Request, caller: Caller) -> Answer:
    """Begin the caller's session, and go to the page that was asked for."""
    token = sessions.begin_session(control, caller)
    return see_other(
        _safe(request.query.get("next", "")),
        _cookie(request, cookies.SESSION, token),
        _cookie(request, cookies.VISITOR, ""),
    )


def sign_out(request: Request) -> Answer:
    return see_other(PATH, _cookie(request, cookies.SESSION, ""))


def _cookie(request: Request, name: str, value: str) -> tuple[bytes, bytes]:
    return cookies.setting(name, value, is_tls=request.is_tls)


def _safe(place: str) -> str:
    return place if _NEXT.fullmatch(place) and not place.startswith(PATH) else HOME
