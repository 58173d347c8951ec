"""Two random rounds on each version, from a fresh seed; `make torture` runs hundreds."""

import random
import shutil
from pathlib import Path

import pytest

from support.servers.fifteen import PG_BIN, needs_fifteen
from torture.__main__ import place
from torture.rounds import torturing

pytestmark = pytest.mark.long

ROUNDS = 2


@pytest.mark.parametrize(
    "pg_bin", [pytest.param(None, id="18"), pytest.param(PG_BIN, id="15", marks=needs_fifteen)]
)
def test_whatever_was_done_to_a_server_its_snapshots_restore_as_they_were_cut(pg_bin: Path | None) -> None:
    seed = random.randrange(1 << 31)
    print(f"again: make torture ROUNDS={ROUNDS} PG={15 if pg_bin else 18} SEED={seed}")
    data = place()
    try:
        with torturing(data, pg_bin, seed) as torture:
            for number in range(1, ROUNDS + 1):
                torture.round(number)
    finally:
        shutil.rmtree(data)
