"""The wheel, installed beside the locked libraries into an empty environment, serves the API."""

import subprocess
import sys
from pathlib import Path

import pytest

from support.processes.service import Service

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.long


def _run(*command: str | Path) -> str:
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=800)
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


def test_an_empty_environment_serves_from_the_wheel(data_root: Path, tmp_path: Path) -> None:
    python = tmp_path / "empty" / "bin" / "python"
    _run(sys.executable, "-m", "venv", python.parents[1])
    pip = (python, "-m", "pip", "--disable-pip-version-check", "--quiet")
    _run(*pip, "wheel", "--no-deps", "--wheel-dir", tmp_path, ROOT)
    (wheel,) = tmp_path.glob("stillhouse-*.whl")
    _run(*pip, "install", "--require-hashes", "-r", ROOT / "locks" / "run.lock")
    _run(*pip, "install", "--no-deps", wheel)
    where = _run(python, "-I", "-c", "import stillhouse; print(stillhouse.__file__)")
    assert Path(where.strip()).is_relative_to(tmp_path)
    service = Service(data_root / "wheel")
    ours = [str(python.with_name("stillhouse")), "serve", "--data", str(service.data)]
    try:
        service.start([*ours, "--listen", f"127.0.0.1:{service.port}"])
        assert service.call("GET", "/v1.0/{p}/snapshots").status == 200
        assert service.stop() == 0
    finally:
        service.remove()
