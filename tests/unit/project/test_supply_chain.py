"""The bill of materials holds what the lock file holds, and the audit fails for vulnerabilities alone."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
VULNERABLE = {
    "dependencies": [
        {"name": "good", "version": "1", "vulns": []},
        {"name": "bad", "version": "2", "vulns": [{"id": "PYSEC-1", "fix_versions": ["3"]}]},
    ]
}


def run(script: str, *words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, ROOT / ".ci" / script, *map(str, words)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def auditor(directory: Path, body: str) -> Path:
    """A program in the place of pip-audit: the registry's answers cannot be had at will. `$1` on are its arguments."""
    program = directory / "auditor"
    program.write_text(f'#!/bin/sh\nfor report; do :; done\ncp "$2" {directory}/wanted.$$\n{body}\n')
    program.chmod(0o755)
    return program


def test_the_bill_of_materials_has_every_package_of_the_lock(tmp_path: Path) -> None:
    target = tmp_path / "dist" / "bill.json"
    assert run("sbom.py", target).returncode == 0
    bill = json.loads(target.read_text())
    lock = (ROOT / "locks" / "run.lock").read_text()
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.5")
    assert {one["name"] for one in bill["components"]} == set(re.findall(r"^([\w.-]+)==", lock, re.MULTILINE))
    assert sum(len(one["hashes"]) for one in bill["components"]) == lock.count("--hash=sha256:")
    first = target.read_bytes()
    run("sbom.py", target)
    assert target.read_bytes() == first


def test_a_known_vulnerability_fails_the_audit_by_name(tmp_path: Path) -> None:
    program = auditor(tmp_path, f"echo '{json.dumps(VULNERABLE)}' > $report; exit 1")
    done = run("audit.py", program)
    assert done.returncode == 1 and "bad 2: PYSEC-1, mended in 3" in done.stdout
    rounds = [one.read_text().splitlines() for one in tmp_path.glob("wanted.*")]
    for wanted in rounds:  # pip-audit refuses a package that it is given twice
        names = [one.partition("==")[0] for one in wanted]
        assert len(set(names)) == len(names)
    pinned = {
        found
        for lock in (ROOT / "locks").glob("*.lock")
        for found in re.findall(r"^[\w.-]+(?:\[[^\]]*\])?==\S+", lock.read_text(), re.MULTILINE)
    }
    assert {re.sub(r"\[.*?\]", "", one) for one in pinned} == {one for wanted in rounds for one in wanted}


@pytest.mark.parametrize("body", ["echo 'no answer' >&2; exit 1", "echo nonsense > $report", "exit 0"])
def test_a_registry_that_is_away_is_told_and_fails_nothing(body: str, tmp_path: Path) -> None:
    done = run("audit.py", auditor(tmp_path, body))
    assert done.returncode == 0 and "NOT AUDITED" in done.stdout


def test_packages_that_the_registry_does_not_know_are_no_sound_ones(tmp_path: Path) -> None:
    """A mirror without the data answers so for every package; pip-audit calls that a success."""
    unknown = {"name": "unknown", "skip_reason": "not found"}
    some = auditor(
        tmp_path, f"echo '{json.dumps({'dependencies': [*VULNERABLE['dependencies'], unknown]})}' > $report"
    )
    done = run("audit.py", some)
    assert done.returncode == 1 and "does not know them: unknown" in done.stdout and "bad 2" in done.stdout
    none = auditor(tmp_path, f"echo '{json.dumps({'dependencies': [unknown]})}' > $report")
    done = run("audit.py", none)
    assert done.returncode == 0 and "NOT AUDITED" in done.stdout and "0 known" not in done.stdout


def test_no_vulnerability_is_told_too(tmp_path: Path) -> None:
    done = run("audit.py", auditor(tmp_path, "echo '{\"dependencies\": []}' > $report"))
    assert (done.returncode, done.stdout) == (0, "0 known vulnerabilities\n")
