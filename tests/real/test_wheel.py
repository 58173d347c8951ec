"""The wheel, installed beside the locked libraries into an empty environment, serves the API, built with a C compiler
or without.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support.processes.service import Service

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.long


def _run(*command: str | Path, **more: str) -> str:
    answer = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=800, env=os.environ | more
    )
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


@pytest.mark.parametrize("compiler", ["cc", "false"])
def test_an_empty_environment_serves_from_the_wheel(data_root: Path, tmp_path: Path, compiler: str) -> None:
    is_compiled = shutil.which(compiler) is not None and compiler != "false"
    python = tmp_path / "empty" / "bin" / "python"
    _run(sys.executable, "-m", "venv", python.parents[1])
    pip = (python, "-m", "pip", "--disable-pip-version-check", "--quiet")
    _run(*pip, "wheel", "--no-deps", "--wheel-dir", tmp_path, ROOT, CC=compiler)
    (wheel,) = tmp_path.glob("stillhouse-*.whl")
    assert wheel.name.endswith("-py3-none-any.whl") != is_compiled
    _run(*pip, "install", "--require-hashes", "-r", ROOT / "locks" / "run.lock")
    _run(*pip, "install", "--no-deps", wheel)
    where = _run(python, "-I", "-c", "import stillhouse; print(stillhouse.__file__)")
    assert Path(where.strip()).is_relative_to(tmp_path)
    service = Service(data_root / f"wheel-{compiler}")
    ours = [str(python.with_name("stillhouse")), "serve", "--data", str(service.data)]
    try:
        service.start([*ours, "--listen", f"127.0.0.1:{service.port}"])
        assert service.call("GET", "/v1.0/{p}/snapshots").status == 200
        assert service.stop() == 0
        told = [json.loads(line) for line in service.log.read_text().splitlines()]
        (ready,) = (line for line in told if line["event"] == "ready")
        assert (ready["page_loops"] == "compiled") == is_compiled
    finally:
        service.remove()
