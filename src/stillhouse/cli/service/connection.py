"""The connection to a service: HTTP/1.1 of the standard library, kept alive between requests.

httpx, which does much more, would be a quarter of the CPU time of a command that lists a page.
"""

import select
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import BadStatusLine, HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from urllib.parse import urlsplit

from stillhouse.errors import InvalidInput, ServiceUnreachable


@dataclass(frozen=True)
class Response:
    status: int
    reason: str
    request_id: str | None
    content: bytes


class Connection:
    """A connection to the service at an address. It is opened when it is needed, and anew where the service closed it.

    `host` is the address as the header Host has it; all paths of the service begin with `prefix`.
    """

    def __init__(self, endpoint: str, ca_file: Path | None, seconds: float) -> None:
        """Each wait for the service may take so many seconds. Raises InvalidInput."""
        try:
            parts = urlsplit(endpoint)
            host, port = parts.hostname or "", parts.port
        except ValueError as error:
            raise InvalidInput(f"{endpoint!r} is no address of a service: {error}") from error
        self.host = parts.netloc.rpartition("@")[2]
        self.prefix = parts.path
        self._endpoint = endpoint
        # Without TLS there is nobody to trust, and reading all public authorities takes a while.
        self._wire = (
            HTTPSConnection(host, port, timeout=seconds, context=_trust(ca_file))
            if parts.scheme == "https"
            else HTTPConnection(host, port, timeout=seconds)
        )

    def send(self, method: str, target: str, headers: Mapping[str, str], content: bytes) -> Response:
        """Send a request, and return its answer. Raises ServiceUnreachable."""
        try:
            if self._is_stale():
                self._wire.close()
            self._wire.request(method, target, content or None, headers)
            answer = self._wire.getresponse()
            return Response(answer.status, answer.reason, answer.headers.get("X-Request-Id"), answer.read())
        except (OSError, HTTPException) as error:
            self._wire.close()
            raise ServiceUnreachable(
                f"no service answers at {self._endpoint}: {error}", hint=_hint(error)
            ) from error

    def close(self) -> None:
        self._wire.close()

    def _is_stale(self) -> bool:
        """Tell whether the service has closed the connection since the last answer: only then is there more to read."""
        return self._wire.sock is not None and bool(select.select([self._wire.sock], [], [], 0)[0])


def _hint(failure: Exception) -> str:
    """Return the remedy for a connection that failed so."""
    told = str(failure)
    if "CERTIFICATE_VERIFY_FAILED" in told:
        return "name its authority's certificate with --ca-file, and the service by a name in its certificate"
    if "SSL" in told:
        return "does it speak TLS? if not, its address begins with http://"
    if isinstance(failure, BadStatusLine):  # of a server that closes the connection without an answer, too
        return "does it speak TLS? then its address begins with https://"
    return "start it with `stillhouse serve`, or name its address with --endpoint"


def _trust(ca_file: Path | None) -> ssl.SSLContext:
    """Return the authorities to trust: those in the file, else the system's. Raises InvalidInput."""
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        raise InvalidInput(
            f"{ca_file} holds no certificates: {error}", hint="it is a PEM file of authorities' certificates"
        ) from error
