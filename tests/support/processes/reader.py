"""Someone who follows a document: its commands run as they stand, with his own places in them."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from stillhouse.domain.ids import is_uuid
from stillhouse.warehouse.cluster import embedded

ROOT = Path(__file__).parents[3]
SECONDS = 120.0
DATA, ADDRESS, _PROGRAMS = "/var/lib/stillhouse", "127.0.0.1:8080", ".venv/bin/"


@dataclass(frozen=True)
class Block:
    language: str
    text: str


def blocks_of(document: Path) -> list[Block]:
    found = re.findall(r"^```(\w+)\n(.*?)^```$", document.read_text(), re.DOTALL | re.MULTILINE)
    return [Block(language, text) for language, text in found]


def blocks_with(blocks: list[Block], words: str) -> list[Block]:
    return [block for block in blocks if words in block.text]


def until(what: str, holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < deadline, f"waited too long for {what}"
        time.sleep(0.1)


def free_address() -> str:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


@dataclass
class Reader:
    """`places` are what documents leave to their reader, each with what is his own in place of it."""

    data: Path
    log: Path
    address: str = field(default_factory=free_address)
    places: dict[str, str] = field(default_factory=dict)
    seconds: float = SECONDS
    environment: dict[str, str] = field(default_factory=lambda: dict(os.environ))

    @property
    def said(self) -> str:
        """The end of what the service wrote."""
        return self.log.read_text()[-3000:]

    def own(self, text: str, given: dict[str, str] | None = None) -> str:
        """A block's text, with the reader's own in it; all that is `given` for this block must stand there."""
        programs = f"{Path(sys.executable).parent}/"
        places = {**self.places, DATA: str(self.data), ADDRESS: self.address, _PROGRAMS: programs}
        for theirs, ours in places.items():
            text = text.replace(theirs, ours)
        for placeholder, value in (given or {}).items():
            assert placeholder in text
            text = text.replace(placeholder, value)
        return text

    def run(self, block: Block, given: dict[str, str] | None = None) -> str:
        """What a block prints; what it exports stays, as in a terminal."""
        text = self.own(block.text, given)
        if block.language == "python":
            return self._output([sys.executable, "-c", text])
        after = "\x01"
        printed, _, environment = self._output(
            ["bash", "-euc", f"{text}\nprintf '{after}'; env -0"]
        ).partition(after)
        self.environment = dict(one.split("=", 1) for one in environment.split("\0") if one)
        return printed

    def _output(self, command: list[str]) -> str:
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=self.seconds,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    @contextmanager
    def serving(self, block: Block) -> Iterator[None]:
        """The service that a block starts, ready; at the end it stops in order, and its clusters are removed."""
        with self.log.open("wb") as output:
            service = subprocess.Popen(
                ["bash", "-euc", self.own(block.text)],
                cwd=ROOT,
                env=self.environment,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

        def is_ready() -> bool:
            assert service.poll() is None, self.said
            try:
                return httpx.get(f"http://{self.address}/healthz").status_code == 200
            except httpx.TransportError:
                return False

        try:
            until("the service to be ready", is_ready)
            yield
        finally:
            if service.poll() is None:
                os.killpg(service.pid, signal.SIGTERM)
            code = service.wait(60)
            destroy_clusters(self.data)
        assert code == 0, self.said


def destroy_clusters(data: Path) -> None:
    site = embedded.open_site(data)
    for cluster in site.clusters.iterdir():
        if is_uuid(cluster.name):
            embedded.destroy(site, cluster.name)
