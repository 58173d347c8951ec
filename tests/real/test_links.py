"""Root follows nobody's links, on real servers: a secret that a tenant reaches for stays where it is."""

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from stillhouse.domain.cluster import Cluster, Node
from stillhouse.errors import FileRefused, NodeUnreachable, StillhouseError
from stillhouse.postgres.host import server
from stillhouse.postgres.wal.backup import facts
from stillhouse.warehouse.clone import quarantine
from stillhouse.warehouse.cluster import embedded
from stillhouse.warehouse.cluster.embedded import Site
from support.data_directories.plants import LINK, ROOTS, Secret, holds, make_secret, needs_root, plant, uproot
from support.servers import warehouses
from support.servers.warehouses import rows
from support.snapshots.captures import (
    Clone,
    Moments,
    Shot,
    Vault,
    capture_cluster,
    files,
    lines,
    restored_cluster,
)
from support.snapshots.cuts import superuser, tell

pytest_plugins = ["support.snapshots.capture_fixtures"]
pytestmark = [pytest.mark.long, needs_root, pytest.mark.usefixtures("captures_leave_nothing")]

KEPT = "SELECT count(*), sum(i) FROM public.kept"


@pytest.fixture(scope="module")
def secret(tmp_path_factory: pytest.TempPathFactory, node: Node) -> Secret:
    with superuser(node) as connection:
        return make_secret(tmp_path_factory.mktemp("root"), facts(connection).tablespace_directory)


@pytest.fixture(scope="module")
def housed(node: Node, site: Site) -> str:
    """A directory of relations in a tablespace, relative to the data directory."""
    place = Path(node.directory, "tablespaces", "planted")
    place.mkdir()
    owner = Path(node.directory).stat()
    os.chown(place, owner.st_uid, owner.st_gid)
    with superuser(node) as connection:
        tell(connection, f"CREATE TABLESPACE planted LOCATION '{place}'")
        tell(connection, "CREATE TABLE public.housed TABLESPACE planted AS SELECT generate_series(1, 10) i")
    ((path,),) = rows(node, "SELECT pg_relation_filepath('public.housed'::regclass)")
    return str(path).rpartition("/")[0]


@dataclass(frozen=True)
class Planted:
    """A capture of a server whose directory was full of plants, and what was to be said of each of them."""

    shot: Shot
    told: dict[str, str]


@pytest.fixture(scope="module")
def planted(house: Cluster, node: Node, vault: Vault, secret: Secret, housed: str) -> Planted:
    pgdata = Path(node.directory, "pgdata")
    ((database,),) = rows(node, "SELECT 'base/' || oid FROM pg_database WHERE datname = 'postgres'")
    told = plant(pgdata, secret, database, housed)
    try:
        return Planted(capture_cluster(house, vault), told)
    finally:
        uproot(pgdata, told)


def test_a_capture_ends_and_names_all_that_it_left_out(planted: Planted, vault: Vault) -> None:
    captured = planted.shot.captured["cn"]
    assert captured.skipped_first == planted.told
    assert captured.skipped == len(planted.told)
    written = {line["what"]: line["why"] for line in lines(vault, captured) if line["t"] == "skipped"}
    assert written == planted.told


def test_what_was_left_out_is_nowhere_in_a_clone_and_the_rest_is_there(
    site: Site, house: Cluster, node: Node, vault: Vault, secret: Secret, planted: Planted
) -> None:
    with restored_cluster(site, house, planted.shot, vault) as clone:
        restored = clone.cluster.coordinator
        assert holds(Path(restored.directory), secret.content) == []
        assert rows(restored, KEPT) == rows(node, KEPT)
        assert rows(restored, "SELECT sum(i) FROM public.housed") == [(55,)]
        assert rows(restored, "SELECT count(*) FROM pg_tablespace WHERE spcname = 'planted'") == [(1,)]


def test_a_relation_swapped_for_a_link_while_it_is_captured_is_left_out(
    house: Cluster, node: Node, vault: Vault, secret: Secret
) -> None:
    with superuser(node) as connection:
        tell(connection, "CREATE TABLE public.swapped AS SELECT generate_series(1, 100) i")
        tell(connection, "CHECKPOINT")
    ((path,),) = rows(node, "SELECT pg_relation_filepath('public.swapped'::regclass)")
    file = Path(node.directory, "pgdata", path)

    def swap() -> None:
        file.rename(file.with_name("aside"))
        file.symlink_to(secret.file)

    try:
        captured = capture_cluster(house, vault, Moments(listed=swap)).captured["cn"]
    finally:
        file.unlink()
        file.with_name("aside").rename(file)
    assert captured.skipped_first == {path: LINK}
    assert path not in files(vault, captured)


def test_a_clone_starts_without_the_configuration_that_was_left_out(
    site: Site, house: Cluster, node: Node, vault: Vault, secret: Secret
) -> None:
    """Which the server reads through a link, and the capture does not."""
    conf = Path(node.directory, "pgdata", "postgresql.conf")
    conf.rename(conf.with_name("aside"))
    os.link(secret.file, conf)
    try:
        shot = capture_cluster(house, vault)
    finally:
        conf.unlink()
        conf.with_name("aside").rename(conf)
    assert shot.captured["cn"].skipped_first == {"postgresql.conf": ROOTS}
    with restored_cluster(site, house, shot, vault) as clone:
        assert rows(clone.cluster.coordinator, KEPT) == rows(node, KEPT)


def test_configuration_elsewhere_is_left_out_where_it_leads_to_roots(
    site: Site, house: Cluster, node: Node, vault: Vault, secret: Secret
) -> None:
    home = Path(node.directory)
    rules = home / "rules"
    rules.write_text((home / "pgdata" / "pg_hba.conf").read_text())
    os.chown(rules, home.stat().st_uid, home.stat().st_gid)
    server.restart(site.binaries, node, {"hba_file": str(rules)})
    try:
        rules.unlink()
        rules.symlink_to(secret.file)
        captured = capture_cluster(house, vault).captured["cn"]
    finally:
        rules.unlink()
        server.restart(site.binaries, node)
    assert captured.skipped_first == {str(rules): ROOTS}
    assert "@config/pg_hba.conf" not in files(vault, captured)


def test_the_release_of_a_clone_neither_reads_nor_writes_through_a_link(
    site: Site, house: Cluster, vault: Vault, planted: Planted, secret: Secret
) -> None:
    cloned: list[Path] = []

    def swap(clone: Clone) -> None:
        settings = Path(clone.cluster.coordinator.directory, quarantine.ASIDE)
        settings.unlink()
        settings.symlink_to(secret.file)
        cloned.append(settings)

    with restored_cluster(site, house, planted.shot, vault, in_quarantine=swap) as clone:
        home = Path(clone.cluster.coordinator.directory)
        told = [path for path in home.rglob("*.conf") if secret.content in path.read_bytes()]
    assert told == []
    assert len(cloned) == 1
    assert (secret.file.read_bytes(), secret.file.stat().st_uid) == (secret.content, 0)


# --- the life of a server ---------------------------------------------------------------------------------


@pytest.fixture
def made(site: Site) -> Iterator[Node]:
    """A server that does not run."""
    spec = warehouses.new_spec(1)
    (node,) = embedded.plan_nodes(site, spec.cluster_id, 1, spec.port)
    server.initialise(site.binaries, node)
    yield node
    embedded.destroy(site, spec.cluster_id)


def test_why_a_server_does_not_start_is_not_read_out_of_somebody_elses_file(
    site: Site, made: Node, secret: Secret
) -> None:
    Path(made.directory, "server.log").symlink_to(secret.file)
    with pytest.raises(NodeUnreachable) as failed:
        server.start(site.binaries, made)
    assert secret.content.decode() not in str(failed.value)
    assert "server.log is a symbolic link" in str(failed.value)


def test_a_server_does_not_start_in_a_place_that_its_account_has_swapped_for_a_link(
    site: Site, made: Node, secret: Secret
) -> None:
    pgdata = Path(made.directory, "pgdata")
    before = sorted(path.name for path in secret.place.iterdir())
    pgdata.rename(pgdata.with_name("aside"))
    pgdata.symlink_to(secret.place)
    with pytest.raises(FileRefused, match="pgdata is a symbolic link"):
        server.start(site.binaries, made)
    assert sorted(path.name for path in secret.place.iterdir()) == before


@pytest.mark.parametrize("name", ["postmaster.pid", "pg_hba.conf", "pg_ident.conf"])
def test_a_directory_where_a_file_should_be_stops_that_server_and_not_the_service(
    site: Site, made: Node, name: str
) -> None:
    """At its start the service goes on after an error of ours on a cluster, and ends at any other error."""
    path = Path(made.directory, "pgdata", name)
    path.unlink(missing_ok=True)
    path.mkdir()
    with pytest.raises(StillhouseError, match=name):
        server.start(site.binaries, made)
    assert [*path.parent.glob("*.new")] == []


def test_what_an_account_planted_beforehand_is_not_given_to_it(site: Site, secret: Secret) -> None:
    spec = warehouses.new_spec(1)
    (node,) = embedded.plan_nodes(site, spec.cluster_id, 1, spec.port)
    secret.place.chmod(0o750)
    Path(node.directory).mkdir()
    Path(node.directory, "tablespaces").symlink_to(secret.place)
    try:
        with suppress(StillhouseError):
            server.initialise(site.binaries, node)
        status = secret.place.stat()
        assert (status.st_uid, status.st_mode & 0o777) == (0, 0o750)
    finally:
        secret.place.chmod(0o700)
        embedded.destroy(site, spec.cluster_id)
