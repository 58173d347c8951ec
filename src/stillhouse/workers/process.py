"""Worker processes: run node work in a process of its own, which ends when the pipe to its parent ends.

So the API's process never moves bytes, and a parent that is killed leaves no worker behind. Workers are forked from a
process that does nothing else (`multiprocessing.forkserver`). It has no threads, and so no locks that a fork would
copy. It has done the imports, which would cost each worker a third of a second.
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
# NumPy imports `numpy.ma` when `unique` is first called, which takes each worker up to 0.1 s
# (numpy/lib/_arraysetops_impl.py).
_PROCESSES.set_forkserver_preload(["stillhouse.workers.jobs", "numpy.ma"])


def get_ready() -> None:
    """Start the process that workers are forked from, so that the first worker need not wait for it. Idempotent."""
    forkserver.ensure_running()


@contextmanager
def _without_main_script() -> Iterator[None]:
    """Hide the program's main script while a child starts.

    Each child would run the script first, in case its work is defined there (multiprocessing/spawn.py,
    get_preparation_data). Our work never is, and the script's imports may take half a second.
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
    """Bytes done so far. `total` is how many are expected in all, or 0 if the work cannot tell."""

    done: int
    total: int = 0


@dataclass(frozen=True)
class Ready:
    """The first half of the work is done. The second half waits for a word from the parent."""


@dataclass(frozen=True)
class Saved:
    """Part of the work is durable under this name. Another attempt may start from there."""

    part: Any


@dataclass(frozen=True)
class Done(Generic[Result]):
    result: Result


@dataclass(frozen=True)
class Failed:
    error: StillhouseError


class _Alive:
    """Sent whenever the pipe was quiet for a while. Without it the process is stopped, or stuck as a whole."""


class Line:
    """The child's end of the pipe. It sends events, and a thread of its own receives words."""

    def __init__(self, pipe: Connection) -> None:
        self.pipe = pipe
        self._sending = threading.Lock()
        self._word: Any = None
        self._heard, self._stop = threading.Event(), threading.Event()

    def listen(self) -> "Line":
        """Start the listening thread. Work that forks must do so before, because a fork copies the thread's locks."""
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
        """Return the word that the parent sent, other than stop. `None` if nothing came within `wait_seconds`."""
        self.check()
        return self._word if self._heard.wait(wait_seconds) else None


def _main(work: Callable[[Task, Line], Result], task: Task, pipe: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C is for the parent to handle
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
    """The parent's side of one process that runs `work(task, line)`."""

    def __init__(self, work: Callable[[Task, Line], Result], task: Task) -> None:
        self._pipe, theirs = _PROCESSES.Pipe()
        # Not a daemon, because a daemon may not start processes. The end of the pipe ends it.
        self._process = _PROCESSES.Process(target=_main, args=(work, task, theirs))
        with _without_main_script():
            self._process.start()
        theirs.close()
        self._heard = time.monotonic()

    def poll(self, seconds: float) -> Progress | Ready | Saved | Done[Result] | None:
        """Return the next event, or `None` after `seconds`. Raises the work's error, or AttemptDead if it vanished."""
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
        """Kill a process that was silent for too long: a stopped process must not go on when it wakes. All that it
        stored belongs to a dead attempt.
        """
        silent = time.monotonic() - self._heard
        if silent > _SILENT_SECONDS:
            self._process.kill()
            raise AttemptDead(f"the worker process was silent for {silent:.0f} seconds")

    def say(self, word: object) -> None:
        """Send a word to the process. Raises AttemptDead if it has just ended."""
        try:
            self._pipe.send(word)
        except OSError:
            raise AttemptDead("the worker process ended before it could be told") from None

    def end(self) -> None:
        """Stop the work if it still runs: first by a word, so that it cleans up, then by force."""
        if self._process.is_alive():
            with suppress(OSError):  # the process is ending by itself
                self._pipe.send(None)
            self._process.join(_STOP_SECONDS)
            if self._process.is_alive():
                self._process.kill()
                self._process.join()
        self._pipe.close()


def run(
    work: Callable[[Task, Line], Result],
    task: Task,
    on_event: Callable[[Progress | Ready | Saved | None], None],
    poll_seconds: float = 0.2,
) -> Result:
    """Run `work(task, line)` in a process of its own and return its result. Raises as `Worker.poll`.

    `on_event` is called with each event, and with None where `poll_seconds` pass without one. It stops the work by
    raising.
    """
    worker: Worker[Result] = Worker(work, task)
    try:
        while not isinstance(event := worker.poll(poll_seconds), Done):
            on_event(event)
        return event.result
    finally:
        worker.end()
