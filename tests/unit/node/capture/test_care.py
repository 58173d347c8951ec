"""How gently a capture treats the warehouse."""

from pathlib import Path

import psutil
import pytest

from stillhouse.domain.ids import new_uuid
from stillhouse.domain.throttle import Care, IoPriority
from stillhouse.node.capture import copying
from stillhouse.repository.format.cipher_keys import Kek, create_or_open
from stillhouse.storage.object_stores import memory_store
from stillhouse.workers.process import Done, Worker
from support.data_directories import fake_tree
from support.processes import worker_tasks


def test_without_a_bound_nothing_waits() -> None:
    assert Care().wait_seconds(1 << 40, 0.0) == 0.0


def test_who_is_ahead_of_the_bound_waits_until_he_is_not() -> None:
    care = Care(bytes_per_second=1000)
    assert care.wait_seconds(5000, 2.0) == 3.0
    assert care.wait_seconds(5000, 5.0) == 0.0
    assert care.wait_seconds(5000, 9.0) == 0.0


def test_a_copy_rests_for_as_long_as_its_bytes_ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a clock that only its own rests move: in the end it has been as slow as it was told to be."""
    now = [0.0]

    class Clock:
        monotonic = staticmethod(lambda: now[0])

        @staticmethod
        def sleep(seconds: float) -> None:
            now[0] += seconds

    monkeypatch.setattr(copying, "time", Clock)
    fake_tree.make(tmp_path / "home", seed=3)
    store = memory_store()
    keys = create_or_open(store, Kek(bytes(32)), new_uuid())
    care = Care(bytes_per_second=1 << 20)
    _, _, copy = fake_tree.capture(tmp_path / "home", store, keys, care=care)
    assert now[0] == pytest.approx(copy.tally.bytes_read / (1 << 20))


@pytest.mark.parametrize(
    ("priority", "expected"),
    [
        (IoPriority.LOW, (psutil.IOPRIO_CLASS_BE, 7)),
        (IoPriority.IDLE, (psutil.IOPRIO_CLASS_IDLE, 0)),
    ],
)
def test_the_io_priority_holds_for_the_processes_that_pack_too(
    priority: IoPriority, expected: tuple[int, int]
) -> None:
    worker: Worker[list[tuple[int, int]]] = Worker(worker_tasks.io_priorities, priority)
    try:
        assert worker.poll(30) == Done([expected, expected])
    finally:
        worker.end()
