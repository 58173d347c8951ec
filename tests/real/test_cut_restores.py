"""The proof of the gate, and of this proof: restored to a cut the money is all there; without the gate, not."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from stillhouse.domain.cluster import Engine, Node
from stillhouse.domain.snapshot import Cut, RestorePoint
from stillhouse.errors import StateForbids
from stillhouse.postgres.host import server
from stillhouse.postgres.host.account import give
from stillhouse.postgres.host.binaries import Binaries
from stillhouse.postgres.sessions import session
from support.databases.writers import Bank, until, writing
from support.snapshots.cuts import ask, superuser, take

pytestmark = pytest.mark.long

pytest_plugins = ["support.snapshots.cut_fixtures"]


@pytest.fixture
def copies(bank: Bank) -> Iterator[dict[str, Path]]:
    """A plain backup of each data node, from before the cuts: made with nothing of ours."""
    base = Path(tempfile.mkdtemp(prefix="cut-copies-"))
    for node in bank.cluster.data_nodes:
        copy = base / node.id
        with superuser(node) as connection:
            connection.execute("SELECT pg_backup_start('test', true)")
            shutil.copytree(
                Path(node.directory) / "pgdata",
                copy,
                ignore=shutil.ignore_patterns("postmaster.*", "pg_wal"),
                copy_function=copy_unless_gone,
            )
            ((label,),) = ask(connection, "SELECT labelfile FROM pg_backup_stop(false)")
        (copy / "pg_wal").mkdir(mode=0o700)
        (copy / "backup_label").write_text(label)
    yield {node.id: base / node.id for node in bank.cluster.data_nodes}
    shutil.rmtree(base)


def copy_unless_gone(source: str, target: str) -> None:
    with suppress(FileNotFoundError):
        shutil.copy2(source, target)


def test_every_restore_to_a_cut_has_all_the_money(
    binaries: Binaries, bank: Bank, copies: dict[str, Path]
) -> None:
    with writing(bank, 8):
        cuts = [take(bank) for _ in range(3)]
    assert [total(binaries, bank, copies, taken) for taken in cuts] == [bank.total] * 3


def test_without_the_gate_the_restores_are_torn(
    binaries: Binaries, bank: Bank, copies: dict[str, Path]
) -> None:
    """The test of the test above: it can tell a torn cut from a whole one."""
    with writing(bank, 8):
        cuts = [take(bank, gate_enabled=False, spread_seconds=0.02) for _ in range(3)]
    assert [total(binaries, bank, copies, taken) for taken in cuts] != [bank.total] * 3


def test_a_single_server_needs_no_gate(bank: Bank) -> None:
    alone = replace(bank, cluster=replace(bank.cluster, engine=Engine.SINGLE, nodes=bank.cluster.nodes[:1]))
    taken = take(alone)
    assert (taken.pause_seconds, taken.tries) == (0.0, 1)
    assert [point.node for point in taken.points] == [bank.cluster.coordinator.id]


def test_a_standby_is_refused_at_once(binaries: Binaries, bank: Bank, copies: dict[str, Path]) -> None:
    node = bank.cluster.data_nodes[0]
    point = take(bank).points[1]
    with recovered(binaries, node, copies[node.id], point, then="pause") as (standby, _):
        alone = replace(bank, cluster=replace(bank.cluster, engine=Engine.SINGLE, nodes=(standby,)))
        with pytest.raises(StateForbids, match="is a standby"):
            take(alone)


def total(binaries: Binaries, bank: Bank, copies: dict[str, Path], taken: Cut) -> int:
    """The money on all data nodes, each recovered from its base backup to its point of the cut."""
    points = {point.node: point for point in taken.points}
    found = 0
    for place, node in enumerate(bank.cluster.data_nodes):
        with recovered(binaries, node, copies[node.id], points[node.id], then="promote") as (_, connection):
            until(lambda: ask(connection, "SELECT pg_is_in_recovery()") == [(False,)], 30)
            found += ask(connection, f"SELECT sum(balance) FROM public.accounts_{place}")[0][0]
    return found


@contextmanager
def recovered(
    binaries: Binaries, node: Node, copy: Path, point: RestorePoint, *, then: str
) -> Iterator[tuple[Node, session.Connection]]:
    """A server on a private socket, brought from a copy of `node` to `point`, and what it does `then`."""
    home = Path(tempfile.mkdtemp(prefix="cut-recovered-"))
    home.chmod(0o755)
    moved = replace(node, directory=str(home), socket=str(home / "run"))
    pgdata = home / "pgdata"
    shutil.copytree(copy, pgdata)
    (pgdata / "recovery.signal").touch()
    for path in (home, *home.rglob("*")):
        give(path, binaries.account)
    try:
        server.start(
            binaries,
            moved,
            {
                "listen_addresses": "",
                "restore_command": f"cp {node.directory}/pgdata/pg_wal/%f %p",
                "recovery_target_name": point.name,
                "recovery_target_action": then,
            },
        )
        with superuser(moved, "gaussdb") as connection:
            yield moved, connection
    finally:
        server.stop(binaries, moved, "immediate")
        shutil.rmtree(home)
