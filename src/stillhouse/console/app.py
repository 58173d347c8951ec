"""The console as a face of the service: sessions, pages, forms and live parts, each in the threads of the API."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial
from time import monotonic
from typing import Any

from starlette.types import Receive, Scope, Send

from stillhouse import log
from stillhouse.console import cookies, forms, headers, routes, sign_in, static_files
from stillhouse.console.rendering import render
from stillhouse.console.request import Answer, Request, html, see_other
from stillhouse.console.streams import OVER, Parts, Streams, watch
from stillhouse.console.visit import ActionRoute, LiveRoute, Page, PageRoute, Visit
from stillhouse.control.access import sessions
from stillhouse.control.access.refusals import Refused, record_refusal
from stillhouse.control.access.sessions import Session
from stillhouse.control.catalog_context import Caller
from stillhouse.control.context import Control
from stillhouse.domain.access.senders import sender_of
from stillhouse.errors import (
    ApiUnknown,
    NotPermitted,
    ShuttingDown,
    StillhouseError,
    Unauthenticated,
    Unavailable,
)

PREFIX = "/console"
Run = Callable[..., Awaitable[Any]]
Spend = Callable[[str, str, float], None]


class Console:
    """`run` calls a function in one of the API's threads; `spend` counts a request against the rates."""

    def __init__(
        self, control: Control, is_shutting_down: Callable[[], bool], run: Run, spend: Spend
    ) -> None:
        self._control, self._is_shutting_down = control, is_shutting_down
        self._run, self._spend = run, spend
        self._streams = Streams()

    async def __call__(self, scope: Scope, body: bytes, receive: Receive, send: Send) -> None:
        logger, request_id = log.get("console"), scope["state"]["request_id"]
        try:
            request = Request.of(scope, body)
            if request.method == "GET" and request.path.endswith("/live"):
                await self._watch(request, receive, send)
                return
            answer = await self._answer(request)
        except StillhouseError as error:
            if error.status >= 500 and not isinstance(error, Unavailable):
                logger.error("failed", code=error.code, exc_info=True)
            answer = _problem(error, request_id)
        await answer.go(send)

    async def _answer(self, request: Request) -> Answer:
        if self._is_shutting_down():
            raise ShuttingDown("the service is shutting down")
        match request.method, request.path.removeprefix(PREFIX):
            case "GET" | "HEAD", "" | "/":
                return see_other(sign_in.HOME)
            case "GET" | "HEAD", path if path.startswith("/static/"):
                return _file(path.removeprefix("/static/"))
            case "GET" | "HEAD", "/sign-in":
                form: Answer = await self._run(sign_in.show_form, request)
                return form
            case "POST", "/sign-in":
                return await self._sign_in(request)
            case "POST", "/sign-out":
                return await self._with_session(request, self._sign_out)
            case "GET" | "HEAD", _:
                page, named = routes.find_page(request.path)
                return await self._with_session(request, partial(self._show, page, named))
            case "POST", _:
                action, named = routes.find_action(request.path)
                return await self._with_session(request, partial(self._act, action, named))
        raise ApiUnknown("There is no such page.")

    async def _sign_in(self, request: Request) -> Answer:
        """Check a secret; a password in the threads for that, where it holds up no other request."""
        form = sign_in.read_form(request)
        work = partial(self._recorded, request, Caller(), partial(self._begin, request, form))
        try:
            if sign_in.is_by_password(form):
                checked = self._control.password_checks.submit(sender_of(request.address), work)
                return await asyncio.wrap_future(checked)
            found: Answer = await self._run(work)
            return found
        except Unauthenticated:
            return sign_in.show_form(request, is_refused=True)

    def _begin(self, request: Request, form: Mapping[str, str], control: Control) -> Answer:
        caller = sign_in.find_caller(control, form)
        self._spend(caller.project, caller.access_key, monotonic())
        return sign_in.begin(control, request, replace(control.caller, **_known(caller)))

    async def _with_session(
        self, request: Request, answer: Callable[[Request, Session, Control], Answer]
    ) -> Answer:
        try:
            found: Answer = await self._run(self._in_session, request, answer)
            return found
        except Unauthenticated:
            return sign_in.to_sign_in(request)

    def _in_session(self, request: Request, answer: Callable[[Request, Session, Control], Answer]) -> Answer:
        session = self._session(request)
        self._spend(session.caller.project, session.caller.access_key, monotonic())
        return self._recorded(request, session.caller, partial(answer, request, session))

    def _session(self, request: Request, *, is_watching: bool = False) -> Session:
        token = cookies.read(request.headers, cookies.SESSION, is_tls=request.is_tls)
        if not token:
            raise Unauthenticated("there is no session")
        return sessions.find_session(self._control, token, is_watching=is_watching)

    def _recorded(self, request: Request, caller: Caller, answer: Callable[[Control], Answer]) -> Answer:
        """Answer for the caller, and record a refusal in the audit."""
        speaking = replace(caller, request_id=request.request_id, address=request.address)
        control = self._control.acting_for(speaking)
        try:
            return answer(control)
        except (Unauthenticated, NotPermitted) as error:
            who = caller.access_key or (error.who if isinstance(error, Unauthenticated) else "")
            operation = "SignIn" if request.path == sign_in.PATH else "Console"
            refused = Refused(
                who, caller.project, operation, request.path, request.address, request.request_id
            )
            record_refusal(control, refused, error)
            raise

    async def _watch(self, request: Request, receive: Receive, send: Send) -> None:
        """Send the live parts of a page. One who has no session is told so in the stream: browsers repeat others."""
        if self._is_shutting_down():
            raise ShuttingDown("the service is shutting down")
        route, named = routes.find_live(request.path)

        async def look() -> Parts:
            try:
                parts: Parts = await self._run(self._look, route, named, request)
            except Unauthenticated:
                return {OVER: _over("Your session has ended.", request)}
            except Unavailable:
                return {}  # the next look is not far
            except StillhouseError as error:
                return {OVER: _over(error.message, request)}
            return parts

        token = cookies.read(request.headers, cookies.SESSION, is_tls=request.is_tls)
        version = self._control.database.version
        with self._streams.place(forms.token_for(token)):
            await watch(look, version, self._is_shutting_down, headers.SECURITY, receive, send)

    def _look(self, route: LiveRoute, named: Mapping[str, str], request: Request) -> Parts:
        session = self._session(request, is_watching=True)
        control = self._control.acting_for(session.caller)
        visit = Visit(control, session, request.path.removesuffix("/live"), named, request.query)
        visit.demand(*route.operations)
        values = self._common(request, visit) | dict(route.read(visit))
        return {name: render(template, values) for name, template in route.parts.items()}

    def _sign_out(self, request: Request, session: Session, control: Control) -> Answer:
        self._form(request)
        sessions.end_session(control, session)
        return sign_in.sign_out(request)

    def _show(
        self, route: PageRoute, named: Mapping[str, str], request: Request, session: Session, control: Control
    ) -> Answer:
        visit = Visit(control, session, request.path, named, request.query)
        visit.demand(*route.operations)
        return self._html(request, visit, route.show(visit))

    def _act(
        self,
        route: ActionRoute,
        named: Mapping[str, str],
        request: Request,
        session: Session,
        control: Control,
    ) -> Answer:
        """Do what a form asks for. A refusal that its sender can mend is told on the form's own page."""
        form = self._form(request)
        page_of_form = request.path.rpartition("/")[0]
        visit = Visit(control, session, page_of_form, named, {}, form)
        visit.demand(route.operation)
        try:
            return see_other(route.do(visit))
        except (NotPermitted, Unauthenticated):
            raise
        except StillhouseError as error:
            if error.status >= 500:
                raise
            visit = replace(visit, problem=error)
            return self._html(request, visit, route.page(visit), error.status)

    def _form(self, request: Request) -> Mapping[str, str]:
        token = cookies.read(request.headers, cookies.SESSION, is_tls=request.is_tls)
        return forms.read(request.headers, request.body, token)

    def _html(self, request: Request, visit: Visit, page: Page, status: int = 200) -> Answer:
        return html(render(page.template, self._common(request, visit) | dict(page.values)), status)

    def _common(self, request: Request, visit: Visit) -> dict[str, Any]:
        token = cookies.read(request.headers, cookies.SESSION, is_tls=request.is_tls)
        return {"visit": visit, "token": forms.token_for(token), "done": visit.query.get("done", "")}


def _known(caller: Caller) -> dict[str, Any]:
    return {
        "access_key": caller.access_key,
        "project": caller.project,
        "subject": caller.subject,
        "permissions": caller.permissions,
    }


def _file(name: str) -> Answer:
    found = static_files.content(name)
    if found is None:
        raise ApiUnknown("There is no such file.")
    kind, content = found
    return Answer(200, [(b"content-type", kind), *headers.LASTING], content)


def _over(message: str, request: Request) -> str:
    return render("parts/over.html", {"message": message, "place": request.path.removesuffix("/live")})


def _problem(error: StillhouseError, request_id: str) -> Answer:
    """Show a refusal or a failure as a page of its own. As in the API, a failure does not tell the service's inside."""
    message, hint = error.message, error.hint
    if isinstance(error, Unavailable):
        message, hint = "The service is unavailable for the moment. Try again later.", ""
    elif error.status >= 500:
        message, hint = "The service failed.", "its log tells more, under the id of this request"
    values = {
        "visit": None,
        "status": error.status,
        "message": message,
        "hint": hint,
        "request_id": request_id,
    }
    later = [(b"retry-after", str(error.retry_after).encode())] if error.retry_after else []
    return html(render("problem.html", values), error.status, *later)


def console(control: Control, is_shutting_down: Callable[[], bool]) -> Callable[[Run, Spend], Console]:
    """Return the maker of the console, for the gateway that it stands behind."""
    return lambda run, spend: Console(control, is_shutting_down, run, spend)
