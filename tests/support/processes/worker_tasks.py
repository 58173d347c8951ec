"""What worker processes are made to do in tests; here, since a spawned child can import only what is on its path."""

import multiprocessing
import os
import sys
from multiprocessing.connection import Connection

import numpy as np
import psutil

from stillhouse.domain.throttle import IoPriority
from stillhouse.workers.jobs import take_io_priority
from stillhouse.workers.process import Line, Progress


def vanish(task: str, line: Line) -> str:
    line.tell(Progress(1))
    os._exit(3)


def answer(task: str, line: Line) -> str:
    return f"{task} {line.listen().word(30)}"


def wait(task: str, line: Line) -> str:
    line.listen()
    line.tell(Progress(1))
    while True:
        line.word(0.05)


def io_priorities(priority: IoPriority, line: Line) -> list[tuple[int, int]]:
    """This process' own, and that of one that it starts."""
    take_io_priority(priority)
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    child = multiprocessing.get_context("spawn").Process(target=_send_io_priority, args=(theirs,))
    child.start()
    found = [_io_priority(), ours.recv()]
    child.join()
    return found


def _send_io_priority(pipe: Connection) -> None:
    pipe.send(_io_priority())


def _io_priority() -> tuple[int, int]:
    found = psutil.Process().ionice()
    return int(found.ioclass), int(found.value)


def imported(_task: str, _line: Line) -> list[str]:
    """What has to be imported yet when pages of a map are told apart."""
    before = set(sys.modules)
    np.unique(np.arange(3))
    return sorted(set(sys.modules) - before)
