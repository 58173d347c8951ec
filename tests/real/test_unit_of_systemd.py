"""The service works inside the fences of its unit for systemd: account, capabilities, no new privileges."""

import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.documents.units import ACCOUNTS, UNIT, field_of, unit_with
from support.processes.service import Service

pytestmark = [
    pytest.mark.long,
    pytest.mark.xdist_group("unit of systemd"),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root takes another account"),
    pytest.mark.skipif(shutil.which("setpriv") is None, reason="setpriv is not on this machine"),
]

_ANYBODY = "nobody"  # stands in for the unit's own account, which the tests do not make


def python_for_anybody() -> str:
    """A Python of this version that the account may run: that of these tests may lie in somebody's closed home."""
    for program in (sys.executable, f"/usr/bin/python{sys.version_info.major}.{sys.version_info.minor}"):
        account = ["setpriv", *account_options(), "--bounding-set=-all", "env", program, "-c", ""]
        if subprocess.run(account, check=False, capture_output=True).returncode == 0:
            return program
    pytest.skip(f"{_ANYBODY} may run no Python of this version")


def fenced(unit: str, service: Service, python: str) -> list[str]:
    """The service's command, with what the unit takes away."""
    assert field_of(unit, "NoNewPrivileges") == "true"
    allowed = field_of(unit, "CapabilityBoundingSet").split()
    kept = [f"+{name.removeprefix('CAP_').lower()}" for name in allowed]
    user = [] if field_of(unit, "User") == "root" else account_options()
    fence = ["setpriv", "--no-new-privs", f"--bounding-set={','.join(['-all', *kept])}", *user]
    serve = [python, "-m", "stillhouse", "serve", "--data", str(service.data)]
    return [*fence, *serve, "--listen", f"127.0.0.1:{service.port}"]


def account_options() -> list[str]:
    entry = pwd.getpwnam(_ANYBODY)
    return [f"--reuid={entry.pw_uid}", f"--regid={entry.pw_gid}", "--clear-groups", "--inh-caps=-all"]


@pytest.fixture
def service(data_root: Path, request: pytest.FixtureRequest) -> Iterator[Service]:
    service = Service(data_root / f"unit-{request.node.callspec.id}")
    service.data.mkdir(mode=0o755)
    try:
        yield service
    finally:
        service.remove()


@pytest.mark.parametrize("unit", [UNIT, unit_with("", ACCOUNTS)], ids=["own", "root"])
def test_it_makes_restores_and_deletes_clusters(
    service: Service, unit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = sys.executable
    if field_of(unit, "User") != "root":
        shutil.chown(service.data, _ANYBODY)
        python = python_for_anybody()
        monkeypatch.setenv("HOME", str(service.data))
        monkeypatch.setenv("PYTHONPATH", ":".join(filter(None, sys.path)))
    service.start(fenced(unit, service, python))
    cluster = service.create_cluster("fenced", 1)
    snapshot = service.request_snapshot(cluster, "first")
    assert service.ended(snapshot) == "AVAILABLE", service.reason(snapshot)
    clone = service.restore(snapshot, "copy")
    assert service.settled(clone)["status"] == "AVAILABLE"
    for one in (clone, cluster):
        service.delete_cluster(one)
    assert service.stop() == 0
    assert "has no network of its own" not in service.log.read_text()
