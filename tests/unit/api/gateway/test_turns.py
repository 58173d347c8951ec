"""Requests that arrive together: as many as the bound are let in, the last ones, and the others are told at once."""

import asyncio

from stillhouse.api.gateway.turns import Turns
from stillhouse.errors import Overloaded


def test_of_many_that_arrive_together_the_last_ones_are_let_in() -> None:
    async def main() -> list[bool]:
        turns = Turns(most_waiting=10)

        async def is_let_in() -> bool:
            try:
                await turns.take()
            except Overloaded:
                return False
            return True

        return list(await asyncio.gather(*(is_let_in() for _ in range(50))))

    assert asyncio.run(main()) == [False] * 40 + [True] * 10


def test_nobody_is_refused_who_comes_after_the_others() -> None:
    async def main() -> None:
        turns = Turns(most_waiting=1)
        for _ in range(5):
            await turns.take()

    asyncio.run(main())
