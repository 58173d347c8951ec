"""Names of snapshots and clusters are completed by a call of the service, in each shell; without one by nothing."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import update

from stillhouse.catalog.schema.tables import clusters
from support.api.application import PROJECT, Service, serving_service
from support.terminal import shells

CLUSTER = "warehouse-9"
TYPED = [
    ("snapshot show night", {"nightly-a", "nightly-b"}),
    ("snapshot delete weekly nightly-", {"nightly-a", "nightly-b"}),
    ("snapshot undelete ", {"thrown-away"}),
    ("snapshot create next --cluster ", {CLUSTER}),
    ("cluster show ", {CLUSTER}),
    (f"cluster connect --data /any --project {PROJECT} ", {CLUSTER}),
    ("cluster remove ware", {CLUSTER}),
    ("cluster check ware", {CLUSTER}),
]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving_service(tmp_path_factory.mktemp("completion")) as running:
        cluster = running.add_cluster()
        for name in ("nightly-a", "nightly-b", "weekly", "thrown-away"):
            snapshot = running.take_snapshot(cluster, name, 1)
        running.store_snapshot(snapshot, cluster)
        assert running.client.request("DELETE", f"/v1.0/{{p}}/snapshots/{snapshot}").status < 300
        with running.control.database.transaction() as transaction:
            transaction.execute(update(clusters).values(name=CLUSTER))
        yield running


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shells.write_scripts(tmp_path_factory.mktemp("scripts"))


@pytest.fixture(scope="module")
def known(service: Service) -> dict[str, str]:
    """An environment that knows the program, the service and a key."""
    return {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        **service.client.environment,
    }


@pytest.mark.parametrize(("typed", "wanted"), TYPED)
def test_bash_completes_names(scripts: Path, known: dict[str, str], typed: str, wanted: set[str]) -> None:
    assert shells.completed_by_bash(scripts, typed, known) == wanted


@pytest.mark.parametrize(("typed", "wanted"), TYPED[:1] + TYPED[3:4])
def test_fish_completes_names(
    scripts: Path, tmp_path: Path, known: dict[str, str], typed: str, wanted: set[str]
) -> None:
    assert shells.completed_by_fish(scripts, tmp_path, typed, known) == wanted


@pytest.mark.parametrize(("typed", "wanted"), TYPED[:1] + TYPED[3:4])
def test_zsh_completes_names(
    scripts: Path, tmp_path: Path, known: dict[str, str], typed: str, wanted: set[str]
) -> None:
    shells.shown_by_zsh(scripts, tmp_path, typed, wanted, known)


@pytest.mark.parametrize(
    "lacking",
    [{"STILLHOUSE_ENDPOINT": "http://127.0.0.1:1"}, {"CLOUD_SDK_SK": ""}, {"STILLHOUSE_PROJECT": "x"}],
)
def test_without_a_service_or_a_key_nothing_is_completed_and_nothing_said(
    scripts: Path, tmp_path: Path, known: dict[str, str], lacking: dict[str, str]
) -> None:
    environment = known | lacking | {"HOME": str(tmp_path)}
    assert shells.completed_by_bash(scripts, "snapshot show ", environment) == set()


def test_flags_on_the_line_choose_the_service(scripts: Path, known: dict[str, str]) -> None:
    line = f"snapshot show --endpoint {known['STILLHOUSE_ENDPOINT']} weekl"
    elsewhere = known | {"STILLHOUSE_ENDPOINT": "http://127.0.0.1:1"}
    assert shells.completed_by_bash(scripts, line, elsewhere) == {"weekly"}
