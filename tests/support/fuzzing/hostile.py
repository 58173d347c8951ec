"""Hostile callers over sockets, each kind from a loopback address of its own, bounded in count and seeded.

`python -m support.fuzzing.hostile` is a process of their own, so that they do not slow down the test that measures. It
reads `Orders`, one line of JSON; the end of its input ends the siege, and it prints the counts.
"""

import json
import random
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import httpx

from support.api.client import SignedClient

_SECONDS = 60
_MOST_OPENED = 3000
LOGIN = "/v3/auth/tokens"


@dataclass(frozen=True)
class Orders:
    """`endpoint`, `project` and the key are those of a tenant who asks as fast as possible."""

    port: int
    seed: int
    endpoint: str
    project: str
    access_key: str
    secret_key: str


@contextmanager
def besieging(port: int, seed: int, greedy: SignedClient) -> Iterator[Counter[str]]:
    """Attack in another process for as long as the context lasts; then the counter tells what was seen."""
    key = greedy.project, greedy.access_key, greedy.secret_key
    orders = Orders(port, seed, greedy.endpoint, *key)
    seen: Counter[str] = Counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "support.fuzzing.hostile"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    try:
        assert process.stdin is not None
        process.stdin.write(json.dumps(asdict(orders)) + "\n")
        process.stdin.flush()
        yield seen
        told, _ = process.communicate(timeout=2 * _SECONDS)
        assert process.returncode == 0
        seen.update(json.loads(told))
    finally:
        process.kill()
        process.wait()


def main() -> None:
    orders = Orders(**json.loads(sys.stdin.readline()))
    siege = Siege(orders.port, orders.seed)
    with httpx.Client() as http:
        key = orders.project, orders.access_key, orders.secret_key
        siege.begin(SignedClient(orders.endpoint, *key, http))
        sys.stdin.read()
        siege.end()
    sys.stdout.write(json.dumps(siege.seen))


@dataclass
class Siege:
    """All attacks on one port, until it is ended. `seen` counts what they met, by attack."""

    port: int
    seed: int
    stop: threading.Event = field(default_factory=threading.Event)
    seen: Counter[str] = field(default_factory=Counter)
    threads: list[threading.Thread] = field(default_factory=list)
    errors: list[Exception] = field(default_factory=list)

    def begin(self, greedy: SignedClient) -> None:
        """Start every attack; `greedy` is a tenant who asks as fast as possible."""
        held: dict[str, tuple[int, bytes, bytes]] = {
            "idle connections": (200, b"", b""),
            "half requests": (200, b"GET / HTTP/1.1\r\nHost:", b""),
            "endless heads": (20, b"GET / HTTP/1.1\r\n", b"X-A: " + b"a" * 8000 + b"\r\n"),
            "slow bodies": (40, _head(LOGIN, b"Content-Length: 60000"), b'{"'),
            "unread answers": (20, b"GET /openapi.json HTTP/1.1\r\nHost: h\r\n\r\n" * 8, b""),
        }
        sent: dict[str, Callable[[random.Random], bytes]] = {
            "wrong logins": _wrong_login,
            "long names": _long_name,
            "huge JSON": _huge_json,
            "huge headers": _huge_headers,
            "forged addresses": _forged_address,
            "garbage": lambda draw: draw.randbytes(draw.randrange(1, 2000)),
        }
        jobs: list[Callable[[], None]] = []
        for place, (name, (count, opening, drip)) in enumerate(held.items(), 2):
            jobs.append(lambda n=name, p=place, c=count, o=opening, d=drip: self._hold(n, p, c, o, d))  # type: ignore[misc]
        for place, (name, make) in enumerate(sent.items(), 20):
            jobs.append(lambda n=name, p=place, m=make: self._send(n, p, m))  # type: ignore[misc]
        jobs.append(lambda: self._ask_without_end(greedy))
        self.threads = [threading.Thread(target=self._guarded, args=(job,), daemon=True) for job in jobs]
        for thread in self.threads:
            thread.start()

    def end(self) -> None:
        self.stop.set()
        for thread in self.threads:
            thread.join(_SECONDS)
            assert not thread.is_alive()
        assert not self.errors, self.errors

    def _guarded(self, job: Callable[[], None]) -> None:
        try:
            job()
        except Exception as error:
            self.errors.append(error)
            raise

    def _connect(self, place: int) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), _SECONDS, (f"127.0.1.{place}", 0))

    def _hold(self, name: str, place: int, count: int, opening: bytes, drip: bytes) -> None:
        """Keep so many connections, each with its opening sent, and drip on them; open new ones for closed ones."""
        held: list[socket.socket] = []
        opened = 0
        while not self.stop.wait(0.25):
            for _ in range(min(count - len(held), 50, _MOST_OPENED - opened)):
                with suppress(OSError):
                    connection = self._connect(place)
                    opened += 1
                    held.append(connection)
                    connection.sendall(opening)
                    connection.setblocking(False)
            for connection in list(held):
                if not _is_open(connection, drip, is_read=name != "unread answers"):
                    self.seen[f"{name}: closed"] += 1
                    held.remove(connection)
                    connection.close()
            self.seen[f"{name}: most"] = max(self.seen[f"{name}: most"], len(held))
        for connection in held:
            connection.close()

    def _send(self, name: str, place: int, make: Callable[[random.Random], bytes]) -> None:
        """Send one request after the other, and count the answers' statuses."""
        draw = random.Random(f"{self.seed} {name}")
        for _ in range(_MOST_OPENED):
            if self.stop.wait(0.02):
                return
            with suppress(OSError), self._connect(place) as connection:
                with suppress(OSError):
                    connection.sendall(make(draw))
                answer = connection.recv(65536)
                self.seen[f"{name}: {answer[9:12].decode('latin-1') or 'closed'}"] += 1

    def _ask_without_end(self, greedy: SignedClient) -> None:
        transport = httpx.HTTPTransport(local_address="127.0.1.99")
        with httpx.Client(transport=transport, timeout=_SECONDS) as http:
            client = replace(greedy, http=http)
            while not self.stop.is_set():
                with suppress(httpx.TransportError):
                    answer = client.request("GET", "/v1.0/{p}/snapshots")
                    self.seen[f"a tenant at full rate: {answer.status}"] += 1


def _is_open(connection: socket.socket, drip: bytes, *, is_read: bool) -> bool:
    try:
        if drip:
            connection.send(drip)
        return not is_read or bool(connection.recv(65536))
    except BlockingIOError:
        return True
    except OSError:
        return False


def _head(path: str, *lines: bytes) -> bytes:
    every = (b"POST %s HTTP/1.1" % path.encode(), b"Host: h", b"Content-Type: application/json", *lines)
    return b"\r\n".join(every) + b"\r\n\r\n"


def _post(body: bytes, *lines: bytes) -> bytes:
    return _head(LOGIN, b"Content-Length: %d" % len(body), b"Connection: close", *lines) + body


def _login(name: str) -> bytes:
    domain = {"name": "0a1b2c3d4e5f60718293a4b5c6d7e8f9"}
    user = {"name": name, "password": "wrong", "domain": domain}
    return json.dumps({"auth": {"identity": {"methods": ["password"], "password": {"user": user}}}}).encode()


def _wrong_login(draw: random.Random) -> bytes:
    return _post(_login(f"op{draw.randrange(10)}"))


def _long_name(draw: random.Random) -> bytes:
    return _post(_login("".join(draw.choices("abcdefgh", k=250))))


def _huge_json(draw: random.Random) -> bytes:
    filling = draw.choice(
        [b"[" * 60_000, b'{"a":' * 10_000, b"[" + b"0," * 30_000 + b"0]", b'"' + b"a" * 60_000]
    )
    return draw.choice([_post(filling), _head(LOGIN, b"Content-Length: 12000000") + filling])


def _huge_headers(draw: random.Random) -> bytes:
    lines = [
        b"X-%d: %s" % (number, b"a" * draw.randrange(1000, 40_000)) for number in range(draw.randrange(1, 30))
    ]
    return _post(b"{}", *lines)


def _forged_address(draw: random.Random) -> bytes:
    forged = ".".join(str(draw.randrange(256)) for _ in range(4)).encode()
    path = draw.choice([b"/metrics", b"/readyz", b"/v1.0/0a1b2c3d4e5f60718293a4b5c6d7e8f9/snapshots"])
    return b"GET %s HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: %s\r\nConnection: close\r\n\r\n" % (path, forged)


if __name__ == "__main__":
    main()
