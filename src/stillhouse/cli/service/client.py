"""The command line as a client of the API: its signed requests, and the printed answers."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

from stillhouse.cli.service.connection import Connection, Response
from stillhouse.cli.terminal import command, credentials
from stillhouse.cli.terminal.credentials import Access as Access
from stillhouse.cli.terminal.credentials import Key
from stillhouse.cli.terminal.near import did_you_mean
from stillhouse.domain.ids import is_uuid
from stillhouse.domain.reports.sizes import said_size
from stillhouse.errors import InvalidInput, ServiceRefused, WaitInterrupted

Answer = dict[str, Any]

_SECONDS = 60.0
_POLL_SECONDS = 0.5

# Remedies for refusals that do not name one themselves.
_HINTS = {
    "APIGW.0101": "the service is of another version, or this is not its address",
    "APIGW.0301": "check the access key, its secret, this host's clock, and that a proxy passes on Host unchanged",
    "DWS.0011": "wait until it is done, or look at it with `stillhouse cluster show`",
    "DWS.0015": "an access key is good for one project: see --project",
}


class Client:
    """Signed requests of one project. Raises ServiceRefused, ServiceUnreachable."""

    def __init__(self, connection: Connection, key: Key) -> None:
        self._connection, self._key = connection, key

    def call(self, method: str, path: str, body: Any = None) -> Answer:
        """Send a request and return its answer. `{p}` in the path stands for the project."""
        from stillhouse.api.gateway.signature import RawRequest, authorization

        content = b"" if body is None else json.dumps(body).encode()
        date = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        signed = {"Host": self._connection.host, "X-Sdk-Date": date}
        signed |= {"Content-Type": "application/json"} if content else {}
        target = self._connection.prefix + path.replace("{p}", self._key.project)
        raw_path, _, query = target.encode().partition(b"?")
        lower = [(name.lower().encode(), value.encode()) for name, value in signed.items()]
        authorized = authorization(
            RawRequest(method, raw_path, query, lower),
            hashlib.sha256(content).hexdigest(),
            date,
            self._key.access_key,
            self._key.secret_key,
        )
        headers = signed | {"Authorization": authorized}
        return _answer(self._connection.send(method, target, headers, content))

    def find(self, kind: str, named: str, *, among: str = "", where: str = "") -> str:
        """Find a thing's id by its id or its name; `among` is the path of the list that holds it, `where` its place."""
        if is_uuid(named):
            return named.lower()
        # The service looks a snapshot's name up by itself; one of an earlier version lists them all.
        path = f"/v1.0/{{p}}/{kind}s" + (f"?name={quote(named, safe='')}" if kind == "snapshot" else "")
        found = [
            str(one["id"])
            for one in self.call("GET", among or path)[f"{kind}s"]
            if str(one["name"]).lower() == named.lower()
        ]
        if not found:
            place = f" {where}" if where else ""
            raise InvalidInput(
                f"there is no {kind} named {named[:64]}{place}", hint=self._nearest(kind, named, among)
            )
        if len(found) > 1:
            raise InvalidInput(
                f"{named[:64]} is the name of several", hint=f"give one's id: {', '.join(found)}"
            )
        return found[0]

    def _nearest(self, kind: str, named: str, among: str) -> str:
        """Return the question that has the most similar name of all, or of the newest thousand snapshots."""
        path = among or f"/v1.0/{{p}}/{kind}s" + ("?limit=1000" if kind == "snapshot" else "")
        names = {str(one["name"]).lower(): str(one["name"]) for one in self.call("GET", path)[f"{kind}s"]}
        lists = "snapshot trash" if among else f"{kind} list"
        return did_you_mean(named.lower(), names, f"`stillhouse {lists}` lists them")


def run(access: Access, work: Callable[[Client], None]) -> None:
    """Run a command that asks the service."""

    def ask() -> None:
        with connected(access) as service:
            work(service)

    command.run(ask)


@contextmanager
def connected(access: Access, seconds: float = _SECONDS) -> Iterator[Client]:
    """Find the service and the caller's key. An answer may take so many seconds."""
    found = credentials.entry(access)
    with closing(Connection(found.endpoint, found.ca_file, seconds)) as connection:
        yield Client(connection, found.key)


def wait(
    what: str,
    look: Callable[[], tuple[Answer, int | None]],
    *,
    as_json: bool,
    wanted: Sequence[str],
    meanwhile: str,
    pace: Callable[[], str] = str,
) -> Answer:
    """Wait until the answer has no percentage any more, showing it on the terminal. Returns the last answer.

    `pace` returns the speed in words. `meanwhile` says how to look at the work or stop it, for a user who interrupts
    the waiting: WaitInterrupted. The answer has the state, and the `failure` if there is one. Raises
    ServiceRefused, with the failure, if the end state is not one of `wanted`.
    """
    import time

    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    told = TextColumn("{task.fields[pace]}")
    bar = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn(), told)
    console = Console(stderr=True)
    is_shown = console.is_terminal and not as_json
    try:
        with Progress(*bar, console=console, disable=not is_shown, transient=True) as progress:
            task = progress.add_task(what, total=100, pace="")
            while True:
                seen, percent = look()
                if percent is None:
                    break
                progress.update(task, completed=percent, pace=pace() if is_shown else "")
                time.sleep(_POLL_SECONDS)
    except KeyboardInterrupt:
        raise WaitInterrupted(f"{what} goes on in the service", hint=meanwhile) from None
    state = str(seen.get("state") or seen.get("status"))
    if state not in wanted:
        failure = seen.get("failure") or {}
        why = f": {failure['reason']}" if failure.get("reason") else ""
        raise ServiceRefused(f"{what}: it ended as {state}{why}", hint=failure.get("hint", ""))
    return seen


def why(failure: Answer | None) -> str | None:
    """Return the reason and the hint on one line; `None` without a failure."""
    if failure is None:
        return None
    told = f"{failure['reason']} ({failure['hint']})" if failure["hint"] else str(failure["reason"])
    return " ".join(told.split())


def pace_of(service: Client, kind: str, subject: str) -> Callable[[], str]:
    """Return a function that tells the speed of a snapshot's or cluster's work, as `wait` shows it."""
    return lambda: said_pace(service.call("GET", f"/stillhouse/v1/{{p}}/{kind}s/{subject}/progress"))


def said_pace(shown: Answer) -> str:
    """Return `copying, 1.2 GiB of 3.2 GiB, 210.0 MiB/s, 0:00:09 left`, as far as it is known, and the cut's pause."""
    said = [str(shown["phase"])]
    if shown["bytes_total"]:
        said.append(f"{said_size(shown['bytes_done'])} of {said_size(shown['bytes_total'])}")
    if shown["bytes_per_second"]:
        said.append(f"{said_size(shown['bytes_per_second'])}/s")
    if shown["seconds_left"]:
        said.append(f"{timedelta(seconds=shown['seconds_left'])} left")
    if shown["expected_pause_seconds"] and shown["phase"] in ("copying", "cutting"):
        said.append(f"writes will pause for about {shown['expected_pause_seconds']:.2f} s")
    return ", ".join(said)


def sizes(shown: Answer) -> Answer:
    """Return a snapshot's sizes in words: of its data, of its own bytes, and of all bytes that it needs.

    The last two are counted soon after its end.
    """
    unknown = "counting" if shown.get("state") == "AVAILABLE" else None
    named = {"live": "live_bytes", "own": "own_bytes", "stored": "stored_bytes"}
    found = {word: shown.get(field) for word, field in named.items()}
    return {word: unknown if count is None else said_size(count) for word, count in found.items()}


def fate(shown: Answer) -> Answer:
    """Return when a snapshot goes by itself, and why it goes then or stays: in the same words in every command."""
    return {"expires": shown.get("expires") or "no date", "because": shown.get("kept_because")}


def percent(text: object) -> int:
    """Return `"37%"` as 37."""
    digits = str(text).removesuffix("%")
    return int(digits) if digits.isdigit() else 0


def say(answer: Answer, as_json: bool, fields: Mapping[str, Any] | None = None) -> None:
    """Print one thing: the answer as it came, or a line per field that has a value."""
    shown = answer if fields is None else fields
    command.say_fields(
        answer if as_json else {name: value for name, value in shown.items() if value not in (None, "")},
        as_json,
    )


def say_all(answer: Answer, rows: Sequence[Answer], columns: Sequence[str], as_json: bool) -> None:
    """Print a list: the answer as it came, or a line for each thing."""
    if as_json:
        command.say_json(answer)
    else:
        command.say_table(columns, rows)


def _answer(response: Response) -> Answer:
    try:
        body = json.loads(response.content or b"{}")
    except ValueError:
        body = {}
    if 200 <= response.status < 300 and isinstance(body, dict):
        return body
    said = body if isinstance(body, dict) else {}
    code = str(said.get("error_code") or f"HTTP {response.status}")
    text = str(said.get("error_msg") or response.reason)
    request = response.request_id
    raise ServiceRefused(
        f"{code}: {text}" + (f" [request {request}]" if request else ""),
        hint=_HINTS.get(code, ""),
        of_service={"service_code": code, "status": response.status, "request_id": request},
    )
