"""The command line as a client of the API: the service's address, the credentials, and the printed answers."""

import hashlib
import json
import os
import stat
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

from cyclopts import Parameter

from stillhouse.cli.terminal import command
from stillhouse.cli.terminal.sizes import said_size
from stillhouse.domain.ids import is_project_id, is_uuid
from stillhouse.errors import InvalidInput, ServiceRefused, ServiceUnreachable, WaitInterrupted

if TYPE_CHECKING:
    import ssl

    import httpx

Answer = dict[str, Any]

_SECONDS = 60.0
_POLL_SECONDS = 0.5
_OTHERS_MAY_READ = 0o077

# Remedies for refusals that do not name one themselves.
_HINTS = {
    "APIGW.0101": "the service is of another version, or this is not its address",
    "APIGW.0301": "check the access key, its secret, this host's clock, and that a proxy passes on Host unchanged",
    "DWS.0011": "wait until it is done, or look at it with `stillhouse cluster show`",
    "DWS.0015": "an access key is good for one project: see --project",
}


@Parameter(name="*")
@dataclass(frozen=True)
class Access:
    """The service's address, and the caller's credentials.

    Parameters
    ----------
    endpoint
        Address of the service.
    project
        Project id: 32 lower-case hexadecimal digits.
    access_key
        Access key; its secret comes from CLOUD_SDK_SK, or from the key file.
    key_file
        A file with the output of `stillhouse key create --json`, which only you can read; in place of the others.
    ca_file
        A PEM file with the certificates of the authorities that are trusted, in place of the public ones.
    """

    endpoint: Annotated[str, Parameter(env_var="STILLHOUSE_ENDPOINT")] = "http://127.0.0.1:8080"
    project: Annotated[str, Parameter(env_var="STILLHOUSE_PROJECT")] = ""
    access_key: Annotated[str, Parameter(env_var="CLOUD_SDK_AK")] = ""
    key_file: Annotated[Path | None, Parameter(env_var="STILLHOUSE_KEY_FILE")] = None
    ca_file: Annotated[Path | None, Parameter(env_var="STILLHOUSE_CA_FILE")] = None


@dataclass(frozen=True)
class _Key:
    project: str
    access_key: str
    secret_key: str = field(repr=False)


class Client:
    """Signed requests of one project. Raises ServiceRefused, ServiceUnreachable."""

    def __init__(self, http: "httpx.Client", key: _Key) -> None:
        self._http, self._key = http, key

    def call(self, method: str, path: str, body: Any = None) -> Answer:
        """Send a request and return its answer. `{p}` in the path stands for the project."""
        import httpx

        from stillhouse.api.gateway.signature import RawRequest, authorization

        content = b"" if body is None else json.dumps(body).encode()
        date = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        headers = {"X-Sdk-Date": date} | ({"Content-Type": "application/json"} if content else {})
        url = path.replace("{p}", self._key.project)
        request = self._http.build_request(method, url, content=content, headers=headers)
        signed = [(name.lower(), value) for name, value in request.headers.raw if name.lower() in _SIGNED]
        target, _, query = request.url.raw_path.partition(b"?")
        request.headers["Authorization"] = authorization(
            RawRequest(method, target, query, signed),
            hashlib.sha256(content).hexdigest(),
            date,
            self._key.access_key,
            self._key.secret_key,
        )
        try:
            return _answer(self._http.send(request))
        except httpx.TransportError as error:
            raise ServiceUnreachable(
                f"no service answers at {self._http.base_url}: {error}",
                hint=_hint(str(error)),
            ) from error

    def find(self, kind: str, named: str, *, among: str = "") -> str:
        """Find a thing's id by its id or its name; `among` is the path of the list that holds it."""
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
            raise InvalidInput(f"there is no {kind} named {named[:64]}", hint="give its name or its id")
        if len(found) > 1:
            raise InvalidInput(
                f"{named[:64]} is the name of several", hint=f"give one's id: {', '.join(found)}"
            )
        return found[0]


_SIGNED = (b"host", b"x-sdk-date", b"content-type")


def run(access: Access, work: Callable[[Client], None]) -> None:
    """Run a command that asks the service."""

    def ask() -> None:
        import httpx

        key = _key(access)
        trust = _trust(access.ca_file)
        with httpx.Client(base_url=_checked(access.endpoint), timeout=_SECONDS, verify=trust) as http:
            work(Client(http, key))

    command.run(ask)


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
    """Return a snapshot's sizes in words: of its data, of its own bytes, and of all bytes that it needs."""
    named = {"live": "live_bytes", "own": "own_bytes", "stored": "stored_bytes"}
    found = {word: shown.get(field) for word, field in named.items()}
    return {word: None if count is None else said_size(count) for word, count in found.items()}


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


def _answer(response: "httpx.Response") -> Answer:
    try:
        body = response.json() if response.content else {}
    except ValueError:
        body = {}
    if response.is_success and isinstance(body, dict):
        return body
    said = body if isinstance(body, dict) else {}
    code = str(said.get("error_code") or f"HTTP {response.status_code}")
    text = str(said.get("error_msg") or response.reason_phrase)
    request = response.headers.get("X-Request-Id")
    raise ServiceRefused(
        f"{code}: {text}" + (f" [request {request}]" if request else ""), hint=_HINTS.get(code, "")
    )


def _hint(failure: str) -> str:
    """Return the remedy for a connection that failed with these words of httpx's and OpenSSL's."""
    if "CERTIFICATE_VERIFY_FAILED" in failure:
        return "name its authority's certificate with --ca-file, and the service by a name in its certificate"
    if "SSL" in failure:
        return "does it speak TLS? if not, its address begins with http://"
    if "without sending a response" in failure:
        return "does it speak TLS? then its address begins with https://"
    return "start it with `stillhouse serve`, or name its address with --endpoint"


def _trust(ca_file: Path | None) -> "ssl.SSLContext | bool":
    """Return the authorities to trust: those in the file, else httpx's own choice. Raises InvalidInput."""
    if ca_file is None:
        return True
    import ssl

    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        raise InvalidInput(
            f"{ca_file} holds no certificates: {error}", hint="it is a PEM file of authorities' certificates"
        ) from error


def _checked(endpoint: str) -> str:
    if not endpoint.startswith(("http://", "https://")):
        raise InvalidInput(
            f"{endpoint!r} is no address of a service", hint="http://HOST:PORT or https://HOST"
        )
    return endpoint.rstrip("/")


def _key(access: Access) -> _Key:
    """Read the key. Its secret is never taken from the command line, which everyone on the host can read."""
    if access.key_file is not None:
        said = _key_in(access.key_file)
    else:
        said = {"access_key": access.access_key, "secret_key": os.environ.get("CLOUD_SDK_SK", "")}
    key = _Key(
        project=access.project or said.get("project_id", ""),
        access_key=said.get("access_key", ""),
        secret_key=said.get("secret_key", ""),
    )
    if not key.access_key or not key.secret_key:
        raise InvalidInput(
            "there is no access key to sign with",
            hint="set CLOUD_SDK_AK and CLOUD_SDK_SK, or name a --key-file",
        )
    if not is_project_id(key.project):
        raise InvalidInput(
            "a project id is 32 lower-case hexadecimal digits",
            hint="give it with --project, STILLHOUSE_PROJECT or a --key-file",
        )
    return key


def _key_in(path: Path) -> dict[str, str]:
    try:
        if stat.S_IMODE(path.stat().st_mode) & _OTHERS_MAY_READ:
            raise InvalidInput(f"others than its owner may read {path}", hint=f"chmod 600 {path}")
        said = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InvalidInput(f"{path} is no key file: {error}") from error
    if not isinstance(said, dict) or not all(isinstance(value, str) for value in said.values()):
        raise InvalidInput(
            f"{path} is no key file", hint="it holds the output of `stillhouse key create --json`"
        )
    return said
