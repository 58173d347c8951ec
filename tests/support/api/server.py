"""The API on a real uvicorn in a thread of this process, on a port of the kernel's choice.

Servers are kept for the next test: what one costs is the waiting for its start and end, and a test has its own app.
"""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send


class _Server:
    """One uvicorn for the life of the process; whose application it answers for changes."""

    def __init__(self) -> None:
        self.app: ASGIApp | None = None
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        config = uvicorn.Config(
            self._answer,
            log_level="critical",
            access_log=False,
            ws="none",
            lifespan="off",
            interface="asgi3",
            timeout_keep_alive=75,  # a test on a busy machine may take long between two requests of one connection
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [self._listener]}, daemon=True)
        thread.start()
        deadline = time.monotonic() + 30
        while not server.started:
            assert thread.is_alive() and time.monotonic() < deadline, "uvicorn did not start"
            time.sleep(0.01)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert self.app is not None, "nobody is being served"
        await self.app(scope, receive, send)


_idle: list[_Server] = []


@contextmanager
def serving(app: ASGIApp) -> Iterator[str]:
    """The endpoint's URL, for as long as the context lasts."""
    server = _idle.pop() if _idle else _Server()
    server.app = app
    try:
        yield server.url
    finally:
        server.app = None
        _idle.append(server)
