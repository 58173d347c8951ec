"""The files in `deploy` for systemd and for containers: well formed, closed, and true of this tree."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from stillhouse.cli.terminal.settings import read
from support.documents.units import ACCOUNTS, COMMAND, UNIT, unit_with

ROOT = Path(__file__).parents[3]
DEPLOY = ROOT / "deploy"
CONTAINERFILE = (DEPLOY / "container" / "Containerfile").read_text()
_MOST_EXPOSED = 25  # tenths, in systemd's measure from 0 to 100


def analyse(*words: str | Path) -> subprocess.CompletedProcess[str]:
    program = shutil.which("systemd-analyze")
    if program is None:
        assert os.environ.get("CI") != "true", "CI has no systemd-analyze"
        pytest.skip("systemd-analyze is not on this machine")
    return subprocess.run([program, *words], capture_output=True, text=True, check=False, timeout=60)


def unit_here(place: Path, *drop_ins: Path) -> Path:
    """The unit with the program of this tree, and with the drop-ins behind it."""
    written = place / "stillhouse.service"
    written.write_text(unit_with(str(Path(sys.executable).with_name("stillhouse")), *drop_ins))
    return written


@pytest.mark.parametrize("drop_ins", [(), (ACCOUNTS,)], ids=["own account", "root"])
def test_systemd_takes_the_unit(tmp_path: Path, drop_ins: tuple[Path, ...]) -> None:
    done = analyse("verify", "--man=no", unit_here(tmp_path, *drop_ins))
    assert (done.returncode, done.stderr) == (0, "")


def test_the_unit_is_closed_by_systemd_s_own_measure(tmp_path: Path) -> None:
    done = analyse("security", "--offline=true", f"--threshold={_MOST_EXPOSED}", unit_here(tmp_path))
    assert done.returncode == 0, done.stdout


def test_the_unit_s_command_and_file_of_settings_are_ours() -> None:
    command = re.findall(r"^ExecStart=(.*)$", UNIT, re.MULTILINE)
    assert command == [f"{COMMAND} serve --config /etc/stillhouse/stillhouse.toml"]
    settings = read({}, DEPLOY / "stillhouse.toml", {})
    assert settings.replica and settings.repository.startswith("s3://")
    assert f"StateDirectory={settings.data.name}" in UNIT and settings.data.parent == Path("/var/lib")


def test_the_container_is_made_of_files_that_are_here_and_runs_our_command() -> None:
    copied = re.findall(r"^COPY (?!--from)(.*) \S+$", CONTAINERFILE, re.MULTILINE)
    assert copied and all((ROOT / name).exists() for line in copied for name in line.split())
    assert 'ENTRYPOINT ["stillhouse"]' in CONTAINERFILE and "\nUSER 10001\n" in CONTAINERFILE
    assert "--require-hashes -r /src/locks/run.lock" in CONTAINERFILE
