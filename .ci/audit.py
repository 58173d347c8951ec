"""Ask the registry about known vulnerabilities of locked packages. Found ones fail; a registry that is away does not.

`audit.py PIP_AUDIT [LOCK...]`; without lock files, all in `locks`.
"""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

LOCKS = Path(__file__).parents[1] / "locks"
# CI waits no longer for a registry.
_SECONDS = 50
_PINNED = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?(==[^\s;\\]+)", re.MULTILINE)


class Away(Exception):
    """The registry could not be asked."""


def vulnerabilities(report: str) -> list[str]:
    """Return a line for each vulnerability in a report of pip-audit's, and tell which packages it left out.

    Raises Away if it left out all, as for a mirror without such data; ValueError, KeyError for another text.
    """
    packages = json.loads(report)["dependencies"]
    left_out = [package["name"] for package in packages if "skip_reason" in package]
    if left_out and len(left_out) == len(packages):
        raise Away(f"it knows no package: {packages[0]['skip_reason']}")
    if left_out:
        sys.stdout.write(f"not audited, since the registry does not know them: {', '.join(left_out)}\n")
    return sorted(
        f"{package['name']} {package['version']}: {found['id']}, mended in "
        f"{', '.join(found['fix_versions']) or 'no version yet'}"
        for package in packages
        for found in package.get("vulns", [])
    )


def rounds(locks: list[Path]) -> list[dict[str, str]]:
    """Return the packages of lock files with their versions, each package once in a round: pip-audit takes no more."""
    found: list[dict[str, str]] = []
    for name, version in sorted({pinned for lock in locks for pinned in _PINNED.findall(lock.read_text())}):
        free = next((one for one in found if name not in one), None)
        if free is None:
            found.append(free := {})
        free[name] = version
    return found


def audit(program: str, packages: dict[str, str]) -> list[str]:
    """Return the known vulnerabilities of these packages. Raises Away."""
    with tempfile.TemporaryDirectory() as folder:
        wanted, report = Path(folder) / "wanted.txt", Path(folder) / "report.json"
        wanted.write_text("".join(f"{name}{version}\n" for name, version in packages.items()))
        # Every package is named, so nothing is resolved and nothing installed.
        command = [program, "--requirement", wanted, "--no-deps", "--disable-pip", "--format", "json"]
        command += ["--progress-spinner", "off", "--timeout", "10", "--output", report]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
        except subprocess.TimeoutExpired:
            raise Away(f"no answer within {_SECONDS} s") from None
        try:
            return vulnerabilities(report.read_text())
        except (OSError, ValueError, KeyError):
            raise Away((done.stderr.strip().splitlines() or ["no report"])[-1][:300]) from None


def main() -> int:
    """Audit the lock files; 1 if a vulnerability is known."""
    program, *named = sys.argv[1:]
    try:
        locks = [Path(name) for name in named] or sorted(LOCKS.glob("*.lock"))
        known = [line for packages in rounds(locks) for line in audit(program, packages)]
    except Away as away:
        sys.stdout.write(f"NOT AUDITED, the registry could not be asked: {away}\n")
        return 0
    sys.stdout.writelines(f"{line}\n" for line in [*known, f"{len(known)} known vulnerabilities"])
    return 1 if known else 0


if __name__ == "__main__":
    sys.exit(main())
