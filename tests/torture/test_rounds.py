"""Random rounds on each version by each reader, from a fresh seed; `make torture` runs hundreds."""

import random
import shutil

import pytest

from support.servers.fifteen import needs_fifteen
from torture.__main__ import place
from torture.readers import Reader
from torture.rounds import torturing

pytestmark = pytest.mark.long

ROUNDS = 2


@pytest.mark.parametrize("reader", [*Reader])
@pytest.mark.parametrize("major", [18, pytest.param(15, marks=needs_fifteen)])
def test_whatever_was_done_to_a_server_its_snapshots_restore_as_they_were_cut(
    major: int, reader: Reader
) -> None:
    seed = random.randrange(1 << 31)
    print(f"again: make torture ROUNDS={ROUNDS} PG={major} READER={reader} SEED={seed}")
    data = place()
    try:
        with torturing(data, major, seed, reader) as torture:
            for number in range(1, ROUNDS + 1):
                torture.round(number)
    finally:
        shutil.rmtree(data)
