"""The threads that answer requests: as many as are needed, the warmest first, none for calls beyond the queue."""

import asyncio
import threading

import pytest

from stillhouse.api.gateway.worker_threads import WorkerThreads
from stillhouse.errors import Overloaded


def test_calls_one_after_another_stay_in_one_thread_though_there_are_more() -> None:
    async def main() -> set[int]:
        threads = WorkerThreads(threads=4)
        together = threading.Barrier(4)
        await asyncio.gather(*(threads.run(together.wait, 60) for _ in range(4)))
        used: set[int] = set()
        for _ in range(50):
            while len(threads._idle) < 4:  # the last call's thread is on its way back
                await asyncio.sleep(0)
            used.add(await threads.run(threading.get_ident))
        return used

    assert len(asyncio.run(main())) == 1


def test_every_call_is_answered_when_there_are_more_than_threads() -> None:
    async def main() -> list[int]:
        threads = WorkerThreads(threads=3, most_waiting=100)
        return list(await asyncio.gather(*(threads.run(abs, -number) for number in range(100))))

    assert asyncio.run(main()) == list(range(100))


def test_a_call_beyond_the_queue_is_refused_at_once_and_its_place_is_free_again_later() -> None:
    async def main() -> str:
        threads, going_on = WorkerThreads(threads=1, most_waiting=1), threading.Event()
        held = [asyncio.ensure_future(threads.run(going_on.wait, 60)) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(Overloaded) as refused:
            await threads.run(lambda: "too many")
        assert refused.value.retry_after
        going_on.set()
        await asyncio.gather(*held)
        return await threads.run(lambda: "taken")

    assert asyncio.run(main()) == "taken"


def test_an_error_is_the_caller_s_and_the_thread_goes_on() -> None:
    async def main() -> str:
        threads = WorkerThreads(threads=1)
        for _ in range(3):
            with pytest.raises(ZeroDivisionError):
                await threads.run(lambda: 1 // 0)
        return await threads.run(lambda: "still there")

    assert asyncio.run(main()) == "still there"
