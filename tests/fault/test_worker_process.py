"""A worker process that is gone is a dead attempt, whoever notices it first."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stillhouse.errors import AttemptDead, Cancelled
from stillhouse.workers import process
from stillhouse.workers.process import Done, Progress, Worker
from support.processes import worker_tasks


def test_work_is_done_and_spoken_to() -> None:
    worker: Worker[str] = Worker(worker_tasks.answer, "told")
    worker.say("this")
    assert worker.poll(30) == Done("told this")
    worker.end()


_PROGRAM = """
import pathlib, sys
pathlib.Path(sys.argv[1], __name__).touch()
from stillhouse.workers.process import Done, Worker
from support.processes.worker_tasks import answer
if __name__ == "__main__":
    worker = Worker(answer, "hello")
    worker.say("you")
    while not isinstance(event := worker.poll(1), Done):
        pass
    worker.end()
    print(event.result, pathlib.Path(__file__).name)
"""


def test_a_worker_does_not_run_the_main_script_again(tmp_path: Path) -> None:
    """It would import all that the command line or a benchmark needs, for each worker anew."""
    program, seen = tmp_path / "program.py", tmp_path / "seen"
    program.write_text(_PROGRAM)
    seen.mkdir()
    path = os.pathsep.join(entry for entry in sys.path if entry)
    done = subprocess.run(
        [sys.executable, program, seen], env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip
    assert (done.stdout, done.returncode) == ("hello you program.py\n", 0), done.stderr
    assert [file.name for file in seen.iterdir()] == ["__main__"]


def test_a_worker_imports_nothing_of_numpy_itself() -> None:
    """The process that it is forked of has done so. NumPy puts some imports off until they are used."""
    worker: Worker[list[str]] = Worker(worker_tasks.imported, "any")
    assert worker.poll(30) == Done([])
    worker.end()


def test_a_vanished_worker_is_a_dead_attempt() -> None:
    worker: Worker[str] = Worker(worker_tasks.vanish, "any")
    assert worker.poll(30) == Progress(1)
    with pytest.raises(AttemptDead):
        worker.poll(30)
    with pytest.raises(AttemptDead):
        worker.say("too late")
    worker.end()


def test_a_worker_that_was_stopped_by_a_signal_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "_SILENT_SECONDS", 1.0)
    worker: Worker[str] = Worker(worker_tasks.wait, "any")
    assert worker.poll(30) == Progress(1)
    child = multiprocessing.active_children()[0]
    os.kill(child.pid or 0, signal.SIGSTOP)
    time.sleep(1.5)
    with pytest.raises(AttemptDead, match="silent"):
        worker.poll(0.1)
    child.join(10)
    assert child.exitcode == -signal.SIGKILL
    worker.end()


def test_a_worker_that_has_nothing_to_say_is_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "_SILENT_SECONDS", 5.0)
    worker: Worker[str] = Worker(worker_tasks.wait, "any")
    until = time.monotonic() + 8
    while time.monotonic() < until:
        worker.poll(0.1)
    worker.end()


def test_a_worker_stops_when_it_is_told() -> None:
    worker: Worker[str] = Worker(worker_tasks.wait, "any")
    assert worker.poll(30) == Progress(1)
    worker.say(None)
    with pytest.raises(Cancelled):
        worker.poll(30)
    worker.end()
