"""The promise of the whole: whatever is written meanwhile, every restored cluster holds all the money.

And the test of this test: without the gate it does not.
"""

from collections.abc import Iterator
from functools import partial
from itertools import islice

import pytest

from stillhouse.warehouse.cluster.embedded import Site
from support.databases.writers import Bank, writing
from support.snapshots.captures import (
    HASTY,
    Shot,
    Vault,
    capture_cluster,
    open_vault,
    restored_cluster,
    take_one,
)

pytestmark = pytest.mark.long

pytest_plugins = ["support.snapshots.cut_fixtures"]

WRITERS = 8
SNAPSHOTS = 10
TORN_TRIES = 5


@pytest.fixture(scope="module")
def vault_of_bank(bank: Bank, tmp_path_factory: pytest.TempPathFactory) -> Vault:
    return open_vault(tmp_path_factory.mktemp("vault"), bank.cluster)


def total(site: Site, bank: Bank, vault: Vault, shot: Shot) -> int:
    with (
        restored_cluster(site, bank.cluster, shot, vault, settings=HASTY) as clone,
        Bank(clone.cluster, bank.password).connect() as user,
    ):
        ((found,),) = user.execute("SELECT sum(balance) FROM accounts").fetchall()
    return int(found)


@pytest.mark.timeout(1500)  # ten captures and ten restores: at load 22 they take 17 minutes
def test_every_snapshot_under_load_holds_all_the_money(
    site: Site, bank: Bank, vault_of_bank: Vault, capsys: pytest.CaptureFixture[str]
) -> None:
    with writing(bank, WRITERS) as writers:
        shots = [capture_cluster(bank.cluster, vault_of_bank) for _ in range(SNAPSHOTS)]
    assert [writer.errors for writer in writers] == [[]] * WRITERS
    with capsys.disabled():
        longest = max(writer.longest_seconds for writer in writers)
        held = max(shot.cut.pause_seconds for shot in shots)
        print(  # noqa: T201 (the figure that operators ask for)
            f"\n{SNAPSHOTS} snapshots, {sum(writer.transfers for writer in writers)} transfers,"
            f" the longest took {longest * 1000:.0f} ms, the longest hold {held * 1000:.0f} ms"
        )
    assert [total(site, bank, vault_of_bank, shot) for shot in shots] == [bank.total] * SNAPSHOTS


def test_without_the_gate_a_snapshot_is_torn(site: Site, bank: Bank, vault_of_bank: Vault) -> None:
    ungated = partial(take_one, gate_enabled=False, spread_seconds=0.02)

    def totals() -> Iterator[int]:
        while True:
            with writing(bank, WRITERS):
                shot = capture_cluster(bank.cluster, vault_of_bank, take=ungated)
            yield total(site, bank, vault_of_bank, shot)

    assert any(found != bank.total for found in islice(totals(), TORN_TRIES))
