"""The demo in small: it ends well only when the restored cluster is proved equal, and it leaves nothing behind."""

import importlib
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from support.servers.warehouses import servers_below
from support.stores.s3_server import s3_server

_EXAMPLES = Path(__file__).parents[2] / "examples"
_WITH_SUPPORT = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
_ROWS = 2000

pytestmark = [pytest.mark.long, pytest.mark.xdist_group("demo")]


@pytest.fixture
def place(data_root: Path) -> Iterator[Path]:
    """An empty directory, which is empty again at the end, without a server."""
    place = Path(tempfile.mkdtemp(prefix="d", dir=data_root))
    place.chmod(0o755)
    yield place
    assert list(place.iterdir()) == []
    assert servers_below(place) == []


@pytest.fixture
def demo(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(_EXAMPLES))
    monkeypatch.setenv("HUAWEICLOUD_SDK_REGION_DWS_LOCAL_1", "")  # the demo sets it; put back afterwards
    return importlib.import_module("demo")


def _command(place: Path, *options: str) -> list[str]:
    return [sys.executable, str(_EXAMPLES / "demo.py"), "--rows", str(_ROWS), "--place", str(place), *options]


def test_the_demo_proves_its_restore(place: Path) -> None:
    done = subprocess.run(
        _command(place), capture_output=True, text=True, timeout=200, check=False, env=_WITH_SUPPORT
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Proved equal" in done.stdout
    assert "MB/s" in done.stdout


def test_the_demo_of_two_replicas_proves_its_restore(place: Path) -> None:
    s3_server()  # skips where it cannot be had
    command = [sys.executable, str(_EXAMPLES / "demo_scale.py"), "--rows", str(_ROWS), "--place", str(place)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=_WITH_SUPPORT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Proved equal" in done.stdout


def test_the_demo_with_somebodys_server_proves_its_restore(place: Path) -> None:
    """It goes through the five commands of the README."""
    demo = str(_EXAMPLES / "demo_existing.py")
    done = subprocess.run(
        [sys.executable, demo, "--rows", str(_ROWS), "--place", str(place)],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
        env=_WITH_SUPPORT,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Proved equal" in done.stdout
    readme = (_EXAMPLES.parent / "README.md").read_text()
    block = readme.split("## Back up the PostgreSQL you have", 1)[1].split("```")[1]
    for command in ("cluster grants", "cluster check", "cluster add orders", "snapshot create first"):
        assert f"$ stillhouse {command}" in done.stdout
        assert f"stillhouse {command}" in block


def test_a_broken_restore_fails_the_demo(
    place: Path, demo: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    restore = demo.restore

    def restore_and_break(client: Any, snapshot: Any) -> Any:
        cluster = restore(client, snapshot)
        with closing(demo.log_in(cluster)) as connection:
            connection.execute("UPDATE accounts SET balance = balance + 1 WHERE id = 17")
        return cluster

    monkeypatch.setattr(demo, "restore", restore_and_break)
    monkeypatch.setattr(sys, "argv", ["demo.py", "--rows", str(_ROWS), "--place", str(place)])
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    assert demo.main() == 1
    told = " ".join(capsys.readouterr().out.split())
    assert "public.accounts holds other rows" in told
    assert "Proved equal" not in told


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_demo_that_is_interrupted_stops_and_removes_all(place: Path, number: signal.Signals) -> None:
    with subprocess.Popen(
        _command(place), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=_WITH_SUPPORT
    ) as process:
        deadline = time.monotonic() + 60
        while not servers_below(place):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(number)
        while servers_below(place) and process.poll() is None:
            time.sleep(0.05)
            process.send_signal(number)  # an impatient person; it cleans up all the same
        assert process.wait(120) != 0


def test_a_demo_that_is_kept_runs_on(place: Path) -> None:
    done = subprocess.run(
        _command(place, "--keep"), capture_output=True, text=True, timeout=200, check=False, env=_WITH_SUPPORT
    )
    told = re.search(r"kill (\d+)", done.stdout)
    try:
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stdout.count("postgresql://") == 2
        assert len(servers_below(place)) >= 6
    finally:
        if told is not None:
            os.kill(int(told[1]), signal.SIGTERM)
            _await_end(int(told[1]))
        for root in place.iterdir():
            shutil.rmtree(root)


def _await_end(process: int) -> None:
    """Wait for a process that is nobody's child here; while it ends it stops its servers and closes its catalog."""
    ended = os.pidfd_open(process)
    try:
        assert select.select([ended], [], [], 60)[0], f"process {process} has not ended"
    finally:
        os.close(ended)
