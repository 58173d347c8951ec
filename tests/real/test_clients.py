"""The documented samples in three languages, and a tour by the Java and Go SDKs, whose typed models read every field.

The programs are in `tests/clients`, with the versions of the SDKs pinned. Java and Go are built once per process, and
only in CI or with STILLHOUSE_CLIENTS=1 (`make test-clients`), since a build costs more than most tests. Where there is
no toolchain the test is skipped and says so; a toolchain that cannot build is a failure.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support.api.application import PROJECT, Service, serving_service

CLIENTS = Path(__file__).parents[1] / "clients"
REGION = "local-1"
# The cluster that the documented samples name.
SAMPLES_CLUSTER = "44b277eb-39be-4921-be31-3d61b43651d7"
# Building them takes longer than the daily tier has.
BUILT = [pytest.param(language, marks=pytest.mark.long) for language in ("java", "go")]
_WANTED = os.environ.get("CI") == "true" or os.environ.get("STILLHOUSE_CLIENTS") == "1"
_BUILD_SECONDS = 280
# What is sent and the models of the pinned SDKs do not know. Java's, the newest that is published, are old ones.
_OF_A_SNAPSHOT = (
    "updated cluster_name datastore db_user progress backup_key prior_backup_key base_backup_key base_backup_name"
    " backup_device total_backup_size support_inplace_restore fine_grained_backup backup_level cluster_status"
    " cluster_task_status"
)
_UNKNOWN_TO: dict[str, dict[str, set[str]]] = {
    "go": {
        "ListNodeTypes": {"node_types.availability_zones"},
        "ListClusterDetails": {"cluster.datastore_type", "cluster.cluster_timezone"},
    },
    "java": {
        "ListSnapshots": {f"snapshots.{word}" for word in _OF_A_SNAPSHOT.split()},
        "ListClusterSnapshots": {"snapshots.finished", "snapshots.cluster_task_status"},
        "ListSnapshotDetails": {
            "snapshot.updated",
            "snapshot.cluster_task_status",
            "snapshot.support_fine_grained_cross_version_restore",
            "snapshot.support_fine_grained_asymmetric_restore",
        },
        "ListClusters": {"clusters.nodes.name"},
        "ListClusterDetails": {
            "cluster.nodes.name",
            "cluster.datastore_type",
            "cluster.cluster_timezone",
        },
        "ListNodeTypes": {"node_types.availability_zones", "node_types.datastores.role"},
        "ListSnapshotPolicy": {
            "auto_backup",
            "backup_strategy_cluster_type_limit_num",
            "backup_strategy_schema_type_limit_num",
            "backup_strategies.time_zone_offset",
        },
    },
}
# As they send it: the answer may depend on it.
_USER_AGENTS = {"java": "huaweicloud-usdk-java/3.0", "go": "huaweicloud-usdk-go/3.0"}

Program = Callable[[str], list[str]]
"""The command that runs a program by name: `create_snapshot` or `tour`."""


def _filled_in(language: str, target: Path) -> Path:
    """The programs with region and project filled in, and nothing else changed."""
    shutil.copytree(CLIENTS / language, target)
    for path in (path for path in target.rglob("*") if path.is_file()):
        text = path.read_text()
        path.write_text(text.replace("<YOUR REGION>", REGION).replace("{project_id}", PROJECT))
    return target


def _build(command: list[str], where: Path) -> None:
    done = subprocess.run(
        command, cwd=where, capture_output=True, text=True, timeout=_BUILD_SECONDS, check=False
    )
    assert done.returncode == 0, (
        f"{command[0]} cannot build the clients: {(done.stdout + done.stderr)[-2000:]}"
    )


def _need(*tools: str) -> None:
    if not _WANTED:
        pytest.skip("Java and Go clients are built in CI, or by make test-clients")
    missing = [tool for tool in tools if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"not on this machine: {', '.join(missing)}")


@pytest.fixture(scope="module")
def go(tmp_path_factory: pytest.TempPathFactory) -> Program:
    _need("go")
    where = _filled_in("go", tmp_path_factory.mktemp("go") / "clients")
    _build(["go", "build", "-o", "bin/", "./..."], where)
    return lambda name: [str(where / "bin" / name)]


@pytest.fixture(scope="module")
def java(tmp_path_factory: pytest.TempPathFactory) -> Program:
    _need("java", "javac", "mvn")
    where = _filled_in("java", tmp_path_factory.mktemp("java") / "clients")
    _build(["mvn", "-q", "-B", "dependency:build-classpath", "-Dmdep.outputFile=classpath"], where)
    classpath = (where / "classpath").read_text().strip()
    sources = sorted(path.name for path in where.glob("*.java"))
    _build(["javac", "-cp", classpath, "-d", "classes", *sources], where)
    classes = {"create_snapshot": "CreateSnapshot", "tour": "Tour"}
    return lambda name: ["java", "-cp", f"{where / 'classes'}:{classpath}", classes[name]]


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Program:
    where = _filled_in("python", tmp_path_factory.mktemp("python") / "clients")
    return lambda name: [sys.executable, str(where / f"{name}.py")]


@pytest.fixture(params=["python", *BUILT])
def sample(request: pytest.FixtureRequest) -> Program:
    program: Program = request.getfixturevalue(request.param)
    return program


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with serving_service(tmp_path) as service:
        service.add_cluster(cluster_id=SAMPLES_CLUSTER)
        yield service


def run(command: list[str], service: Service, home: Path, **more: str) -> str:
    """What the program prints, pointed at the service as users do it: by the region's environment variable."""
    given = {
        **os.environ,
        "HOME": str(home),  # the SDKs keep an application id there
        "HUAWEICLOUD_SDK_REGION_DWS_LOCAL_1": service.endpoint,
        "CLOUD_SDK_AK": service.client.access_key,
        "CLOUD_SDK_SK": service.client.secret_key,
        **more,
    }
    done = subprocess.run(command, env=given, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_documented_sample_runs_with_region_and_project_filled_in(
    sample: Program, service: Service, tmp_path: Path
) -> None:
    printed = run(sample("create_snapshot"), service, tmp_path)
    (snapshot,) = service.list_snapshots()
    assert snapshot["id"] in printed
    assert (snapshot["name"], snapshot["description"]) == ("snapshot-3", "Snapshot-3 description")


def test_the_documented_sample_finds_the_service_by_a_file_of_regions_too(
    python: Program, service: Service, tmp_path: Path
) -> None:
    regions = tmp_path / "regions.yaml"
    regions.write_text(f"DWS:\n  - id: {REGION}\n    endpoint: {service.endpoint}\n")
    found_by_file = {"HUAWEICLOUD_SDK_REGION_DWS_LOCAL_1": "", "HUAWEICLOUD_SDK_REGIONS_FILE": str(regions)}
    printed = run(python("create_snapshot"), service, tmp_path, **found_by_file)
    assert service.list_snapshots()[0]["id"] in printed


@pytest.mark.parametrize("language", BUILT)
def test_typed_models_read_every_field(
    language: str, request: pytest.FixtureRequest, service: Service, tmp_path: Path
) -> None:
    program: Program = request.getfixturevalue(language)
    # Three terabytes: a number of KB that 32 bits do not hold; no tags, no public address, much that is null.
    huge = service.take_snapshot(SAMPLES_CLUSTER, "huge-one", plain_bytes=3 * 2**40)
    old = service.take_snapshot(SAMPLES_CLUSTER, "old-one", plain_bytes=1)
    printed = run(
        program("tour"),
        service,
        tmp_path,
        PROJECT=PROJECT,
        CLUSTER=SAMPLES_CLUSTER,
        SNAPSHOT=huge,
        OLD_SNAPSHOT=old,
    )
    read = {line["operation"]: line["read"] for line in map(json.loads, printed.splitlines())}
    assert {one["name"] for one in service.list_snapshots()} == {"huge-one", f"by-{language}"}
    assert f"copy-by-{language}" in {one["name"] for one in service.list_clusters()}
    assert len(read["CreateSnapshot"]["snapshot"]["id"]) == len(read["RestoreCluster"]["cluster"]["id"]) == 36
    sizes = [one.get("total_backup_size") for one in read["ListSnapshots"]["snapshots"]]
    assert (3 * 2**30 in sizes) is (language == "go")
    assert "DWS.5149" in read["refusal"]

    if language == "java":
        resources = read["ListQuotas"]["quotas"]["resources"]
        assert [one["used"].isdigit() for one in resources] == [True, True]
    paths = {
        "ListSnapshots": "/v1.0/{p}/snapshots",
        "ListClusterSnapshots": f"/v1.0/{{p}}/clusters/{SAMPLES_CLUSTER}/snapshots",
        "ListSnapshotDetails": f"/v1.0/{{p}}/snapshots/{huge}",
        "ListClusters": "/v1.0/{p}/clusters",
        "ListClusterDetails": f"/v1.0/{{p}}/clusters/{SAMPLES_CLUSTER}",
        "ListNodeTypes": "/v2/{p}/node-types",
        "ListSnapshotPolicy": f"/v2/{{p}}/clusters/{SAMPLES_CLUSTER}/snapshot-policies",
    }
    assert paths.keys() <= read.keys()
    policies = service.client.request("GET", paths["ListSnapshotPolicy"]).json["backup_strategies"]
    assert f"by-{language}" in {policy["policy_name"] for policy in policies}
    for operation in read.keys() & paths.keys():
        path = paths[operation]
        sent = service.client.request("GET", path, unsigned={"User-Agent": _USER_AGENTS[language]}).json
        unread = set(differences(sent, read[operation]))
        assert unread == _UNKNOWN_TO[language].get(operation, set()), operation


def differences(sent: Any, read: Any, where: str = "") -> Iterator[str]:
    """Keys whose value was not read as it was sent; what is null need not be there."""
    if isinstance(sent, dict) and isinstance(read, dict):
        for key, value in sent.items():
            if value is not None:
                yield from differences(value, read.get(key), f"{where}.{key}".lstrip("."))
    elif isinstance(sent, list) and isinstance(read, list) and len(sent) == len(read):
        for one, read_one in zip(sent, read, strict=True):
            yield from differences(one, read_one, where)
    elif sent != read:
        yield where
