"""Packing processes: packers that each run in a process of their own, for large captures.

Checksums and fingerprints are many short native calls. Threads of one process compete for the interpreter's lock in
them: two processes pack a quarter more than two threads. While a process packs a batch, the disk reads the next one.
"""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection

from stillhouse.errors import CaptureInterrupted, StillhouseError
from stillhouse.node.capture.pack_writer import PackWriter, StoredPack
from stillhouse.node.capture.packing import Batch, Packed, Packer
from stillhouse.postgres.readers.node_files import NodeFiles
from stillhouse.repository.format.cipher_keys import ClusterKeys
from stillhouse.storage.store import ObjectStore

SEATS = 2
"""How many batches a process has at a time: one that it packs, and the next, which is then already there."""

_END_SECONDS = 10


@dataclass(frozen=True)
class PackerPlan:
    """The arguments of a `Packer`, which explains them. A plan can be sent to another process."""

    reader: NodeFiles
    store: ObjectStore
    keys: ClusterKeys
    page_size: int
    start_lsn: int
    checksums: bool

    def packer(self, on_pack: Callable[[StoredPack], None]) -> Packer:
        writer = PackWriter(self.store, self.keys, on_pack)
        return Packer(self.reader, writer, self.page_size, self.start_lsn, checksums=self.checksums)


@dataclass(frozen=True)
class _Answer:
    """The answer to one request. `packs` became durable since the previous answer."""

    packed: Packed | None
    packs: list[StoredPack]
    error: StillhouseError | OSError | None = None


class _Nothing:
    """No batch is waiting."""


class PackingProcess:
    """A `Packer` in another process, usable after `begin`. SEATS threads at once keep it busy."""

    def __init__(self, foreign: Iterable[Connection] = ()) -> None:
        """Fork the process, which saves the imports. The parent must have no threads yet: a fork copies their locks.

        `foreign` are other pipes that the process inherits. It closes them, because others wait for their end.
        """
        context = multiprocessing.get_context("fork")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, [self._pipe, *foreign]), daemon=True)
        self._process.start()
        theirs.close()
        self._asking = threading.Lock()
        self._turn = threading.Event()  # set when the next thread that asks may take its answer
        self._turn.set()

    def begin(self, plan: PackerPlan, on_pack: Callable[[StoredPack], None]) -> "PackingProcess":
        self._on_pack = on_pack
        self._send(plan)
        return self

    def pack(self, batch: Batch) -> Packed:
        packed = self._ask(batch)
        assert packed is not None, "a batch has an outcome"
        return packed

    def finish(self) -> None:
        """Make all frames so far durable."""
        self._ask(None)

    def end(self) -> None:
        """End the process, even in the middle of a batch. Unfinished frames are lost. Idempotent."""
        self._pipe.close()
        self._process.terminate()
        self._process.join(_END_SECONDS)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def _ask(self, batch: Batch | None) -> Packed | None:
        """Send a request and wait for its answer. Answers come in the order of the requests."""
        with self._asking:
            self._send(batch)
            mine, self._turn = self._turn, threading.Event()
            following = self._turn
        mine.wait()
        try:
            answer: _Answer = self._pipe.recv()
            for pack in answer.packs:
                self._on_pack(pack)
        except (EOFError, OSError):
            raise self._ended() from None
        finally:
            following.set()
        if answer.error is not None:
            raise answer.error
        return answer.packed

    def _send(self, word: PackerPlan | Batch | None) -> None:
        try:
            self._pipe.send(word)
        except OSError:
            raise self._ended() from None

    def _ended(self) -> CaptureInterrupted:
        self._process.join(_END_SECONDS)
        return CaptureInterrupted(
            f"a packing process ended with {self._process.exitcode}", hint="another attempt follows"
        )


@contextmanager
def packing_crew(number: int, foreign: Iterable[Connection] = ()) -> Iterator[list[PackingProcess]]:
    """Start `number` packing processes. They end with the block, even in the middle of a batch."""
    crew: list[PackingProcess] = []
    try:
        for _ in range(number):
            crew.append(PackingProcess([*foreign, *(other._pipe for other in crew)]))
        yield crew
    finally:
        for packer in crew:
            packer.end()


def _serve(pipe: Connection, foreign: Iterable[Connection]) -> None:
    """Pack each batch that arrives, until the pipe ends: the frames are of no use once the parent is gone."""
    for inherited in foreign:
        inherited.close()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C is for the parent to handle
    packs: deque[StoredPack] = deque()
    with suppress(EOFError, OSError):
        plan: PackerPlan = pipe.recv()
        packer = plan.packer(packs.append)
        batch: Batch | None = pipe.recv()
        while True:
            following: Batch | _Nothing | None = pipe.recv() if pipe.poll(0) else _Nothing()
            if isinstance(following, Batch):
                packer.foresee(following)
            pipe.send(_answer(packer, batch, packs))
            batch = pipe.recv() if isinstance(following, _Nothing) else following
    os._exit(0)  # without waiting for packs that are being stored


def _answer(packer: Packer, batch: Batch | None, packs: deque[StoredPack]) -> _Answer:
    packed: Packed | None = None
    failure: StillhouseError | OSError | None = None
    try:
        if batch is None:
            packer.finish()
        else:
            packed = packer.pack(batch)
    except (StillhouseError, OSError) as error:
        failure = error
    return _Answer(packed, [packs.popleft() for _ in range(len(packs))], failure)
