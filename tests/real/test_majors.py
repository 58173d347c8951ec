"""Several major versions side by side: each cluster is run, restored and proved by the programs of its own."""

import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stillhouse.domain.cluster import Node, Role
from stillhouse.errors import InvalidInput, NodeUnreachable
from stillhouse.postgres.host import packaged
from stillhouse.postgres.host.binaries import Binaries, Programs, find_binaries
from stillhouse.warehouse.cluster.embedded import Site
from support.processes.service import Service, serving
from support.servers.fifteen import PG_BIN, needs_fifteen

pytestmark = needs_fifteen

ROWS = "SELECT sum(id), count(*) FROM kept"


def test_programs_of_several_versions_are_found_by_asking_them(site: Site) -> None:
    """New servers are of the packages' version unless STILLHOUSE_PG_BIN says otherwise."""
    account, own = site.binaries.account, site.binaries.major
    both = find_binaries(site.data, account, pg_bins=[PG_BIN])
    assert (both.major, sorted(one.major for one in both.installed)) == (own, [15, own])
    turned = find_binaries(site.data, account, pg_bin=PG_BIN, pg_bins=[site.binaries.directory])
    assert (turned.major, sorted(one.major for one in turned.installed)) == (15, [15, own])
    named = find_binaries(site.data, account, pg_bins=[PG_BIN, site.binaries.directory])
    assert (named.major, len(named.installed)) == (own, 2)
    alone = find_binaries(site.data, account, pg_bin=PG_BIN)
    assert [one.major for one in alone.installed] == [15]


def test_debians_packages_give_other_versions_where_no_directory_is_named(site: Site) -> None:
    account, own = site.binaries.account, site.binaries.directory
    untold = find_binaries(site.data, account)
    fifteen = untold.of_major(15)
    assert fifteen is not None and (fifteen.directory, fifteen.major) == (PG_BIN, 15)
    assert (untold.of_major(untold.major), untold.of_major(14)) == (untold, None)
    for told in ({"pg_bin": own}, {"pg_bins": [own]}):
        assert find_binaries(site.data, account, **told).of_major(15) is None


@pytest.mark.skipif(os.geteuid() != 0, reason="files are given away, which takes root")
def test_only_programs_that_root_alone_can_change_are_trusted(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    programs = tmp_path / "15" / "bin"
    programs.mkdir(parents=True)
    initdb = programs / "initdb"
    initdb.write_text("#!/bin/sh\n")
    assert packaged.directory_of(15, tmp_path) == programs
    for path in (initdb, programs, programs.parent, tmp_path):
        mode = path.stat().st_mode
        os.chown(path, 1234, 0)
        assert packaged.directory_of(15, tmp_path) is None, path
        os.chown(path, 0, 0)
        path.chmod(mode | 0o020)
        assert packaged.directory_of(15, tmp_path) is None, path
        path.chmod(mode)
    (programs / "postmaster").symlink_to("initdb")
    assert packaged.directory_of(15, tmp_path) == programs
    (tmp_path / "elsewhere").touch()
    (programs / "postgres").symlink_to(tmp_path / "elsewhere")
    assert packaged.directory_of(15, tmp_path) is None
    (programs / "postgres").unlink()
    (tmp_path / "16").symlink_to(programs.parent)
    assert packaged.directory_of(16, tmp_path) == programs, "the place that a link leads to is looked at"
    assert packaged.directory_of(17, tmp_path) is None


def test_two_directories_of_one_version_and_one_without_programs_are_refused(
    site: Site, tmp_path: Path
) -> None:
    other = tmp_path / "bin"
    other.symlink_to(PG_BIN)
    with pytest.raises(InvalidInput, match=rf"{PG_BIN} and {other} both hold PostgreSQL 15"):
        find_binaries(site.data, site.binaries.account, pg_bin=PG_BIN, pg_bins=[other])
    with pytest.raises(InvalidInput, match=f"{tmp_path} holds no PostgreSQL"):
        find_binaries(site.data, site.binaries.account, pg_bins=[PG_BIN, tmp_path])


def test_a_data_directory_gets_the_programs_of_its_version_or_a_refusal_by_name(tmp_path: Path) -> None:
    node = Node("n", "dn1", Role.DN, "127.0.0.1", 8000, str(tmp_path), str(tmp_path))
    two = (Programs(Path("/eighteen"), "18.1"), Programs(Path("/fifteen"), "15.9"))
    binaries = Binaries(Path("/eighteen"), "18.1", None, installed=two)
    assert binaries.of(node).major == 18  # it is yet to be made
    (tmp_path / "pgdata").mkdir()
    for version, directory in (("15\n", "/fifteen"), ("18\n", "/eighteen")):
        (tmp_path / "pgdata" / "PG_VERSION").write_text(version)
        assert binaries.of(node).directory == Path(directory)
        assert binaries.of(node).of(node).installed == two
    (tmp_path / "pgdata" / "PG_VERSION").write_text("16\n")
    with pytest.raises(NodeUnreachable, match=r"dn1 is of PostgreSQL 16.* programs of 15 and 18") as refused:
        binaries.of(node)
    assert "STILLHOUSE_PG_BINS" in refused.value.hint
    elsewhere = dataclasses.replace(node, directory="")
    assert binaries.of(elsewhere).major == 18


@pytest.fixture(scope="module")
def environment() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as changed:
        changed.setenv("STILLHOUSE_FINGERPRINT_SECONDS", "60")
        yield changed


@pytest.fixture(scope="module")
def service(data_root: Path, environment: pytest.MonkeyPatch) -> Iterator[Service]:
    """It has run with the programs of 15 alone, and has a cluster of 15 with a snapshot."""
    environment.setenv("STILLHOUSE_PG_BIN", str(PG_BIN))
    with serving(data_root / "majors") as running:
        yield running


@pytest.mark.long
def test_each_snapshot_becomes_a_cluster_of_its_own_version(
    service: Service, environment: pytest.MonkeyPatch
) -> None:
    old = service.create_cluster("elder", 2)
    then = take(service, old, "of-fifteen")
    assert service.stop() == 0

    embedded = find_binaries(service.data, None).directory
    environment.setenv("STILLHOUSE_PG_BIN", str(embedded))
    service.start()
    refused = service.restore(then, "too-new")
    assert service.settled(refused)["status"] == "CREATE_FAILED"
    ((reason, hint),) = service.rows("SELECT reason, hint FROM sh_operations WHERE cluster_id = ?", refused)
    assert "node cn of the snapshot is of PostgreSQL 15" in reason and "only the programs of 18" in reason
    assert "PostgreSQL 15" in hint and "STILLHOUSE_PG_BINS" in hint
    assert not list((service.data / "clusters").glob(f"{refused}/*/pgdata*"))  # nothing was copied
    assert service.stop() == 0

    environment.delenv("STILLHOUSE_PG_BIN")  # now Debian's packages are looked for
    service.start()
    new = service.create_cluster("newer", 1)
    now = take(service, new, "of-eighteen")
    for snapshot, name, major in ((then, "again-old", 15), (now, "again-new", 18)):
        clone = service.restore(snapshot, name)
        assert service.settled(clone)["status"] == "AVAILABLE"
        assert version_and_rows(service, clone) == (major, [(5050, 100)])
    assert version_and_rows(service, old) == (15, [(5050, 100)])  # it was started again by its own programs
    assert proved(service, then)["state"] == "PROVED"


def proved(service: Service, snapshot: str) -> dict[str, Any]:
    path = f"/stillhouse/v1/{{p}}/snapshots/{snapshot}"
    assert service.call("POST", f"{path}/prove").status == 202

    def look() -> dict[str, Any] | None:
        proof: dict[str, Any] = service.call("GET", f"{path}/proof").json["proof"]
        return proof if proof["state"] != "RUNNING" else None

    found: dict[str, Any] = service.until("the proof to end", look)
    return found


def take(service: Service, cluster: str, name: str) -> str:
    with service.log_in(cluster) as connection:
        connection.execute("CREATE TABLE kept AS SELECT generate_series(1, 100) AS id")
    snapshot = service.request_snapshot(cluster, name)
    assert service.ended(snapshot) == "AVAILABLE"
    return snapshot


def version_and_rows(service: Service, cluster: str) -> tuple[int, list[tuple[int, int]]]:
    with service.log_in(cluster) as connection:
        return connection.info.server_version // 10_000, connection.execute(ROWS).fetchall()
