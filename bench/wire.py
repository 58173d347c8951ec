"""A light caller over plain sockets: keeps connections open, sends one request again and again, counts the answers."""

import selectors
import socket
import time
from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Answers:
    """The answers to many requests: `each` is a status and its seconds, `bytes` the size of them all."""

    each: list[tuple[int, float]] = field(default_factory=list)
    seconds: float = 0.0
    bytes: int = 0

    @property
    def statuses(self) -> Counter[int]:
        return Counter(status for status, _ in self.each)

    def add(self, others: "Answers") -> None:
        self.each += others.each


class _Caller:
    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self._begin = b""
        self._size = 0
        self.since = 0.0

    def ask(self, request: bytes, since: float) -> None:
        self.since, self._begin, self._size = since, b"", 0
        assert self.socket.send(request) == len(request)

    def take(self) -> tuple[int, int] | None:
        """Read what is there; the status and size of the answer once it is whole."""
        read = self.socket.recv(1 << 20)
        assert read, "the service hung up"
        self._size += len(read)
        if len(self._begin) < 4096:
            self._begin += read[:4096]
        head, separator, _ = self._begin.partition(b"\r\n\r\n")
        if not separator:
            return None
        fields = head.lower().split(b"\r\n")
        if b"transfer-encoding: chunked" in fields:
            whole = read.endswith(b"0\r\n\r\n")
        else:
            (length,) = (int(each[15:]) for each in fields if each.startswith(b"content-length:"))
            whole = self._size >= len(head) + 4 + length
        return (int(head.split(b" ", 2)[1]), self._size) if whole else None


def closed_loop(port: int, request: bytes, *, callers: int, count: int) -> Answers:
    """Ask `count` times in all; each caller asks again when it has its answer."""
    answers, selector, asked = Answers(), selectors.DefaultSelector(), 0
    begun = time.perf_counter()
    for _ in range(min(callers, count)):
        caller = _Caller(port)
        selector.register(caller.socket, selectors.EVENT_READ, caller)
        caller.ask(request, time.perf_counter())
        asked += 1
    while len(answers.each) < count:
        for key, _ in selector.select():
            caller = key.data
            if (answer := caller.take()) is None:
                continue
            now = time.perf_counter()
            answers.each.append((answer[0], now - caller.since))
            answers.bytes += answer[1]
            if asked < count:
                asked += 1
                caller.ask(request, now)
    answers.seconds = time.perf_counter() - begun
    _close(selector)
    return answers


def offered(port: int, request: bytes, *, per_second: float, seconds: float, most: int = 800) -> Answers:
    """Ask at a fixed rate, whether answers come or not, over as many connections as that takes, up to `most`."""
    answers, selector = Answers(), selectors.DefaultSelector()
    idle: list[_Caller] = []
    begun, asked, busy, made = time.perf_counter(), 0, 0, 0
    total = int(per_second * seconds)
    while len(answers.each) < total:
        due = min(total, int((time.perf_counter() - begun) * per_second))
        while asked < due and (idle or made < most):
            if not idle:
                idle.append(_Caller(port))
                made += 1
                selector.register(idle[-1].socket, selectors.EVENT_READ, idle[-1])
            idle.pop().ask(request, begun + asked / per_second)
            asked, busy = asked + 1, busy + 1
        for key, _ in selector.select(0.0005):
            if (answer := key.data.take()) is not None:
                answers.each.append((answer[0], time.perf_counter() - key.data.since))
                idle.append(key.data)
                busy -= 1
    answers.seconds = time.perf_counter() - begun
    _close(selector)
    return answers


def _close(selector: selectors.BaseSelector) -> None:
    for key in list(selector.get_map().values()):
        key.data.socket.close()
    selector.close()
