"""A worker process that is gone is a dead attempt, whoever notices it first."""

import pytest

from stillhouse.errors import AttemptDead, Cancelled
from stillhouse.node.process import Done, Progress, Worker
from support import worker_tasks


def test_work_is_done_and_spoken_to() -> None:
    worker: Worker[str] = Worker(worker_tasks.answer, "told")
    worker.say("this")
    assert worker.poll(30) == Done("told this")
    worker.end()


def test_a_vanished_worker_is_a_dead_attempt() -> None:
    worker: Worker[str] = Worker(worker_tasks.vanish, "any")
    assert worker.poll(30) == Progress(1)
    with pytest.raises(AttemptDead):
        worker.poll(30)
    with pytest.raises(AttemptDead):
        worker.say("too late")
    worker.end()


def test_a_worker_stops_when_it_is_told() -> None:
    worker: Worker[str] = Worker(worker_tasks.wait, "any")
    assert worker.poll(30) == Progress(1)
    worker.say(None)
    with pytest.raises(Cancelled):
        worker.poll(30)
    worker.end()
