"""Node work in a process of its own; it ends when the pipe to its parent does.

So the API's process never moves bytes, and a parent that is killed leaves no worker behind. Workers are forked of a
process that does nothing else (`multiprocessing.forkserver`): it has no threads whose locks a fork would copy, and it
has imported already what would cost each of them a third of a second.
"""

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from typing import Any, Generic, TypeVar

from stillhouse import log
from stillhouse.errors import AttemptDead, Cancelled, InternalError, StillhouseError

Task = TypeVar("Task")
Result = TypeVar("Result")

_STOP_SECONDS = 10
_BEAT_SECONDS, _SILENT_SECONDS = 2.0, 60.0

_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(["stillhouse.node.jobs"])


def get_ready() -> None:
    """Start the process that workers are forked of, so that the first of them need not wait for it. Idempotent."""
    forkserver.ensure_running()


@contextmanager
def _without_main_script() -> Iterator[None]:
    """Each child would first run the program's main script (multiprocessing/spawn.py, get_preparation_data), in case
    that what it is to do stands there. Ours never does, and the script may import half a second's worth.
    """
    script = vars(sys.modules["__main__"])
    path = script.pop("__file__", None)
    try:
        yield
    finally:
        if path is not None:
            script["__file__"] = path


@dataclass(frozen=True)
class Progress:
    """`total` is what is expected by now, where the work itself knows it best."""

    done: int
    total: int = 0


@dataclass(frozen=True)
class Ready:
    """The first half is done; the second waits for a word of the parent."""


@dataclass(frozen=True)
class Saved:
    """Part of the work is durable under this name: whoever has to begin again may start from there."""

    part: Any


@dataclass(frozen=True)
class Done(Generic[Result]):
    result: Result


@dataclass(frozen=True)
class Failed:
    error: StillhouseError


class _Alive:
    """Sent when there is nothing to listen to: silence means that the process is stopped, or stuck as a whole."""


class Line:
    """The child's end of the pipe: events go out, words come in, in a thread of their own."""

    def __init__(self, pipe: Connection) -> None:
        self.pipe = pipe
        self._sending = threading.Lock()
        self._word: Any = None
        self._heard, self._stop = threading.Event(), threading.Event()

    def listen(self) -> "Line":
        """The work does so first, or after it has forked: from here on there is a thread."""
        threading.Thread(target=self._listen, name="line", daemon=True).start()
        return self

    def _listen(self) -> None:
        while True:
            try:
                if not self.pipe.poll(_BEAT_SECONDS):
                    self.tell(_Alive())
                    continue
                word = self.pipe.recv()
            except (EOFError, OSError):
                os._exit(1)  # the parent is gone: sessions close with us, and servers leave backup mode
            if word is None:
                self._stop.set()
            else:
                self._word = word
                self._heard.set()

    def check(self) -> None:
        if self._stop.is_set():
            raise Cancelled("the work was stopped")

    def tell(self, event: object) -> None:
        with self._sending:
            self.pipe.send(event)

    def word(self, wait_seconds: float) -> Any:
        """What the parent said besides stop; None when it said nothing so far."""
        self.check()
        return self._word if self._heard.wait(wait_seconds) else None


def _main(work: Callable[[Task, Line], Result], task: Task, pipe: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C is the parent's to judge
    log.configure()
    line = Line(pipe)
    try:
        line.tell(Done(work(task, line)))
    except StillhouseError as error:
        line.tell(Failed(error))
    except Exception as error:
        log.get("worker").exception("a bug in node work")
        line.tell(Failed(InternalError(f"node work failed: {error!r}")))
        raise


class Worker(Generic[Result]):
    """The parent's side of one process that does `work(task, line)`."""

    def __init__(self, work: Callable[[Task, Line], Result], task: Task) -> None:
        self._pipe, theirs = _PROCESSES.Pipe()
        # Not a daemon, which may have no processes of its own; the pipe's end is what ends it.
        self._process = _PROCESSES.Process(target=_main, args=(work, task, theirs))
        with _without_main_script():
            self._process.start()
        theirs.close()
        self._heard = time.monotonic()

    def poll(self, seconds: float) -> Progress | Ready | Saved | Done[Result] | None:
        """The next event, or None after `seconds`. Raises what the work raised; AttemptDead when it vanished."""
        try:
            if not self._pipe.poll(seconds):
                self._check_voice()
                return None
            event = self._pipe.recv()
        except (EOFError, OSError):
            self._process.join()
            raise AttemptDead(f"the worker process ended with {self._process.exitcode}") from None
        self._heard = time.monotonic()
        if isinstance(event, _Alive):
            return None
        if isinstance(event, Failed):
            raise event.error
        known: Progress | Ready | Saved | Done[Result] = event
        return known

    def _check_voice(self) -> None:
        """One that is stopped must not go on when it wakes: it is killed, and whatever it left is of a dead attempt."""
        silent = time.monotonic() - self._heard
        if silent > _SILENT_SECONDS:
            self._process.kill()
            raise AttemptDead(f"the worker process was silent for {silent:.0f} seconds")

    def say(self, word: object) -> None:
        """Raises AttemptDead when the process has just ended."""
        try:
            self._pipe.send(word)
        except OSError:
            raise AttemptDead("the worker process ended before it could be told") from None

    def end(self) -> None:
        """Stop the work if it still runs: politely, so that it cleans up, then by force."""
        if self._process.is_alive():
            with suppress(OSError):  # it is ending by itself
                self._pipe.send(None)
            self._process.join(_STOP_SECONDS)
            if self._process.is_alive():
                self._process.kill()
                self._process.join()
        self._pipe.close()
